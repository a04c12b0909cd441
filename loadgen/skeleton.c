#include "loadgen/skeleton.h"

#include "common/base/bytes.h"

void skeleton_init(struct skeleton *s)
{
    *s = (struct skeleton){0};
    buf_init(&s->body, SKELETON_BYTES_MAX);
}

void skeleton_fini(struct skeleton *s)
{
    buf_fini(&s->body);
    vec_fini(&s->marks);
}

void skeleton_clear(struct skeleton *s)
{
    buf_clear(&s->body);
    vec_clear(&s->marks);
}

size_t mark_size(enum mark_kind kind)
{
    static const size_t sizes[] = {[MARK_VALUE] = 8,          [MARK_TRACE_HEX] = 32,          [MARK_TRACE_RAW] = 16,
                                   [MARK_EXEMPLAR_VALUE] = 8, [MARK_TIME_MS] = TIME_MS_BYTES, [MARK_TIME_NS] = 8};

    return sizes[kind];
}

void skeleton_mark(struct skeleton *s, enum mark_kind kind, uint32_t series)
{
    *vec_push(&s->marks) = (struct mark){(uint32_t)s->body.n, series, (uint8_t)kind};
    buf_space(&s->body, mark_size(kind));
}

void pb_tag(struct skeleton *s, uint32_t field, uint32_t wire)
{
    buf_uvarint(&s->body, field << 3 | wire);
}

void pb_uint(struct skeleton *s, uint32_t field, uint64_t v)
{
    pb_tag(s, field, PB_VARINT);
    buf_uvarint(&s->body, v);
}

void pb_sint(struct skeleton *s, uint32_t field, int64_t v)
{
    pb_uint(s, field, zigzag(v));
}

void pb_fixed64(struct skeleton *s, uint32_t field, uint64_t v)
{
    pb_tag(s, field, PB_FIXED64);
    buf_u64(&s->body, v);
}

void pb_str(struct skeleton *s, uint32_t field, struct str v)
{
    pb_tag(s, field, PB_BYTES);
    buf_lstr(&s->body, v);
}

size_t pb_begin(struct skeleton *s, uint32_t field)
{
    pb_tag(s, field, PB_BYTES);
    return s->body.n;
}

/* The length is known only now: what was written moves back by its bytes. */
void pb_end(struct skeleton *s, size_t begin)
{
    char length[UVARINT_MAX];
    size_t n = s->body.n - begin, by = uvarint_put(length, n);

    ASSERT(begin <= s->body.n);
    if (!buf_space(&s->body, by))
        return;
    memmove(s->body.p + begin + by, s->body.p + begin, n);
    memcpy(s->body.p + begin, length, by);
    for (size_t i = s->marks.n; i > 0 && s->marks.v[i - 1].at >= begin; i--)
        s->marks.v[i - 1].at += (uint32_t)by;
}
