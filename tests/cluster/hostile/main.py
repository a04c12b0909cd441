"""Pushes hostile bytes at a real cluster. main.py TORC [--verbose] [--only TEXT] [--sample N]; ends with "N passed, N failed"."""
import argparse
import re
import sys
import time

import queries
import raw
import rows
import rows2
import wire
from cluster import Cluster
from score import Score

SLOW_SECONDS = 20  # no single request may take longer, under a sanitizer on two busy cores


def push(cluster, row, tenant, body):
    headers = dict(row.headers)
    headers["X-Scope-OrgID"] = tenant
    return cluster.ask(row.method, row.path, body, headers)


def wait_for(want, get, seconds=10):
    """The third copy may arrive after the answer."""
    end = time.monotonic() + seconds
    while True:
        got = get()
        if got == want or time.monotonic() > end:
            return got
        time.sleep(0.02)


def check_row(cluster, row, number):
    tenant = row.tenant if row.tenant is not None else f"row-{number}"
    for before in row.before:
        before = before if isinstance(before, rows.Row) else rows.Row("before", before, 204)
        reply = push(cluster, before, tenant, before.body)
        if reply.status != 204:
            return f"what must come before was answered {reply.status} {reply.text()!r}"
    start = time.monotonic()
    reply = push(cluster, row, tenant, row.body)
    seconds = time.monotonic() - start
    text = reply.text()
    if reply.status != row.status:
        return f"status {reply.status}, want {row.status}: {text[:600]!r}"
    for part in row.texts:
        if part not in text:
            return f"no {part!r} in {text[:600]!r}"
    for part in row.absent:
        if part in text:
            return f"{part!r} stands in {text[:600]!r}"
    if reply.status in (200, 204) and text:
        return f"success with a body: {text[:200]!r}"
    if reply.status in (429, 503) and not reply.headers.get("Retry-After"):
        return "no Retry-After"
    if len(reply.body) > 16384:
        return f"an answer of {len(reply.body)} bytes"
    if seconds > SLOW_SECONDS:
        return f"took {seconds:.1f} s"
    wrong = rows2.written_wrong(row, reply)
    if wrong:
        return wrong
    if row.stored is not None:
        got = wait_for([row.stored] * 3, lambda: cluster.stored(tenant))
        if got != [row.stored] * 3:
            return f"the ingesters hold {got} samples, want {row.stored} each"
    if row.discarded is not None:
        got = wait_for(row.discarded, lambda: cluster.discarded(tenant))
        if got != row.discarded:
            return f"discarded {got}, want {row.discarded}"
    return None


def check_raw(cluster, case):
    name, data, statuses, text, shut = case
    reply = cluster.raw(data, shut=shut)
    if reply.status not in statuses:
        return f"status {reply.status}, want one of {statuses}: {reply.body[:300]!r}"
    if text and text not in reply.text():
        return f"no {text!r} in {reply.body[:600]!r}"
    return None


def check_query(cluster, q):
    start = time.monotonic()
    reply = cluster.ask(q.method, q.path, q.body, {"X-Scope-OrgID": queries.TENANT, **q.headers})
    seconds = time.monotonic() - start
    text = reply.text()
    if reply.status not in q.statuses:
        return f"status {reply.status}, want one of {q.statuses}: {text[:300]!r}"
    for part in q.texts:
        if part not in text:
            return f"no {part!r} in {text[:300]!r}"
    if len(text) > 1 << 20:
        return f"an answer of {len(text)} bytes"
    return f"took {seconds:.1f} s" if seconds > q.seconds else None


def run_queries(cluster, score, only):
    for body in queries.BODIES:
        reply = cluster.ask("POST", "/api/v1/push", body, {**rows.PB, "X-Scope-OrgID": queries.TENANT})
        if reply.status != 204:
            score.say("series to query", f"{reply.status} {reply.text()!r}")
    for q in queries.all_rows():
        if only and only not in q.name:
            continue
        start = time.monotonic()
        wrong = check_query(cluster, q)
        score.say(q.name, wrong, f"({(time.monotonic() - start) * 1000:.0f} ms)")
        if not all(p.alive() for p in cluster.processes):
            score.say(q.name, "a process died")
            return


def sweep(cluster, score, name, bodies, tenant, allowed, headers=rows.PB):
    """Many bodies as one case."""
    counts, wrong = {}, None
    for what, body in bodies:
        reply = cluster.ask("POST", "/api/v1/push", body, {**headers, "X-Scope-OrgID": tenant})
        counts[reply.status] = counts.get(reply.status, 0) + 1
        if reply.status not in allowed and not wrong:
            wrong = f"{what}: status {reply.status}: {reply.text()[:300]!r} body {body.hex()}"
    if not wrong and not all(counts.get(s) for s in (204, 400)):
        wrong = f"not both accepted and refused ones: {counts}"
    score.say(f"{name} ({sum(counts.values())} bodies)", wrong)


