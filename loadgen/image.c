#include "loadgen/image.h"

#include "common/base/bytes.h"

#include <snappy-c.h>
#include <stdlib.h>

/* Fields of prometheus.WriteRequest, Remote Write 1.0: number << 3 | wire type. */
enum {
    REQUEST_SERIES = 1 << 3 | 2,
    SERIES_LABEL = 1 << 3 | 2,
    SERIES_SAMPLE = 2 << 3 | 2,
    LABEL_NAME = 1 << 3 | 2,
    LABEL_VALUE = 2 << 3 | 2,
    SAMPLE_VALUE = 1 << 3 | 1,
    SAMPLE_TIME = 2 << 3 | 0,
};
/* A time in milliseconds between 1971 and 2109 is a varint of six bytes, so a sample has one size and can be patched. */
enum { TIME_BYTES = 6, SAMPLE_BYTES = 1 + 8 + 1 + TIME_BYTES };

static uint32_t targets_of(const struct image *im)
{
    return model_target(im->first + im->count - 1) - model_target(im->first) + 1;
}

static void put_bytes(struct buf *out, uint8_t tag, struct str s)
{
    buf_u8(out, tag);
    buf_lstr(out, s);
}

static size_t label_size(struct str name, struct str value)
{
    char n[UVARINT_MAX];

    return 1 + uvarint_put(n, name.n) + name.n + 1 + uvarint_put(n, value.n) + value.n;
}

static void encode_series(struct image *im, uint32_t k)
{
    uint32_t index = im->first + k, target = model_target(index);
    struct series_id id = {im->tenant, index, im->generations[target - model_target(im->first)]};
    struct model_labels labels;
    size_t size = 2 + SAMPLE_BYTES;
    char n[UVARINT_MAX];

    model_labels(im->model, id, &labels);
    for (size_t i = 0; i < MODEL_LABELS; i++) {
        size_t label = label_size(labels.name[i], labels.value[i]);

        size += 1 + uvarint_put(n, label) + label;
    }
    buf_u8(&im->body, REQUEST_SERIES);
    buf_uvarint(&im->body, size);
    for (size_t i = 0; i < MODEL_LABELS; i++) {
        buf_u8(&im->body, SERIES_LABEL);
        buf_uvarint(&im->body, label_size(labels.name[i], labels.value[i]));
        put_bytes(&im->body, LABEL_NAME, labels.name[i]);
        put_bytes(&im->body, LABEL_VALUE, labels.value[i]);
    }
    buf_u8(&im->body, SERIES_SAMPLE);
    buf_uvarint(&im->body, SAMPLE_BYTES);
    buf_u8(&im->body, SAMPLE_VALUE);
    im->value_at[k] = (uint32_t)im->body.n;
    buf_u64(&im->body, 0);
    buf_u8(&im->body, SAMPLE_TIME);
    buf_space(&im->body, TIME_BYTES);
}

static void encode(struct image *im)
{
    buf_clear(&im->body);
    for (uint32_t k = 0; k < im->count; k++)
        encode_series(im, k);
    ASSERT(buf_ok(&im->body));
}

void image_init(struct image *im, const struct model *m, uint32_t tenant, uint32_t first, uint32_t count)
{
    ASSERT(count > 0 && count <= IMAGE_SERIES_MAX && first + count <= m->cfg.series);
    *im = (struct image){.model = m, .tenant = tenant, .first = first, .count = count};
    im->generations = xcalloc(targets_of(im), sizeof *im->generations);
    im->value_at = xcalloc(count, sizeof *im->value_at);
    buf_init(&im->body, IMAGE_BYTES_MAX);
}

void image_fini(struct image *im)
{
    free(im->generations);
    free(im->value_at);
    buf_fini(&im->body);
}

/* Has a target been replaced since the labels were encoded? */
static bool age(struct image *im, int64_t t_ms)
{
    uint32_t target = model_target(im->first);
    bool changed = im->body.n == 0;

    for (uint32_t i = 0; i < targets_of(im); i++) {
        uint32_t generation = model_generation(im->model, im->tenant, target + i, t_ms);

        changed |= generation != im->generations[i];
        im->generations[i] = generation;
    }
    return changed;
}

void image_at(struct image *im, int64_t t_ms, struct buf *out, size_t *ret_raw)
{
    char time[UVARINT_MAX];
    bool room, done;
    size_t max;

    if (age(im, t_ms))
        encode(im);
    ASSERT(uvarint_put(time, (uint64_t)t_ms) == TIME_BYTES);
    for (uint32_t k = 0; k < im->count; k++) {
        uint32_t index = im->first + k;
        struct series_id id = {im->tenant, index, im->generations[model_target(index) - model_target(im->first)]};
        char *at = im->body.p + im->value_at[k];

        le_put64(at, model_value(im->model, id, t_ms));
        memcpy(at + 8 + 1, time, TIME_BYTES);
    }
    buf_clear(out);
    max = snappy_max_compressed_length(im->body.n);
    room = buf_reserve(out, max);
    ASSERT(room);
    done = snappy_compress(im->body.p, im->body.n, out->p, &max) == SNAPPY_OK;
    ASSERT(done);
    out->n = max;
    *ret_raw = im->body.n;
}
