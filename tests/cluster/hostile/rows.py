"""The table: what a hostile or broken sender may push, and what it must be told.

Row(name, body, status, texts, ...): body is what stands behind the headers (use pb() for a snappy-compressed message). texts must all stand in the
answer. stored: samples that every ingester must hold for the row's tenant afterwards. discarded: reason -> samples in the front's metric.
A row has a tenant of its own unless it names one. before: bodies of 1.0, or rows, that must be taken (204) first."""
import math
import struct
import time
from wire import *  # noqa: F403

NOW = int(time.time() * 1000)
MIN = 60 * 1000
HOUR = 60 * MIN
PB = {"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy", "X-Prometheus-Remote-Write-Version": "0.1.0"}
STALE_NAN, QUIET_NAN = 0x7FF0000000000002, 0x7FF8000000000001

# Tenants with limits of their own.
OVERRIDES = """overrides:
  limit-series: {max_active_series: 2}
  limit-metric: {max_series_per_metric: 2}
  limit-rate: {ingestion_rate: 1, ingestion_burst_size: 3}
  limit-late: {out_of_order_rate: 0.01}
  limit-requests: {request_rate: 0.001, request_burst_size: 1}
  limit-series-2: {max_active_series: 2}
  limit-rate-2: {ingestion_rate: 1, ingestion_burst_size: 3}
  limit-metadata: {ingestion_rate: 0.001, ingestion_burst_size: 5}
  limit-requests-2: {request_rate: 0.001, request_burst_size: 1}
  legacy-names: {name_validation: legacy}
  any-time: {max_sample_age: 0, creation_grace_period: 0, out_of_order_window: 1000d}
  any-time-2: {max_sample_age: 0, creation_grace_period: 0, out_of_order_window: 1000d}
  any-time-3: {max_sample_age: 0, creation_grace_period: 0, out_of_order_window: 1000d}
  any-time-4: {max_sample_age: 0, creation_grace_period: 0, out_of_order_window: 1000d}
  any-time-5: {max_sample_age: 0, creation_grace_period: 0, out_of_order_window: 1000d}
  any-labels: {max_label_names_per_series: 0, max_label_name_length: 0, max_label_value_length: 0, max_label_size_bytes: 0}
  any-size: {max_request_body_size: 64MiB, max_request_inflated_size: 64MiB, ingestion_burst_size: 10000000, max_sample_age: 0}
  small: {max_request_body_size: 1KiB, max_request_inflated_size: 2KiB}
  wide: {max_request_body_size: 8MB}
  burst: {max_request_body_size: 8MB}
  long-window: {out_of_order_window: 30m}
"""


class Row:
    def __init__(self, name, body, status, texts=(), tenant=None, headers=None, drop=(), path="/api/v1/push", method="POST", stored=None,
                 discarded=None, before=(), absent=()):
        self.name, self.body, self.status = name, body, status
        self.texts = [texts] if isinstance(texts, str) else list(texts)
        self.tenant, self.path, self.method = tenant, path, method
        self.headers = {k: v for k, v in {**PB, **(headers or {})}.items() if k not in drop}
        self.stored, self.discarded, self.before, self.absent = stored, discarded, before, absent


def pb(*all_series, metas=(), extra=b""):
    return snappy(request(all_series, metas, extra))


def one(pairs, v=1.0, t=None):
    return series(pairs, [sample(v, NOW if t is None else t)])


def metric(name="m", **more):
    return [("__name__", name)] + sorted(more.items())


GOOD = one(metric("good", job="x"))
VALID = pb(GOOD)


def with_good(bad):
    """The bad series between two good ones: those must be stored."""
    return pb(one(metric("good", n="1")), bad, one(metric("good", n="2")))


