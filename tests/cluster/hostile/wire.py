"""Remote Write bodies by hand: blocks that compress nothing, protobuf fields, and the messages of 1.0 and 2.0 built of them.
Nothing is checked here: the tests build what no sane sender would."""
import struct
import zlib

MASK64 = (1 << 64) - 1


def varint(v):
    v &= MASK64
    out = bytearray()
    while v >= 0x80:
        out.append(v & 0x7F | 0x80)
        v >>= 7
    out.append(v)
    return bytes(out)


def zigzag(v):
    return varint((v << 1) ^ (v >> 63))


def tag(number, wire):
    return varint(number << 3 | wire)


def f_varint(number, v):
    return tag(number, 0) + varint(v)


def f_sint(number, v):
    return tag(number, 0) + zigzag(v)


def f_fixed64(number, bits):
    return tag(number, 1) + struct.pack("<Q", bits)


def f_double(number, v):
    return tag(number, 1) + struct.pack("<d", v)


def f_bytes(number, data):
    if isinstance(data, str):
        data = data.encode()
    return tag(number, 2) + varint(len(data)) + data


# --- messages ---

def label(name, value):
    return f_bytes(1, name) + f_bytes(2, value)


def labels(pairs):
    if isinstance(pairs, dict):
        pairs = pairs.items()
    return b"".join(f_bytes(1, label(n, v)) for n, v in pairs)


def sample(v, t):
    return f_double(1, v) + f_varint(2, t)


def sample_bits(bits, t):
    return f_fixed64(1, bits) + f_varint(2, t)


def exemplar(pairs, v, t):
    return labels(pairs) + f_double(2, v) + f_varint(3, t)


def spans(number, list_):
    return b"".join(f_bytes(number, f_sint(1, offset) + f_varint(2, length)) for offset, length in list_)


def packed_sint(number, list_):
    return f_bytes(number, b"".join(zigzag(v) for v in list_))


def packed_double(number, list_):
    return f_bytes(number, b"".join(struct.pack("<d", v) for v in list_))


def histogram(t, count=6, schema=0, sum_=18.4, zero_threshold=1e-128, zero=1, pos=((0, 2),), deltas=(1, 3), neg=(), neg_deltas=(),
              custom=(), hint=0, extra=b""):
    """An integer histogram: 1 in the zero bucket, 1 and 4 in the first two positive ones."""
    out = f_varint(1, count) + f_double(3, sum_) + f_sint(4, schema) + f_double(5, zero_threshold) + f_varint(6, zero)
    out += spans(8, neg) + (packed_sint(9, neg_deltas) if neg_deltas else b"")
    out += spans(11, pos) + (packed_sint(12, deltas) if deltas else b"")
    out += f_varint(14, hint) + f_varint(15, t)
    return out + (packed_double(16, custom) if custom else b"") + extra


def float_histogram(t, count=6.0, schema=0, sum_=18.4, zero=1.0, pos=((0, 2),), counts=(1.0, 4.0)):
    out = f_double(2, count) + f_double(3, sum_) + f_sint(4, schema) + f_double(5, 1e-128) + f_double(7, zero)
    return out + spans(11, pos) + packed_double(13, counts) + f_varint(15, t)


def series(pairs, samples=(), exemplars=(), histograms=(), extra=b""):
    out = pairs if isinstance(pairs, bytes) else labels(pairs)
    out += b"".join(f_bytes(2, s) for s in samples)
    out += b"".join(f_bytes(3, e) for e in exemplars)
    return out + b"".join(f_bytes(4, h) for h in histograms) + extra


def metadata(metric, type_=1, help_="h", unit="u"):
    return f_varint(1, type_) + f_bytes(2, metric) + f_bytes(4, help_) + f_bytes(5, unit)


def request(all_series=(), metas=(), extra=b""):
    return b"".join(f_bytes(1, s) for s in all_series) + b"".join(f_bytes(3, m) for m in metas) + extra


# --- messages of 2.0: strings are numbers of a table ---

class Table:
    """The symbols of one request; the first is the empty string."""

    def __init__(self):
        self.symbols = {"": 0}

    def ref(self, text):
        return self.symbols.setdefault(text, len(self.symbols))

    def refs(self, pairs):
        return [self.ref(s) for pair in pairs for s in pair]

    def fields(self):
        return b"".join(f_bytes(4, s) for s in self.symbols)


def refs2(list_):
    return f_bytes(1, b"".join(varint(r) for r in list_))


def sample2(v, t, start=0):
    return sample(v, t) + (f_varint(3, start) if start else b"")


def exemplar2(refs, v, t):
    return refs2(refs) + f_double(2, v) + f_varint(3, t)


def metadata2(type_=0, help_ref=0, unit_ref=0):
    return f_varint(1, type_) + f_varint(3, help_ref) + f_varint(4, unit_ref)


def series2(refs, samples=(), histograms=(), exemplars=(), meta=None, extra=b""):
    out = refs if isinstance(refs, bytes) else refs2(refs)
    out += b"".join(f_bytes(2, s) for s in samples) + b"".join(f_bytes(3, h) for h in histograms)
    return out + b"".join(f_bytes(4, e) for e in exemplars) + (f_bytes(5, meta) if meta else b"") + extra


def request2(table, all_series, extra=b""):
    return (table if isinstance(table, bytes) else table.fields()) + b"".join(f_bytes(5, s) for s in all_series) + extra


# --- gzip, zstd ---

def gzip(data):
    packer = zlib.compressobj(wbits=31)
    return packer.compress(data) + packer.flush()


def zstd(data, claim=None, sized=True):
    """One frame of raw blocks; not sized: a window of 1 MiB and no length."""
    size = len(data) if claim is None else claim
    out = struct.pack("<I", 0xFD2FB528) + (b"\xa0" + struct.pack("<I", size) if sized else b"\x00\x50")
    blocks = [data[i:i + 65536] for i in range(0, len(data), 65536)] or [b""]
    for i, block in enumerate(blocks):
        out += struct.pack("<I", len(block) << 3 | (i == len(blocks) - 1))[:3] + block
    return out


# --- snappy, block format ---

def literal(data):
    n = len(data) - 1
    if n < 60:
        return bytes([n << 2]) + data
    size = (n.bit_length() + 7) // 8
    return bytes([(59 + size) << 2]) + n.to_bytes(size, "little") + data


def copy2(offset, length):
    """A copy of 1 to 64 bytes with a two-byte offset."""
    return bytes([(length - 1) << 2 | 2]) + struct.pack("<H", offset)


def snappy(data, claim=None):
    head = varint(len(data) if claim is None else claim)
    return head + (literal(data) if data else b"")
