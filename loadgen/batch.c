#include "loadgen/batch.h"

#include "common/base/bytes.h"
#include "loadgen/batch_encode.h"

struct series_id batch_id(const struct batch *b, uint32_t k)
{
    uint32_t index = b->first + k;

    return (struct series_id){b->tenant, index, b->generations[model_target(b->model, index) - model_target(b->model, b->first)]};
}

void batch_labels(const struct batch *b, uint32_t k, struct model_labels *ret)
{
    char replica[] = "replica-?";

    model_labels(b->model, batch_id(b, k), ret);
    if (b->replica) {
        replica[sizeof replica - 2] = (char)b->replica;
        model_labels_add(ret, STR("__replica__"), str_of(replica));
    }
}

bool piece_copy(const struct batch *b, uint32_t i, struct skeleton *out)
{
    const struct pieces *p = b->labels;
    uint32_t begin;

    if (!p || i >= p->ends.n)
        return false;
    begin = i ? p->ends.v[i - 1] : 0;
    buf_add(&out->body, p->bytes.p + begin, p->ends.v[i] - begin);
    return true;
}

void piece_keep(const struct batch *b, uint32_t i, const struct skeleton *out, size_t begin)
{
    if (!b->labels)
        return;
    ASSERT(i == b->labels->ends.n);
    buf_add(&b->labels->bytes, out->body.p + begin, out->body.n - begin);
    ASSERT(buf_ok(&b->labels->bytes));
    *vec_push(&b->labels->ends) = (uint32_t)b->labels->bytes.n;
}

void put_sample(struct skeleton *out, uint32_t field, uint32_t k)
{
    size_t sample = pb_begin(out, field);

    pb_tag(out, 1, PB_FIXED64);
    skeleton_mark(out, MARK_VALUE, k);
    pb_tag(out, 2, PB_VARINT);
    skeleton_mark(out, MARK_TIME_MS, k);
    pb_end(out, sample);
}

static void put_side(struct skeleton *out, uint32_t spans, uint32_t deltas, const struct hist_side *side)
{
    uint64_t before = 0;
    size_t at;

    for (uint32_t i = 0; i < side->span_count; i++) {
        at = pb_begin(out, spans);
        pb_sint(out, 1, side->spans[i].offset);
        pb_uint(out, 2, side->spans[i].length);
        pb_end(out, at);
    }
    if (side->bucket_count == 0)
        return;
    at = pb_begin(out, deltas);
    for (uint32_t i = 0; i < side->bucket_count; i++) {
        buf_svarint(&out->body, (int64_t)(side->i[i] - before));
        before = side->i[i];
    }
    pb_end(out, at);
}

void put_native(struct skeleton *out, uint32_t field, const struct histogram *h, int64_t t_ms)
{
    size_t at = pb_begin(out, field);

    ASSERT(!h->is_float);
    pb_uint(out, 1, h->count.i);
    pb_fixed64(out, 3, double_bits(h->sum));
    pb_sint(out, 4, h->schema);
    pb_fixed64(out, 5, double_bits(h->zero_threshold));
    pb_uint(out, 6, h->zero_count.i);
    put_side(out, 8, 9, &h->neg);
    put_side(out, 11, 12, &h->pos);
    pb_uint(out, 15, (uint64_t)t_ms);
    pb_end(out, at);
}

void batch_encode(const struct batch *b, enum protocol protocol, int64_t t_ms, struct skeleton *out)
{
    static void (*const encoders[PROTOCOL_COUNT])(const struct batch *b, int64_t t_ms, struct skeleton *out) = {
        [PROTOCOL_RW1] = batch_encode_rw1, [PROTOCOL_RW2] = batch_encode_rw2, [PROTOCOL_OTLP] = batch_encode_otlp};

    skeleton_clear(out);
    encoders[protocol](b, t_ms, out);
    ASSERT(buf_ok(&out->body));
}
