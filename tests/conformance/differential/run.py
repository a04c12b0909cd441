#!/usr/bin/env python3
"""Asks a real Prometheus (Debian's 2.42) and a torc cluster the same, over the same samples: random queries, and the list of the compliance tester.
A third of the samples is in blocks of the cluster, which are merged while queries are answered; the rest is in heads, out of order, and not in every replica.

  run.py [--seed N] [--queries N] [--only I]

Ends with "N passed, N failed"."""
import argparse
import concurrent.futures
import http.client
import json
import math
import os
import sys
import threading
import urllib.parse

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "../../interop")]
import compliance
import data
import generate
import procs
import remote_write as rw
import selfcheck

LIST = os.path.join(procs.ROOT, "../shared/conformance/compliance/promql-test-queries.yml")
SECONDS = 6300        # of random data
DEMO_SECONDS = 6000   # of the compliance list's
TOLERANCE = 1e-9
NOTHING = 1e-12       # 2.42 averages without compensation: what should be 0 is some 1e-17
TENANT = "differential"
BATCH_S = 600
ASKING = 6            # queries at a time
# Replicas shall differ: what an ingester missed is not taken over from the others in this time.
FLAGS = ["--ingester.sync-bytes-per-second=1", "--compactor.interval=1s", "--compactor.settle=0s", "--limits.retention_period=0", "--limits.max_sample_age=0", "--limits.creation_grace_period=0", "--limits.query_request_rate=100000", "--limits.ingestion_rate=0",
         "--limits.out_of_order_window=1h"]


class Server:
    """One side's query API; a connection per thread."""

    def __init__(self, port, path, headers):
        self.port, self.path, self.headers, self.local = port, path, headers, threading.local()

    def ask(self, endpoint, params):
        body = urllib.parse.urlencode(params)
        headers = {"Content-Type": "application/x-www-form-urlencoded", **self.headers}
        for last in (False, True):
            try:
                if not hasattr(self.local, "conn"):
                    self.local.conn = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
                self.local.conn.request("POST", self.path + endpoint, body, headers)
                return json.loads(self.local.conn.getresponse().read())
            except (OSError, http.client.HTTPException):
                del self.local.conn
                if last:
                    raise


def encode(series, start_ms, end_ms):
    """What lies in [start, end) as a request; None: nothing."""
    out = []
    for s in series:
        part = [rw.sample(t, v) for t, v in s.samples if start_ms <= t < end_ms]
        if part:
            out.append(rw.series(s.labels, *part))
    return rw.snappy(b"".join(out)) if out else None


def push(url, headers, series, spans):
    for start, end in spans:
        body = encode(series, data.T0 + start * 1000, data.T0 + end * 1000)
        if body:
            status, text = procs.http(url, data=body, headers={**rw.HEADERS, **headers})
            if status // 100 != 2:
                raise RuntimeError(f"{url}: {status} {text[:500]}")


def spans(start_s, end_s):
    """In steps of time: a Prometheus takes nothing that is much older than its newest sample."""
    return [(at, min(at + BATCH_S, end_s)) for at in range(start_s, end_s, BATCH_S)]


