"""Writers and the checker. Writers are torc loadgen, one a front, with histories on disk: values follow from seed, tenant, series and timestamp, so whatever
a query returns can be judged. The checker reads all of it back by several paths, again and again, and adds up the verdicts:
LOST acknowledged and absent, DUP there twice, WRONG other bits, PHANTOM never sent, LEAK another tenant's, FLICKER absent from one complete answer and there in a
later one."""
import collections
import json
import os
import signal
import subprocess
import threading
import time

from cluster import BINARY
from machine import die_with_parent

VERDICTS = ("LOST", "DUP", "WRONG", "PHANTOM", "LEAK", "FLICKER")
FIGURES = {"LOST": "lost", "DUP": "twice", "WRONG": "wrong", "PHANTOM": "phantom", "LEAK": "leak"}
SERIES, BATCH, TENANTS, INTERVAL = 500, 250, 2, 0.25
PATHS = os.environ.get("CHAOS_PATHS", "instant remote-read range").split()

Attempt = collections.namedtuple("Attempt", "begin end outcome status tenant batch samples t_ms")


class Writer:
    """One loadgen with two tenants. All but mixed can be judged while they still grow: whole targets in each batch, in order."""

    KINDS = {"plain": ["--special"], "steady": ["--churn", "30"], "mixed": ["--out-of-order", "10", "--churn", "30", "--native-histograms", "20", "--special"]}

    def __init__(self, directory, front, kind, seed, seconds, extra=()):
        self.kind, self.front, self.seconds = kind, front, seconds
        self.path = os.path.join(directory, f"load-{front.name}-{kind}")
        self.history, self.log = self.path + ".history", self.path + ".requests"
        self.argv = [BINARY, "loadgen", "--url", front.url("/api/v1/push"), "--series", str(SERIES), "--batch", str(BATCH), "--tenants", str(TENANTS),
                     "--tenant", f"chaos-{kind}", "--interval", f"{INTERVAL * 1000:.0f}ms", "--duration", f"{seconds}s", "--connections", "4", "--timeout", "10s",
                     "--seed", str(seed), "--history", self.history, "--request-log", self.log, "--json", "--quiet", *self.KINDS[kind], *extra]
        self.child = self.report = None

    def start(self):
        with open(self.path + ".json", "wb") as out, open(self.path + ".err", "wb") as err:
            self.child = subprocess.Popen(self.argv, stdout=out, stderr=err, stdin=subprocess.DEVNULL, preexec_fn=die_with_parent)

    def stop(self):
        """Ends it in order, unless it has ended; what it reports."""
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGINT)
        self.child.wait(120)
        with open(self.path + ".json", encoding="utf-8") as f:
            text = f.read()
        if not text.strip():
            with open(self.path + ".err", encoding="utf-8") as f:
                raise RuntimeError(f"the writer at {self.front.name} said nothing: {f.read()[-500:]}")
        self.report = json.loads(text)
        return self.report

    def attempts(self):
        out = []
        with open(self.log, encoding="ascii") as f:
            next(f, None)
            for line in f:
                p = line.rstrip("\n").split("\t")
                if len(p) == 8:
                    out.append(Attempt(float(p[0]), float(p[1]), p[2], int(p[3]), int(p[4]), int(p[5]), int(p[6]), int(p[7])))
        return out


def place(line):
    """(tenant, batch, t_ms) of a line "LOST: tenant T series S generation G at M ms"."""
    w = line.split()
    tenant, series, t_ms = int(w[2]), int(w[4]), int(w[8])
    return tenant, series // BATCH if series < SERIES else SERIES // BATCH + (series - SERIES) // BATCH, t_ms


class Reading:
    """What one complete reading of a writer's history said."""

    def __init__(self, when, path, writer, answer, lost):
        self.when, self.path, self.writer = when, path, writer
        self.counts = {v: int(answer.get(FIGURES[v], 0)) if v in FIGURES else 0 for v in VERDICTS}
        self.right, self.lost, self.differences = int(answer.get("verified", 0)), lost, answer.get("differences", [])

    def clean(self):
        return not any(self.counts.values())


