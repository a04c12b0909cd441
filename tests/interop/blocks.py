#!/usr/bin/env python3
"""tests/interop/blocks.py: real processes; tenants with all kinds of values are written, and what about 25 queries answer is taken while every sample is in memory.
The same bytes must come back after a flush (memory and three blocks), after compaction (one block), while a compactor is killed with SIGKILL in the
middle of its work and ingesters in the middle of a flush, and from blocks alone after every process lost its memory and its log. Ends with "N passed, N failed".
BLOCKS_SEED: of values and moments of death; printed. BLOCKS_FLAGS: further flags for every process."""
import glob
import json
import math
import os
import random
import shutil
import struct
import sys
import threading
import time
from http.client import HTTPException

import remote_write as rw
from procs import Api, Cases, Scratch, http, say

MINUTE = 60 * 1000
DAY = 24 * 60 * MINUTE
ROUNDS, SERIES, BURST = 40, 300, 4  # a round adds BURST samples, 15 s apart, to each series
KILLS, KILL_TRIES, FLUSH_KILLS = 4, 12, 3
FLAGS = ["--limits.max-sample-age=0", "--limits.ingestion-rate=0", "--limits.request-rate=0", "--limits.query-request-rate=0",
         "--limits.label-request-rate=0", "--limits.other-request-rate=0",
         # What this test does not ask for shall not happen.
         "--ingester.flush-check-period=10m", "--compactor.interval=1h", "--compactor.delete-delay=10s"]


def bits_of(v):
    return struct.unpack("<Q", struct.pack("<d", v))[0]


