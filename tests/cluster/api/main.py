#!/usr/bin/env python3
"""tests/cluster/api/main.py: the query API of a local cluster as its clients use it: what Grafana sends, remote read (also by a real Prometheus, and byte for byte against one), traces,
plans, statistics, Remote Write 2.0, running queries, cancelling, and two queriers that share queries. Ends with "N passed, N failed"."""
import json
import math
import os
import signal
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "interop"))
import grafana
import promread
import remote_write as rw
import write2
from procs import BINARY, Api, Cases, Scratch, free_port, http, wait_until

STEP_MS, ROUNDS = 15000, 100
HEAVY = 'sum(quantile_over_time(0.3, {__name__=~"load_.*"}[20m:1s]))'


def values(i, k):
    return float((i + 1) * k) if i % 3 else (i + 0.25) * 1.5 ** (k % 17)


def data(begin_ms):
    """Requests: counters, a gauge, native histograms, exemplars, metadata, and 400 series of load. All of one round lies in one request."""
    out = [rw.metadata("app_requests_total", 1, "Requests.") + rw.metadata("app_latency_seconds", 3, "Latency.", "seconds")]
    for k in range(ROUNDS):
        t, body = begin_ms + k * STEP_MS, b""
        for i in range(6):
            ls = {"__name__": "app_requests_total", "job": "api", "handler": f"/h{i}", "instance": "a:1"}
            body += rw.series(ls, rw.sample(t, values(i, k)), rw.exemplar({"trace_id": f"{k:04x}"}, t, 1.0) if i == 0 else b"")
        body += rw.series({"__name__": "app_start_time", "job": "api", "service.name": "shop"}, rw.sample(t, 5.0))
        body += rw.series({"__name__": "app_latency_seconds", "job": "api"}, rw.histogram(t, 2, 10 * (k + 1), 7.5 * (k + 1), 0, {0: 4 * (k + 1), 3: 6 * (k + 1)}))
        for g in range(8):  # groups of a float and a histogram, which have no sum
            body += rw.series({"__name__": "mixed", "g": str(g), "kind": "float"}, rw.sample(t, 1.0))
            body += rw.series({"__name__": "mixed", "g": str(g), "kind": "hist"}, rw.histogram(t, 2, 5, 7.5, 0, {0: 5}))
        for i in range(400):
            body += rw.series({"__name__": f"load_{i % 7}", "i": str(i)}, rw.sample(t, float(i * 7 % 13 + k)))
        out.append(body)
    return out


def push(url, bodies):
    for body in bodies:
        status, text = http(url, data=rw.snappy(body), headers=rw.HEADERS)
        if status // 100 != 2:
            raise RuntimeError(f"{url}: {status} {text[:300]}")


