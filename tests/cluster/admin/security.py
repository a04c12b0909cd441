"""TLS and authentication at the edge: who may ask what, as a table of roles and all routes that the process knows."""
import base64
import crypt
import http.client
import os
import re
import shutil
import socket
import ssl
import statistics
import subprocess
import time
import urllib.parse

from procs import wait_until

API = ("/prometheus/api/v1", "/api/v1", "/workspaces/{id}/api/v1")
READS = ("query", "query_range", "series", "labels", "label/{name}/values", "metadata", "format_query", "parse_query", "read", "query_exemplars", "rules", "alerts",
         "status/runtimeinfo", "status/buildinfo", "explain", "status/tsdb", "status/active_queries", "status/active_queries/cancel", "status/top_queries", "user_limits",
         "user_stats", "cardinality/label_names", "cardinality/label_values", "cardinality/active_series")
ROLE = {**{f"{a}/{r}": "read" for a in API for r in READS},
        **dict.fromkeys(("/api/v1/push", "/api/v1/write", "/workspaces/{id}/api/v1/remote_write", "/otlp/v1/metrics", "/api/v1/otlp/v1/metrics"), "write"),
        **dict.fromkeys(("/ready", "/-/ready", "/-/healthy", "/favicon.ico"), "open"), "/metrics": "metrics"}  # everything else: admin
ROLES = ("write", "read", "rules", "metrics", "admin")
TOKEN = "a-token-of-{}-0123456789"
PASSWORD = "pass:wörd with blanks-4711"


def basic(name, password):
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


def bearer(token):
    return {"Authorization": "Bearer " + token}


def users_file(extra=""):
    """One user for each role by token, two by password (bcrypt, yescrypt)."""
    out = "users:\n"
    for r in ROLES:
        out += f"- {{name: u-{r}, token: {TOKEN.format(r)}, roles: [{r}]}}\n"
    out += f"- {{name: bcrypt, password: \"{crypt.crypt(PASSWORD, crypt.mksalt(crypt.METHOD_BLOWFISH, rounds=2 ** 6))}\", roles: [read, admin]}}\n"
    # libxcrypt makes the salt of yescrypt; Python's module only hands it on.
    out += f"- {{name: yescrypt, password: \"{crypt.crypt(PASSWORD, '$y$j75$LdJMENpBABJJ3hIHjB1Bi.')}\", roles: [read]}}\n"
    out += "- {name: one, token: token-of-one-tenant-1234, roles: [write, read], tenants: [team-a]}\n"
    out += "- {name: two, token: token-of-two-tenants-12, roles: [read], tenants: [team-a, team-b]}\n"
    return out + extra


class Client:
    """One connection that is kept."""

    def __init__(self, port, ca, cert=None, key=None):
        self.context = ssl.create_default_context(cafile=ca)
        if cert:
            self.context.load_cert_chain(cert, key)
        self.conn = http.client.HTTPSConnection("127.0.0.1", port, context=self.context, timeout=60)

    def ask(self, method, path, headers=None, body=None):
        try:
            self.conn.request(method, path, body=body, headers=headers or {})
            r = self.conn.getresponse()
            return r.status, r.read(), r.headers
        except (http.client.HTTPException, OSError):
            self.conn.close()
            raise


def certificate(s, name, template, ca="ca", days=30):
    """PEM files name.pem and name.key in the scratch directory; ca None: signed by itself."""
    def run(*args):
        subprocess.run(["certtool", *args], check=True, capture_output=True)
    key, pem, text = s.path(name + ".key"), s.path(name + ".pem"), s.path(name + ".txt")
    run("--generate-privkey", "--key-type", "ecdsa", "--outfile", key)
    with open(text, "w", encoding="ascii") as f:
        f.write(template + ("" if "expiration_date" in template else f"\nexpiration_days={days}\n"))
    if ca is None:
        run("--generate-self-signed", "--load-privkey", key, "--template", text, "--outfile", pem)
    else:
        run("--generate-certificate", "--load-privkey", key, "--load-ca-certificate", s.path(ca + ".pem"), "--load-ca-privkey", s.path(ca + ".key"), "--template", text, "--outfile", pem)
    return pem, key


CA = 'cn="ca of the test"\nca\ncert_signing_key\n'
SERVER = 'cn="localhost"\nip_address=127.0.0.1\ntls_www_server\nsigning_key\n'
CLIENT = 'cn="client"\ntls_www_client\nsigning_key\n'


def certificates(s):
    certificate(s, "ca", CA, None)
    certificate(s, "other-ca", CA, None)
    certificate(s, "server", SERVER)
    certificate(s, "client", CLIENT)
    certificate(s, "client-wrong-ca", CLIENT, "other-ca")
    certificate(s, "client-self-signed", CLIENT, None)
    certificate(s, "client-for-servers", SERVER)
    certificate(s, "client-expired", CLIENT + 'activation_date="2020-01-01 00:00:00"\nexpiration_date="2020-02-01 00:00:00"\n')
    certificate(s, "client-not-yet", CLIENT + 'activation_date="2100-01-01 00:00:00"\nexpiration_date="2101-01-01 00:00:00"\n')


