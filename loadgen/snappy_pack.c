#include "loadgen/snappy_pack.h"

#include "common/base/bytes.h"

enum {
    MATCH_MIN = 4,
    OFFSET_MAX = 65535,
    HASH_BITS = 16,
    CHAIN_MAX = 4,   /* candidates that are tried, */
    LONG_MATCH = 64, /* until one is that long */
    SHORT_LITERAL_MAX = 60,
    COPY_MAX = 64,
};
/* What a position holds as far as matching is concerned: a byte, byte i of the time, or something that equals nothing. */
enum { SYMBOL_TIME = 256, SYMBOL_OWN = 0xffff };

struct packing {
    const struct skeleton *s;
    uint16_t *symbols;
    size_t n;
    int32_t *last;    /* of a hash: the newest position, or -1 */
    int32_t *before;  /* of a position, modulo OFFSET_MAX + 1: the position before it with the same hash */
    size_t literal;   /* from here on nothing is written yet */
    size_t mark;      /* the next one that no literal or copy has covered */
    struct buf *out;
    struct patches *patches;
};

static uint32_t hash_at(const struct packing *p, size_t at)
{
    uint64_t v;

    memcpy(&v, p->symbols + at, sizeof v);
    return (uint32_t)(v * 0x9e3779b97f4a7c15ULL >> (64 - HASH_BITS));
}

static void learn(struct packing *p, size_t at)
{
    uint32_t h;

    if (at + MATCH_MIN > p->n)
        return;
    h = hash_at(p, at);
    p->before[at & OFFSET_MAX] = p->last[h];
    p->last[h] = (int32_t)at;
}

static size_t match_length(const struct packing *p, size_t from, size_t at)
{
    size_t n = 0;

    /* Four at a time; only SYMBOL_OWN has the upper bit. */
    for (uint64_t a, b; at + n + 4 <= p->n; n += 4) {
        memcpy(&a, p->symbols + from + n, sizeof a);
        memcpy(&b, p->symbols + at + n, sizeof b);
        if (a != b || (b & 0x8000800080008000ULL))
            break;
    }
    while (at + n < p->n && p->symbols[from + n] == p->symbols[at + n] && p->symbols[at + n] != SYMBOL_OWN)
        n++;
    return n;
}

static size_t longest(const struct packing *p, size_t at, size_t *ret_from)
{
    size_t best = 0;
    int32_t from;

    if (at + MATCH_MIN > p->n)
        return 0;
    from = p->last[hash_at(p, at)];
    for (int i = 0; i < CHAIN_MAX && best < LONG_MATCH && from >= 0 && at - (size_t)from <= OFFSET_MAX; i++) {
        size_t n = match_length(p, (size_t)from, at);

        if (n > best) {
            best = n;
            *ret_from = (size_t)from;
        }
        from = p->before[from & OFFSET_MAX];
    }
    return best >= MATCH_MIN ? best : 0;
}

/* Marks within [at, at + n) of the skeleton, which are written to the block at position to. */
static void note_patches(struct packing *p, size_t at, size_t n, size_t to)
{
    for (size_t i = p->mark; i < p->s->marks.n && p->s->marks.v[i].at < at + n; i++) {
        const struct mark *m = &p->s->marks.v[i];
        size_t begin = MAX(m->at, at), end = MIN(m->at + mark_size(m->kind), at + n);

        if (begin < end)
            *vec_push(&p->patches->v) = (struct patch){(uint32_t)(to + begin - at), m->series, m->kind, (uint8_t)(begin - m->at), (uint8_t)(end - begin)};
    }
}

static void pass_marks(struct packing *p, size_t to)
{
    while (p->mark < p->s->marks.n && p->s->marks.v[p->mark].at + mark_size(p->s->marks.v[p->mark].kind) <= to)
        p->mark++;
}

static void put_literal(struct packing *p, size_t to)
{
    size_t n = to - p->literal;

    if (n == 0)
        return;
    if (n <= SHORT_LITERAL_MAX) {
        buf_u8(p->out, (uint8_t)((n - 1) << 2));
    } else if (n <= 256) {
        buf_u8(p->out, 60 << 2);
        buf_u8(p->out, (uint8_t)(n - 1));
    } else {
        buf_u8(p->out, 63 << 2);
        buf_u32(p->out, (uint32_t)(n - 1));
    }
    note_patches(p, p->literal, n, p->out->n);
    buf_add(p->out, p->s->body.p + p->literal, n);
}

static void put_copy(struct buf *out, size_t offset, size_t n)
{
    while (n > 0) {
        size_t part = n <= COPY_MAX ? n : n < COPY_MAX + MATCH_MIN ? COPY_MAX - MATCH_MIN : (size_t)COPY_MAX;

        if (part >= 4 && part <= 11 && offset < 2048) {
            buf_u8(out, (uint8_t)(1 | (part - 4) << 2 | offset >> 8 << 5));
            buf_u8(out, (uint8_t)offset);
        } else {
            buf_u8(out, (uint8_t)(2 | (part - 1) << 2));
            buf_u16(out, (uint16_t)offset);
        }
        n -= part;
    }
}

static void symbols_of(struct packing *p)
{
    const uint8_t *body = (const uint8_t *)p->s->body.p;

    for (size_t i = 0; i < p->n; i++)
        p->symbols[i] = body[i];
    for (size_t i = 0; i < p->s->marks.n; i++) {
        const struct mark *m = &p->s->marks.v[i];
        bool time = m->kind == MARK_TIME_MS || m->kind == MARK_TIME_NS;

        for (size_t k = 0; k < mark_size(m->kind); k++)
            p->symbols[m->at + k] = time ? (uint16_t)(SYMBOL_TIME + m->kind * MARK_BYTES_MAX + k) : (uint16_t)SYMBOL_OWN;
    }
}

static void pack(struct packing *p)
{
    size_t at = 0, from = 0;

    buf_uvarint(p->out, p->n);
    while (at < p->n) {
        size_t n = p->symbols[at] == SYMBOL_OWN ? 0 : longest(p, at, &from);

        if (n) {
            put_literal(p, at);
            put_copy(p->out, at - from, n);
        }
        for (size_t end = at + MAX(n, 1u); at < end; at++)
            learn(p, at);
        if (n) {
            p->literal = at;
            pass_marks(p, at);
        }
    }
    put_literal(p, p->n);
}

void snappy_pack(const struct skeleton *s, struct buf *out, struct patches *patches)
{
    struct packing p = {.s = s, .n = s->body.n, .out = out, .patches = patches};

    buf_clear(out);
    vec_clear(&patches->v);
    p.symbols = xcalloc(p.n + MATCH_MIN, sizeof *p.symbols);
    p.last = xmalloc(sizeof *p.last << HASH_BITS);
    p.before = xcalloc(OFFSET_MAX + 1, sizeof *p.before);
    memset(p.last, 0xff, sizeof *p.last << HASH_BITS);
    symbols_of(&p);
    pack(&p);
    free(p.symbols);
    free(p.last);
    free(p.before);
}
