"""Remote Write 2.0 into a real cluster, and what the query API then says of it."""
import os
import sys
import time
import urllib.error
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "hostile"))
import wire as w
from procs import Api, http

HEADERS = {"Content-Type": "application/x-protobuf;proto=io.prometheus.write.v2.Request", "X-Prometheus-Remote-Write-Version": "2.0.0"}
WRITTEN = [f"X-Prometheus-Remote-Write-{kind}-Written" for kind in ("Samples", "Histograms", "Exemplars")]
HISTOGRAM, COUNTER, SUMMARY = 3, 1, 5


def push(url, body, encoding="snappy", headers=HEADERS):
    """(status, what was written, text)"""
    data = {"snappy": w.snappy, "gzip": w.gzip, "zstd": w.zstd}[encoding](body)
    request = urllib.request.Request(url, data=data, method="POST", headers={**headers, "Content-Encoding": encoding})
    try:
        with urllib.request.urlopen(request, timeout=60) as f:
            return f.status, tuple(f.headers.get(h) for h in WRITTEN), f.read().decode()
    except urllib.error.HTTPError as e:
        return e.code, tuple(e.headers.get(h) for h in WRITTEN), e.read().decode()


def requests(begin):
    """Ten rounds of 15 s: a counter with exemplars and a start, a classic histogram, a summary, native histograms of both kinds of bounds."""
    for k in range(10):
        table, t, out = w.Table(), begin + k * 15000, []

        def add(name, samples=(), histograms=(), exemplars=(), meta=None, **more):
            pairs = [("__name__", name), ("job", "w2"), *sorted(more.items())]
            out.append(w.series2(table.refs(pairs), samples, histograms, exemplars, meta))

        counter = w.metadata2(COUNTER, table.ref("Requests."), 0)
        latency = w.metadata2(HISTOGRAM, table.ref("Latency."), table.ref("seconds"))
        add("w2_requests_total", [w.sample2(k * 10.0, t, begin - 1000)], exemplars=[w.exemplar2(table.refs([("trace_id", f"{k:04x}")]), 1.0, t)], meta=counter)
        for le in ("0.1", "1", "+Inf"):
            add("w2_latency_bucket", [w.sample2(float(k), t)], meta=latency, le=le)
        add("w2_latency_sum", [w.sample2(k * 0.5, t)], meta=latency)
        add("w2_latency_count", [w.sample2(float(k), t)], meta=latency)
        add("w2_size_count", [w.sample2(float(k), t)], meta=w.metadata2(SUMMARY, table.ref("Sizes."), table.ref("bytes")))
        add("w2_native", histograms=[w.histogram(t, extra=w.f_varint(17, begin - 1000))], meta=latency)
        add("w2_custom", histograms=[w.histogram(t, schema=-53, zero=0, zero_threshold=0.0, count=5, custom=(1.0, 2.0))])
        yield w.request2(table, out)


def check_queries(cases, api, begin, end):
    def value(query):
        result = api.get("query", query=query, time=end / 1000)["data"]["result"]
        return float(result[0]["value"][1]) if len(result) == 1 else None

    for query, want in (("count_over_time(w2_requests_total[5m])", 10), ("count(w2_latency_bucket)", 3), ("histogram_count(w2_native)", 6), ("histogram_count(w2_custom)", 5),
                        ("w2_requests_total", 90), ("count({job='w2'})", 9)):
        cases.check(f"write 2.0: {query} is {want}", value(query) == want, value(query))
    got = api.get("metadata", metric="w2_latency")["data"]
    cases.check("write 2.0: metadata is its family's", got == {"w2_latency": [{"type": "histogram", "help": "Latency.", "unit": "seconds"}]}, got)
    got = {m: api.get("metadata", metric=m)["data"] for m in ("w2_requests_total", "w2_size", "w2_native", "w2_latency_bucket", "w2_custom")}
    types = {m: [r["type"] for r in rows.get(m, [])] for m, rows in got.items()}
    want = {"w2_requests_total": ["counter"], "w2_size": ["summary"], "w2_native": ["histogram"], "w2_latency_bucket": [], "w2_custom": []}
    cases.check("write 2.0: metadata of counters, summaries and native histograms", types == want, types)
    got = api.get("query_exemplars", query="w2_requests_total", start=begin / 1000 - 1, end=end / 1000 + 1)["data"]
    ids = [e["labels"].get("trace_id") for e in got[0]["exemplars"]] if got else []
    cases.check("write 2.0: exemplars", ids == [f"{k:04x}" for k in range(10)], got)


def check(cases, url, base):
    api, begin = Api(base), int(time.time() * 1000) - 200000
    end = begin + 9 * 15000
    for k, (body, encoding) in enumerate(zip(requests(begin), ("snappy", "gzip", "zstd", *["snappy"] * 7))):
        got = push(url, body, encoding)
        cases.check(f"write 2.0: round {k} by {encoding} says what was written", got == (204, ("7", "2", "1"), ""), got)
    check_queries(cases, api, begin, end)
    pairs = [("__name__", "w2_same"), ("job", "both")]
    one = w.request([w.series(pairs, [w.sample(1.0, end)])])
    status, _ = http(url, data=w.snappy(one), headers={"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy"})
    got = push(url, same(pairs, end))
    cases.check("write 2.0: a series that 1.0 began goes on", status == 204 and got == (204, ("2", "0", "0"), ""), status, got)
    result = api.get("query", query="count_over_time(w2_same[5m])", time=end / 1000 + 1)["data"]["result"]
    cases.check("write 2.0: and is one series of two samples", [r["value"][1] for r in result] == ["2"], result)


def same(pairs, t):
    table = w.Table()
    made = w.series2(table.refs(pairs), [w.sample2(1.0, t), w.sample2(2.0, t + 1)])
    return w.request2(table, [made])
