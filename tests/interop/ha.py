#!/usr/bin/env python3
"""tests/interop/ha.py: two real Prometheus servers (Debian's 2.42) scrape the same targets with the external labels of an HA pair and write to a torc cluster, each
to a distributor of its own. The followed one is killed and revived in turn, once for less than the failover timeout; a distributor is killed too. What is stored must
be what one healthy server would have sent: no gap over an interval, nothing twice, no interleaving outside of the outages. Before that, by hand: each protocol,
mixed requests, too many clusters. HA_ROUNDS: kills with a failover (default 2). Ends with "N passed, N failed"."""
import json
import os
import sys
import time

import remote_write as rw
from procs import BINARY, Api, Cases, Scratch, free_port, http, say, wait_until

ROUNDS = int(os.environ.get("HA_ROUNDS", "2"))
INTERVAL_S, FAILOVER_S = 2, 12
SLACK_S = 0.4  # scrapes on a busy machine
CONFIG = """
global: {{scrape_interval: {interval}s, scrape_timeout: {interval}s, external_labels: {{cluster: pair, __replica__: {replica}}}}}
scrape_configs:
- {{job_name: node, static_configs: [{{targets: ["127.0.0.1:{node}"]}}]}}
- {{job_name: torc, static_configs: [{{targets: ["127.0.0.1:{torc}"]}}]}}
remote_write:
- url: {push}
  queue_config: {{batch_send_deadline: 500ms, max_backoff: 500ms}}
"""
OVERRIDES = """
overrides:
  few: {ha_max_clusters: 2}
  named: {ha_cluster_label: team, ha_replica_label: member}
  off: {accept_ha_samples: false}
"""
PROTO = "application/x-protobuf"


# --- by hand ---

def request1(rows):
    return rw.snappy(b"".join(rw.series(ls, rw.sample(t, float(v))) for ls, t, v in rows)), rw.HEADERS


def request2(rows):
    symbols, out = [""], b""

    def ref(text):
        if text not in symbols:
            symbols.append(text)
        return rw.varint(symbols.index(text))

    for ls, t, v in rows:
        refs = b"".join(ref(n) + ref(ls[n]) for n in sorted(ls))
        out += rw.field_bytes(5, rw.field_bytes(1, refs) + rw.field_bytes(2, rw.field_double(1, float(v)) + rw.field_varint(2, t)))
    out = b"".join(rw.field_bytes(4, s.encode()) for s in symbols) + out
    return rw.snappy(out), {"Content-Type": PROTO + ";proto=io.prometheus.write.v2.Request", "Content-Encoding": "snappy",
                            "X-Prometheus-Remote-Write-Version": "2.0.0"}


def request_otlp(rows):
    metrics = [{"name": ls["__name__"], "gauge": {"dataPoints": [
        {"timeUnixNano": str(t * 1000000), "asDouble": v, "attributes": [{"key": k, "value": {"stringValue": x}} for k, x in ls.items() if k != "__name__"]}]}}
        for ls, t, v in rows]
    body = {"resourceMetrics": [{"scopeMetrics": [{"scope": {"name": "s"}, "metrics": metrics}]}]}
    return json.dumps(body).encode(), {"Content-Type": "application/json"}


PROTOCOLS = {"rw1": ("/api/v1/push", request1), "rw2": ("/api/v1/push", request2), "otlp": ("/otlp/v1/metrics", request_otlp)}


def send(cluster, tenant, protocol, rows):
    path, make = PROTOCOLS[protocol]
    data, headers = make(rows)
    return http(cluster.url("front", path), data=data, headers={**headers, "X-Scope-OrgID": tenant})


def row(name, t, v, **labels):
    return {"__name__": name, **labels}, t, v


def replica(which, cluster="c"):
    return {"cluster": cluster, "__replica__": which}


def stored(cluster, tenant, selector):
    """{labels as text: [values]}"""
    result = Api(cluster.url("front", "/prometheus"), tenant).data("query", query=f"{selector}[10m]")["result"]
    return {json.dumps(s["metric"], sort_keys=True): [float(v) for _, v in s["values"]] for s in result}


