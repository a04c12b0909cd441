#!/usr/bin/python3
"""tests/helm/lint.py BINARY [--update]: the chart by Helm's own lint, every set of values rendered and judged (schemas of Kubernetes, rules.py, torc's own check of the
configuration), bad values refused with words, golden renders. --update writes tests/helm/golden.
"""
import difflib
import pathlib
import subprocess
import sys
import tempfile

import yaml

import chart
import rules
import tools
import validate
from claims import claim, total

BINARY = sys.argv[1]
GOLDEN = pathlib.Path(__file__).resolve().parent / "golden"
VERSIONS = ("1.27", "1.33", "1.36")

# (values, words of the refusal)
BAD = [
    (["mode=cluster"], ["'/mode'", "'single', 'simple', 'zones'"]),
    (["ingester.replica=5"], ["'/ingester'", "'replica' not allowed"]),
    (["ingestor.replicas=5"], ["'ingestor' not allowed"]),
    (["single.replicas=2"], ["'/single/replicas'"]),
    (["distributor.replicas=two"], ["'/distributor/replicas'", "want integer"]),
    (["ingester.replicas=2"], ["'/ingester/replicas'", "got 2, want 3"]),
    (["image.tag=latest"], ["'/image/tag'"]),
    (["image.digest=sha256:12"], ["'/image/digest'", "does not match pattern"]),
    (["mode=zones", "ingester.zones[0].name=a", "ingester.zones[1].name=b"], ["'/ingester/zones'", "got 2, want 3"]),
    (["mode=zones", "ingester.zones[0].name=Zone_A"], ["'/ingester/zones/0/name'", "does not match pattern"]),
    (["mode=zones", "ingester.zones[0].name=zone-b", "ingester.zones[1].name=zone-b", "ingester.zones[2].name=zone-c"], ["ingester.zones: zone-b is there twice"]),
    (["mode=zones", "ring.replicationFactor=5"], ["ring.replicationFactor is 5, but ingester.zones has only 3"]),
    (["ring.replicationFactor=9"], ["'/ring/replicationFactor'", "got 9, want 5"]),
    (["bucket.type=gcs"], ["'/bucket/type'"]),
    (["bucket.type=s3"], ["bucket.s3.bucket names no bucket"]),
    (["bucket.type=s3", "bucket.s3.bucket=b", "bucket.s3.accessKeyId=k"], ["no bucket.s3.secretAccessKey"]),
    (["mode=simple", "bucket.filesystem.accessModes={ReadWriteOnce}"], ["needs ReadWriteMany"]),
    (["bucket.filesystem.size=much"], ["'/bucket/filesystem/size'"]),
    (["ring.store=etcd"], ["ring.etcd.endpoints is empty"]),
    (["ring.store=consul"], ["'/ring/store'"]),
    (["gateway.enabled=true"], ["gateway.parentRefs is empty"]),
    (["tls.http.enabled=true"], ["tls.http.existingSecret names no Secret"]),
    (["mode=zones", "querier.autoscaling.enabled=true", "querier.autoscaling.minReplicas=20"], ["querier.autoscaling: minReplicas is 20, more than maxReplicas 10"]),
    (["runtimeConfig.limits.a=1"], ["'/runtimeConfig'", "'limits' not allowed"]),
    (["ingester.rollout.strategy=Recreate"], ["'/ingester/rollout/strategy'"]),
]


def refused(sets, words):
    try:
        chart.render(sets=sets)
    except chart.Refused as e:
        said = str(e)
        return all(w in said for w in words), said
    return False, "not refused"


def config_right(docs):
    """torc says whether the configuration is right, with the flags of every workload."""
    for d in rules.of(docs, *rules.WORKLOADS):
        c = d["spec"]["template"]["spec"]["containers"][0]
        source = next(x for x in docs if x["metadata"]["name"].endswith("-config") and x["kind"] in ("ConfigMap", "Secret"))
        text = (source.get("data") or source.get("stringData"))["torc.yaml"]
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as f:
            f.write(text)
            f.flush()
            args = [a.replace("/etc/torc/torc.yaml", f.name).replace("$(POD_NAME)", d["metadata"]["name"] + "-0").replace("$(POD_IP)", "10.0.0.1") for a in c["args"]]
            env = {e["name"]: e.get("value", "x") for e in c["env"]}
            done = subprocess.run([BINARY, "config", "check", *args], capture_output=True, text=True, env=env)
            if done.returncode:
                return f"{d['metadata']['name']}: {done.stderr}\n{text}"
    return None


