"""The rows of the fault programme that need processes. Rows of torn and flipped bytes and of failing calls inside one process are unit tests (tests/unit/tsdb,
tests/component); README.md says which."""
import calendar
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import load
import rot
from cluster import RPC, http, wait_until
from disk import LoopDisk, SmallDisk
from machine import die_with_parent, sh
from row import Injection, Row

import remote_write as rw  # cluster.py has told where


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


class KillOneBetweenValues(Injection):
    """While one ingester is dead, series get a value; once it is back they get another one for the same time, which it alone has not seen refused."""

    def set_up(self):
        self.node = self.random.choice(self.cluster.ingesters)

    def inject(self):
        self.node.kill()

    def bites(self):
        return not self.node.alive()

    def hold(self):
        self.row.first(self)

    def heal(self):
        self.node.start()

    def clean_up(self):
        if self.healed_at:
            self.row.second(self)


class F1c(Row):
    id, title = "F1c", "two values for one time, an ingester dies between them"
    acked_share, count_of_series, tenant = 0.02, 100, "conflicts"

    def plan(self):
        self.values, self.refusals = {}, 0
        for _ in range(self.count):
            yield KillOneBetweenValues(self)

    def push(self, series, t_ms, value):
        body = b"".join(rw.series({"__name__": "conflict", "i": str(i)}, rw.sample(t_ms, value)) for i in series)
        status, _ = http(self.random.choice(self.cluster.fronts).url("/api/v1/push"), data=rw.snappy(body), headers={**rw.HEADERS, "X-Scope-OrgID": self.tenant})
        return status

    def first(self, injection):
        injection.t_ms = int(time.time() * 1000)
        status = self.push(range(self.count_of_series), injection.t_ms, 2.0)
        self.check(status // 100 == 2, f"a push while one ingester is dead: {status}")
        self.values[injection.t_ms] = "2"

    def second(self, injection):
        # The smaller bits, which win where there is no majority.
        self.refusals += self.push(range(self.count_of_series), injection.t_ms, 1.0) == 400

    def read_all(self, when):
        super().read_all(when)
        for front in self.cluster.fronts:
            for t_ms, want in self.values.items():
                status, body = http(front.url("/prometheus/api/v1/query"), {"query": "conflict[5ms]", "time": f"{t_ms / 1000:.3f}"}, headers={"X-Scope-OrgID": self.tenant})
                result = json.loads(body)["data"]["result"] if status == 200 else []
                got = [s["values"] for s in result]
                self.check(len(got) == self.count_of_series and all(len(v) == 1 and v[0][1] == want for v in got),
                           f"{when}: conflicts by {front.name}: {status}, {len(got)} series, values {sorted({x[1] for v in got for x in v})}")

    def figures(self):
        self.check_writes(0.999)
        self.check(self.refusals == len(self.injections), f"{self.refusals} of {len(self.injections)} second values were refused")
        self.note(f"{len(self.values) * self.count_of_series} samples got a second value, {self.refusals} of {len(self.injections)} pushes of them were refused; the first value is read everywhere")


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
    acked_share = 0.005  # while all are down nothing can be acknowledged: what is comes from the windows' ends

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
        self.node.signal(signal.SIGSTOP)

    def bites(self):
        return self.node.stopped()

    def heal(self):
        self.node.signal(signal.SIGCONT)


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
    """The file systems below some ingesters shut down under load (what was not synced is gone), with the processes, the disks come back, they start again."""

    def __init__(self, row, nodes):
        super().__init__(row)
        self.nodes = nodes
        self.cut_at = None

    def inject(self):
        # Power goes from process and disk at once: one that ran on while its file system shuts down could be told by fdatasync what is not so, and say it on.
        for n in self.nodes:
            n.signal(signal.SIGSTOP)
        wait_until("they are stopped", 5, lambda: all(n.stopped() for n in self.nodes))
        self.cut_at = time.time()
        for n in self.nodes:
            self.row.disks[n.name].cut()
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
        self.seconds = 4 if row.dose == "ci" else 60
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
    seconds = {"ci": 20, "soak": 7000}

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


# --- F9, F12: bad networks ---

class Loss(Injection):
    def __init__(self, row, percent):
        super().__init__(row)
        self.percent, self.seconds = percent, 5 if row.dose == "ci" else 120

    def name(self):
        return f"loss {self.percent} %"

    def inject(self):
        for n in self.cluster.nodes:
            self.cluster.net.lose(n.name, self.percent)

    def bites(self):
        return all(self.cluster.net.hits(n.name) > 0 for n in self.cluster.nodes)

    def heal(self):
        for n in self.cluster.nodes:
            self.cluster.net.heal(n.name)


class F9(Row):
    id, title = "F9", "every packet lost with 5 % and 30 %"
    doses = {"ci": 2, "soak": 20}

    def plan(self):
        for n in range(self.count):
            yield Loss(self, (5, 30)[n % 2])
            time.sleep(1)

    def figures(self):
        self.check_writes(0.999)
        for i in self.injections:
            inside = load.within(self.attempts(), [(i.bit_at or i.began, i.healing)])
            rate = sum(a.samples for a in inside if a.outcome == "ok") / (i.healing - (i.bit_at or i.began))
            healthy = len(self.load) * load.SERIES * load.TENANTS / load.INTERVAL
            self.check(i.percent > 5 or rate >= 0.7 * healthy, f"{i.name()}: {rate:.0f} samples/s of {healthy:.0f}")
            self.check(not [a for a in inside if a.outcome == "fail"], f"{i.name()}: requests were refused for good")
            self.note(f"{i.name()}: {rate:.0f} samples/s, {healthy:.0f} offered")


class Resets(Injection):
    """Some packets that reach an ingester are answered with a reset: connections break, again and again."""

    def __init__(self, row):
        super().__init__(row)
        self.node, self.seconds = row.random.choice(row.cluster.ingesters), 4

    def inject(self):
        self.cluster.net.reset(self.node.name, [n.name for n in self.cluster.nodes if n is not self.node], 5)

    def bites(self):
        return self.cluster.net.hits(self.node.name) > 5

    def heal(self):
        self.resets = self.cluster.net.hits(self.node.name)
        self.cluster.net.heal(self.node.name)


class F12(Row):
    id, title = "F12", "connections between processes are reset"
    doses = {"ci": 3, "soak": 60}

    def plan(self):
        self.before = [fds(n) for n in self.cluster.nodes]
        for _ in range(self.count):
            yield Resets(self)
            time.sleep(0.5)

    def figures(self):
        self.check_writes(0.999)
        self.note(f"{sum(i.resets for i in self.injections)} resets; descriptors before and after: {self.before}, {self.later}")
        self.check(all(b - a <= 16 for a, b in zip(self.before, self.later)), f"descriptors grew: {self.before} to {self.later}")

    def settled(self):
        """Halves of connections that the other side has forgotten must go by themselves."""
        until = time.monotonic() + 30
        while True:
            self.later = [fds(n) for n in self.cluster.nodes]
            if all(b - a <= 16 for a, b in zip(self.before, self.later)) or time.monotonic() > until:
                return
            time.sleep(0.5)


def fds(node):
    return len(os.listdir(f"/proc/{node.pid}/fd"))


# --- F13: damaged frames ---

class DamagedFrames(Injection):
    def __init__(self, row, node):
        super().__init__(row)
        self.node, self.seconds, self.proxy = node, 4, None
        self.pieces = self.damaged = 0

    def inject(self):
        ns = self.cluster.net.nodes[self.node.name][0]
        self.proxy = subprocess.Popen(["nsenter", f"--net=/run/netns/{ns}", sys.executable, os.path.join(os.path.dirname(os.path.abspath(__file__)), "rot.py"),
                                       self.node.address, "19095", str(RPC), "0.05", str(self.random.randrange(1 << 30))],
                                      stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, preexec_fn=die_with_parent, text=True)
        self.proxy.stdout.readline()
        self.cluster.net.inside(self.node.name, "nft", "-f", "-", text="table ip chaosnat {\n chain pre {\n type nat hook prerouting priority -100\n "
                                f"tcp dport {RPC} redirect to :19095\n }}\n}}\n")
        # Connections that there are go on as they were: end them, so that new ones go by the proxy.
        self.cluster.net.reset(self.node.name, [n.name for n in self.cluster.nodes if n is not self.node], 100)
        time.sleep(0.3)
        self.cluster.net.heal(self.node.name)

    def bites(self):
        line = self.proxy.stdout.readline().split()
        if len(line) == 2:
            self.pieces, self.damaged = map(int, line)
        return self.damaged > 0

    def hold(self):
        until = time.monotonic() + self.seconds
        while time.monotonic() < until:
            self.bites()

    def heal(self):
        self.cluster.net.inside(self.node.name, "nft", "delete", "table", "ip", "chaosnat", check=False)
        self.proxy.kill()
        self.proxy.wait()


class F13(Row):
    id, title = "F13", "bytes between processes are damaged"
    doses = {"ci": 3, "soak": 60}

    def plan(self):
        for n in range(self.count):
            yield DamagedFrames(self, self.cluster.ingesters[n % 3])

    def figures(self):
        self.check_writes(0.999)
        self.check(sum(i.damaged for i in self.injections) >= 30, "hardly anything was damaged")
        self.note(f"{sum(i.damaged for i in self.injections)} of {sum(i.pieces for i in self.injections)} pieces were damaged: bits, cuts, repetitions")


# --- F14: clocks ---

class Skew(Injection):
    """A process lives with another wall clock; the monotonic one is true."""

    def __init__(self, row, node, skew):
        super().__init__(row)
        self.node, self.skew, self.seconds = node, skew, 3

    def name(self):
        return f"{self.node.name} {self.skew}"

    def inject(self):
        self.node.kill()
        self.node.env = {"LD_PRELOAD": self.row.shim, "SKEW_SECONDS": self.skew}
        self.node.start()
        self.node.wait_ready()

    def bites(self):
        lines = [line for line in self.node.log().splitlines() if line.startswith("ts=")]
        stamp = calendar.timegm(time.strptime(lines[-1][3:22], "%Y-%m-%dT%H:%M:%S"))
        return abs(stamp - time.time()) > 2

    def heal(self):
        self.node.kill()
        self.node.env = {}
        self.node.start()


class F14(Row):
    id, title, needs = "F14", "wall clocks of single processes are wrong", ("root", "netns", "cc")
    doses = {"ci": 4, "soak": 24}

    def prepare(self):
        self.shim = f"{self.dir}/skew.so"
        sh("cc", "-O2", "-shared", "-fPIC", "-o", self.shim, os.path.join(os.path.dirname(os.path.abspath(__file__)), "skew.c"))

    def plan(self):
        # What a distributor with a clock an hour behind refuses is from the future, rightly; so those are off by seconds only.
        cases = [("ingester", "+3600"), ("ingester", "-3600"), ("front", "+5"), ("ingester", "-5"), ("compactor", "+3600"), ("front", "-5")]
        for n in range(self.count):
            kind, skew = cases[n % len(cases)]
            nodes = {"ingester": self.cluster.ingesters, "front": self.cluster.fronts, "compactor": [self.cluster.compactor]}[kind]
            yield Skew(self, self.random.choice(nodes), skew)

    def figures(self):
        self.check_writes(0.999)
        self.note("clocks: " + ", ".join(i.name() for i in self.injections))


# --- F19: bits flip at rest ---

class RottenDisk(Injection):
    """An ingester is down while bits of its log, images and small files flip. It may come up with all it had, or refuse and say why; never with something else.
    One that refuses gets an empty disk: the others have it all."""

    def __init__(self, row, node):
        super().__init__(row)
        self.node = node
        self.refused = None

    def inject(self):
        self.node.kill()
        self.flipped = rot.flip_some(self.random, [f for f in files_below(self.node.data) if "/rocksdb" not in f], self.random.choice((1, 3, 20)))
        self.node.start()

    def bites(self):
        """Damage is there: it came up all the same, or has refused."""
        if not self.node.alive():
            self.refused = True
            self.node.expected_end = True
            return True
        if "stays down" in self.node.log():
            self.refused = True
            return True
        return self.node.ready()

    def hold(self):
        time.sleep(1)

    def heal(self):
        if self.refused or not self.node.ready():
            self.refused = True
            self.node.kill()
            shutil.rmtree(self.node.data)
            os.makedirs(self.node.data)
            rename_log(self.node)
            self.node.start()


def rename_log(node):
    """What one life has said is not the next one's."""
    os.replace(node.log_path, f"{node.log_path}.{time.monotonic():.0f}")


class F19(Row):
    id, title = "F19", "bits flip on an ingester's disk and in the bucket"
    doses = {"ci": 3, "soak": 100}
    acked_share = 0.1

    def plan(self):
        # Always the same one: after it has lost its disk it is no read replica until it is rebuilt, and the two others are the quorum.
        node = self.random.choice(self.cluster.ingesters)
        for _ in range(self.count):
            yield RottenDisk(self, node)
            time.sleep(2)

    def damage_bucket(self):
        """After a flush, before compaction: one of three replicas' blocks."""
        blocks = [f for f in files_below(self.cluster.bucket) if "/blocks/" in f and f.endswith(".sst")]
        self.rotten = rot.flip_some(self.random, [self.random.choice(blocks)], 1) if blocks else []

    def figures(self):
        self.check_writes(0.999)
        quarantined = []
        for f in files_below(self.cluster.bucket):
            if "/index/" in f and f.endswith(".json"):
                with open(f, encoding="utf-8") as index:
                    quarantined += json.load(index).get("quarantined") or []
        self.note(f"bucket: {self.rotten} flipped; moved aside: {len(quarantined)} mentions in the indexes")
        self.note(f"{sum(bool(i.refused) for i in self.injections)} of {len(self.injections)} starts were refused; flipped: {[i.flipped[:3] for i in self.injections]}")


# --- F21, F24, F25: too little of a machine ---

class MemoryLimit(Injection):
    """An ingester in a memory cgroup that leaves it hardly any room to grow: the kernel kills it."""

    def __init__(self, row, node):
        super().__init__(row)
        self.node, self.group, self.bite_within = node, None, 20.0

    def set_up(self):
        self.group = f"/sys/fs/cgroup/memory/torc-chaos-{os.getpid()}-{self.node.name}"
        os.makedirs(self.group, exist_ok=True)
        self.row.ledger.add("cgroup", self.group)
        self.node.kill()
        self.node.prefix = ["sh", "-c", f"echo $$ > {self.group}/cgroup.procs; exec \"$@\"", "sh"]
        self.node.start()
        self.node.wait_ready()

    def inject(self):
        self.node.expected_end = True
        with open(f"{self.group}/memory.usage_in_bytes", encoding="ascii") as f:
            usage = int(f.read())
        write(f"{self.group}/memory.limit_in_bytes", str(usage + (256 << 10)))

    def bites(self):
        return not self.node.alive()

    def hold(self):
        time.sleep(0.5)

    def heal(self):
        self.node.kill()
        self.node.prefix = []
        self.node.start()

    def clean_up(self):
        self.node.prefix = []
        if not self.node.alive() or self.healed_at:
            os.rmdir(self.group)


class F21(Row):
    id, title, needs = "F21", "an ingester is killed for its memory", ("root", "netns", "cgroup-memory")
    doses = {"ci": 2, "soak": 30}
    acked_share = 0.02

    def plan(self):
        for _ in range(self.count):
            yield MemoryLimit(self, self.random.choice(self.cluster.ingesters))
            time.sleep(1)

    def figures(self):
        self.check_writes(0.999)


class Starved(Injection):
    """An ingester gets five percent of a core."""

    def __init__(self, row, node):
        super().__init__(row)
        self.node, self.seconds = node, 6 if row.dose == "ci" else 120
        self.group = None

    def inject(self):
        self.group = f"/sys/fs/cgroup/cpu/torc-chaos-{os.getpid()}-{self.node.name}"
        os.makedirs(self.group, exist_ok=True)
        self.row.ledger.add("cgroup", self.group)
        write(f"{self.group}/cpu.cfs_period_us", "100000")
        write(f"{self.group}/cpu.cfs_quota_us", "5000")
        for task in os.listdir(f"/proc/{self.node.pid}/task"):
            write(f"{self.group}/tasks", task)

    def bites(self):
        with open(f"{self.group}/cpu.stat", encoding="ascii") as f:
            return dict(line.split() for line in f)["nr_throttled"] != "0"

    def hold(self):
        self.alive = True
        until = time.monotonic() + self.seconds
        while time.monotonic() < until:
            time.sleep(1)
            self.alive &= self.row.sees(self.node)

    def heal(self):
        write(f"{self.group}/cpu.cfs_quota_us", "-1")
        for task in os.listdir(f"/proc/{self.node.pid}/task"):
            write("/sys/fs/cgroup/cpu/tasks", task)

    def clean_up(self):
        os.rmdir(self.group)


class F24(Row):
    id, title, needs = "F24", "an ingester has five percent of a core", ("root", "netns", "cgroup-cpu")
    doses = {"ci": 2, "soak": 20}

    def sees(self, node):
        """Whether a front takes it for alive."""
        status, body = http(self.cluster.fronts[0].url("/memberlist"), headers={"Accept": "application/json"}, timeout=5)
        return status == 200 and any(i["id"] == node.name and i["health"] == "alive" for i in json.loads(body)["instances"])

    def plan(self):
        for _ in range(self.count):
            yield Starved(self, self.random.choice(self.cluster.ingesters))

    def figures(self):
        self.check_writes(0.999)
        self.check(all(i.alive for i in self.injections), "a starved ingester was taken for dead")
        calm, inside = latencies(self)
        self.note(f"write p99 {1e3 * calm:.0f} ms without, {1e3 * inside:.0f} ms while one ingester starves; it was never taken for dead")


class Gray(Injection):
    """An ingester runs for a tenth of the time: everything it does takes ten times as long."""

    def __init__(self, row, node):
        super().__init__(row)
        self.node, self.seconds = node, 6 if row.dose == "ci" else 120
        self.slices = 0

    def inject(self):
        pass

    def bites(self):
        self.node.signal(signal.SIGSTOP)
        time.sleep(0.09)
        self.node.signal(signal.SIGCONT)
        self.slices += 1
        return True

    def hold(self):
        until = time.monotonic() + self.seconds
        while time.monotonic() < until:
            self.bites()
            time.sleep(0.01)

    def heal(self):
        self.node.signal(signal.SIGCONT)


class F25(Row):
    id, title = "F25", "an ingester is ten times slower"
    doses = {"ci": 2, "soak": 20}

    def plan(self):
        for _ in range(self.count):
            yield Gray(self, self.random.choice(self.cluster.ingesters))

    def figures(self):
        self.check_writes(0.999)
        calm, inside = latencies(self)
        self.check(inside <= 2 * calm + 0.05, f"write p99 {1e3 * inside:.0f} ms with a slow ingester, {1e3 * calm:.0f} ms without")
        self.note(f"write p99 {1e3 * calm:.0f} ms without, {1e3 * inside:.0f} ms with a slow ingester")


def latencies(row):
    """p99 of acknowledged requests outside and inside the time that faults bite, in seconds."""
    bitten = [(i.bit_at or i.began, i.healing) for i in row.injections]
    calm = [a.end - a.begin for a in row.attempts() if a.outcome == "ok" and not load.within([a], row.windows())]
    inside = [a.end - a.begin for a in load.within(row.attempts(), bitten) if a.outcome == "ok"]
    return load.quantile(calm, 0.99), load.quantile(inside, 0.99)


def write(path, text):
    with open(path, "w", encoding="ascii") as f:
        f.write(text)


ROWS = {r.id: r for r in (F1, F1c, F2, F3, F3i, F4, F5, F7, F9, F12, F13, F14, F15, F16, F19, F21, F24, F25)}
# The CI dose of tests/run: what finds most, within six minutes. The others rotate by CHAOS_ROTATION, or are named.
ALWAYS = ["F1", "F2", "F3", "F4", "F7", "F15", "F16", "F19"]