def by_hand(cluster, cases):
    now = int(time.time() * 1000)
    for protocol in PROTOCOLS:
        tenant = "hand-" + protocol
        a, b = send(cluster, tenant, protocol, [row("m", now, 1, **replica("a"))]), send(cluster, tenant, protocol, [row("m", now + 1, 2, **replica("b"))])
        cases.check(f"{protocol}: the followed replica is stored", a[0] in (200, 204), a)
        cases.check(f"{protocol}: the other one is answered with success", b[0] == (200 if protocol == "otlp" else 202), b)
        mixed = [row("m", now + 2, 3, **replica("b")), row("m", now + 3, 4, **replica("a")), row("m", now + 4, 5, cluster="c"),
                 row("m", now + 5, 6, __replica__="b"), row("n", now + 6, 7, **replica("b", "d")), row("m", now + 7, 8, **replica("b"))]
        got = send(cluster, tenant, protocol, mixed)
        cases.check(f"{protocol}: a request that mixes replicas is judged by series", got[0] in (200, 204), got)
        want = {json.dumps({"__name__": "m", "cluster": "c"}): [1, 4, 5], json.dumps({"__name__": "m", "__replica__": "b"}, sort_keys=True): [6],
                json.dumps({"__name__": "n", "cluster": "d"}): [7]}
        seen = stored(cluster, tenant, '{__name__=~"m|n"}')
        cases.check(f"{protocol}: what the followed ones sent is stored without the replica's label", seen == want, seen, want)


def limits_by_hand(cluster, cases):
    now = int(time.time() * 1000)
    for n, want in ((1, 204), (2, 204), (3, 400), (1, 204)):
        status, body = send(cluster, "few", "rw1", [row("m", now + n, n, **replica("a", f"c{n}"))])
        cases.check(f"cluster {n} of at most 2", status == want and (want == 204 or b"too_many_ha_clusters" in body and b"limit: 2, ha_max_clusters" in body), status, body)
    mixed = send(cluster, "few", "rw1", [row("x", now, 1, **replica("a", "c9")), row("x", now, 2, plain="yes")])
    cases.check("of a request with an unknown cluster the rest is stored", mixed[0] == 400 and b"1 of 2 samples" in mixed[1] and len(stored(cluster, "few", "x")) == 1, mixed)
    long = send(cluster, "few", "rw1", [row("m", now, 1, **replica("r" * 257, "c1"))])
    cases.check("a replica's name has a limit", long[0] == 400 and b"__replica__" in long[1] and b"257 bytes" in long[1], long)
    for which, want in (("a", 204), ("b", 202)):
        status, body = send(cluster, "named", "rw1", [row("m", now, 1, team="t", member=which)])
        cases.check(f"labels by other names, {which}", status == want, status, body)
    cases.check("only that label is removed", list(stored(cluster, "named", "m")) == [json.dumps({"__name__": "m", "team": "t"})], stored(cluster, "named", "m"))
    for which in "ab":
        send(cluster, "off", "rw1", [row("m", now, 1, **replica(which))])
    cases.check("switched off: both are stored as they are", len(stored(cluster, "off", "m")) == 2, stored(cluster, "off", "m"))


def failover_by_hand(cluster, cases):
    """Held by the distributor, then in the gap: of every protocol."""
    start = int(time.time() * 1000)
    for protocol in PROTOCOLS:
        for i in range(10):
            send(cluster, "fill-" + protocol, protocol, [row("m", start - 20000 + i * 1000, i, **replica("a"))])
        for i in range(15):
            send(cluster, "fill-" + protocol, protocol, [row("m", start - 20000 + i * 1000 + 500, 100 + i, **replica("b"))])
    time.sleep(FAILOVER_S + 1)
    for protocol in PROTOCOLS:
        status, body = send(cluster, "fill-" + protocol, protocol, [row("m", int(time.time() * 1000), 200, **replica("b"))])
        cases.check(f"{protocol}: the other one is followed after the timeout", status in (200, 204), status, body)
    want = [*range(10), *range(109, 115), 200]
    for protocol in PROTOCOLS:
        series = json.dumps({"__name__": "m", "cluster": "c"})
        try:
            wait_until("the fill", 10, lambda p=protocol: stored(cluster, "fill-" + p, "m").get(series) == want)
            cases.check(f"{protocol}: what it sent before fills the gap alone", True)
        except RuntimeError:
            cases.check(f"{protocol}: what it sent before fills the gap alone", False, stored(cluster, "fill-" + protocol, "m"), want)


# --- two servers ---

