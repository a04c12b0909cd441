"""The table of rows.py for Remote Write 2.0: what each answer must say was written, and what only 2.0 can get wrong."""
import rows
from rows import GOOD, HOUR, MIN, NOW, Row, metric, one, pb
from wire import *  # noqa: F403

PB2 = {"Content-Type": "application/x-protobuf;proto=io.prometheus.write.v2.Request", "Content-Encoding": "snappy",
       "X-Prometheus-Remote-Write-Version": "2.0.0"}
WRITTEN = [f"X-Prometheus-Remote-Write-{kind}-Written" for kind in ("Samples", "Histograms", "Exemplars")]


class Row2(Row):
    """written: samples, histograms, exemplars that the answer must name; None: it is no answer to a 2.0 request."""

    def __init__(self, name, body, status, texts=(), written=(0, 0, 0), headers=None, **more):
        super().__init__("2.0: " + name, body, status, texts, headers={**PB2, **(headers or {})}, **more)
        self.written = written


def written_wrong(row, reply):
    """A sender takes 2xx without these headers for a receiver of 1.0; to a sender of 1.0 they mean nothing."""
    want = getattr(row, "written", None)
    got = tuple(reply.headers.get(h) for h in WRITTEN)
    want = (None,) * 3 if want is None else tuple(str(n) for n in want)
    return None if got == want else f"written {got}, want {want}: {reply.text()[:300]!r}"


def body2(*all_series, table=None, extra=b"", pack=snappy):
    """all_series: functions of the table, or bytes."""
    table = table or Table()
    made = [s(table) if callable(s) else s for s in all_series]
    return pack(request2(table, made, extra))


def one2(pairs, v=1.0, t=None, start=0, **more):
    return lambda table: series2(table.refs(pairs), [sample2(v, NOW if t is None else t, start)], **more)


def hist2(pairs, *histograms, **more):
    return lambda table: series2(table.refs(pairs), histograms=histograms, **more)


GOOD2 = one2(metric("good", job="x"))
VALID2 = body2(GOOD2)


def with_good(bad):
    return body2(one2(metric("good", n="1")), bad, one2(metric("good", n="2")))


def content_rows():
    v2 = PB2["Content-Type"]
    raw = body2(GOOD2, pack=bytes)
    return [
        Row2("a valid push", VALID2, 204, stored=1, written=(1, 0, 0)),
        Row2("the other path", VALID2, 204, path="/api/v1/write", stored=1, written=(1, 0, 0)),
        Row2("the workspace path answers 200", VALID2, 200, path="/workspaces/ws-path2/api/v1/remote_write", tenant="ws-path2", stored=1, written=(1, 0, 0)),
        Row2("white space and quotes in the type", VALID2, 204, headers={"Content-Type": v2.replace(";proto=", " ; proto = \"") + '"'}, stored=1,
             written=(1, 0, 0)),
        Row2("the version header does not decide", VALID2, 204, headers={"X-Prometheus-Remote-Write-Version": "0.1.0"}, stored=1, written=(1, 0, 0)),
        Row2("gzip", body2(GOOD2, pack=gzip), 204, headers={"Content-Encoding": "gzip"}, stored=1, written=(1, 0, 0)),
        Row2("zstd", body2(GOOD2, pack=zstd), 204, headers={"Content-Encoding": "zstd"}, stored=1, written=(1, 0, 0)),
        Row2("deflate", raw, 415, "'deflate'", headers={"Content-Encoding": "deflate"}, written=None),
        Row2("a message of a version to come", VALID2, 415, "write.v3", headers={"Content-Type": v2.replace("v2", "v3")}, written=None),
        Row2("no message", snappy(b""), 204, stored=0),
        Row2("a 1.0 body is empty", rows.VALID, 204, stored=0),
        Row2("raw protobuf as snappy", raw, 400, "snappy", stored=0),
        Row2("malformed behind a good series", body2(GOOD2, extra=b"\x2a"), 400, "malformed protobuf", stored=0),
        Row2("group tags", body2(GOOD2, extra=tag(9, 3) + tag(9, 4)), 400, "wire type 3", stored=0),
        Row2("over the inflated size", gzip(bytes(3000)), 413, "max_request_inflated_size", headers={"Content-Encoding": "gzip"}, tenant="small"),
        Row2("one request too many", VALID2, 429, "Rate exceeded", tenant="limit-requests-2", before=[rows.VALID]),
        Row2("samples over the burst", body2(*[one2(metric("m", n=str(i))) for i in range(4)]), 429, "adding 4 samples", tenant="limit-rate-2", stored=0),
        Row2("unknown fields", body2(one2(metric("m"), extra=f_bytes(99, "x") + f_varint(6, 5)), extra=f_bytes(2, "y")), 204, stored=1, written=(1, 0, 0)),
    ]


