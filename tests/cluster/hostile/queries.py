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
        Query("10,000 match[]", API + "series", 400, "more than 4096 request parameters", **{"match[]": [f"m{i}" for i in range(10000)]}),
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


def bombs():
    """Little text, much work: refused by a ceiling, or answered. The seconds are ten times what an unhurried run under a sanitizer takes."""
    year = 365 * 86400
    some = [200, 422]
    grow = "label_replace(" * 24 + 'label_replace(vector(1), "a", "xxxxxxxx", "", "")' + ', "a", "$1$1", "a", "(.*)")' * 24
    wide = " or ".join(f'label_replace(q, "k", "{i}", "", "")' for i in range(40))
    nest = "sum_over_time(" * 12 + "vector(1)" + "[1h:1m])" * 12
    return [
        ranged("bomb: a millisecond subquery at every step of a month", some, query="max_over_time(vector(1)[1s:1ms])", start=NOW_S - 30 * 86400, step=300),
        ranged("bomb: the same over a year", [400, 422], query="max_over_time(q[1s:1ms])", start=NOW_S - year, step=year // 10000),
        instant("bomb: a year by milliseconds", "count_over_time(vector(1)[1y:1ms])", 422),
        instant("bomb: nested subqueries", nest, some),
        instant("bomb: nested subqueries by milliseconds", "sum_over_time(" * 6 + "vector(1)" + "[10m:1ms])" * 6, [422, 503], timeout="2s"),
        instant("bomb: nested subqueries of years", "sum_over_time(" * 50 + "q" + "[1y:1y])" * 50, [200, 400, 422]),
        instant("bomb: label_replace that doubles 24 times", grow, 422, "value is too long"),
        instant("bomb: label_join that doubles", "label_join(" * 100 + "q" + ', "pad", "", "pad", "pad")' * 100, 422, "value is too long"),
        instant("bomb: cross product by group_left", f"({wide}) * on () group_left () sum(q)", 200),
        instant("bomb: many to many of everything", f"({wide}) * on () group_left () ({wide})", 422, "execution"),
        instant("bomb: 390 operators over 50 series", " + ".join(["q"] * 390), 200),
        instant("bomb: 900 operators over 50 series", " + ".join(["q"] * 900), 422, "nested deeper than 400"),
        instant("bomb: 390 unions", " or ".join(["q"] * 390), 200),
        instant("bomb: count_values of distinct values", f'count_values("v", ({wide}) * 1.1)', 200),
        ranged("bomb: count_values at every step", some, query='count_values("v", sin(vector(time())))', start=NOW_S - 10999, step=1),
        ranged("bomb: topk of a billion at 11,000 steps", some, query="topk(1e9, q)", start=NOW_S - 10999, step=1),
        ranged("bomb: limitk and limit_ratio", some, query="limitk(1e18, q) or limit_ratio(-1, q)", start=NOW_S - 10999, step=1),
        instant("bomb: sort of sorts", "sort_by_label(" * 100 + "q" + ', "i", "pad")' * 100, 200),
        instant("bomb: sort_desc of unions", f"sort_desc({wide})", 200),
        instant("bomb: quantiles of infinity", "quantile_over_time(-Inf, q[10m]) or quantile_over_time(+Inf, q[10m]) or quantile_over_time(NaN, q[10m])", 200),
        instant("bomb: histogram_quantile of no buckets", 'histogram_quantile(0.9, label_replace(q, "le", "$1", "i", "(.*)"))', 200),
        ranged("bomb: histogram_quantile at 11,000 steps", some, query='histogram_quantile(0.9, sum by (le) (label_replace(q, "le", "$1", "i", "(.*)")))',
               start=NOW_S - 10999, step=1),
        instant("bomb: days of time functions", "+".join(f"{f}(vector(1e300))" for f in ("day_of_month", "day_of_week", "month", "year", "hour", "minute") * 20), 200),
        instant("bomb: 255 regular expressions", "q{" + ",".join(f'pad!~".*a{i}.*(b|c)+"' for i in range(255)) + "}", [200, 400], ()),
        instant("bomb: 10,000 matchers", "q{" + ",".join(['i!=""'] * 8000) + "}", 400, "more than 2000 matchers"),
        instant("bomb: an alternation of 900 KB", 'q{i=~"' + "|".join(f"{i:x}" for i in range(90000)) + '"}', [400, 413], ["65536"]),
        instant("bomb: offsets at the ends of time", "q offset 292y - q offset -292y", [200, 400, 422]),
        instant("bomb: @ at the ends of time", "q @ 9223372036854775 - q @ -9223372036854775", [200, 400, 422]),
        instant("bomb: smoothing of a billion", "double_exponential_smoothing(vector(1)[1y:1s], 0.5, 0.5)", 422),
        instant("bomb: durations that multiply", "q[1y * 1y * 1y]", [400, 422]),
        instant("bomb: info of everything", "info(q, {__name__=~\".+\"})", some),
        Query("bomb: 1,000 match[] of regular expressions", API + "labels", 200, seconds=20, **{"match[]": ['{i=~".*%d.*a"}' % i for i in range(1000)]}),
        Query("bomb: 1,001 match[]", API + "labels", 400, "more than 1000 match[]", **{"match[]": ["q"] * 1001}),
        Query("bomb: match[] of large regular expressions", API + "series", 400, "are too large", **{"match[]": ['{i=~"\\\\pL{10}a"}'] * 1000}),
        Query("bomb: format_query of 200 levels", API + "format_query", 200, query="(" * 199 + "q" + ")" * 199),
        Query("bomb: parse_query of 1,000 operators", API + "parse_query", [200, 400], query="+".join(["q"] * 1000)),
    ]


def all_rows():
    return promql() + regexes() + parameters() + bombs()
