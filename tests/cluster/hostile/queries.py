"""The table of hostile queries: request, status, what the answer must say. All against a tenant with a few series; none may take long."""
import urllib.parse

import rows
from wire import sample, series

TENANT = "queries"
NOW_S = rows.NOW // 1000
BODIES = [rows.pb(*[series(rows.metric("q", i=str(i), pad="x" * 100), [sample(i, rows.NOW - 1000)]) for i in range(50)])]
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


class Query:
    def __init__(self, name, path, status, texts=(), method="GET", body=b"", headers=None, seconds=5, **params):
        self.name, self.method, self.status, self.seconds = "query: " + name, method, status, seconds
        self.statuses = [status] if isinstance(status, int) else list(status)
        self.texts = [texts] if isinstance(texts, str) else list(texts)
        self.headers = dict(headers or {})
        encoded = urllib.parse.urlencode(params, doseq=True)
        if len(encoded) > 4000:
            self.path, self.method, self.body = path, "POST", encoded.encode()
            self.headers.update(FORM)
        else:
            self.path, self.body = path + ("?" + encoded if encoded else ""), body


API = "/prometheus/api/v1/"


def instant(name, query, status, texts=(), **more):
    return Query(name, API + "query", status, texts, query=query, time=NOW_S, **more)


def ranged(name, status, texts=(), query="q", start=NOW_S - 600, end=NOW_S, step=60, **more):
    return Query(name, API + "query_range", status, texts, query=query, start=start, end=end, step=step, **more)


def promql():
    deep = 10000
    return [
        instant("fine", "count(q)", 200, '"50"'),
        instant("empty", "", 400, "bad_data"),
        instant("NUL", "q\0", 400, "bad_data"),
        instant("bad UTF-8 label", 'q{a="\udcff"}'.encode("utf-8", "surrogateescape"), 400, "bad_data"),
        instant("10,000 parentheses", "(" * deep + "q" + ")" * deep, [400, 422], "bad_data"),
        instant("10,000 minus signs", "-" * deep + "q", [400, 422], "bad_data"),
        instant("10,000 sums", "sum(" * deep + "q" + ")" * deep, [400, 422], "bad_data"),
        instant("unclosed parentheses", "(" * 100, 400, "bad_data"),
        instant("a chain of 20,000 additions", "+".join(["1"] * 20000), [200, 400, 422]),
        instant("text over 64 KiB", "q+" * 33000 + "q", [400, 413, 422], ["65536"]),
        instant("5,000 matchers", "q{" + ",".join(['a!="b"'] * 5000) + "}", [200, 400, 422]),
        instant("matches everything", '{a=~".*"}', 400, "bad_data"),
        instant("no matcher", "{}", 400, "bad_data"),
        instant("subquery of a year in milliseconds", "max_over_time(q[1y:1ms])", [400, 422], seconds=20),
        instant("offset beyond time", "q offset 1000000y", 400, "bad_data"),
        instant("@ far away", "q @ 1e300", 400, "bad_data"),
        instant("@ NaN", "q @ NaN", 400, "bad_data"),
        instant("topk of a billion", "topk(1e9, q)", 200),
        instant("topk of NaN", "topk(NaN, q)", [200, 422]),
        instant("quantile of infinity", "quantile(Inf, q)", 200, "+Inf"),
        instant("many to many", "q * on(pad) q", 422, "execution"),
        instant("group_left both sides many", "q * on(pad) group_left q", 422, "execution"),
        instant("labels that grow", "label_replace(" * 20 + "q" + ', "pad", "$1$1", "pad", "(.*)")' * 20, [200, 422], seconds=20),
        instant("count_values with a bad name", 'count_values("a\0b", q)', [200, 400, 422]),
        instant("a number of 100,000 digits", "1" * 50000, [200, 400]),
        instant("unknown function", "explode(q)", 400, "explode"),
        instant("duration that overflows", "rate(q[99999999999999999999s])", 400, "bad_data"),
    ]


def regexes():
    def regex(name, pattern, status=(200,), texts=()):
        return instant("regex " + name, "q{pad=~" + '"' + pattern.replace("\\", "\\\\").replace('"', '\\"') + '"}', status, texts)

    return [
        regex("nested plus", "(a+)+$"),
        regex("ambiguous repeat", "(.*a){25}"),
        regex("optional thousand", "(a?){1000}a{1000}", (200, 400)),
        regex("repeat bomb", "((((x{100}){100}){100}))", (400,), "bad_data"),
        regex("look-ahead", "(?=a)b", (400,), "bad_data"),
        regex("back-reference", r"(a)\1", (400,), "bad_data"),
        regex("any byte", r"\C", (200, 400)),
        regex("unclosed", "(", (400,), "bad_data"),
        regex("60 KB alternation", "|".join(f"x{i}" for i in range(9000)), (200, 400)),
    ]


def parameters():
    return [
        ranged("step 0", 400, "bad_data", step=0),
        ranged("step negative", 400, "bad_data", step=-1),
        ranged("step NaN", 400, "bad_data", step="NaN"),
        ranged("step +Inf", 400, "bad_data", step="Inf"),
        ranged("step 1e-9", 400, "bad_data", step="1e-9"),
        ranged("end before start", 400, "bad_data", start=NOW_S, end=NOW_S - 1),
        ranged("11,001 points", 400, "11,000", start=NOW_S - 11001, end=NOW_S, step=1),
        ranged("int64 start", [200, 400, 422], start="-9223372036854775", end="9223372036854775", step="1000000000000"),
        ranged("start of 1e400", 400, "bad_data", start="1e400"),
        ranged("start is no time", 400, "bad_data", start="yesterday"),
        ranged("a thousand years of range", [400, 422], ["limit"], start=0, end=40000000000, step=10000000),
        ranged("NaN start", 400, "bad_data", start="NaN"),
        Query("time hex", API + "query", 400, "bad_data", query="q", time="0x10"),
        Query("limit -1", API + "query", [200, 400], query="q", limit="-1"),
        Query("limit 1e309", API + "series", 400, "bad_data", **{"match[]": "q"}, limit="1e309"),
        Query("timeout negative", API + "query", 400, "bad_data", query="q", timeout="-1s"),
        Query("timeout garbage", API + "query", 400, "bad_data", query="q", timeout="soon"),
        Query("no match[]", API + "series", 400, "bad_data"),
        Query("empty match[]", API + "series", 400, "bad_data", **{"match[]": "{}"}),
        Query("10,000 match[]", API + "series", [200, 400, 413, 422], seconds=20, **{"match[]": [f"m{i}" for i in range(10000)]}),
        Query("label name with a slash", API + "label/a%2fb/values", [200, 400]),
        Query("label name with NUL", API + "label/a%00b/values", [200, 400]),
        Query("label name of U__ garbage", API + "label/U___zz_/values", [200, 400]),
        Query("label name with dots", API + "label/%2e%2e/values", 400),
        Query("bad escape", API + "query?query=%zz", 400),
        Query("multipart", API + "query", [400, 415], method="POST", body=b"--x\r\n\r\nquery\r\n--x--", headers={"Content-Type": "multipart/form-data; boundary=x"}),
        Query("tenant with a slash", API + "query", [400, 401], query="q", headers={"X-Scope-OrgID": "a/b"}),
        Query("too many tenants", API + "query", [400, 422], query="q", headers={"X-Scope-OrgID": "|".join(f"t{i}" for i in range(100))}),
        Query("method DELETE", API + "query", 405, method="DELETE"),
    ]


def all_rows():
    return promql() + regexes() + parameters()