def symbol_rows():
    def bad(name, series, reason, *texts, lost=1, **more):
        text = f"{lost} of {2 + lost} samples were not stored" if lost else "All 2 samples were stored, but not all"
        return Row2(name, with_good(series), 400, [reason, text, *texts], stored=2, written=(2, 0, 0), discarded={reason: lost}, **more)

    sample = [sample2(1, NOW)]
    twice = b"".join(f_bytes(4, s) for s in ("", "__name__", "m", "__name__", "a", "1", "a"))
    return [
        bad("odd references", lambda t: series2([*t.refs(metric("odd")), t.ref("job")], sample), "label_invalid", "3 label references", 'odd'),
        bad("name outside the table", lambda t: series2([*t.refs(metric("out")), 99, 0], sample), "label_invalid", "label reference 99 is outside the table of", "out"),
        bad("value outside the table", lambda t: series2([t.ref("__name__"), 4294967295], sample), "label_invalid", "4294967295"),
        bad("two samples of a series outside", lambda t: series2([77, 78], sample * 2), "label_invalid", "77", lost=2),
        bad("metadata outside the table", lambda t: series2(t.refs(metric("md")), sample, meta=metadata2(1, 500)), "label_invalid", "metadata reference 500", "md"),
        bad("no references", lambda t: series2([], sample), "missing_metric_name", "{}"),
        bad("an empty name", lambda t: series2([*t.refs(metric("m")), 0, t.ref("v")], sample), "label_invalid", 'invalid label name: ""'),
        bad("a label twice", lambda t: series2(t.refs(metric("m") + [("a", "1"), ("a", "2")]), sample), "duplicate_label_names", "'a'"),
        bad("151 labels", lambda t: series2(t.refs([("__name__", "many")] + [(f"l{i:03}", "v") for i in range(150)]), sample), "max_label_names_per_series",
            "151", "150", "many{"),
        bad("40,000 references", lambda t: series2([*t.refs(metric("m")), *([0] * 39998)], sample), "max_label_names_per_series", "20000", "150"),
        bad("no sample and no histogram", lambda t: series2(t.refs(metric("empty"))), "series_invalid",
            "TimeSeries must contain at least one sample or histogram", "empty", lost=0),
        bad("exemplars alone", lambda t: series2(t.refs(metric("alone")), exemplars=[exemplar2([], 1, NOW)]), "series_invalid", "at least one", lost=0),
        bad("samples and histograms", lambda t: series2(t.refs(metric("both")), sample, [histogram(NOW)]), "series_invalid", "either samples or histograms",
            "both", lost=2),
        Row2("the first symbol is not empty", snappy(f_bytes(4, "x") + body2(GOOD2, pack=bytes)), 400, "first symbol", stored=0),
        Row2("no table", snappy(f_bytes(5, series2([0, 0], sample))), 400, ["label reference 0 is outside the table of 0", "1 of 1"], stored=0),
        Row2("the table behind the series", snappy(f_bytes(4, "") + f_bytes(5, series2([1, 2], sample)) + f_bytes(4, "__name__") + f_bytes(4, "m")), 204,
             stored=1, written=(1, 0, 0)),
        Row2("references not packed", body2(lambda t: series2(b"".join(f_varint(1, r) for r in t.refs(metric("m"))), sample)), 204, stored=1, written=(1, 0, 0)),
        Row2("symbols that stand twice", snappy(request2(twice, [series2([1, 2, 4, 5], sample), series2([3, 2, 6, 5], [sample2(2, NOW + 1)])])), 204, stored=2,
             written=(2, 0, 0)),
        Row2("an empty value is no label", body2(one2(metric("m") + [("a", "")]), one2(metric("m"), t=NOW - 1)), 204, stored=2, written=(2, 0, 0)),
        Row2("unsorted", body2(one2([("z", "1"), ("__name__", "m"), ("a", "2")])), 204, stored=1, written=(1, 0, 0)),
        Row2("1,100,000 symbols", snappy(b"\x22\x00" * 1100000), 413, "1100000 symbols", tenant="any-size"),
        Row2("a million empty series", snappy(b"\x2a\x00" * 1000000), 400, "series_invalid", tenant="any-size", stored=None),
    ]


