#!/usr/bin/python3
"""tests/bench/query [--series N] [--rounds N] [--repeat N] [--systems torc,prometheus,victoria] [--out FILE] [--hold] [--curve N,N,..]: twelve queries against torc (three
copies), Prometheus and VictoriaMetrics (one copy each) over the same data, one system after the other on this machine. With --curve: torc alone, at each of these numbers of
series, and what a series (and so a sample) costs at each against the first.

Data: nine labels, rounds 15 s apart that end now; of each 500 series 200 are counters, 60 buckets of classic histograms, 100 gauges, 80 constants (one of them
build_info) and 60 noise. Every system gets the same remote-write requests. Milliseconds are the median of --repeat requests after one that is not counted
(nocache=1, answers read to the end); memory is how far the peak RSS of all server processes rises above what they had before the first query.
torc's answers are compared with Prometheus's, label sets and values. --hold keeps the last system running until Enter (for perf).
Needs the release build, Debian's prometheus and victoria-metrics, python3-snappy."""
import argparse
import http.client
import json
import math
import random
import statistics
import struct
import sys
import time
import urllib.parse

import snappy

import compare

STEP_MS = 15000
PER_INSTANCE = 500
JOBS, REGIONS, ENVS = 10, 4, 2
LE = ["0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "+Inf"]
REGEX = r'{__name__=~".*(ops|errors).*_total",job=~"job-[2-6]",instance=~".*[13579]:9100",handler=~"/api/v[0-4]/.*"}'
# name, query, endpoint: range queries take the last ten minutes at 15 s.
QUERIES = [
    ("sum of rates", 'sum(rate({__name__=~"svc.*_total"}[2m]))', "range"),
    ("sum of rates by job", 'sum by (job) (rate({__name__=~"svc.*_total"}[2m]))', "range"),
    ("topk over sum by instance", 'topk(5, sum by (instance) (rate({__name__=~"svc.*_total"}[2m])))', "range"),
    ("count of everything", 'count({__name__!=""})', "instant"),
    ("single series", 'svc_ops_3_total{instance="host-7:9100",handler="/api/v1/item-31"}', "range"),
    ("regex-heavy selection", f"sum by (job, handler) ({REGEX})", "range"),
    ("quantile_over_time", 'max by (job) (quantile_over_time(0.9, {__name__=~"svc_level_.*"}[5m]))', "range"),
    ("histogram_quantile", 'histogram_quantile(0.99, sum by (le, job) (rate(svc_request_seconds_bucket[2m])))', "range"),
    ("many-to-one join", 'sum by (version) (rate(svc_ops_1_total[2m]) * on (instance, job) group_left (version) svc_build_info)', "range"),
    ("subquery", 'max_over_time(sum by (job) (rate({__name__=~"svc_ops_.*_total"}[1m]))[5m:30s])', "instant"),
    ("label values", "instance", "values"),
    ("series with limit", '{__name__=~"svc.*"}', "series"),
]


def varint(n):
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    out.append(n)
    return bytes(out)


def field(number, data):
    return varint(number << 3 | 2) + varint(len(data)) + data


def labels_of(i):
    """Labels and kind of series i."""
    instance, k = divmod(i, PER_INSTANCE)
    ls = {"job": f"job-{instance % JOBS}", "instance": f"host-{instance}:9100", "region": f"region-{instance % REGIONS}", "env": f"env-{instance % ENVS}",
          "namespace": f"team-{instance % 17}", "pod": f"pod-{instance:05d}-{instance * 2654435761 % 99991:05d}"}
    if k < 200:
        kind, name, ls["handler"] = "counter", ("svc_ops_%d_total" if k < 140 else "svc_errors_%d_total") % (k // 10), f"/api/v{k % 10}/item-{k}"
    elif k < 260:
        kind, name, ls["handler"] = "bucket", "svc_request_seconds_bucket", f"/api/v{(k - 200) // 12}/item"
        ls["le"] = LE[(k - 200) % 12]
    elif k < 360:
        kind, name, ls["handler"] = "gauge", f"svc_level_{(k - 260) // 10}_bytes", f"/api/v{k % 10}/item-{k}"
    elif k < 439:
        kind, name, ls["handler"] = "constant", f"svc_limit_{(k - 360) // 10}_bytes", f"/api/v{k % 10}/item-{k}"
    elif k == 439:
        kind, name, ls["version"] = "one", "svc_build_info", f"1.{instance % 7}.0"
    else:
        kind, name, ls["handler"] = "noise", f"svc_noise_{(k - 440) // 10}_ratio", f"/api/v{k % 10}/item-{k}"
    ls["__name__"] = name
    if "le" not in ls:
        ls["cluster"] = f"cluster-{instance % 3}"
    return ls, kind


class Series:
    def __init__(self, i):
        ls, self.kind = labels_of(i)
        assert kind_has_nine(ls)
        self.head = b"".join(field(1, field(1, k.encode()) + field(2, v.encode())) for k, v in sorted(ls.items()))
        self.rng = random.Random(i)
        self.value = float(self.rng.randrange(1000000)) if self.kind in ("counter", "bucket", "gauge", "constant") else 1.0
        self.pace = self.rng.randrange(1, 200)
        if self.kind == "bucket":
            self.value, self.pace = 0.0, (i % PER_INSTANCE - 200) % 12 + 1

    def next(self):
        if self.kind == "counter":
            self.value += self.rng.randrange(self.pace + 1)
        elif self.kind == "bucket":
            self.value += self.pace * 3.0
        elif self.kind == "gauge":
            self.value = round(self.value + self.rng.uniform(-50, 50), 2)
        elif self.kind == "noise":
            self.value = self.rng.random()
        return self.value


def kind_has_nine(ls):
    return len(ls) == 9


def requests(count, rounds, start_ms):
    """Bodies: rounds in groups of ten, 500 series each."""
    series, bodies = [Series(i) for i in range(count)], []
    for first in range(0, rounds, 10):
        n = min(10, rounds - first)
        times = [varint((start_ms + (first + r) * STEP_MS) & (1 << 64) - 1) for r in range(n)]
        for at in range(0, count, 500):
            out = []
            for s in series[at:at + 500]:
                samples = b"".join(b"\x12" + varint(10 + len(t)) + b"\x09" + struct.pack("<d", s.next()) + b"\x10" + t for t in times)
                out.append(field(1, s.head + samples))
            bodies.append(snappy.compress(b"".join(out)))
    return bodies


def split(url):
    u = urllib.parse.urlsplit(url)
    return http.client.HTTPConnection(u.hostname, u.port, timeout=300), u.path


def push(url, bodies):
    conn, path = split(url)
    headers = {"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy", "X-Prometheus-Remote-Write-Version": "0.1.0"}
    for body in bodies:
        while True:
            conn.request("POST", path, body, headers)
            answer = conn.getresponse()
            text = answer.read()
            if answer.status // 100 == 2:
                break
            if answer.status // 100 == 4 and answer.status != 429:
                sys.exit(f"{url}: {answer.status} {text[:400]}")
            time.sleep(0.2)
    conn.close()


class Client:
    def __init__(self, system):
        self.conn, self.base = split(system.query)

    def get(self, path, params):
        """Milliseconds to the last byte, and the body."""
        begin = time.perf_counter()
        self.conn.request("GET", f"{self.base}/{path}?{urllib.parse.urlencode(params)}")
        answer = self.conn.getresponse()
        body = answer.read()
        took = (time.perf_counter() - begin) * 1000
        if answer.status != 200:
            sys.exit(f"{path} {params}: {answer.status} {body[:600]}")
        return took, body

    def ask(self, query, kind, end):
        if kind == "range":
            return self.get("query_range", {"query": query, "start": end - 600, "end": end, "step": 15, "nocache": 1})
        if kind == "instant":
            return self.get("query", {"query": query, "time": end, "nocache": 1})
        if kind == "values":
            return self.get(f"label/{query}/values", {"start": end - 600, "end": end})
        return self.get("series", {"match[]": query, "start": end - 600, "end": end, "limit": 1000})


def peak_reset(pids):
    for pid in pids:
        with open(f"/proc/{pid}/clear_refs", "w") as f:
            f.write("5")


def peak_bytes(pids):
    total = 0
    for pid in pids:
        for line in open(f"/proc/{pid}/status"):
            if line.startswith("VmHWM:"):
                total += int(line.split()[1]) * 1024
    return total


def answer_of(body, kind):
    """Comparable: label sets with their values, or how many rows."""
    data = json.loads(body)["data"]
    if kind in ("values", "series"):
        return len(data)
    out = {}
    for s in data["result"]:
        key = json.dumps(s["metric"], sort_keys=True)
        out[key] = [(t, float(v)) for t, v in s.get("values") or [s["value"]]]
    return out


def same(a, b):
    if not isinstance(a, dict):
        return a == b
    if a.keys() != b.keys():
        return False
    for key, v in a.items():
        differ = [(p, q) for p, q in zip(v, b[key]) if p[0] != q[0] or not math.isclose(p[1], q[1], rel_tol=1e-9, abs_tol=1e-9)]
        if len(v) != len(b[key]) or differ:
            print(f"differs: {key}: {len(v)} and {len(b[key])} points, first {differ[:1]}", file=sys.stderr)
            return False
    return True


def run(make, bodies, end, args, hold):
    s = make()
    try:
        push(s.push, bodies)
        client = Client(s)
        if make is compare.victoria:
            conn, _ = split(s.query)
            conn.request("GET", "/internal/force_flush")
            conn.getresponse().read()
        time.sleep(2)
        rows = []
        peak_reset(s.pids())
        before = sum(compare.rss_bytes(p) for p in s.pids())
        for name, query, kind in QUERIES:
            _, body = client.ask(query, kind, end)
            if not rows:
                growth = peak_bytes(s.pids()) - before
            cpu = compare.cpu_seconds(s.pids())
            times = [client.ask(query, kind, end)[0] for _ in range(args.repeat)]
            cpu = (compare.cpu_seconds(s.pids()) - cpu) * 1000 / args.repeat
            rows.append((name, statistics.median(times), answer_of(body, kind), cpu))
            print(f"{s.name}: {name}: {rows[-1][1]:.1f} ms, CPU {cpu:.0f} ms", file=sys.stderr)
        if hold:
            print(f"pids {s.pids()}, {s.query}, end {end}; Enter stops it", file=sys.stderr)
            sys.stdin.readline()
        return s.name, rows, growth
    finally:
        s.stop()


def table(results, args):
    names = [r[0] for r in results]
    lines = [f"{args.series} series x {args.rounds} rounds, nine labels; median of {args.repeat}, milliseconds", "",
             "| query | " + " | ".join(names) + "".join(f" | {n.split(',')[0]} / torc" for n in names[1:]) + " | rows | agrees with Prometheus |",
             "|---" * (2 * len(names) + 2) + "|"]
    ratios = [[] for _ in names[1:]]
    for i, (name, _, _) in enumerate(QUERIES):
        ms = [r[1][i][1] for r in results]
        for k, m in enumerate(ms[1:]):
            ratios[k].append(m / ms[0])
        rows = results[0][1][i][2]
        agrees = same(rows, results[1][1][i][2]) if len(results) > 1 and "Prometheus" in names[1] else None
        lines.append(f"| {name} | " + " | ".join(f"{m:.1f}" for m in ms) + "".join(f" | {m / ms[0]:.1f}" for m in ms[1:])
                     + f" | {rows if isinstance(rows, int) else len(rows)} | {'-' if agrees is None else 'yes' if agrees else 'NO'} |")
    lines.append("| **median** | " + " | ".join("" for _ in names) + "".join(f" | {statistics.median(r):.1f}" for r in ratios) + " | | |")
    slower = [f"{name} ({n.split(',')[0]})" for n, r in zip(names[1:], ratios) for (name, _, _), x in zip(QUERIES, r) if x < 1]
    lines += ["", "Slower than a rival: " + (", ".join(slower) or "none")]
    lines += ["", "CPU milliseconds a query, user and system, of all server processes together (ticks of 10 ms, over the repetitions):", "",
              "| query | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for i, (name, _, _) in enumerate(QUERIES):
        lines.append(f"| {name} | " + " | ".join(f"{r[1][i][3]:.0f}" for r in results) + " |")
    lines += ["", "Peak RSS growth in the first query (all processes): " + ", ".join(f"{n} {g / 1e6:.0f} MB" for n, _, g in results)]
    return "\n".join(lines) + "\n"


def curve(args):
    """The same queries at several sizes; what is asked of one series, or stops at a limit, is left out of the comparison."""
    sizes, columns = [int(n) for n in args.curve.split(",")], []
    for n in sizes:
        end_ms = int(time.time()) // 15 * STEP_MS - 11000
        bodies = requests(n, args.rounds, end_ms - (args.rounds - 1) * STEP_MS)
        # CPU times come in ticks of 10 ms: small sizes are asked more often.
        often = argparse.Namespace(**{**vars(args), "repeat": min(100, max(args.repeat, args.repeat * max(sizes) // n // 10))})
        _, rows, _ = run(compare.torc, bodies, end_ms // 1000 + 7, often, False)
        columns.append([(ms, cpu) for _, ms, _, cpu in rows])
    lines = [f"{args.rounds} rounds; milliseconds (CPU milliseconds of all processes), and CPU time per series against {sizes[0]:,} series", "",
             "| query | " + " | ".join(f"{n:,} series" for n in sizes) + " | " + " | ".join(f"per series at {n:,}" for n in sizes[1:]) + " |", "|---" * (2 * len(sizes)) + "|"]
    for i, (name, _, _) in enumerate(QUERIES):
        cells = [f"{c[i][0]:.1f} ({c[i][1]:.0f})" for c in columns]
        whole = name not in ("single series", "series with limit", "label values")
        per = [f"{c[i][1] / n / (columns[0][i][1] / sizes[0]):.2f}" if whole and columns[0][i][1] else "-" for n, c in zip(sizes[1:], columns[1:])]
        lines.append(f"| {name} | " + " | ".join(cells + per) + " |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=100000)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--systems", default="torc,prometheus,victoria")
    parser.add_argument("--out")
    parser.add_argument("--hold", action="store_true")
    parser.add_argument("--curve")
    args = parser.parse_args()
    if args.curve:
        text = curve(args)
        print(text)
        if args.out:
            with open(args.out, "w") as f:
                f.write(text)
        return
    end_ms = int(time.time()) // 15 * STEP_MS - 11000  # off the multiples of steps: see below
    bodies = requests(args.series, args.rounds, end_ms - (args.rounds - 1) * STEP_MS)
    print(f"{len(bodies)} requests, {sum(map(len, bodies)) / 1e6:.0f} MB", file=sys.stderr)
    makes = [getattr(compare, name) for name in args.systems.split(",")]
    # Windows begin and end between two samples: 2.x still counts a sample at the left bound.
    results = [run(make, bodies, end_ms // 1000 + 7, args, args.hold and make is makes[-1]) for make in makes]
    text = table(results, args)
    print(text)
    if args.out:
        with open(args.out, "w") as f:
            f.write(text)


if __name__ == "__main__":
    main()
