#include "distributor/otlp_write.h"
#include "common/base/bytes.h"

#include <stdlib.h>

enum { REQUEST_TIMESERIES = 1, REQUEST_METADATA = 3 };
enum { SERIES_LABELS = 1, SERIES_SAMPLES = 2, SERIES_EXEMPLARS = 3, SERIES_HISTOGRAMS = 4 };

enum { SAMPLE_FIXED_BYTES = 1 + 8 + 1 }; /* of value and time, without the time's varint */

void otlp_write_init(struct otlp_write *w, size_t body_max)
{
    *w = (struct otlp_write){.start_ms = 0};
    buf_init(&w->body, MIN(body_max, (size_t)UINT32_MAX));
    buf_init(&w->one, w->body.max);
}

void otlp_write_fini(struct otlp_write *w)
{
    buf_fini(&w->body);
    buf_fini(&w->one);
    free(w->points);
    w->points = NULL;
}

bool otlp_write_ok(const struct otlp_write *w)
{
    return buf_ok(&w->body) && buf_ok(&w->one);
}

void otlp_write_take(struct otlp_write *w, struct buf *ret_body, struct otlp_point **ret_points, size_t *ret_count)
{
    *ret_body = w->body;
    *ret_points = w->points;
    *ret_count = w->point_count;
    buf_init(&w->body, ret_body->max);
    w->points = NULL;
    w->point_count = w->point_cap = 0;
}

void otlp_write_point(struct otlp_write *w, bool counted)
{
    struct otlp_point *last = w->point_count ? &w->points[w->point_count - 1] : NULL;

    if (last && last->offset == w->body.n) { /* nothing came of the one before */
        *last = (struct otlp_point){(uint32_t)w->body.n, counted ? 0 : OTLP_NOT_A_POINT};
        return;
    }
    if (w->point_count == w->point_cap) {
        w->point_cap = w->point_cap ? w->point_cap * 2 : 256;
        w->points = xrealloc(w->points, w->point_cap * sizeof *w->points);
    }
    w->points[w->point_count++] = (struct otlp_point){(uint32_t)w->body.n, counted ? 0 : OTLP_NOT_A_POINT};
}

static size_t varint_size(uint64_t v)
{
    size_t n = 1;

    while (v >>= 7)
        n++;
    return n;
}

static size_t field_size(size_t n)
{
    return 1 + varint_size(n) + n;
}

static void label_put(struct otlp_write *w, unsigned number, struct str name, struct str value, const char *suffix)
{
    size_t suffix_n = strlen(suffix);

    buf_uvarint(&w->one, number << 3 | 2);
    buf_uvarint(&w->one, field_size(name.n) + field_size(value.n + suffix_n));
    pb_put_bytes(&w->one, 1, name);
    buf_uvarint(&w->one, 2 << 3 | 2);
    buf_uvarint(&w->one, value.n + suffix_n);
    buf_str(&w->one, value);
    buf_add(&w->one, suffix, suffix_n);
}

void otlp_write_begin(struct otlp_write *w, struct str metric, const char *suffix, const struct labels *base, struct label extra)
{
    const struct str name = STR(LABEL_METRIC_NAME);
    bool named = false, added = extra.name.n == 0;

    buf_clear(&w->one);
    for (size_t i = 0; i <= base->n; i++) {
        bool end = i == base->n;
        const struct label *l = end ? NULL : &base->v[i];

        if (!named && (end || str_cmp(name, l->name) <= 0)) {
            label_put(w, SERIES_LABELS, name, metric, suffix);
            named = true;
        }
        if (!added && (end || str_cmp(extra.name, l->name) <= 0)) {
            label_put(w, SERIES_LABELS, extra.name, extra.value, "");
            added = true;
        }
        if (!end && !str_eq(l->name, name) && !(extra.name.n && str_eq(l->name, extra.name)))
            label_put(w, SERIES_LABELS, l->name, l->value, "");
    }
}

static void row_count(struct otlp_write *w)
{
    ASSERT(w->point_count > 0);
    if (w->points[w->point_count - 1].rows != OTLP_NOT_A_POINT)
        w->points[w->point_count - 1].rows++;
}

void otlp_write_sample(struct otlp_write *w, int64_t t, double v)
{
    size_t start = w->start_ms ? 1 + varint_size((uint64_t)w->start_ms) : 0;

    buf_uvarint(&w->one, SERIES_SAMPLES << 3 | 2);
    buf_uvarint(&w->one, SAMPLE_FIXED_BYTES + varint_size((uint64_t)t) + start);
    pb_put_bits(&w->one, 1, double_bits(v));
    pb_put_varint(&w->one, 2, (uint64_t)t);
    if (start)
        pb_put_varint(&w->one, 3, (uint64_t)w->start_ms);
    row_count(w);
}

void otlp_write_histogram(struct otlp_write *w, const struct buf *message)
{
    if (!buf_ok(message))
        w->one.failed = true;
    pb_put_bytes(&w->one, SERIES_HISTOGRAMS, buf_view(message));
    row_count(w);
}

void otlp_write_exemplar(struct otlp_write *w, int64_t t, double v, const struct labels *ls)
{
    size_t size = SAMPLE_FIXED_BYTES + varint_size((uint64_t)t);

    for (size_t i = 0; i < ls->n; i++)
        size += field_size(field_size(ls->v[i].name.n) + field_size(ls->v[i].value.n));
    buf_uvarint(&w->one, SERIES_EXEMPLARS << 3 | 2);
    buf_uvarint(&w->one, size);
    for (size_t i = 0; i < ls->n; i++)
        label_put(w, 1, ls->v[i].name, ls->v[i].value, "");
    pb_put_bits(&w->one, 2, double_bits(v));
    pb_put_varint(&w->one, 3, (uint64_t)t);
}

static void message_end(struct otlp_write *w, unsigned number)
{
    if (buf_ok(&w->one))
        pb_put_bytes(&w->body, number, buf_view(&w->one));
    else
        w->body.failed = true;
}

void otlp_write_end(struct otlp_write *w)
{
    message_end(w, REQUEST_TIMESERIES);
}

void otlp_write_metadata(struct otlp_write *w, uint8_t type, struct str metric, struct str help, struct str unit)
{
    buf_clear(&w->one);
    pb_put_varint(&w->one, 1, type);
    pb_put_bytes(&w->one, 2, metric);
    pb_put_bytes(&w->one, 4, help);
    pb_put_bytes(&w->one, 5, unit);
    message_end(w, REQUEST_METADATA);
}
