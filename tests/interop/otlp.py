#!/usr/bin/env python3
"""tests/interop/otlp.py: applications with the OpenTelemetry SDK for JavaScript (npm, exact versions in otlp/package.json) export to a real cluster; PromQL reads
the values back. Then what an SDK does not send: other types, deltas, options of tenants, partial successes, hostile bodies. Ends with "N passed, N failed"."""
import gzip
import json
import os
import shutil
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.request

from procs import ROOT, Api, Cases, Scratch, http, say, wait_until

HERE = os.path.join(ROOT, "tests/interop/otlp")
MODULES = os.path.join(ROOT, "build/interop-otlp")
PATHS = ["/otlp/v1/metrics", "/api/v1/otlp/v1/metrics"]
PROTO, JSON = "application/x-protobuf", "application/json"
OVERRIDES = """
overrides:
  deltas: {otel_delta_temporality: native}
  plain: {otel_translation_strategy: NoTranslation, otel_promote_scope_metadata: true, promote_otel_resource_attributes: [host.name]}
  native: {otel_convert_histograms_to_nhcb: true}
  slow: {ingestion_rate: 1, ingestion_burst_size: 2}
  short: {max_label_value_length: 20}
"""


def install():
    """The SDK, once per checkout."""
    os.makedirs(MODULES, exist_ok=True)
    for name in ("package.json", "sender.mjs"):
        shutil.copy(os.path.join(HERE, name), MODULES)
    done = subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts"], cwd=MODULES, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"npm install: {done.stdout[-1000:]} {done.stderr[-1000:]}")


def send_by_sdk(url, form, compression, temporality, service, tenant):
    done = subprocess.run(["node", "sender.mjs", url, form, compression, temporality, service, f"X-Scope-OrgID={tenant}"], cwd=MODULES, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=120, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"sender: {done.stdout[-1000:]} {done.stderr[-1000:]}")
    return json.loads(done.stdout)


# --- requests by hand ---

def varint(n):
    out = b""
    while n >= 128:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def field(number, data):
    return varint(number << 3 | 2) + varint(len(data)) + data


def fields(data):
    """{number: last value} of a message."""
    out, i = {}, 0

    def number():
        nonlocal i
        n = shift = 0
        while True:
            b = data[i]
            i += 1
            n |= (b & 127) << shift
            shift += 7
            if b < 128:
                return n
    while i < len(data):
        tag = number()
        if tag & 7 == 0:
            out[tag >> 3] = number()
        else:
            assert tag & 7 == 2
            size = number()
            out[tag >> 3] = data[i:i + size]
            i += size
    return out


def metric(name, kind, points, **more):
    return {"name": name, kind: {"dataPoints": points, **more}}


def request(metrics, attributes=None):
    values = [{"key": k, "value": {"stringValue": v}} for k, v in (attributes or {}).items()]
    return {"resourceMetrics": [{"resource": {"attributes": values}, "scopeMetrics": [{"scope": {"name": "hand", "version": "1"}, "metrics": metrics}]}]}


def now_ns(back_s=0.0):
    return str(int((time.time() - back_s) * 1e9))


class Otlp:
    def __init__(self, cluster, cases):
        self.cluster, self.cases = cluster, cases

    def url(self, path=PATHS[0]):
        return self.cluster.url("front", path)

    def api(self, tenant):
        return Api(self.cluster.url("front", "/prometheus"), tenant)

    def post(self, body, tenant="hand", kind=JSON, **headers):
        if isinstance(body, dict):
            body = json.dumps(body).encode()
        all_headers = {"X-Scope-OrgID": tenant, "Content-Type": kind, **{k.replace("_", "-"): v for k, v in headers.items()}}
        return http(self.url(), data=body, headers=all_headers)

    def equal(self, tenant, query, want):
        """want: {sorted labels as a text: value}, or one value."""
        result = self.api(tenant).data("query", query=query)["result"]
        got = {",".join(f"{k}={v}" for k, v in sorted(s["metric"].items())): s["value"][1] for s in result}
        want = {"": want} if isinstance(want, str) else want
        self.cases.check(f"{tenant}: {query}", got == want, f"got  {got}", f"want {want}")


