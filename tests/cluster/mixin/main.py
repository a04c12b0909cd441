#!/usr/bin/env python3
"""tests/cluster/mixin/main.py: dashboards, alerts and rules of deploy/mixin against a cluster: what they ask is parsed by torc and by promtool, every metric that they name is in a
scrape, every alert has its section in the runbook. Ends with "N passed, N failed"."""
import glob
import json
import os
import re
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "interop"))
import remote_write as rw
from procs import BINARY, ROOT, Cases, Scratch, free_port, http, wait_until

MIXIN = os.path.join(ROOT, "deploy", "mixin")
# Of the Prometheus that scrapes, not of torc.
OF_PROMETHEUS = {"up"}
VARIABLES = {"$__rate_interval": "5m", "$job": ".*", "$instance": ".*"}


def run(*argv):
    done = subprocess.run(argv, capture_output=True, text=True, check=False, cwd=MIXIN)
    return done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


def rules(path):
    """(name, expression) of a rules file, as written by generate.py."""
    with open(path, encoding="utf-8") as f:
        text = f.read()
    for m in re.finditer(r"  - (?:alert|record): (\S+)\n    expr: \|-\n((?:      .*\n)+)", text):
        yield m.group(1), "\n".join(line[6:] for line in m.group(2).rstrip("\n").split("\n"))


def expressions():
    for file in ("alerts.yaml", "rules.yaml"):
        for name, expr in rules(os.path.join(MIXIN, file)):
            yield f"{file}: {name}", expr
    for path in sorted(glob.glob(os.path.join(MIXIN, "dashboards", "*.json"))):
        with open(path, encoding="utf-8") as f:
            board = json.load(f)
        for p in board["panels"]:
            for t in p.get("targets", []):
                expr = t["expr"]
                for variable, value in VARIABLES.items():
                    expr = expr.replace(variable, value)
                yield f"{os.path.basename(path)}: {p['title']} {t['refId']}", expr


def names_of(node):
    """Metrics of an expression, from torc's parser."""
    if isinstance(node, list):
        return set().union(*map(names_of, node))
    if not isinstance(node, dict):
        return set()
    mine = {node["name"]} if node.get("type") in ("vectorSelector", "matrixSelector") and node.get("name") else set()
    return mine | set().union(set(), *(names_of(v) for v in node.values()))


def samples_in(text):
    return set(re.findall(r"^([a-zA-Z_:][a-zA-Z0-9_:]*)[{ ]", text, re.M))


