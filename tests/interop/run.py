#!/usr/bin/env python3
"""tests/interop/run.py: a real Prometheus (Debian's 2.42) scrapes node_exporter, itself and every process of a torc cluster each second and writes all of it to
that cluster; then both are asked the same queries about the same settled window, and must answer the same: same series, same timestamps, same value texts.
INTEROP_SECONDS: how long to scrape before asking (default 75). INTEROP_RANDOM: how many random queries are asked too (100), of INTEROP_SEED. Ends with "N passed, N failed"."""
import itertools
import os
import random
import sys
import threading
import time

import queries
import remote_write as rw
from procs import Api, Cases, Scratch, free_port, http, say, wait_until

SECONDS = float(os.environ.get("INTEROP_SECONDS", "75"))
RANDOM = int(os.environ.get("INTEROP_RANDOM", "100"))
SEED = os.environ.get("INTEROP_SEED") or str(random.randrange(1 << 32))
SETTLE_S = 10
NEAR = 1e-12
CONFIG = """
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
- {{job_name: node, static_configs: [{{targets: ["127.0.0.1:{node}"]}}]}}
- {{job_name: prometheus, static_configs: [{{targets: ["127.0.0.1:{prometheus}"]}}]}}
- {{job_name: torc, static_configs: [{{targets: [{torc}]}}]}}
remote_write:
- url: {push}
  send_exemplars: true
  send_native_histograms: true
  metadata_config: {{send: true, send_interval: 3s}}
  queue_config: {{batch_send_deadline: 500ms}}
"""


class Demo(threading.Thread):
    """Native histograms and exemplars: nothing scraped here has them, so they are pushed into Prometheus, which sends them on."""

    def __init__(self, url):
        super().__init__(daemon=True)
        self.url, self.ending, self.refused, self.rounds = url, threading.Event(), [], 0
        self.random = random.Random(1)
        self.routes = {route: {} for route in ("/a", "/b", "/c")}

    def request(self, t_ms):
        out = b""
        for n, (route, buckets) in enumerate(self.routes.items()):
            for _ in range(7 * (n + 1)):
                index = self.random.randint(-6, 9)
                buckets[index] = buckets.get(index, 0) + 1
            if route == "/c" and self.rounds % 40 == 39:
                # Not near zero: 3 does not extrapolate a histogram's rate below zero, 2.42 does.
                buckets.clear()
                buckets[3] = 60
            zero = self.rounds % 40 if route == "/b" else 0
            total = sum(1.7 ** i * c for i, c in buckets.items())
            count = sum(buckets.values())
            out += rw.series({"__name__": "demo_latency_seconds", "route": route}, rw.histogram(t_ms, 1, count + zero, total, zero, buckets))
            load = {i: c / 8 for i, c in buckets.items()}
            out += rw.series({"__name__": "demo_load", "route": route},
                             rw.histogram(t_ms, 0, sum(load.values()) + 0.5, total / 8, 0, load, {-2: 0.5}, integer=False, hint=rw.RESET_GAUGE))
            out += rw.series({"__name__": "demo_requests_total", "route": route}, rw.sample(t_ms, float(count)),
                             rw.exemplar({"trace_id": f"{self.rounds:08x}{n}"}, t_ms, float(n)))
        return out

    def run(self):
        due = int(time.time()) + 1.137
        while not self.ending.wait(max(0, due - time.time())):
            try:
                status, body = http(self.url, data=rw.snappy(self.request(round(due * 1000))), headers=rw.HEADERS)
            except OSError as e:
                status, body = 0, e
            if not 200 <= status < 300:
                self.refused.append(f"{status} {body}")
            self.rounds += 1
            due += 1