def check_remote_read(cases, base, prometheus, begin, end):
    url = f"{base}/api/v1/read"
    matchers = [(0, "__name__", "app_requests_total"), (2, "handler", "/h[0-3]")]
    status, headers, body = promread.post(url, promread.request([(begin, end, matchers), (begin, begin + 4 * STEP_MS, [(0, "__name__", "app_start_time")])]))
    cases.check("remote read: samples are snappy", status == 200 and headers["Content-Encoding"] == "snappy" and headers["Content-Type"] == "application/x-protobuf", status, headers)
    results = promread.samples_of(body)
    want = [[(begin + k * STEP_MS, values(i, k)) for k in range(ROUNDS)] for i in range(4)]
    cases.check("remote read: results in the order of the queries", len(results) == 2 and len(results[0]) == 4 and len(results[1]) == 1, results and [len(r) for r in results])
    got = [points for _, (points, _) in sorted(results[0].items())]
    cases.check("remote read: every sample, exactly", got == want, got[0][:3], want[0][:3])
    cases.check("remote read: both ends are included", len(next(iter(results[1].values()))[0]) == 5, results[1])
    cases.check("remote read: series are in the order of their labels", list(results[0]) == sorted(results[0]), list(results[0]))
    status, headers, body = promread.post(url, promread.request([(begin, end, matchers)], [promread.CHUNKS, promread.SAMPLES]))
    stream = headers["Content-Type"] == "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse"
    cases.check("remote read: a stream when asked for", status == 200 and stream and headers["Content-Encoding"] is None, status, headers)
    frames = promread.frames_of(body)
    got = [[s for c in chunks for s in promread.xor_chunk(c[3])] for _, _, chunks in frames]
    cases.check("remote read: the stream's chunks hold the same", got == want, got[0][:3])
    _, _, theirs = promread.post(f"{prometheus}/api/v1/read", promread.request([(begin, end, matchers)], [promread.CHUNKS]))
    theirs = promread.frames_of(theirs)
    cases.check("remote read: frames are those of Prometheus, byte for byte", [f[1:] for f in frames] == [f[1:] for f in theirs],
                frames[0][1:], theirs[0][1:])
    hist = [(0, "__name__", "app_latency_seconds")]
    _, _, body = promread.post(url, promread.request([(begin, end, hist)], [promread.CHUNKS]))
    chunks = promread.frames_of(body)[0][2]
    counts = [c[3][0] << 8 | c[3][1] for c in chunks]
    cases.check("remote read: histograms stream as float histograms", {c[2] for c in chunks} == {3} and sum(counts) == ROUNDS, counts)
    _, _, body = promread.post(url, promread.request([(begin, end, hist)]))
    cases.check("remote read: histograms among samples", [h for _, h in promread.samples_of(body)[0].values()] == [ROUNDS], body[:80])
    for name, bytes_, raw, code in (("not snappy", b"\xff" * 20, True, 400), ("not protobuf", b"\x0a\x05abc", False, 400), ("no known type", promread.request([(0, 1, hist)], [7]), False, 400),
                                    ("a bad regular expression", promread.request([(0, 1, [(2, "a", "(")])]), False, 400), ("a claim of 4 GiB", b"\xff\xff\xff\xff\x0f", True, 400),
                                    ("an unknown matcher", promread.request([(0, 1, [(9, "a", "b")])]), False, 400)):
        status, _, body = promread.post(url, bytes_, raw)
        cases.check(f"remote read: {name} is {code} with a reason", status == code and body.strip(), status, body)


