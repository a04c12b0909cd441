"""A small cluster of real processes on loopback, and a client that says to it exactly what it is told to say."""
import http.client
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

HOST = "127.0.0.1"
PATIENCE = 30  # seconds, where the claim is that something happens at all
REPORTS = ("AddressSanitizer", "LeakSanitizer", "ThreadSanitizer", "runtime error:", "assertion failed", "Assertion")


def free_port():
    """Below the ephemeral range, so that no outgoing connection takes it before torc binds it."""
    while True:
        port = random.randrange(10000, 30000)
        with socket.socket() as s:
            try:
                s.bind((HOST, port))
                return port
            except OSError:
                continue


def until(condition, seconds=PATIENCE):
    """Seconds until the condition held, or None."""
    start = time.monotonic()
    while not condition():
        if time.monotonic() - start > seconds:
            return None
        time.sleep(0.02)
    return time.monotonic() - start


def metric(cluster, process, name, labels=""):
    """Sum over the children whose text holds labels."""
    return sum(float(line.rsplit(" ", 1)[1]) for line in cluster.get(process, "/metrics").text().splitlines()
               if line.startswith((name + "{", name + " ")) and labels in line)


class Process:
    def __init__(self, name, argv, log):
        self.name, self.log = name, log
        self.port = None
        env = dict(os.environ, ASAN_OPTIONS="detect_leaks=1:abort_on_error=0", UBSAN_OPTIONS="print_stacktrace=1")
        with open(log, "wb") as out:
            self.child = subprocess.Popen(argv, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=env)

    def alive(self):
        return self.child.poll() is None

    def text(self):
        with open(self.log, errors="replace") as f:
            return f.read()


class Reply:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def text(self):
        return self.body.decode("utf-8", "replace")