def start_all(scratch):
    cluster = scratch.cluster(["--limits.query-request-rate=0", "--limits.label-request-rate=0", "--limits.other-request-rate=0"])
    cluster.up()
    node, prometheus = free_port(), free_port()
    scratch.start("node_exporter", "prometheus-node-exporter", "--no-collector.systemd", f"--web.listen-address=127.0.0.1:{node}")
    torc = ", ".join('"%s"' % cluster.url(n)[len("http://"):] for n in cluster.NAMES)
    with open(scratch.path("prometheus.yml"), "w", encoding="ascii") as f:
        f.write(CONFIG.format(node=node, prometheus=prometheus, torc=torc, push=cluster.url("front", "/api/v1/push")))
    scratch.start("prometheus", "prometheus", f"--config.file={scratch.path('prometheus.yml')}", f"--storage.tsdb.path={scratch.path('prometheus')}",
                  f"--web.listen-address=127.0.0.1:{prometheus}", "--web.enable-remote-write-receiver",
                  "--enable-feature=native-histograms,exemplar-storage")
    url = f"http://127.0.0.1:{prometheus}"
    wait_until("Prometheus", 60, lambda: http(url + "/-/ready")[0] == 200)
    return cluster, Api(url), Api(cluster.url("front", "/prometheus"))


def warm(sides):
    """Every handler once, so that the series that count requests are there from the beginning."""
    for api in sides:
        for path, params in (("query", {"query": "up"}), ("query_range", {"query": "up", "start": 1, "end": 2, "step": 1}), ("series", {"match[]": "up"}),
                             ("labels", {}), ("label/job/values", {}), ("metadata", {}), ("query", {"query": "up{"}),
                             ("query_exemplars", {"query": "up", "start": 1, "end": 2})):
            api.get(path, **params)


def quiet_ms(ours, end, seconds):
    """The millisecond of a second that is farthest from every scrape in the window; and how far."""
    taken = set()
    for selector in ("up", "demo_load"):
        for s in ours.data("query", query=f"{selector}[{int(seconds) + 1}s]", time=end)["result"]:
            taken |= {round(float(t) * 1000) % 1000 for t, _ in s.get("values", []) + s.get("histograms", [])}
    far = {ms: min(min((ms - t) % 1000, (t - ms) % 1000) for t in taken) for ms in range(1000)}
    best = max(far, key=far.get)
    return best, far[best], len(taken)


def wait_sent(ours, until):
    """Prometheus has sent everything up to a time."""
    def sent():
        last = ours.value("min(prometheus_remote_storage_queue_highest_sent_timestamp_seconds)")
        return last is not None and last > until
    wait_until("the remote write of the settled window", 60, sent)


# --- comparing ---

def key(labels):
    return tuple(sorted(labels.items()))


def same_text(a, b, near):
    if a == b:
        return True
    try:
        x, y = float(a), float(b)
    except ValueError:
        return False
    return near and abs(x - y) <= NEAR * max(abs(x), abs(y))


