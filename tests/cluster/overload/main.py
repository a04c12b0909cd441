"""Overload against a real cluster with small ceilings: who is refused, when, with which words; what stays bounded while ingesters are stopped (SIGSTOP); that
nothing acknowledged is lost and everything works again afterwards. main.py TORC [--verbose]; ends with "N passed, N failed"."""
import argparse
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "hostile"))

import rows  # noqa: E402
from cluster import HOST, PATIENCE, Cluster, metric, until  # noqa: E402
from score import Score  # noqa: E402

HELD = 16           # distributor.max-inflight-requests
LINGER = 1 << 20    # distributor.max-lingering-bytes
PUSH_SECONDS = 4    # distributor.push-timeout
FLAGS = ["--limits.request_rate=0", "--limits.ingestion_rate=0", "--limits.max_sample_age=0", f"--distributor.push-timeout={PUSH_SECONDS}s",
         f"--distributor.max-inflight-requests={HELD}", f"--distributor.max-lingering-bytes={LINGER}", "--limits.max_request_body_size=8MiB"]
PUSH = "/api/v1/push"


def body(i):
    return rows.pb(rows.one(rows.metric("overload", i=str(i))))


def head(length):
    names = "".join(f"{k}: {v}\r\n" for k, v in rows.PB.items())
    return f"POST {PUSH} HTTP/1.1\r\nHost: torc\r\nContent-Length: {length}\r\n{names}\r\n".encode()


def push(cluster, number=itertools.count(1000)):
    """Of a series that nobody has seen before."""
    return cluster.ask("POST", PUSH, body(next(number)), rows.PB)


def open_push(cluster, i):
    """A push whose answer nobody has taken yet."""
    s = socket.create_connection((HOST, cluster.front.port), timeout=PATIENCE)
    b = body(i)
    s.sendall(head(len(b)) + b)
    return s


def status_of(s):
    got = b""
    while b"\r\n\r\n" not in got:
        part = s.recv(65536)
        if not part:
            return 0
        got += part
    return int(got.split(b" ", 2)[1])


class Stopped:
    """These ingesters do nothing while it lasts."""

    def __init__(self, cluster, n):
        self.processes = cluster.ingesters[:n]

    def __enter__(self):
        for p in self.processes:
            p.child.send_signal(signal.SIGSTOP)

    def __exit__(self, *_):
        for p in self.processes:
            p.child.send_signal(signal.SIGCONT)


def unanswered(cluster):
    return metric(cluster, cluster.front, "torc_distributor_unanswered_requests")


# --- requests in flight ---

def check_refusal(reply, seconds):
    """None when this is how a refusal has to look."""
    after = reply.headers.get("Retry-After", "")
    if reply.status != 503 or not after.isdigit() or not 1 <= int(after) <= 10:
        return f"{reply.status}, Retry-After {after!r}: {reply.text()[:300]!r}"
    if f"limit {HELD} (distributor.max-inflight-requests)" not in reply.text():
        return f"the text does not name the setting: {reply.text()[:300]!r}"
    return f"took {seconds:.1f} s, no longer than the quorum it was not to wait for" if seconds > PUSH_SECONDS / 2 else None


def check_full(cluster, score):
    """Two of three ingesters are stopped: pushes cannot get their quorum and are in flight until they time out."""
    before = metric(cluster, cluster.front, "torc_distributor_refused_requests_total", 'reason="requests"')
    with Stopped(cluster, 2):
        held = [open_push(cluster, i) for i in range(HELD)]
        if until(lambda: unanswered(cluster) == HELD, PUSH_SECONDS / 2) is None:
            score.say("pushes are held", f"{unanswered(cluster)} are in flight, want {HELD}")
            return
        began = time.monotonic()
        reply = push(cluster)
        score.say("one more than may be in flight is refused at once, with the setting's name and Retry-After", check_refusal(reply, time.monotonic() - began))
        reply = cluster.ask("POST", PUSH, b"this is no snappy", rows.PB)
        score.say("a refused body is not looked at", None if reply.status == 503 else f"{reply.status} {reply.text()[:200]!r}")
        began = time.monotonic()
        reply = cluster.raw(head(4 << 20), timeout=PUSH_SECONDS / 2)
        score.say("a large body is refused before it comes", None if reply.status == 503 and time.monotonic() - began < PUSH_SECONDS / 2
                  else f"{reply.status} after {time.monotonic() - began:.1f} s")
        refused = metric(cluster, cluster.front, "torc_distributor_refused_requests_total", 'reason="requests"') - before
        score.say("refusals are counted by reason", None if refused == 3 else f"{refused} more, want 3")
        ready = cluster.get(cluster.front, "/ready")
        score.say("/ready and /metrics answer meanwhile", None if ready.status == 200 and unanswered(cluster) == HELD else f"{ready.status}, {unanswered(cluster)} in flight")
        statuses = [status_of(s) for s in held]
        for s in held:
            s.close()
        score.say("pushes without a quorum end with 503 after the time-out", None if statuses == [503] * HELD else f"{statuses}")
    took = until(lambda: push(cluster).status == 204)
    score.say("pushes succeed again", "never" if took is None else None, f"({took or 0:.2f} s after the ingesters went on)")
    score.say("nothing is left in flight", None if until(lambda: unanswered(cluster) == 0) is not None else f"{unanswered(cluster)}")