def flips(data, step):
    for i in range(0, len(data) * 8, step):
        out = bytearray(data)
        out[i // 8] ^= 1 << (i % 8)
        yield f"bit {i}", bytes(out)


def sweeps(cluster, score, step):
    inner = raw.sweep_body()
    body = wire.snappy(inner)
    cuts = ((f"cut at {i}", inner[:i]) for i in range(len(inner) + 1))
    sweep(cluster, score, "every truncation of a message", ((w, wire.snappy(b)) for w, b in cuts), "sweep-cut", {204, 400})
    whole = [("whole", body)]
    sweep(cluster, score, "every truncation of a body", [(f"cut at {i}", body[:i]) for i in range(len(body))] + whole, "sweep-body", {204, 400})
    sweep(cluster, score, "every bit flip of a message", ((w, wire.snappy(b)) for w, b in flips(inner, step)), "sweep-flip", {204, 400})
    # Only the claimed length, in the first two bytes, can pass a limit.
    sweep(cluster, score, "every bit flip of a body", list(flips(body[2:], step)) and [(w, body[:2] + b) for w, b in flips(body[2:], step)] + whole,
          "sweep-flip-body", {204, 400})
    sweep(cluster, score, "every bit flip of the claimed length", [(w, b + body[2:]) for w, b in flips(body[:2], 1)] + whole, "sweep-claim",
          {204, 400, 413})
    inner = rows2.sweep_body()
    cuts = ((f"cut at {i}", inner[:i]) for i in range(len(inner) + 1))
    sweep(cluster, score, "2.0: every truncation of a message", ((w, wire.snappy(b)) for w, b in cuts), "sweep2-cut", {204, 400}, rows2.PB2)
    sweep(cluster, score, "2.0: every bit flip of a message", ((w, wire.snappy(b)) for w, b in flips(inner, step)), "sweep2-flip", {204, 400}, rows2.PB2)


def discard_reasons(cluster, score):
    """The reasons byte for byte, as label values of the metric."""
    want = {"greater_than_max_sample_age", "new-value-for-timestamp", "per_metric_series_limit", "per_user_series_limit", "rate_limited",
            "sample-out-of-order", "label_value_too_long", "max_label_names_per_series", "missing_metric_name", "metric_name_invalid",
            "label_invalid", "duplicate_label_names", "label_size_exceeded", "too_far_in_future", "native_histogram_invalid", "out_of_bounds",
            "series_invalid"}
    got = set(re.findall(r'torc_discarded_samples_total\{[^}]*reason="([^"]*)"', cluster.get(cluster.front, "/metrics").text()))
    score.say("discard reasons", None if got == want else f"missing {sorted(want - got)}, unexpected {sorted(got - want)}")


def run(cluster, score, args):
    number = 0
    for table in rows.ALL + rows2.ALL:
        for row in table():
            number += 1
            if args.only and args.only not in row.name:
                continue
            try:
                score.say(row.name, check_row(cluster, row, number))
            except (OSError, ValueError) as e:
                score.say(row.name, f"{type(e).__name__}: {e}")
            if not all(p.alive() for p in cluster.processes):
                score.say(row.name, "a process died")
                return
    if cluster.has_querier:
        run_queries(cluster, score, args.only)
    for case in raw.cases():
        if not args.only or args.only in case[0]:
            score.say(case[0], check_raw(cluster, case))
    if not args.only:
        sweeps(cluster, score, args.sample)
        discard_reasons(cluster, score)
    score.say("good pushes are still taken", check_row(cluster, rows.Row("last", rows.VALID, 204, stored=1), 0))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("torc")
    parser.add_argument("--verbose", action="store_true")
    parser.add_argument("--only", help="rows whose name holds this text")
    parser.add_argument("--sample", type=int, default=1, help="every Nth bit of the flips")
    parser.add_argument("--keep", action="store_true", help="leave logs and data")
    args = parser.parse_args()
    score = Score(args.verbose)
    cluster = Cluster(args.torc, rows.OVERRIDES, ["--limits.request_rate=0"])
    try:
        cluster.wait_ready()
        run(cluster, score, args)
    except Exception as e:  # whatever it was, the processes must end and the count must say so
        score.say("the run", f"{type(e).__name__}: {e}")
    score.say("all processes lived, ended well and reported nothing", "; ".join(cluster.stop()))
    if args.keep:
        print("logs in", cluster.dir)
    else:
        cluster.remove()
    print(f"{score.passed} passed, {score.failed} failed")
    return 1 if score.failed else 0


if __name__ == "__main__":
    sys.exit(main())
