#!/usr/bin/env python3
"""tests/bench/compare.py [--series N] [--rounds N] [--out FILE]: the same load into torc (three copies), Prometheus and VictoriaMetrics (one copy each), one after
the other on this machine: samples per CPU second of all server processes together, memory per series, milliseconds of ten queries.

Each system gets the same requests from `torc loadgen --max` over two connections. CPU seconds are user + system from /proc. Needs the release
build and Debian's prometheus and victoria-metrics (tools/install test)."""
import argparse
import json
import random
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
TORC = os.environ.get("TORC_BINARY", os.path.join(ROOT, "build/release/app/torc"))
QUERIES = [
    ("count of everything", 'count({__name__!=""})', False),
    ("single series", None, False),
    ("sum of rates, range", 'sum(rate({__name__=~".+_total"}[2m]))', True),
    ("sum of rates by job, range", 'sum by (job) (rate({__name__=~".+_total"}[2m]))', True),
    ("topk of sums", 'topk(5, sum by (instance) (rate({__name__=~".+_total"}[2m])))', False),
    ("regex selection", 'count({__name__=~".*(bytes|seconds).*",instance=~".*7.*"})', False),
    ("quantile_over_time", 'avg(quantile_over_time(0.9, {__name__=~".+_total",instance=~".*1.*"}[5m]))', False),
    ("max by name, range", 'max by (__name__) ({__name__=~".+"})', True),
    ("subquery", 'max_over_time(sum(rate({__name__=~".+_total"}[1m]))[5m:30s])', False),
    ("group by instance, range", 'count by (instance) ({__name__!=""})', True),
]


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
        log = open(os.path.join(self.dir, f"{len(self.procs)}.log"), "w")
        self.procs.append(subprocess.Popen(argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL))

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


def torc():
    s = System("torc, 3 copies")
    limits = ["--limits.ingestion-rate=0", "--limits.max-sample-age=0", "--limits.request-rate=0", "--limits.creation-grace-period=0",
              "--limits.query-request-rate=0", "--limits.other-request-rate=0", "--limits.label-request-rate=0"]
    seeds = f"127.0.0.1:{BASE + 101}"
    for i in (1, 2, 3):
        s.run(TORC, "--target=ingester", f"--instance.id=ingester-{i}", f"--instance.zone=zone-{i}", "--server.http-listen-address=127.0.0.1",
              f"--server.http-listen-port={BASE + i}", f"--server.rpc-listen-address=127.0.0.1:{BASE + 100 + i}", f"--ring.seeds={seeds}",
              f"--data-dir={s.dir}/ingester-{i}", f"--bucket.url=filesystem://{s.dir}/bucket", *limits)
    s.run(TORC, "--target=distributor,querier", "--instance.id=front", "--server.http-listen-address=127.0.0.1", f"--server.http-listen-port={BASE}",
          f"--server.rpc-listen-address=127.0.0.1:{BASE + 100}", f"--ring.seeds={seeds}", f"--data-dir={s.dir}/front",
          f"--bucket.url=filesystem://{s.dir}/bucket", *limits)
    for port in range(BASE, BASE + 4):
        wait_http(f"http://127.0.0.1:{port}/ready")
        wait_ring(port, 4)
    s.push, s.query = f"http://127.0.0.1:{BASE}/api/v1/push", f"http://127.0.0.1:{BASE}/prometheus/api/v1"
    s.ingesters = s.pids()[:3]
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
    return s


def victoria():
    s = System("VictoriaMetrics, 1 copy")
    s.run("victoria-metrics", f"-storageDataPath={s.dir}/data", f"-httpListenAddr=127.0.0.1:{BASE + 11}", "-retentionPeriod=1y",
          "-search.maxSeries=10000000")
    wait_http(f"http://127.0.0.1:{BASE + 11}/health")
    s.push, s.query = f"http://127.0.0.1:{BASE + 11}/api/v1/write", f"http://127.0.0.1:{BASE + 11}/api/v1"
    s.ingesters = s.pids()
    return s


def get(url, params):
    body = urllib.parse.urlencode(params).encode()
    with urllib.request.urlopen(urllib.request.Request(url, body), timeout=120) as f:
        return json.load(f)


def measure_queries(s, end, series_selector):
    rows = []
    for name, query, is_range in QUERIES:
        query = query or series_selector
        params = {"query": query, "nocache": "1"}
        if is_range:
            params.update(start=end - 600, end=end, step=15)
        else:
            params.update(time=end)
        best = None
        for _ in range(3):
            begin = time.perf_counter()
            answer = get(f"{s.query}/{'query_range' if is_range else 'query'}", params)
            took = (time.perf_counter() - begin) * 1000
            best = took if best is None else min(best, took)
        rows.append((name, best, len(answer["data"]["result"])))
    return rows


def run_one(make, args):
    s = make()
    try:
        if any(p.poll() is not None for p in s.procs):
            sys.exit(f"{s.name}: a process ended at its start, see {s.dir}")
        before = cpu_seconds(s.pids())
        out = subprocess.run([TORC, "loadgen", "--url", s.push, "--series", str(args.series), "--rounds", str(args.rounds), "--interval", "15s", "--max",
                              "--backfill", f"{args.rounds * 15}s",
                              "--connections", "2", "--batch", "2000", "--json"], capture_output=True, text=True, check=False)
        if out.returncode != 0:
            sys.exit(f"{s.name}: the generator failed: {out.stderr[-2000:]}")
        report = json.loads(out.stdout)
        time.sleep(1)
        cpu = cpu_seconds(s.pids()) - before
        rss = sum(rss_bytes(p) for p in s.ingesters) / len(s.ingesters)
        end = int(time.time()) - 5
        first = get(f"{s.query}/query", {"query": "topk(1, {__name__=~\".+_total\"})", "time": end})["data"]["result"][0]["metric"]
        name = first.pop("__name__")
        selector = name + "{" + ",".join(f"{k}={json.dumps(v)}" for k, v in sorted(first.items())) + "}"
        queries = measure_queries(s, end, selector)
        return s.name, report["samples_acked"], cpu, rss, report["elapsed"], queries
    finally:
        s.stop()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--series", type=int, default=100000)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--out")
    args = parser.parse_args()
    results = []
    for make in (torc, prometheus, victoria):
        results.append(run_one(make, args))
        print(f"{results[-1][:5]}", file=sys.stderr)
    lines = [f"{args.series} series x {args.rounds} rounds, 2,000 samples a request, two connections", "",
             "| | samples | wall s | server CPU s | samples per CPU second | RSS per series (and ingester) |", "|---|---|---|---|---|---|"]
    for name, samples, cpu, rss, wall, _ in results:
        lines.append(f"| {name} | {samples:,} | {wall:.1f} | {cpu:.1f} | {samples / max(cpu, 0.01):,.0f} | {rss / args.series:,.0f} B |")
    lines += ["", "Queries, best of three, milliseconds (result series):", "", "| query | " + " | ".join(r[0] for r in results) + " |",
              "|---" * (len(results) + 1) + "|"]
    for i, (name, _, _) in enumerate(QUERIES):
        lines.append(f"| {name} | " + " | ".join(f"{r[5][i][1]:.1f} ({r[5][i][2]})" for r in results) + " |")
    text = "\n".join(lines) + "\n"
    print(text)
    if args.out:
        open(args.out, "w").write(text)


if __name__ == "__main__":
    main()
