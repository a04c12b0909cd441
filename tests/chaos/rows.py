"""The rows of the fault programme that need processes. Rows of torn and flipped bytes and of failing calls inside one process are unit tests (tests/unit/tsdb,
tests/component); README.md says which."""
import os
import subprocess
import time

import load
from disk import LoopDisk, SmallDisk
from machine import die_with_parent
from row import Injection, Row


# --- F1: kill -9, one zone at a time ---

class KillZone(Injection):
    """Front and ingester of a zone die at once and come back after a while, at random."""

    def set_up(self):
        self.zone = self.random.randrange(3)
        self.nodes = self.cluster.zone(self.zone)
        if self.random.random() < 0.5:
            self.nodes = self.nodes[:1]
        self.seconds = self.random.random() * 1.5
        self.ready = []

    def inject(self):
        for n in self.nodes:
            n.kill()

    def bites(self):
        return not any(n.alive() for n in self.nodes)

    def heal(self):
        for n in self.nodes:
            n.start()
        self.ready = [n.wait_ready() for n in self.nodes if n.target == "ingester"]


class F1(Row):
    id, title = "F1", "kill -9 storm, one zone at a time"
    doses = {"ci": 8, "soak": 600}
    acked_share = 0.2

    def plan(self):
        for _ in range(self.count):
            yield KillZone(self)

    def figures(self):
        self.check_writes(0.999)
        ready = [s for i in self.injections for s in i.ready]
        self.check(ready and max(ready) <= 5, f"an ingester was ready only after {max(ready, default=0):.1f} s")
        self.note(f"{len(ready)} ingester restarts, ready after {load.quantile(ready, 0.5):.2f} s, at most {max(ready, default=0):.2f} s")


# --- F2: kill -9, all ingesters at once ---

class KillAll(Injection):
    def inject(self):
        for n in self.cluster.ingesters:
            n.child.kill()
        for n in self.cluster.ingesters:
            n.kill()

    def bites(self):
        return not any(n.alive() for n in self.cluster.ingesters)

    def hold(self):
        time.sleep(self.random.random() * 2)

    def heal(self):
        for n in self.cluster.ingesters:
            n.start()

    def healed(self):
        return self.cluster.whole()


class F2(Row):
    id, title = "F2", "kill -9 of all ingesters at once"
    doses = {"ci": 4, "soak": 200}

    def plan(self):
        for _ in range(self.count):
            yield KillAll(self)
            time.sleep(1)

    def figures(self):
        self.check_writes(0.999)
        took = [i.healed_at - i.healing for i in self.injections if i.healed_at]
        self.check(took and max(took) <= 30, f"full service only after {max(took, default=0):.1f} s")
        first = [min((a.end for a in self.ok() if a.begin >= i.healing), default=i.healing + 999) - i.healing for i in self.injections]
        self.note(f"full service {max(took, default=0):.1f} s after the start, first acknowledged push after {max(first):.1f} s")

    def ok(self):
        return [a for a in self.attempts() if a.outcome == "ok"]


# --- F4: pauses ---

class Pause(Injection):
    def __init__(self, row, node, seconds):
        super().__init__(row)
        self.node, self.seconds = node, seconds

    def inject(self):
        self.node.signal(19)

    def bites(self):
        return self.node.stopped()

    def heal(self):
        self.node.signal(18)


class F4(Row):
    id, title = "F4", "pauses (SIGSTOP) of ingesters and fronts"
    doses = {"ci": 4, "soak": 200}
    acked_share = 0.2
    lengths = {"ci": (1, 5, 8, 1), "soak": (1, 5, 15, 30, 120)}

    def plan(self):
        lengths = self.lengths[self.dose]
        for n in range(self.count):
            node = self.random.choice(self.cluster.ingesters) if n % 4 < 3 else self.random.choice(self.cluster.fronts)
            yield Pause(self, node, lengths[n % len(lengths)])
            time.sleep(1)

    def figures(self):
        self.check_writes(0.999)
        paused = [(i.bit_at or i.began, i.healing) for i in self.injections if i.node.target == "ingester"]
        calm = [a.end - a.begin for a in self.attempts() if a.outcome == "ok" and not load.within([a], self.windows())]
        inside = [a.end - a.begin for a in load.within(self.attempts(), paused) if a.outcome == "ok"]
        limit = 2 * load.quantile(calm, 0.99) + 5
        self.check(load.quantile(inside, 0.99) <= limit, f"write p99 during pauses is {load.quantile(inside, 0.99):.2f} s, limit {limit:.2f} s")
        self.note(f"write p99 {1e3 * load.quantile(calm, 0.99):.0f} ms without, {1e3 * load.quantile(inside, 0.99):.0f} ms during pauses of an ingester")


# --- F5: graceful stop ---

class Stop(Injection):
    """SIGTERM under load, then a new start."""

    def set_up(self):
        self.node = self.random.choice(self.cluster.ingesters + self.cluster.fronts)
        self.took, self.code = None, None

    def inject(self):
        self.took, self.code = self.node.stop()

    def bites(self):
        return not self.node.alive()

    def hold(self):
        time.sleep(0.5)

    def heal(self):
        self.node.start()


