"""The comparison itself must see what differs, and nothing else."""


def answer(*series, kind="matrix"):
    return {"status": "success", "data": {"resultType": kind, "result": list(series)}}


def matrix(labels, *values):
    return {"metric": labels, "values": [[t, v] for t, v in values]}


def failed(kind):
    return {"status": "error", "errorType": kind, "error": "text"}


A, B = {"a": "1"}, {"a": "2"}
BASE = answer(matrix(A, (1, "1"), (2, "NaN")), matrix(B, (1, "+Inf"), (2, "1e9")))
SAME = {
    "other order": answer(matrix(B, (1, "+Inf"), (2, "1e9")), matrix(A, (1, "1"), (2, "NaN"))),
    "last digits": answer(matrix(A, (1, "1.0000000001"), (2, "NaN")), matrix(B, (1, "+Inf"), (2, "1000000000.1"))),
}
OTHER = {
    "a value": answer(matrix(A, (1, "1.00000001"), (2, "NaN")), matrix(B, (1, "+Inf"), (2, "1e9"))),
    "a number for NaN": answer(matrix(A, (1, "1"), (2, "2")), matrix(B, (1, "+Inf"), (2, "1e9"))),
    "the sign of Inf": answer(matrix(A, (1, "1"), (2, "NaN")), matrix(B, (1, "-Inf"), (2, "1e9"))),
    "a number for Inf": answer(matrix(A, (1, "1"), (2, "NaN")), matrix(B, (1, "1e308"), (2, "1e9"))),
    "a time": answer(matrix(A, (1, "1"), (3, "NaN")), matrix(B, (1, "+Inf"), (2, "1e9"))),
    "a point too few": answer(matrix(A, (1, "1")), matrix(B, (1, "+Inf"), (2, "1e9"))),
    "a series too few": answer(matrix(A, (1, "1"), (2, "NaN"))),
    "a series too many": answer(*BASE["data"]["result"], matrix({}, (1, "1"))),
    "a series twice": answer(*BASE["data"]["result"], matrix(A, (1, "1"), (2, "NaN"))),
    "a label": answer(matrix({"b": "1"}, (1, "1"), (2, "NaN")), matrix(B, (1, "+Inf"), (2, "1e9"))),
    "the type": answer(kind="vector"),
    "an error": failed("execution"),
}


def run(cases, difference):
    for name, other in SAME.items():
        cases.check(f"comparison: {name} is no difference", difference(BASE, other) is None)
    for name, other in OTHER.items():
        cases.check(f"comparison: {name} differs", difference(BASE, other) is not None)
    cases.check("comparison: kinds of errors differ", difference(failed("execution"), failed("bad_data")) is not None)
    cases.check("comparison: the same error", difference(failed("execution"), failed("execution")) is None)