def same_points(a, b, near):
    """Samples [t, "v"], histograms [t, {count, sum, buckets}], or lists of them."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same_points(a[k], b[k], near) for k in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(same_points(x, y, near) for x, y in zip(a, b))
    if isinstance(a, str) and isinstance(b, str):
        return same_text(a, b, near)
    return a == b


def first_difference(a, b, near):
    """Of two series: the first pair of points that differs."""
    for kind in ("value", "values", "histogram", "histograms"):
        x, y = ([s.get(kind)] if kind[-1] != "s" else s.get(kind, []) for s in (a, b))
        for p, q in itertools.zip_longest(x, y):
            if not same_points(p, q, near):
                return f"{p} and {q}"
    return "?"


def difference(theirs, ours, query):
    """None, or what differs."""
    if theirs.get("status") != ours.get("status"):
        return f"status {theirs.get('status')} and {ours.get('status')}"
    if theirs["status"] == "error":
        return None if theirs["errorType"] == ours["errorType"] else f"errorType {theirs['errorType']} and {ours['errorType']}"
    a, b = theirs["data"], ours["data"]
    if a["resultType"] != b["resultType"]:
        return f"resultType {a['resultType']} and {b['resultType']}"
    a, b = a["result"], b["result"]
    if not a or not isinstance(a[0], dict):
        return None if same_points(a, b, query.near) else "other values"
    if query.ordered and [key(s["metric"]) for s in a] != [key(s["metric"]) for s in b]:
        return "other series or order"
    x, y = ({key(s["metric"]): s for s in side} for side in (a, b))
    if len(x) != len(a) or len(y) != len(b):
        return "a series twice"
    if x.keys() != y.keys():
        return f"only there: {sorted(x.keys() - y.keys())[:2]} only here: {sorted(y.keys() - x.keys())[:2]}"
    for k in x:
        if not same_points(x[k], y[k], query.near):
            return f"{dict(k)}: {first_difference(x[k], y[k], query.near)}"
    return None


def compare(cases, sides, name, path, how, **params):
    theirs, ours = (api.get(path, **params) for api in sides)
    why = difference(theirs, ours, how)
    cases.check(f"{name} {params['query']}", why is None, why, f"Prometheus: {theirs}", f"torc:       {ours}")
    return theirs


def compare_queries(cases, sides, begin, end, inner_ms):
    answered = 0
    for q in queries.all_queries():
        text = queries.filled(q.text, end - 20, inner_ms)
        answer = compare(cases, sides, "instant", "query", q, query=text, time=f"{end:.3f}")
        answered += bool(answer.get("data", {}).get("result"))
        if q.ranged:
            compare(cases, sides, "range", "query_range", q, query=text, start=f"{begin:.3f}", end=f"{end:.3f}", step="3")
    made = queries.Random(SEED, end - 20)
    for _ in range(RANDOM):
        q = made.next()
        text = queries.filled(q.text, end - 20, inner_ms)
        compare(cases, sides, "random, instant", "query", q, query=text, time=f"{end:.3f}")
        compare(cases, sides, "random, range", "query_range", q, query=text, start=f"{begin:.3f}", end=f"{end:.3f}", step="7")
    for text in queries.WRONG:
        compare(cases, sides, "wrong", "query", queries.Query(text), query=text, time=f"{end:.3f}")
    # A comparison of nothing with nothing proves nothing.
    cases.check("most queries have something to say", answered > len(queries.ALL) * 0.85, f"{answered} of {len(queries.ALL)}")


def compare_lists(cases, sides, begin):
    """What has no timestamps to compare: asked up to now, again until both have seen the newest series."""
    span = {"start": f"{begin:.3f}", "end": f"{time.time() + 60:.3f}"}
    table = [("series", {"match[]": ["up", '{__name__=~"node_cpu.*"}']}), ("series", {"match[]": '{job="torc"}'}), ("series", {"match[]": "no_such_metric"}),
             ("labels", {}), ("labels", {"match[]": "up"}), ("labels", {"match[]": ['{job="node"}', "demo_load"]}),
             ("label/__name__/values", {}), ("label/job/values", {}), ("label/le/values", {"match[]": '{job="prometheus"}'}),
             ("label/mode/values", {"match[]": 'node_cpu_seconds_total{mode!="idle"}'}), ("label/nosuch/values", {}), ("label/instance/values", {"match[]": "up"})]
    for path, params in table:
        for _ in range(20):
            theirs, ours = (api.get(path, **params, **span) for api in sides)
            a, b = theirs.get("data"), ours.get("data")
            if path == "series" and a is not None and b is not None:
                a, b = sorted(map(key, a)), sorted(map(key, b))
            if a == b:
                break
            time.sleep(0.5)
        cases.check(f"{path} {params}", a is not None and a == b, f"Prometheus: {theirs}", f"torc:       {ours}",
                    f"only one has: {[x for x in (a or []) if x not in (b or [])][:3]} {[x for x in (b or []) if x not in (a or [])][:3]}")


def compare_metadata(cases, sides):
    theirs, ours = (api.data("metadata") for api in sides)
    differ = []
    for name, entries in theirs.items():
        if sorted(map(key, entries)) != sorted(map(key, ours.get(name, []))):
            differ.append((name, entries, ours.get(name)))
    cases.check("metadata of every metric", not differ and len(theirs) > 200, f"{len(differ)} of {len(theirs)} differ", *differ[:3])
    theirs, ours = (api.data("metadata", metric="node_load1") for api in sides)
    cases.check("metadata of one metric", theirs == ours and theirs, theirs, ours)
    limited = sides[1].data("metadata", limit="3")
    cases.check("metadata with a limit", len(limited) == 3, limited)


def check_remote_write(cases, prometheus):
    for name in ("failed", "dropped"):
        for kind in ("samples", "exemplars", "histograms"):
            # Exemplars that scraped metrics of the past may have are never too old: none may fail either.
            n = prometheus.value(f"sum(prometheus_remote_storage_{kind}_{name}_total)")
            cases.check(f"no {kind} {name}", n == 0, n)
    sent, retried = (prometheus.value(f"sum(prometheus_remote_storage_samples_{w})") for w in ("total", "retried_total"))
    cases.check("retries are bounded", sent > 10000 and retried <= sent * 0.01, f"{retried} of {sent} samples were sent again")
    n = prometheus.value("sum(prometheus_remote_storage_metadata_failed_total)")
    cases.check("no metadata failed", n == 0, n)


def check_stale(cases, scratch, sides):
    """node_exporter ends: its `up` becomes 0, its series end with markers."""
    stopped = time.time()
    scratch.stop("node_exporter")
    wait_until("up 0 in Prometheus", 30, lambda: sides[0].value('up{job="node"}') == 0)
    time.sleep(SETTLE_S + 4)
    end = time.time() - SETTLE_S + 4
    wait_sent(sides[0], end)
    for text in ('up{job="node"}', "node_load1", 'count({job="node"})', '{job="node"}', "rate(node_cpu_seconds_total[20s])", "node_load1 offset 10s",
                 "node_load1[20s]", "last_over_time(node_load1[30s])", "absent(node_load1)", 'count by (job) ({__name__=~".+"})'):
        query = queries.Query(text)
        compare(cases, sides, "after the end of node_exporter, instant", "query", query, query=text, time=f"{end:.3f}")
        if "[20s]" not in text or text.startswith("rate"):
            compare(cases, sides, "around the end of node_exporter, range", "query_range", query, query=text, start=f"{stopped - 10:.3f}", end=f"{end:.3f}", step="1")
    torc = sides[1]
    cases.check("up is 0 in torc", torc.value('up{job="node"}', f"{end:.3f}") == 0)
    cases.check("its series are gone in torc", torc.value("count(node_load1)", f"{end:.3f}") is None)
    cases.check("they were there before", torc.value("count(node_load1)", f"{stopped - 3:.3f}") == 1)


def run(scratch, cases):
    cluster, prometheus, torc = start_all(scratch)
    sides = (prometheus, torc)
    demo = Demo(prometheus.base + "/api/v1/write")
    demo.start()
    began = time.time()
    wait_until("all targets", 60, lambda: prometheus.value("count(up == 1)") == 7 and prometheus.value("count(demo_load)") == 3)
    warm(sides)
    begin = time.time() + 2
    say(f"scraping for {SECONDS:.0f} s; INTEROP_SEED={SEED}")
    time.sleep(SECONDS)
    scratch.check_alive()
    end = int(time.time() - SETTLE_S)
    wait_sent(prometheus, end + 2)
    ms, far, taken = quiet_ms(prometheus, end + 1, end + 1 - began)
    # An inner evaluation at a whole second, moved back by this, also ends at that millisecond.
    inner_ms = 1000 - ms
    end += ms / 1000
    begin = int(begin) + ms / 1000
    series = prometheus.value('count({__name__!=""})', f"{end:.3f}")
    say(f"comparing {begin:.3f} .. {end:.3f}, {far} ms from the nearest of {taken} scrape offsets; {series:.0f} series")
    cases.check("evaluation times touch no sample", far >= 1, far)
    cases.check("the window is long enough", end - begin > 40, end - begin)
    compare_queries(cases, sides, begin, end, inner_ms)
    compare_lists(cases, sides, began)
    compare_metadata(cases, sides)
    check_stale(cases, scratch, sides)
    demo.ending.set()
    demo.join()
    cases.check("Prometheus took every native histogram", not demo.refused and demo.rounds > 30, demo.rounds, *demo.refused[:3])
    check_remote_write(cases, prometheus)
    scratch.stop("prometheus")
    cluster.down()
    cluster.check_logs(cases)


def main():
    cases = Cases()
    with Scratch("interop") as scratch:
        try:
            run(scratch, cases)
        except RuntimeError as e:
            cases.check("the run", False, e)
        scratch.keep = cases.failed > 0
    return cases.finish()


sys.exit(main())