def http_rows():
    raw = request([GOOD])
    return [
        Row("a valid push", VALID, 204, stored=1),
        Row("the other path", VALID, 204, path="/api/v1/write", stored=1),
        Row("the workspace path answers 200", VALID, 200, path="/workspaces/ws-path/api/v1/remote_write", tenant="ws-path", stored=1),
        Row("GET", b"", 405, "", method="GET"),
        Row("unknown path", VALID, 404, "", path="/api/v1/pushy"),
        Row("no content type is 1.0", VALID, 204, drop=["Content-Type"], stored=1),
        Row("no encoding is snappy", VALID, 204, drop=["Content-Encoding"], stored=1),
        Row("no version header", VALID, 204, drop=["X-Prometheus-Remote-Write-Version"], stored=1),
        Row("odd version header", VALID, 204, headers={"X-Prometheus-Remote-Write-Version": "banana"}, stored=1),
        Row("proto= of 1.0", VALID, 204, headers={"Content-Type": "application/x-protobuf;proto=prometheus.WriteRequest"}, stored=1),
        Row("white space in the type", VALID, 204, headers={"Content-Type": "application/x-protobuf ; proto = prometheus.WriteRequest"},
            stored=1),
        Row("proto= unknown", VALID, 415, ["evil.Message", "prometheus.WriteRequest"],
            headers={"Content-Type": "application/x-protobuf;proto=evil.Message"}, stored=0),
        Row("parameter without value", VALID, 415, ["charset", "key=value"], headers={"Content-Type": "application/x-protobuf;charset"}),
        Row("JSON", b"{}", 415, "application/json", headers={"Content-Type": "application/json"}),
        Row("empty type", VALID, 415, "Content-Type ''", headers={"Content-Type": ""}),
        Row("very long type", VALID, 415, "application/aaaa", headers={"Content-Type": "application/" + "a" * 5000}),
        Row("gzip", gzip(raw), 204, headers={"Content-Encoding": "gzip"}, stored=1),
        Row("gzip in two members", gzip(raw[:20]) + gzip(raw[20:]), 204, headers={"Content-Encoding": "gzip"}, stored=1),
        Row("zstd", zstd(raw), 204, headers={"Content-Encoding": "zstd"}, stored=1),
        Row("zstd that says no length", zstd(raw, sized=False), 204, headers={"Content-Encoding": "zstd"}, stored=1),
        Row("no encoding at all", raw, 415, ["'identity'", "snappy", "gzip", "zstd"], headers={"Content-Encoding": "identity"}, stored=0),
        Row("deflate", raw, 415, "'deflate'", headers={"Content-Encoding": "deflate"}),
        Row("snappy as gzip", VALID, 400, "not valid gzip", headers={"Content-Encoding": "gzip"}, stored=0),
        Row("snappy as zstd", VALID, 400, "not valid zstd", headers={"Content-Encoding": "zstd"}, stored=0),
        Row("gzip cut", gzip(raw)[:-9], 400, "not valid gzip", headers={"Content-Encoding": "gzip"}),
        Row("gzip with bytes behind it", gzip(raw) + b"xx", 400, "not valid gzip", headers={"Content-Encoding": "gzip"}),
        Row("gzip bomb", gzip(bytes(64 << 20)), 413, ["67108864", "max_request_inflated_size"], headers={"Content-Encoding": "gzip"}),
        Row("gzip bomb that claims little", gzip(bytes(64 << 20))[:-4] + b"\x05\0\0\0", 413, "max_request_inflated_size",
            headers={"Content-Encoding": "gzip"}),
        Row("zstd claims 3 GiB", zstd(raw, claim=3 << 30), 413, ["3221225472", "max_request_inflated_size"], headers={"Content-Encoding": "zstd"}),
        Row("zstd claims more", zstd(raw, claim=500), 400, "not valid zstd", headers={"Content-Encoding": "zstd"}),
        Row("two encodings", VALID, 415, "snappy, gzip", headers={"Content-Encoding": "snappy, gzip"}),
        Row("empty body", b"", 400, "body is empty"),
        Row("raw protobuf as snappy", raw, 400, "snappy"),
        Row("zstd bytes as snappy", b"\x28\xb5\x2f\xfd" + raw, 400, "snappy"),
        Row("gzip bytes as snappy", b"\x1f\x8b\x08\x00" + raw, 400, "snappy"),
        Row("framed snappy", b"\xff\x06\x00\x00sNaPpY" + VALID, 400, "snappy"),
        Row("a 2.0 body as 1.0 is empty", snappy(f_bytes(4, "") + f_bytes(4, "__name__") + f_bytes(5, f_bytes(1, b"\x00\x01"))), 204, stored=0),
        Row("sent body over the limit", b"\x80\x01" + b"a" * 1100, 413, "1024", tenant="small"),
        Row("sent body over the default limit", b"\x80\x01" + b"a" * 1000001, 413, "1000000"),
    ]


