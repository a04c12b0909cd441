"""The ceilings of a query: one tenant per limit, what it asks, and the exact answer. Every tenant has the same data: SERIES series m with a label i
(pad makes each some 200 bytes), SAMPLES samples 15 s apart that end at END_S."""
import urllib.parse

import rows

SERIES, SAMPLES = 50, 40
API = "/prometheus/api/v1/"
OK = "neighbour"
# With thousands of steps far more than a minute of work: each smoothes 43,200 samples of each series one by one.
SLOW = "sum(double_exponential_smoothing((m @ end())[12h:1s], 0.3, 0.3))"


class Limit:
    def __init__(self, name, overrides, path, status, kind, text, **params):
        self.name, self.overrides, self.status, self.kind, self.text = name, overrides, status, kind, text
        self.tenant = "limit-" + name.replace(" ", "-")
        self.path = API + path + "?" + urllib.parse.urlencode(params, doseq=True)


def table(end_s):
    def instant(name, overrides, query, status, kind, text, **more):
        return Limit(name, overrides, "query", status, kind, text, query=query, time=end_s, **more)

    def ranged(name, overrides, query, status, kind, text, start=end_s - 585, end=end_s, step=15):
        return Limit(name, overrides, "query_range", status, kind, text, query=query, start=start, end=end, step=step)

    selector = "expanding series: the query hit the "
    return [
        instant("series", "max_query_series: 10", "m", 422, "execution", selector + "max number of series limit (limit: 10 series, max_query_series)"),
        instant("chunks", "max_query_chunks: 10", "m", 422, "execution",
                selector + "max number of chunks limit while fetching chunks from ingesters (limit: 10 chunks, max_query_chunks)"),
        instant("bytes", "max_query_bytes: 1000", "m[10m]", 422, "execution",
                selector + "aggregated data size limit (limit: 1000 bytes, max_query_bytes)"),
        ranged("samples held", "max_query_samples: 100", "m", 422, "execution",
               "query processing would load too many samples into memory in query execution (limit: 100 samples, max_query_samples)"),
        instant("samples read", "max_query_samples: 100", "sum(count_over_time(m[10m]))", 422, "execution",
                "the query hit the max number of samples limit (limit: 100 samples, max_query_samples)"),
        instant("memory", "query_memory: 64KiB", "m", 422, "execution",
                "query processing would load too many bytes into memory in query execution (limit: 65536 bytes, query_memory)"),
        ranged("range", "max_query_range: 1h", "m", 422, "execution",
               "the query time range exceeds the limit (query length: 2h, limit: 1h)", start=end_s - 7200, end=end_s, step=60),
        Limit("range of series", "max_query_range: 1h", "series", 422, "execution",
              "the query time range exceeds the limit (query length: 2h, limit: 1h)", **{"match[]": "m"}, start=end_s - 7200, end=end_s),
        Limit("series of a listing", "max_query_series: 10", "series", 422, "execution",
              "the query hit the max number of series limit (limit: 10 series, max_query_series)", **{"match[]": "m"}),
        Limit("memory of a listing", "query_memory: 16KiB", "series", 422, "execution", "(limit: 16384 bytes, query_memory)", **{"match[]": "m"}),
        ranged("points", "max_points: 20", "m", 400, "bad_data",
               "exceeded maximum resolution of 20 points per timeseries. Try decreasing the query resolution (?step=XX)"),
        instant("text", "max_query_text: 100B", "m + " * 30 + "m", 400, "bad_data",
                'invalid parameter "query": the expression has 121 bytes, limit 100 (max_query_text)'),
        instant("depth", "{}", "(" * 201 + "m" + ")" * 201, 400, "bad_data", "expression is nested deeper than 200 levels"),
        ranged("time", "query_timeout: 300ms", SLOW, 503, "timeout", "query timed out in expression evaluation (limit: 300 ms, query_timeout)",
               start=end_s - 5000, end=end_s, step=1),
        instant("threshold", "{}", "sum(count_over_time(m[10m]))", 422, "execution",
                "samples, more than max_samples_processed_error_threshold allows (1000)", max_samples_processed_error_threshold=1000),
    ]


def overrides(limits):
    lines = [f"  {x.tenant}: {{{x.overrides}}}" for x in limits if x.overrides != "{}"]
    lines += ["  rated: {query_request_rate: 0.01, label_request_rate: 0.01}", "  narrow: {max_query_concurrency: 1}", f"  {rows_tenant()}: {{{LOOSE}}}"]
    return "overrides:\n" + "\n".join(lines) + "\n"


LOOSE = "max_request_body_size: 64MiB, max_request_inflated_size: 64MiB, ingestion_burst_size: 10000000, query_memory: 512MiB"


def rows_tenant():
    return "many-values"


def body(end_s, count=SERIES, name="m"):
    end = end_s * 1000
    times = range(end - (SAMPLES - 1) * 15000, end + 1, 15000)
    return rows.pb(*[rows.series(rows.metric(name, i=str(i), pad="x" * 150), [rows.sample(i + t % 7, t) for t in times]) for i in range(count)])