class Cluster:
    """One front (distributor, and querier where the binary has one) and three ingesters."""

    def __init__(self, binary, overrides, flags=()):
        self.binary = binary
        self.dir = tempfile.mkdtemp(prefix="torc-hostile-")
        self.processes = []
        self.overrides = os.path.join(self.dir, "overrides.yaml")
        with open(self.overrides, "w") as f:
            f.write(overrides)
        rpc = [free_port() for _ in range(4)]
        seeds = ",".join(f"{HOST}:{p}" for p in rpc[:2])
        targets = self.targets()
        self.has_querier = "querier" in targets
        for i in range(4):
            name = f"ingester-{i + 1}" if i < 3 else "front-0"
            target = "ingester" if i < 3 else "distributor,querier" if self.has_querier else "distributor"
            http_port = free_port()
            argv = [binary, f"--target={target}", f"--instance.id={name}", f"--instance.zone=zone-{i + 1}",
                    f"--server.http-listen-address={HOST}", f"--server.http-listen-port={http_port}",
                    f"--server.rpc-listen-address={HOST}:{rpc[i]}", f"--ring.seeds={seeds}",
                    f"--data-dir={self.dir}/{name}", f"--bucket.url=filesystem://{self.dir}/bucket",
                    f"--runtime-config.file={self.overrides}", *flags]
            p = Process(name, argv, os.path.join(self.dir, name + ".log"))
            p.port = http_port
            self.processes.append(p)
        self.ingesters, self.front = self.processes[:3], self.processes[3]
        self.connection = None

    def targets(self):
        text = subprocess.run([self.binary, "--help"], capture_output=True, text=True, timeout=60).stdout
        after = text.split("\ntargets\n", 1)
        return [t.strip() for t in after[1].split("\n", 1)[0].split(",")] if len(after) == 2 else []

    def wait_ready(self, seconds=60):
        end = time.monotonic() + seconds
        for p in self.processes:
            while True:
                if not p.alive():
                    raise RuntimeError(f"{p.name} ended at start:\n{p.text()}")
                try:
                    if self.get(p, "/ready").status == 200:
                        break
                except OSError:
                    pass
                if time.monotonic() > end:
                    raise RuntimeError(f"{p.name} is not ready:\n{p.text()}")
                time.sleep(0.1)
        while self.owners() < 3:
            if time.monotonic() > end:
                raise RuntimeError("the front does not see three ingesters")
            time.sleep(0.1)

    def owners(self):
        members = json.loads(self.get(self.front, "/memberlist").body)["instances"]
        return sum("ingester" in m["roles"] and m["state"] == "ACTIVE" for m in members)

    def get(self, process, path, timeout=30):
        c = http.client.HTTPConnection(HOST, process.port, timeout=timeout)
        try:
            c.request("GET", path)
            r = c.getresponse()
            return Reply(r.status, r.headers, r.read())
        finally:
            c.close()

    def ask(self, method, path, body=b"", headers=None, timeout=60):
        """To the front, over one kept connection; once more over a new one when the old one was closed."""
        for attempt in (0, 1):
            if self.connection is None:
                self.connection = http.client.HTTPConnection(HOST, self.front.port, timeout=timeout)
            try:
                self.connection.request(method, path, body=body, headers=headers or {})
                r = self.connection.getresponse()
                reply = Reply(r.status, r.headers, r.read())
                if r.will_close:
                    self.drop_connection()
                return reply
            except (OSError, http.client.HTTPException):
                self.drop_connection()
                if attempt:
                    raise

    def drop_connection(self):
        if self.connection:
            self.connection.close()
        self.connection = None

    def raw(self, data, timeout=20, shut=False):
        """Bytes as they are; the status of the first answer (0: closed without one) and all that came."""
        with socket.create_connection((HOST, self.front.port), timeout=timeout) as s:
            got = b""
            try:
                s.sendall(data)
                if shut:
                    s.shutdown(socket.SHUT_WR)
                while b"\r\n\r\n" not in got or len(got) < self.raw_length(got):
                    part = s.recv(65536)
                    if not part:
                        break
                    got += part
            except (ConnectionError, socket.timeout):
                pass
        words = got.split(b" ", 2)
        return Reply(int(words[1]) if len(words) > 1 and words[0].startswith(b"HTTP/") else 0, {}, got)

    @staticmethod
    def raw_length(got):
        head, _, _ = got.partition(b"\r\n\r\n")
        for line in head.split(b"\r\n"):
            if line.lower().startswith(b"content-length:"):
                return len(head) + 4 + int(line.split(b":")[1])
        return len(head) + 4

    def stored(self, tenant):
        """Samples that each ingester has taken for the tenant."""
        counts = []
        for p in self.ingesters:
            rows = json.loads(self.get(p, "/ingester/tenants").body)["tenants"]
            counts.append(sum(r["samples"] for r in rows if r["tenant"] == tenant))
        return counts

    def discarded(self, tenant):
        """reason -> samples, of the front's torc_discarded_samples_total."""
        out = {}
        for line in self.get(self.front, "/metrics").text().splitlines():
            if line.startswith("torc_discarded_samples_total{") and f'user="{tenant}"' in line:
                out[line.split('reason="')[1].split('"')[0]] = int(float(line.rsplit(" ", 1)[1]))
        return out

    def stop(self, seconds=60):
        """Ends all; what is wrong with how they ended."""
        wrong = []
        self.drop_connection()
        for p in self.processes:
            if not p.alive():
                wrong.append(f"{p.name} died with {p.child.returncode}")
            else:
                p.child.send_signal(signal.SIGTERM)
        for p in self.processes:
            try:
                code = p.child.wait(seconds)
                if code != 0 and not any(w.startswith(p.name) for w in wrong):
                    wrong.append(f"{p.name} ended with {code}")
            except subprocess.TimeoutExpired:
                wrong.append(f"{p.name} did not end")
                p.child.kill()
                p.child.wait()
            for report in REPORTS:
                if report in p.text():
                    wrong.append(f"{p.name}'s log has '{report}'")
        if wrong:
            for p in self.processes:
                sys.stderr.write(f"--- {p.name}\n" + "\n".join(p.text().splitlines()[-40:]) + "\n")
        return wrong

    def remove(self):
        shutil.rmtree(self.dir, ignore_errors=True)