def snappy_rows():
    return [
        Row("snappy claims 4 GiB - 1", varint((1 << 32) - 1) + b"\x00a", 413, ["4294967295", "max_request_inflated_size"]),
        Row("snappy claims one byte too many", varint(8000001) + b"\x00a", 413, ["8000001", "8000000"]),
        Row("snappy claims over a small limit", varint(64 * 33) + literal(b"a") + copy2(1, 63) + copy2(1, 64) * 32, 413, ["2112", "2048"], tenant="small"),
        Row("snappy length of ten bytes", b"\xff" * 9 + b"\x01" + b"\x00a", 400, "snappy"),
        Row("snappy length that does not end", b"\xff" * 20, 400, "snappy"),
        Row("snappy length alone", b"\x05", 400, "snappy"),
        Row("snappy of nothing", b"\x00", 204, stored=0),
        Row("bytes behind snappy of nothing", b"\x00\x00a", 400, "snappy"),
        Row("snappy claims less", snappy(request([GOOD]), claim=5), 400, "snappy"),
        Row("snappy claims more", snappy(request([GOOD]), claim=500), 400, "snappy"),
        Row("copy before the start", b"\x08" + literal(b"abcd") + copy2(5, 4), 400, "snappy"),
        Row("copy with offset 0", b"\x08" + literal(b"abcd") + copy2(0, 4), 400, "snappy"),
        Row("copy past the end", b"\x06" + literal(b"abcd") + copy2(4, 64), 400, "snappy"),
        Row("copy as the first element", b"\x04" + copy2(1, 4), 400, "snappy"),
        Row("copy cut in its offset", b"\x08" + literal(b"abcd") + copy2(4, 4)[:2], 400, "snappy"),
        Row("literal past the end", b"\x08" + bytes([59 << 2]) + b"abcd", 400, "snappy"),
        Row("literal with a four-byte length", b"\x08" + bytes([63 << 2]) + b"\xff\xff\xff\xff" + b"abcd", 400, "snappy"),
        Row("bytes behind the last element", snappy(request([GOOD])) + b"\x00a", 400, "snappy"),
        # 64 bytes out of 3: zeros, of which the message then says that field 0 is none.
        Row("expansion 21 to 1", varint(64 * 60000 + 1) + literal(b"\x00") + copy2(1, 64) * 60000, 400, "field tag"),
    ]


def protobuf_rows():
    name = label("__name__", "m")
    deep = b"".join([tag(15, 3)] * 10000) + b"".join([tag(15, 4)] * 10000)
    unpacked = series(metric("h"), histograms=[histogram(NOW, deltas=(), extra=f_sint(12, 1) + packed_sint(12, [3]))])
    return [
        Row("unknown fields", snappy(request([series(metric("m"), [sample(1, NOW) + f_bytes(9, "x") + f_varint(100, 7)], extra=f_double(77, 1))],
                                             extra=f_bytes(200, "y") + tag(201, 5) + b"1234")), 204, stored=1),
        Row("known field, other wire type", pb(series(metric("m"), [sample(1, NOW) + f_varint(1, 9) + f_bytes(2, "x")])), 204, stored=1),
        Row("the last of a repeated scalar", pb(series(metric("m"), [f_varint(2, 5) + sample(1, NOW)])), 204, stored=1),
        Row("packed and unpacked mixed", pb(unpacked), 204, stored=1),
        Row("labels behind samples", pb(f_bytes(2, sample(1, NOW)) + labels(metric("m"))), 204, stored=1),
        Row("labels around samples", pb(f_bytes(1, name) + f_bytes(2, sample(1, NOW)) + f_bytes(1, label("a", "b"))), 204, stored=1),
        Row("group tags", pb(GOOD, extra=tag(9, 3) + tag(9, 4)), 400, ["malformed protobuf", "wire type 3"], stored=0),
        Row("depth bomb of groups", pb(GOOD, extra=deep), 400, "malformed protobuf"),
        Row("wire type 6", pb(GOOD, extra=tag(9, 6)), 400, "wire type 6"),
        Row("field number 0", pb(GOOD, extra=tag(0, 0) + b"\x00"), 400, "bad field tag"),
        Row("field number 2^29", pb(GOOD, extra=tag(1 << 29, 0) + b"\x00"), 400, "bad field tag"),
        Row("tag of eleven bytes", snappy(b"\xff" * 11), 400, "malformed protobuf"),
        Row("varint of eleven bytes", pb(series(metric("m"), [tag(2, 0) + b"\xff" * 10 + b"\x01"])), 400, "malformed protobuf"),
        Row("series past the request", snappy(tag(1, 2) + varint(1000) + b"abc"), 400, "field 1 ends early"),
        Row("label past its series", pb(tag(1, 2) + varint(100) + b"\x0a"), 400, "field 1 ends early"),
        Row("length of 2^63", snappy(tag(1, 2) + varint(1 << 63) + b"abc"), 400, "ends early"),
        Row("sample cut in its double", pb(series(metric("m"), [f_double(1, 1)[:5]])), 400, "ends early"),
        Row("packed deltas cut", pb(series(metric("m"), histograms=[f_bytes(12, b"\xff")])), 400, "packed field 12"),
        Row("malformed behind a good series", pb(GOOD, extra=b"\x0a"), 400, "malformed protobuf", stored=0),
        Row("no series", snappy(request()), 204, stored=0),
        Row("series without samples", pb(labels(metric("m"))), 204, stored=0),
        Row("a million empty series", snappy(b"\x0a\x00" * 1000000), 204, stored=0, tenant="wide"),
        Row("a label of a million empty labels", snappy(f_bytes(1, b"\x0a\x00" * 1000000 + f_bytes(2, sample(1, NOW)))), 400,
            "label", stored=0, tenant="wide"),
        Row("an exemplar of a million empty labels",
            snappy(f_bytes(1, labels(metric("m")) + f_bytes(2, sample(1, NOW)) + f_bytes(3, b"\x0a\x00" * 1000000))), 204, stored=1,
            tenant="wide"),
        Row("the same series twice", pb(one(metric("m"), 1.0, NOW - 1), one(metric("m"), 2.0, NOW)), 204, stored=2),
    ]