def routes(client):
    status, body, _ = client.ask("GET", "/metrics", bearer(TOKEN.format("metrics")))
    assert status == 200, (status, body[:200])
    return sorted(set(re.findall(r'torc_inflight_requests\{route="([^"]+)"\}', body.decode())))


def cell(client, method, pattern, headers):
    """Whether this user may: None when the route has no such method. Whatever changes something is refused for its foreign origin before it does."""
    path = pattern.replace("{id}", "team-a").replace("{name}", "job").replace("{tenant}", "team-a").replace("*", "x")
    path = re.sub(r"\{[a-z_]+\}", "x", path) + "?seconds=1"
    status, body, _ = client.ask(method, path, {**headers, "Origin": "http://elsewhere", "X-Scope-OrgID": "team-a"}, b"" if method == "POST" else None)
    if status == 405:
        return None
    if status == 401:
        return "401"
    return "403" if status == 403 and b"not confirmed" not in body else "yes"


def check_matrix(cases, client):
    all_routes = routes(client)
    cases.check("the process has its routes", len(all_routes) > 80, len(all_routes))
    callers = {"nobody": {}, "a wrong token": bearer("wrong-token-0123456789"), **{r: bearer(TOKEN.format(r)) for r in ROLES}}
    for pattern in all_routes:
        wanted = ROLE.get(pattern, "admin")
        for method in ("GET", "POST"):
            for who, headers in callers.items():
                want = "yes" if wanted == "open" or who == wanted else "401" if who in ("nobody", "a wrong token") else "403"
                got = cell(client, method, pattern, headers)
                if got is not None:
                    cases.check(f"{who} {method} {pattern}: {want}", got == want, got)


def check_credentials(cases, client):
    query = "/api/v1/query?query=1"
    ok = (("bcrypt", basic("bcrypt", PASSWORD)), ("yescrypt", basic("yescrypt", PASSWORD)), ("again, remembered", basic("bcrypt", PASSWORD)),
          ("a lower-case scheme", {"Authorization": bearer(TOKEN.format("read"))["Authorization"].replace("Bearer", "bearer")}))
    for name, headers in ok:
        cases.check(f"credentials: {name}", client.ask("GET", query, headers)[0] == 200)
    coded = base64.b64encode(f"bcrypt:{PASSWORD}".encode()).decode()
    bad = (("a wrong password", basic("bcrypt", "x")), ("an unknown name", basic("nobody", PASSWORD)), ("an empty password", basic("bcrypt", "")), ("an empty name", basic("", PASSWORD)),
           ("half of base64", {"Authorization": "Basic " + coded[:-2]}), ("no base64", {"Authorization": "Basic $$$$"}), ("no colon", {"Authorization": "Basic " + base64.b64encode(b"bcrypt").decode()}),
           ("a password with more", basic("bcrypt", PASSWORD + "x")), ("a name with NUL", basic("bcrypt\0", PASSWORD)), ("a long password", basic("bcrypt", "x" * 5000)),
           ("a user without password", basic("u-read", "")), ("an unknown scheme", {"Authorization": "Digest " + coded}), ("no scheme", {"Authorization": coded}),
           ("an empty token", {"Authorization": "Bearer "}), ("two words", {"Authorization": f"Bearer {TOKEN.format('read')} x"}), ("a token as password", basic("u-read", TOKEN.format("read"))))
    for name, headers in bad:
        status, _, h = client.ask("GET", query, headers)
        cases.check(f"credentials: {name} is 401", status == 401 and "Basic" in " ".join(h.get_all("WWW-Authenticate") or []), status, h)
    client.conn.putrequest("GET", query)
    for token in ("read", "admin"):
        client.conn.putheader("Authorization", "Bearer " + TOKEN.format(token))
    client.conn.endheaders()
    r = client.conn.getresponse()
    r.read()
    cases.check("credentials: two headers are 400", r.status == 400, r.status)