class Pair:
    def __init__(self, scratch, cluster):
        self.scratch, self.cluster = scratch, cluster
        self.http2, self.rpc2 = free_port(), free_port()
        self.ports = {}
        self.start_front2()
        node = free_port()
        scratch.start("node_exporter", "prometheus-node-exporter", "--no-collector.systemd", f"--web.listen-address=127.0.0.1:{node}")
        for name, push in (("a", cluster.url("front", "/api/v1/push")), ("b", f"http://127.0.0.1:{self.http2}/api/v1/push")):
            self.ports[name] = free_port()
            with open(scratch.path(f"prometheus-{name}.yml"), "w", encoding="ascii") as f:
                f.write(CONFIG.format(interval=INTERVAL_S, replica=name, node=node, torc=cluster.port + 1, push=push))
            self.start(name)

    def start_front2(self):
        c = self.cluster
        self.scratch.start("front-2", BINARY, "--target=distributor", "--instance.id=front-2", "--instance.zone=zone-1", "--server.http-listen-address=127.0.0.1",
                           f"--server.http-listen-port={self.http2}", f"--server.rpc-listen-address=127.0.0.1:{self.rpc2}",
                           f"--ring.seeds=127.0.0.1:{c.port + 101},127.0.0.1:{c.port + 100}", f"--data-dir={self.scratch.path('front-2')}",
                           f"--bucket.url=filesystem://{c.bucket}", *c.flags)
        wait_until("front-2", 60, lambda: http(f"http://127.0.0.1:{self.http2}/ready")[0] == 200)

    def start(self, name):
        self.scratch.start("prometheus-" + name, "prometheus", f"--config.file={self.scratch.path(f'prometheus-{name}.yml')}",
                           f"--storage.tsdb.path={self.scratch.path('data-' + name)}", f"--web.listen-address=127.0.0.1:{self.ports[name]}")

    def kill(self, name):
        p = self.scratch.procs.pop(name)
        p.kill()
        p.wait()

    def page(self, second=False):
        url = f"http://127.0.0.1:{self.http2}/distributor/ha_tracker" if second else self.cluster.url("front", "/distributor/ha_tracker")
        clusters = json.loads(http(url, headers={"Accept": "application/json"})[1])["clusters"]
        return next((c for c in clusters if c["tenant"] == "anonymous" and c["cluster"] == "pair"), None)

    def leader(self):
        return self.page()["replica"]

    def wait_leader(self, name, seconds):
        for second in (False, True):
            wait_until(f"{name} is followed", seconds, lambda s=second: (self.page(s) or {}).get("replica") == name)

    def wait_sending(self, name):
        """The server scrapes and sends: what it has sent is younger than two intervals."""
        def fresh():
            text = http(f"http://127.0.0.1:{self.ports[name]}/metrics")[1].decode()
            sent = [float(line.split()[-1]) for line in text.splitlines() if line.startswith("prometheus_remote_storage_queue_highest_sent_timestamp_seconds{")]
            return sent and time.time() - sent[0] < 2 * INTERVAL_S
        wait_until(f"{name} sends", 60, fresh)


def outages(pair, cases):
    """Returns how often the stored samples may change over from one server to the other."""
    changes = 0
    for _ in range(ROUNDS):
        leader = pair.leader()
        other = "b" if leader == "a" else "a"
        say(f"{leader} is followed and killed")
        pair.kill("prometheus-" + leader)
        pair.wait_leader(other, FAILOVER_S + 15)
        changes += 1
        time.sleep(2 * INTERVAL_S)
        pair.start(leader)
        pair.wait_sending(leader)
        time.sleep(2 * INTERVAL_S)
        cases.check("a revived server does not take over", pair.leader() == other, pair.page())
    leader, before = pair.leader(), pair.page()["elections"]
    say(f"{leader} is followed and killed, and is back before the timeout")
    pair.kill("prometheus-" + leader)
    time.sleep(1)
    pair.start(leader)
    pair.wait_sending(leader)
    time.sleep(3 * INTERVAL_S)
    cases.check("a short outage changes nobody", pair.leader() == leader and pair.page()["elections"] == before, pair.page())
    say("the second distributor is killed and comes back")
    epoch = pair.page(True)["epoch"]
    pair.kill("front-2")
    pair.start_front2()
    wait_until("its memory", 10, lambda: (pair.page(True) or {}).get("epoch") == epoch)
    cases.check("a distributor remembers who is followed", pair.page(True)["replica"] == leader, pair.page(True))
    time.sleep(3 * INTERVAL_S)
    return changes + 2


def sender_of(t, phases):
    """Servers scrape a target at an offset of their own."""
    def far(a, b):
        d = abs(a - b) % INTERVAL_S
        return min(d, INTERVAL_S - d)
    return min(phases, key=lambda name: far(t, phases[name]))