def sdk_cases(o, form, compression, path, service):
    tenant = f"sdk-{service}"
    answer = send_by_sdk(o.url(path), form, compression, "cumulative", service, tenant)
    o.cases.check(f"{form}, {compression}, {path}: the SDK is content", answer == {"code": 0, "error": "", "warnings": []}, answer)
    job = f'job="shop/{service}"'
    own = f"instance=i-1,job=shop/{service}"
    o.equal(tenant, "orders_placed_total", {f"__name__=orders_placed_total,{own},payment_method=card": "3", f"__name__=orders_placed_total,{own},payment_method=cash": "4.5"})
    o.equal(tenant, f"sum(carts_open{{{job}}})", "5")
    o.equal(tenant, f"sum(cpu_utilization_ratio{{{job}, cpu=\"0\"}})", "0.25")
    buckets = {"0.1": "1", "0.5": "3", "1": "4", "+Inf": "5"}
    o.equal(tenant, "sum by (le) (http_server_duration_seconds_bucket)", {f"le={le}": n for le, n in buckets.items()})
    o.equal(tenant, "sum(http_server_duration_seconds_sum)", "10.25")
    o.equal(tenant, "sum by (http_route) (http_server_duration_seconds_count)", {"http_route=/pay": "5"})
    o.equal(tenant, "sum(histogram_count(payload_size_bytes))", "6")
    o.equal(tenant, "sum(histogram_sum(payload_size_bytes))", "101007")
    # 0 is in the zero bucket; 1, 2 and 4 are exact bounds at every scale.
    o.equal(tenant, "sum(histogram_fraction(-1, 2, payload_size_bytes) * 6)", "3")
    o.equal(tenant, 'target_info{host_name="host-a"}', {f'__name__=target_info,host_name=host-a,{own},process_command_args=["node","app"]': "1"})
    o.equal(tenant, f"sum(orders_placed_total * on (job, instance) group_left (host_name) target_info) by (host_name)", {"host_name=host-a": "7.5"})
    metadata = o.api(tenant).data("metadata", metric="http_server_duration_seconds")
    o.cases.check("metadata", metadata == {"http_server_duration_seconds": [{"type": "histogram", "unit": "seconds", "help": "Time to answer."}]}, metadata)


def delta_cases(o):
    answer = send_by_sdk(o.url(), "proto", "gzip", "delta", "deltas-off", "hand")
    o.cases.check("deltas are refused by default, and the application is told", any("delta temporality" in w for w in answer["warnings"]), answer)
    o.equal("hand", 'sum(carts_open{job="shop/deltas-off"})', "5")
    answer = send_by_sdk(o.url(), "json", "none", "delta", "deltas-on", "deltas")
    o.cases.check("deltas are stored by option", answer == {"code": 0, "error": "", "warnings": []}, answer)
    o.equal("deltas", "sum(sum_over_time(orders_placed_total[5m]))", "7.5")
    o.equal("deltas", "sum(histogram_count(sum_over_time(payload_size_bytes[5m])))", "6")


def tenant_cases(o):
    answer = send_by_sdk(o.url(), "proto", "none", "cumulative", "plain", "plain")
    o.cases.check("without translation", answer == {"code": 0, "error": "", "warnings": []}, answer)
    o.equal("plain", '{"orders.placed", "payment.method"="card"}',
            {"__name__=orders.placed,host.name=host-a,instance=i-1,job=shop/plain,otel_scope_name=checkout,otel_scope_version=1.2.3,payment.method=card": "3"})
    answer = send_by_sdk(o.url(), "proto", "none", "cumulative", "nhcb", "native")
    o.cases.check("custom buckets by option", answer == {"code": 0, "error": "", "warnings": []}, answer)
    o.equal("native", "sum(histogram_count(http_server_duration_seconds))", "5")
    o.equal("native", "sum(histogram_fraction(0.5, 1, http_server_duration_seconds)) * 5", "1")


