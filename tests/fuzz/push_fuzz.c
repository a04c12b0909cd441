/* Any bytes as a push, as one of its lists, or as the answer to one: refused, or rows that, written anew, read and written once more, are the same bytes.
 * First byte: which decoder the rest is for. */
#include "common/wire/push.h"

#include <stdlib.h>

enum { ARENA_MAX = 64 << 20, BATCH_MAX = 16 << 20 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool cond)
{
    if (!cond)
        abort();
}

/* --- lists: how many rows were read; what was read is written to out --- */

static size_t series(struct str list, struct arena *a, struct push_batch *out)
{
    struct rd r = rd_of(list);
    struct labels ls;
    fingerprint fp;
    size_t n = 0;

    for (; push_series_next(&r, a, &fp, &ls, NULL) > 0; n++)
        push_batch_series(out, fp, &ls);
    return n;
}

static size_t histograms(struct str list, struct arena *a, struct push_batch *out)
{
    struct rd r = rd_of(list);
    struct histogram h;
    fingerprint fp;
    int64_t t, st;
    size_t n = 0;

    for (; push_histogram_next(&r, a, &fp, &t, &st, &h, NULL) > 0; n++)
        push_batch_histogram(out, fp, t, st, &h);
    return n;
}

static size_t exemplars(struct str list, struct arena *a, struct push_batch *out)
{
    struct rd r = rd_of(list);
    struct labels ls;
    fingerprint fp;
    int64_t t;
    double v;
    size_t n = 0;

    for (; push_exemplar_next(&r, a, &fp, &t, &v, &ls, NULL) > 0; n++)
        push_batch_exemplar(out, fp, t, v, &ls);
    return n;
}

static size_t metadata(struct str list, struct push_batch *out)
{
    struct rd r = rd_of(list);
    struct push_metadata md;
    size_t n = 0;

    for (; push_metadata_next(&r, &md, NULL) > 0; n++)
        push_batch_metadata(out, md.metric, md.type, md.help, md.unit);
    return n;
}

static void lists(const struct push_view *v, struct push_batch *out)
{
    struct arena a;

    push_batch_init(out, BATCH_MAX);
    arena_init(&a, ARENA_MAX);
    series(v->series, &a, out);
    histograms(v->histograms, &a, out);
    exemplars(v->exemplars, &a, out);
    metadata(v->metadata, out);
    arena_fini(&a);
}

/* The front rows: each element of the columns is read, so that a column too short would show. */
static void columns(const struct push_view *v, struct push_batch *out)
{
    if (v->rows)
        push_batch_oldest(out, v->base_ms);
    for (uint32_t i = 0; i < v->rows; i++)
        push_batch_float(out, push_fp(v->fps + (size_t)i * 16), v->base_ms + le_get32(v->offsets + (size_t)i * 4), le_get64(v->values + (size_t)i * 8),
                         v->starts ? (int64_t)le_get64(v->starts + (size_t)i * 8) : 0);
}

static bool same(const struct buf *a, const struct buf *b)
{
    return str_eq(buf_view(a), buf_view(b));
}

static void again(const struct push_view *v)
{
    struct push_batch first, second;
    struct push_view w;
    struct arena a;
    struct buf out;

    lists(v, &first);
    columns(v, &first);
    buf_init(&out, 256 << 20);
    must(push_batch_encode(&first, &v->header, &out, NULL) == 0);
    arena_init(&a, ARENA_MAX);
    must(push_view_decode(buf_view(&out), &a, &w, NULL) == 0);
    must(w.rows == v->rows && w.series_rows == first.series_rows && w.histogram_rows == first.histogram_rows);
    must(str_eq(w.header.tenant, v->header.tenant) && w.header.head_id == v->header.head_id && w.header.ring_version == v->header.ring_version);
    lists(&w, &second);
    must(same(&first.series, &second.series) && same(&first.histograms, &second.histograms));
    must(same(&first.exemplars, &second.exemplars) && same(&first.metadata, &second.metadata));
    for (uint32_t i = 0; i < v->rows; i++)
        must(w.base_ms + le_get32(w.offsets + (size_t)i * 4) == v->base_ms + le_get32(v->offsets + (size_t)i * 4));
    must(v->rows == 0 || (memcmp(w.fps, v->fps, (size_t)v->rows * 16) == 0 && memcmp(w.values, v->values, (size_t)v->rows * 8) == 0));
    push_batch_fini(&first);
    push_batch_fini(&second);
    buf_fini(&out);
    arena_fini(&a);
}

static void answer(struct str bytes, struct arena *a)
{
    struct push_answer one, two;
    struct buf out;

    if (push_answer_decode(bytes, a, &one, NULL) < 0)
        return;
    buf_init(&out, BATCH_MAX);
    must(push_answer_encode(&one, &out, NULL) == 0 && push_answer_decode(buf_view(&out), a, &two, NULL) == 0);
    must(one.verdict_count == two.verdict_count && one.refusal_count == two.refusal_count && one.head_id == two.head_id);
    must(one.verdict_count == 0 || memcmp(one.verdicts, two.verdicts, one.verdict_count) == 0);
    for (size_t i = 0; i < one.refusal_count; i++)
        must(one.refusals[i].row == two.refusals[i].row && str_eq(one.refusals[i].text, two.refusals[i].text));
    buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str bytes;
    struct push_view v = {0};
    struct arena a;

    if (size == 0)
        return 0;
    bytes = str_n(data + 1, size - 1);
    arena_init(&a, ARENA_MAX);
    switch (data[0] % 6) {
    case 0:
        if (push_view_decode(bytes, &a, &v, NULL) == 0)
            again(&v);
        break;
    case 1:
        answer(bytes, &a);
        break;
    case 2:
        v.series = bytes;
        again(&v);
        break;
    case 3:
        v.histograms = bytes;
        again(&v);
        break;
    case 4:
        v.exemplars = bytes;
        again(&v);
        break;
    default:
        v.metadata = bytes;
        again(&v);
    }
    arena_fini(&a);
    return 0;
}
