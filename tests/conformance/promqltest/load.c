#include "load.h"

#include "common/model/duration.h"

#include <math.h>
#include <stdlib.h>

static int load_one(const struct series_line *line, int64_t step, struct arena *a,
                    struct load_series *ret)
{
    *ret =
        (struct load_series){.labels = line->labels, .s = arena_array(a, line->n, sizeof *ret->s)};
    ASSERT(ret->s);
    for (size_t i = 0; i < line->n; i++) {
        const struct value *v = &line->v[i];
        int64_t t = (int64_t)i * step;

        if (!v->omitted)
            ret->s[ret->n++] = (struct load_sample){
                .t = t, .st = v->st_known ? t + v->st : 0, .v = v->v, .h = v->h};
    }
    return 0;
}

int load_expand(const struct command *c, struct arena *a, struct load_series **ret, size_t *ret_n,
                struct err *err)
{
    struct load_series *out = arena_array(a, c->load.series_count, sizeof *out), *more = NULL, *all;
    size_t n = c->load.series_count, more_n = 0;
    int rc = 0;

    ASSERT(out);
    for (size_t i = 0; rc == 0 && i < n; i++)
        rc = load_one(&c->load.series[i], c->load.step_ms, a, &out[i]);
    if (rc == 0 && c->load.with_nhcb)
        rc = load_nhcb(out, n, a, &more, &more_n, err);
    if (rc < 0)
        return rc;
    all = arena_array(a, n + more_n, sizeof *all);
    ASSERT(all);
    memcpy(all, out, n * sizeof *all);
    if (more_n)
        memcpy(all + n, more, more_n * sizeof *all);
    *ret = all;
    *ret_n = n + more_n;
    return 0;
}

/* --- stale histograms --- */
static size_t tail_of(const struct load_tails *t, const struct labels *ls)
{
    size_t i = 0;

    while (i < t->v.n && !labels_eq(&t->v.v[i], ls))
        i++;
    return i;
}

void load_mark_stale(struct load_tails *tails, struct load_series *series, size_t n,
                     struct arena *a)
{
    for (size_t i = 0; i < n; i++) {
        size_t at = tail_of(tails, &series[i].labels);
        bool hist = at < tails->v.n;

        for (size_t k = 0; k < series[i].n; k++) {
            struct load_sample *s = &series[i].s[k];

            if (hist && !s->h && is_stale_nan(s->v)) {
                struct histogram *stale = arena_zalloc(a, sizeof *stale);

                ASSERT(stale);
                stale->is_float = true;
                stale->sum = s->v;
                s->h = stale;
            }
            hist = s->h != NULL;
        }
        if (hist && at == tails->v.n)
            *vec_push(&tails->v) = series[i].labels;
        else if (!hist && at < tails->v.n)
            vec_remove_swap(&tails->v, at);
    }
}

/* --- native histograms of classic ones --- */
enum part { PART_BUCKET, PART_SUM, PART_COUNT, PART_NONE };

struct classic {
    struct labels labels; /* without le, with the base name */
    const struct load_series *sum, *count;
    struct bucket_series {
        double le;
        const struct load_series *series;
    } * buckets;
    size_t n;
};

static enum part part_of(struct str name, struct str *ret_base)
{
    static const struct {
        struct str suffix;
        enum part part;
    } parts[] = {
        {{"_bucket", 7}, PART_BUCKET}, {{"_sum", 4}, PART_SUM}, {{"_count", 6}, PART_COUNT}};

    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        if (str_has_suffix(name, parts[i].suffix)) {
            *ret_base = str_sub(name, 0, name.n - parts[i].suffix.n);
            return parts[i].part;
        }
    }
    return PART_NONE;
}

static struct labels base_labels(const struct labels *ls, struct str base, struct arena *a)
{
    struct labels out = {arena_array(a, ls->n, sizeof *out.v), 0};

    ASSERT(out.v);
    for (size_t i = 0; i < ls->n; i++) {
        if (str_eqz(ls->v[i].name, "le"))
            continue;
        out.v[out.n] = ls->v[i];
        if (str_eqz(ls->v[i].name, LABEL_METRIC_NAME))
            out.v[out.n].value = base;
        out.n++;
    }
    return out;
}

static struct classic *classic_of(struct classic *v, size_t *n, const struct labels *ls,
                                  size_t room, struct arena *a)
{
    for (size_t i = 0; i < *n; i++)
        if (labels_eq(&v[i].labels, ls))
            return &v[i];
    v[*n] = (struct classic){.labels = *ls,
                             .buckets = arena_array(a, room, sizeof(struct bucket_series))};
    ASSERT(v[*n].buckets);
    return &v[(*n)++];
}

static int classic_put(const struct load_series *s, enum part part, struct classic *c,
                       struct err *err)
{
    struct str le = labels_get(&s->labels, STR("le"));
    double bound;

    if (part == PART_SUM)
        c->sum = s;
    else if (part == PART_COUNT)
        c->count = s;
    else if (!le.p)
        return err_set(err, RC_INVALID, "bucket series without le");
    else if (float_parse(le, &bound, NULL) == 0 && !isnan(bound))
        c->buckets[c->n++] = (struct bucket_series){bound, s};
    return 0;
}

static int by_le(const void *a, const void *b)
{
    double x = ((const struct bucket_series *)a)->le, y = ((const struct bucket_series *)b)->le;

    return (x > y) - (x < y);
}

