"""Every ceiling of a query against a real cluster: exact errors, neighbours that notice nothing, memory within its budget, work that ends with its
client, readers that do not read. main.py TORC [--verbose]; ends with "N passed, N failed"."""
import argparse
import http.client
import json
import os
import socket
import sys
import time
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "hostile"))

import rows  # noqa: E402
import table  # noqa: E402
from cluster import HOST, PATIENCE, Cluster, metric, until  # noqa: E402
from score import Score  # noqa: E402

BUDGET = 64 << 20   # query_memory of everybody who has no other
CANCEL_SECONDS = 10 # of a claim of 1 s, under a sanitizer beside other work
WORKERS = 2
FLAGS = [f"--querier.max-concurrent={WORKERS}", "--querier.max-waiting-per-tenant=4", "--querier.max-waiting-time=2s",
         f"--limits.query_memory={BUDGET}", "--limits.max_sample_age=0", "--limits.request_rate=0", "--limits.label_request_rate=0",
         "--ingester.retain-period=0", "--ingester.flush-check-period=200ms"]


def cpu(process):
    with open(f"/proc/{process.child.pid}/stat") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(process):
    with open(f"/proc/{process.child.pid}/statm") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def push(cluster, tenant, body):
    reply = cluster.ask("POST", "/api/v1/push", body, {**rows.PB, "X-Scope-OrgID": tenant})
    if reply.status != 204:
        raise RuntimeError(f"push of {tenant}: {reply.status} {reply.text()[:300]!r}")


def ask(cluster, tenant, path):
    return cluster.ask("GET", path, headers={"X-Scope-OrgID": tenant})


def query_path(query, end_s, **more):
    return table.API + "query?" + urllib.parse.urlencode({"query": query, "time": end_s, **more})


def heavy_path(end_s):
    return table.API + "query_range?" + urllib.parse.urlencode(
        {"query": table.SLOW, "start": end_s - 10000, "end": end_s, "step": 1})


def open_request(cluster, tenant, path, receive_bytes=0):
    """A request whose answer nobody has taken yet."""
    s = socket.socket()
    if receive_bytes:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    s.connect((HOST, cluster.front.port))
    s.sendall(f"GET {path} HTTP/1.1\r\nHost: torc\r\nX-Scope-OrgID: {tenant}\r\n\r\n".encode())
    return s


def running(cluster, tenant):
    reply = ask(cluster, tenant, table.API + "status/active_queries")
    return len(json.loads(reply.body)["data"])


def waiting(cluster):
    return metric(cluster, cluster.front, "torc_querier_queue_length")


# --- the table ---

def check_limit(cluster, limit, neighbour):
    before = metric(cluster, cluster.front, "torc_querier_samples_processed_total", f'user="{limit.tenant}"')
    reply = ask(cluster, limit.tenant, limit.path)
    answer = json.loads(reply.body)
    if reply.status != limit.status or answer.get("errorType") != limit.kind or limit.text not in answer.get("error", ""):
        return f"{reply.status} {reply.text()[:400]!r}, want {limit.status} {limit.kind} {limit.text!r}"
    if metric(cluster, cluster.front, "torc_querier_samples_processed_total", f'user="{limit.tenant}"') != before:
        return "the samples of a query that was refused were counted"
    reply = ask(cluster, table.OK, neighbour)
    if reply.status != 200 or f'"{table.SERIES}"' not in reply.text():
        return f"the neighbour was answered {reply.status} {reply.text()[:300]!r}"
    return None


def check_warning(cluster, end_s):
    path = query_path("sum(count_over_time(m[10m]))", end_s, max_samples_processed_warning_threshold=2000, max_samples_processed_error_threshold=2000)
    before = metric(cluster, cluster.front, "torc_querier_samples_processed_total", f'user="{table.OK}"')
    answer = json.loads(ask(cluster, table.OK, path).body)
    counted = metric(cluster, cluster.front, "torc_querier_samples_processed_total", f'user="{table.OK}"') - before
    want = ["the query processed 2000 samples, max_samples_processed_warning_threshold is 2000"]
    if answer.get("warnings") != want or answer["status"] != "success":
        return f"{answer}, want the warning {want}"
    return None if counted == 2000 else f"counted {counted} samples, want 2000"