class Tenant:
    """Its data: series by labels, and of float series what was written, as (ms, bits)."""

    KINDS = ["counter", "gauge", "nan", "inf", "zero", "denormal", "constant", "stale", "integer", "bits", "decimal", "gaps", "histogram", "float_histogram"]

    def __init__(self, cluster, name, begin_ms, step_ms, seed):
        self.cluster, self.name, self.begin, self.step = cluster, name, begin_ms, step_ms
        self.random = random.Random(f"{seed} {name}")
        self.written = {}
        self.state = {}
        self.rounds = 0
        self.api = Api(cluster.url("front", "/prometheus"), name)

    def end(self):
        return self.begin + (self.rounds - 1) * self.step + BURST * 15000

    def labels(self, i):
        kind = self.KINDS[i % len(self.KINDS)]
        return kind, {"__name__": f"{kind}_{i % 3}", "kind": kind, "instance": f"host-{i:03d}", "zone": f"z{i % 2}", "job": "blocks"}

    def value(self, kind, i):
        """Bits of the next value; None: no sample."""
        r = self.random
        n = self.state[i] = self.state.get(i, 0) + 1
        if kind == "counter":
            self.state[-i - 1] = 0 if n % 37 == 0 else self.state.get(-i - 1, 0) + r.randrange(1000)
            return bits_of(float(self.state[-i - 1]))
        if kind == "nan":
            return bits_of(math.nan) if n % 3 == 0 else bits_of(r.random())
        if kind == "inf":
            return bits_of(r.choice([math.inf, -math.inf, 1.0]))
        if kind == "zero":
            return bits_of(r.choice([0.0, -0.0]))
        if kind == "denormal":
            return r.randrange(1, 1 << 52) | r.getrandbits(1) << 63
        if kind == "constant":
            return bits_of(42.5)
        if kind == "stale":
            return rw.STALE_BITS if n % 5 in (3, 4) else bits_of(float(n))
        if kind == "integer":
            return bits_of(float((1 << 53) + n * r.randrange(1 << 20)))
        if kind == "bits":
            return r.getrandbits(64)
        if kind == "decimal":
            return bits_of(round(r.gauss(20, 5), 2))
        if kind == "gaps":
            return bits_of(r.random()) if n % 11 < 4 else None
        return bits_of(r.gauss(1e6, 1e5))

    def histogram(self, kind, i, t):
        r = self.random
        buckets, negative, zero = self.state.setdefault(i, ({}, {}, [0]))
        if r.random() < 0.02:
            return rw.histogram(t, 0, 0, rw.STALE_BITS, 0, {})
        if r.random() < 0.02:
            buckets.clear()
        for _ in range(r.randrange(6)):
            where = r.choice([buckets, buckets, negative])
            index = r.randrange(-20, 20)
            where[index] = where.get(index, 0) + r.randrange(1, 9)
        zero[0] += r.randrange(2)
        if kind == "histogram":
            count = sum(buckets.values()) + sum(negative.values()) + zero[0]
            return rw.histogram(t, 2, count, r.random() * count, zero[0], buckets, negative, hint=r.choice([rw.RESET_UNKNOWN, rw.RESET_YES, rw.RESET_NO]))
        scaled, below = ({b: c * 0.3 for b, c in side.items()} for side in (buckets, negative))
        count = sum(scaled.values()) + sum(below.values()) + zero[0]
        return rw.histogram(t, r.choice([1, 3]) if i % 4 == 0 else 1, count, r.random() * 100, zero[0], scaled, below, integer=False, threshold=0.001, hint=rw.RESET_GAUGE)

    def push_round(self, cases):
        parts = []
        for i in range(SERIES):
            kind, ls = self.labels(i)
            samples = []
            for burst in range(BURST):
                # Series are not in step with each other.
                t = self.begin + self.rounds * self.step + burst * 15000 + i * 7 % 1000
                if "histogram" in kind:
                    samples.append(self.histogram(kind, i, t))
                    continue
                bits = self.value(kind, i)
                if bits is not None:
                    samples.append(rw.sample(t, bits))
                    self.written.setdefault(tuple(sorted(ls.items())), []).append((t, bits))
            if samples:
                parts.append(rw.series(ls, *samples))
        self.rounds += 1
        for i in range(0, len(parts), 100):
            status, body = http(self.cluster.url("front", "/api/v1/push"), data=rw.snappy(b"".join(parts[i:i + 100])),
                                headers={**rw.HEADERS, "X-Scope-OrgID": self.name})
            if not 200 <= status < 300:
                cases.check(f"push of round {self.rounds} of {self.name}", False, f"{status} {body}")

    def push(self, rounds, cases):
        for _ in range(rounds):
            self.push_round(cases)

    # --- questions ---

    def questions(self):
        end, begin = f"{self.end() / 1000 + 1:.3f}", f"{self.begin / 1000 - 60:.3f}"
        whole = f"[{(self.end() - self.begin) // 1000 + 120}s]"
        middle = f"{(self.begin + self.rounds // 2 * self.step) / 1000 + 120:.3f}"
        out = [("query", {"query": f'{{kind="{kind}"}}{whole}', "time": end}) for kind in self.KINDS]
        instant = ["counter_0", 'count by (kind) ({job="blocks"})', 'sum by (zone) ({kind=~"gauge|integer|decimal|denormal"})', 'sum(float_histogram_0)',
                   f"rate(counter_1{whole})", f"quantile_over_time(0.9, gauge_2{whole})", f"histogram_count(increase(histogram_1{whole}))"]
        out += [("query", {"query": q, "time": t}) for q in instant for t in (end, middle)]
        ranged = ['{kind=~"stale|gaps"}', 'sum by (kind) (rate({kind="counter"}[40m]))', "histogram_quantile(0.9, histogram_0)",
                  'avg by (zone) ({kind="decimal"})', 'topk(3, {kind="gauge"})', 'count({kind="stale"} offset 20m)', "max_over_time(stale_1[1h:3m])",
                  "sum by (zone) (rate(histogram_2[1h]))"]
        step = str(max(60, (self.end() - self.begin) // 97000))
        out += [("query_range", {"query": q, "start": begin, "end": end, "step": step}) for q in ranged]
        span = {"start": begin, "end": end}
        out += [("series", {"match[]": '{kind!="gauge",job="blocks"}', **span}), ("labels", span), ("label/instance/values", span),
                ("label/__name__/values", {"match[]": '{kind=~"h.*"}', **span})]
        return out

    def ask_one(self, path, params):
        """Canonical answer: JSON text with the series of unordered results sorted."""
        answer = self.api.get(path, **params)
        data = answer.get("data")
        if path in ("query", "query_range") and isinstance(data, dict):
            data["result"] = sorted(data["result"], key=lambda s: sorted(s["metric"].items()))
        elif isinstance(data, list):
            answer["data"] = sorted(data, key=str)
        return json.dumps(answer, sort_keys=True)

    def ask(self):
        return {f"{path} {params}": self.ask_one(path, params) for path, params in self.questions()}

    def check_truth(self, cases):
        """What range selectors give is what was written, bit for bit (of NaNs only that they are one), without staleness markers."""
        whole = f"[{(self.end() - self.begin) // 1000 + 120}s]"
        for kind in self.KINDS:
            if "histogram" in kind:
                continue
            result = self.api.data("query", query=f'{{kind="{kind}"}}{whole}', time=f"{self.end() / 1000 + 1:.3f}")["result"]
            got = {tuple(sorted(s["metric"].items())): [(round(float(t) * 1000), v) for t, v in s["values"]] for s in result}
            want = {k: [(t, b) for t, b in v if b != rw.STALE_BITS] for k, v in self.written.items() if dict(k)["kind"] == kind}
            bad = [(k, len(got.get(k, [])), len(want[k])) for k in want if not same_samples(got.get(k, []), want[k])]
            cases.check(f"{self.name}: every {kind} sample is there, bit for bit", not bad and got.keys() == want.keys() and want, *bad[:3])


def same_samples(got, want):
    if len(got) != len(want):
        return False
    for (t, text), (u, bits) in zip(got, want):
        nan = math.isnan(rw.float_of(bits))
        if t != u or (text != "NaN" if nan else bits_of(float(text)) != bits):
            return False
    return True


def same(cases, when, tenants, before):
    for tenant in tenants:
        now = tenant.ask()
        for question, answer in before[tenant.name].items():
            if now[question] != answer:
                at = next((i for i, (x, y) in enumerate(zip(answer, now[question])) if x != y), min(len(answer), len(now[question])))
                cases.check(f"{when}: {tenant.name}: {question}", False, f"{len(answer)} and {len(now[question])} bytes, they differ at {at}:",
                            f"before: {answer[max(0, at - 200):at + 200]}", f"now:    {now[question][max(0, at - 200):at + 200]}")
            else:
                cases.check(question, True)


class Reader(threading.Thread):
    """Asks all the time, whatever happens meanwhile."""

    def __init__(self, tenants, before):
        super().__init__(daemon=True)
        self.tenants, self.before, self.ending, self.asked, self.bad = tenants, before, threading.Event(), 0, []

    def run(self):
        while not self.ending.is_set():
            self.ending.wait(0.02)
            tenant = random.choice(self.tenants)
            path, params = random.choice(tenant.questions())
            question = f"{path} {params}"
            try:
                answer = tenant.ask_one(path, params)
            except OSError as e:
                answer = str(e)
            self.asked += 1
            if answer != self.before[tenant.name][question]:
                self.bad.append(f"{time.strftime('%H:%M:%S')} {tenant.name} {question}: {answer[:300]}")

    def finish(self, cases, during):
        self.ending.set()
        self.join()
        cases.check(f"answers {during}", not self.bad and self.asked > 10, f"{len(self.bad)} of {self.asked} differ", *self.bad[:3])


def post(url):
    """POSTs and forgets: the other side may be killed before it answers. The event says that it has answered."""
    answered = threading.Event()

    def work():
        try:
            http(url, data=b"", timeout=300)
            answered.set()
        except (OSError, HTTPException):
            pass
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return answered


def flush(cluster, cases):
    blocks = 0
    for name in cluster.NAMES[1:4]:
        status, body = http(cluster.url(name, "/ingester/flush"), data=b"", timeout=120)
        cases.check(f"flush of {name}", status == 200, f"{status} {body}")
        blocks += json.loads(body)["blocks"] if status == 200 else 0
    return blocks


def compact(cluster, cases):
    status, body = http(cluster.url("compactor", "/compactor/run"), data=b"", timeout=300)
    cases.check("compaction", status == 200, f"{status} {body}")


def index(cluster, tenant=None):
    """Blocks of the newest generation."""
    where = f"tenants/{tenant}/index" if tenant else "index/l0"
    names = sorted(glob.glob(os.path.join(cluster.bucket, where, "*.json")))
    if not names:
        return []
    with open(names[-1], encoding="utf-8") as f:
        ix = json.load(f)
    if ix["quarantined"]:
        raise RuntimeError(f"{names[-1]}: quarantined: {ix['quarantined']}")
    return ix["blocks"]


def check_merged(cluster, cases, tenants):
    """Level 0 is dealt with, and each tenant has one block for each of its ranges."""
    waiting = [b for b in index(cluster) if not b.get("deleted_ms")]
    cases.check("no level-0 block waits", not waiting, *waiting[:3])
    for tenant in tenants:
        blocks = sorted((b for b in index(cluster, tenant.name) if not b.get("deleted_ms")), key=lambda b: b["range_start_ms"])
        overlaps = [(a, b) for a, b in zip(blocks, blocks[1:]) if b["range_start_ms"] < a["range_end_ms"]]
        samples = sum(b["samples"] for b in blocks)
        floats = sum(len(v) for v in tenant.written.values())
        histograms = tenant.rounds * BURST * sum("histogram" in tenant.labels(i)[0] for i in range(SERIES))
        cases.check(f"{tenant.name} has one block for each range", blocks and not overlaps, *overlaps[:2])
        cases.check(f"{tenant.name}'s blocks hold each sample once", samples == floats + histograms, f"{samples} in blocks, {floats} + {histograms} written")
        say(f"{tenant.name}: levels {[b['level'] for b in blocks]}, {samples} samples, {sum(b['bytes'] for b in blocks)} bytes")


def kill_compactor(cluster, cases, tenants, late, before, seconds, seed):
    """A tenant whose samples keep coming late gives the compactor work; it dies at random points of it."""
    rand = random.Random(seed)
    killed = 0
    for n in range(KILL_TRIES):
        if killed == KILLS:
            break
        late.push(4, cases)
        flush(cluster, cases)
        before[late.name] = late.ask()
        ended = post(cluster.url("compactor", "/compactor/run"))
        time.sleep(rand.random() * seconds)
        in_work = not ended.is_set()
        cluster.kill("compactor")
        killed += in_work
        # The work of a later round takes another time than that of the first.
        seconds *= 1.1 if in_work else 0.6
        same(cases, f"compactor killed ({n})", tenants if n == 0 else [late], before)
        cluster.restart("compactor")
    cases.check("the compactor was killed in the middle of its work", killed >= 2, killed)
    say(f"killed {killed} times in the middle of a run")


def kill_ingesters(cluster, cases, late, before, seconds, seed):
    """An ingester dies at random points of a flush. The two others answer; it comes back with what it had."""
    rand = random.Random(seed)
    killed = 0
    for n in range(KILL_TRIES):
        if killed == FLUSH_KILLS:
            break
        late.push(4, cases)
        before[late.name] = late.ask()
        name = f"ingester-{1 + n % 3}"
        ended = post(cluster.url(name, "/ingester/flush"))
        time.sleep(rand.random() * seconds)
        in_work = not ended.is_set()
        cluster.kill(name)
        killed += in_work
        seconds *= 1.1 if in_work else 0.6
        same(cases, f"{name} is dead ({n})", [late], before)
        cluster.restart(name)
        same(cases, f"{name} is back ({n})", [late], before)
    cases.check("an ingester was killed in the middle of a flush", killed >= 1 or "BLOCKS_FLAGS" in os.environ, killed)
    say(f"killed {killed} times in the middle of a flush")


def run(scratch, cases, seed):
    cluster = scratch.cluster(FLAGS + os.environ.get("BLOCKS_FLAGS", "").split())
    cluster.up()
    now = int(time.time() * 1000)
    recent = Tenant(cluster, "acme", now - ROUNDS * 7 * MINUTE - 3 * MINUTE, 7 * MINUTE, seed)
    # Within one day that is over: its blocks go up all levels.
    old = Tenant(cluster, "globex", now // DAY * DAY - 2 * DAY + 4 * 60 * MINUTE, 17 * MINUTE, seed)
    late = Tenant(cluster, "initech", now // DAY * DAY - 2 * DAY + 60 * MINUTE, 11 * MINUTE, seed)
    tenants = [recent, old]
    for tenant in tenants:
        tenant.push(ROUNDS, cases)
    say(f"{ROUNDS} rounds of {SERIES} series of {len(tenants)} tenants are written")
    before = {t.name: t.ask() for t in tenants}
    for t in tenants:
        t.check_truth(cases)
        said = [q for q, a in before[t.name].items() if '"status": "success"' in a and '"result": []' not in a and '"data": []' not in a]
        cases.check("the questions have answers", len(said) == len(before[t.name]), *[q for q in before[t.name] if q not in said])
    same(cases, "asked again", tenants, before)

    reader = Reader(list(tenants), before)
    reader.start()
    began = time.time()
    blocks = flush(cluster, cases)
    flush_took = (time.time() - began) / 3
    cases.check("blocks were written", len(index(cluster)) >= max(blocks, 9), blocks, len(index(cluster)))
    say(f"{len(index(cluster))} level-0 blocks, {flush_took:.1f} s for each ingester")
    same(cases, "after the flush", tenants, before)
    began = time.time()
    compact(cluster, cases)
    took = time.time() - began
    say(f"compaction took {took:.1f} s")
    reader.finish(cases, "during flush and compaction")
    check_merged(cluster, cases, tenants)
    same(cases, "after compaction", tenants, before)

    reader = Reader(list(tenants), before)
    reader.start()
    kill_compactor(cluster, cases, tenants, late, before, min(took, 0.5), seed)
    reader.finish(cases, "while the compactor was killed")
    dying = Tenant(cluster, "umbrella", late.begin, 13 * MINUTE, seed)
    kill_ingesters(cluster, cases, dying, before, min(flush_took, 0.2), seed)
    flush(cluster, cases)
    tenants += [late, dying]
    compact(cluster, cases)
    check_merged(cluster, cases, tenants)
    same(cases, "after the kills", tenants, before)

    cluster.down()
    for name in cluster.NAMES[1:4]:
        shutil.rmtree(os.path.join(cluster.data(name), "ingester", "wal"))
    cluster.up()
    say("started without memory and logs")
    same(cases, "from blocks alone", tenants, before)
    for t in tenants:
        t.check_truth(cases)
    compact(cluster, cases)
    same(cases, "after removal of what was merged", tenants, before)
    recent.push(1, cases)
    recent.check_truth(cases)
    cluster.down()
    cluster.check_logs(cases)


def main():
    cases = Cases()
    seed = os.environ.get("BLOCKS_SEED") or str(random.randrange(1 << 32))
    say(f"BLOCKS_SEED={seed}")
    with Scratch("blocks") as scratch:
        try:
            run(scratch, cases, seed)
        except RuntimeError as e:
            cases.check("the run", False, e)
        scratch.keep = cases.failed > 0
    return cases.finish()


sys.exit(main())
