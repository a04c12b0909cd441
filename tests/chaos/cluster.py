"""torc as it runs in earnest, small: three zones with a front (distributor and querier) and an ingester each, one compactor; every process in a network
namespace with an address of its own. Knows who was ended by us: any other end is a crash and fails the row."""
import os
import signal
import subprocess
import sys
import time

from machine import alive, die_with_parent, state

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "interop"))
from procs import ROOT, http, say, wait_until  # noqa: E402

BINARY = os.environ.get("TORC_BINARY") or os.path.join(os.environ.get("TORC_CHAOS_BUILD", os.path.join(ROOT, "build/release")), "app/torc")
HTTP, RPC, ZONES = 8080, 9095, 3
FLAGS = ["--limits.max_sample_age=0", "--limits.ingestion_rate=0", "--limits.request_rate=0", "--limits.query_request_rate=0",
         "--limits.label_request_rate=0", "--limits.other_request_rate=0", "--ingester.image-log-bytes=4MiB", "--compactor.interval=1h",
         "--compactor.settle=0s"]
BAD = ("assertion failed", "Sanitizer", "runtime error:", "terminate called")


class Node:
    def __init__(self, cluster, name, target, zone):
        self.cluster, self.name, self.target, self.zone = cluster, name, target, zone
        self.ns, self.address = cluster.net.add(name)
        self.data = os.path.join(cluster.dir, "data", name)
        self.log_path = os.path.join(cluster.dir, name + ".log")
        self.child, self.expected_end, self.prefix, self.env, self.flags = None, False, [], {}, []
        os.makedirs(self.data, exist_ok=True)

    def url(self, path=""):
        return f"http://{self.address}:{HTTP}{path}"

    @property
    def pid(self):
        return self.child.pid if self.child else None

    def start(self):
        argv = [*self.prefix, BINARY, f"--target={self.target}", f"--instance.id={self.name}", f"--instance.zone={self.zone}",
                f"--server.http-listen-address={self.address}", f"--server.http-listen-port={HTTP}", f"--server.rpc-listen-address={self.address}:{RPC}",
                f"--ring.seeds={self.cluster.seeds()}", f"--data-dir={self.data}", f"--bucket.url=filesystem://{self.cluster.bucket}",
                *FLAGS, *self.cluster.flags, *self.flags]
        with open(self.log_path, "ab") as log:
            self.child = subprocess.Popen(["nsenter", f"--net=/run/netns/{self.ns}", *argv], stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=self.cluster.dir,
                                          env={**os.environ, **self.env}, preexec_fn=die_with_parent)
        self.expected_end = False
        self.cluster.ledger.add("pid", self.child.pid, self.data)

    def alive(self):
        return self.child is not None and self.child.poll() is None and alive(self.child.pid)

    def signal(self, number):
        self.child.send_signal(number)

    def kill(self):
        """kill -9, and waits until its last thread is gone."""
        if self.child is None:
            return
        self.expected_end = True
        self.child.kill()
        self.child.wait()
        self.cluster.ledger.drop("pid", self.child.pid, self.data)

    def stop(self, seconds=60):
        """SIGTERM; how long it took, and its exit code."""
        self.expected_end = True
        began = time.monotonic()
        self.child.terminate()
        code = self.child.wait(seconds)
        self.cluster.ledger.drop("pid", self.child.pid, self.data)
        return time.monotonic() - began, code

    def stopped(self):
        return state(self.pid) == "T"

    def crashed(self):
        return self.child is not None and not self.expected_end and self.child.poll() is not None

    def get(self, path, timeout=5, **params):
        return http(self.url(path), params or None, timeout=timeout)

    def post(self, path, timeout=60):
        return http(self.url(path), data=b"", timeout=timeout)

    def ready(self):
        try:
            return self.alive() and self.get("/ready", timeout=2)[0] == 200
        except OSError:
            return False

    def wait_ready(self, seconds=60):
        """Seconds it took. RuntimeError when it ends or does not come."""
        began = time.monotonic()

        def fine():
            if self.crashed():
                raise RuntimeError(f"{self.name} has ended with {self.child.returncode}: {self.log()[-1500:]}")
            return self.ready()
        wait_until(f"{self.name} is ready: {self.log_path}", seconds, fine)
        return time.monotonic() - began

    def metric(self, name, labels=""):
        """Sum of the children whose text holds labels; None when nobody answers."""
        try:
            status, body = self.get("/metrics", timeout=3)
        except OSError:
            return None
        if status != 200:
            return None
        return sum(float(line.rsplit(" ", 1)[1]) for line in body.decode().splitlines() if line.startswith((name + "{", name + " ")) and labels in line)

    def log(self):
        try:
            with open(self.log_path, encoding="utf-8", errors="replace") as f:
                return f.read()
        except OSError:
            return ""


class Cluster:
    def __init__(self, directory, net, ledger, flags=()):
        self.dir, self.net, self.ledger, self.flags = directory, net, ledger, list(flags)
        self.bucket = os.path.join(directory, "bucket")
        os.makedirs(self.bucket)
        zones = range(1, ZONES + 1)
        self.ingesters = [Node(self, f"ingester-{z}", "ingester", f"zone-{z}") for z in zones]
        self.fronts = [Node(self, f"front-{z}", "distributor,querier", f"zone-{z}") for z in zones]
        self.compactor = Node(self, "compactor", "compactor", "zone-1")
        self.nodes = [*self.ingesters, *self.fronts, self.compactor]

    def seeds(self):
        return ",".join(f"{self.net.address(n)}:{RPC}" for n in ("ingester-1", "ingester-2", "front-3"))

    def zone(self, z):
        """Front and ingester of a zone, from 0."""
        return [self.ingesters[z], self.fronts[z]]

    def up(self):
        for n in self.nodes:
            n.start()
        for n in self.nodes:
            n.wait_ready()
        wait_until("every front sees three owners", 30, self.whole)

    def whole(self):
        """Every process is ready and every front sees all members active."""
        return all(n.ready() for n in self.nodes) and all(self.members(f) for f in self.fronts)

    def members(self, front):
        status, body = http(front.url("/memberlist"), headers={"Accept": "application/json"}, timeout=3)
        return status == 200 and body.count(b'"health":"alive"') >= len(self.nodes)

    def down(self):
        for n in self.nodes:
            n.kill()

    def restart_all(self):
        self.down()
        self.up()

    def flush(self):
        for n in self.ingesters:
            status, body = n.post("/ingester/flush", timeout=120)
            if status != 200:
                raise RuntimeError(f"flush of {n.name}: {status} {body[:300]}")

    def compact(self):
        status, body = self.compactor.post("/compactor/run", timeout=300)
        if status != 200:
            raise RuntimeError(f"compaction: {status} {body[:300]}")

    def complaints(self, allowed=()):
        """Crashes, and what no log may have."""
        out = [f"{n.name} ended by itself with {n.child.returncode}: {n.log()[-600:]}" for n in self.nodes if n.crashed()]
        for n in self.nodes:
            lines = [line for line in n.log().splitlines() if any(b in line for b in BAD) and not any(a in line for a in allowed)]
            out += [f"{n.name}: {line}" for line in lines[:3]]
        return out


__all__ = ["BINARY", "Cluster", "Node", "ROOT", "http", "say", "signal", "wait_until"]
