"""Random queries, well typed, over the metrics of data.py; only where Prometheus 2.x and 3.x mean the same (docs/conformance.md lists what is left out)."""

GAUGES = ["temperature", "balance", "flaky", "quota", "odd", "build_info"]
COUNTERS = ["requests_total", "bytes_total", "latency_seconds_count", "latency_seconds_sum", "latency_seconds_bucket"]
LABELS = {
    "requests_total": ["job", "instance", "code"], "bytes_total": ["job", "instance", "device"], "temperature": ["job", "instance", "zone"],
    "balance": ["job", "instance"], "flaky": ["job", "instance"], "quota": ["job"], "odd": ["case"], "build_info": ["job", "instance", "version"],
    "latency_seconds_count": ["job", "instance"], "latency_seconds_sum": ["job", "instance"], "latency_seconds_bucket": ["job", "instance", "le"],
}
VALUES = {
    "job": ["api", "db", "web"], "instance": ["a", "b", "c", "d"], "code": ["200", "404", "500"], "device": ["x", "y"], "zone": ["A", "B", "C", "D"],
    "case": ["nan", "inf", "some", "zero", "both"], "version": ["1.0", "1.1", "2.0"], "le": ["0.01", "0.5", "5", "+Inf"],
}
REGEXES = {"job": ["a.*", "db|web", ".+", "a?pi"], "instance": ["a|b", "[b-d]", ".*", "[^a]"], "code": ["[45]..", "200|404"], "case": ["n.*", "some|zero"],
           "version": ["1[.].", ".*0"], "zone": ["A|C", "[A-B]"], "device": ["x|z", ".+"], "le": ["0[.].*", "[+]Inf|5"]}
MATH = ["abs", "sqrt", "ln", "log2", "log10", "atan", "asinh", "tanh", "deg", "rad", "acos"]
# These make much of a last bit that differs, so they get samples as they are.
STEEP = ["ceil", "floor", "sgn", "exp", "sin", "cos", "tan", "cosh"]
DATES = ["day_of_month", "day_of_week", "day_of_year", "days_in_month", "hour", "minute", "month", "year"]
OVER_TIME = ["avg_over_time", "sum_over_time", "min_over_time", "max_over_time", "count_over_time", "last_over_time", "present_over_time",
             "stddev_over_time", "stdvar_over_time"]
AGGREGATIONS = ["sum", "avg", "min", "max", "count", "group"]


