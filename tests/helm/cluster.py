"""What the rest of a Kubernetes node and its control plane does with the objects of the chart: StatefulSets, Deployments, Services, names. See pods.py.

apply() takes a whole render, as helm does: objects that changed change, those that are gone go. Workloads change as their strategies say; StatefulSets with
OnDelete wait for roll_groups(), which does what rollout-operator does.
"""
import os
import random
import select
import socket
import subprocess
import threading
import time

from pods import Pod, content_of, sh, template_hash

ADDRESS = "10.244"
VIPS = "10.245"


class Proxy(threading.Thread):
    """kube-proxy for one port of one service: each connection to a ready pod."""

    def __init__(self, cluster, service, vip, port):
        super().__init__(daemon=True)
        self.cluster, self.service, self.port = cluster, service, port
        self.listener = socket.create_server((vip, port["port"]), backlog=128)
        self.start()

    def run(self):
        while True:
            client, _ = self.listener.accept()
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def target(self):
        pods = self.cluster.endpoints(self.service)
        if not pods:
            return None
        pod = random.choice(pods)
        ports = {p["name"]: p["containerPort"] for p in pod.container.get("ports", [])}
        return pod.ip, ports.get(self.port["targetPort"], self.port["targetPort"])

    def serve(self, client):
        server = None
        try:
            where = self.target()
            if where:
                server = socket.create_connection(where, timeout=2)
                server.settimeout(None)
                self.pump(client, server)
        except OSError:
            pass
        for s in (client, server):
            if s:
                s.close()

    @staticmethod
    def pump(a, b):
        other = {a: b, b: a}
        while other:
            for s in select.select(list(other), [], [])[0]:
                data = s.recv(1 << 16)
                if data:
                    other[s].sendall(data) if s in other else None
                    continue
                other[s].shutdown(socket.SHUT_WR)
                del other[s]
                break


