"""Objects against the schemas of their kinds: Kubernetes' own strict ones (no unknown field), Gateway API's and Prometheus operator's validators."""
import functools
import json
import re
import subprocess

import jsonschema

import tools

CUSTOM = {"HTTPRoute": ("gateway-api", "gateway.networking.k8s.io/v1"), "ServiceMonitor": ("prometheus-operator", "monitoring.coreos.com/v1"),
          "PrometheusRule": ("prometheus-operator", "monitoring.coreos.com/v1")}
SCRIPT = """
import { readFileSync } from 'node:fs';
const out = [];
for (const [file, kind, object] of JSON.parse(readFileSync(0))) {
  try { new (await import(file))[kind](object).validate(); out.push(null); } catch (e) { out.push(String(e.message)); }
}
console.log(JSON.stringify(out));
"""


@functools.lru_cache(None)
def definitions(version):
    with open(tools.schemas(version) / "_definitions.json") as f:
        return json.load(f)


@functools.lru_cache(None)
def validator(version, api_version, kind):
    # networking.k8s.io/v1 -> networking-v1
    group = re.sub(r"^([^./]*)(?:[.][^/]*)?/", r"\1-", api_version)
    with open(tools.schemas(version) / f"{kind.lower()}-{group}.json") as f:
        schema = json.load(f)
    store = {"https://kubernetes.io/api/_definitions.json": definitions(version)}
    return jsonschema.Draft202012Validator(schema, resolver=jsonschema.RefResolver("", schema, store=store))


def built_in(obj, version):
    """Findings, as text."""
    try:
        v = validator(version, obj["apiVersion"], obj["kind"])
    except FileNotFoundError:
        return [f"Kubernetes {version} has no {obj['apiVersion']} {obj['kind']}"]
    return [f"{obj['kind']} {obj['metadata']['name']}: {'.'.join(map(str, e.path))}: {e.message[:300]}" for e in v.iter_errors(obj)]


def custom(objects):
    """Findings of all that CUSTOM has, in one run of node."""
    want = []
    for obj in objects:
        package, api_version = CUSTOM[obj["kind"]]
        if obj["apiVersion"] != api_version:
            return [f"{obj['kind']} is {obj['apiVersion']}, not {api_version}"]
        want.append([f"@kubernetes-models/{package}/{api_version}", obj["kind"], obj])
    done = subprocess.run(["node", "--input-type=module", "-e", SCRIPT], input=json.dumps(want), capture_output=True, text=True, cwd=tools.models())
    if done.returncode:
        return [done.stderr]
    return [f"{obj['kind']} {obj['metadata']['name']}: {e}" for obj, e in zip(objects, json.loads(done.stdout)) if e]


def findings(docs, version):
    ours = [d for d in docs if d["kind"] in CUSTOM]
    found = [f for d in docs if d["kind"] not in CUSTOM for f in built_in(d, version)]
    return found + (custom(ours) if ours else [])