class F5(Row):
    id, title, acked_share = "F5", "graceful stop under load", 0.05
    doses = {"ci": 5, "soak": 200}

    def plan(self):
        for _ in range(self.count):
            yield Stop(self)
            time.sleep(0.5)

    def figures(self):
        self.check_writes(0.999)
        took = [i.took for i in self.injections]
        self.check(all(i.code == 0 for i in self.injections), f"exit codes {[i.code for i in self.injections]}")
        self.check(max(took) <= 20, f"a stop took {max(took):.1f} s")
        self.note(f"{len(took)} stops, the longest {max(took):.2f} s")


# --- F3: power cuts ---

class PowerCut(Injection):
    """The file systems below some ingesters shut down under load (what was not synced is gone), the processes die, the disks come back, they start again."""

    def __init__(self, row, nodes):
        super().__init__(row)
        self.nodes = nodes
        self.cut_at = None

    def inject(self):
        for n in self.nodes:
            self.row.disks[n.name].cut()
        self.cut_at = time.time()
        for n in self.nodes:
            n.kill()

    def bites(self):
        return all(self.row.disks[n.name].is_cut() for n in self.nodes)

    def hold(self):
        time.sleep(self.random.random())

    def heal(self):
        for n in self.nodes:
            self.row.disks[n.name].restore()
            n.start()


class F3(Row):
    id, title, needs = "F3", "power cuts, wal.sync always", ("root", "netns", "xfs_io", "mkfs.ext4", "loop")
    flags = ("--wal.sync=always",)
    doses = {"ci": 6, "soak": 500}

    def prepare(self):
        self.disks = {n.name: LoopDisk(self.ledger, f"{self.dir}/{n.name}.img", n.data) for n in self.cluster.ingesters}

    def plan(self):
        for n in range(self.count):
            yield PowerCut(self, self.cluster.ingesters if n % 2 else [self.random.choice(self.cluster.ingesters)])
            time.sleep(1)

    def figures(self):
        self.check_writes(0.999)
        took = [i.healed_at - i.healing for i in self.injections if i.healed_at]
        self.note(f"{sum(len(i.nodes) == 3 for i in self.injections)} cuts of all disks, full service {max(took, default=0):.1f} s after the power was back")


class F3i(F3):
    """A cut of a quorum may cost what was acknowledged within the last interval before it, and nothing else."""

    id, title = "F3i", "power cuts, wal.sync interval"
    flags = ("--wal.sync=interval", "--wal.sync-interval=100ms")
    interval = 0.1

    def forgiven(self, attempt):
        """Whether a sample of this acknowledged request may be lost."""
        clocks = time.time() - time.monotonic()
        return any(i.cut_at - self.interval * 1.1 <= attempt.end + clocks <= i.cut_at + 0.05 for i in self.injections if len(i.nodes) > 1)


# --- F7: partitions ---

class Partition(Injection):
    def __init__(self, row, kind, zone):
        super().__init__(row)
        self.kind, self.zone = kind, zone
        self.seconds = 5 if row.dose == "ci" else 60
        self.ingester, self.front = self.cluster.zone(zone)
        self.hit = 0

    def name(self):
        return self.kind

    def others(self, *inside):
        return [n.name for n in self.cluster.nodes if n not in inside]

    def inject(self):
        net = self.cluster.net
        if self.kind == "node":
            net.cut(self.ingester.name, self.others(self.ingester))
        elif self.kind == "deaf":
            net.cut(self.ingester.name, self.others(self.ingester), both=False)
        elif self.kind == "mute":
            net.rules(self.ingester.name, [("output", f"ip daddr {{ {', '.join(net.address(o) for o in self.others(self.ingester))} }} counter drop")])
        else:  # minority: a zone that sees only itself
            for n in (self.ingester, self.front):
                net.cut(n.name, self.others(self.ingester, self.front))

    def bites(self):
        self.hit = self.cluster.net.hits(self.ingester.name)
        return self.hit > 10

    def heal(self):
        for n in (self.ingester, self.front):
            self.cluster.net.heal(n.name)


class F7(Row):
    id, title = "F7", "partitions: one node, one-way, a zone alone"
    doses = {"ci": 4, "soak": 100}
    seconds = {"ci": 40, "soak": 7000}

    def plan(self):
        kinds = ["node", "minority", "deaf", "mute"]
        for n in range(self.count):
            yield Partition(self, kinds[n % 4], self.random.randrange(3))

    def figures(self):
        # Samples of a zone that is alone wait; the client gives up only after minutes.
        self.check_writes(0.999)
        alone = [i for i in self.injections if i.kind == "minority"]
        acked = [a for i in alone for w in self.load if w.front is i.front for a in w.attempts() if a.outcome == "ok" and a.begin > i.bit_at and a.end < i.healing]
        self.check(not acked, f"a minority acknowledged {len(acked)} requests")
        took = [i.healed_at - i.healing for i in self.injections if i.healed_at]
        self.check(took and max(took) <= 30, f"whole only {max(took, default=0):.1f} s after the partition ended")
        self.note(f"a zone alone acknowledged {len(acked)} requests; all members see each other at most {max(took, default=0):.1f} s after the end")