def label_row(name, pairs, reason, texts, tenant=None, stored=2, status=400):
    return Row(name, with_good(one(pairs)), status, [reason, *([texts] if isinstance(texts, str) else texts), "1 of 3 samples"], tenant=tenant,
               stored=stored, discarded={reason: 1} if tenant is None else None)


def label_rows():
    bad_utf8 = {"lone continuation": b"a\x80", "overlong": b"\xc0\xaf", "surrogate": b"\xed\xa0\x80", "above 10FFFF": b"\xf4\x90\x80\x80",
                "cut": b"\xe2\x82"}
    many = [("__name__", "many")] + [(f"l{i:06}", "v") for i in range(149)]
    rows = [
        label_row("no metric name", [("job", "nameless")], "missing_metric_name", 'job=\\"nameless\\"'.replace("\\", "")),
        label_row("no labels at all", [], "missing_metric_name", "{}"),
        label_row("empty metric name", [("__name__", ""), ("job", "x")], "missing_metric_name", "job"),
        label_row("empty label name", metric("m") + [("", "v")], "label_invalid", 'invalid label name: ""'),
        label_row("duplicate label", metric("m") + [("a", "1"), ("a", "2")], "duplicate_label_names", "'a'"),
        label_row("duplicate label, one value empty", metric("m") + [("a", "1"), ("a", "")], "duplicate_label_names", "'a'"),
        label_row("duplicate metric name", metric("m") + [("__name__", "n")], "duplicate_label_names", "'__name__'"),
        Row("empty value is no label", pb(one(metric("m") + [("a", "")]), one(metric("m"), t=NOW - 1)), 204, stored=2),
        Row("unsorted", pb(one([("z", "1"), ("__name__", "m"), ("a", "2")])), 204, stored=1),
        label_row("151 labels", many + [("last", "v")], "max_label_names_per_series", ["151", "150", 'many{']),
        Row("150 labels", pb(one(many)), 204, stored=1),
        label_row("1,000 labels", [("__name__", "m")] + [(f"l{i}", "v") for i in range(1000)], "max_label_names_per_series", ["1001", "150"]),
        Row("5,000 labels when the limit is off", with_good(one([("__name__", "m")] + [(f"l{i}", "v") for i in range(5000)])), 400,
            ["max_label_names_per_series", "5001", "4096"], tenant="any-labels", stored=2),
        label_row("50,000 labels with empty values", [("__name__", "m")] + [(f"l{i}", "") for i in range(50000)], "max_label_names_per_series",
                  ["50001"]),
        label_row("label name of 1,025 bytes", metric("m") + [("n" * 1025, "v")], "label_invalid", ["1025", "1024", "max_label_name_length"]),
        label_row("label value of 2,049 bytes", metric("m") + [("a", "v" * 2049)], "label_value_too_long",
                  ["'a'", "2049", "2048", "max_label_value_length"]),
        Row("label value of 2,048 bytes", pb(one(metric("m") + [("a", "v" * 2048)])), 204, stored=1),
        label_row("label value of 900,000 bytes", metric("m") + [("a", "v" * 900000)], "label_value_too_long", ["900000", "..."]),
        label_row("labels of 8 KiB in all", metric("m") + [(f"a{i}", "v" * 2000) for i in range(4)], "label_size_exceeded",
                  ["7168", "max_label_size_bytes"]),
        Row("NUL, newline, DEL in a value are escaped", with_good(one(metric("m") + [("a", "\0\n\x7f"), ("b", "v" * 2049)])), 400,
            ["\\x00\\n\\x7f", "label_value_too_long"], stored=2, absent=["\0", "\x7f"]),
        Row("newline in a label name is escaped", with_good(one(metric("m") + [("a\nb", "v" * 2049)])), 400, ["a\\nb", "label_value_too_long"],
            stored=2, absent=["a\nb"]),
        Row("newline in a long label name is escaped", with_good(one(metric("m") + [("a\nb" * 500, "v")])), 400, ["a\\nb", "label_invalid"],
            stored=2, absent=["a\nb"]),
        Row("newline in a duplicate name is escaped", with_good(one(metric("m") + [("a\nb", "1"), ("a\nb", "2")])), 400,
            ["a\\nb", "duplicate_label_names"], stored=2, absent=["a\nb"]),
        Row("same letters, other normal form", pb(one(metric("m") + [("\u00e9", "1"), ("e\u0301", "2")])), 204, stored=1),
        label_row("legacy names: dotted metric", metric("a.b"), "metric_name_invalid", '"a.b"', tenant="legacy-names"),
        label_row("legacy names: dotted label", metric("m") + [("a.b", "1")], "label_invalid", '"a.b"', tenant="legacy-names", stored=None),
        Row("utf8 names", pb(one(metric("a.b \u00e9") + [("a.b", "1")])), 204, stored=1),
        Row("replica and tenant tricks are plain labels", pb(one(metric("m") + [("__replica__", "r"), ("__tenant__", "other"),
                                                                                ("__tenant_id__", "x")])), 204, stored=1),
        Row("eleven bad series, ten named", pb(*[one([("n", f"bad{i:02}")]) for i in range(11)]), 400,
            ["11 of 11 samples", "bad00", "bad09"], absent=["bad10"], stored=0, discarded={"missing_metric_name": 11}),
    ]
    for what, data in bad_utf8.items():
        rows.append(label_row(f"UTF-8 value: {what}", metric("m") + [("a", data)], "label_invalid", ["'a'", "invalid UTF-8"]))
        rows.append(label_row(f"UTF-8 label name: {what}", metric("m") + [(data, "v")], "label_invalid", "invalid label name"))
        rows.append(label_row(f"UTF-8 metric name: {what}", [("__name__", data)], "metric_name_invalid", "invalid metric name"))
    return rows


