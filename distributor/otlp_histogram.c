/* otlp_histogram.c - histograms: explicit bounds as classic or native series, exponential ones as native histograms. */
#include "common/model/duration.h"
#include "common/model/histogram.h"
#include "common/wire/pb_arena.h"
#include "distributor/otlp_impl.h"

#include <math.h>

/* --- native histograms: the message --- */

enum { GAP_MAX = 2 }; /* empty buckets that stay within a span */
#define ZERO_THRESHOLD_DEFAULT 1e-128

struct side_writer {
    struct buf spans, deltas;  /* encoded BucketSpan fields; zigzag varints */
    unsigned span_field;
    int64_t offset;            /* of the open span */
    uint32_t length;           /* 0: none is open */
    int64_t next;              /* index after the last bucket written */
    uint64_t last;             /* its count */
};

static void side_init(struct side_writer *s, unsigned span_field, size_t max)
{
    *s = (struct side_writer){.span_field = span_field};
    buf_init(&s->spans, max);
    buf_init(&s->deltas, max);
}

static void span_end(struct side_writer *s)
{
    struct buf one;

    if (!s->length)
        return;
    buf_init(&one, 64);
    pb_put_varint(&one, 1, zigzag(s->offset));
    pb_put_varint(&one, 2, s->length);
    pb_put_bytes(&s->spans, s->span_field, buf_view(&one));
    buf_fini(&one);
    s->length = 0;
}

static void bucket_put(struct side_writer *s, uint64_t count)
{
    buf_svarint(&s->deltas, (int64_t)(count - s->last));
    s->last = count;
    s->length++;
    s->next++;
}

/* Indexes ascend; empty buckets need not be given. */
static void side_bucket(struct side_writer *s, int64_t index, uint64_t count)
{
    bool first = s->length == 0 && s->deltas.n == 0;

    if (count == 0)
        return;
    if (!first && index - s->next <= GAP_MAX) {
        while (s->next < index)
            bucket_put(s, 0);
    } else {
        span_end(s);
        s->offset = first ? index : index - s->next;
        s->next = index;
    }
    bucket_put(s, count);
}

static void side_end(struct side_writer *s, unsigned delta_field, struct buf *out)
{
    span_end(s);
    if (!buf_ok(&s->spans) || !buf_ok(&s->deltas))
        out->failed = true;
    buf_str(out, buf_view(&s->spans));
    if (s->deltas.n)
        pb_put_bytes(out, delta_field, buf_view(&s->deltas));
    buf_fini(&s->spans);
    buf_fini(&s->deltas);
}

/* prometheus.Histogram */
enum {
    HISTOGRAM_COUNT_INT = 1, HISTOGRAM_SUM = 3, HISTOGRAM_SCHEMA = 4, HISTOGRAM_ZERO_THRESHOLD = 5, HISTOGRAM_ZERO_COUNT_INT = 6,
    HISTOGRAM_NEGATIVE_SPANS = 8, HISTOGRAM_NEGATIVE_DELTAS = 9, HISTOGRAM_POSITIVE_SPANS = 11, HISTOGRAM_POSITIVE_DELTAS = 12,
    HISTOGRAM_RESET_HINT = 14, HISTOGRAM_TIMESTAMP = 15, HISTOGRAM_CUSTOM_VALUES = 16, HISTOGRAM_START = 17,
};

struct native {
    int32_t schema;
    uint64_t count, zero_count;
    double sum, zero_threshold;
    int64_t t, start; /* start 0: not known */
    bool stale;
};

static void native_head(struct buf *out, const struct native *n, bool delta)
{
    pb_put_varint(out, HISTOGRAM_COUNT_INT, n->stale ? 0 : n->count);
    pb_put_bits(out, HISTOGRAM_SUM, n->stale ? STALE_NAN_BITS : double_bits(n->sum));
    pb_put_varint(out, HISTOGRAM_SCHEMA, zigzag(n->schema));
    pb_put_bits(out, HISTOGRAM_ZERO_THRESHOLD, double_bits(n->zero_threshold));
    pb_put_varint(out, HISTOGRAM_ZERO_COUNT_INT, n->stale ? 0 : n->zero_count);
    pb_put_varint(out, HISTOGRAM_TIMESTAMP, (uint64_t)n->t);
    if (n->start)
        pb_put_varint(out, HISTOGRAM_START, (uint64_t)n->start);
    if (delta)
        pb_put_varint(out, HISTOGRAM_RESET_HINT, HIST_HINT_GAUGE);
}

static int native_write(struct otlp_run *r, const struct labels *ls, const struct buf *message, Torc__Otlp__Exemplar *const *exemplars, size_t n,
                        struct err *err)
{
    struct otlp_exemplar *v;
    size_t count;
    int rc = otlp_exemplars(r, exemplars, n, &v, &count, err);

