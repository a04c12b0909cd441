"""As much of the Kubernetes API as kubectl needs to read StatefulSets and pods of a Cluster and to delete pods: discovery, get, list with label selectors, delete.
A deleted pod is stopped and made anew by its StatefulSet, as its controller would."""
import http.server
import json
import os
import threading
from urllib.parse import parse_qs, urlsplit

from pods import template_hash

RESOURCES = {
    "/api": {"kind": "APIVersions", "versions": ["v1"]},
    "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": [
        {"name": "apps", "versions": [{"groupVersion": "apps/v1", "version": "v1"}], "preferredVersion": {"groupVersion": "apps/v1", "version": "v1"}}]},
    "/api/v1": {"kind": "APIResourceList", "groupVersion": "v1", "resources": [
        {"name": "pods", "singularName": "pod", "namespaced": True, "kind": "Pod", "verbs": ["get", "list", "delete"]}]},
    "/apis/apps/v1": {"kind": "APIResourceList", "groupVersion": "apps/v1", "resources": [
        {"name": "statefulsets", "singularName": "statefulset", "namespaced": True, "kind": "StatefulSet", "verbs": ["get", "list"]}]},
}


def pod_object(p):
    labels = {**p.labels, "controller-revision-hash": p.hash}
    meta = {"name": p.name, "namespace": p.cluster.namespace, "labels": labels}
    if p.terminating:
        meta["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "status": {"conditions": [{"type": "Ready", "status": "True" if p.ready else "False"}]}}


def set_object(d):
    return {**d, "metadata": {**d["metadata"], "generation": 1}, "status": {"observedGeneration": 1, "updateRevision": template_hash(d["spec"]["template"])}}


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, cluster):
        super().__init__(("127.0.0.1", 0), Handler)
        self.cluster, self.deleted = cluster, []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def objects(self, kind):
        if kind == "pods":
            return [pod_object(p) for p in list(self.cluster.pods.values())]
        return [set_object(d) for (k, _), d in self.cluster.objects.items() if k == "StatefulSet"]

    def delete(self, name):
        pod = self.cluster.pods[name]
        self.deleted.append(name)
        pod.terminating = True

        def replace():
            self.cluster.drop(pod)
            self.cluster.ordinal_pod(pod.owner, int(name.rsplit("-", 1)[1]))

        threading.Thread(target=replace, daemon=True).start()
        return pod_object(pod)

    def environment(self, directory, programs):
        """For kubectl."""
        path = os.path.join(directory, "kubeconfig")
        with open(path, "w") as f:
            json.dump({"apiVersion": "v1", "kind": "Config", "current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                       "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{self.server_port}"}}], "users": [{"name": "u", "user": {}}]}, f)
        return {"KUBECONFIG": path, "HOME": directory, "PATH": f"{programs}:/usr/bin:/bin"}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, code, obj):
        body = json.dumps(obj).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def parts(self):
        """(kind, name or None, label selector) of a path of this namespace."""
        url = urlsplit(self.path)
        rest = url.path.partition(f"/namespaces/{self.server.cluster.namespace}/")[2].split("/")
        selector = parse_qs(url.query).get("labelSelector", [""])[0]
        return rest[0], rest[1] if len(rest) > 1 else None, dict(t.split("=", 1) for t in selector.split(",") if t)

    def do_GET(self):
        if urlsplit(self.path).path in RESOURCES:
            return self.answer(200, RESOURCES[urlsplit(self.path).path])
        kind, name, selector = self.parts()
        found = [o for o in self.server.objects(kind) if kind in ("pods", "statefulsets") and name in (None, o["metadata"]["name"])
                 and all(o["metadata"]["labels"].get(k) == v for k, v in selector.items())]
        if name is None:
            return self.answer(200, {"apiVersion": "v1", "kind": "PodList" if kind == "pods" else "StatefulSetList", "metadata": {}, "items": found})
        return self.answer(200, found[0]) if found else self.not_found(name)

    def do_DELETE(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        kind, name, _ = self.parts()
        if kind != "pods" or name not in self.server.cluster.pods:
            return self.not_found(name)
        return self.answer(200, self.server.delete(name))

    def not_found(self, name):
        self.answer(404, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "message": f"{name} not found", "code": 404})