def judge(path):
    name = f"{path.parent.name}/{path.name}"
    docs = chart.render(path)
    for version in VERSIONS:
        found = validate.findings(chart.render(path, kube=version), version)
        claim(f"{name} is right for Kubernetes {version}: {len(docs)} objects", not found, "\n".join(found))
    found = rules.findings(docs)
    claim(f"{name} keeps the rules", not found, "\n".join(found))
    wrong = config_right(docs)
    claim(f"{name}: torc takes the configuration", not wrong, wrong or "")


def golden(path, update):
    file = GOLDEN / path.name
    # What deploy/mixin holds has tests of its own.
    text = chart.text(path, sets=["monitoring.rules.enabled=false", "monitoring.dashboards.enabled=false"])
    if update:
        GOLDEN.mkdir(exist_ok=True)
        file.write_text(text)
    old = file.read_text() if file.exists() else ""
    diff = "".join(list(difflib.unified_diff(old.splitlines(True), text.splitlines(True), "golden", "now"))[:40])
    claim(f"{path.name} renders as it did (tests/helm/lint.py BINARY --update takes a change over)", old == text, diff)


def judges_judge():
    """The schemas and the rules refuse what is wrong."""
    docs = chart.render(chart.CHART / "ci" / "gateway.yaml")
    sts = next(d for d in docs if d["kind"] == "StatefulSet")
    sts["spec"]["replica"] = 3
    route = next(d for d in docs if d["kind"] == "HTTPRoute")
    route["spec"]["rules"][0]["matches"][0]["path"]["type"] = "Nothing"
    found = validate.findings(docs, VERSIONS[0])
    claim("a misspelt field and a wrong word are found", len(found) == 2 and "'replica' was unexpected" in found[0] + found[1], found)
    container = sts["spec"]["template"]["spec"]["containers"][0]
    container["securityContext"] = {"privileged": True}
    container["image"] = "torc:latest"
    docs = [d for d in docs if d["kind"] != "PodDisruptionBudget" or "ingester" not in d["metadata"]["name"]]
    found = rules.findings(docs)
    claim("a privileged container, its tag, and a missing budget are found", sum(w in "\n".join(found) for w in ("privileged", "torc:latest", "PodDisruptionBudgets []")) == 3, found)


