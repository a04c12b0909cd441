"""The chart, rendered by Helm."""
import pathlib
import subprocess

import yaml

import tools

TOP = tools.TOP
CHART = TOP / "helm" / "torc"
RELEASE, NAMESPACE = "metrics", "monitoring"


class Refused(Exception):
    pass


def helm(*args):
    done = subprocess.run([tools.helm(), *map(str, args)], capture_output=True, text=True, cwd=TOP)
    if done.returncode:
        raise Refused(done.stderr + done.stdout)
    return done.stdout


def text(*files, sets=(), kube="1.33", notes=False):
    args = ["install" if notes else "template", RELEASE, CHART, "-n", NAMESPACE]
    args += ["--dry-run=client"] if notes else ["--kube-version", kube]
    for f in files:
        args += ["-f", f]
    for s in sets:
        args += ["--set", s]
    return helm(*args)


def render(*files, sets=(), kube="1.33"):
    return [d for d in yaml.safe_load_all(text(*files, sets=sets, kube=kube)) if d]


def examples():
    return sorted(pathlib.Path(CHART, "examples").glob("*.yaml"))