def type_cases(o):
    t = now_ns()
    trace = {"traceId": "0123456789abcdef0123456789ABCDEF", "spanId": "0123456789abcdef", "timeUnixNano": t, "asDouble": 0.7}
    status, body = o.post(request([
        metric("latency", "summary", [{"timeUnixNano": t, "count": "9", "sum": 4.5, "quantileValues": [{"quantile": 0.99, "value": 2}]}]),
        metric("hits", "sum", [{"timeUnixNano": t, "asInt": "12", "exemplars": [trace]}], aggregationTemporality=2, isMonotonic=True),
        metric("gone", "gauge", [{"timeUnixNano": now_ns(1), "asInt": 1}, {"timeUnixNano": t, "flags": 1}]),
    ], {"service.name": "hand"}))
    o.cases.check("a success in JSON", (status, body) == (200, b"{}"), status, body)
    o.equal("hand", 'sum by (quantile) (latency{quantile="0.99"})', {"quantile=0.99": "2"})
    o.equal("hand", "sum(latency_count)", "9")
    o.equal("hand", "hits_total", {"__name__=hits_total,job=hand": "12"})
    o.equal("hand", "gone", {})
    o.equal("hand", "sum(count_over_time(gone[1m]))", "1")
    exemplars = o.api("hand").data("query_exemplars", query="hits_total", start=time.time() - 60, end=time.time() + 60)
    labels = [e["labels"] for s in exemplars for e in s["exemplars"]]
    o.cases.check("exemplars", labels == [{"trace_id": "0123456789abcdef0123456789abcdef", "span_id": "0123456789abcdef"}], exemplars)


def gauge(name, count, **attributes):
    values = [{"key": k, "value": {"stringValue": v}} for k, v in attributes.items()]
    return metric(name, "gauge", [{"timeUnixNano": now_ns(), "asInt": i, "attributes": [*values, {"key": "i", "value": {"intValue": i}}]} for i in range(count)])


def partial_cases(o):
    long_value = "x" * 30
    status, body = o.post(request([gauge("good", 3), gauge("bad", 2, path=long_value)]), "short")
    partial = json.loads(body).get("partialSuccess", {})
    o.cases.check("a part refused: 200, and how many", status == 200 and partial.get("rejectedDataPoints") == "2", status, body)
    o.cases.check("the reason and its limit", "2 of 5 data points" in partial.get("errorMessage", "") and "max_label_value_length" in partial["errorMessage"], body)
    o.equal("short", "count(good)", "3")
    status, body = o.post(request([gauge("bad", 2, path=long_value)]), "short")
    error = json.loads(body)
    o.cases.check("all refused: 400, a Status", status == 400 and error["code"] == 3 and "2 of 2 data points" in error["message"], status, body)
    # A histogram is one data point, however many series it becomes.
    t = now_ns()
    histogram = {"timeUnixNano": t, "count": "2", "sum": 1, "bucketCounts": [1, 1], "explicitBounds": [1], "attributes": [{"key": "path", "value": {"stringValue": long_value}}]}
    status, body = o.post(request([gauge("good", 1), metric("h", "histogram", [histogram], aggregationTemporality=2)]), "short")
    o.cases.check("a histogram counts once", json.loads(body).get("partialSuccess", {}).get("rejectedDataPoints") == "1", body)
    # What the ingesters refuse counts too: another value for the same time.
    point = {"timeUnixNano": t, "asInt": 1}
    o.post(request([metric("same", "gauge", [point])]), "hand")
    status, body = o.post(request([metric("same", "gauge", [{**point, "asInt": 2}]), metric("other", "gauge", [point])]), "hand")
    o.cases.check("refused by ingesters: counted", status == 200 and json.loads(body).get("partialSuccess", {}).get("rejectedDataPoints") == "1", status, body)
    # In protobuf: ExportMetricsServiceResponse.partial_success.
    gauge_points = b"".join(field(1, b"\x19" + struct.pack("<Q", int(time.time() * 1e9)) + b"\x31" + struct.pack("<q", 5) + a) for a in (b"", field(7, field(1, b"") + field(2, b""))))
    status, body = o.post(field(1, field(2, field(2, field(1, b"wire") + field(5, gauge_points)))), "hand", PROTO)
    partial = fields(fields(body).get(1, b"")) if body else {}
    o.cases.check("partial success in protobuf", status == 200 and partial.get(1) == 1 and b"attribute name ''" in partial.get(2, b""), status, body)