def check_real_reader(cases, s, base, begin, end):
    """A Prometheus without data of its own reads ours."""
    port = free_port()
    with open(s.path("reader.yml"), "w", encoding="ascii") as f:
        f.write(f"global: {{scrape_interval: 1h}}\nremote_read:\n- url: {base}/api/v1/read\n  read_recent: true\n")
    s.start("reader", "prometheus", f"--config.file={s.path('reader.yml')}", f"--storage.tsdb.path={s.path('reader')}", f"--web.listen-address=127.0.0.1:{port}")
    reader, ours = Api(f"http://127.0.0.1:{port}"), Api(base)
    wait_until("the reading Prometheus", 60, lambda: http(f"http://127.0.0.1:{port}/-/ready")[0] == 200)
    for query in ("app_requests_total", 'sum by (job) (rate(app_requests_total{handler=~"/h[1-4]"}[2m]))', 'count({__name__=~"load_.*"})', "max_over_time(app_requests_total[5m])"):
        params = {"query": query, "start": begin // 1000 + 307, "end": end // 1000 - 8, "step": 15}
        a, b = reader.get("query_range", **params), ours.get("query_range", **params)
        cases.check(f"remote read: a real Prometheus reads {query}", near(a, b) and a["data"]["result"], json.dumps(a)[:300], json.dumps(b)[:300])


def near(a, b):
    """Equal, but for the last bits of numbers: sums may be added in another order."""
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(near(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(near(x, y) for x, y in zip(a, b))
    try:
        return a == b or math.isclose(float(a), float(b), rel_tol=1e-12)
    except (TypeError, ValueError):
        return False


def walk(node):
    yield node
    for child in node.get("children", []):
        yield from walk(child)


def check_trace_and_plan(cases, base, begin, end):
    params = {"query": "sum by (job) (rate(app_requests_total[1m]))", "start": begin // 1000, "end": end // 1000, "step": 15}
    status, body = http(f"{base}/api/v1/query_range", {**params, "trace": 1})
    trace = json.loads(body).get("trace", {})
    nodes = list(walk(trace)) if trace else []
    texts = [n["message"] for n in nodes]
    cases.check("trace: a tree with durations", nodes and all(n["duration_msec"] >= 0 for n in nodes), body[-300:])
    for part in ("parse", "eval sum by (job)", "eval rate(", "select from", "for samples", "for what it has", "head shard"):
        cases.check(f"trace: says {part!r}", any(part in t for t in texts), texts)
    cases.check("trace: of two ingesters at least", sum("ask ingester-" in t for t in texts) >= 2, texts)
    _, body = http(f"{base}/api/v1/query_range", params)
    cases.check("trace: only when asked for", b'"trace"' not in body)
    _, body = http(f"{base}/api/v1/explain", params)
    plan = json.loads(body)["data"]
    selectors = [n for n in walk(plan["plan"]) if "estimate" in n]
    cases.check("explain: the plan names its selector with an estimate", len(selectors) == 1 and selectors[0]["estimate"]["series"] == 6, body)
    cases.check("explain: samples are estimated within a fifth", abs(plan["estimate"]["samples"] - 6 * ROUNDS) < 6 * ROUNDS / 5, plan["estimate"])
    cases.check("explain: sums can be sharded, steps are independent", any(n.get("shardable") for n in walk(plan["plan"])) and plan["stepsIndependent"], body)
    _, body = http(f"{base}/api/v1/explain", {"query": "sum("})
    cases.check("explain: a mistake is bad_data", json.loads(body)["errorType"] == "bad_data", body)
    for query in ("up offset 292y", "up @ 9e15 offset -292y", "max_over_time(up[292y:1y] offset 292y)"):
        status, body = http(f"{base}/api/v1/explain", {"query": query})
        cases.check(f"explain: extreme times: {query}", status in (200, 400) and json.loads(body)["status"], status, body)
    head = json.loads(http(f"{base}/api/v1/status/tsdb", {"limit": 3})[1])["data"]
    cases.check("tsdb: series count once, whatever the replicas", head["headStats"]["numSeries"] == 424, head["headStats"])
    names = {r["name"]: r["value"] for r in json.loads(http(f"{base}/api/v1/status/tsdb", {"limit": 100})[1])["data"]["seriesCountByMetricName"]}
    cases.check("tsdb: series by metric", names["app_requests_total"] == 6 and names["load_0"] == 58, names)
    cases.check("tsdb: limit", len(head["seriesCountByLabelValuePair"]) == 3, head)


def check_running(cases, base, end, where, querier):
    """A query that runs at the querier `where`, whose name is given, seen and cancelled through base."""
    answers = []
    params = {"query": HEAVY, "start": end // 1000 - 20000, "end": end // 1000, "step": 2, "nocache": 1}
    t = threading.Thread(target=lambda: answers.append((http(f"{where}/api/v1/query_range", params, timeout=300), time.monotonic())))
    t.start()
    listed = []

    def seen():
        listed[:] = [q for q in json.loads(http(f"{base}/api/v1/status/active_queries")[1])["data"] if q["query"] == HEAVY]
        return listed or answers
    wait_until("the query in the list", 30, seen)
    cases.check("active queries: the running one is listed", listed and {"duration", "id", "remote_addr", "query", "start", "end", "step"} <= set(listed[0]), listed, answers)
    cases.check("active queries: with its querier", listed and listed[0]["querier"] == querier, listed)
    if listed:
        status, body = http(f"{base}/api/v1/status/active_queries/cancel", {"id": listed[0]["id"]}, data=b"", headers={"X-Scope-OrgID": "other"})
        since = time.monotonic()
        cases.check("cancel: is answered", status in (200, 404), status, body)
        status, body = http(f"{base}/api/v1/status/active_queries/cancel", {"id": listed[0]["id"]}, data=b"")
        cases.check("cancel: says where it ran", status == 200 and json.loads(body)["data"] == {"id": listed[0]["id"], "querier": querier}, status, body)
    t.join()
    (status, body), ended = answers[0]
    cases.check("cancel: the query ends within a second, as canceled", status == 499 and json.loads(body)["errorType"] == "canceled" and ended - since < 1, status, body[:200], ended - since)
    cases.check("cancel: nothing of it runs on", all(q["query"] != HEAVY for q in json.loads(http(f"{base}/api/v1/status/active_queries")[1])["data"]))
    status, body = http(f"{base}/api/v1/status/active_queries/cancel", {"id": "FFFFFFFF"}, data=b"")
    cases.check("cancel: an unknown id is 404", status == 404, status, body)


def check_top(cases, base, end, bases):
    """bases: URL and name of each querier."""
    query = f"count(app_requests_total) * {len(bases) + 2}"
    for url, _ in bases:
        for _ in range(3):
            http(f"{url}/api/v1/query", {"query": query, "time": end // 1000})
    top = json.loads(http(f"{base}/api/v1/status/top_queries", {"topN": 50, "maxLifetime": "10m"})[1])
    found = next((q for q in top["topByCount"] if q["query"] == query), {})
    cases.check(f"top queries: counted over {len(bases)} queriers", found.get("count") == 3 * len(bases) and sorted(found["queriers"]) == sorted(n for _, n in bases), found)
    cases.check("top queries: three lists, nobody is missing", {"topByAvgDuration", "topBySumDuration"} <= set(top) and "warnings" not in top, top.get("warnings"))


def check_queriers(cases, s, base, second, end):
    """Lists and cancelling are the same wherever they are asked for; a querier that says nothing is named."""
    check_running(cases, base, end, second, "querier-2")
    check_running(cases, second, end, base, "front")
    check_top(cases, base, end, [(base, "front"), (second, "querier-2")])
    s.procs["querier-2"].send_signal(signal.SIGSTOP)
    since = time.monotonic()
    try:
        for what in ("active_queries", "top_queries"):
            status, body = http(f"{base}/api/v1/status/{what}")
            warnings = json.loads(body).get("warnings", [])
            cases.check(f"{what}: a silent querier is named", status == 200 and len(warnings) == 1 and "querier-2" in warnings[0], status, body[-300:])
        status, body = http(f"{base}/api/v1/status/active_queries/cancel", {"id": "FFFFFFFF"}, data=b"")
        cases.check("cancel: not found for certain is not 404", status == 503 and b"querier-2" in body, status, body)
        cases.check("lists wait for a second each at most", time.monotonic() - since < 5, time.monotonic() - since)
    finally:
        s.procs["querier-2"].send_signal(signal.SIGCONT)


def start_querier(s, c, name, *flags):
    """Its HTTP port."""
    port, rpc = free_port(), free_port()
    s.start(name, BINARY, "--target=querier", f"--instance.id={name}", "--server.http-listen-address=127.0.0.1", f"--server.http-listen-port={port}",
            f"--server.rpc-listen-address=127.0.0.1:{rpc}", f"--ring.seeds=127.0.0.1:{c.port + 101}", f"--data-dir={s.path(name)}", f"--bucket.url=filesystem://{c.bucket}", *flags)
    return port


def check_shards(cases, s, c, begin, end):
    """A second querier; the front shares every query over blocks with it."""
    for i in (1, 2, 3):
        http(c.url(f"ingester-{i}", "/ingester/flush"), data=b"")
    base = c.url("front", "/prometheus")
    queries = ["sum by (handler) (rate(app_requests_total[2m]))", 'count by (i) ({__name__=~"load_.*"})', 'max(load_3) - min(load_3)', 'sum(load_1) / count(load_1)',
               'group by (job) (app_requests_total)', 'sum(rate(app_latency_seconds[1m]))', 'topk(1, sum by (job) (rate(app_requests_total[1m])))', 'sum(-load_5) or vector(0)',
               "sum(rate(load_4[1m]))", "sum by (g) (mixed)", "count by (g) (mixed)", "max by (kind) (mixed)", "histogram_quantile(0.5, sum(rate(app_latency_seconds[2m])))",
               "avg by (g) (load_3)", "avg(rate(app_requests_total[2m]))", "topk(4, load_2)", "bottomk by (i) (1, rate(load_5[1m]))", "limitk(3, app_latency_seconds)",
               'quantile(0.9, load_6)', "stddev(load_1)", 'count_values("v", load_0)', "avg(app_latency_seconds)"]
    params = {"start": begin // 1000 + 7, "end": end // 1000 + 7, "step": 15, "nocache": 1}
    alone = {q: http(f"{base}/api/v1/query_range", {**params, "query": q})[1] for q in queries}
    instant = {q: http(f"{base}/api/v1/query", {"time": end // 1000, "query": q})[1] for q in queries}
    port = start_querier(s, c, "querier-2")

    def fragments():
        metrics = http(f"http://127.0.0.1:{port}/metrics")[1].decode()
        return int(float(next(line.split()[1] for line in metrics.splitlines() if line.startswith("torc_querier_fragments_total "))))

    def shared():
        http(f"{base}/api/v1/query_range", {**params, "query": queries[0]})
        return fragments() > 0
    wait_until("the second querier's first fragment", 60, shared)
    check_queriers(cases, s, base, f"http://127.0.0.1:{port}/prometheus", end)
    before = fragments()
    for q in queries:
        body = http(f"{base}/api/v1/query_range", {**params, "query": q})[1]
        cases.check(f"shards: the same answer with two queriers: {q}", near(json.loads(body), json.loads(alone[q])), body[:300], alone[q][:300])
        body = http(f"{base}/api/v1/query", {"time": end // 1000, "query": q})[1]
        cases.check(f"shards: the same instant: {q}", near(json.loads(body), json.loads(instant[q])), body[:300], instant[q][:300])
    cases.check("shards: most queries were shared", fragments() - before >= len(queries), before, fragments())
    trace = json.loads(http(f"{base}/api/v1/query_range", {**params, "query": queries[0], "trace": 1})[1])["trace"]
    cases.check("shards: the trace says so", any("fragment for querier querier-2" in n["message"] for n in walk(trace)), json.dumps(trace)[:400])
    third = start_querier(s, c, "querier-3", "--querier.shard-min-samples=1", "--querier.split-interval=5m")
    split = f"http://127.0.0.1:{third}/prometheus/api/v1/query_range"

    def divided():
        status, body = http(split, {**params, "query": queries[0], "trace": 1})
        if status != 200:
            return False
        trace = json.loads(body).get("trace", {})
        return sum("fragment for querier" in n["message"] for n in walk(trace)) >= 3
    wait_until("a range divided among queriers", 60, divided)
    for q in queries:
        body = http(split, {**params, "query": q})[1]
        cases.check(f"parts of the range: the same answer: {q}", near(json.loads(body), json.loads(alone[q])), body[:300], alone[q][:300])
    s.stop("querier-3")
    stop = threading.Event()
    bad = []

    def hammer():
        while not stop.is_set():
            for q in queries[:4]:
                status, body = http(f"{base}/api/v1/query_range", {**params, "query": q})
                if status != 200 or not near(json.loads(body), json.loads(alone[q])):
                    bad.append((q, status, body[:200]))
    threads = [threading.Thread(target=hammer) for _ in range(2)]
    for t in threads:
        t.start()
    seen = fragments()
    wait_until("fragments under load", 30, lambda: fragments() > seen + 8)
    s.procs["querier-2"].kill()
    s.procs["querier-2"].wait()
    http(f"{base}/api/v1/query_range", {**params, "query": queries[1]})
    stop.set()
    for t in threads:
        t.join()
    cases.check("shards: a peer killed in the middle changes no answer", not bad, *bad[:3])


def main():
    cases = Cases()
    with Scratch("api") as s:
        c = s.cluster(["--querier.shard-min-samples=1", "--limits.label_request_rate=1000"])
        c.up()
        base = c.url("front", "/prometheus")
        now = int(time.time())
        grafana.replay(cases, base, False, now - 900, now)
        begin = (now - ROUNDS * STEP_MS // 1000 - 20) * 1000
        end = begin + (ROUNDS - 1) * STEP_MS
        prometheus = free_port()
        with open(s.path("writer.yml"), "w", encoding="ascii") as f:
            f.write("global: {scrape_interval: 1h}\n")
        s.start("prometheus", "prometheus", f"--config.file={s.path('writer.yml')}", f"--storage.tsdb.path={s.path('prometheus')}", f"--web.listen-address=127.0.0.1:{prometheus}",
                "--web.enable-remote-write-receiver", "--enable-feature=native-histograms")
        prometheus = f"http://127.0.0.1:{prometheus}"
        wait_until("Prometheus", 60, lambda: http(f"{prometheus}/-/ready")[0] == 200)
        bodies = data(begin)
        push(c.url("front", "/api/v1/push"), bodies)
        push(f"{prometheus}/api/v1/write", bodies[1:])
        grafana.replay(cases, base, True, begin / 1000, end / 1000)
        check_remote_read(cases, base, prometheus, begin, end)
        check_real_reader(cases, s, base, begin, end)
        check_trace_and_plan(cases, base, begin, end)
        write2.check(cases, c.url("front", "/api/v1/push"), base)
        check_running(cases, base, end, base, "front")
        check_top(cases, base, end, [(base, "front")])
        check_shards(cases, s, c, begin, end)
        c.check_logs(cases)
        s.keep = cases.failed > 0
    return cases.finish()


sys.exit(main())
