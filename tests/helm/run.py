#!/usr/bin/python3
"""tests/helm/run.py BINARY [zones|simple|guarded|single]...: the chart's workloads run, as processes in network namespaces, from the image's root (cluster.py, pods.py), and pass the chart's own test:
mode zones through a changed limit, an upgrade, a scale-up and a crash, under a load that is read back; then modes simple and single, and one process with HTTPS, users
and admin pages apart.
"""
import copy
import ctypes
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from urllib.parse import urlencode

import chart
import tools
from apiserver import Server
from claims import claim, total
from cluster import Cluster

TOP = chart.TOP
# Short times; the sanitizers need more memory and time than a release build.
FAST = ["probes.readiness.periodSeconds=1", "config.server.shutdown-delay=1s", "test.duration=3s", "test.series=500", "runtimeConfig.overrides.anonymous.max_sample_age=0"]
SANITIZERS = {k: v for k, v in {"ASAN_OPTIONS": "abort_on_error=0", "UBSAN_OPTIONS": "print_stacktrace=1"}.items()}


def in_namespace():
    """This process goes into a network namespace of its own, which is the node's, and into a PID namespace, so that nothing outlives it."""
    if os.environ.get("TORC_HELM_NODE"):
        return
    node = f"torc-node-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", node], check=True)
    command = ["ip", "netns", "exec", node, "unshare", "--pid", "--fork", "--kill-child", "--mount-proc", sys.executable, *sys.argv]
    libc = ctypes.CDLL(None)
    code = subprocess.run(command, env={**os.environ, "TORC_HELM_NODE": node}, preexec_fn=lambda: libc.prctl(1, signal.SIGKILL, 0, 0, 0)).returncode
    subprocess.run(["ip", "netns", "del", node])
    sys.exit(code)


def image_root(binary):
    out = TOP / "build" / "helm-image"
    subprocess.run([TOP / "deploy/image/build", "--root-only", "--no-strip", "--binary", binary, "--out", out], check=True, stdout=subprocess.DEVNULL)
    return str(out / "root")


def status_of(pid):
    with open(f"/proc/{pid}/status") as f:
        return dict(line.rstrip("\n").split(":\t", 1) for line in f)


