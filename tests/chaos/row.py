"""One row of the fault programme: a cluster, a load, injections with one life cycle each, then every sample read back by every path after the run, after a
flush, after compaction and after a restart of the whole cluster. A row passes with five zeros (and no flicker), its own figure, and a run that counts."""
import os
import random
import shutil
import tempfile
import time

import load
import net as network
from cluster import Cluster, say, wait_until
from machine import Ledger, missing

# Fractions of what was planned below which a run proves nothing; acknowledged requests inside fault windows, of the full dose.
TRIED, TOOK_HOLD, ACKED_IN_WINDOWS = 0.8, 0.5, 1000


class Injection:
    """One fault. Subclasses say how; times are of the monotonic clock."""

    seconds = 2.0       # how long it lasts once it bites
    bite_within = 5.0
    heal_within = 60.0

    def __init__(self, row):
        self.row, self.cluster, self.random = row, row.cluster, row.random
        self.began = self.bit_at = self.healing = self.healed_at = None

    def set_up(self):
        pass

    def inject(self):
        raise NotImplementedError

    def bites(self):
        raise NotImplementedError

    def hold(self):
        time.sleep(self.seconds)

    def heal(self):
        raise NotImplementedError

    def healed(self):
        return self.cluster.whole()

    def clean_up(self):
        pass

    def name(self):
        return type(self).__name__.lower()

    def run(self):
        self.set_up()
        try:
            self.began = time.monotonic()
            self.inject()
            try:
                wait_until("the fault bites", self.bite_within, self.bites)
                self.bit_at = time.monotonic()
            except RuntimeError:
                pass
            self.hold()
            self.healing = time.monotonic()
            self.heal()
            wait_until(f"healed after {self.name()}", self.heal_within, self.healed)
            self.healed_at = time.monotonic()
        finally:
            self.clean_up()

    def window(self):
        return (self.began, self.healed_at or time.monotonic())