    if (rc < 0)
        return rc;
    otlp_write_begin(r->w, r->metric.name, "", ls, (struct label){0});
    otlp_write_histogram(r->w, message);
    for (size_t i = 0; i < count; i++)
        otlp_write_exemplar(r->w, v[i].t, v[i].v, &v[i].labels);
    otlp_write_end(r->w);
    return 0;
}

/* --- exponential --- */

/* OTLP's bucket i ends at base^(i+1), Prometheus's at base^i. At a lower resolution 2^down buckets become one. */
static void exponential_side(struct side_writer *s, const Torc__Otlp__Buckets *b, int down)
{
    int64_t open = 0;
    uint64_t sum = 0;

    for (size_t i = 0; b && i < b->n_bucket_counts; i++) {
        int64_t index = ((b->offset + (int64_t)i) >> down) + 1;

        if (index != open) {
            side_bucket(s, open, sum);
            sum = 0;
            open = index;
        }
        sum += b->bucket_counts[i];
    }
    side_bucket(s, open, sum);
}

static int exponential_check(const Torc__Otlp__ExponentialHistogramDataPoint *p, struct err *err)
{
    if (p->scale < HIST_SCHEMA_MIN)
        return err_set(err, RC_INVALID, "exponential histogram with scale %d, the lowest that can be stored is %d", p->scale, HIST_SCHEMA_MIN);
    if (!(p->zero_threshold >= 0) || !isfinite(p->zero_threshold))
        return err_set(err, RC_INVALID, "exponential histogram with a zero threshold that is negative or no number");
    return 0;
}

int otlp_exponential_point(struct otlp_run *r, struct str point, struct err *err)
{
    const Torc__Otlp__ExponentialHistogramDataPoint *p;
    struct side_writer positive, negative;
    struct native n;
    ProtobufCMessage *m;
    struct buf message;
    struct labels ls;
    struct err text;
    int down, rc = pb_unpack(&torc__otlp__exponential_histogram_data_point__descriptor, &r->point, point, &m, err);

    if (rc < 0)
        return rc;
    p = (const void *)m;
    rc = exponential_check(p, &text);
    if (rc < 0)
        return otlp_point_failed(r, DISCARD_NATIVE_HISTOGRAM_INVALID, rc, &text, err);
    rc = otlp_point_open(r, &(struct otlp_attributes){p->attributes, p->n_attributes}, p->start_time_unix_nano, p->time_unix_nano, &ls, err);
    if (rc <= 0)
        return rc;
    down = p->scale > HIST_SCHEMA_MAX ? MIN(p->scale - HIST_SCHEMA_MAX, 63) : 0;
    n = (struct native){
        .schema = MIN(p->scale, (int32_t)HIST_SCHEMA_MAX),
        .count = p->count,
        .zero_count = p->zero_count,
        .zero_threshold = p->zero_threshold > 0 ? p->zero_threshold : ZERO_THRESHOLD_DEFAULT,
        .sum = p->sum_or_none_case ? p->sum : 0,
        .t = otlp_ms(p->time_unix_nano),
        .start = r->w->start_ms,
        .stale = p->flags & OTLP_FLAG_NO_RECORDED_VALUE,
    };
    buf_init(&message, r->w->body.max);
    side_init(&positive, HISTOGRAM_POSITIVE_SPANS, r->w->body.max);
    side_init(&negative, HISTOGRAM_NEGATIVE_SPANS, r->w->body.max);
    native_head(&message, &n, r->metric.delta);
    if (!n.stale) {
        exponential_side(&positive, p->positive, down);
        exponential_side(&negative, p->negative, down);
    }
    side_end(&positive, HISTOGRAM_POSITIVE_DELTAS, &message);
    side_end(&negative, HISTOGRAM_NEGATIVE_DELTAS, &message);
    rc = native_write(r, &ls, &message, p->exemplars, p->n_exemplars, err);
    buf_fini(&message);
    return rc;
}

/* --- explicit bounds --- */

static int bounds_check(const Torc__Otlp__HistogramDataPoint *p, struct err *err)
{
    bool empty = p->n_bucket_counts == 0 && p->n_explicit_bounds == 0; /* sum and count only, which the protocol allows */

    if (!empty && p->n_bucket_counts != p->n_explicit_bounds + 1)
        return err_set(err, RC_INVALID, "histogram with %zu bucket counts for %zu bounds: one more than bounds was expected", p->n_bucket_counts,
                       p->n_explicit_bounds);
    for (size_t i = 0; i < p->n_explicit_bounds; i++)
        if (isnan(p->explicit_bounds[i]) || (i && p->explicit_bounds[i] <= p->explicit_bounds[i - 1]))
            return err_set(err, RC_INVALID, "histogram with bounds that do not increase");
    return 0;
}

