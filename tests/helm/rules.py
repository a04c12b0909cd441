"""What every render has to keep, whatever the values: findings as text, none when all is well."""
import re

WORKLOADS = ("Deployment", "StatefulSet")


def matches(selector, labels):
    if any(labels.get(k) != v for k, v in (selector.get("matchLabels") or {}).items()):
        return False
    for e in selector.get("matchExpressions") or []:
        inside = labels.get(e["key"]) in e.get("values", [])
        if {"In": not inside, "NotIn": inside}[e["operator"]]:
            return False
    return True


def of(docs, *kinds):
    return [d for d in docs if d["kind"] in kinds]


def templates(docs):
    """(name, labels, pod spec) of everything that becomes pods."""
    for d in of(docs, *WORKLOADS):
        yield d["metadata"]["name"], d["spec"]["template"]["metadata"]["labels"], d["spec"]["template"]["spec"]
    for d in of(docs, "Pod"):
        yield d["metadata"]["name"], d["metadata"]["labels"], d["spec"]


def safe_pods(docs):
    for name, _, spec in templates(docs):
        pod = spec["securityContext"]
        if pod.get("runAsNonRoot") is not True or pod.get("seccompProfile") != {"type": "RuntimeDefault"} or pod.get("runAsUser") == 0:
            yield f"{name}: may run as root or without seccomp"
        if spec.get("automountServiceAccountToken") is not False:
            yield f"{name}: has a token of the API"
        for key in ("hostNetwork", "hostPID", "hostIPC"):
            if spec.get(key):
                yield f"{name}: {key}"
        for c in spec["containers"]:
            context = c["securityContext"]
            if context != {"readOnlyRootFilesystem": True, "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}:
                yield f"{name}: {context}"
            if not re.fullmatch(r".+(:[^:/]+|@sha256:[0-9a-f]{64})", c["image"]) or c["image"].endswith(":latest"):
                yield f"{name}: image {c['image']}"
            requests = c["resources"].get("requests", {})
            if not {"cpu", "memory"} <= requests.keys() or "memory" not in c["resources"].get("limits", {}) or "cpu" in c["resources"].get("limits", {}):
                yield f"{name}: wants requests of CPU and memory, a limit of memory and none of CPU: {c['resources']}"


def complete_pods(docs):
    """Mounts have volumes, volumes have objects, ports have names, workloads have probes."""
    there = {(d["kind"], d["metadata"]["name"]) for d in docs}
    for d in of(docs, *WORKLOADS):
        name, spec = d["metadata"]["name"], d["spec"]["template"]["spec"]
        claims = {t["metadata"]["name"] for t in d["spec"].get("volumeClaimTemplates", [])}
        volumes = {v["name"]: v for v in spec["volumes"]}
        c = spec["containers"][0]
        mounted = {m["name"] for m in c["volumeMounts"]}
        if mounted != volumes.keys() | claims:
            yield f"{name}: mounts {sorted(mounted)} of {sorted(volumes.keys() | claims)}"
        for v in volumes.values():
            for kind, key, field in (("ConfigMap", "configMap", "name"), ("Secret", "secret", "secretName")):
                if key in v and v[key][field].startswith("metrics-torc") and (kind, v[key][field]) not in there:
                    yield f"{name}: no {kind} {v[key][field]}"
        if not {"startupProbe", "readinessProbe"} <= c.keys():
            yield f"{name}: probes are missing"
        if spec["terminationGracePeriodSeconds"] <= 40:
            yield f"{name}: no time to drain"
        if "livenessProbe" in c and c["livenessProbe"]["failureThreshold"] * c["livenessProbe"]["periodSeconds"] < 60:
            yield f"{name}: liveness is hasty"


def selectors(docs):
    """Selectors meet their own pods only, and every pod has exactly one PodDisruptionBudget."""
    pods = {d["metadata"]["name"]: d["spec"]["template"]["metadata"]["labels"] for d in of(docs, *WORKLOADS)}
    for d in of(docs, *WORKLOADS):
        name = d["metadata"]["name"]
        hit = {n for n, labels in pods.items() if matches(d["spec"]["selector"], labels)}
        if hit != {name}:
            yield f"{name} selects {sorted(hit)}"
        if d["kind"] == "StatefulSet" and ("Service", d["spec"]["serviceName"]) not in {(s["kind"], s["metadata"]["name"]) for s in docs}:
            yield f"{name}: no service {d['spec']['serviceName']}"
        for t in d["spec"]["template"]["spec"].get("topologySpreadConstraints", []):
            if not matches(t["labelSelector"], pods[name]):
                yield f"{name}: is spread over pods of others"
    for n, labels in pods.items():
        budgets = [b["metadata"]["name"] for b in of(docs, "PodDisruptionBudget") if matches(b["spec"]["selector"], labels)]
        if of(docs, "PodDisruptionBudget") and len(budgets) != 1:
            yield f"{n}: PodDisruptionBudgets {budgets}; an eviction wants exactly one"
        policies = [p["metadata"]["name"] for p in of(docs, "NetworkPolicy") if matches(p["spec"]["podSelector"], labels)]
        if of(docs, "NetworkPolicy") and len(policies) != 1:
            yield f"{n}: NetworkPolicies {policies}"
    for s in of(docs, "Service"):
        hit = [n for n, labels in pods.items() if matches({"matchLabels": s["spec"]["selector"]}, labels)]
        if not hit:
            yield f"service {s['metadata']['name']} has no pods"
    for h in of(docs, "HorizontalPodAutoscaler"):
        target = next((d for d in docs if d["kind"] == h["spec"]["scaleTargetRef"]["kind"] and d["metadata"]["name"] == h["spec"]["scaleTargetRef"]["name"]), None)
        if not target or "replicas" in target["spec"]:
            yield f"{h['metadata']['name']}: its target is missing or has a number of its own"
        if not h["spec"]["metrics"]:
            yield f"{h['metadata']['name']}: no metric"


def names(docs):
    for d in docs:
        name = d["metadata"]["name"]
        # A controller's revision is a label: 63 less a hash of 10 and a dash.
        limit = {"StatefulSet": 52, "Service": 63, "Deployment": 52}.get(d["kind"], 253)
        if len(name) > limit or not re.fullmatch(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?", name):
            yield f"{d['kind']} {name}: {len(name)} characters, at most {limit}"
        for key, value in d["metadata"].get("labels", {}).items():
            if len(str(value)) > 63:
                yield f"{d['kind']} {name}: label {key} is too long"
    keys = [(d["kind"], d["metadata"]["name"]) for d in docs]
    for key in sorted({k for k in keys if keys.count(k) > 1}):
        yield f"{key} is there twice"


def reaches(docs, source, target, port, namespace_labels=None):
    """Would NetworkPolicies let a pod with labels source (in the release's namespace, or in another with namespace_labels) connect to one with target?"""
    policies = [p for p in of(docs, "NetworkPolicy") if matches(p["spec"]["podSelector"], target)]
    if not policies:
        return True

    def peer(f):
        if "namespaceSelector" in f:
            if not matches(f["namespaceSelector"], namespace_labels if namespace_labels is not None else {"kubernetes.io/metadata.name": "monitoring"}):
                return False
        elif namespace_labels is not None:
            return False
        return "podSelector" not in f or matches(f["podSelector"], source)

    return any((not r.get("ports") or any(p["port"] == port for p in r["ports"])) and ("from" not in r or any(peer(f) for f in r["from"]))
               for p in policies for r in p["spec"].get("ingress", []))


def policies(docs):
    pods = {d["metadata"]["name"]: d["spec"]["template"]["metadata"]["labels"] for d in of(docs, *WORKLOADS)}
    stranger = {"app": "other"}
    for n, labels in pods.items():
        for m, other in pods.items():
            if not reaches(docs, other, labels, "rpc"):
                yield f"{m} cannot reach {n}"
        if of(docs, "NetworkPolicy") and (reaches(docs, stranger, labels, "rpc") or reaches(docs, stranger, labels, "rpc", {"name": "x"})):
            yield f"everybody reaches the RPC port of {n}"


ALL = (safe_pods, complete_pods, selectors, names, policies)


def findings(docs):
    return [f for rule in ALL for f in rule(docs)]
