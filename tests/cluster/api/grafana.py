"""What Grafana's Prometheus data source asks, request by request, and what it reads of the answers. Each request is (name, method, path, parameters, check); check gets the HTTP
status, the headers and the decoded body, and says whether Grafana would be content. Against a cluster with data, `full` holds what the data must show."""
import json
import urllib.error
import urllib.parse
import urllib.request

FORM = "application/x-www-form-urlencoded"
DASHBOARD = {"X-Dashboard-Uid": "abc123", "X-Panel-Id": "4", "X-Grafana-Org-Id": "1", "User-Agent": "Grafana/11.2.0"}


def call(url, method, params, headers=None):
    """(status, headers, body) of a GET with a query string or of a POST with a form; params: list of pairs."""
    text = urllib.parse.urlencode(params)
    data = None
    if method == "POST":
        data = text.encode()
    elif text:
        url += "?" + text
    request = urllib.request.Request(url, data=data, method=method, headers={**DASHBOARD, **({"Content-Type": FORM} if data is not None else {}), **(headers or {})})
    try:
        with urllib.request.urlopen(request, timeout=60) as f:
            return f.status, f.headers, f.read()
    except urllib.error.HTTPError as e:
        return e.code, e.headers, e.read()


def success(status, body):
    return status == 200 and body.get("status") == "success" and "data" in body


def result(kind, least=0):
    """A query's answer of this type, resultType before result (Grafana reads it as a stream), with at least so many series."""
    def check(status, headers, body, raw):
        data = body.get("data") or {}
        order = raw.find(b'"resultType"') < raw.find(b'"result":')
        return success(status, body) and headers["Content-Type"] == "application/json" and data["resultType"] == kind and order and len(data["result"]) >= least
    return check


def points_on_grid(start, end, step):
    def check(status, headers, body, raw):
        if not result("matrix")(status, headers, body, raw):
            return False
        for series in body["data"]["result"]:
            for t, v in series["values"]:
                if not isinstance(v, str) or not start <= t <= end or abs((t - start) / step - round((t - start) / step)) > 1e-6:
                    return False
        return True
    return check


def strings(*must):
    def check(status, _headers, body, _raw):
        return success(status, body) and body["data"] == sorted(body["data"]) and all(m in body["data"] for m in must)
    return check


def at_most(n):
    def check(status, _headers, body, _raw):
        return success(status, body) and len(body["data"]) <= n
    return check


def data_is(want):
    def check(status, _headers, body, _raw):
        return success(status, body) and body["data"] == want
    return check


def error(status_wanted, kind):
    def check(status, _headers, body, _raw):
        return status == status_wanted and body.get("status") == "error" and body.get("errorType") == kind and body.get("error")
    return check


def label_sets(least):
    def check(status, _headers, body, _raw):
        return success(status, body) and len(body["data"]) >= least and all(isinstance(s, dict) for s in body["data"])
    return check


def buildinfo(status, _headers, body, _raw):
    data = body.get("data", {})
    major = data.get("version", "0.0.0").split(".")
    features = data.get("features", {})
    return success(status, body) and (int(major[0]), int(major[1])) >= (2, 24) and all(isinstance(v, str) for v in features.values())


def metadata(full):
    def check(status, _headers, body, _raw):
        rows = body.get("data", {})
        good = all(isinstance(v, list) and all({"type", "help", "unit"} <= set(m) for m in v) for v in rows.values())
        return success(status, body) and good and (not full or "app_requests_total" in rows)
    return check


