#!/usr/bin/env python3
"""The systems that benchmarks measure side by side: torc with its copies, Prometheus, VictoriaMetrics, as real processes in a temporary directory on free
ports. Used by tests/bench/ingest and tests/bench/query. Needs the release build and Debian's prometheus and victoria-metrics (tools/install test)."""
import random
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
TORC = os.environ.get("TORC_BINARY", os.path.join(ROOT, "build/release/app/torc"))
BASE = random.randrange(20000, 30000, 200)


def cpu_seconds(pids):
    ticks = 0
    for pid in pids:
        fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def rss_bytes(pid):
    for line in open(f"/proc/{pid}/status"):
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


def wait_http(url, seconds=60):
    until = time.time() + seconds
    while time.time() < until:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            time.sleep(0.05)
    sys.exit(f"{url} did not answer within {seconds} s")


def wait_ring(port, members, seconds=60):
    """A front that knows two of three ingesters is ready, and writes to those two."""
    until = time.time() + seconds
    while time.time() < until:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=2) as f:
            if f'torc_ring_members{{state="ACTIVE"}} {members}\n' in f.read().decode():
                return
        time.sleep(0.05)
    sys.exit(f"port {port} did not see {members} active members within {seconds} s")


class System:
    """name, push URL, query base URL, pids."""

    def __init__(self, name):
        self.name, self.dir, self.procs = name, tempfile.mkdtemp(prefix="torc-bench-"), []

    def run(self, *argv):
        self.procs.append(self.spawn(len(self.procs), argv))

    def spawn(self, number, argv):
        with open(os.path.join(self.dir, f"{number}.log"), "a") as log:
            return subprocess.Popen(argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def crash_and_again(self, number):
        """kill -9 of one process, which then starts with the same arguments."""
        pid, argv = self.pids()[number], self.procs[number].args
        os.kill(pid, signal.SIGKILL)
        self.procs[number].wait()
        self.procs[number] = self.spawn(number, argv)

    def pids(self):
        """Of the programs themselves: a launcher script's only child stands for it."""
        found = []
        for p in self.procs:
            children = open(f"/proc/{p.pid}/task/{p.pid}/children").read().split()
            found.append(int(children[0]) if len(children) == 1 else p.pid)
        return found

    def stop(self):
        for pid in self.pids():
            os.kill(pid, signal.SIGKILL)
        for p in self.procs:
            p.wait()
        shutil.rmtree(self.dir, ignore_errors=True)


def torc(copies=3, flags=(), prefix=()):
    """One ingester for each copy and a front, as processes. prefix: what starts them, such as taskset."""
    s = System(f"torc, {copies} copies" if copies > 1 else "torc, 1 copy")
    limits = ["--limits.ingestion-rate=0", "--limits.max-sample-age=0", "--limits.request-rate=0", "--limits.creation-grace-period=0",
              "--limits.query-request-rate=0", "--limits.other-request-rate=0", "--limits.label-request-rate=0"]

    def member(name, target, number, *more):
        s.run(*prefix, TORC, f"--target={target}", f"--instance.id={name}", "--server.http-listen-address=127.0.0.1",
              f"--server.http-listen-port={BASE + number}", f"--server.rpc-listen-address=127.0.0.1:{BASE + 100 + number}",
              f"--ring.seeds=127.0.0.1:{BASE + 101}", f"--ring.replication-factor={copies}", f"--data-dir={s.dir}/{name}",
              f"--bucket.url=filesystem://{s.dir}/bucket", *limits, *flags, *more)

    for i in range(1, copies + 1):
        member(f"ingester-{i}", "ingester", i, f"--instance.zone=zone-{i}")
    member("front", "distributor,querier", 0)
    for port in range(BASE, BASE + copies + 1):
        wait_http(f"http://127.0.0.1:{port}/ready")
        wait_ring(port, copies + 1)
    s.push, s.query = f"http://127.0.0.1:{BASE}/api/v1/push", f"http://127.0.0.1:{BASE}/prometheus/api/v1"
    s.ingesters = s.pids()[:copies]
    s.ready, s.metrics = f"http://127.0.0.1:{BASE + 1}/ready", f"http://127.0.0.1:{BASE}/metrics"
    return s


def prometheus():
    s = System("Prometheus, 1 copy")
    config = os.path.join(s.dir, "prometheus.yml")
    open(config, "w").write("global: {scrape_interval: 1h}\n")
    s.run("prometheus", f"--config.file={config}", f"--storage.tsdb.path={s.dir}/data", f"--web.listen-address=127.0.0.1:{BASE + 10}",
          "--web.enable-remote-write-receiver")
    wait_http(f"http://127.0.0.1:{BASE + 10}/-/ready")
    s.push, s.query = f"http://127.0.0.1:{BASE + 10}/api/v1/write", f"http://127.0.0.1:{BASE + 10}/api/v1"
    s.ingesters = s.pids()
    s.ready, s.metrics = f"http://127.0.0.1:{BASE + 10}/-/ready", None
    return s


def victoria():
    s = System("VictoriaMetrics, 1 copy")
    s.run("victoria-metrics", f"-storageDataPath={s.dir}/data", f"-httpListenAddr=127.0.0.1:{BASE + 11}", "-retentionPeriod=1y",
          "-search.maxSeries=10000000")
    wait_http(f"http://127.0.0.1:{BASE + 11}/health")
    s.push, s.query = f"http://127.0.0.1:{BASE + 11}/api/v1/write", f"http://127.0.0.1:{BASE + 11}/api/v1"
    s.ingesters = s.pids()
    s.ready, s.metrics = f"http://127.0.0.1:{BASE + 11}/health", None
    return s


def verdicts(judged):
    """Figures where less is better come negated."""
    lines = ["| figure of torc | measured | must | goal | |", "|---|---|---|---|---|"]
    for name, value, must, goal, form in judged:
        ok = [word for word, bound in (("must", must), ("goal", goal)) if bound is not None and value >= bound]
        cells = ["-" if bound is None else form.format(abs(bound)) for bound in (must, goal)]
        lines.append(f"| {name} | {form.format(abs(value))} | {cells[0]} | {cells[1]} | {' and '.join(ok) or ('short' if (must, goal) != (None, None) else '')} |")
    return lines
