"""The queries that run.py asks both sides. A string is asked as an instant query; R(...) also as a range query; NEAR(...) may differ by 1e-12 of the value, because
Prometheus 2.42 and 3 add up in another order or with another compensation; ORDERED(...) also has its order compared. The same goes for functions that C and Go
compute by other means (exp, logarithms, trigonometry).
Not asked, because 3 answers something else than 2.42 by design: rates of several metrics below an aggregation (names go at the end now, so that they
do not collide), the name after atan2 (it goes now).

$t is a time 20 s before the end; $off an offset of some ms that keeps the inner evaluation times of a subquery, which are whole seconds, off
every scrape: windows are closed at their left end in 2.42 and open in 3, so no sample may lie exactly there."""

import random


class Query:
    def __init__(self, text, ranged=False, near=False, ordered=False):
        self.text, self.ranged, self.near, self.ordered = text, ranged, near, ordered


def R(text):
    return Query(text, ranged=True)


def NEAR(text):
    return Query(text, ranged=True, near=True)


def ORDERED(text):
    return Query(text, ordered=True)


SELECTORS = [
    R("up"),
    R("node_load1"),
    "node_cpu_seconds_total",
    'node_cpu_seconds_total{mode="idle"}',
    'node_cpu_seconds_total{mode!="idle",cpu="0"}',
    'node_cpu_seconds_total{mode=~"user|system|i.*"}',
    'node_cpu_seconds_total{mode!~"user|system|i.+"}',
    '{__name__=~"node_memory_(Mem|Swap).*_bytes"}',
    '{job="node",__name__!~"node_.*"}',
    '{__name__=~"up|scrape_.*",job!=""}',
    'up{nosuchlabel=""}',
    'up{job=~""}',
    "no_such_metric",
    'prometheus_http_requests_total{handler=~"/api/v1/.+",code="200"}',
    '{job="torc"}',
    "node_load1[15s]",
    "up[12s]",
    'prometheus_tsdb_head_samples_appended_total[20s]',
    '{job="torc",__name__=~".*_total"}[5s]',
]
OFFSETS = [
    R("node_load1 offset 10s"),
    R("up offset -5s"),
    "node_load5 offset 1500ms",
    R("node_load1 @ $t"),
    R("node_load1 @ end()"),
    R("rate(node_cpu_seconds_total[20s] @ start())"),
    "sum(up @ $t offset 5s)",
    "rate(node_cpu_seconds_total[20s] @ $t)",
    "node_context_switches_total - node_context_switches_total offset 10s",
]
RATES = [
    R("rate(node_cpu_seconds_total[20s])"),
    R("irate(node_context_switches_total[20s])"),
    R("increase(prometheus_tsdb_head_samples_appended_total[30s])"),
    R("delta(node_memory_MemAvailable_bytes[30s])"),
    R("idelta(node_memory_MemAvailable_bytes[30s])"),
    R("deriv(node_memory_MemAvailable_bytes[30s])"),
    R("predict_linear(node_memory_MemFree_bytes[30s], 60)"),
    "rate(node_cpu_seconds_total[20s] offset 5s)",
    "rate({job=\"torc\",__name__=~\".+_total\"}[15s])",
    "changes(node_memory_MemFree_bytes[30s])",
    "resets(node_memory_MemFree_bytes[30s])",
]
OVER_TIME = [
    NEAR("avg_over_time(node_memory_MemFree_bytes[20s])"),
    NEAR("sum_over_time(node_load1[20s])"),
    R("min_over_time(node_memory_MemFree_bytes[20s])"),
    R("max_over_time(node_memory_MemFree_bytes[20s])"),
    R("count_over_time(up[20s])"),
    R("last_over_time(node_memory_MemFree_bytes[20s])"),
    R("present_over_time(up[20s])"),
    R("absent_over_time(no_such_metric{a=\"b\",c=~\"d\"}[20s])"),
    NEAR("stddev_over_time(node_memory_MemFree_bytes[20s])"),
    NEAR("stdvar_over_time(scrape_duration_seconds[20s])"),
    R("quantile_over_time(0.9, scrape_duration_seconds[20s])"),
    R("quantile_over_time(1.5, scrape_duration_seconds[20s])"),
]
SUBQUERIES = [
    R("max_over_time(rate(node_cpu_seconds_total[10s] $off)[20s:5s])"),
    "node_load1[20s:4s]",
    NEAR("sum(rate(node_cpu_seconds_total[10s] $off))[20s:5s] @ $t"),
    R("min_over_time(node_memory_MemFree_bytes[20s:3s] offset 4s)"),
    R("quantile_over_time(0.5, irate(node_context_switches_total[10s] $off)[20s:2s])"),
    NEAR("avg_over_time((node_memory_MemFree_bytes / node_memory_MemTotal_bytes)[20s:2s])"),
    "count_over_time(up[15s:1s])",
]
AGGREGATIONS = [
    NEAR("sum by (mode) (rate(node_cpu_seconds_total[20s]))"),
    NEAR("sum without (cpu) (node_cpu_seconds_total)"),
    NEAR("avg by (job) (scrape_duration_seconds)"),
    NEAR("avg(node_cpu_seconds_total)"),
    R("min by (job,instance) (scrape_samples_scraped)"),
    R("max without (instance) (scrape_samples_scraped)"),
    R("count by (__name__, job) ({__name__=~\"node_.*\"})"),
    R("count by (job) ({__name__=~\".+\"})"),
    R("group by (job) (up)"),
    NEAR("stddev by (mode) (node_cpu_seconds_total)"),
    NEAR("stdvar without (cpu, mode) (node_cpu_seconds_total)"),
    ORDERED('topk(3, prometheus_http_request_duration_seconds_sum{handler=~"/api.*"})'),
    ORDERED("bottomk(2, scrape_duration_seconds)"),
    R("topk by (job) (1, scrape_duration_seconds)"),
    R("quantile(0.75, scrape_duration_seconds)"),
    R("quantile by (mode) (0.5, node_cpu_seconds_total)"),
    R('count_values("version", up)'),
    'count_values by (job) ("n", scrape_samples_scraped)',
    R("sum(absent(no_such_metric))"),
]
MATCHING = [
    R("node_memory_MemFree_bytes / node_memory_MemTotal_bytes"),
    R("scrape_samples_scraped * on (instance, job) group_left () up"),
    'node_cpu_seconds_total{cpu="0"} * on (instance) group_left (nodename) node_uname_info',
    "node_uname_info * on (instance) group_right (nodename) node_cpu_seconds_total",
    R('node_cpu_seconds_total{mode="user"} + ignoring (mode) node_cpu_seconds_total{mode="system"}'),
    NEAR("sum by (instance) (rate(node_cpu_seconds_total[20s])) / on (instance) count by (instance) (node_cpu_seconds_total{mode=\"idle\"})"),
    "up + on (job) group_left () count by (job) (up)",
    R('up{job="node"} or up'),
    R('up and on (job) (scrape_samples_scraped > 100)'),
    R('up unless up{job="torc"}'),
    'up and ignoring (job) up{job="node"}',
    "node_load1 + on (nosuch) group_left () up",
]
HISTOGRAMS = [
    R("histogram_quantile(0.9, prometheus_http_request_duration_seconds_bucket)"),
    R("histogram_quantile(0.5, rate(prometheus_http_request_duration_seconds_bucket[30s]))"),
    NEAR("histogram_quantile(0.99, sum by (le, job) (rate(prometheus_http_request_duration_seconds_bucket[30s])))"),
    "histogram_quantile(-1, prometheus_tsdb_compaction_chunk_size_bytes_bucket)",
    "histogram_quantile(2, prometheus_tsdb_compaction_chunk_size_bytes_bucket)",
    R("demo_latency_seconds"),
    "demo_latency_seconds[5s]",
    R("demo_load"),
    R("histogram_count(demo_latency_seconds)"),
    R("histogram_sum(demo_load)"),
    R("histogram_count(rate(demo_latency_seconds[20s]))"),
    R("histogram_sum(increase(demo_latency_seconds[20s]))"),
    R("histogram_count(sum(demo_load))"),
    "rate(demo_latency_seconds[20s])",
    "sum by (route) (demo_load)",
    "count(demo_latency_seconds)",
    "count_over_time(demo_latency_seconds[10s])",
]
LABELS = [
    R('label_replace(up, "host", "$$1", "instance", "(.*):(.*)")'),
    'label_replace(up, "job", "x-$$1", "job", "(no.*)")',
    'label_replace(up, "instance", "", "job", "torc")',
    R('label_join(up, "both", "-", "job", "instance")'),
    'label_join(up, "none", "", "nosuch")',
]
FUNCTIONS = [
    ORDERED("sort(scrape_duration_seconds)"),
    ORDERED("sort_desc(node_cpu_seconds_total{mode=\"idle\"})"),
    R("absent(up)"),
    R('absent(up{job="nosuch",instance=~"x.*"})'),
    R("time()"),
    R("timestamp(node_load1)"),
    R("timestamp(up offset 10s)"),
    R("vector(1.5)"),
    R('scalar(up{job="node"})'),
    "scalar(up)",
    R("minute()"),
    "hour(node_boot_time_seconds)",
    "day_of_week(node_boot_time_seconds) + day_of_month(node_boot_time_seconds) + days_in_month(node_boot_time_seconds) + month() + year() + day_of_year()",
    R("abs(delta(node_memory_MemFree_bytes[20s]))"),
    R("ceil(node_load1) + floor(node_load5) + round(node_load15, 0.05)"),
    R("clamp(node_load1, 0.5, 2) + clamp_min(node_load5, 1) + clamp_max(node_load15, 1)"),
    NEAR("exp(node_load1)"),
    NEAR("ln(node_memory_MemFree_bytes)"),
    NEAR("log2(node_memory_MemFree_bytes) + log10(node_memory_MemFree_bytes)"),
    R("sqrt(node_memory_MemFree_bytes)"),
    R("sgn(deriv(node_memory_MemFree_bytes[20s]))"),
    *(NEAR(f"{f}(node_load1)") for f in ("sin", "cos", "tan", "atan", "sinh")),  # not as one sum: its terms can cancel, and their last bits then are all of it
    "deg(node_load1) + rad(node_load1) + pi()",
    "ln(-node_load1)",
    "1 / (up - up)",
]
OPERATORS = [
    R("up == 1"),
    R("up == bool 1"),
    R("scrape_samples_scraped > bool 500"),
    R("scrape_samples_scraped >= 500"),
    "node_load1 != node_load1",
    "node_load1 <= bool node_load5",
    "1 < bool 2",
    R("-node_load1"),
    "-(up + 1) ^ 2",
    "2 ^ 3 ^ 2",
    R("node_memory_MemFree_bytes % 1000"),
    R("node_memory_MemTotal_bytes - node_memory_MemFree_bytes"),
    NEAR("(node_load1 atan2 node_load5) + 0"),
    "1e3 + 0x1F",
    '"text"',
    "Inf - Inf",
]
# Wrong in the same way: same status and same errorType.
WRONG = [
    "up{",
    "sum(up",
    "nosuchfunction(up)",
    "up + on (instance) group_left () up offset",
    '{job=~".*"}',
    "rate(up)",
    "up * on (job) scrape_samples_scraped",
    'up{job=~"("}',
]
ALL = SELECTORS + OFFSETS + RATES + OVER_TIME + SUBQUERIES + AGGREGATIONS + MATCHING + HISTOGRAMS + LABELS + FUNCTIONS + OPERATORS