def touch_everything(c):
    """Makes what happens only sometimes happen once: refusals, failures, blocks, compaction."""
    now = int(time.time() * 1000)
    front = c.url("front")

    def push(series):
        return http(f"{front}/api/v1/push", data=rw.snappy(series), headers=rw.HEADERS)[0]
    wait_until("the first push", 60, lambda: push(b"".join(rw.series({"__name__": "mixin", "i": str(i)}, rw.sample(now, 1.0)) for i in range(50))) == 204)
    push(rw.series({"__name__": "mixin", "i": "1"}, rw.sample(now + 86400000, 1.0)))  # too far in the future
    push(rw.series({"__name__": "mixin", "i": "1"}, rw.sample(now, 2.0)))  # twice, with another value: the ingesters refuse it
    api = f"{front}/prometheus/api/v1"
    http(f"{api}/query", {"query": "sum(mixin)"})
    http(f"{api}/query", {"query": "sum("})
    http(f"{api}/query_range", {"query": "mixin", "start": now // 1000 - 600, "end": now // 1000, "step": 15})
    for i in (1, 2, 3):
        http(c.url(f"ingester-{i}", "/ingester/flush"), data=b"")
    http(c.url("compactor", "/compactor/run"), data=b"")


def secured(s):
    """A process with users and a certificate; its scrape."""
    key, pem, template, users = (s.path(n) for n in ("key.pem", "cert.pem", "template", "users.yaml"))
    with open(template, "w", encoding="ascii") as f:
        f.write('cn="localhost"\nip_address=127.0.0.1\ntls_www_server\nexpiration_days=30\n')
    with open(users, "w", encoding="ascii") as f:
        f.write("users:\n- {name: prometheus, token: 0123456789abcdef, roles: [metrics]}\n")
    for argv in (["--generate-privkey", "--outfile", key], ["--generate-self-signed", "--load-privkey", key, "--template", template, "--outfile", pem]):
        subprocess.run(["certtool", *argv], check=True, capture_output=True)
    port = free_port()
    s.start("secured", BINARY, "--target=distributor", "--server.http-listen-address=127.0.0.1", f"--server.http-listen-port={port}", f"--server.rpc-listen-address=127.0.0.1:{free_port()}",
            f"--data-dir={s.path('secured-data')}", f"--auth.users-file={users}", f"--server.tls-cert-file={pem}", f"--server.tls-key-file={key}")

    def scrape(token):
        done = subprocess.run(["curl", "-s", "--cacert", pem, "-H", f"Authorization: Bearer {token}", f"https://127.0.0.1:{port}/metrics"], capture_output=True, text=True, check=False)
        return done.stdout
    wait_until("the secured process", 60, lambda: "torc_build_info" in scrape("0123456789abcdef"))
    scrape("wrong-token-0123456")
    return scrape("0123456789abcdef")


def check_files(cases, s):
    cases.check("generate.py writes what is committed", *run(sys.executable, os.path.join(MIXIN, "generate.py"), "--check"))
    for file in ("alerts.yaml", "rules.yaml"):
        cases.check(f"promtool takes {file}", *run("promtool", "check", "rules", file))
    cases.check("promtool: alerts fire as they should", *run("promtool", "test", "rules", "tests.yaml"))
    boards = glob.glob(os.path.join(MIXIN, "dashboards", "*.json"))
    alerts = [name for name, _ in rules(os.path.join(MIXIN, "alerts.yaml"))]
    cases.check("8 dashboards and 30 alerts at least", len(boards) >= 8 and len(alerts) >= 30, len(boards), len(alerts))
    with open(os.path.join(ROOT, "docs", "runbooks.md"), encoding="utf-8") as f:
        sections = dict(re.findall(r"^### (\S+)\n(.*?)(?=^##|\Z)", f.read(), re.M | re.S))
    for name in alerts:
        words = ("**What it means.**", "**Where to look.**", "**What to do.**", "**What not to do.**")
        cases.check(f"the runbook has {name}", all(w in sections.get(name, "") for w in words))
    with open(s.path("panels.yaml"), "w", encoding="utf-8") as f:
        f.write("groups:\n- name: panels\n  rules:\n")
        for i, (_, expr) in enumerate(expressions()):
            f.write(f"  - record: panel_{i}\n    expr: {json.dumps(expr)}\n")
    cases.check("promtool takes every panel", *run("promtool", "check", "rules", s.path("panels.yaml")))
    for path in boards:
        with open(path, encoding="utf-8") as f:
            board = json.load(f)
        ids = [p["id"] for p in board["panels"]]
        cases.check(f"{os.path.basename(path)}: panels have ids of their own", len(ids) == len(set(ids)) and board["uid"].startswith("torc-"))


def main():
    cases = Cases()
    with Scratch("mixin") as s:
        check_files(cases, s)
        c = s.cluster(["--limits.other_request_rate=0"])
        c.up()
        touch_everything(c)

        def scrapes():
            return "\n".join(http(c.url(name, "/metrics"))[1].decode() for name in c.NAMES)
        wait_until("a run of the compactor", 60, lambda: "torc_compactor_jobs_total" in scrapes())
        live = samples_in(scrapes()) | samples_in(secured(s)) | OF_PROMETHEUS
        recorded = {name for name, _ in rules(os.path.join(MIXIN, "rules.yaml"))}
        seen = set()
        for what, expr in expressions():
            status, body = http(c.url("front", "/prometheus/api/v1/parse_query"), {"query": expr})
            if not cases.check(f"torc parses {what}", status == 200, expr, body):
                continue
            names = names_of(json.loads(body)["data"])
            seen |= names
            missing = names - live - recorded
            cases.check(f"every metric is there: {what}", names and not missing, *sorted(missing))
        cases.check("most families are shown somewhere", len(seen) > 60, len(seen))
        c.check_logs(cases)
        s.keep = cases.failed > 0
    return cases.finish()


sys.exit(main())