def confined(pod):
    s = status_of(pod.inner_pid())
    caps = [s[k] for k in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")]
    return s["Uid"].split() == ["10001"] * 4 and not any(int(c, 16) for c in caps) and s["NoNewPrivs"] == "1" and s["NSpid"].split()[-1] == "1"


def load(docs, name, *args):
    """A pod like the chart's test, with other arguments after its own."""
    pod = copy.deepcopy(next(d for d in docs if d["kind"] == "Pod"))
    pod["metadata"]["name"] = name
    pod["spec"]["containers"][0]["args"] += list(args)
    return pod


def roll_zones(cluster, directory):
    """deploy/kubernetes/roll-zones with a real kubectl: (exit code, what it said, pods in the order of their deletion, the most zones that were incomplete at once)."""
    server = Server(cluster)
    env = server.environment(directory, os.path.dirname(tools.kubectl()))
    away, done = [0], threading.Event()

    def watch():
        while not done.is_set():
            pods = [p for p in list(cluster.pods.values()) if p.labels["app.kubernetes.io/component"] == "ingester"]
            whole = {p.labels["torc/zone"] for p in pods if p.ready}
            away[0] = max(away[0], 3 - len(whole))
            time.sleep(0.02)

    threading.Thread(target=watch, daemon=True).start()
    script = subprocess.run([TOP / "deploy/kubernetes/roll-zones", "metrics-torc", cluster.namespace, "60"], capture_output=True, text=True, env=env)
    done.set()
    server.shutdown()
    return script.returncode, script.stdout + script.stderr, server.deleted, away[0]


def until(seconds, holds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if holds():
            return True
        time.sleep(0.1)
    return False


def query(cluster, role, tenant, text):
    """A number from the first ready pod of a role."""
    pod = next(p for p in cluster.pods.values() if p.ready and p.labels["app.kubernetes.io/component"] == role)
    status, body = pod.get("/prometheus/api/v1/query?" + urlencode({"query": text}), timeout=10, headers={"X-Scope-OrgID": tenant})
    result = json.loads(body)["data"]["result"] if status == 200 else []
    return float(result[0]["value"][1]) if result else None


class Scene:
    """One mode, from installation to removal."""

    def __init__(self, image, work, name, *files, sets=()):
        self.dir = os.path.join(work, name)
        self.files, self.sets = files, list(sets) + FAST
        self.cluster = Cluster(self.dir, image, chart.NAMESPACE, SANITIZERS)
        self.name, self.tests, self.extra = name, 0, []

    def apply(self, *sets):
        self.sets += sets
        self.docs = chart.render(*self.files, sets=self.sets)
        self.cluster.apply(self.docs + self.extra)
        return self.well()

    def well(self):
        return not self.cluster.trouble and all(p.ready for p in self.cluster.pods.values())

    def trouble(self):
        logs = []
        for p in self.cluster.pods.values():
            if not p.ready:
                with open(p.log) as f:
                    logs.append(f"{p.name} is not ready: {''.join(f.readlines()[-4:])}")
        return "\n".join(self.cluster.trouble + logs)

    def helm_test(self):
        self.tests += 1
        pod = load(self.docs, f"test-{self.tests}", f"--seed={self.tests}")
        code, log = self.cluster.run_to_end([pod])
        self.log = f"exit code {code}\n{log}"
        return code == 0 and "verify: clean" in log

    def end(self):
        self.cluster.close()
        logs = [os.path.join(self.dir, "logs", n) for n in sorted(os.listdir(os.path.join(self.dir, "logs")))]
        bad = subprocess.run(["grep", "-lE", "AddressSanitizer|runtime error|assertion failed", *logs], capture_output=True, text=True).stdout
        claim(f"{self.name}: every process ended within its grace", not self.cluster.trouble, "\n".join(self.cluster.trouble))
        claim(f"{self.name}: no process broke", not bad, bad)
        subprocess.run(["ip", "link", "del", "br0"])


def zones(image, work):
    s = Scene(image, work, "zones", sets=["mode=zones"])
    c = s.cluster
    claim("zones: every pod becomes ready", lambda: s.apply(), s.trouble)
    roles = sorted(p.labels["app.kubernetes.io/component"] for p in c.pods.values())
    claim("zones: two distributors, two queriers, an ingester a zone, a compactor", roles == ["compactor"] + ["distributor"] * 2 + ["ingester"] * 3 + ["querier"] * 2, roles)
    claim("zones: they run as 10001, as process 1, without capabilities and new privileges", lambda: all(confined(p) for p in c.pods.values()))
    claim("zones: the chart's test passes", s.helm_test, lambda: s.log)

    pids = {p.name: p.inner_pid() for p in c.pods.values()}
    claim("zones: a limit of a tenant changes", lambda: s.apply("runtimeConfig.overrides.team-a.max_query_series=12345"), s.trouble)
    claim("zones: every process takes it over", lambda: until(15, lambda: all("12345" in p.get("/runtime_config")[1] for p in c.pods.values())))
    claim("zones: without a restart", {p.name: p.inner_pid() for p in c.pods.values()} == pids)

    # An upgrade under load: 40 s of samples, all of which are read back.
    writer = {}
    pod = load(s.docs, "writer", "--series=300", "--duration=45s", "--seed=77", "--timeout=5s")
    thread = threading.Thread(target=lambda: writer.update(zip(("code", "log"), c.run_to_end([pod], timeout=170))))
    thread.start()
    time.sleep(2)
    claim("zones: a changed option rolls what is stateless", lambda: s.apply("config.querier.max-concurrent=17"), s.trouble)
    code, said, order, away = roll_zones(c, s.dir)
    claim("zones: roll-zones restarts the ingesters, a zone at a time", code == 0 and len(order) == 3 and order == sorted(order) and away == 1, f"{said}{order} {away}")
    claim("zones: and then has nothing to do", lambda: roll_zones(c, s.dir)[1].count("up to date") == 3)
    claim("zones: all pods are new and ready", lambda: s.well() and not {p.name: p.inner_pid() for p in c.pods.values()}.items() & pids.items(), s.trouble)
    claim("zones: they have the option", lambda: all("max-concurrent: 17" in p.get("/config")[1] for p in c.pods.values() if p.ready))
    thread.join()
    claim("zones: a client that wrote meanwhile lost nothing and was refused nothing", writer.get("code") == 0 and "verify: clean" in writer["log"], lambda: writer["log"])

    before = query(c, "querier", "helm-test", "count(last_over_time({__name__!=\"\"}[10m]))")
    claim("zones: more distributors and queriers", lambda: s.apply("distributor.replicas=3", "querier.replicas=3") and len(c.pods) == 10, s.trouble)
    claim("zones: the chart's test passes after that", s.helm_test, lambda: s.log)
    after = query(c, "querier", "helm-test", "count(last_over_time({__name__!=\"\"}[10m]))")
    claim("zones: what was there is there", before and after and after >= before, f"{before}, then {after}")

    s.apply("config.querier.max-concurrent=18")
    claim("zones: rollout-operator would do so too", lambda: c.roll_groups() == order and s.well(), s.trouble)
    victim = next(p for p in c.pods.values() if p.name.endswith("zone-b-0"))
    os.kill(victim.inner_pid(), 9)
    claim("zones: a killed ingester is started again", lambda: until(20, lambda: victim.restarts == 1 and victim.ready), s.trouble)
    claim("zones: the chart's test passes again", s.helm_test, lambda: s.log)
    claim("zones: fewer queriers", lambda: s.apply("querier.replicas=1") and len(c.pods) == 8, s.trouble)
    s.end()


def plain(image, work, mode, sets, pods):
    s = Scene(image, work, mode, sets=sets)
    claim(f"{mode}: every pod becomes ready", lambda: s.apply(), s.trouble)
    claim(f"{mode}: they are as many as the values say", len(s.cluster.pods) == pods, sorted(s.cluster.pods))
    claim(f"{mode}: the chart's test passes", s.helm_test, lambda: s.log)
    claim(f"{mode}: a changed option restarts all, one at a time", lambda: s.apply("config.querier.max-concurrent=17"), s.trouble)
    claim(f"{mode}: the chart's test passes after that", s.helm_test, lambda: s.log)
    s.end()


USERS = """
users:
  - {name: scraper, token: token-of-the-scraper, roles: [metrics]}
  - {name: oncall, token: token-of-the-oncall, roles: [admin]}
"""


def guarded(image, work):
    """HTTPS, users and a port for admin pages."""
    s = Scene(image, work, "guarded", sets=["mode=single", "tls.http.enabled=true", "tls.http.existingSecret=cert", "auth.existingSecret=users", "admin.separatePort=true"])
    pem = [os.path.join(s.dir, n) for n in ("tls.key", "tls.crt")]
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=torc", "-keyout", pem[0], "-out", pem[1]],
                   check=True, stderr=subprocess.DEVNULL)
    s.extra = [{"kind": "Secret", "metadata": {"name": "cert"}, "stringData": {os.path.basename(f): open(f).read() for f in pem}},
               {"kind": "Secret", "metadata": {"name": "users"}, "stringData": {"users.yaml": USERS}}]
    claim("guarded: the pod becomes ready, by HTTPS", lambda: s.apply(), s.trouble)
    pod = next(iter(s.cluster.pods.values()))

    def code(path, port=9009, token=None):
        token = token and "token-of-the-" + token
        return pod.get(path, port, "HTTPS", 5, headers={"Authorization": f"Bearer {token}"} if token else {})[0]

    claim("guarded: /metrics is for users with the role", lambda: [code("/metrics"), code("/metrics", token="oncall"), code("/metrics", token="scraper")] == [401, 403, 200])
    claim("guarded: admin pages are on their own port", lambda: [code("/ingester/tenants", 9009, "oncall"), code("/ingester/tenants", 9010, "oncall")] == [404, 200],
          lambda: [code("/ingester/tenants", 9009, "oncall"), code("/ingester/tenants", 9010, "oncall")])
    s.end()


def main():
    in_namespace()
    work = tempfile.mkdtemp(prefix="torc-helm-")
    os.chmod(work, 0o755)
    image = image_root(sys.argv[1])
    for f in pathlib.Path(image).rglob("*"):
        assert f.name not in ("sh", "bash", "dash"), "the image has a shell"
    scenes = {
        "zones": lambda: zones(image, work),
        "simple": lambda: plain(image, work, "simple", ["mode=simple"], 6),
        "guarded": lambda: guarded(image, work),
        "single": lambda: plain(image, work, "single", ["mode=single"], 1),
    }
    for name in sys.argv[2:] or scenes:
        start = time.monotonic()
        scenes[name]()
        print(f"{name}: {time.monotonic() - start:.0f} s", flush=True)
    code = total()
    if code == 0:
        shutil.rmtree(work)
    else:
        print(f"logs: {work}")
    return code


if __name__ == "__main__":
    sys.exit(main())