def read_back(writer, front, when, path="instant", wait=20, history=None):
    """A Reading, or None when the answers could not be had (which is no verdict). Raises RuntimeError when loadgen itself fails."""
    lines = f"{writer.path}.{path}.{threading.get_ident()}.differences"
    argv = [BINARY, "loadgen", "--verify-only", "--history", history or writer.history, "--query-url", front.url("/prometheus"), "--verify-wait", f"{wait}s", "--json", "--quiet",
            "--differences", lines]
    if path != "instant":
        argv += ["--verify-path", path]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, preexec_fn=die_with_parent)
    if done.returncode not in (0, 2) or not done.stdout.strip():
        if "flag" in done.stderr or "unknown" in done.stderr:
            raise RuntimeError(f"{' '.join(argv)}: {done.stderr[-400:]}")
        with open(writer.path + ".why", "w", encoding="utf-8") as f:
            f.write(done.stderr)
        return None
    lost = set()
    with open(lines, encoding="utf-8", errors="replace") as f:
        for line in f:
            if line.startswith("LOST"):
                lost.add(line.strip())
    os.unlink(lines)
    return Reading(when, path, writer, json.loads(done.stdout), lost)


def last_words(writer):
    """Why the last reading that failed did."""
    try:
        with open(writer.path + ".why", encoding="utf-8") as f:
            return f.read()[-600:]
    except OSError:
        return ""


class Reader(threading.Thread):
    """Reads everything back all the time while the faults come, by the fronts in turn. An answer that cannot be had is no verdict, only counted."""

    def __init__(self, writers, fronts):
        super().__init__(daemon=True)
        self.writers = [w for w in writers if w.kind != "mixed"]
        self.fronts, self.ending = fronts, threading.Event()
        self.readings, self.refused, self.error = [], 0, None

    def run(self):
        n = 0
        self.ending.wait(2)
        while not self.ending.is_set():
            writer, front = self.writers[n % len(self.writers)], self.fronts[n % len(self.fronts)]
            n += 1
            try:
                reading = read_back(writer, front, f"during, {time.monotonic():.3f}", wait=0)
            except (RuntimeError, OSError) as e:
                self.error = e
                return
            if reading is None:
                self.refused += 1
            else:
                self.readings.append(reading)
            self.ending.wait(0.5)

    def finish(self):
        self.ending.set()
        self.join()
        if self.error:
            raise self.error


class Totals:
    """The verdicts of a row. A sample that one reading missed and a later one has is FLICKER, not LOST."""

    def __init__(self):
        self.counts = collections.Counter({v: 0 for v in VERDICTS})
        self.examples, self.right, self.readings = [], 0, 0
        self.missed = {}  # (writer, line): when it was missed first
        self.lost_at_last = {}

    def add(self, reading):
        self.readings += 1
        key = reading.writer.path
        gone = {(key, line) for line in reading.lost}
        for k in gone:
            self.missed.setdefault(k, reading.when)
        for k in [k for k in self.missed if k[0] == key and k not in gone and self.lost_at_last.get(k)]:
            self.lost_at_last[k] = False
        for k in gone:
            self.lost_at_last[k] = True
        for v in ("DUP", "WRONG", "PHANTOM", "LEAK"):
            self.counts[v] = max(self.counts[v], self.counts[v] + reading.counts[v])
        if reading.counts["LOST"] > len(reading.lost):  # paths that count do not name every sample
            self.counts["LOST"] += reading.counts["LOST"] - len(reading.lost)
        if not reading.clean():
            self.examples.append(f"{reading.when}, {reading.path}, {os.path.basename(reading.writer.path)}: " +
                                 ", ".join(f"{k} {v}" for k, v in reading.counts.items() if v) + f": {str(reading.differences)[:600]}")

    def settle(self):
        for k in self.missed:
            self.counts["LOST" if self.lost_at_last[k] else "FLICKER"] += 1
        self.missed = {}
        return self.counts


def within(attempts, windows):
    return [a for a in attempts if any(b <= a.end and a.begin <= e for b, e in windows)]


def quantile(values, q):
    s = sorted(values)
    return s[min(int(q * len(s)), len(s) - 1)] if s else 0.0
