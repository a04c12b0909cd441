#include "loadgen/image.h"

#include "common/base/bytes.h"

#include <stdlib.h>

void image_tools_init(struct image_tools *t, enum codec codec)
{
    skeleton_init(&t->skeleton);
    t->compressor = compressor_new(codec);
}

void image_tools_fini(struct image_tools *t)
{
    skeleton_fini(&t->skeleton);
    compressor_free(t->compressor);
}

static uint32_t first_target(const struct image *im)
{
    return model_target(im->batch.model, im->batch.first);
}

static uint32_t targets_of(const struct image *im)
{
    return model_target(im->batch.model, im->batch.first + im->batch.count - 1) - first_target(im) + 1;
}

void image_init(struct image *im, const struct image_cfg *cfg, struct image_tools *tools, uint32_t tenant, uint32_t first, uint32_t count, uint8_t replica)
{
    const struct model *m = cfg->model;

    ASSERT(count > 0 && count <= BATCH_SERIES_MAX && first + count <= model_series(m) && model_is_native(m, first) == model_is_native(m, first + count - 1));
    *im = (struct image){.cfg = cfg, .tools = tools};
    im->batch = (struct batch){.model = m, .tenant = tenant, .first = first, .count = count, .replica = replica, .exemplars = cfg->exemplars};
    im->batch.generations = xcalloc(targets_of(im), sizeof *im->batch.generations);
    if (batch_is_native(&im->batch)) {
        im->batch.labels = &im->labels;
        buf_init(&im->labels.bytes, IMAGE_BYTES_MAX);
    } else {
        im->seeds = xcalloc(count, sizeof *im->seeds);
        im->value_at = xcalloc(count, sizeof *im->value_at);
    }
    buf_init(&im->body, IMAGE_BYTES_MAX);
}

void image_fini(struct image *im)
{
    free(im->batch.generations);
    free(im->seeds);
    free(im->value_at);
    buf_fini(&im->labels.bytes);
    vec_fini(&im->labels.ends);
    vec_fini(&im->patches.v);
    buf_fini(&im->body);
}

/* Has a target been replaced since the last time? */
static bool age(struct image *im, int64_t t_ms)
{
    bool changed = false;

    for (uint32_t i = 0; i < targets_of(im); i++) {
        uint32_t generation = model_generation(im->batch.model, im->batch.tenant, first_target(im) + i, t_ms);

        changed |= generation != im->batch.generations[i];
        im->batch.generations[i] = generation;
    }
    return changed;
}

static void keep_bytes(struct image *im, const struct skeleton *s)
{
    buf_clear(&im->body);
    buf_str(&im->body, buf_view(&s->body));
    vec_clear(&im->patches.v);
    for (size_t i = 0; i < s->marks.n; i++)
        *vec_push(&im->patches.v) = (struct patch){s->marks.v[i].at, s->marks.v[i].series, s->marks.v[i].kind, 0, (uint8_t)mark_size(s->marks.v[i].kind)};
}

/* Values are one to a series and most of the work: they get a list of their own. */
static void part_values(struct image *im)
{
    size_t kept = 0, values = 0;

    for (size_t i = 0; i < im->patches.v.n; i++) {
        struct patch p = im->patches.v.v[i];

        if (p.kind != MARK_VALUE) {
            im->patches.v.v[kept++] = p;
            continue;
        }
        ASSERT(p.series < im->batch.count && p.from == 0 && p.n == 8);
        im->value_at[p.series] = p.at;
        values++;
    }
    ASSERT(values == im->batch.count);
    im->patches.v.n = kept;
    if (kept) {
        im->patches.v.v = xrealloc(im->patches.v.v, kept * sizeof *im->patches.v.v);
        im->patches.v.cap = kept;
    }
}

static void write_down(struct image *im, int64_t t_ms)
{
    struct skeleton *s = &im->tools->skeleton;

    batch_encode(&im->batch, im->cfg->protocol, t_ms, s);
    im->raw_n = s->body.n;
    if (im->cfg->codec == CODEC_SNAPPY)
        snappy_pack(s, &im->body, &im->patches);
    else
        keep_bytes(im, s);
    ASSERT(buf_ok(&im->body));
    part_values(im);
    for (uint32_t k = 0; k < im->batch.count; k++)
        im->seeds[k] = model_seed(im->batch.model, batch_id(&im->batch, k));
}

static void patch_bytes(const struct image *im, const struct patch *p, int64_t t_ms, char out[static MARK_BYTES_MAX + 1])
{
    uint8_t trace[16];
    double value;

    switch ((enum mark_kind)p->kind) {
    case MARK_TIME_MS:
        uvarint_put(out, (uint64_t)t_ms);
        return;
    case MARK_TIME_NS:
        le_put64(out, (uint64_t)t_ms * 1000000);
        return;
    default:
        break;
    }
    model_exemplar(&im->seeds[p->series], t_ms, trace, &value);
    if (p->kind == MARK_TRACE_HEX)
        hex_put(out, trace, sizeof trace);
    else if (p->kind == MARK_TRACE_RAW)
        memcpy(out, trace, sizeof trace);
    else
        le_put64(out, double_bits(value));
}

static void patch(struct image *im, int64_t t_ms)
{
    const struct model *m = im->batch.model;
    char text[MARK_BYTES_MAX + 1];

    for (uint32_t k = 0; k < im->batch.count; k++)
        le_put64(im->body.p + im->value_at[k], model_value_of(m, &im->seeds[k], t_ms));
    for (size_t i = 0; i < im->patches.v.n; i++) {
        const struct patch *p = &im->patches.v.v[i];

        patch_bytes(im, p, t_ms, text);
        memcpy(im->body.p + p->at, text + p->from, p->n);
    }
}

static struct str native_at(struct image *im, int64_t t_ms, struct buf *out, size_t *ret_raw)
{
    struct skeleton *s = &im->tools->skeleton;

    if (age(im, t_ms)) {
        buf_clear(&im->labels.bytes);
        vec_clear(&im->labels.ends);
    }
    batch_encode(&im->batch, im->cfg->protocol, t_ms, s);
    compressor_run(im->tools->compressor, buf_view(&s->body), out);
    *ret_raw = s->body.n;
    return buf_view(out);
}

struct str image_at(struct image *im, int64_t t_ms, struct buf *out, size_t *ret_raw)
{
    char time[UVARINT_MAX];

    ASSERT(uvarint_put(time, (uint64_t)t_ms) == TIME_MS_BYTES);
    if (batch_is_native(&im->batch))
        return native_at(im, t_ms, out, ret_raw);
    if (age(im, t_ms) || im->body.n == 0)
        write_down(im, t_ms);
    patch(im, t_ms);
    *ret_raw = im->raw_n;
    if (im->cfg->codec == CODEC_NONE || im->cfg->codec == CODEC_SNAPPY)
        return buf_view(&im->body);
    compressor_run(im->tools->compressor, buf_view(&im->body), out);
    return buf_view(out);
}