def size_cases(o):
    """2,000 new histograms become 34,000 series, whose labels fit no message to an ingester: stored all the same."""
    t, bounds = now_ns(), list(range(15))
    points = [{"timeUnixNano": t, "count": "16", "sum": 1, "bucketCounts": [1] * 16, "explicitBounds": bounds,
               "attributes": [{"key": "path", "value": {"stringValue": f"{i}/" + "x" * 600}}]} for i in range(2000)]
    bad = {"timeUnixNano": t, "asInt": 1, "attributes": [{"key": "path", "value": {"stringValue": "x" * 3000}}]}
    metrics = [metric("big", "histogram", points, aggregationTemporality=2), metric("long", "gauge", [bad])]
    status, body = o.post(request(metrics, {"service.name": "big", "host.name": "h"}), "big")
    o.cases.check("a large request is divided, its answer is one", status == 200 and json.loads(body).get("partialSuccess", {}).get("rejectedDataPoints") == "1", status, body[:300])
    o.cases.check("and counts all of it", b"1 of 2001 data points" in body, body[:300])
    o.equal("big", "count(big_bucket)", "32000")
    o.equal("big", "sum(big_count)", "32000")


def waits(error):
    """The distributor spreads its answers: a second or a few."""
    return 1 <= int(error.headers["Retry-After"] or 0) <= 30


def hostile_cases(o):
    def status_of(body):
        return fields(body).get(1), fields(body).get(2, b"").decode()
    good = json.dumps(request([gauge("g", 1)])).encode()
    deep = b'{"resourceMetrics":[{"resource":{"attributes":[{"key":"k","value":' + b'{"arrayValue":{"values":[' * 200 + b"]}}" * 200 + b"}]}}]}"
    nested = b""
    for _ in range(20000):
        nested = field(5, field(1, nested)) if len(nested) < 100000 else nested
    deep_proto = field(1, field(1, field(1, field(1, b"k") + field(2, nested))) + field(2, field(2, field(1, b"g") + field(5, field(1, b"\x31" + b"\0" * 8)))))
    rows = [
        ("neither protobuf nor JSON", good, "text/plain", {}, 415, "Content-Type 'text/plain'"),
        ("no type", good, "", {}, 415, "Content-Type ''"),
        ("an unknown encoding", good, JSON, {"Content_Encoding": "br"}, 415, "Content-Encoding 'br'"),
        ("not gzip", good, JSON, {"Content_Encoding": "gzip"}, 400, "gzip"),
        ("truncated gzip", gzip.compress(good)[:-20], JSON, {"Content_Encoding": "gzip"}, 400, "gzip"),
        ("truncated JSON", good[:-5], JSON, {}, 400, "JSON: "),
        ("JSON of another shape", b"[1]", JSON, {}, 400, "expected an object"),
        ("a wrong type", b'{"resourceMetrics":[{"scopeMetrics":"x"}]}', JSON, {}, 400, "'scope_metrics'"),
        ("deep JSON", deep, JSON, {}, 400, "nested deeper"),
        ("very deep JSON", b'{"resourceMetrics":' + b"[" * 100000, JSON, {}, 400, "JSON: "),
        ("truncated protobuf", field(1, b"abc")[:-1], PROTO, {}, 400, "malformed protobuf"),
        ("JSON called protobuf", good, PROTO, {}, 400, "malformed protobuf"),
        ("deep protobuf", deep_proto, PROTO, {}, 400, "nested deeper"),
        ("a JSON tree too large", b'{"resourceMetrics":[' + b"{}," * 1500000 + b"{}]}", JSON, {}, 413, "send smaller requests"),
        ("a gzip bomb", gzip.compress(b"\0" * (64 << 20)), PROTO, {"Content_Encoding": "gzip"}, 413, "max_request_inflated_size"),
        ("a million empty points", field(1, field(2, field(2, field(1, b"g") + field(9, field(1, b"") * 1000000 + b"\x10\x02")))), PROTO, {}, 400, "data points were not stored"),
    ]
    for what, body, kind, headers, want, text in rows:
        status, answer = o.post(body, "hostile", kind, **headers)
        code, message = (json.loads(answer)["code"], json.loads(answer)["message"]) if kind == JSON else status_of(answer)
        o.cases.check(f"{what}: a Status", status == want and code in (3, 8) and text in message, status, answer[:300])
    status, body = o.post(b"", "hostile", PROTO)
    o.cases.check("nothing at all is a success", (status, body) == (200, b""), status, body)
    status, body = o.post(request([gauge("g", 5)]), "..")
    o.cases.check("a tenant that is none: 400", status == 400 and json.loads(body)["code"] == 3, status, body)
    retry = urllib.request.Request(o.url(), data=json.dumps(request([gauge("g", 5)])).encode(), headers={"X-Scope-OrgID": "slow", "Content-Type": JSON})
    try:
        urllib.request.urlopen(retry, timeout=60)
        o.cases.check("over the rate: 429", False)
    except urllib.error.HTTPError as e:
        error = json.loads(e.read())
        o.cases.check("over the rate: 429, when to come again, a Status", e.code == 429 and waits(e) and error["code"] == 8, e.code, e.headers["Retry-After"], error)