class Row:
    """Subclasses: id, title, needs, dose, flags; plan() yields injections; figures() judges what is the row's own."""

    id, title, needs = "F0", "", ("root", "netns")
    flags = ()
    writers = ("plain", "steady", "mixed")
    doses = {"ci": 4, "soak": 80}     # injections
    seconds = {"ci": 20, "soak": 900}  # of load; ends when the injections have
    acked_share = 0.1                  # of ACKED_IN_WINDOWS that the CI dose must reach
    allowed = ()                       # words of logs that the fault itself explains
    after = ("run", "flush", "compaction", "restart")

    def __init__(self, dose, seed, keep=False):
        self.dose, self.keep, self.seed = dose, keep, seed
        self.random = random.Random(f"{self.id} {seed}")
        self.count = self.doses[dose]
        self.failures, self.notes, self.injections, self.load = [], [], [], []
        self.totals = load.Totals()
        self.cluster = self.reader = None

    # --- what subclasses say ---

    def prepare(self):
        """Between the making of the nodes and their start: disks, prefixes."""

    def plan(self):
        """Generates injections; each is run before the next is asked for."""
        raise NotImplementedError

    def settled(self):
        """The load has ended, every process lives."""

    def damage_bucket(self):
        """Between the flush and the compaction."""

    def figures(self):
        """Own figures: self.check(...), self.note(...)."""

    # --- judging ---

    def check(self, ok, text):
        if not ok:
            self.failures.append(text)
        return ok

    def note(self, text):
        self.notes.append(text)

    def windows(self):
        return [i.window() for i in self.injections]

    def attempts(self):
        return [a for w in self.load for a in w.attempts()]

    def check_writes(self, share=0.999):
        """Of the samples that were due this share was written, after the client's retries."""
        failed = sum(w.report["samples_failed"] + w.report["samples_unsent"] for w in self.load)
        due = sum(w.report["samples_due"] for w in self.load)
        self.check(failed <= due * (1 - share), f"{failed} of {due} samples were not written in the end: {[w.report.get('last_error') for w in self.load]}")
        self.note(f"{due} samples, {failed} not written, {sum(w.report['retries'] for w in self.load)} retries")

    def check_void(self):
        """A run that did not write, or did not hurt, proves nothing."""
        due = sum(w.report["samples_due"] for w in self.load)
        tried = due - sum(w.report["samples_unsent"] for w in self.load)
        planned = len(self.load) * load.SERIES * load.TENANTS * self.loaded / load.INTERVAL
        held = sum(i.bit_at is not None for i in self.injections)
        acked = len([a for a in load.within(self.attempts(), self.windows()) if a.outcome == "ok"])
        want = ACKED_IN_WINDOWS * (self.acked_share if self.dose == "ci" else 1)
        self.check(tried >= TRIED * planned, f"VOID: {tried} of {planned:.0f} planned samples were tried")
        self.check(self.injections and held >= TOOK_HOLD * len(self.injections), f"VOID: {held} of {len(self.injections)} injections took hold")
        self.check(acked >= want, f"VOID: {acked} requests were acknowledged inside fault windows, {want:.0f} wanted")
        self.note(f"{held} of {len(self.injections)} injections bit, {acked} requests acknowledged inside their windows")

    def forgiven(self, attempt):
        """Whether what this acknowledged request wrote may be lost. Only a row that says so forgives."""
        return False

    def forgive(self):
        """Takes out of what was missed what may be lost; how many samples."""
        if type(self).forgiven is Row.forgiven:
            return 0
        acked = {(w.path, a.tenant, a.batch, a.t_ms): a for w in self.load for a in w.attempts() if a.outcome == "ok"}
        gone = [k for k in self.totals.missed if (a := acked.get((k[0], *load.place(k[1])))) and self.forgiven(a)]
        for k in gone:
            del self.totals.missed[k]
        if gone:
            self.totals.examples = [e for e in self.totals.examples if "LOST" not in e or self.totals.missed]
        return len(gone)

    def check_zeros(self):
        forgiven = self.forgive()
        if forgiven:
            self.note(f"{forgiven} samples of the last interval before a cut of a quorum are lost, as this mode says")
        counts = self.totals.settle()
        if not any(counts.values()):
            self.totals.examples = []
        self.check(not any(counts.values()), "verdicts: " + ", ".join(f"{k} {v}" for k, v in counts.items() if v))
        for e in self.totals.examples[:4]:
            self.failures.append(e)
        self.note(f"{self.totals.readings} readings, LOST {counts['LOST']} DUP {counts['DUP']} WRONG {counts['WRONG']} PHANTOM {counts['PHANTOM']} LEAK {counts['LEAK']} "
                  f"FLICKER {counts['FLICKER']}")

    # --- running ---

    def read_all(self, when):
        for n, w in enumerate(self.load):
            for path in load.PATHS:
                reading = load.read_back(w, self.cluster.fronts[n % 3], when, path)
                if reading is None:
                    raise RuntimeError(f"{when}: {path} of {os.path.basename(w.path)}: no answers: {load.last_words(w)}")
                self.check(reading.right > 0, f"{when}: {path} of {os.path.basename(w.path)}: nothing was read")
                self.totals.add(reading)

    def attack(self):
        began = time.monotonic()
        for i in self.plan():
            self.injections.append(i)
            i.run()
            crashes = self.cluster.complaints(self.allowed)
            if crashes:
                self.failures += crashes
                break
        rest = self.load_seconds() - (time.monotonic() - began)
        if rest > 0 and not self.failures:
            time.sleep(rest)
        self.loaded = time.monotonic() - self.load_began

    def load_seconds(self):
        return self.seconds[self.dose]

    def write_and_hurt(self):
        for n, kind in enumerate(self.writers):
            self.load.append(load.Writer(self.dir, self.cluster.fronts[n % 3], kind, self.seed + n, 7200))
        self.load_began = time.monotonic()
        for w in self.load:
            w.start()
        self.reader = load.Reader(self.load, self.cluster.fronts)
        self.reader.start()
        time.sleep(1.5)
        try:
            self.attack()
        finally:
            for w in self.load:
                w.stop()
            self.reader.finish()
        for r in self.reader.readings:
            self.totals.add(r)
        self.note(f"{len(self.reader.readings)} readings during the run, {self.reader.refused} refused")

    def judge(self):
        self.read_all("after the run")
        self.settled()
        if "flush" in self.after:
            self.cluster.flush()
            self.read_all("after a flush")
            self.damage_bucket()
        if "compaction" in self.after:
            self.cluster.compact()
            self.read_all("after compaction")
        if "restart" in self.after:
            self.cluster.restart_all()
            self.read_all("after a restart of all")
        self.check_zeros()
        self.check_void()
        self.figures()
        self.failures += [c for c in self.cluster.complaints(self.allowed) if c not in self.failures]

    def run(self):
        """'passed', 'failed' or 'SKIPPED'."""
        why = missing(self.needs)
        if why:
            say(f"SKIPPED {self.id} {self.title}: {why}")
            return "SKIPPED"
        began, ledger = time.monotonic(), Ledger()
        self.ledger = ledger
        self.dir = tempfile.mkdtemp(prefix=f"torc-chaos-{self.id}-")
        try:
            self.cluster = Cluster(self.dir, network.Net(ledger), ledger, self.flags)
            self.prepare()
            self.cluster.up()
            self.write_and_hurt()
            self.judge()
        except (RuntimeError, OSError, ValueError) as e:
            self.failures.append(f"{type(e).__name__}: {e}")
        finally:
            for w in self.load:
                if w.child and w.child.poll() is None:
                    w.child.kill()
            if self.cluster:
                self.cluster.down()
            ledger.finish()
        verdict = "failed" if self.failures else "passed"
        say(f"{verdict:7} {self.id} {self.title} ({time.monotonic() - began:.0f} s)")
        for n in self.notes:
            print(f"    {n}", flush=True)
        for f in self.failures[:12]:
            print(f"    FAILED: {f[:900]}", flush=True)
        if self.failures or self.keep:
            print(f"    kept: {self.dir}", flush=True)
        else:
            shutil.rmtree(self.dir, ignore_errors=True)
        return verdict
