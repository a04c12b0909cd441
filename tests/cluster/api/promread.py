"""Remote read from the client's side, with the standard library: requests, both kinds of answers, and Prometheus's XOR chunks."""
import struct
import sys
import os
import urllib.error
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "interop"))
import remote_write as rw

SAMPLES, CHUNKS = 0, 1


def request(queries, types=()):
    """queries: (start_ms, end_ms, [(type, name, value)])."""
    out = b""
    for start, end, matchers in queries:
        q = rw.field_varint(1, start) + rw.field_varint(2, end)
        for kind, name, value in matchers:
            q += rw.field_bytes(3, (rw.field_varint(1, kind) if kind else b"") + rw.field_bytes(2, name.encode()) + rw.field_bytes(3, value.encode()))
        out += rw.field_bytes(1, q)
    return out + b"".join(rw.field_varint(2, t) for t in types)


def post(url, body, raw=False):
    headers = {"Content-Encoding": "snappy", "Content-Type": "application/x-protobuf", "X-Prometheus-Remote-Read-Version": "0.1.0"}
    r = urllib.request.Request(url, data=body if raw else rw.snappy(body), headers=headers, method="POST")
    try:
        with urllib.request.urlopen(r, timeout=60) as f:
            return f.status, f.headers, f.read()
    except urllib.error.HTTPError as e:
        return e.code, e.headers, e.read()


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def fields(data):
    at = 0
    while at < len(data):
        tag, at = varint(data, at)
        if tag & 7 == 0:
            value, at = varint(data, at)
        elif tag & 7 == 1:
            value, at = struct.unpack_from("<d", data, at)[0], at + 8
        else:
            n, at = varint(data, at)
            value, at = data[at:at + n], at + n
        yield tag >> 3, value


def signed(v):
    return v - (1 << 64) if v >> 63 else v


def unsnappy(data):
    n, at = varint(data, 0)
    out = bytearray()
    while at < len(data):
        tag = data[at]
        at += 1
        if tag & 3 == 0:
            length = tag >> 2
            if length >= 60:
                extra = length - 59
                length, at = int.from_bytes(data[at:at + extra], "little"), at + extra
            out += data[at:at + length + 1]
            at += length + 1
            continue
        if tag & 3 == 1:
            length, offset, at = (tag >> 2 & 7) + 4, (tag >> 5) << 8 | data[at], at + 1
        else:
            width = 2 if tag & 3 == 2 else 4
            length, offset, at = (tag >> 2) + 1, int.from_bytes(data[at:at + width], "little"), at + width
        for _ in range(length):
            out.append(out[-offset])
    assert len(out) == n
    return bytes(out)


def label_set(parts):
    out = []
    for p in parts:
        f = dict(fields(p))
        out.append((f[1].decode(), f[2].decode()))
    return tuple(out)


def samples_of(body):
    """[query][labels] -> [(t, value)] of an answer of type SAMPLES."""
    results = []
    for number, result in fields(unsnappy(body)):
        assert number == 1
        series = {}
        for _, ts in fields(result):
            parts, points, hists = [], [], 0
            for n, v in fields(ts):
                if n == 1:
                    parts.append(v)
                elif n == 2:
                    f = dict(fields(v))
                    points.append((signed(f.get(2, 0)), f.get(1, 0.0)))
                else:
                    hists += 1
            series[label_set(parts)] = (points, hists)
        results.append(series)
    return results


class Bits:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, n):
        v = 0
        for _ in range(n):
            v = v << 1 | (self.data[self.at >> 3] >> (7 - (self.at & 7)) & 1)
            self.at += 1
        return v

    def varint(self):
        v = shift = 0
        while True:
            b = self.take(8)
            v |= (b & 0x7F) << shift
            shift += 7
            if b < 0x80:
                return v


def xor_chunk(data):
    """Samples of a chunk in Prometheus's XOR encoding."""
    count, b = data[0] << 8 | data[1], Bits(data[2:])
    z = b.varint()
    t, bits, out, delta, lead, trail = z >> 1 ^ -(z & 1), b.take(64), [], 0, 0, 0
    out.append((t, bits))
    for i in range(1, count):
        if i == 1:
            delta = b.varint()
        else:
            width = next((w for w in (0, 14, 17, 20) if not b.take(1)), 64)
            d = b.take(width)
            if width and d > 1 << (width - 1):
                d -= 1 << width
            delta += d
        t += delta
        if b.take(1):
            if b.take(1):
                lead, n = b.take(5), b.take(6) or 64
                trail = 64 - lead - n
            bits ^= b.take(64 - lead - trail) << trail
        out.append((t, bits))
    return [(t, struct.unpack("<d", struct.pack("<Q", v))[0]) for t, v in out]


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def frames_of(body):
    """[(query, labels, [(mint, maxt, type, data)])] of a stream, checksums checked."""
    out, at = [], 0
    while at < len(body):
        n, at = varint(body, at)
        crc, message = int.from_bytes(body[at:at + 4], "big"), body[at + 4:at + 4 + n]
        at += 4 + n
        assert crc == crc32c(message), "checksum of a frame"
        query, parts, chunks = 0, [], []
        for number, v in fields(message):
            if number == 2:
                query = v
                continue
            for k, w in fields(v):
                if k == 1:
                    parts.append(w)
                else:
                    f = dict(fields(w))
                    chunks.append((signed(f.get(1, 0)), signed(f.get(2, 0)), f.get(3, 0), f[4]))
        out.append((query, label_set(parts), chunks))
    return out