def partial_rows():
    late = one2(metric("late", id="42"), t=NOW - 61 * MIN)
    exemplar = lambda t: exemplar2(t.refs([("trace_id", "abc")]), 1.0, NOW)  # noqa: E731
    with_exemplar = lambda t: series2(t.refs(metric("e")), [sample2(1, NOW)], exemplars=[exemplar(t)])  # noqa: E731
    bad_exemplar = lambda t: series2(t.refs(metric("e")), [sample2(1, NOW)], exemplars=[exemplar2([1, 99], 1, NOW), exemplar(t)])  # noqa: E731
    long_exemplar = lambda t: series2(t.refs(metric("e")), [sample2(1, NOW)], exemplars=[exemplar2(t.refs([("a", "x" * 128)]), 1, NOW)])  # noqa: E731
    mixed = body2(one2(metric("m")), late, hist2(metric("h"), histogram(NOW), histogram(NOW - 1, count=5)), with_exemplar)
    return [
        Row2("too old", with_good(late), 400, ["greater_than_max_sample_age", 'late{id="42"}', "max_sample_age"], stored=2, written=(2, 0, 0)),
        Row2("some of each kind", mixed, 400, ["2 of 5 samples", "greater_than_max_sample_age", "native_histogram_invalid"], stored=3, written=(2, 1, 1)),
        Row2("refused by the ingesters", body2(one2(metric("o"), t=NOW - 11 * MIN), one2(metric("good"))), 400,
             ["1 of 2 samples", "sample-out-of-order", "'o'"], before=[pb(one(metric("o")))], stored=2, written=(1, 0, 0)),
        Row2("exemplars of a series whose sample comes too late are kept", body2(lambda t: series2(t.refs(metric("o")), [sample2(1, NOW - 11 * MIN)], exemplars=[
            exemplar(t)])), 400, "sample-out-of-order", before=[pb(one(metric("o")))], stored=1, written=(0, 0, 1)),
        Row2("exemplars of a series over the limit are not", body2(lambda t: series2(t.refs(metric("third")), [sample2(1, NOW)], exemplars=[exemplar(t)])), 400,
             "per_user_series_limit", tenant="limit-series-2", before=[pb(one(metric("m", n="1")), one(metric("m", n="2")))], stored=2),
        Row2("all samples of a request too old", body2(late), 400, "1 of 1 samples", stored=0),
        Row2("other value", body2(one2(metric("m", id="9"), 8.0), one2(metric("n"))), 400, ["new-value-for-timestamp", "existing 7, new value 8"],
             before=[pb(one(metric("m", id="9"), 7.0))], stored=2, written=(1, 0, 0)),
        Row2("exemplar with a reference outside", body2(bad_exemplar), 400, ["exemplar: label reference 99", "All 1 samples", "e"], stored=1, written=(1, 0, 1)),
        Row2("exemplar too long", body2(long_exemplar), 204, stored=1, written=(1, 0, 0)),
        Row2("eleven bad series, ten named", body2(*[one2([("n", f"bad{i:02}")]) for i in range(11)]), 400, ["11 of 11 samples", "bad00", "bad09"],
             absent=["bad10"], stored=0),
    ]


def same_rows():
    """A series is one, whichever way it comes: an equal sample is there already."""
    pairs = metric("same", job="x", instance="i")
    by2 = Row2("before", body2(one2(pairs, 5.0)), 204)
    return [
        Row2("what 1.0 brought", body2(one2(pairs, 5.0)), 204, before=[pb(one(pairs, 5.0))], stored=1, written=(1, 0, 0)),
        Row("1.0: what 2.0 brought", pb(one(pairs, 5.0)), 204, before=[by2], stored=1),
        Row2("the same request again", body2(one2(pairs, 5.0)), 204, before=[by2, by2], stored=1, written=(1, 0, 0)),
        Row2("labels in another order", body2(one2(list(reversed(pairs)), 5.0)), 204, before=[by2], stored=1, written=(1, 0, 0)),
        Row2("start timestamps of a retry do not matter", body2(one2(pairs, 5.0, start=NOW - 5)), 204, before=[by2], stored=1, written=(1, 0, 0)),
        Row2("the next sample", body2(one2(pairs, 6.0, t=NOW + 1)), 204, before=[pb(one(pairs, 5.0))], stored=2, written=(1, 0, 0)),
    ]


