"""The samples that Prometheus and torc both get.

Every sample lies at a whole second plus PHASE ms; queries are asked at a whole second plus QUERY_PHASE ms, and the inner times of subqueries are
whole seconds. So no sample ever lies on the bound of a window, which 2.x closes at its left end and 3.x leaves open."""
import random

T0 = 1_700_006_400_000  # ms, a multiple of 2 h
PHASE, QUERY_PHASE = 111, 337
JOBS = ["api", "db", "web"]
INSTANCES = ["a", "b", "c", "d"]


class Series:
    def __init__(self, name, **labels):
        self.labels = {"__name__": name, **labels}
        self.samples = []  # (ms, float or, for a NaN with a payload, its bits)

    def add(self, t_s, v):
        self.samples.append((T0 + t_s * 1000 + PHASE, v))


def counter(rng, s, seconds, step, start, resets):
    """Whole numbers, so that sums are exact in any order."""
    v = start
    for t in range(0, seconds, step):
        if resets and rng.random() < 0.01:
            v = rng.randrange(5)
        s.add(t, float(v))
        v += rng.randrange(0, 200)
    return s


def with_gaps(rng, s):
    """Leaves out runs of samples: some shorter than the lookback of 5 min, some longer, some behind a staleness marker."""
    kept, until = [], 0
    for t, v in s.samples:
        if t >= until and rng.random() < 0.012:
            until = t + rng.choice([40, 130, 250, 420, 700]) * 1000
            if rng.random() < 0.4:
                kept.append((t, 0x7FF0000000000002))
                continue
        if t >= until:
            kept.append((t, v))
    s.samples = kept
    return s


def gauge(rng, s, seconds, step, low, high, digits=(1, 3, 6)):
    v = rng.uniform(low, high)
    for t in range(0, seconds, step):
        v += rng.gauss(0, (high - low) / 30)
        if not low <= v <= high:
            v = rng.uniform(low, high)
        s.add(t, round(v, rng.choice(digits)))
    return s


def histogram(rng, name, seconds, step, **labels):
    bounds = [0.01, 0.05, 0.1, 0.5, 1, 5]
    buckets = [Series(f"{name}_bucket", le=str(b), **labels) for b in bounds] + [Series(f"{name}_bucket", le="+Inf", **labels)]
    count, total = Series(f"{name}_count", **labels), Series(f"{name}_sum", **labels)
    sums = [rng.randrange(1000, 2000) for _ in buckets]
    spent = 5000.0
    for t in range(0, seconds, step):
        at = 0
        for b, n in zip(buckets, sums):
            at += n
            b.add(t, float(at))
        count.add(t, float(at))
        total.add(t, spent)
        for i in range(len(sums)):
            sums[i] += rng.randrange(0, 12)
        spent += rng.randrange(0, 64) / 4
    return buckets + [count, total]


def odd(rng, seconds, step):
    """Values that are no ordinary numbers."""
    out = []
    for case, values in {"nan": [float("nan")], "inf": [float("inf")], "ninf": [float("-inf")], "both": [float("inf"), float("-inf"), 3.0],
                         "some": [float("nan"), 1.0, 2.0, 5.0, -7.5], "zero": [0.0, -0.0], "huge": [1e150, 3e150], "tiny": [1e-300, 3e-308]}.items():
        s = Series("odd", case=case)
        for t in range(0, seconds, step):
            s.add(t, rng.choice(values))
        out.append(s)
    return out


def random_series(rng, seconds, step=15):
    out = []
    for job in JOBS:
        for instance in INSTANCES:
            at = {"job": job, "instance": instance}
            for code in ["200", "404", "500"]:
                out.append(counter(rng, Series("requests_total", code=code, **at), seconds, step, rng.randrange(10000), resets=True))
            out.append(with_gaps(rng, counter(rng, Series("bytes_total", device=rng.choice(["x", "y"]), **at), seconds, step, rng.randrange(10 ** 8, 10 ** 9),
                                              resets=False)))
            out.append(gauge(rng, Series("temperature", zone=instance.upper(), **at), seconds, step, 10, 90, digits=[7, 9]))
            out.append(gauge(rng, Series("balance", **at), seconds, step, -50, 50))
            out.append(with_gaps(rng, gauge(rng, Series("flaky", **at), seconds, step, 1, 1000)))
            info = Series("build_info", version=rng.choice(["1.0", "1.1", "2.0"]), **at)
            for t in range(0, seconds, 4 * step):
                info.add(t, 1.0)
            out.append(info)
        out.append(gauge(rng, Series("quota", job=job), seconds, step, 100, 200))
        for instance in INSTANCES[:2]:
            out += histogram(rng, "latency_seconds", seconds, step, job=job, instance=instance)
    return out + odd(rng, seconds, step)


def demo_series(rng, seconds, step=5):
    """What the compliance list asks for: the metrics of the demo service, three instances."""
    out = []
    for port in range(3):
        at = {"job": "demo", "instance": f"demo.promlabs.com:{10000 + port}"}
        for kind in ["buffers", "cached", "free", "used"]:
            out.append(gauge(rng, Series("demo_memory_usage_bytes", type=kind, **at), seconds, step, 1e8, 4e9))
        cpus = Series("demo_num_cpus", **at)
        success = Series("demo_batch_last_success_timestamp_seconds", **at)
        last = T0 / 1000 - 20
        for t in range(0, seconds, step):
            cpus.add(t, 4.0)
            if rng.random() < 0.05:
                last = T0 / 1000 + t - rng.random()
            success.add(t, round(last, 3))
        out += [cpus, success, gauge(rng, Series("demo_disk_usage_bytes", **at), seconds, step, 1e10, 9e10)]
        for mode in ["idle", "system", "user"]:
            out.append(counter(rng, Series("demo_cpu_usage_seconds_total", mode=mode, **at), seconds, step, rng.randrange(1000), resets=True))
        for path in ["/api/bar", "/api/foo"]:
            out += histogram(rng, "demo_api_request_duration_seconds", seconds, step, method="GET", path=path, status="200", **at)
        out.append(with_gaps(rng, gauge(rng, Series("demo_intermittent_metric", **at), seconds, step, 0, 10)))
    return out


def rng_of(seed, what):
    return random.Random(f"{seed}/{what}")