def outage_cases(o):
    """Without a quorum: send it again. Afterwards it is stored, once."""
    body = json.dumps(request([gauge("later", 3)])).encode()
    for name in ("ingester-1", "ingester-2"):
        o.cluster.kill(name)
    retry = urllib.request.Request(o.url(), data=body, headers={"X-Scope-OrgID": "outage", "Content-Type": JSON})
    try:
        urllib.request.urlopen(retry, timeout=60)
        o.cases.check("without a quorum: 503", False)
    except urllib.error.HTTPError as e:
        error = json.loads(e.read())
        o.cases.check("without a quorum: 503, when to come again, a Status", e.code == 503 and waits(e) and error["code"] == 14, e.code, e.headers["Retry-After"], error)
    for name in ("ingester-1", "ingester-2"):
        o.cluster.restart(name)
    seen = []

    def stored():
        seen.append(o.post(body, "outage"))
        return seen[-1] == (200, b"{}")
    wait_until("a quorum", 60, stored)
    o.cases.check("and 503 until then", all(status in (200, 503) for status, _ in seen), seen)
    o.equal("outage", "sum(count_over_time(later[5m]))", "3")


def main():
    cases = Cases()
    install()
    with Scratch("otlp") as scratch:
        overrides = scratch.path("overrides.yaml")
        with open(overrides, "w", encoding="ascii") as f:
            f.write(OVERRIDES)
        cluster = scratch.cluster([f"--runtime-config.file={overrides}"])
        cluster.up()
        say("a cluster is up")
        o = Otlp(cluster, cases)
        sdk_cases(o, "proto", "gzip", PATHS[0], "a")
        sdk_cases(o, "proto", "none", PATHS[1], "b")
        sdk_cases(o, "json", "gzip", PATHS[1], "c")
        sdk_cases(o, "json", "none", PATHS[0], "d")
        delta_cases(o)
        tenant_cases(o)
        type_cases(o)
        partial_cases(o)
        size_cases(o)
        hostile_cases(o)
        outage_cases(o)
        cluster.down()
        cluster.check_logs(cases)
        scratch.keep = cases.failed > 0
    return cases.finish()


if __name__ == "__main__":
    sys.exit(main())