def check_peak(cluster):
    peak = metric(cluster, cluster.front, "torc_querier_query_memory_peak_bytes")
    return None if 0 < peak <= BUDGET else f"the largest query held {peak} bytes, its budget was {BUDGET}"


def run_table(cluster, score, limits, where, end_s):
    neighbour = query_path("count(m)", end_s)
    for limit in limits:
        score.say(f"{where}: {limit.name}", check_limit(cluster, limit, neighbour))
    score.say(f"{where}: the warning threshold warns and is counted", check_warning(cluster, end_s))
    score.say(f"{where}: no query held more than its budget", check_peak(cluster))


def check_rate(cluster, end_s):
    for path in (query_path("1", end_s), table.API + "labels"):
        replies = [ask(cluster, "rated", path) for _ in range(2)]
        if replies[0].status != 200 or replies[1].status != 429 or replies[1].text() != '{"message":"Rate exceeded"}':
            return f"{path}: {[(r.status, r.text()[:200]) for r in replies]}"
    return None


# --- the queue, and clients that leave ---

def error_of(s, seconds=PATIENCE):
    """Status, errorType and error of the answer to an open request."""
    s.settimeout(seconds)
    got = b""
    while b"\r\n\r\n" not in got or not got.rstrip().endswith(b"}"):
        part = s.recv(65536)
        if not part:
            break
        got += part
    head, _, body = got.partition(b"\r\n\r\n")
    answer = json.loads(body)
    return int(head.split(b" ")[1]), answer.get("errorType"), answer.get("error")


def occupy(cluster, end_s, tenants=("busy-0", "busy-1")):
    """Queries that keep all workers busy until they are closed."""
    out = [open_request(cluster, t, heavy_path(end_s)) for t in tenants]
    for t in tenants:
        if until(lambda t=t: running(cluster, t) == 1) is None:
            raise RuntimeError(f"{t}'s query does not run")
    return out


def check_leaving(cluster, end_s):
    """All processes rest soon after the clients of heavy queries have gone, and whoever waited is served."""
    before = metric(cluster, cluster.front, "torc_querier_failures_total", 'type="canceled"')
    busy = occupy(cluster, end_s)
    for s in busy:
        s.close()
    took = until(lambda: metric(cluster, cluster.front, "torc_querier_failures_total", 'type="canceled"') - before == len(busy), CANCEL_SECONDS)
    if took is None:
        return f"after {CANCEL_SECONDS} s the queries still run", ""
    start = [cpu(p) for p in cluster.processes]
    time.sleep(0.5)  # what is measured
    spent = sum(cpu(p) for p in cluster.processes) - sum(start)
    return (f"{spent:.2f} s CPU in the half second after" if spent > 0.4 else None), f"(all work ended {took:.2f} s after the clients)"


def check_leaving_the_queue(cluster, end_s):
    busy = occupy(cluster, end_s)
    parked = [open_request(cluster, "parked", query_path("1", end_s)) for _ in range(3)]
    try:
        if until(lambda: waiting(cluster) == 3, 2) is None:
            return "three requests do not wait", ""
        for s in parked:
            s.close()
        took = until(lambda: waiting(cluster) == 0, CANCEL_SECONDS)
        return ("requests without a client still wait" if took is None else None), f"({took or 0:.2f} s after they had gone)"
    finally:
        for s in busy:
            s.close()
        until(lambda: running(cluster, "busy-0") + running(cluster, "busy-1") == 0)