def check_tenants(cases, client):
    def query(tenant, who):
        headers = {**bearer(who), **({"X-Scope-OrgID": tenant} if tenant is not None else {})}
        return client.ask("GET", "/api/v1/query?query=1", headers)[0]
    one, two = "token-of-one-tenant-1234", "token-of-two-tenants-12"
    table = ((one, "team-a", 200), (one, None, 200), (one, "", 200), (one, "team-b", 403), (one, "team", 403), (one, "team-aa", 403), (one, "team-a|team-b", 403), (one, "|", 403),
             (two, "team-a", 200), (two, "team-b", 200), (two, "team-a|team-b", 200), (two, None, 403), (two, "team-a|team-c", 403))
    for who, tenant, want in table:
        got = query(tenant, who)
        cases.check(f"tenants: {who} as {tenant} is {want}", got == want, got)
    for path, want in (("/workspaces/team-a/api/v1/query?query=1", 200), ("/workspaces/team-b/api/v1/query?query=1", 403), ("/workspaces/team%2Da/api/v1/query?query=1", 200)):
        cases.check(f"tenants: the path decides: {path}", client.ask("GET", path, bearer(one))[0] == want)
    cases.check("tenants: the path beats the header", client.ask("GET", "/workspaces/team-b/api/v1/query?query=1", {**bearer(one), "X-Scope-OrgID": "team-a"})[0] == 403)
    got = client.ask("GET", "/api/v1/status/top_queries", bearer(one))[0]
    cases.check("tenants: a user with one tenant need not name it", got == 200, got)


def check_time(cases, client):
    """Wrong passwords of known and of unknown names, taken in turns. Hashes of two kinds are in the file: an unknown name costs as much as one of them."""
    times = {"bcrypt": [], "yescrypt": [], "nobody-%d": []}
    for i in range(24):
        for name, seen in times.items():
            began = time.perf_counter()
            client.ask("GET", "/api/v1/query?query=1", basic(name % i if "%" in name else name, f"wrong-{i}"))
            seen.append(time.perf_counter() - began)
    began = time.perf_counter()
    for _ in range(24):
        client.ask("GET", "/api/v1/query?query=1", bearer("wrong-token-0123456789"))
    bare = (time.perf_counter() - began) / 24
    known = [min(times["bcrypt"]), min(times["yescrypt"])]
    cases.check("a wrong password is hashed", min(known) > 1.2 * bare, known, bare)
    cases.check("an unknown name is hashed too", min(known) * 0.8 < min(times["nobody-%d"]) and statistics.median(times["nobody-%d"]) < max(statistics.median(times["bcrypt"]), statistics.median(times["yescrypt"])) * 1.5,
                known, bare, times["nobody-%d"])


def check_rotation(cases, server, client):
    file, new = server.users, "a-new-token-0123456789"
    query = "/api/v1/query?query=1"
    server.write(file, users_file(f"- {{name: new, token: {new}, roles: [read]}}\n").replace(TOKEN.format("read"), "rotated-token-of-read-01"))
    wait_until("the new token", 10, lambda: client.ask("GET", query, bearer(new))[0] == 200)
    cases.check("rotation: a new token is taken", True)
    cases.check("rotation: the old one is not", client.ask("GET", query, bearer(TOKEN.format("read")))[0] == 401)
    server.write(file, "users:\n- {name: x}\n")
    wait_until("the complaint", 10, lambda: b"torc_auth_users_last_reload_successful 0" in client.ask("GET", "/metrics", bearer(TOKEN.format("metrics")))[1])
    cases.check("rotation: a bad file changes nothing", client.ask("GET", query, bearer(new))[0] == 200)
    cases.check("rotation: and the log says why", "users not loaded, the previous ones stay" in server.log() and "a user needs a name" in server.log())
    server.write(file, users_file().replace("$2b$", "$2b$", 1).replace("name: bcrypt", "name: was-bcrypt"))
    wait_until("the renamed user", 10, lambda: client.ask("GET", query, basic("bcrypt", PASSWORD))[0] == 401)
    cases.check("rotation: what was remembered is forgotten", True)
    server.write(file, users_file())
    wait_until("the first users", 10, lambda: client.ask("GET", query, bearer(TOKEN.format("read")))[0] == 200)


def check_tls(cases, s, server):
    ca = s.path("ca.pem")
    for name, low, high, want in (("1.1", ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_1, False), ("1.2", ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2, True),
                                  ("1.3", ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_3, True)):
        context = ssl.create_default_context(cafile=ca)
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version, context.maximum_version = low, high
        try:
            with socket.create_connection(("127.0.0.1", server.port)) as plain, context.wrap_socket(plain, server_hostname="127.0.0.1") as tls:
                got = tls.version() is not None
        except (ssl.SSLError, ConnectionError):
            got = False
        cases.check(f"TLS {name}: {'yes' if want else 'no'}", got == want, got)
    with socket.create_connection(("127.0.0.1", server.port)) as plain:
        plain.settimeout(30)
        plain.sendall(b"GET /ready HTTP/1.1\r\nHost: x\r\n\r\n")
        try:
            got = plain.recv(100)
        except ConnectionError:
            got = b""
    cases.check("plain HTTP at a TLS port gets no answer", not got.startswith(b"HTTP"), got)

    def serial():
        context = ssl.create_default_context(cafile=ca)
        with socket.create_connection(("127.0.0.1", server.port)) as p, context.wrap_socket(p, server_hostname="127.0.0.1") as tls:
            return tls.getpeercert()["serialNumber"]
    before = serial()
    certificate(s, "next", SERVER)
    shutil.copy(s.path("next.key"), s.path("server.key"))
    time.sleep(0.1)
    cases.check("a key without its certificate changes nothing", serial() == before)
    shutil.copy(s.path("next.pem"), s.path("server.pem"))
    wait_until("the new certificate", 15, lambda: serial() != before)
    cases.check("a new certificate is taken while it runs", True)


