#!/usr/bin/python3
"""tests/helm/others.py BINARY: systemd units by systemd's own checks and their words to the supervisor; the compose file's services run as pods.py runs pods."""
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time

import yaml

import run
import tools
from claims import claim, total
from cluster import Cluster

TOP = tools.TOP
BINARY = os.path.abspath(sys.argv[1])
SYSTEMD = TOP / "deploy" / "systemd"


def unit_lines(name):
    return [line.split("=", 1) for line in (SYSTEMD / name).read_text().splitlines() if re.match(r"[A-Z]\w+=", line)]


def start_command(work, instance):
    """ExecStart of the unit for an instance, its directories below work."""
    command = dict(unit_lines("torc@.service"))["ExecStart"].replace("%i", instance)
    return command.replace("/usr/bin/torc", BINARY).replace("/etc/torc", str(SYSTEMD)).replace("/var/lib/torc", work).split()


def notifies(work):
    """READY=1 once it answers, STOPPING=1 at SIGTERM, exit code 0."""
    path = os.path.join(work, "notify")
    s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    s.bind(path)
    s.settimeout(30)
    with open(os.path.join(work, "log"), "w") as log:
        p = subprocess.Popen(start_command(work, "all"), env={"NOTIFY_SOCKET": path, "PATH": "/usr/bin", "TORC_SERVER_HTTP_LISTEN_PORT": "0", "TORC_SERVER_SHUTDOWN_DELAY": "0",
                                                               "TORC_SERVER_RPC_LISTEN_ADDRESS": "127.0.0.1:0"}, stderr=log)
        said = [s.recv(100)]
        p.terminate()
        said.append(s.recv(100))
    return said == [b"READY=1", b"STOPPING=1"] and p.wait(30) == 0 and os.path.isdir(os.path.join(work, "all", "ingester"))


def systemd(work):
    done = subprocess.run(["systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", SYSTEMD / "torc@.service"], capture_output=True, text=True)
    claim("systemd says that the unit exposes at most 2.0", done.returncode == 0, done.stdout[-400:])
    # verify wants the program to be there.
    unit = pathlib.Path(work) / "torc@all.service"
    unit.write_text((SYSTEMD / "torc@.service").read_text().replace("/usr/bin/torc", BINARY))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True)
    ours = [line for line in done.stderr.splitlines() if "torc" in line]
    claim("systemd understands every line of it", not ours, "\n".join(ours))
    claim("it tells the supervisor READY=1 and STOPPING=1", lambda: notifies(work), lambda: open(os.path.join(work, "log")).read())
    values = dict(line.split("=", 1) for line in (SYSTEMD / "ingester.env").read_text().splitlines() if not line.startswith("#"))
    for f in sorted(SYSTEMD.glob("*.yaml")):
        done = subprocess.run([BINARY, "config", "check", f"--config.file={f}"], capture_output=True, text=True, env=values)
        claim(f"torc takes {f.name}", done.returncode == 0, done.stderr)


def compose_objects(path):
    """A headless Service and a StatefulSet of one for each service of the compose file."""
    compose = yaml.safe_load(path.read_text())
    for name, s in compose["services"].items():
        assert s["read_only"] and s["cap_drop"] == ["ALL"] and s["security_opt"] == ["no-new-privileges:true"], name
        mounts = [v.split(":") for v in s["volumes"]]
        assert {v for v, _ in mounts} <= compose["volumes"].keys()
        labels = {"app.kubernetes.io/component": name}
        yield {"kind": "Service", "metadata": {"name": name}, "spec": {"clusterIP": "None", "publishNotReadyAddresses": True, "selector": labels, "ports": []}}
        pod = {"securityContext": {"runAsUser": 10001, "runAsGroup": 10001, "fsGroup": 10001}, "terminationGracePeriodSeconds": 60,
               "volumes": [{"name": v, "persistentVolumeClaim": {"claimName": v}} for v, _ in mounts],
               "containers": [{"args": s["command"], "securityContext": {"readOnlyRootFilesystem": True}, "ports": [{"name": "http", "containerPort": 9009}],
                               "volumeMounts": [{"name": v, "mountPath": m} for v, m in mounts], "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}, "periodSeconds": 1}}]}
        yield {"kind": "StatefulSet", "metadata": {"name": name, "labels": {}}, "spec": {
            "serviceName": name, "replicas": 1, "podManagementPolicy": "Parallel", "updateStrategy": {"type": "RollingUpdate"},
            "template": {"metadata": {"labels": labels}, "spec": pod}}}


def compose(work, image):
    c = Cluster(os.path.join(work, "compose"), image, "compose", run.SANITIZERS)
    c.apply(list(compose_objects(TOP / "deploy" / "compose" / "compose.yaml")), timeout=60)
    claim("every service of the compose file becomes ready", not c.trouble and len(c.pods) == 5 and all(p.ready for p in c.pods.values()), "\n".join(c.trouble))
    template = {"kind": "Pod", "metadata": {"name": "test"}, "spec": {"securityContext": {"fsGroup": 10001}, "containers": [
        {"args": ["loadgen", "--url=http://front:9009/api/v1/push", "--query-url=http://front:9009/prometheus", "--series=500", "--interval=1s", "--duration=3s", "--quiet", "--verify",
                  "--threshold=samples_failed<=0,lost<=0,wrong<=0"], "securityContext": {"readOnlyRootFilesystem": True}}]}}
    code, log = c.run_to_end([template])
    claim("they take samples and give all of them back", code == 0 and "verify: clean" in log, log)
    c.close()
    claim("they end within their grace", not c.trouble, "\n".join(c.trouble))
    subprocess.run(["ip", "link", "del", "br0"])


def main():
    run.in_namespace()
    work = tempfile.mkdtemp(prefix="torc-others-")
    os.chmod(work, 0o755)
    systemd(work)
    start = time.monotonic()
    compose(work, run.image_root(BINARY))
    print(f"compose: {time.monotonic() - start:.0f} s")
    code = total()
    shutil.rmtree(work)
    return code


if __name__ == "__main__":
    sys.exit(main())
