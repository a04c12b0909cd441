"""Every admin page as a person sees it in a browser, and as a program gets it."""
import http.server
import json
import threading

import remote_write as rw
from procs import http as ask
from procs import wait_until
from webdriver import Browser

MARKUP = "<img src=x onerror=document.title='pwned'>"
# What a page must have besides its title: texts of its table's head.
TABLES = {
    "/services": ["Service", "State"],
    "/memberlist": ["Instance", "State", "Ownership"],
    "/ingester/ring": ["Instance", "State", "Ownership"],
    "/distributor/all_user_stats": ["Tenant", "Series"],
    "/distributor/ha_tracker": ["Tenant", "Cluster", "Replica"],
    "/ingester/tenants": ["Tenant", "Series"],
    "/querier/blocks": ["Block", "Level"],
    "/compactor/tenants": [],
    "/debug/memory": ["Part", "Bytes"],
    "/debug/threads": ["Thread", "Name"],
}
PLAIN = ("/metrics", "/ready", "/debug/heap", "/debug/profile")  # text for programs, whoever asks
HTML = {"Accept": "text/html"}
JSON = {"Accept": "application/json"}


def push(url, tenant, now_ms):
    body = b""
    for i in range(10):
        ls = {"__name__": "admin_metric", "i": str(i), "evil": f'"\'>{MARKUP}</script>'}
        body += rw.series(ls, rw.sample(now_ms - 15000, 1.0) + rw.sample(now_ms, 2.0))
    return ask(f"{url}/api/v1/push", data=rw.snappy(body), headers={**rw.HEADERS, "X-Scope-OrgID": tenant})[0]


def check_page(cases, browser, url, path):
    browser.go(url + path)
    title, bare = browser.title(), path.split("?")[0]
    if not bare.startswith(PLAIN) and not bare.startswith("/api/"):
        cases.check(f"{path}: is a page with a title", title.endswith(" - torc"), title, browser.source()[:300])
        cases.check(f"{path}: has a heading and the way home", browser.texts("h1") and (browser.attribute("nav a", "href") or "").endswith("/"), browser.source()[:300])
        cases.check(f"{path}: has no script", "<script" not in browser.source(), browser.source()[:300])
        if bare in TABLES:
            head = browser.texts("th")
            cases.check(f"{path}: has its table", all(h in head for h in TABLES[bare]), head)
    cases.check(f"{path}: markup is text", browser.title() != "pwned" and not browser.attribute("img", "src"), browser.title())
    console = [line for line in browser.console() if "status of 501" not in line]
    cases.check(f"{path}: the console is silent", not console, *console)


def check_headers(cases, url, path):
    import urllib.request
    with urllib.request.urlopen(urllib.request.Request(url + path, headers=HTML), timeout=60) as f:
        h = f.headers
    cases.check(f"{path}: headers", "frame-ancestors 'none'" in h["Content-Security-Policy"] and "default-src 'none'" in h["Content-Security-Policy"]
                and h["X-Frame-Options"] == "DENY" and h["X-Content-Type-Options"] == "nosniff", h)


def check_form(cases, browser, url, path, done):
    """A button with a token; pressing it does it."""
    browser.go(url + path)
    token = browser.attribute("form input[name=confirm_token]", "value")
    cases.check(f"{path}: a form with its token", token and len(token) == 32 and browser.attribute("form", "method") == "post", browser.source()[:400])
    browser.click("form button")
    try:
        wait_until(f"what {path} answers", 20, lambda: done in browser.source())
        cases.check(f"{path}: the button does it", True)
    except RuntimeError:
        cases.check(f"{path}: the button does it", False, browser.source()[:300])


def check_foreign_form(cases, browser, url, log):
    """A page of another site whose form points here."""
    page = f'<title>evil</title><form method=post action="{url}/ingester/flush"><button>x</button></form>'.encode()

    class Evil(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Evil)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        before = log().count('msg="admin call"')
        browser.go(f"http://127.0.0.1:{server.server_port}/")
        browser.click("form button")
        wait_until("an answer", 20, lambda: "evil" not in browser.title())
        cases.check("a form of another site is refused", "not confirmed" in browser.source(), browser.source()[:300])
        cases.check("and nothing was done", log().count('msg="admin call"') == before, log()[-500:])
        browser.console()
    finally:
        server.shutdown()


def check_json(cases, url, pages):
    for path in pages:
        bare = path.split("?")[0]
        if bare.startswith(PLAIN):
            continue
        status, body = ask(url + path, headers={**JSON, "X-Scope-OrgID": "team-a"})
        try:
            json.loads(body)
            ok = status == 200
        except ValueError:
            ok = False
        cases.check(f"{path}: is JSON for programs", ok, status, body[:300])