def sample_rows():
    def time_row(name, t, reason, texts, **kw):
        return Row(name, with_good(one(metric("late", id="42"), t=t)), 400, [reason, 'late{id="42"}', *texts], stored=2, discarded={reason: 1}, **kw)

    def bits(*values):
        return pb(series(metric("m"), [sample_bits(b, NOW - len(values) + i) for i, b in enumerate(values)]))

    double = [struct.unpack("<Q", struct.pack("<d", v))[0] for v in (math.inf, -math.inf, -0.0, 5e-324, -5e-324, 1.7976931348623157e308)]
    out_of_order = pb(one(metric("o"), t=NOW - 11 * MIN))
    descending = series(metric("d"), [sample(i, NOW - i * 1000) for i in range(100)])
    range_end = NOW // (2 * HOUR) * (2 * HOUR)
    return [
        Row("NaN payloads", bits(QUIET_NAN, STALE_NAN, 0x7FF0000000000001, 0xFFFFFFFFFFFFFFFF, 0xFFF8000000000000), 204, stored=5),
        Row("infinities, -0, denormals", bits(*double), 204, stored=len(double)),
        time_row("timestamp 0", 0, "greater_than_max_sample_age", ["1970-01-01", "1h", "max_sample_age"]),
        time_row("timestamp -1", -1, "greater_than_max_sample_age", ["1969-12-31"]),
        time_row("int64 min", -(1 << 63), "greater_than_max_sample_age", ["-9223372036854775808 ms"]),
        time_row("int64 max", (1 << 63) - 1, "too_far_in_future", ["9223372036854775807 ms", "creation_grace_period"]),
        time_row("an hour and a minute old", NOW - 61 * MIN, "greater_than_max_sample_age", ["max_sample_age"]),
        time_row("fifteen minutes ahead", NOW + 15 * MIN, "too_far_in_future", ["10m"]),
        Row("nine minutes ahead", pb(one(metric("m"), t=NOW + 9 * MIN)), 204, stored=1),
        Row("2^53 + 1 where all times are allowed", pb(one(metric("b"), t=(1 << 53) + 1), one(metric("a"), t=NOW)), 400, ["out_of_bounds", "b"],
            tenant="any-time", stored=1),
        Row("timestamp 2^53", pb(one(metric("b"), t=1 << 53)), 204, tenant="any-time-2", stored=1),
        Row("timestamp -2^53", pb(one(metric("c"), t=-(1 << 53))), 204, tenant="any-time-2", stored=2),
        Row("forty days apart, ascending", pb(one(metric("a"), t=NOW - 40 * 24 * HOUR), one(metric("b"), t=NOW)), 204, tenant="any-time-3", stored=2),
        Row("forty days apart, descending", pb(one(metric("c"), t=NOW), one(metric("d"), t=NOW - 40 * 24 * HOUR)), 204, tenant="any-time-3", stored=4),
        Row("a year apart", pb(one(metric("a"), t=NOW - 365 * 24 * HOUR), one(metric("b"), t=NOW)), 400, ["49 days", "separate requests"],
            tenant="any-time-4", stored=0),
        Row("around block borders", pb(series(metric("m"), [sample(i, range_end + i) for i in (-1, 0, 1)])), 204, tenant="any-time-5", stored=3),
        Row("same time, same value", pb(one(metric("m"), 7.0)), 204, before=[pb(one(metric("m"), 7.0))], stored=1),
        Row("same time, other value", with_good(one(metric("m", id="9"), 8.0)), 400,
            ["new-value-for-timestamp", "existing 7, new value 8", 'm{id="9"}', str(NOW)], before=[pb(one(metric("m", id="9"), 7.0))], stored=3,
            discarded={"new-value-for-timestamp": 1}),
        Row("same time, float and histogram", pb(series(metric("m"), histograms=[histogram(NOW)])), 400, ["new-value-for-timestamp", "m"],
            before=[pb(one(metric("m"), 7.0))], stored=1),
        Row("older than the window", pb(one(metric("o"), t=NOW - 11 * MIN), GOOD), 400, ["sample-out-of-order", "out-of-order samples", "10m", "'o'"],
            before=[pb(one(metric("o")))], stored=2, discarded={"sample-out-of-order": 1}),
        Row("inside a longer window", out_of_order, 204, before=[pb(one(metric("o")))], tenant="long-window", stored=2),
        Row("descending in one series", pb(descending), 204, stored=100),
        Row("400,000 samples of one series", snappy(request([series(metric("burst"), [sample(0.5, NOW - 400000 + i) for i in range(400000)])])), 204,
            tenant="burst", stored=400000),
        Row("a million samples in one request", snappy(request([series(metric("m"), [f_varint(2, NOW - 1000000 + i) for i in range(1000000)])])),
            413, ["1000000 samples", "smaller requests"], tenant="any-size", stored=0),
        Row("more than 2^20 samples", snappy(request([series(metric("m"), [f_varint(2, NOW)] * ((1 << 20) + 1))])), 413, "1048576", tenant="any-size",
            stored=0),
    ]