# --- one slow ingester ---

def generator(cluster, *flags):
    return subprocess.Popen([cluster.binary, "loadgen", "--url", f"http://{HOST}:{cluster.front.port}{PUSH}", "--json", *flags],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def report_of(child):
    out, err = child.communicate(timeout=300)
    if not out.strip():
        raise RuntimeError(f"the generator failed: {err[-500:]}")
    return json.loads(out)


def clean(report, least):
    wrong = {k: report[k] for k in ("lost", "twice", "wrong", "phantom", "samples_failed") if report[k]}
    return f"{wrong}, verified {report['verified']}: {report['differences'][:300]}" if wrong or report["verified"] < least else None


def check_slow_one(cluster, score):
    """The quorum is two: pushes go on, and what waits for the third is bounded."""
    name = cluster.ingesters[0].name
    answers = "torc_distributor_ingester_answers_total"
    skipped = metric(cluster, cluster.front, answers, 'status="skipped"')
    most, series, batch = 0, 2000, 200
    child = generator(cluster, "--series", str(series), "--batch", str(batch), "--interval", "250ms", "--duration", "10s", "--connections", "2", "--tenant", "slow", "--verify")
    with Stopped(cluster, 1):
        while child.poll() is None and metric(cluster, cluster.front, answers, 'status="skipped"') == skipped:
            most = max(most, metric(cluster, cluster.front, "torc_distributor_lingering_bytes", f'ingester="{name}"'))
            time.sleep(0.05)
        left_out = metric(cluster, cluster.front, answers, 'status="skipped"') - skipped
        most = max(most, metric(cluster, cluster.front, "torc_distributor_lingering_bytes", f'ingester="{name}"'))
    report = report_of(child)
    one = batch * 400  # what a push of the generator and its columns hold
    score.say("a stopped ingester is left out once too much waits for it", None if left_out > 0 else "never")
    score.say("what waits for it is bounded", None if LINGER / 2 < most <= LINGER + 4 * one else f"{most:.0f} bytes at most, limit {LINGER}")
    score.say("pushes go on without it and nothing acknowledged is lost", clean(report, report["samples_acked"] * 0.9))
    ok = metric(cluster, cluster.ingesters[0], "torc_ingester_appended_samples_total")
    took = until(lambda: push(cluster).status == 204 and metric(cluster, cluster.ingesters[0], "torc_ingester_appended_samples_total") > ok)
    score.say("it takes part again", "never" if took is None else None, f"({took or 0:.2f} s after it went on)")
    score.say("nothing lingers", None if until(lambda: metric(cluster, cluster.front, "torc_distributor_lingering_bytes") == 0) is not None else "bytes do")


# --- more connections than may be in flight ---

def check_crowd(cluster, score):
    """Three times as many connections as pushes may be in flight, none of which paces itself: refusals are told to come later, and do."""
    before = metric(cluster, cluster.front, "torc_distributor_refused_requests_total")
    report = report_of(generator(cluster, "--series", "4800", "--batch", "100", "--max", "--rounds", "4", "--connections", str(3 * HELD), "--tenant", "crowd", "--verify"))
    refused = metric(cluster, cluster.front, "torc_distributor_refused_requests_total") - before
    score.say("of a crowd everything arrives in the end", clean(report, 4 * 4800), f"({refused:.0f} refused, {report['retries']:.0f} repeated)")
    score.say("its refusals are all that was repeated", None if report["retries"] == report["statuses"].get("503", 0) == refused else f"{report['statuses']}, {refused} refused")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("torc")
    parser.add_argument("--verbose", action="store_true")
    args = parser.parse_args()
    score = Score(args.verbose)
    cluster = Cluster(args.torc, "overrides: {}\n", FLAGS)
    try:
        cluster.wait_ready()
        check_crowd(cluster, score)
        check_full(cluster, score)
        check_slow_one(cluster, score)
    except Exception as e:  # whatever it was, the processes must end and the count must say so
        score.say("the run", f"{type(e).__name__}: {e}")
    score.say("all processes lived, ended well and reported nothing", "; ".join(cluster.stop()))
    cluster.remove()
    print(f"{score.passed} passed, {score.failed} failed")
    return 1 if score.failed else 0


if __name__ == "__main__":
    sys.exit(main())