class Cluster:
    made = 0

    def __init__(self, directory, image, namespace="default", sanitizer_env=None):
        self.dir, self.image, self.namespace = directory, image, namespace
        self.sanitizer_env = sanitizer_env or {}
        self.tag = f"torc-pod-{os.urandom(3).hex()}"
        Cluster.made += 1  # each has addresses of its own: proxies of the one before may still listen
        self.gateway, self.count, self.vips = f"{ADDRESS}.0.1", 1, {}
        self.objects, self.pods, self.trouble = {}, {}, []
        self.lock = threading.RLock()
        self.hosts = os.path.join(directory, "hosts")
        for d in ("pods", "logs", "claims"):
            os.makedirs(os.path.join(directory, d), exist_ok=True)
        open(self.hosts, "w").close()
        sh("ip", "link", "set", "lo", "up")
        sh("ip", "link", "add", "br0", "type", "bridge")
        sh("ip", "addr", "add", f"{self.gateway}/16", "dev", "br0")
        sh("ip", "link", "set", "br0", "up")

    # --- what pods ask for ---

    def next_ip(self):
        with self.lock:
            self.count += 1
            return f"{ADDRESS}.{self.count // 250}.{self.count % 250 + 2}"

    def claim(self, name):
        return os.path.join(self.dir, "claims", name)

    def files_of(self, kind, name):
        return content_of(self.objects[kind, name])

    # --- services and names ---

    def selected(self, selector):
        return [p for p in list(self.pods.values()) if p.ip and all(p.labels.get(k) == v for k, v in selector.items())]

    def endpoints(self, service):
        spec = service["spec"]
        return [p for p in self.selected(spec["selector"]) if not p.terminating and (p.ready or spec.get("publishNotReadyAddresses"))]

    def names_changed(self):
        with self.lock:
            lines = ["127.0.0.1 localhost"]
            for (kind, name), obj in self.objects.items():
                if kind != "Service":
                    continue
                full = f"{name}.{self.namespace}.svc.cluster.local"
                if obj["spec"].get("clusterIP") != "None":
                    lines.append(f"{self.vips[name]} {full} {name}")
                    continue
                for p in self.endpoints(obj):
                    lines.append(f"{p.ip} {full} {name}")
                    if p.owner.get("spec", {}).get("serviceName") == name:
                        lines.append(f"{p.ip} {p.name}.{full}")
            with open(self.hosts, "r+") as f:
                f.write("\n".join(lines) + "\n")
                f.truncate()

    def serve(self, service):
        name = service["metadata"]["name"]
        if service["spec"].get("clusterIP") == "None" or name in self.vips:
            return
        self.vips[name] = vip = f"{VIPS}.{Cluster.made}.{len(self.vips) + 1}"
        sh("ip", "addr", "add", vip + "/32", "dev", "br0")
        for port in service["spec"]["ports"]:
            Proxy(self, service, vip, port)

    # --- apply ---

    def apply(self, docs, timeout=180):
        fresh = {(d["kind"], d["metadata"]["name"]): d for d in docs if "helm.sh/hook" not in d["metadata"].get("annotations", {})}
        before, self.objects = self.objects, fresh
        for (kind, name), d in fresh.items():
            if kind == "Service":
                self.serve(d)
            elif kind in ("ConfigMap", "Secret") and before.get((kind, name)) not in (None, d):
                for p in list(self.pods.values()):
                    p.refresh(kind, name)
        self.names_changed()
        gone = [d for key, d in before.items() if key[0] in ("Deployment", "StatefulSet") and key not in fresh]
        workers = [threading.Thread(target=self.reconcile, args=(d, timeout)) for d in fresh.values() if d["kind"] in ("Deployment", "StatefulSet")]
        workers += [threading.Thread(target=self.scale_down, args=(d, 0)) for d in gone]
        for w in workers:
            w.start()
        for w in workers:
            w.join()

    def pods_of(self, owner):
        key = (owner["kind"], owner["metadata"]["name"])
        return sorted((p for p in list(self.pods.values()) if (p.owner["kind"], p.owner["metadata"]["name"]) == key), key=lambda p: p.name)

    def reconcile(self, owner, timeout):
        try:
            self.deadline = time.monotonic() + timeout
            (self.deployment if owner["kind"] == "Deployment" else self.stateful_set)(owner)
        except Exception as e:  # noqa: BLE001: the thread's word to the test
            self.trouble.append(f"{owner['metadata']['name']}: {type(e).__name__}: {e}")

    def new_pod(self, owner, name, claims=()):
        p = Pod(self, name, owner, owner["spec"]["template"], claims)
        with self.lock:
            self.pods[name] = p
        p.start()
        self.names_changed()
        return p

    def drop(self, pod):
        pod.stop()
        with self.lock:
            if self.pods.get(pod.name) is pod:
                del self.pods[pod.name]
        self.names_changed()

    def wait(self, pods, seconds):
        while not all(p.available(seconds) for p in pods):
            if time.monotonic() > self.deadline:
                raise TimeoutError("not ready: " + " ".join(p.name for p in pods if not p.ready))
            time.sleep(0.05)

    def deployment(self, owner):
        spec = owner["spec"]
        replicas, seconds, want = spec.get("replicas", 1), spec.get("minReadySeconds", 0), template_hash(spec["template"])
        name = owner["metadata"]["name"]
        fresh = [p for p in self.pods_of(owner) if p.hash == want]
        old = [p for p in self.pods_of(owner) if p.hash != want]
        for p in fresh + old:
            p.owner = owner
        strategy = spec["strategy"]["rollingUpdate"]
        assert strategy == {"maxUnavailable": 0, "maxSurge": 1}, "the strategy that this runner knows"
        while len(fresh) < replicas or old:
            # First of all, or one more than there are: then as many old ones go as are too many.
            surge = max(replicas - len(fresh) - len(old), 1) if len(fresh) < replicas else 0
            fresh += [self.new_pod(owner, f"{name}-{want}-{os.urandom(3).hex()[:5]}") for _ in range(surge)]
            self.wait(fresh, seconds)
            while old and len(fresh) + len(old) > replicas:
                self.drop(old.pop())
        for p in fresh[replicas:]:
            self.drop(p)

    def ordinal_pod(self, owner, i):
        name = f"{owner['metadata']['name']}-{i}"
        claims = [{"name": t["metadata"]["name"], "persistentVolumeClaim": {"claimName": f"{t['metadata']['name']}-{name}"}} for t in owner["spec"].get("volumeClaimTemplates", [])]
        return self.new_pod(owner, name, claims)

    def scale_down(self, owner, replicas):
        for p in reversed(self.pods_of(owner)):
            if int(p.name.rsplit("-", 1)[1] if owner["kind"] == "StatefulSet" else 0) >= replicas:
                self.drop(p)

    def stateful_set(self, owner):
        spec = owner["spec"]
        assert spec["podManagementPolicy"] == "Parallel", "the policy that this runner knows"
        self.scale_down(owner, spec["replicas"])
        there = {p.name: p for p in self.pods_of(owner)}
        for p in there.values():
            p.owner = owner
        fresh = [self.ordinal_pod(owner, i) for i in range(spec["replicas"]) if f"{owner['metadata']['name']}-{i}" not in there]
        if spec["updateStrategy"]["type"] == "RollingUpdate":
            for i in reversed(range(spec["replicas"])):
                pod = self.pods[f"{owner['metadata']['name']}-{i}"]
                if pod.hash != template_hash(spec["template"]):
                    self.wait([p for p in self.pods_of(owner) if p is not pod], 0)
                    self.drop(pod)
                    self.wait([self.ordinal_pod(owner, i)], spec.get("minReadySeconds", 0))
        self.wait(fresh, spec.get("minReadySeconds", 0))

    def roll_groups(self, timeout=180):
        """rollout-operator: outdated pods of one StatefulSet of a group at a time, while those of all others are ready."""
        self.deadline = time.monotonic() + timeout
        sets = [d for (kind, _), d in sorted(self.objects.items()) if kind == "StatefulSet" and "rollout-group" in d["metadata"]["labels"]]
        order = []
        for owner in sets:
            assert owner["spec"]["updateStrategy"]["type"] == "OnDelete", "rollout-operator wants OnDelete"
            label = owner["spec"]["template"]["metadata"]["labels"]["name"]
            pods = [p for p in self.pods_of(owner) if p.labels["name"] == label and p.hash != template_hash(owner["spec"]["template"])]
            others = [p for o in sets if o is not owner for p in self.pods_of(o)]
            self.wait(others, 0)
            most = int(owner["metadata"]["annotations"]["rollout-max-unavailable"])
            while pods:
                batch, pods = pods[:most], pods[most:]
                stops = [threading.Thread(target=self.drop, args=(p,)) for p in batch]
                for t in stops:
                    t.start()
                for t in stops:
                    t.join()
                self.wait([self.ordinal_pod(owner, int(p.name.rsplit("-", 1)[1])) for p in batch], 0)
                order += [p.name for p in batch]
        return order

    def run_to_end(self, docs, name=None, timeout=120):
        """A pod that ends, as helm's test hook: (exit code, log)."""
        template = next(d for d in docs if d["kind"] == "Pod" and name in (None, d["metadata"]["name"]))
        p = Pod(self, template["metadata"]["name"], template, {"metadata": template["metadata"], "spec": template["spec"]})
        p.start()
        try:
            code = p.process.wait(timeout)
        except subprocess.TimeoutExpired:
            p.process.kill()
            code = "timeout"
        sh("ip", "netns", "del", p.ns)
        with open(p.log) as f:
            return code, f.read()

    def close(self):
        stops = [threading.Thread(target=self.drop, args=(p,)) for p in list(self.pods.values())]
        for t in stops:
            t.start()
        for t in stops:
            t.join()
        self.objects = {}
