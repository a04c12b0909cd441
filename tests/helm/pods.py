"""What a kubelet does, for one pod: volumes, environment, a network namespace, the container as a process in the image's root, probes, SIGTERM and grace.

Differences from a real one, on purpose: one container a pod, no image is pulled (the root that deploy/image/build made stands for it), no cgroup and no seccomp
profile, names are /etc/hosts.
"""
import base64
import hashlib
import http.client
import json
import os
import re
import shutil
import signal
import ssl
import subprocess
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
SANDBOX = os.path.join(os.path.dirname(HERE), "image", "sandbox")
ENTRYPOINT = ["/usr/bin/torc"]


def sh(*command):
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def expand(text, env):
    """$(VAR) in command and arguments, $$ is $."""
    return re.sub(r"\$\$|\$\(([A-Za-z_][A-Za-z0-9_]*)\)", lambda m: "$" if m.group(0) == "$$" else env.get(m.group(1), m.group(0)), text)


def template_hash(template):
    return hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()[:10]


def write_projected(path, files):
    """Files of a ConfigMap or Secret as the kubelet lays them: one symlink swap changes all of them."""
    os.makedirs(path, exist_ok=True)
    fresh = f"..{time.time_ns()}"
    os.mkdir(os.path.join(path, fresh))
    for name, content in files.items():
        with open(os.path.join(path, fresh, name), "wb") as f:
            f.write(content)
        if not os.path.lexists(os.path.join(path, name)):
            os.symlink(os.path.join("..data", name), os.path.join(path, name))
    old = os.path.join(path, "..data")
    before = os.readlink(old) if os.path.islink(old) else None
    os.symlink(fresh, old + "_tmp")
    os.rename(old + "_tmp", old)
    if before:
        shutil.rmtree(os.path.join(path, before))