def limit_rows():
    three = [one(metric("m", n=str(i))) for i in range(3)]
    return [
        # Which of several new series meets the limit may differ between replicas, so it is one.
        Row("series limit", pb(three[2]), 400, ["per_user_series_limit", "per-user series limit of 2 exceeded", "user=limit-series", 'n="2"'],
            before=[pb(*three[:2])], tenant="limit-series", stored=2, discarded={"per_user_series_limit": 1}),
        Row("known series go on at the limit", pb(one(metric("m", n="0"), t=NOW + 1)), 204, tenant="limit-series", stored=3),
        Row("metric limit", pb(three[2], one(metric("other"))), 400,
            ["per_metric_series_limit", "per-metric series limit of 2 exceeded, please contact administrator to raise it", "'m'"],
            before=[pb(*three[:2])], tenant="limit-metric", stored=3, discarded={"per_metric_series_limit": 1}),
        Row("samples over the burst: the whole batch", pb(*three, GOOD), 429,
            ["ingestion rate limit (1) exceeded while adding 4 samples and 0 metadata"], tenant="limit-rate", stored=0,
            discarded={"rate_limited": 4}),
        Row("late samples over the burst", pb(series(metric(), [sample(1, NOW + t) for t in (0, -4000, -3000, -2000, -1000)])), 429,
            ["3 of 5 samples were not stored", "out-of-order ingestion rate limit (0.01 samples/s) exceeded (rate_limited, out_of_order_rate)"],
            tenant="limit-late", stored=2, discarded={"rate_limited": 3}),
        Row("what was stored of them may come again", pb(series(metric(), [sample(1, NOW + t) for t in (0, -4000)])), 204, tenant="limit-late", stored=2),
        Row("one request too many", VALID, 429, '{"message":"Rate exceeded"}', tenant="limit-requests", before=[VALID], stored=1),
    ]