def phases_of(pair, job):
    got = {}
    for name, port in pair.ports.items():
        values = Api(f"http://127.0.0.1:{port}").data("query", query=f'up{{job="{job}"}}[{5 * INTERVAL_S}s]')["result"][0]["values"]
        got[name] = float(values[-1][0]) % INTERVAL_S
    return got


def judge(pair, cases, began, changes):
    api = Api(pair.cluster.url("front", "/prometheus"))
    wait_until("the last samples", 30, lambda: time.time() - api.value('timestamp(up{job="node"})') < 3 * INTERVAL_S)
    window = int(time.time() - began)
    cases.check("the replica's label is not stored", not api.data("query", query='{__replica__!=""}')["result"])
    for job in ("node", "torc"):
        result = api.data("query", query=f'up{{job="{job}"}}[{window}s]')["result"]
        times = [float(t) for t, _ in result[0]["values"]]
        steps = [b - a for a, b in zip(times, times[1:])]
        seen = [f"{t - began:.2f}" for t in times]
        cases.check(f"{job}: one series of the pair", len(result) == 1 and result[0]["metric"].get("cluster") == "pair", result)
        cases.check(f"{job}: nothing twice", all(s > 0 for s in steps), seen)
        cases.check(f"{job}: no gap over an interval", max(steps) <= INTERVAL_S * 1.1 + SLACK_S, f"{max(steps):.2f} s", seen)
        want = window / INTERVAL_S
        cases.check(f"{job}: as many as of one server, and one for each change at most", want - 3 <= len(times) <= want + changes + 1, len(times), want, seen)
        phases = phases_of(pair, job)
        senders = [sender_of(t, phases) for t in times]
        switches = sum(a != b for a, b in zip(senders, senders[1:]))
        apart = abs(phases["a"] - phases["b"])
        if min(apart, INTERVAL_S - apart) > 0.1:
            cases.check(f"{job}: no interleaving", switches <= changes, "".join(senders), phases)
        say(f"{job}: {len(times)} samples in {window} s, longest step {max(steps):.2f} s, senders {''.join(senders)}")
        counts = api.data("query", query=f'min(count_over_time({{job="{job}",__name__=~"node_load.*|go_goroutines|torc_ring_members"}}[{window}s]))'
                                         f' or max(count_over_time({{job="{job}",__name__=~"node_load.*|go_goroutines|torc_ring_members"}}[{window}s]))')["result"]
        cases.check(f"{job}: the same number of every series", all(abs(float(c["value"][1]) - len(times)) <= 1 for c in counts), counts, len(times))
    metrics = http(pair.cluster.url("front", "/metrics"))[1].decode() + http(f"http://127.0.0.1:{pair.http2}/metrics")[1].decode()
    for name in ("torc_distributor_deduped_samples_total{", "torc_ha_tracker_elected_replica_changes_total{", "torc_ha_tracker_kv_store_cas_total{",
                 "torc_ha_tracker_fill_requests_total{", "torc_distributor_non_ha_samples_received_total{", 'torc_discarded_samples_total{reason="too_many_ha_clusters"'):
        cases.check(f"metric {name}", name in metrics)
    page = http(pair.cluster.url("front", "/distributor/ha_tracker"), headers={"Accept": "text/html"})[1].decode()
    cases.check("the page for browsers", "<td>pair</td>" in page and "Epoch" in page, page)


def main():
    cases = Cases()
    with Scratch("ha") as scratch:
        with open(scratch.path("overrides.yml"), "w", encoding="ascii") as f:
            f.write(OVERRIDES)
        cluster = scratch.cluster([f"--limits.ha-failover-timeout={FAILOVER_S}s", "--ha-tracker.update-timeout=4s", "--ha-tracker.update-timeout-jitter-max=1s",
                                   f"--runtime-config.file={scratch.path('overrides.yml')}", "--limits.query-request-rate=0"])
        cluster.up()
        by_hand(cluster, cases)
        limits_by_hand(cluster, cases)
        failover_by_hand(cluster, cases)
        pair = Pair(scratch, cluster)
        wait_until("somebody is followed", 60, lambda: pair.page() and pair.page(True))
        for name in pair.ports:
            pair.wait_sending(name)
        time.sleep(5 * INTERVAL_S)
        began = time.time()
        time.sleep(4 * INTERVAL_S)
        changes = outages(pair, cases)
        judge(pair, cases, began, changes)
        scratch.check_alive()
        cluster.check_logs(cases)
        scratch.keep = cases.failed > 0
    return cases.finish()


if __name__ == "__main__":
    sys.exit(main())