def special():
    """What single sets of values promise."""
    zones = chart.render(sets=["mode=zones"])
    sts = [d for d in zones if d["kind"] == "StatefulSet" and "ingester" in d["metadata"]["name"]]
    claim("ingesters of different zones keep off each other's nodes", all(
        d["spec"]["template"]["spec"]["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][0]["labelSelector"]["matchExpressions"][0]["values"]
        == [d["spec"]["selector"]["matchLabels"]["torc/zone"]] for d in sts) and len(sts) == 3)
    claim("rollout-operator knows its labels", all(
        d["metadata"]["labels"]["rollout-group"] == "metrics-torc-ingester" and d["metadata"]["labels"]["grafana.com/prepare-downscale"] == "true"
        and d["metadata"]["annotations"]["grafana.com/prepare-downscale-http-path"] == "ingester/prepare-shutdown"
        and d["spec"]["template"]["metadata"]["labels"]["name"] == d["metadata"]["name"] and d["spec"]["updateStrategy"] == {"type": "OnDelete"} for d in sts))
    more = chart.render(sets=["mode=zones", "ingester.replicasPerZone=2", "querier.replicas=5"])
    claim("scaling restarts nobody", [d["spec"]["template"] for d in more if d["kind"] in rules.WORKLOADS] == [d["spec"]["template"] for d in zones if d["kind"] in rules.WORKLOADS])
    limits = chart.render(sets=["mode=zones", "runtimeConfig.overrides.a.ingestion_rate=5"])
    claim("limits of tenants restart nobody", [d["spec"] for d in limits if d["kind"] in rules.WORKLOADS] == [d["spec"] for d in zones if d["kind"] in rules.WORKLOADS])
    locked = chart.render(chart.CHART / "ci" / "locked-down.yaml")
    pod = {d["metadata"]["labels"]["app.kubernetes.io/component"]: d["spec"]["template"]["metadata"]["labels"] for d in locked if d["kind"] in rules.WORKLOADS}
    claim("clients that are named reach distributors, others do not",
          rules.reaches(locked, {"torc-client": "true"}, pod["distributor"], "http") and not rules.reaches(locked, {"app": "x"}, pod["distributor"], "http"))
    claim("Prometheus's namespace reaches ingesters, another does not",
          rules.reaches(locked, {}, pod["ingester"], "http", {"kubernetes.io/metadata.name": "monitoring"}) and not rules.reaches(locked, {}, pod["ingester"], "http", {"name": "x"}))
    secret = chart.render(chart.CHART / "ci" / "s3-keys.yaml")
    env = [e for d in secret if d["kind"] in rules.WORKLOADS for e in d["spec"]["template"]["spec"]["containers"][0]["env"]]
    claim("keys are in a Secret and in nothing else", sum("secretKeyRef" in e.get("valueFrom", {}) for e in env) == 2 * 3
          and not any("secret-access-key: secret" in yaml.safe_dump(d) for d in secret if d["kind"] != "Secret"))
    routes = next(d for d in chart.render(chart.CHART / "ci" / "gateway.yaml") if d["kind"] == "HTTPRoute")["spec"]["rules"]
    claim("a gateway divides writes from queries", [r["backendRefs"][0]["name"] for r in routes] == ["metrics-torc-distributor", "metrics-torc-querier"])
    notes = chart.text(sets=["mode=zones"], notes=True)
    claim("the notes say where to write and where to query",
          "http://metrics-torc-distributor.monitoring.svc.cluster.local:9009/api/v1/push" in notes and "http://metrics-torc-querier.monitoring.svc.cluster.local:9009/prometheus" in notes)


def monitoring():
    """Dashboards and rules of deploy/mixin come along."""
    everything = ["monitoring.rules.enabled=true", "monitoring.dashboards.enabled=true", "monitoring.serviceMonitor.enabled=true"]
    docs = chart.render(sets=["mode=zones", *everything])
    mixin = tools.TOP / "deploy" / "mixin"
    boards = sorted(p.name for p in mixin.glob("dashboards/*.json"))
    files = sorted(k for d in rules.of(docs, "ConfigMap") for k in d["data"] if k.endswith(".json"))
    claim(f"all {len(boards)} dashboards are ConfigMaps", files == boards, f"{files} of {boards}")
    wanted = [n for n in ("alerts.yaml", "rules.yaml") if (mixin / n).exists()]
    claim(f"all {len(wanted)} files of rules are PrometheusRules", len(rules.of(docs, "PrometheusRule")) == len(wanted))
    found = validate.findings(docs, VERSIONS[-1])
    claim("what monitors is right", not found, "\n".join(found))


def main():
    update = "--update" in sys.argv
    done = subprocess.run([tools.helm(), "lint", "--strict", chart.CHART], capture_output=True, text=True)
    claim("helm lint --strict finds nothing", done.returncode == 0 and "WARNING" not in done.stdout, done.stdout + done.stderr)
    done = subprocess.run([tools.TOP / "tools/chart-docs", "--check"], capture_output=True, text=True)
    claim("the schema and the README are those of values.yaml", done.returncode == 0, done.stdout)
    with tempfile.TemporaryDirectory() as d:
        chart.helm("package", chart.CHART, "-d", d)
        claim("helm package makes a package that renders", lambda: "kind: StatefulSet" in chart.helm("template", "x", next(pathlib.Path(d).glob("*.tgz"))))
    files = sorted(chart.CHART.glob("ci/*.yaml")) + chart.examples()
    claim("there are values enough", len(files) >= 12)
    for path in files:
        judge(path)
    for sets, words in BAD:
        good, said = refused(sets, words)
        claim(f"refused: {' '.join(sets)}", good, said)
    judges_judge()
    special()
    monitoring()
    for path in [p for p in chart.examples() if p.name != "medium.yaml"] + [chart.CHART / "ci" / "locked-down.yaml"]:
        golden(path, update)
    return total()


if __name__ == "__main__":
    sys.exit(main())
