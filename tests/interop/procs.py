"""What the interop and blocks tests share: a scratch directory, free ports, a local torc cluster, HTTP, and the count of cases."""
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
import urllib.error
import urllib.parse
import urllib.request

ROOT = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
BINARY = os.environ.get("TORC_BINARY") or os.path.join(os.environ.get("TORC_BUILD", os.path.join(ROOT, "build/asan")), "app/torc")
CUT = 500


class Cases:
    """Counts; a failed case is printed with what was seen."""

    def __init__(self):
        self.passed = self.failed = 0

    def check(self, name, ok, *seen):
        if ok:
            self.passed += 1
            return True
        self.failed += 1
        print(f"FAILED: {name}", flush=True)
        for line in seen:
            print(f"    {str(line)[:CUT]}", flush=True)
        return False

    def finish(self):
        print(f"{self.passed} passed, {self.failed} failed", flush=True)
        return 0 if self.failed == 0 and self.passed > 0 else 1


def say(text):
    print(f"[{time.strftime('%H:%M:%S')}] {text}", flush=True)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def can_bind(port):
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def free_base(offsets):
    """A port p such that every p + offset is free. Below the range that the system hands out to clients."""
    for _ in range(1000):
        base = random.randrange(10000, 30000)
        if all(can_bind(base + o) for o in offsets):
            return base
    raise SystemExit("no free ports")


def http(url, params=None, data=None, headers=None, timeout=60, method=None):
    """(status, body) also for errors that HTTP can say; OSError when nobody answered."""
    if params is not None:
        url += "?" + urllib.parse.urlencode(params, doseq=True)
    request = urllib.request.Request(url, data=data, headers=headers or {}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=timeout) as f:
            return f.status, f.read()
    except urllib.error.HTTPError as e:
        return e.code, e.read()


def wait_until(what, seconds, condition):
    until = time.monotonic() + seconds
    while True:
        try:
            if condition():
                return
        except OSError:
            pass
        if time.monotonic() > until:
            raise RuntimeError(f"not within {seconds} s: {what}")
        time.sleep(0.1)


class Scratch:
    """A directory, and processes that end with it. Keeps the directory when told to (logs of a failed run)."""

    def __init__(self, name):
        self.dir = tempfile.mkdtemp(prefix=f"torc-{name}-")
        self.procs, self.clusters, self.keep = {}, [], False

    def __enter__(self):
        signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
        return self

    def __exit__(self, kind, *_):
        for p in self.procs.values():
            p.kill()
            p.wait()
        for c in self.clusters:
            c.kill_all()
        if self.keep or kind is not None or os.environ.get("KEEP"):
            print(f"logs and data are kept in {self.dir}")
        else:
            shutil.rmtree(self.dir, ignore_errors=True)

    def path(self, name):
        return os.path.join(self.dir, name)

    def start(self, name, *argv):
        with open(self.path(name + ".log"), "ab") as log:
            self.procs[name] = subprocess.Popen(argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=self.dir)

    def check_alive(self):
        for name, p in self.procs.items():
            if p.poll() is not None:
                raise RuntimeError(f"{name} has ended with {p.returncode}, nobody here asked it to: {self.path(name + '.log')}")

    def stop(self, name):
        p = self.procs.pop(name)
        p.terminate()
        p.wait(60)

    def cluster(self, flags):
        c = Cluster(self.path("cluster"), flags)
        self.clusters.append(c)
        return c


class Cluster:
    """deploy/local in a directory: front, ingester-1..3, compactor."""

    NAMES = ["front", "ingester-1", "ingester-2", "ingester-3", "compactor"]

    def __init__(self, directory, flags):
        self.dir, self.flags = directory, flags
        self.port = free_base([*range(5), *range(100, 105)])
        self.bucket = os.path.join(directory, "bucket")

    def _script(self, name, *args):
        command = [os.path.join(ROOT, "deploy/local", name), "--dir", self.dir, *args]
        done = subprocess.run(command, env={**os.environ, "TORC_BINARY": BINARY}, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}: {done.stdout[-1000:]} {done.stderr[-2000:]}")

    def up(self):
        self._script("up", "--port", str(self.port), "--no-load", "--", *self.flags)

    def down(self):
        self._script("down")

    def restart(self, name):
        self._script("restart", name)

    def pid(self, name):
        try:
            with open(os.path.join(self.dir, "pids", name + ".pid"), encoding="ascii") as f:
                return int(f.read())
        except (OSError, ValueError):
            return None

    def kill(self, name):
        """kill -9, and waits until it is gone."""
        pid = self.pid(name)
        if pid is None:
            return
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        wait_until(f"the end of {name}", 30, lambda: not alive(pid))

    def kill_all(self):
        for name in self.NAMES:
            self.kill(name)

    def url(self, name, path=""):
        return f"http://127.0.0.1:{self.port + self.NAMES.index(name)}{path}"

    def log(self, name):
        with open(os.path.join(self.dir, "logs", name + ".log"), encoding="utf-8", errors="replace") as f:
            return f.read()

    def data(self, name):
        return os.path.join(self.dir, "data", name)

    def check_logs(self, cases, allowed=()):
        """No process may have crashed, nor a sanitizer have complained, nor anything else been logged as an error."""
        for name in self.NAMES:
            bad = [line for line in self.log(name).splitlines()
                   if ("Sanitizer" in line or "runtime error" in line or "ASSERT" in line or "level=error" in line)
                   and not any(a in line for a in allowed)]
            cases.check(f"the log of {name} has no errors", not bad, *bad[:5])


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as f:
            return f.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


class Api:
    """The query API of a Prometheus or of a torc tenant."""

    def __init__(self, base, tenant=None):
        self.base = base
        self.headers = {"X-Scope-OrgID": tenant} if tenant else {}

    def get(self, path, **params):
        """The JSON of an answer, error answers too."""
        status, body = http(f"{self.base}/api/v1/{path}", {k: v for k, v in params.items() if v is not None}, headers=self.headers)
        try:
            # Numbers stay texts: how a timestamp is written is compared too.
            answer = json.loads(body, parse_float=str, parse_int=str)
        except ValueError:
            return {"status": f"HTTP {status}", "error": body[:CUT].decode(errors="replace")}
        answer.pop("warnings", None)
        answer.pop("infos", None)
        return answer

    def data(self, path, **params):
        answer = self.get(path, **params)
        if answer.get("status") != "success":
            raise RuntimeError(f"{self.base} {path} {params}: {answer}")
        return answer["data"]

    def value(self, query, t=None):
        """Of a query with at most one series; None without one."""
        result = self.data("query", query=query, time=t)["result"]
        return float(result[0]["value"][1]) if result else None