def check_answers(cases, url):
    stats = json.loads(ask(f"{url}/distributor/all_user_stats", headers=JSON)[1])
    cases.check("all_user_stats: tenants, once each, exact", {t["userID"]: t["numSeries"] for t in stats} == {"team-a": 10, "team-b": 10}, stats)
    mine = json.loads(ask(f"{url}/api/v1/user_stats", headers={"X-Scope-OrgID": "team-b"})[1])
    cases.check("user_stats: of the tenant that asks", mine["numSeries"] == 10 and mine["numSamples"] == 20, mine)
    limits = json.loads(ask(f"{url}/api/v1/user_limits", headers={"X-Scope-OrgID": "team-a"})[1])
    cases.check("user_limits: of the tenant that asks", limits["max_points"] == 77, limits)
    status, folded = ask(f"{url}/debug/profile?seconds=1")
    cases.check("a CPU profile is taken", status == 200, status, folded[:200])
    status, pprof = ask(f"{url}/debug/pprof/profile?seconds=1")
    cases.check("and one for pprof", status == 200 and b"nanoseconds" in pprof, status, pprof[:100])
    cases.check("seconds are limited", ask(f"{url}/debug/profile?seconds=61")[0] == 400 and ask(f"{url}/debug/profile?seconds=x")[0] == 400)
    plain = ask(f"{url}/config?mode=defaults")[1].decode()
    cases.check("config: YAML for a terminal", plain.startswith("data-dir: ./data") or '"./data"' in plain, plain[:100])
    diff = json.loads(ask(f"{url}/config?mode=diff", headers=JSON)[1])
    cases.check("config: what differs", MARKUP in diff["data-dir"] and "wal.sync" not in diff, diff)


def check_trace(cases, server):
    """A request's trace is the caller's, also in the log of slow queries."""
    import urllib.request
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    url = f"{server.url}/api/v1/query?query=count(admin_metric)%2B4711"
    for given, want in ((f"00-{trace}-00f067aa0ba902b7-01", lambda t: t == trace), ("00-nonsense", lambda t: len(t) == 32 and t != trace), (None, lambda t: len(t) == 32)):
        headers = {"X-Scope-OrgID": "team-a", **({"traceparent": given} if given else {})}
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=60) as f:
            got = f.headers["X-Trace-Id"]
        cases.check(f"traceparent {given}: the trace of the answer", want(got), got)
    wait_until("the slow query in the log", 10, lambda: any('msg="slow query"' in line and "4711" in line and f"trace_id={trace}" in line and "user=team-a" in line
                                                            for line in server.log().splitlines()))
    cases.check("slow queries are logged with tenant, text and trace", True)


def check_overrides(cases, s, url, file):
    def entry():
        return json.loads(ask(f"{url}/runtime_config", headers=JSON)[1])

    with open(file, "w", encoding="ascii") as f:
        f.write("overrides:\n  team-a: {max_points: 78}\n")
    wait_until("new overrides", 11, lambda: entry()["overrides"]["team-a"]["max_points"] == 78)
    cases.check("overrides: a change is there within 10 s", True)
    with open(file, "w", encoding="ascii") as f:
        f.write("overrides:\n  team-a: {max_pints: 79}\n")
    wait_until("the complaint", 11, lambda: not entry()["loaded"])
    cases.check("overrides: a bad file keeps the old ones and says why", entry()["overrides"]["team-a"]["max_points"] == 78 and 'did you mean "max_points"' in entry()["error"], entry())
    yaml = ask(f"{url}/runtime_config")[1].decode()
    cases.check("overrides: also in YAML", yaml.startswith("# The file does not load") and "max_points: 78" in yaml, yaml[:300])
    metrics = ask(f"{url}/metrics")[1].decode()
    cases.check("overrides: and as a metric", "torc_runtime_config_last_reload_successful 0" in metrics)
    cases.check("overrides: and in the log", "the previous one stays" in s.log())


def check(cases, scratch, server, now_ms):
    url = server.url
    for tenant in ("team-a", "team-b"):
        cases.check(f"a push of {tenant}", push(url, tenant, now_ms) == 204)
    pages = [p["path"] for p in json.loads(ask(url + "/", headers=JSON)[1])["pages"]]
    cases.check("the index lists the pages", len(pages) > 15, pages)
    gets = [p for p in pages if ask(url + p, headers=HTML)[0] != 405]
    browser = Browser(scratch)
    try:
        for path in ["/", *gets, f"/api/v1/series?match[]=admin_metric", "/api/v1/cardinality/label_values?label_names[]=evil"]:
            check_page(cases, browser, url, path)
        check_form(cases, browser, url, "/ingester/flush", "index_generation")
        check_form(cases, browser, url, "/compactor/run", "done")
        check_foreign_form(cases, browser, url, server.log)
    finally:
        browser.quit()
    for path in ("/", "/services", "/config", "/ingester/flush"):
        check_headers(cases, url, path)
    check_json(cases, url, gets)
    check_answers(cases, url)
    check_trace(cases, server)
    check_overrides(cases, server, url, server.overrides)
