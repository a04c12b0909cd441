"""Writes remote-write requests (1.0: protobuf in snappy's block format) with nothing but the standard library."""
import struct

STALE_BITS = 0x7FF0000000000002
RESET_UNKNOWN, RESET_YES, RESET_NO, RESET_GAUGE = range(4)


def float_of(bits):
    return struct.unpack("<d", struct.pack("<Q", bits))[0]


def varint(n):
    n &= (1 << 64) - 1
    out = bytearray()
    while n >= 0x80:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def zigzag(n):
    return varint((n << 1) ^ (n >> 63))


def field_varint(number, n):
    return varint(number << 3) + varint(n)


def field_double(number, v):
    """v: a float, or an int with the bits of one (a float object may lose a NaN's payload)."""
    return varint(number << 3 | 1) + (struct.pack("<Q", v) if isinstance(v, int) else struct.pack("<d", v))


def field_bytes(number, b):
    return varint(number << 3 | 2) + varint(len(b)) + b


def labels(ls):
    out = b""
    for name, value in sorted(ls.items()):
        out += field_bytes(1, field_bytes(1, name.encode()) + field_bytes(2, value.encode()))
    return out


def sample(t_ms, v):
    return field_bytes(2, field_double(1, v) + field_varint(2, t_ms))


def exemplar(ls, t_ms, v):
    return field_bytes(3, labels(ls) + field_double(2, v) + field_varint(3, t_ms))


def spans(number, ss):
    return b"".join(field_bytes(number, varint(1 << 3) + zigzag(offset) + field_varint(2, length)) for offset, length in ss)


def histogram(t_ms, schema, count, total, zero, positive, negative=(), integer=True, threshold=2.0 ** -128, hint=RESET_UNKNOWN):
    """positive, negative: {bucket index: count}; absolute counts, whatever the encoding needs is made of them."""
    out = field_varint(1, count) if integer else field_double(2, float(count))
    out += field_double(3, total) + varint(4 << 3) + zigzag(schema) + field_double(5, threshold)
    out += field_varint(6, zero) if integer else field_double(7, float(zero))
    for buckets, span_field in ((negative, 8), (positive, 11)):
        ss, counts, at = [], [], None
        for index in sorted(buckets or {}):
            if at is not None and index == at:
                ss[-1][1] += 1
            else:
                ss.append([index if at is None else index - at, 1])
            at = index + 1
            counts.append(buckets[index])
        out += spans(span_field, ss)
        if integer:
            deltas = [c - (counts[i - 1] if i else 0) for i, c in enumerate(counts)]
            if deltas:
                out += field_bytes(span_field + 1, b"".join(zigzag(d) for d in deltas))
        elif counts:
            out += field_bytes(span_field + 2, b"".join(struct.pack("<d", c) for c in counts))
    return field_bytes(4, out + field_varint(14, hint) + field_varint(15, t_ms))


def series(ls, *parts):
    return field_bytes(1, labels(ls) + b"".join(parts))


def metadata(name, kind, text, unit=""):
    return field_bytes(3, field_varint(1, kind) + field_bytes(2, name.encode()) + field_bytes(4, text.encode()) + field_bytes(5, unit.encode()))


def snappy(data):
    """Literals only: valid, and no smaller."""
    out = bytearray(varint(len(data)))
    for i in range(0, len(data), 65536):
        part = data[i:i + 65536]
        out += bytes([61 << 2]) + struct.pack("<H", len(part) - 1) + part
    return bytes(out)


HEADERS = {"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy", "X-Prometheus-Remote-Write-Version": "0.1.0"}
