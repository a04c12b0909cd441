#!/usr/bin/env python3
"""tests/cluster/admin/main.py: the admin pages in a real browser and as JSON, forms and their tokens, overrides while it runs; TLS, users, roles, tenants, client certificates,
the listener for admin pages. Each on one torc that has all roles. Ends with "N passed, N failed"."""
import os
import re
import sys
import time

here = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(here, "..", "..", "interop"))
sys.path.insert(0, here)
import pages
import security
from procs import BINARY, Cases, Scratch, free_port, wait_until


class Server:
    def __init__(self, s, name, *flags):
        self.s, self.name = s, name
        s.start(name, BINARY, "--server.http-listen-address=127.0.0.1", "--server.http-listen-port=0", f"--server.rpc-listen-address=127.0.0.1:{free_port()}", *flags)
        wait_until(f"the start of {name}", 60, lambda: "msg=started" in self.log())
        self.port = int(re.search(r"msg=listening .*port=(\d+)", self.log()).group(1))
        self.url = f"http://127.0.0.1:{self.port}"

    def admin_port(self):
        return int(re.search(r'msg="listening for admin pages" .*port=(\d+)', self.log()).group(1))

    def log(self):
        with open(self.s.path(self.name + ".log"), encoding="utf-8", errors="replace") as f:
            return f.read()

    def write(self, file, text):
        with open(file + ".new", "w", encoding="utf-8") as f:
            f.write(text)
        os.replace(file + ".new", file)


def check_logs(cases, servers):
    for server in servers:
        bad = [line for line in server.log().splitlines() if "Sanitizer" in line or "runtime error" in line or "ASSERT" in line]
        cases.check(f"the log of {server.name} has no errors", not bad, *bad[:5])


def main():
    cases, servers = Cases(), []
    with Scratch("admin") as s:
        def start(name, *flags):
            data = s.path(f"data-{name}-{pages.MARKUP}")
            servers.append(Server(s, name, f"--data-dir={data}", *flags))
            return servers[-1]
        overrides = s.path("overrides.yaml")
        with open(overrides, "w", encoding="ascii") as f:
            f.write("overrides:\n  team-a: {max_points: 77}\n")
        server = start("open", f"--runtime-config.file={overrides}", "--runtime-config.period=1s", "--ingester.flush-check-period=1s",
                       "--querier.slow-query-threshold=1ms")
        server.overrides = overrides
        wait_until("an ingester", 60, lambda: pages.ask(server.url + "/ready")[0] == 200)
        pages.check(cases, s, server, int(time.time() * 1000))
        security.check(cases, s, start)
        check_logs(cases, servers)
        s.keep = cases.failed > 0
    return cases.finish()


sys.exit(main())