static const struct load_sample *sample_at(const struct load_series *s, int64_t t)
{
    for (size_t i = 0; s && i < s->n; i++)
        if (s->s[i].t == t && !s->s[i].h)
            return &s->s[i];
    return NULL;
}

static int by_time(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

/* All times at which any part has a float. */
static size_t times_of(const struct classic *c, struct arena *a, int64_t **ret)
{
    size_t n = 0, k = 0, room = (c->sum ? c->sum->n : 0) + (c->count ? c->count->n : 0);
    int64_t *t;

    for (size_t i = 0; i < c->n; i++)
        room += c->buckets[i].series->n;
    t = arena_array(a, room, sizeof *t);
    ASSERT(t);
    for (size_t i = 0; i < c->n + 2; i++) {
        const struct load_series *s = i < c->n    ? c->buckets[i].series
                                      : i == c->n ? c->sum
                                                  : c->count;

        for (size_t j = 0; s && j < s->n; j++)
            if (!s->s[j].h)
                t[n++] = s->s[j].t;
    }
    qsort(t, n, sizeof *t, by_time);
    for (size_t i = 0; i < n; i++)
        if (k == 0 || t[k - 1] != t[i])
            t[k++] = t[i];
    *ret = t;
    return k;
}

struct nhcb {
    double *bounds, *counts; /* counts: cumulative, then per bucket */
    size_t n;                /* bounds, all finite; one count more */
    double count, sum;
    bool whole;
};

static int nhcb_collect(const struct classic *c, int64_t t, struct arena *a, struct nhcb *h,
                        struct err *err)
{
    const struct load_sample *sum = sample_at(c->sum, t), *count = sample_at(c->count, t);
    double inf = NAN, last = 0;

    *h = (struct nhcb){.bounds = arena_array(a, c->n + 1, sizeof(double)),
                       .counts = arena_array(a, c->n + 1, sizeof(double)),
                       .whole = true};
    ASSERT(h->bounds && h->counts);
    for (size_t i = 0; i < c->n; i++) {
        const struct load_sample *s = sample_at(c->buckets[i].series, t);

        /* Of two spellings of one bound the first counts. */
        if (!s || (h->n > 0 && c->buckets[i].le == h->bounds[h->n - 1]) ||
            (!isnan(inf) && c->buckets[i].le == INFINITY))
            continue;
        if (s->v < last || s->v < 0)
            return err_set(err, RC_INVALID, "classic histogram: buckets are not cumulative");
        last = s->v;
        h->whole &= s->v == floor(s->v);
        if (c->buckets[i].le == INFINITY) {
            inf = s->v;
        } else {
            h->bounds[h->n] = c->buckets[i].le;
            h->counts[h->n++] = s->v;
        }
    }
    h->count = count ? count->v : last;
    h->whole &= h->count == floor(h->count);
    h->sum = sum ? sum->v : 0;
    if (isnan(inf))
        inf = h->count;
    if (h->count != inf || inf < last)
        return err_set(err, RC_INVALID, "classic histogram: count differs from the +Inf bucket");
    h->counts[h->n] = inf;
    for (size_t i = h->n; i > 0; i--)
        h->counts[i] -= h->counts[i - 1];
    return 0;
}

static const struct histogram *nhcb_build(const struct nhcb *in, struct arena *a)
{
    struct hist_span *span = arena_alloc(a, sizeof *span);
    struct histogram *h = arena_zalloc(a, sizeof *h);

    ASSERT(span && h);
    *span = (struct hist_span){0, (uint32_t)in->n + 1};
    *h = (struct histogram){.is_float = true,
                            .schema = HIST_CUSTOM_SCHEMA,
                            .sum = in->sum,
                            .count.f = in->count,
                            .pos = {.spans = span,
                                    .span_count = 1,
                                    .bucket_count = (uint32_t)in->n + 1,
                                    .f = in->counts},
                            .custom = in->bounds,
                            .custom_count = (uint32_t)in->n};
    h = fhist_compact(a, h, in->whole ? 2 : 0);
    ASSERT(h);
    return h;
}

static int classic_convert(const struct classic *c, struct arena *a, struct load_series *ret,
                           struct err *err)
{
    int64_t *t;
    size_t n;
    int rc = 0;

    qsort(c->buckets, c->n, sizeof *c->buckets, by_le);
    n = times_of(c, a, &t);
    *ret = (struct load_series){.labels = c->labels, .s = arena_array(a, n, sizeof *ret->s)};
    ASSERT(ret->s);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        struct nhcb h;

        rc = nhcb_collect(c, t[i], a, &h, err);
        if (rc == 0)
            ret->s[ret->n++] = (struct load_sample){.t = t[i], .h = nhcb_build(&h, a)};
    }
    return rc;
}

int load_nhcb(const struct load_series *in, size_t n, struct arena *a, struct load_series **ret,
              size_t *ret_n, struct err *err)
{
    struct classic *v = arena_array(a, n, sizeof *v);
    struct load_series *out = arena_array(a, n, sizeof *out);
    size_t count = 0;
    int rc = 0;

    ASSERT(v && out);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        struct str base;
        enum part part = part_of(labels_get(&in[i].labels, STR(LABEL_METRIC_NAME)), &base);

        if (part != PART_NONE) {
            struct labels ls = base_labels(&in[i].labels, base, a);

            rc = classic_put(&in[i], part, classic_of(v, &count, &ls, n, a), err);
        }
    }
    for (size_t i = 0; rc == 0 && i < count; i++)
        rc = classic_convert(&v[i], a, &out[i], err);
    *ret = out;
    *ret_n = count;
    return rc;
}