def check_waiting(cluster, end_s):
    """Nobody waits for ever, and not everybody may wait."""
    busy = occupy(cluster, end_s)
    parked = [open_request(cluster, "parked", query_path("1", end_s)) for _ in range(4)]
    try:
        until(lambda: waiting(cluster) == 4, 2)
        got = error_of(open_request(cluster, "parked", query_path("1", end_s)))
        want = (429, "too_many_requests", "too many outstanding requests: 4 of this tenant are waiting (limit: 4, querier.max-waiting-per-tenant)")
        if got != want:
            return f"one too many was answered {got}, want {want}"
        want = (503, "timeout", "query timed out in query queue (limit: 2000 ms, querier.max-waiting-time)")
        for s in parked:
            got = error_of(s)
            if got != want:
                return f"{got}, want {want}"
        return None
    finally:
        for s in busy + parked:
            s.close()
        until(lambda: running(cluster, "busy-0") + running(cluster, "busy-1") == 0)


def check_concurrency(cluster, end_s):
    """A tenant that may run one query leaves the other worker to others."""
    first = open_request(cluster, "narrow", heavy_path(end_s))
    second = open_request(cluster, "narrow", heavy_path(end_s))
    try:
        if until(lambda: running(cluster, "narrow") == 1 and waiting(cluster) == 1) is None:
            return "not one that runs and one that waits"
        reply = ask(cluster, table.OK, query_path("count(m)", end_s))
        return None if reply.status == 200 and running(cluster, "narrow") == 1 else f"{reply.status} {reply.text()[:200]}"
    finally:
        first.close()
        second.close()
        until(lambda: running(cluster, "narrow") == 0)


# --- readers ---

def check_stalled_readers(cluster, end_s):
    """Answers of some 10 MB that nobody reads, more of them than workers: others are served, and memory is that of the results."""
    path = table.API + "query_range?" + urllib.parse.urlencode({"query": "m", "start": end_s - 500, "end": end_s, "step": "0.1"})
    before = memory(cluster.front)
    stalled = [open_request(cluster, table.OK, path, receive_bytes=4096) for _ in range(2 * WORKERS)]
    try:
        done = metric(cluster, cluster.front, "torc_querier_query_seconds_count")
        if until(lambda: metric(cluster, cluster.front, "torc_querier_query_seconds_count") >= done + 1 and
                 waiting(cluster) == 0 and running(cluster, table.OK) == 0) is None:
            return "queries do not end while nobody reads their answers", ""
        start = time.monotonic()
        reply = ask(cluster, table.OK, query_path("count(m)", end_s))
        took, grown = time.monotonic() - start, memory(cluster.front) - before
        if reply.status != 200:
            return f"{reply.status} {reply.text()[:200]!r}", ""
        if grown > len(stalled) * BUDGET:
            return f"the front grew by {grown} bytes", ""
        return None, f"(another query took {took:.2f} s, the front grew by {grown >> 20} MiB)"
    finally:
        for s in stalled:
            s.close()


# --- listings ---

def check_many_values(cluster, end_s):
    """More values than fit any message between processes."""
    count, width = 30000, 600
    tenant = table.rows_tenant()
    for at in range(0, count, 3000):
        push(cluster, tenant, rows.pb(*[rows.one(rows.metric("v", big=f"{i:06d}" + "y" * width), t=end_s * 1000) for i in range(at, at + 3000)]))
    for path in (table.API + "label/big/values", table.API + "label/big/values?" + urllib.parse.urlencode({"match[]": "v"})):
        reply = ask(cluster, tenant, path)
        answer = json.loads(reply.body) if reply.status == 200 else {}
        values = answer.get("data", [])
        if reply.status != 200 or len(values) != count or values != sorted(values):
            return f"{path}: {reply.status}, {len(values)} values of {count}: {reply.text()[:200]!r}"
    reply = ask(cluster, tenant, table.API + "label/big/values?limit=20000")
    answer = json.loads(reply.body)
    if len(answer["data"]) != 20000 or answer.get("warnings") != ["results truncated due to limit"]:
        return f"limit: {len(answer['data'])} values, {answer.get('warnings')}"
    return None


