"""The rows of the fault programme that need processes. Rows of torn and flipped bytes and of failing calls inside one process are unit tests (tests/unit/tsdb,
tests/component); README.md says which."""
import time

import load
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
    acked_share = 0.3

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
    acked_share = 0.3
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
        pass

    def heal(self):
        self.node.start()


class F5(Row):
    id, title = "F5", "graceful stop under load"
    doses = {"ci": 5, "soak": 200}

    def plan(self):
        for _ in range(self.count):
            yield Stop(self)

    def figures(self):
        self.check_writes(0.999)
        took = [i.took for i in self.injections]
        self.check(all(i.code == 0 for i in self.injections), f"exit codes {[i.code for i in self.injections]}")
        self.check(max(took) <= 20, f"a stop took {max(took):.1f} s")
        self.note(f"{len(took)} stops, the longest {max(took):.2f} s")


ROWS = {r.id: r for r in (F1, F2, F4, F5)}
