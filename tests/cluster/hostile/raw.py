"""Cases that need bytes on the socket: lies about lengths, repeated headers, bodies that grow."""
import rows
import wire


def head(*lines, path="/api/v1/push", method="POST"):
    all_lines = [f"{method} {path} HTTP/1.1", "Host: t", "Content-Type: application/x-protobuf", "Content-Encoding: snappy", *lines]
    return "\r\n".join(all_lines).encode("latin-1") + b"\r\n\r\n"


def chunked(total, piece=65536):
    part = b"a" * piece
    return b"".join(b"%x\r\n%s\r\n" % (piece, part) for _ in range(total // piece)) + b"0\r\n\r\n"


def chunks_of(body, n):
    parts = [body[i:i + n] for i in range(0, len(body), n)]
    return b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in parts) + b"0\r\n\r\n"


def cases():
    """(name, bytes, statuses allowed (0: closed without an answer), text, shut our side)"""
    body = rows.VALID
    length = f"Content-Length: {len(body)}"
    return [
        ("raw: a valid push", head(length) + body, [204], "", False),
        ("raw: one byte a chunk", head("Transfer-Encoding: chunked") + chunks_of(body, 1), [204], "", False),
        ("raw: length over the limit, no body", head("Content-Length: 1000000000"), [413], "1000000", False),
        ("raw: length of 2^63", head("Content-Length: 9223372036854775808"), [400], "Content-Length", False),
        ("raw: negative length", head("Content-Length: -1"), [400], "", False),
        ("raw: two lengths", head(length, "Content-Length: 1") + body, [400], "", False),
        ("raw: length and chunked", head(length, "Transfer-Encoding: chunked") + chunks_of(body, 9), [400], "", False),
        ("raw: chunks that grow over the limit", head("Transfer-Encoding: chunked") + chunked(1100000), [413], "1000000", False),
        ("raw: chunks that do not end", head("Transfer-Encoding: chunked") + chunked(8 << 20), [413, 0], "", False),
        ("raw: chunk of 2^64", head("Transfer-Encoding: chunked") + b"10000000000000000\r\n", [400, 413, 0], "", False),
        ("raw: body shorter than its length", head(f"Content-Length: {len(body) + 9}") + body, [400, 408, 0], "", True),
        ("raw: body longer than its length", head(f"Content-Length: {len(body) - 1}") + body, [400], "snappy", False),
        ("raw: chunked body that breaks off", head("Transfer-Encoding: chunked") + b"ff\r\nabc", [400, 408, 0], "", True),
        ("raw: no length at all", head(), [400, 411], "", False),
        ("raw: two tenants", head("X-Scope-OrgID: a", "X-Scope-OrgID: b", length) + body, [400], "X-Scope-OrgID is repeated", False),
        ("raw: two content types", head("Content-Type: text/plain", length) + body, [400], "Content-Type is repeated", False),
        ("raw: tenant folded over two lines", head("X-Scope-OrgID: a\r\n b", length) + body, [400], "", False),
        ("raw: tenant with NUL", head("X-Scope-OrgID: a\0b", length) + body, [400], "", False),
        ("raw: tenant with a bare CR", head("X-Scope-OrgID: a\rb", length) + body, [400], "", False),
        ("raw: 200 headers", head(*[f"H{i}: x" for i in range(200)], length) + body, [431], "", False),
        ("raw: header of 1 MiB", head("X: " + "x" * (1 << 20), length) + body, [431, 413, 0], "", False),
        ("raw: HTTP/0.9", b"POST /api/v1/push\r\n\r\n", [400, 0, 505], "", False),
        ("raw: garbage", bytes(range(256)) * 4, [400, 0], "", True),
        ("raw: TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200), [400, 0], "", True),
        ("raw: Expect with too large a body", head("Expect: 100-continue", "Content-Length: 1000000000"), [413], "1000000", False),
    ]


def sweep_body():
    """Every kind of field once, small."""
    w, now = wire, rows.NOW
    one = w.series(rows.metric("sweep", job="x"), [w.sample(1.5, now), w.sample(2.5, now + 1)], [w.exemplar([("trace_id", "abc")], 1.0, now)])
    two = w.series(rows.metric("sweep_h"), histograms=[w.histogram(now, neg=((1, 1),), neg_deltas=(2,), count=8)])
    return w.request([one, two], [w.metadata("sweep", help_="help")])