class Generator:
    def __init__(self, rng, t0_s, seconds):
        self.rng, self.t0_s, self.seconds = rng, t0_s, seconds

    def pick(self, *of):
        return self.rng.choice(of)

    def chance(self, p):
        return self.rng.random() < p

    # --- pieces ---
    def number(self):
        return self.pick("0", "1", "2", "-1", "0.5", "10", "3.7", "100", "1e3", "-2.5")

    def duration(self):
        return self.pick("45s", "1m", "2m", "3m30s", "5m", "10m", "15m", "20m")

    def modifiers(self, at=True):
        out = ""
        if self.chance(0.12):
            out += f" offset {self.pick('30s', '1m', '5m', '-1m', '7m')}"
        if at and self.chance(0.08):
            # Off the grid of samples, as all times.
            at = self.pick("start()", "end()", f"{self.t0_s + self.rng.randrange(self.seconds // 2, self.seconds)}.337")
            out += f" @ {at}"
        return out

    def matchers(self, name):
        out = []
        for label in LABELS[name]:
            if self.chance(0.75):
                continue
            value = self.rng.choice(VALUES[label])
            if self.chance(0.5):
                out.append(f'{label}{self.pick("=", "=", "!=")}"{value}"')
            else:
                out.append(f'{label}{self.pick("=~", "!~")}"{self.rng.choice(REGEXES[label])}"')
        if self.chance(0.03):
            out.append(self.pick('nosuch=""', 'nosuch="x"', 'nosuch!=""'))
        return "{" + ",".join(out) + "}" if out else ""

    def selector(self, names=None, at=True):
        """(text, labels)"""
        name = self.rng.choice(names or GAUGES + COUNTERS)
        return name + self.matchers(name) + self.modifiers(at), LABELS[name]

    def matrix(self, names, depth, at=True):
        name = self.rng.choice(names)
        if depth > 0 and self.chance(0.2):
            inner, labels = self.vector(depth - 1)
            # 7 ms, so that the first inner time of a nested subquery is not on its bound.
            length = self.pick(61_007, 180_007, 300_007, 600_007)
            return f"({inner})[{length}ms:{self.pick('15s', '30s', '1m', '')}]{self.modifiers()}", labels
        return f"{name}{self.matchers(name)}[{self.duration()}]{self.modifiers(at)}", LABELS[name]

    def some(self, labels):
        return [x for x in labels if self.chance(0.5)]

    # --- vectors: (text, labels that its series may have, without the name) ---
    def plain(self):
        """Finite numbers only."""
        text, labels = self.selector(["temperature", "balance", "bytes_total", "requests_total", "flaky", "latency_seconds_sum"])
        return (f"abs({text})" if self.chance(0.3) else text), labels

    def rate(self):
        text, labels = self.matrix(COUNTERS, 0)
        f = self.pick("rate", "rate", "increase", "irate", "resets", "changes")
        return f"{f}({text})", labels

    def over_time(self, depth):
        text, labels = self.matrix(GAUGES + COUNTERS, depth)
        kind = self.rng.randrange(10)
        if kind == 0:
            return f"quantile_over_time({self.pick('0', '0.25', '0.5', '0.9', '1', '-1', '2')}, {text})", labels
        if kind == 1:
            text, labels = self.matrix(["temperature", "balance", "bytes_total"], 0)
            return f"{self.pick('deriv', 'delta', 'idelta')}({text})", labels
        if kind == 2:
            text, labels = self.matrix(["temperature", "bytes_total"], 0, at=False)
            return f"predict_linear({text}, {self.pick('60', '600', '3600')})", labels
        return f"{self.rng.choice(OVER_TIME)}({text})", labels

    def function(self, depth):
        text, labels = self.vector(depth - 1)
        kind = self.rng.randrange(12)
        if kind <= 3:
            return f"{self.rng.choice(MATH)}({text})", labels
        if kind == 4:
            text, labels = self.selector(["temperature", "balance", "quota"])
            return f"{self.rng.choice(STEEP)}({text})", labels
        if kind == 5:
            text, labels = self.selector()
            return f"round({text}, {self.pick('1', '0.5', '10', '0.001')})", labels
        if kind == 6:
            return self.pick(f"clamp({text}, {self.number()}, {self.number()})", f"clamp_min({text}, {self.number()})", f"clamp_max({text}, {self.number()})"), labels
        if kind == 7:
            return f"-({text})", labels
        if kind == 8:
            text, labels = self.plain()
            return f"{self.rng.choice(DATES)}({text}{self.pick('', ' * 1e6', ' * -1e4')})", labels
        if kind == 9:
            source = self.rng.choice(labels) if labels else "job"
            return f'label_replace({text}, "{self.pick("copy", "job", "zone")}", "{self.pick("x-$1", "$1", "", "k")}", "{source}", "{self.pick("(.*)", "(.).*", "a(.*)", "")}")', labels + ["copy"]
        if kind == 10:
            return f'label_join({text}, "{self.pick("joined", "instance")}", "{self.pick("-", "")}", "job", "instance")', labels + ["joined"]
        selector, labels = self.selector(at=False)
        return f"timestamp({selector})", labels

    def aggregation(self, depth):
        text, labels = self.vector(depth - 1)
        grouping = self.some(labels + ["nosuch"] * self.chance(0.05))
        kind = self.rng.randrange(12)
        if self.chance(0.5):
            by, left = f" by ({', '.join(grouping)}) ", grouping
        elif self.chance(0.6):
            by, left = f" without ({', '.join(grouping)}) ", [x for x in labels if x not in grouping]
        else:
            by, left = "", []
        if kind == 0:
            # Of values that are all different: who wins a tie is nobody's promise.
            text, labels = self.selector(["temperature", "bytes_total"])
            return f"{self.pick('topk', 'bottomk')}{by if set(grouping) <= set(labels) else ''}({self.pick('1', '2', '5', '100')}, {text})", labels
        if kind == 1:
            return f"quantile{by}({self.pick('0', '0.3', '0.5', '0.99', '1', '-1', '1.1')}, {text})", left
        if kind == 2:
            text, labels = self.plain()
            by = by if set(grouping) <= set(labels) else ""
            return f'count_values{by}("value", {self.rng.choice(["round", "sgn"])}({text}))', (left if by else []) + ["value"]
        if kind == 3:
            text, labels = self.plain()
            return f"{self.pick('stddev', 'stdvar')}{by if set(grouping) <= set(labels) else ''}({text})", labels
        return f"{self.rng.choice(AGGREGATIONS)}{by}({text})", left

    def binary(self, depth):
        if self.chance(0.4):
            if self.chance(0.2):
                text, labels = self.plain()
                return f"({text}) {self.pick('%', '^')} {self.number()}", labels
            text, labels = self.vector(depth - 1)
            op = self.pick("+", "-", "*", "/", "==", "!=", "<", ">", "<=", ">=", "== bool", "< bool", ">= bool")
            scalar = self.scalar(depth - 1)
            return (f"({text}) {op} {scalar}" if self.chance(0.6) else f"{scalar} {op} ({text})"), labels
        return self.join(depth)

    def join(self, depth):
        left, a = self.vector(depth - 1)
        if self.chance(0.35):
            # The same series on both sides, so that something matches.
            right, b = (left, a) if self.chance(0.5) else self.function(depth) if depth > 1 else (left, a)
        else:
            right, b = self.vector(depth - 1)
        both = [x for x in a if x in b]
        if self.chance(0.3):
            op = self.pick("and", "or", "unless")
            on = f"on ({', '.join(self.some(both))})" if self.chance(0.4) else ""
            return f"({left}) {op} {on} ({right})", list(dict.fromkeys(a + b))
        if self.chance(0.25):
            # 3.x counts pairs before the comparison drops some, 2.x after: every pair must be unique anyway.
            return f"({left}) {self.pick('==', '!=', '>', '<=')} {self.pick('-', '0.5 * ')}({left})", a
        op = self.pick("+", "-", "*", "/", "== bool", "!= bool", "> bool")
        if self.chance(0.35):
            # Many to one: the right side is one series for each group.
            group = both[:2]
            if group:
                include = f" ({self.rng.choice(group)})" if self.chance(0.2) else ""
                return f"({left}) {op} on ({', '.join(group)}) group_left{include} (sum by ({', '.join(group)}) ({right}))", a
        match = self.pick("", f"on ({', '.join(both)})", f"ignoring ({', '.join(x for x in a + b if x not in both)})")
        return f"({left}) {op} {match} ({right})", both

    def special(self, depth):
        kind = self.rng.randrange(6)
        if kind == 0:
            return f"vector({self.scalar(depth - 1)})", []
        if kind == 1:
            return f"absent({self.selector()[0]})", []
        if kind == 2:
            text, _ = self.matrix(GAUGES, 0)
            return f"absent_over_time({text})", []
        q = self.pick("0", "0.1", "0.5", "0.9", "0.99", "1", "-1", "2")
        inner, labels = f"rate(latency_seconds_bucket{self.matchers('latency_seconds_count')}[{self.pick('2m', '5m', '10m')}])", ["job", "instance"]
        if kind == 3:
            by = self.some(["job", "instance"])
            inner, labels = f"sum by ({', '.join(by + ['le'])}) ({inner})", by
        return f"histogram_quantile({q}, {inner})", labels

    def vector(self, depth):
        if depth <= 0:
            return self.selector()
        kind = self.rng.randrange(100)
        if kind < 10:
            return self.selector()
        if kind < 25:
            return self.rate()
        if kind < 43:
            return self.over_time(depth)
        if kind < 60:
            return self.function(depth)
        if kind < 78:
            return self.aggregation(depth)
        if kind < 92:
            return self.binary(depth)
        return self.special(depth)

    def scalar(self, depth):
        kind = self.rng.randrange(10)
        if depth <= 0 or kind < 6:
            return self.number()
        if kind == 6:
            return "time()"
        if kind == 7:
            return f"scalar({self.vector(depth - 1)[0]})"
        if kind == 8:
            return "pi()"
        return f"({self.scalar(depth - 1)} {self.pick('+', '-', '*', '/')} {self.scalar(depth - 1)})"

    def query(self):
        if self.chance(0.03):
            return self.scalar(3)
        return self.vector(self.pick(1, 2, 2, 3, 3, 4))[0]
