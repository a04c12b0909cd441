"""A real S3 server and, before it, a proxy that breaks what it is told to break. Runs until stdin ends; the first line says the ports.

Control, at the proxy's port:
  POST /__fault  {"method": "GET|PUT", "path": "regular expression of path?query", "kind": ..., "times": N, "chance": 0.1, "seed": 1, ...}
  DELETE /__fault    no faults any more, and the log is empty
  GET /__log         [[seconds, method, path?query, status or kind], ...]
Kinds: status (status, code, retry_after), reset (before the server sees it), lost (after the server has acted), delay (seconds), drip (seconds per KiB),
truncate (half the body), etag (a wrong one), stale (a list as it was when first asked), duplicate (every object of a list twice), body (text).
"""
import argparse
import http.client
import json
import logging
import os
import random
import re
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Faults:
    def __init__(self):
        self.lock = threading.Lock()
        self.clear()

    def clear(self):
        with self.lock:
            self.rules, self.log, self.old_lists = [], [], {}

    def add(self, rule):
        rule["path"] = re.compile(rule.get("path", ""))
        rule["method"] = re.compile(rule.get("method", ""))
        rule["random"] = random.Random(rule.get("seed", 1))
        with self.lock:
            self.rules.append(rule)

    def find(self, method, path):
        with self.lock:
            for rule in self.rules:
                if not rule["method"].match(method) or not rule["path"].search(path) or rule.get("times", 1) == 0:
                    continue
                if rule["random"].random() >= rule.get("chance", 1):
                    continue
                rule["times"] = rule.get("times", 1) - 1
                return rule
        return None

    def note(self, method, path, what):
        with self.lock:
            self.log.append([time.monotonic(), method, path, what])


class Proxy(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    upstream = threading.local()
    faults = Faults()
    server_port = 0

    def log_message(self, *args):
        pass

    def reset(self):
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.wfile = open(os.devnull, "wb")

    def answer(self, status, headers, body, cut=None, drip=0):
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        body = body if cut is None else body[:cut]
        if drip:
            for i in range(0, len(body), 1024):
                self.wfile.write(body[i:i + 1024])
                self.wfile.flush()
                time.sleep(drip)
        else:
            self.wfile.write(body)
        if cut is not None:
            self.wfile.flush()
            self.close_connection = True

    def control(self, body):
        text = b"{}"
        if self.path == "/__log":
            with self.faults.lock:
                text = json.dumps(self.faults.log).encode()
        elif self.command == "DELETE":
            self.faults.clear()
        else:
            self.faults.add(json.loads(body))
        self.answer(200, [("Content-Length", str(len(text)))], text)

    def forward(self, body):
        headers = {n: v for n, v in self.headers.items() if n.lower() != "connection"}
        for again in (False, True):
            c = getattr(self.upstream, "c", None)
            if c is None:
                c = self.upstream.c = http.client.HTTPConnection("127.0.0.1", self.server_port, timeout=60)
            try:
                c.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                for n, v in headers.items():
                    c.putheader(n, v)
                c.endheaders(body if body else None)
                r = c.getresponse()
                return r.status, r.getheaders(), r.read()
            except (http.client.HTTPException, OSError):
                c.close()
                self.upstream.c = None
                if again:
                    raise

    def serve(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path.startswith("/__"):
            return self.control(body)
        rule = self.faults.find(self.command, self.path)
        kind = rule["kind"] if rule else None
        if kind == "reset":
            self.faults.note(self.command, self.path, kind)
            return self.reset()
        if kind == "status":
            self.faults.note(self.command, self.path, rule["status"])
            text = ("<?xml version=\"1.0\"?><Error><Code>%s</Code><Message>a fault of the test</Message><RequestId>fault-1</RequestId></Error>" % rule["code"]).encode()
            extra = [("Retry-After", str(rule["retry_after"]))] if "retry_after" in rule else []
            return self.answer(rule["status"], [("Content-Length", str(len(text))), ("Content-Type", "application/xml")] + extra, text)
        if kind == "delay":
            time.sleep(rule["seconds"])
        status, headers, out = self.forward(body)
        self.faults.note(self.command, self.path, kind or status)
        said = next((v for n, v in headers if n.lower() == "content-length"), "0")
        length = said if self.command == "HEAD" else str(len(out))
        headers = [(n, v) for n, v in headers if n.lower() not in ("connection", "transfer-encoding", "content-length", "date", "server")]
        if kind == "lost":
            return self.reset()
        if kind == "etag":
            headers = [(n, '"0123456789abcdef0123456789abcdef"' if n.lower() == "etag" else v) for n, v in headers]
        if kind == "body":
            out = rule["text"].encode()
        if "list-type=2" in self.path:
            with self.faults.lock:
                first = self.faults.old_lists.setdefault(self.path, out)
            if kind == "stale":
                out = first
            if kind == "duplicate":
                out = re.sub(rb"(<Contents>.*?</Contents>)", rb"\1\1", out, flags=re.S)
        if kind in ("stale", "duplicate", "body"):
            length = str(len(out))
        headers += [("Content-Length", length), ("Date", self.date_time_string())]
        self.answer(status, headers, out, len(out) // 2 if kind == "truncate" else None, rule["seconds"] if kind == "drip" else 0)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = serve


def run_moto(port):
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    app = DomainDispatcherApplication(create_backend_app)
    lock = threading.Lock()

    def one_at_a_time(environ, start_response):
        # moto looks and then writes; S3 promises that nobody comes between.
        with lock:
            return list(app(environ, start_response))

    class Handler(WSGIRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

    server = make_server("127.0.0.1", port, one_at_a_time, threaded=True, request_handler=Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_port


def run_s3rver():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    data = tempfile.mkdtemp(prefix="torc-s3rver-")
    script = "new (require(process.argv[1]))({address: '127.0.0.1', port: +process.argv[2], silent: true, directory: process.argv[3], " \
             "configureBuckets: [{name: 'test-bucket'}]}).run()"
    process = subprocess.Popen(["node", "-e", script, os.environ["S3RVER"], str(port), data], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            break
        except OSError:
            time.sleep(0.05)
    return port, process, data


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--s3rver", action="store_true")
    arguments.add_argument("--port", type=int, default=0, help="of the proxy")
    arguments.add_argument("--bucket", default="test-bucket")
    a = arguments.parse_args()
    process = None
    if a.s3rver:
        port, process, data = run_s3rver()
    else:
        port = run_moto(0)
        c = http.client.HTTPConnection("127.0.0.1", port)
        c.request("PUT", "/" + a.bucket, headers={"Host": "127.0.0.1:%d" % port})
        assert c.getresponse().status == 200
    Proxy.server_port = port
    ThreadingHTTPServer.request_queue_size = 128
    ThreadingHTTPServer.daemon_threads = True
    proxy = ThreadingHTTPServer(("127.0.0.1", a.port), Proxy)
    proxy.handle_error = lambda *args: None
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    print("READY", port, proxy.server_port, flush=True)
    try:
        sys.stdin.read()
    finally:
        if process:
            process.kill()
            process.wait()
            subprocess.run(["rm", "-rf", data], check=False)
    os._exit(0)


main()