def requests(full, start, end):
    """start, end: seconds; a range that the data of a full cluster covers."""
    n = 1 if full else 0
    rate = 'sum by (handler) (rate(app_requests_total{job="api"}[1m]))'
    ms = [("start", int(start * 1000)), ("end", int(end * 1000))]
    span = [("start", f"{start:.3f}"), ("end", f"{end:.3f}")]
    grid = [("start", str(int(start) // 15 * 15)), ("end", str(int(end) // 15 * 15)), ("step", "15")]
    want = ["app_requests_total"] if full else []
    rows = [
        ("health check", "POST", "query", [("query", "1+1"), ("time", "4")], lambda s, h, b, r: success(s, b) and b["data"] == {"resultType": "scalar", "result": [4, "2"]}),
        ("health check by GET", "GET", "query", [("query", "1+1"), ("time", "4")], result("scalar")),
        ("what is it", "GET", "status/buildinfo", [], buildinfo),
        ("exemplar probe, times in ms", "POST", "query_exemplars", [("query", "test"), *ms], data_is([])),
        ("exemplar probe by GET", "GET", "query_exemplars", [("query", "test"), *ms], data_is([])),
        ("rules for expansion", "GET", "rules", [], lambda s, h, b, r: success(s, b) and b["data"]["groups"] == []),
        ("rules of a file, both spellings", "GET", "rules", [("file", "ns"), ("file[]", "ns"), ("rule_group", "g"), ("rule_group[]", "g"), ("rule_name[]", "r")], lambda s, h, b, r: success(s, b) and b["data"]["groups"] == []),
        ("rules by type, a page", "GET", "rules", [("type", "alert"), ("exclude_alerts", "true"), ("group_limit", "40")], lambda s, h, b, r: success(s, b)),
        ("alerts", "GET", "alerts", [], lambda s, h, b, r: success(s, b) and b["data"]["alerts"] == []),
        ("metadata", "GET", "metadata", [], metadata(full)),
        ("metadata, limited", "GET", "metadata", [("limit", "1")], at_most(1)),
        ("metadata of one metric", "GET", "metadata", [("metric", "app_requests_total")], metadata(full)),
        ("panel, instant", "POST", "query", [("query", rate), ("time", f"{end:.3f}")], result("vector", n)),
        ("panel, instant by GET", "GET", "query", [("query", rate), ("time", f"{end:.3f}")], result("vector", n)),
        ("panel, range", "POST", "query_range", [("query", rate), *grid], points_on_grid(int(start) // 15 * 15, end, 15)),
        ("panel, range by GET", "GET", "query_range", [("query", rate), *grid], points_on_grid(int(start) // 15 * 15, end, 15)),
        ("panel, range with data", "POST", "query_range", [("query", rate), *grid], result("matrix", n)),
        ("panel, fractional step", "POST", "query_range", [("query", rate), *span, ("step", "7.5")], points_on_grid(start, end, 7.5)),
        ("panel with a timeout", "POST", "query_range", [("query", rate), *grid, ("timeout", "60s")], result("matrix", n)),
        ("incremental: the last ten minutes", "POST", "query_range", [("query", rate), ("start", f"{end - 600:.0f}"), ("end", f"{end:.0f}"), ("step", "15")], result("matrix", n)),
        ("heatmap of a native histogram", "POST", "query_range", [("query", "app_latency_seconds"), *grid], result("matrix", n)),
        ("raw samples", "POST", "query", [("query", "app_requests_total[1m]"), ("time", f"{end:.3f}")], result("matrix", n)),
        ("string", "POST", "query", [("query", '"x"'), ("time", "4")], lambda s, h, b, r: success(s, b) and b["data"] == {"resultType": "string", "result": [4, "x"]}),
        ("annotation", "POST", "query_range", [("query", "changes(app_start_time[1m]) > 0"), ("start", f"{start:.0f}"), ("end", f"{end:.0f}"), ("step", "60")], result("matrix")),
        ("statistics", "POST", "query", [("query", rate), ("time", f"{end:.3f}"), ("stats", "all")], lambda s, h, b, r: success(s, b) and {"timings", "samples"} == set(b["data"]["stats"])),
        ("label names", "GET", "labels", [*span], strings(*(["__name__", "handler", "job"] if full else []))),
        ("label names by POST", "POST", "labels", [*span, ("limit", "40000")], strings(*(["__name__", "handler"] if full else []))),
        ("label names of a metric", "POST", "labels", [("match[]", '{__name__="app_requests_total"}'), *span], strings(*(["handler"] if full else []))),
        ("label names of two", "GET", "labels", [("match[]", "app_requests_total"), ("match[]", "app_start_time"), *span], strings(*(["handler"] if full else []))),
        ("metric names", "GET", "label/__name__/values", [*span], strings(*want)),
        ("metric names, limited", "GET", "label/__name__/values", [*span, ("limit", "1")], at_most(1)),
        ("metric names like a word", "GET", "label/__name__/values", [*span, ("match[]", '{__name__=~".*requests.*"}'), ("limit", "1000")], strings(*want)),
        ("label values", "GET", "label/job/values", [*span, ("match[]", "app_requests_total")], strings(*(["api"] if full else []))),
        ("values of a label in UTF-8", "GET", "label/U__service_2e_name/values", [*span], strings(*(["shop"] if full else []))),
        ("values of no label", "GET", "label/nothing/values", [*span], data_is([])),
        ("series", "GET", "series", [("match[]", 'app_requests_total{job="api"}'), *span], label_sets(n)),
        ("series by POST", "POST", "series", [("match[]", '{__name__!=""}'), *span, ("limit", "2")], at_most(2)),
        ("format a query", "GET", "format_query", [("query", "sum(rate(x[5m]))by(y)")], data_is("sum by (y) (rate(x[5m]))")),
        ("parse a query", "POST", "parse_query", [("query", "foo")], lambda s, h, b, r: success(s, b) and b["data"]["type"] == "vectorSelector"),
        ("a mistake in a query", "POST", "query", [("query", "sum(("), ("time", "4")], error(400, "bad_data")),
        ("too many points", "POST", "query_range", [("query", "1"), ("start", "0"), ("end", "900000"), ("step", "1")], error(400, "bad_data")),
        ("an error while running", "POST", "query", [("query", "label_replace(vector(1), \"x\", \"$1\", \"y\", \"(\")"), ("time", "4")], lambda s, h, b, r: s in (400, 422) and b["status"] == "error"),
        ("flags", "GET", "status/flags", [], lambda s, h, b, r: success(s, b) and all(isinstance(v, str) for v in b["data"].values())),
        ("configuration", "GET", "status/config", [], lambda s, h, b, r: success(s, b) and "target" in b["data"]["yaml"]),
        ("cardinality", "GET", "status/tsdb", [("limit", "5")], lambda s, h, b, r: success(s, b) and len(b["data"]["seriesCountByMetricName"]) <= 5),
    ]
    return rows


def replay(cases, base, full, start, end):
    for name, method, path, params, check in requests(full, start, end):
        status, headers, raw = call(f"{base}/api/v1/{path}", method, params)
        try:
            good = check(status, headers, json.loads(raw), raw)
        except (ValueError, KeyError, TypeError, AttributeError) as e:
            good, raw = False, f"{e!r}: {raw[:300]}"
        cases.check(f"grafana, {'full' if full else 'empty'}: {name} ({method} {path})", good, status, raw)
    status, headers, raw = call(f"{base}/api/v1/status/config", "GET", [], {"Accept-Encoding": "gzip"})
    cases.check(f"grafana, {'full' if full else 'empty'}: answers are compressed when asked", status == 200 and headers["Content-Encoding"] == "gzip" and "Accept-Encoding" in headers.get_all("Vary"), headers)