def kind_rows():
    custom = dict(schema=-53, zero=0, zero_threshold=0.0, count=5)
    start = f_varint(17, NOW - HOUR)
    typed = [lambda t, n=n: series2(t.refs(metric(f"f{n}_count")), [sample2(1, NOW)], meta=metadata2(n, t.ref("help"), t.ref("s"))) for n in range(9)]

    known = lambda n, help_: body2(*[lambda t, i=i: series2(t.refs(metric("m", n=str(i))), [sample2(1, NOW)], meta=metadata2(1, t.ref(help_)))  # noqa: E731
                                     for i in range(n)])
    first = Row2("before", known(1, "h"), 204)

    def good(name, series, written, n=1):
        return Row2(name, body2(series), 204, stored=n, written=written)

    return [
        good("start timestamp", one2(metric("m"), start=NOW - HOUR), (1, 0, 0)),
        good("start timestamp behind the sample", one2(metric("m"), start=NOW + HOUR), (1, 0, 0)),
        good("start timestamp int64 min", one2(metric("m"), start=-(1 << 63)), (1, 0, 0)),
        good("created timestamp of the drafts", one2(metric("m"), extra=f_varint(6, NOW - HOUR)), (1, 0, 0)),
        good("two samples", lambda t: series2(t.refs(metric("m")), [sample2(1, NOW - 1, NOW - HOUR), sample2(2, NOW)]), (2, 0, 0), 2),
        good("integer histogram", hist2(metric("h"), histogram(NOW, extra=start)), (0, 1, 0)),
        good("float histogram", hist2(metric("h"), float_histogram(NOW)), (0, 1, 0)),
        good("custom buckets", hist2(metric("h"), histogram(NOW, custom=(1.0, 2.0), **custom)), (0, 1, 0)),
        good("schema 9 is reduced", hist2(metric("h"), histogram(NOW, schema=9)), (0, 1, 0)),
        good("exemplar", lambda t: series2(t.refs(metric("m")), [sample2(1, NOW)], exemplars=[exemplar2(t.refs([("trace_id", "x")]), 1, NOW)]), (1, 0, 1)),
        good("exemplar of a histogram", lambda t: series2(t.refs(metric("h")), histograms=[histogram(NOW)], exemplars=[exemplar2([], 1, NOW)]), (0, 1, 1)),
        Row2("metadata that the ingesters have is left out", known(4, "h"), 429, "adding 4 samples and 0 metadata", tenant="limit-metadata", before=[first],
             stored=1),
        Row2("other metadata is not, once a request", known(4, "i"), 429, "adding 4 samples and 1 metadata", tenant="limit-metadata", stored=1),
        Row2("metadata of every type", body2(*typed), 204, stored=9, written=(9, 0, 0)),
        Row2("metadata with 1 MiB of help", body2(lambda t: series2(t.refs(metric("m")), [sample2(1, NOW)], meta=metadata2(1, t.ref("h" * (1 << 20))))), 204,
             tenant="wide", stored=None, written=(1, 0, 0)),
    ]


def sweep_body():
    """Every kind of field once, small."""
    table = Table()
    first = series2(table.refs(metric("sweep", job="x")), [sample2(1.5, NOW, NOW - 9), sample2(2.5, NOW + 1)], exemplars=[
        exemplar2(table.refs([("trace_id", "abc")]), 1.0, NOW)], meta=metadata2(1, table.ref("help"), table.ref("s")))
    second = series2(table.refs(metric("sweep_h")), histograms=[histogram(NOW, neg=((1, 1),), neg_deltas=(2,), count=8, extra=f_varint(17, NOW - 9))])
    return request2(table, [first, second])


ALL = [content_rows, symbol_rows, partial_rows, same_rows, kind_rows]
