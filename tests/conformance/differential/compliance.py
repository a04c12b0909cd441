"""The query list of the PromQL compliance tester: a small reader of its YAML (a list of maps of scalars and flow lists, nothing else) and the expansion of
its templates."""
import itertools
import re

ARGS = {
    "range": ["1s", "15s", "1m", "5m", "15m", "1h"],
    "offset": ["1m", "5m", "10m"],
    "simpleAggrOp": ["sum", "avg", "max", "min", "count", "stddev", "stdvar"],
    "simpleTimeAggrOp": ["sum", "avg", "max", "min", "count", "stddev", "stdvar", "absent", "last"],
    "topBottomOp": ["topk", "bottomk"],
    "quantile": ["-0.5", "0.1", "0.5", "0.75", "0.95", "0.90", "0.99", "1", "1.5"],
    "arithBinOp": ["+", "-", "*", "/", "%", "^"],
    "compBinOp": ["==", "!=", "<", ">", "<=", ">="],
    "binOp": ["+", "-", "*", "/", "%", "^", "==", "!=", "<", ">", "<=", ">="],
    "simpleMathFunc": ["abs", "ceil", "floor", "exp", "sqrt", "ln", "log2", "log10", "round"],
    "extrapolatedRateFunc": ["delta", "rate", "increase"],
    "clampFunc": ["clamp_min", "clamp_max"],
    "instantRateFunc": ["idelta", "irate"],
    "dateFunc": ["day_of_month", "day_of_week", "days_in_month", "hour", "minute", "month", "year"],
}

# Where 3.x is not 2.42: query and cause. They must differ.
DIFFERENCES = {
    'label_replace(demo_num_cpus, "~invalid", "", "src", "(.*)")': "label names may be any UTF-8 text in 3.x",
    'label_join(demo_num_cpus, "~invalid", "-", "instance")': "label names may be any UTF-8 text in 3.x",
}


def scalar(text):
    text = text.strip()
    if text[:1] == "'":
        return text[1:-1].replace("''", "'")
    if text[:1] == '"':
        return text[1:-1]
    return text


def cases(path):
    """[(query template, names of its arguments)]"""
    out, inside = [], False
    with open(path, encoding="utf-8") as f:
        for line in f:
            line = line.strip()
            if line == "test_cases:":
                inside = True
            if not inside or line.startswith("#"):
                continue
            found = re.match(r"(?:- )?(query|variant_args): *(.*)$", line)
            if found and found[1] == "query":
                out.append((scalar(found[2]), []))
            elif found:
                out[-1][1].extend(scalar(a) for a in found[2].strip("[]").split(","))
    return out


def expand(path):
    out = []
    for query, names in cases(path):
        for values in itertools.product(*(ARGS[n] for n in names)):
            text = query
            for name, value in zip(names, values):
                text = text.replace("{{." + name + "}}", value)
            out.append(text)
    return out