# --- F15: disks full ---

class DiskFull(Injection):
    def __init__(self, row, nodes):
        super().__init__(row)
        self.nodes = nodes
        self.seconds = 4
        self.refused = self.read = None

    def inject(self):
        for n in self.nodes:
            self.row.disks[n.name].fill()

    def bites(self):
        return all(self.row.disks[n.name].free() == 0 for n in self.nodes)

    def hold(self):
        until = time.monotonic() + self.seconds
        while time.monotonic() < until:
            for n in self.nodes:
                if self.row.disks[n.name].free() > 0:
                    self.row.disks[n.name].fill()
            time.sleep(0.2)
        self.read = load.read_back(self.row.load[0], self.cluster.fronts[0], "while disks are full", wait=0)

    def heal(self):
        for n in self.nodes:
            self.row.disks[n.name].empty()

    def healed(self):
        return self.cluster.whole() and all(n.metric("torc_ingester_dead_shards") == 0 for n in self.nodes)


class F15(Row):
    id, title = "F15", "disks full, one and then two of three"
    doses = {"ci": 3, "soak": 60}
    acked_share = 0.05

    def prepare(self):
        self.disks = {n.name: SmallDisk(self.ledger, n.data, 96) for n in self.cluster.ingesters}

    def plan(self):
        for n in range(self.count):
            yield DiskFull(self, self.random.sample(self.cluster.ingesters, 1 if n % 3 == 0 else 2))

    def figures(self):
        self.check_writes(0.999)
        took = [i.healed_at - i.healing for i in self.injections if i.healed_at]
        self.check(len(took) == len(self.injections) and max(took) <= 30, f"back to normal only {max(took, default=99):.1f} s after there was space again")
        self.check(all(i.read and i.read.clean() for i in self.injections), "reads did not go on while disks were full")
        quorum = [i for i in self.injections if len(i.nodes) > 1]
        statuses = {a.status for a in load.within(self.attempts(), [(i.bit_at, i.healing) for i in quorum if i.bit_at]) if a.outcome != "ok"}
        self.check(statuses <= {503, 0} and 503 in statuses, f"statuses of refusals: {statuses}")
        orphans = [f for n in self.cluster.ingesters for f in files_below(n.data) if ".tmp" in f]
        self.check(not orphans, f"left behind: {orphans[:4]}")
        self.note(f"no restart; normal {max(took, default=0):.1f} s after there was space again; refusals {statuses}")


def files_below(directory):
    return [os.path.join(d, f) for d, _, names in os.walk(directory) for f in names]


# --- F16: failing syncs and writes ---

class CallFails(Injection):
    """strace makes a system call of a running ingester fail, from some call on; then the process is started anew."""

    def __init__(self, row, node, call, error):
        super().__init__(row)
        self.node, self.call, self.error = node, call, error
        self.tracer = None
        self.dead_at = None
        self.bite_within, self.seconds = 15.0, 3

    def name(self):
        return f"{self.call} {self.error}"

    def inject(self):
        when = self.random.randrange(1, 20)
        argv = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={self.call}", "-e", f"inject={self.call}:error={self.error}:when={when}+", "-p", str(self.node.pid)]
        self.tracer = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=die_with_parent)

    def bites(self):
        return (self.node.metric("torc_ingester_dead_shards") or 0) > 0

    def hold(self):
        self.acked = self.node.metric("torc_ingester_appended_samples_total")
        self.dead = self.node.metric("torc_ingester_dead_shards")
        super().hold()
        self.dead_later = self.node.metric("torc_ingester_dead_shards")

    def heal(self):
        self.tracer.kill()
        self.tracer.wait()
        self.node.kill()
        self.node.start()

    def clean_up(self):
        if self.tracer.poll() is None:
            self.tracer.kill()
            self.tracer.wait()


class F16(Row):
    id, title, needs = "F16", "syncs and writes of the log fail (strace)", ("root", "netns", "strace")
    doses = {"ci": 3, "soak": 60}
    flags = ("--wal.sync-interval=50ms",)
    acked_share = 0.2

    def plan(self):
        calls = [("fdatasync", "EIO"), ("writev", "EIO"), ("fdatasync", "ENOSPC"), ("writev", "ENOSPC")]
        for n in range(self.count):
            call, error = calls[n % len(calls)]
            yield CallFails(self, self.random.choice(self.cluster.ingesters), call, error)
            time.sleep(1)

    def figures(self):
        self.check_writes(0.999)
        self.check(all(i.dead_later is None or i.dead_later >= i.dead for i in self.injections if i.bit_at), "a shard whose log failed came back by itself")
        self.note("each failed log showed in torc_ingester_dead_shards and stayed dead until a restart: " + ", ".join(i.name() for i in self.injections if i.bit_at))


ROWS = {r.id: r for r in (F1, F2, F3, F3i, F4, F5, F7, F15, F16)}