def histogram_rows():
    inf, nan = math.inf, math.nan

    def bad(name, h, *texts):
        return Row(name, with_good(series(metric("h", id="7"), histograms=[h])), 400, ["native_histogram_invalid", 'h{id="7"}', *texts], stored=2,
                   discarded={"native_histogram_invalid": 1})

    def good(name, h, n=1):
        return Row(name, pb(series(metric("h"), histograms=[h] if isinstance(h, bytes) else h)), 204, stored=n)

    custom = dict(schema=-53, zero=0, zero_threshold=0.0, count=5)
    return [
        good("integer histogram", histogram(NOW)),
        good("float histogram", float_histogram(NOW)),
        good("stale histogram", f_fixed64(3, STALE_NAN) + f_varint(15, NOW)),
        good("NaN sum, count above the buckets", histogram(NOW, sum_=nan, count=10)),
        good("custom buckets", histogram(NOW, custom=(1.0, 2.0), **custom)),
        good("schema 9 is reduced", histogram(NOW, schema=9)),
        good("schema 52 is reduced", histogram(NOW, schema=52)),
        good("schema 20 with far offsets is reduced", histogram(NOW, schema=20, pos=((-1000000, 1), (2000000, 1)))),
        good("hint: no reset", histogram(NOW, hint=2)),
        good("hint out of its enum", histogram(NOW, hint=77)),
        bad("schema -5", histogram(NOW, schema=-5), "invalid schema", "-5"),
        bad("schema -9", histogram(NOW, schema=-9), "-9"),
        bad("schema -10", histogram(NOW, schema=-10), "unknown schema", "-10"),
        bad("schema 53", histogram(NOW, schema=53), "unknown schema", "53"),
        bad("schema 127", histogram(NOW, schema=127), "127"),
        bad("schema int32 min", histogram(NOW, schema=-(1 << 31)), "-2147483648"),
        bad("schema 9, overlapping spans", histogram(NOW, schema=9, pos=((0, 1), (-1, 1))), "negative"),
        bad("schema 9, spans over the buckets", histogram(NOW, schema=9, pos=((0, 20),)), "bucket"),
        bad("negative span offset", histogram(NOW, pos=((0, 1), (-1, 1))), "span number 2 with offset -1"),
        bad("spans over the buckets", histogram(NOW, pos=((0, 3),)), "need 3 buckets, have 2"),
        bad("span of 2^32 - 1", histogram(NOW, pos=((0, (1 << 32) - 1),)), "4294967295"),
        bad("span offset int32 max", histogram(NOW, pos=(((1 << 31) - 1, 2),)), "out of range"),
        bad("count below the buckets", histogram(NOW, count=5), "6 observations found in buckets, but the Count field is 5"),
        bad("count above the buckets", histogram(NOW, count=7), "but the Count field is 7"),
        bad("negative bucket", histogram(NOW, deltas=(1, -2)), "bucket number 2 has observation count of -1"),
        bad("delta that overflows", histogram(NOW, deltas=((1 << 63) - 1, 1)), "negative"),
        bad("float count negative", float_histogram(NOW, count=-1.0), "negative"),
        bad("float bucket negative", float_histogram(NOW, counts=(1.0, -4.0)), "bucket number 2", "-4"),
        bad("deltas in a float histogram", float_histogram(NOW) + packed_sint(12, [1]), "float histogram carries bucket deltas"),
        bad("counts in an integer histogram", histogram(NOW) + packed_double(13, [1.0]), "integer histogram carries bucket counts"),
        bad("integer count, float zero count", histogram(NOW) + f_double(7, 1.0), "mixes"),
        bad("zero threshold NaN", histogram(NOW, zero_threshold=nan), "zero threshold"),
        bad("zero threshold negative", histogram(NOW, zero_threshold=-1.0), "zero threshold"),
        bad("custom bounds unsorted", histogram(NOW, custom=(2.0, 1.0), **custom), "strictly increasing"),
        bad("custom bounds equal", histogram(NOW, custom=(1.0, 1.0), **custom), "strictly increasing"),
        bad("custom bound NaN", histogram(NOW, custom=(1.0, nan), **custom), "NaN"),
        bad("custom bound +Inf", histogram(NOW, custom=(1.0, inf), **custom), "+Inf"),
        bad("custom bounds too few", histogram(NOW, custom=(), **custom), "custom bounds"),
        bad("custom bounds with a schema", histogram(NOW, custom=(1.0,)), "must not have custom bounds"),
        bad("custom with a zero count", histogram(NOW, **{**custom, "zero": 1}, custom=(1.0, 2.0)), "zero count of 0"),
        bad("custom with negative buckets", histogram(NOW, neg=((0, 1),), neg_deltas=(1,), custom=(1.0, 2.0), **custom), "negative spans"),
        bad("161 buckets", histogram(NOW, pos=((0, 161),), deltas=[1] + [0] * 160, count=162), "161", "160", "max_native_histogram_buckets"),
        bad("100,000 buckets", histogram(NOW, pos=((0, 100000),), deltas=[1] + [0] * 99999, count=100001), "bucket"),
        Row("200,000 buckets", with_good(series(metric("h", id="7"), histograms=[
            histogram(NOW, pos=((0, 200000),), deltas=[1] + [0] * 199999, count=200001)])), 400, ["native_histogram_invalid", "65536", 'h{id="7"}'],
            stored=2),
        Row("histogram too old", with_good(series(metric("h", id="7"), histograms=[histogram(5)])), 400, ["greater_than_max_sample_age", 'h{id="7"}'],
            stored=2),
    ]