def crossed(parts):
    """The later half of each first."""
    return [half for start, end in parts for half in (((start + end) // 2, end), (start, (start + end) // 2))]


# --- comparing ---
def number_eq(a, b):
    x, y = float(a), float(b)
    if math.isnan(x) or math.isnan(y):
        return math.isnan(x) and math.isnan(y)
    if math.isinf(x) or math.isinf(y):
        return x == y
    return abs(x - y) <= max(TOLERANCE * max(abs(x), abs(y)), NOTHING)


def points(entry):
    return entry["values"] if "values" in entry else [entry["value"]]


def by_labels(result):
    return {tuple(sorted(e["metric"].items())): points(e) for e in result}


def points_eq(a, b):
    return len(a) == len(b) and all(p[0] == q[0] and number_eq(p[1], q[1]) for p, q in zip(a, b))


def difference(want, got):
    """None when equal, else what differs."""
    if want["status"] != got["status"]:
        return f"{want['status']} ({want.get('error')}) / {got['status']} ({got.get('error')})"
    if want["status"] == "error":
        return None if want["errorType"] == got["errorType"] else f"error types: {want['errorType']}: {want['error']} / {got['errorType']}: {got['error']}"
    a, b = want["data"], got["data"]
    if a["resultType"] != b["resultType"]:
        return f"types: {a['resultType']} / {b['resultType']}"
    if a["resultType"] == "scalar":
        return None if points_eq([a["result"]], [b["result"]]) else f"{a['result']} / {b['result']}"
    x, y = by_labels(a["result"]), by_labels(b["result"])
    if len(y) != len(b["result"]):
        return "a label set comes twice"
    for labels in sorted(x.keys() | y.keys()):
        if labels not in x or labels not in y:
            return f"only {'the first' if labels in x else 'the second'} has {dict(labels)}"
        if not points_eq(x[labels], y[labels]):
            pairs = [(p, q) for p, q in zip(x[labels], y[labels]) if not points_eq([p], [q])]
            return f"{dict(labels)}: {len(x[labels])} / {len(y[labels])} points, first difference {pairs[:1]}"
    return None


def is_empty(answer):
    return answer["status"] != "success" or not answer["data"]["result"]


class Tally:
    def __init__(self, cases):
        self.cases, self.lock, self.empty, self.errors = cases, threading.Lock(), 0, 0

    def judge(self, name, query, params, sides):
        endpoint = "query_range" if "step" in params else "query"
        want, got = (side.ask(endpoint, {"query": query, **params}) for side in sides)
        found = difference(want, got)
        with self.lock:
            self.errors += want["status"] == "error"
            self.empty += is_empty(want)
            if query in compliance.DIFFERENCES:
                self.cases.check(f"{name}: {query}: differs as documented", found is not None)
            else:
                self.cases.check(f"{name}: {query}", found is None, params, found)


def ms_text(ms):
    return f"{ms // 1000}.{ms % 1000:03d}"


def random_queries(seed, count):
    """[(name, query, params)]"""
    out = []
    for i in range(count):
        # A generator each, so that one query can be asked alone.
        rng = data.rng_of(seed, f"query {i}")
        query = generate.Generator(rng, data.T0 // 1000, SECONDS).query()
        at = data.T0 + rng.randrange(SECONDS // 2, SECONDS + 200) * 1000 + data.QUERY_PHASE
        if rng.random() < 0.5:
            params = {"time": ms_text(at)}
        else:
            step = rng.choice([7, 15, 30, 60, 61])
            params = {"start": ms_text(at - step * rng.randrange(1, 40) * 1000), "end": ms_text(at), "step": step}
        out.append((f"{seed}/{i}", query, params))
    return out


def compliance_queries(path):
    end = data.T0 + (DEMO_SECONDS - 720) * 1000 + data.QUERY_PHASE
    params = {"start": ms_text(end - 600_000), "end": ms_text(end), "step": 10}
    return [("compliance", q, params) for q in compliance.expand(path)]


def start(scratch):
    cluster = scratch.cluster(FLAGS)
    cluster.up()
    port = procs.free_port()
    with open(scratch.path("prometheus.yml"), "w", encoding="utf-8") as f:
        f.write("global: {}\n")
    scratch.start("prometheus", "prometheus", f"--config.file={scratch.path('prometheus.yml')}", f"--storage.tsdb.path={scratch.path('prometheus')}",
                  f"--web.listen-address=127.0.0.1:{port}", "--web.enable-remote-write-receiver", "--storage.tsdb.retention.time=50y")
    procs.wait_until("Prometheus is ready", 60, lambda: procs.http(f"http://127.0.0.1:{port}/-/ready")[0] == 200)
    return cluster, port


def fill_cluster(cluster, series, seconds, tenant):
    """A third in blocks, a third out of order, a third of which one replica has missed a part."""
    url, third = cluster.url("front", "/api/v1/push"), seconds // 3
    push(url, tenant, series, spans(0, third))
    for name in cluster.NAMES[1:4]:
        status, text = procs.http(cluster.url(name, "/ingester/flush"), data=b"")
        if status != 200:
            raise RuntimeError(f"flush of {name}: {status} {text[:500]}")
    push(url, tenant, series, crossed(spans(third, 2 * third)))
    parts = spans(2 * third, seconds)
    cluster.kill("ingester-2")
    push(url, tenant, series, parts[:len(parts) // 2])
    cluster.restart("ingester-2")
    push(url, tenant, series, parts[len(parts) // 2:])


def fill(cluster, port, series, seconds):
    tenant = {"X-Scope-OrgID": TENANT}
    push(f"http://127.0.0.1:{port}/api/v1/write", {}, series, spans(0, seconds))
    fill_cluster(cluster, series, seconds, tenant)
    return Server(port, "/api/v1/", {}), Server(cluster.port, "/prometheus/api/v1/", tenant)


def metric(url, name):
    """Sum over the series of one metric of a torc process."""
    lines = procs.http(url + "/metrics")[1].decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.split("{")[0].split(" ")[0] == name)


def check_paths(cases, cluster):
    """The samples came from where they were meant to."""
    front = cluster.url("front")
    cases.check("replicas differed", metric(front, "torc_querier_fetched_windows_total") > 0)
    cases.check("replicas never contradicted each other", metric(front, "torc_querier_conflicts_total") == 0)
    cases.check("blocks were merged", metric(cluster.url("compactor"), "torc_compactor_samples_written_total") > 0)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--queries", type=int, default=2000)
    parser.add_argument("--only", type=int, help="only random query I")
    parser.add_argument("--list", default=os.environ.get("TORC_COMPLIANCE_LIST", LIST), help="of the compliance tester; left out when absent")
    args = parser.parse_args()
    cases = procs.Cases()
    tally = Tally(cases)
    selfcheck.run(cases, difference)
    with procs.Scratch("differential") as scratch:
        cluster, port = start(scratch)
        series = data.random_series(data.rng_of(args.seed, "data"), SECONDS) + data.demo_series(data.rng_of(args.seed, "demo"), DEMO_SECONDS)
        sides = fill(cluster, port, series, SECONDS)
        procs.say(f"{len(series)} series, {sum(len(s.samples) for s in series)} samples on both sides")
        queries = random_queries(args.seed, args.queries)
        if args.only is not None:
            queries = queries[args.only:args.only + 1]
        elif os.path.exists(args.list):
            queries += compliance_queries(args.list)
        with concurrent.futures.ThreadPoolExecutor(ASKING) as pool:
            for done in [pool.submit(tally.judge, *q, sides) for q in queries]:
                done.result()
        procs.say(f"{len(queries)} queries; of the reference's answers {tally.errors} are errors, {tally.empty - tally.errors} empty")
        if args.only is None:
            cases.check("most answers have something to compare", tally.empty < 0.4 * len(queries), tally.empty)
            check_paths(cases, cluster)
        cluster.check_logs(cases)
        scratch.keep = cases.failed > 0
    return cases.finish()


if __name__ == "__main__":
    sys.exit(main())