static int native_histogram(struct otlp_run *r, const Torc__Otlp__HistogramDataPoint *p, const struct labels *ls, struct err *err)
{
    struct native n = {
        .schema = HIST_CUSTOM_SCHEMA,
        .count = p->count,
        .sum = p->sum_or_none_case ? p->sum : 0,
        .t = otlp_ms(p->time_unix_nano),
        .start = r->w->start_ms,
        .stale = p->flags & OTLP_FLAG_NO_RECORDED_VALUE,
    };
    struct side_writer positive;
    struct buf message;
    int rc;

    buf_init(&message, r->w->body.max);
    side_init(&positive, HISTOGRAM_POSITIVE_SPANS, r->w->body.max);
    native_head(&message, &n, r->metric.delta);
    for (size_t i = 0; i < p->n_bucket_counts && !n.stale; i++)
        side_bucket(&positive, (int64_t)i, p->bucket_counts[i]);
    side_end(&positive, HISTOGRAM_POSITIVE_DELTAS, &message);
    for (size_t i = 0; i < p->n_explicit_bounds && !isinf(p->explicit_bounds[i]); i++)
        pb_put_bits(&message, HISTOGRAM_CUSTOM_VALUES, double_bits(p->explicit_bounds[i]));
    rc = native_write(r, ls, &message, p->exemplars, p->n_exemplars, err);
    buf_fini(&message);
    return rc;
}

struct classic {
    const struct labels *ls;
    int64_t t;
    bool stale;
    const struct otlp_exemplar *exemplars; /* sorted by value; those not yet written */
    size_t exemplar_count;
};

static void classic_sample(struct otlp_run *r, struct classic *c, const char *suffix, double v)
{
    otlp_write_begin(r->w, r->metric.name, suffix, c->ls, (struct label){0});
    otlp_write_sample(r->w, c->t, c->stale ? bits_double(STALE_NAN_BITS) : v);
    otlp_write_end(r->w);
}

/* With the exemplars up to its bound. */
static void classic_bucket(struct otlp_run *r, struct classic *c, double bound, double v)
{
    struct buf le;

    buf_init(&le, 1024);
    float_print_plain(&le, bound);
    otlp_write_begin(r->w, r->metric.name, "_bucket", c->ls, (struct label){STR("le"), buf_view(&le)});
    otlp_write_sample(r->w, c->t, c->stale ? bits_double(STALE_NAN_BITS) : v);
    for (; c->exemplar_count && c->exemplars->v <= bound; c->exemplars++, c->exemplar_count--)
        otlp_write_exemplar(r->w, c->exemplars->t, c->exemplars->v, &c->exemplars->labels);
    otlp_write_end(r->w);
    buf_fini(&le);
}

static int classic_histogram(struct otlp_run *r, const Torc__Otlp__HistogramDataPoint *p, const struct labels *ls, struct err *err)
{
    struct classic c = {.ls = ls, .t = otlp_ms(p->time_unix_nano), .stale = p->flags & OTLP_FLAG_NO_RECORDED_VALUE};
    struct otlp_exemplar *exemplars;
    uint64_t cumulative = 0;
    int rc = otlp_exemplars(r, p->exemplars, p->n_exemplars, &exemplars, &c.exemplar_count, err);

    if (rc < 0)
        return rc;
    c.exemplars = exemplars;
    if (p->sum_or_none_case)
        classic_sample(r, &c, "_sum", p->sum);
    classic_sample(r, &c, "_count", (double)p->count);
    for (size_t i = 0; i < p->n_explicit_bounds && !(isinf(p->explicit_bounds[i]) && p->explicit_bounds[i] > 0) && otlp_write_ok(r->w); i++) {
        cumulative += p->bucket_counts[i];
        classic_bucket(r, &c, p->explicit_bounds[i], (double)cumulative);
    }
    classic_bucket(r, &c, INFINITY, (double)p->count);
    return 0;
}

int otlp_histogram_point(struct otlp_run *r, struct str point, struct err *err)
{
    const Torc__Otlp__HistogramDataPoint *p;
    ProtobufCMessage *m;
    struct labels ls;
    struct err text;
    int rc = pb_unpack(&torc__otlp__histogram_data_point__descriptor, &r->point, point, &m, err);

    if (rc < 0)
        return rc;
    p = (const void *)m;
    rc = bounds_check(p, &text);
    if (rc < 0)
        return otlp_point_failed(r, DISCARD_OTLP_POINT_INVALID, rc, &text, err);
    rc = otlp_point_open(r, &(struct otlp_attributes){p->attributes, p->n_attributes}, p->start_time_unix_nano, p->time_unix_nano, &ls, err);
    if (rc <= 0)
        return rc;
    return r->o->nhcb ? native_histogram(r, p, &ls, err) : classic_histogram(r, p, &ls, err);
}