def exemplar_rows():
    def row(name, *exemplars):
        return Row(name, pb(series(metric("m"), [sample(1, NOW)], exemplars=exemplars)), 204, stored=1)

    return [
        row("exemplar", exemplar([("trace_id", "abc")], 1.0, NOW)),
        row("exemplar of 129 characters is left out", exemplar([("trace_id", "x" * 121)], 1.0, NOW)),
        row("exemplar of 128 characters", exemplar([("trace_id", "\u00e9" * 120)], 1.0, NOW)),
        row("exemplar without labels", exemplar([], 1.0, NOW)),
        row("exemplar before the sample", exemplar([("a", "b")], 1.0, NOW - HOUR)),
        row("exemplar at int64 min", exemplar([("a", "b")], 1.0, -(1 << 63))),
        row("exemplar with bad UTF-8", exemplar([("a", b"\xff")], 1.0, NOW)),
        row("exemplar with a duplicate label", exemplar([("a", "1"), ("a", "2")], 1.0, NOW)),
        row("exemplar with an empty name", exemplar([("", "1")], 1.0, NOW)),
        row("10,000 exemplars of one series", *[exemplar([("a", str(i))], 1.0, NOW) for i in range(10000)]),
        Row("metadata", pb(GOOD, metas=[metadata("m")]), 204, stored=1),
        Row("metadata alone", pb(metas=[metadata("m")]), 204, stored=0),
        Row("metadata type out of its enum", pb(GOOD, metas=[metadata("m", type_=99)]), 204, stored=1),
        Row("metadata with 1 MiB of help", pb(GOOD, metas=[metadata("m", help_="h" * (1 << 20))]), 204, tenant="wide", stored=None),
        Row("metadata with bad UTF-8", pb(GOOD, metas=[metadata(b"\xff"), metadata("m", help_=b"\xff"), metadata("")]), 204, stored=1),
        Row("100,000 metadata rows", pb(metas=[metadata(f"m{i}") for i in range(100000)]), 204, tenant="any-size", stored=None),
        Row("malformed metadata", snappy(request([GOOD], [b"\x12\x05a"])), 400, "malformed protobuf", stored=0),
    ]


def tenant_rows():
    def row(name, tenant, status, *texts):
        return Row(f"tenant {name}", VALID, status, texts, tenant=tenant)

    return [
        row("empty", "", 400, "tenant id is empty"),
        row(".", ".", 400, "not allowed"),
        row("..", "..", 400, "'..'"),
        row("a/b", "a/b", 400, "0x2f"),
        row("%2e%2e", "%2e%2e", 400, "0x25"),
        row("a|b", "a|b", 400, "0x7c"),
        row("with a space inside", "a b", 400, "0x20"),
        row("of 151 bytes", "x" * 151, 400, "151 bytes, at most 150"),
        row("of 150 bytes", "x" * 150, 204),
        row("with unicode", "caf\u00e9".encode(), 400, "0xc3"),
        row("backslash", "a\\b", 400, "0x5c"),
        row("__internal", "__internal", 204),
        row("case, upper", "CASE", 204),
        row("case, lower", "case", 204),
        row("trailing dot", "dot.", 204),
        row("all its characters", "!._*'()-", 204),
        Row("tenant in the path: ..", VALID, 400, (), path="/workspaces/%2e%2e/api/v1/remote_write"),
        Row("tenant in the path: a/b escaped", VALID, 400, "0x2f", path="/workspaces/a%2fb/api/v1/remote_write"),
        Row("tenant in the path: NUL", VALID, 400, (), path="/workspaces/a%00b/api/v1/remote_write"),
        Row("tenant in the path: bad escape", VALID, 400, (), path="/workspaces/a%zzb/api/v1/remote_write"),
        Row("tenant in the path: double escape", VALID, 400, "0x25", path="/workspaces/a%252fb/api/v1/remote_write"),
        Row("tenant in the path: empty", VALID, 404, (), path="/workspaces//api/v1/remote_write"),
    ]


ALL = [http_rows, snappy_rows, protobuf_rows, label_rows, sample_rows, limit_rows, histogram_rows, exemplar_rows, tenant_rows]