class Pod:
    def __init__(self, cluster, name, owner, template, claims=()):
        self.cluster, self.name, self.owner, self.template = cluster, name, owner, template
        self.hash = template_hash(template)
        self.labels = template["metadata"].get("labels", {})
        self.spec = template["spec"]
        self.container = self.spec["containers"][0]
        assert len(self.spec["containers"]) == 1 and not self.spec.get("initContainers"), f"{name}: one container"
        self.claims = claims
        self.dir = os.path.join(cluster.dir, "pods", name)
        shutil.rmtree(self.dir, ignore_errors=True)
        os.makedirs(self.dir)
        self.log = os.path.join(cluster.dir, "logs", name + ".log")
        self.ip, self.process = None, None
        self.ready, self.ready_since, self.terminating, self.restarts = False, None, False, 0
        self.probing = threading.Thread(target=self.probe_loop, daemon=True)

    # --- volumes, environment ---

    def owned(self, path, mode):
        """As fsGroup asks: the group may write, new files keep it."""
        group = self.spec["securityContext"].get("fsGroup")
        os.makedirs(path, exist_ok=True)
        os.chown(path, 0, group if group is not None else 0)
        os.chmod(path, mode)
        return path

    def volume(self, v):
        path = os.path.join(self.dir, "volumes", v["name"])
        if "emptyDir" in v:
            return self.owned(path, 0o2777)
        if "persistentVolumeClaim" in v:
            return self.owned(self.cluster.claim(v["persistentVolumeClaim"]["claimName"]), 0o2775)
        kind, name = ("ConfigMap", v["configMap"]["name"]) if "configMap" in v else ("Secret", v["secret"]["secretName"])
        write_projected(path, self.cluster.files_of(kind, name))
        return path

    def refresh(self, kind, name):
        """The kubelet's sync of a changed ConfigMap or Secret."""
        for v in self.spec.get("volumes", []):
            if (v.get("configMap") or {}).get("name") == name and kind == "ConfigMap" or (v.get("secret") or {}).get("secretName") == name and kind == "Secret":
                write_projected(os.path.join(self.dir, "volumes", v["name"]), self.cluster.files_of(kind, name))

    def environment(self):
        env = {"PATH": "/usr/bin", "HOSTNAME": self.name}
        fields = {"metadata.name": self.name, "metadata.namespace": self.cluster.namespace, "status.podIP": self.ip}
        for source in self.container.get("envFrom", []):
            ref = source.get("secretRef") or source["configMapRef"]
            for k, content in self.cluster.files_of("Secret" if "secretRef" in source else "ConfigMap", ref["name"]).items():
                env[k] = content.decode()
        for e in self.container.get("env", []):
            if "value" in e:
                env[e["name"]] = expand(e["value"], env)
                continue
            src = e["valueFrom"]
            if "fieldRef" in src:
                env[e["name"]] = fields[src["fieldRef"]["fieldPath"]]
            else:
                ref = src.get("secretKeyRef") or src["configMapKeyRef"]
                env[e["name"]] = self.cluster.files_of("Secret" if "secretKeyRef" in src else "ConfigMap", ref["name"])[ref["key"]].decode()
        return {**env, **self.cluster.sanitizer_env}

    # --- life ---

    def start(self):
        self.ip = self.cluster.next_ip()
        self.ns = f"{self.cluster.tag}-{self.ip.split('.', 2)[2].replace('.', '-')}"
        link = "v" + self.ip.split(".", 2)[2].replace(".", "-")
        sh("ip", "netns", "add", self.ns)
        sh("ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", self.ns)
        sh("ip", "link", "set", link, "master", "br0", "up")
        for command in (f"addr add {self.ip}/16 dev eth0", "link set eth0 up", "link set lo up", f"route add default via {self.cluster.gateway}"):
            sh("ip", "-n", self.ns, *command.split())
        self.run()
        if self.container.get("readinessProbe"):
            self.probing.start()

    def run(self):
        context = {**self.spec["securityContext"], **self.container.get("securityContext", {})}
        volumes = {v["name"]: v for v in self.spec.get("volumes", []) + list(self.claims)}
        binds = [f"{self.cluster.hosts}:/etc/hosts:ro"]
        for m in self.container.get("volumeMounts", []):
            source = self.volume(volumes[m["name"]])
            binds.append(f"{source}:{m['mountPath']}" + (":ro" if m.get("readOnly") else ""))
        env = self.environment()
        args = [expand(a, env) for a in self.container.get("command", ENTRYPOINT) + self.container.get("args", [])]
        command = ["ip", "netns", "exec", self.ns, SANDBOX, "--pid", "--root", self.cluster.image, "--uid", str(context.get("runAsUser") or 10001),
                   "--gid", str(context.get("runAsGroup") or 10001), "--groups", str(context.get("fsGroup") or "")]
        if not context.get("readOnlyRootFilesystem"):
            command.append("--writable")
        for b in binds:
            command += ["--bind", b]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(command + ["--", *args], stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=env, start_new_session=True)

    def inner_pid(self):
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children") as f:
            return int(f.read().split()[0])

    def stop(self):
        """Out of the endpoints and SIGTERM at once, SIGKILL after the grace."""
        self.terminating, self.ready = True, False
        self.cluster.names_changed()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(self.spec.get("terminationGracePeriodSeconds", 30))
        except subprocess.TimeoutExpired:
            self.cluster.trouble.append(f"{self.name}: still there after its grace, killed")
            self.process.kill()
            self.process.wait()
        sh("ip", "netns", "del", self.ns)

    # --- probes ---

    def url_of(self, probe):
        get = probe["httpGet"]
        ports = {p["name"]: p["containerPort"] for p in self.container.get("ports", [])}
        return get.get("scheme", "HTTP"), ports.get(get["port"], get["port"]), get["path"]

    def get(self, path, port=9009, scheme="HTTP", timeout=1.0, method="GET", headers=None):
        tls = ssl.create_default_context()
        tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
        c = http.client.HTTPSConnection(self.ip, port, timeout=timeout, context=tls) if scheme == "HTTPS" else http.client.HTTPConnection(self.ip, port, timeout=timeout)
        try:
            c.request(method, path, headers=headers or {})
            r = c.getresponse()
            return r.status, r.read().decode()
        finally:
            c.close()

    def probe(self, probe):
        scheme, port, path = self.url_of(probe)
        try:
            return 200 <= self.get(path, port, scheme, probe.get("timeoutSeconds", 1))[0] < 400
        except (OSError, http.client.HTTPException):
            return False

    def probe_loop(self):
        startup, readiness, liveness = (self.container.get(k) for k in ("startupProbe", "readinessProbe", "livenessProbe"))
        while not self.terminating:
            self.started(startup)
            failures, dead, ticks = 0, 0, 0
            while not self.terminating and self.process.poll() is None:
                failures = 0 if self.probe(readiness) else failures + 1
                self.set_ready(failures == 0 or self.ready and failures < readiness.get("failureThreshold", 3))
                ticks += readiness.get("periodSeconds", 10)
                if liveness and ticks >= liveness.get("periodSeconds", 10):
                    ticks = 0
                    dead = 0 if self.probe(liveness) else dead + 1
                    if dead >= liveness.get("failureThreshold", 3):
                        self.process.kill()
                time.sleep(readiness.get("periodSeconds", 10))
            self.set_ready(False)
            if not self.terminating:
                self.restarts += 1
                time.sleep(1)
                self.run()

    def started(self, probe):
        for _ in range(probe.get("failureThreshold", 3) if probe else 0):
            if self.terminating or self.process.poll() is not None or self.probe(probe):
                return
            time.sleep(min(0.2, probe.get("periodSeconds", 10)))

    def set_ready(self, ready):
        if self.terminating or ready == self.ready:
            return
        self.ready = ready
        self.ready_since = time.monotonic() if ready else None
        self.cluster.names_changed()

    def available(self, seconds):
        return self.ready and time.monotonic() - self.ready_since >= seconds


def content_of(obj):
    """Files of a ConfigMap or Secret."""
    files = {k: v.encode() for k, v in {**obj.get("data", {}), **obj.get("stringData", {})}.items()}
    if obj["kind"] == "Secret":
        files.update({k: base64.b64decode(v) for k, v in obj.get("data", {}).items()})
    return files