def all_queries():
    return [q if isinstance(q, Query) else Query(q) for q in ALL]


def filled(text, t, inner_offset_ms):
    """With the places filled in."""
    return text.replace("$$", "\0").replace("$off", f"offset {inner_offset_ms}ms").replace("$t", f"{t:.3f}").replace("\0", "$")


class Random:
    """Random expressions in which 2.42 and 3 agree: one metric below each function that drops names, comparisons only of stored values, no atan2, no ties for topk."""

    COUNTERS = ["node_cpu_seconds_total", "node_context_switches_total", "prometheus_http_requests_total", "prometheus_tsdb_head_samples_appended_total",
                "process_cpu_seconds_total", "demo_requests_total", "node_disk_reads_completed_total"]
    GAUGES = ["node_memory_MemFree_bytes", "node_load1", "scrape_duration_seconds", "scrape_samples_scraped", "up", "process_resident_memory_bytes", "go_goroutines"]
    MATCHERS = ['job="node"', 'job!="torc"', 'job=~"no.*|prom.*"', 'mode=~".*e.*"', 'cpu!="1"', 'mode!~"i.*"', 'code="200"', 'nosuch=""', 'route=~"/[ab]"']
    LABELS = ["job", "instance", "mode", "cpu", "code", "handler", "route", "nosuch"]

    def __init__(self, seed, t):
        self.r, self.t = random.Random(seed), t

    def range(self):
        return f"{self.r.randint(3, 30)}s"

    def selector(self, metric, window=""):
        r = self.r
        at = r.choice(["", "", "", f" @ {self.t:.3f}", " @ end()", " @ start()"])
        return metric + "{" + ",".join(r.sample(self.MATCHERS, r.choice([0, 0, 1, 1, 2]))) + "}" + window + r.choice(["", "", f" offset {r.randint(1, 15)}s"]) + at

    def vector(self, depth):
        r = self.r
        pick = r.randrange(10 if depth > 0 else 4)
        if pick == 0:
            return self.selector(r.choice(self.GAUGES + self.COUNTERS))
        if pick == 1:
            f = r.choice(["rate", "increase", "irate", "resets", "changes", "count_over_time", "last_over_time"])
            return f"{f}({self.selector(r.choice(self.COUNTERS), '[' + self.range() + ']')})"
        if pick == 2:
            f = r.choice(["delta", "deriv", "idelta", "avg_over_time", "min_over_time", "max_over_time", "sum_over_time", "stddev_over_time", "present_over_time"])
            return f"{f}({self.selector(r.choice(self.GAUGES), '[' + self.range() + ']')})"
        if pick == 3:
            return f"quantile_over_time({r.choice(['0', '0.3', '0.99', '1'])}, {self.selector(r.choice(self.GAUGES), '[' + self.range() + ']')})"
        if pick in (4, 5):
            by = r.choice(["", f" {r.choice(['by', 'without'])} ({', '.join(r.sample(self.LABELS, r.randint(0, 3)))})"])
            return f"{r.choice(['sum', 'avg', 'min', 'max', 'count', 'group', 'stddev', 'quantile'])}{by} ({self.vector(depth - 1)})".replace(
                "quantile" + by + " (", "quantile" + by + " (0.6, ")
        if pick == 6:
            return f"{r.choice(['abs', 'ceil', 'floor', 'sgn', 'sqrt', 'deg', '-', '+'])}({self.vector(depth - 1)})"
        if pick == 7:
            same = r.choice(self.GAUGES)
            return f"({self.selector(same)} {r.choice(['>', '<', '>=', '!=', '== bool', '> bool'])} {r.choice([str(r.randint(0, 1000)), same])})"
        if pick == 8:
            op = r.choice(["+", "*", "/", "and", "or", "unless"])
            on = r.choice([" on (job, instance)", " ignoring (mode, cpu)", ""])
            if op in ("and", "or", "unless"):
                return f"({self.vector(depth - 1)} {op}{on} {self.vector(depth - 1)})"
            many = f"max by (job, instance) ({self.vector(depth - 1)})"
            return f"({self.vector(depth - 1)} {op} on (job, instance) group_left () {many})"
        inner = self.vector(0) if r.random() < 0.5 else self.selector(r.choice(self.GAUGES))
        # What is inside is evaluated at whole seconds.
        inner = inner.replace("]", "] $off") if "offset" not in inner and "@" not in inner else self.selector("up").split(" ")[0]
        return f"{r.choice(['max', 'min', 'sum', 'count', 'last'])}_over_time(({inner})[{r.randint(5, 20)}s:{r.randint(1, 4)}s])"

    def next(self):
        return Query(self.vector(3), ranged=True, near=True)