def check_client_certificates(cases, s, port):
    table = (("client", True), ("client-wrong-ca", False), ("client-self-signed", False), ("client-for-servers", False), ("client-expired", False), ("client-not-yet", False), (None, False))
    for name, want in table:
        try:
            client = Client(port, s.path("ca.pem"), *((s.path(name + ".pem"), s.path(name + ".key")) if name else ()))
            status = client.ask("GET", "/api/v1/query?query=1", bearer(TOKEN.format("read")))[0]
        except (ssl.SSLError, http.client.HTTPException, OSError) as e:
            status = str(e)
        cases.check(f"client certificate {name}: {'taken' if want else 'refused'}", (status == 200) == want, status)


def check_admin_listener(cases, s, main_port, admin_port):
    main, admin = Client(main_port, s.path("ca.pem"), s.path("client.pem"), s.path("client.key")), Client(admin_port, s.path("ca.pem"), s.path("client.pem"), s.path("client.key"))
    root = bearer(TOKEN.format("admin"))
    for path in ("/", "/config", "/services", "/debug/memory", "/ingester/tenants"):
        cases.check(f"admin listener: {path} is there", admin.ask("GET", path, root)[0] == 200)
        cases.check(f"admin listener: {path} is not at the other", main.ask("GET", path, root)[0] == 404)
    cases.check("admin listener: no queries", admin.ask("GET", "/api/v1/query?query=1", bearer(TOKEN.format("read")))[0] == 404)
    cases.check("admin listener: queries at the other", main.ask("GET", "/api/v1/query?query=1", bearer(TOKEN.format("read")))[0] == 200)
    for c in (main, admin):
        cases.check("admin listener: /ready at both", c.ask("GET", "/ready")[0] in (200, 503))
        cases.check("admin listener: /metrics at both", c.ask("GET", "/metrics", bearer(TOKEN.format("metrics")))[0] == 200)


def check_secrets(cases, server, client):
    secrets = [PASSWORD, *(TOKEN.format(r) for r in ROLES), "token-of-one-tenant-1234"]
    with open(server.users, encoding="utf-8") as f:
        secrets += re.findall(r'password: "([^"]+)"', f.read())
    places = {p: client.ask("GET", p, bearer(TOKEN.format("admin")))[1].decode(errors="replace") for p in ("/config", "/config?mode=diff", "/runtime_config", "/")}
    places["/metrics"] = client.ask("GET", "/metrics", bearer(TOKEN.format("metrics")))[1].decode()
    places["the log"] = server.log()
    for where, text in places.items():
        found = [x for x in secrets if x in text or urllib.parse.quote(x) in text]
        cases.check(f"secrets: none in {where}", not found, found)


def check_audit(cases, server, client):
    status, _, _ = client.ask("POST", "/ingester/flush", bearer(TOKEN.format("admin")))
    cases.check("audit: an admin may", status == 200, status)
    wait_until("the line", 10, lambda: re.search(r'msg="admin call".*route=/ingester/flush.*status=200.*user=u-admin', server.log()))
    cases.check("audit: who did it is in the log", True)


def check(cases, s, start):
    """start(name, *flags): a server with a port, an admin_port, users, write() and log()."""
    certificates(s)
    with open(s.path("users.yaml"), "w", encoding="utf-8") as f:
        f.write(users_file())
    tls = (f"--server.tls-cert-file={s.path('server.pem')}", f"--server.tls-key-file={s.path('server.key')}", f"--auth.users-file={s.path('users.yaml')}", "--auth.reload-period=200ms")
    server = start("secure", *tls)
    server.users = s.path("users.yaml")
    client = Client(server.port, s.path("ca.pem"))
    check_credentials(cases, client)
    check_tenants(cases, client)
    check_matrix(cases, client)
    check_time(cases, client)
    check_audit(cases, server, client)
    check_secrets(cases, server, client)
    check_rotation(cases, server, client)
    check_tls(cases, s, server)
    apart = start("apart", *tls, f"--server.tls-client-ca-file={s.path('ca.pem')}", "--server.admin-listen-address=127.0.0.1:0")
    check_client_certificates(cases, s, apart.port)
    check_admin_listener(cases, s, apart.port, apart.admin_port())
    os.environ.pop("SSL_CERT_FILE", None)