def check_leaving_ingesters(cluster, end_s):
    """One question that keeps ingesters at matchers for seconds: they stop within a second of the client's leaving. On the values of check_many_values."""
    def path(count):
        selectors = ["v{" + ",".join(f'big!~"(y.*[0-9]){{2}}z{s}_{i}"' for i in range(count)) + "}" for s in range(6)]
        return table.API + "label/__name__/values?" + urllib.parse.urlencode([("match[]", s) for s in selectors])

    def cpu_all():
        return sum(cpu(p) for p in cluster.ingesters)
    count, took = 60, 0
    while took < 1.8:
        start, spent = time.monotonic(), cpu_all()
        reply = ask(cluster, table.rows_tenant(), path(count))
        took, spent = time.monotonic() - start, cpu_all() - spent
        if reply.status != 200:
            return f"{count} matchers: {reply.status} {reply.text()[:200]!r}", ""
        count = count * 2 if took < 1.8 else count
        if count > 240:  # PROMQL_REGEX_MAX is near
            return f"6 times {count} matchers take only {took} s", ""
    start = cpu_all()
    s = open_request(cluster, table.rows_tenant(), path(count))
    if until(lambda: cpu_all() - start > spent / 20) is None:
        return "the question does not reach ingesters", ""
    s.close()
    time.sleep(1)  # the claim
    start = cpu_all()
    time.sleep(0.5)  # what is measured
    rest = cpu_all() - start
    return (f"{rest:.2f} s CPU in the half second that begins a second after" if rest > 0.2 else None), f"({took:.1f} s if left alone, then {rest:.2f} s CPU)"


# --- all of it ---

def flush(cluster):
    for p in cluster.ingesters:
        reply = cluster_post(p, "/ingester/flush")
        if reply not in (200, 204):
            raise RuntimeError(f"flush of {p.name}: {reply}")
    if until(lambda: all(metric(cluster, p, "torc_ingester_series") == 0 for p in cluster.ingesters)) is None:
        raise RuntimeError("ingesters keep what they have flushed")


def cluster_post(process, path):
    c = http.client.HTTPConnection(HOST, process.port, timeout=60)
    c.request("POST", path)
    status = c.getresponse().status
    c.close()
    return status


def run(cluster, score, limits, end_s):
    tenants = [x.tenant for x in limits] + [table.OK, "busy-0", "busy-1", "narrow"]
    for tenant in tenants:
        push(cluster, tenant, table.body(end_s))
    run_table(cluster, score, limits, "heads", end_s)
    score.say("requests per second", check_rate(cluster, end_s))
    score.say("one query at a time", check_concurrency(cluster, end_s))
    score.say("clients that leave", *check_leaving(cluster, end_s))
    score.say("clients that leave the queue", *check_leaving_the_queue(cluster, end_s))
    score.say("waiting is bounded", check_waiting(cluster, end_s))
    score.say("readers that do not read", *check_stalled_readers(cluster, end_s))
    score.say("18 MB of label values", check_many_values(cluster, end_s))
    score.say("clients that leave, and ingesters", *check_leaving_ingesters(cluster, end_s))
    flush(cluster)
    run_table(cluster, score, limits, "blocks", end_s)
    score.say("clients that leave, from blocks", *check_leaving(cluster, end_s))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("torc")
    parser.add_argument("--verbose", action="store_true")
    args = parser.parse_args()
    score = Score(args.verbose)
    end_s = int(time.time()) - 60
    limits = table.table(end_s)
    cluster = Cluster(args.torc, table.overrides(limits), FLAGS)
    try:
        cluster.wait_ready()
        run(cluster, score, limits, end_s)
    except Exception as e:  # whatever it was, the processes must end and the count must say so
        score.say("the run", f"{type(e).__name__}: {e}")
    score.say("all processes lived, ended well and reported nothing", "; ".join(cluster.stop()))
    cluster.remove()
    print(f"{score.passed} passed, {score.failed} failed")
    return 1 if score.failed else 0


if __name__ == "__main__":
    sys.exit(main())
