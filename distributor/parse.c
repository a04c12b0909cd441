/* parse.c - from the inflated body to rows: known series cost a hash and a lookup, new ones are parsed, sorted, judged and fingerprinted. */
#include "distributor/distributor_impl.h"

#include <stdlib.h>

int push_list_grow(void **list, uint32_t *cap, uint32_t first, size_t size, struct err *err)
{
    uint32_t want = MIN(*cap ? *cap * 2 : first, (uint32_t)PUSH_ROWS_MAX);
    void *more;

    if (*cap == PUSH_ROWS_MAX)
        return err_set(err, RC_LIMIT, "more than %d samples or series in one request", PUSH_ROWS_MAX);
    more = realloc(*list, want * size);
    if (!more)
        return err_set(err, RC_NOMEM, "no memory for a request of %u rows", want);
    *list = more;
    *cap = want;
    return 0;
}

uint32_t push_list_first(const struct push *p)
{
    enum { SERIES_BYTES = 200, FIRST_MIN = 16 }; /* of a usual series */

    return (uint32_t)MIN(MAX(p->body.n / SERIES_BYTES, (size_t)FIRST_MIN), (size_t)PUSH_ROWS_MAX);
}

void push_refuse(struct push *p, enum discard_reason why, uint32_t samples, const char *text)
{
    metric_add(metric_with(p->d->m_discarded, discard_text(why), p->tenant->id, NULL), samples);
    p->refused += samples;
    if (p->error_lines < PUSH_ERROR_LINES_MAX) {
        if (p->errors.n)
            buf_char(&p->errors, '\n');
        buf_z(&p->errors, text);
        p->error_lines++;
    }
}

/* The first count labels of a series, unsorted, as sent. */
static int labels_take(struct str message, struct arena *a, uint32_t count, struct labels *ret, struct err *err)
{
    struct rd r = rd_of(message);
    struct labels ls = {arena_array(a, count, sizeof *ls.v), 0};
    int rc = 0;

    if (!ls.v)
        return err_set(err, RC_LIMIT, "labels: the request's memory budget is spent");
    while (ls.n < count && (rc = wr_label_next(&r, &ls.v[ls.n], err)) > 0)
        ls.n++;
    if (rc < 0)
        return rc;
    *ret = ls;
    return 0;
}

static uint32_t label_count(struct str message)
{
    struct rd r = rd_of(message);
    struct label l;
    uint32_t n = 0;

    while (wr_label_next(&r, &l, NULL) > 0)
        n++;
    return n;
}

int push_series_labels(struct push *p, const struct push_series *s, struct arena *a, struct labels *ret, struct err *err)
{
    struct labels ls;
    int rc;

    if (s->labels.v) {
        *ret = s->labels;
        return 0;
    }
    rc = p->content.v2 ? push2_series_labels(p, s, a, &ls, err) : labels_take(s->message, a, label_count(s->message), &ls, err);
    if (rc < 0)
        return rc;
    ASSERT(labels_sort(&ls, NULL)); /* it was judged before */
    ret->v = ls.v;
    ret->n = 0;
    for (size_t i = 0; i < ls.n; i++)
        if (ls.v[i].value.n && !(s->ha && str_eqz(ls.v[i].name, p->limits->ha_replica_label)))
            ret->v[ret->n++] = ls.v[i];
    return 0;
}

static struct label_rules rules_of(const struct limits *l)
{
    return (struct label_rules){
        .names_max = (size_t)l->max_label_names_per_series,
        .name_bytes_max = (size_t)l->max_label_name_length,
        .value_bytes_max = (size_t)l->max_label_value_length,
        .total_bytes_max = (size_t)l->max_label_size_bytes,
        .legacy_names = l->name_validation == NAME_VALIDATION_LEGACY,
    };
}

int push_series_judge(struct push *p, struct labels *ls, size_t label_count, uint32_t samples, struct push_series *s)
{
    struct series_entry e = {.limits_gen = (uint32_t)p->limits->generation, .ack_epoch = p->ack_epoch};
    struct label_rules rules = rules_of(p->limits);
    enum discard_reason why;
    struct err text;

    if (p->limits->accept_ha_samples && !push_ha_split(p, ls, samples, &e.ha))
        return 0;
    why = label_count > LABELS_MAX ? labels_too_many(ls, label_count, &rules, &text) : labels_judge(ls, &rules, &text);
    if (why) {
        push_refuse(p, why, samples, text.text);
        return 0;
    }
    s->fp = e.fp = labels_fingerprint(str_n(p->tenant->id, p->tenant->id_len), ls);
    s->labels = *ls;
    s->acked = 0;
    s->ha = e.ha;
    series_cache_put(p->tenant->cache, s->hash, &e);
    return 1;
}

/* The slow way: once per new series, whose labels stay with the push. 1: fine, 0: refused (noted), negative: the request is malformed. */
static int series_new(struct push *p, const struct wr_series *ws, struct push_series *s, struct err *err)
{
    struct labels ls;
    int rc = labels_take(ws->message, &p->arena, MIN(ws->label_count, (uint32_t)LABELS_MAX), &ls, err);

    return rc < 0 ? rc : push_series_judge(p, &ls, ws->label_count, ws->sample_count + ws->histogram_count, s);
}

static struct u128 series_hash(struct push *p, const struct wr_series *ws)
{
    struct rd r = rd_of(ws->message);
    struct label l;
    struct buf b;
    struct u128 h;

    if (LIKELY(ws->labels.p))
        return hash128_secret(ws->labels.p, ws->labels.n);
    /* Label fields with others between them: rare and legal. */
    buf_init(&b, p->body.n * 2 + 64);
    while (wr_label_next(&r, &l, NULL) > 0) {
        buf_lstr(&b, l.name);
        buf_lstr(&b, l.value);
    }
    h = hash128_secret(b.p, b.n);
    h.hi = ~h.hi; /* other domain than the raw bytes */
    buf_fini(&b);
    return h;
}

/* 1: s is filled; 0: refused. known: what the cache has of it, or NULL. */
static int series_identify(struct push *p, const struct wr_series *ws, struct u128 hash, const struct series_entry *known, struct push_series *s, struct err *err)
{
    *s = (struct push_series){.message = ws->message, .hash = hash};
    if (UNLIKELY(!known))
        return series_new(p, ws, s, err);
    s->fp = known->fp;
    s->ha = known->ha;
    s->acked = known->ack_epoch == p->ack_epoch ? known->acked : 0;
    return 1;
}

void push_row_refuse(struct push *p, enum discard_reason why, int64_t t, const struct sample_rules *rules, const char *text)
{
    struct labels ls = {0};
    struct arena a;
    struct err line;

    if (p->error_lines >= PUSH_ERROR_LINES_MAX) {
        push_refuse(p, why, 1, "");
        return;
    }
    arena_init(&a, 1 << 20);
    if (push_series_labels(p, &p->series[p->series_count], &a, &ls, NULL) < 0)
        ls = (struct labels){0};
    if (text)
        histogram_explain(text, t, &ls, &line);
    else
        sample_explain(why, t, rules, &ls, &line);
    push_refuse(p, why, 1, line.text);
    arena_fini(&a);
}

static int samples_take(struct push *p, const struct wr_series *ws, const struct sample_rules *rules, struct err *err)
{
    struct rd r = rd_of(ws->points);
    uint64_t vbits;
    int64_t t;
    int rc;

    while ((rc = wr_sample_next(&r, &t, &vbits, err)) > 0) {
        enum discard_reason why = sample_judge(t, rules);

        if (UNLIKELY(why)) {
            push_row_refuse(p, why, t, rules, NULL);
            continue;
        }
        rc = LIST_ADD(p, rows, row_count, row_cap, err);
        if (rc < 0)
            return rc;
        p->rows[p->row_count++] = (struct push_row){t, vbits, p->series_count};
    }
    return rc;
}

/* OTLP writes 1.0 with the start timestamps of 2.0. */
static int started_samples_take(struct push *p, const struct wr_series *ws, const struct sample_rules *rules, struct err *err)
{
    struct rd r = rd_of(ws->message);
    uint64_t vbits;
    int64_t t, st;
    int rc;

    while ((rc = w2_sample_next(&r, &t, &vbits, &st, err)) > 0) {
        enum discard_reason why = sample_judge(t, rules);

        if (why)
            push_row_refuse(p, why, t, rules, NULL);
        else
            rc = push_row_add(p, t, vbits, st, err);
        if (rc < 0)
            return rc;
    }
    return rc;
}

static int histogram_judge(const struct limits *l, const struct histogram *h, struct err *err)
{
    uint64_t buckets = (uint64_t)h->pos.bucket_count + h->neg.bucket_count;

    if (l->max_native_histogram_buckets && buckets > (uint64_t)l->max_native_histogram_buckets)
        return err_set(err, RC_INVALID, "histogram has too many buckets (%llu, limit %lld, max_native_histogram_buckets)",
                       (unsigned long long)buckets, (long long)l->max_native_histogram_buckets);
    return histogram_validate(h, err);
}

int push_histogram_add(struct push *p, int rc, const struct err *text, int64_t t, int64_t st, const struct histogram *h, const struct sample_rules *rules,
                       struct err *err)
{
    enum discard_reason why;
    struct err judged;

    if (rc == RC_UNSUPPORTED) {
        push_row_refuse(p, DISCARD_NATIVE_HISTOGRAM_INVALID, t, rules, text->text);
        return 0;
    }
    if (rc < 0) {
        *err = *text;
        return rc;
    }
    why = sample_judge(t, rules);
    if (why) {
        push_row_refuse(p, why, t, rules, NULL);
        return 0;
    }
    if (histogram_judge(p->limits, h, &judged) < 0) {
        push_row_refuse(p, DISCARD_NATIVE_HISTOGRAM_INVALID, t, rules, judged.text);
        return 0;
    }
    rc = LIST_ADD(p, hists, hist_count, hist_cap, err);
    if (rc == 0)
        p->hists[p->hist_count++] = (struct push_hist){t, st, *h, p->series_count};
    return rc;
}

static int histograms_take(struct push *p, const struct wr_series *ws, const struct sample_rules *rules, struct err *err)
{
    struct rd r = rd_of(ws->points);
    struct histogram h;
    struct err text;
    int64_t t = 0, st = 0;
    int rc;

    do {
        rc = wr_started_histogram_next(&r, &p->arena, &t, &st, &h, &text);
        if (rc == 0)
            return 0;
        rc = push_histogram_add(p, rc, &text, t, p->started ? st : 0, &h, rules, err);
    } while (rc == 0);
    return rc;
}

enum { EXEMPLAR_CHARS_MAX = 128 };

static size_t utf8_chars(struct str s)
{
    size_t n = 0;

    for (size_t i = 0; i < s.n; i++)
        n += ((uint8_t)s.p[i] & 0xc0) != 0x80;
    return n;
}

/* Exemplars that break a rule are left out and counted; they never fail a request. */
bool push_exemplar_ok(struct labels *ls)
{
    size_t chars = 0;

    if (!labels_sort(ls, NULL))
        return false;
    for (size_t i = 0; i < ls->n; i++) {
        if (!ls->v[i].name.n || !ls->v[i].value.n || !utf8_valid(ls->v[i].name) || !utf8_valid(ls->v[i].value))
            return false;
        chars += utf8_chars(ls->v[i].name) + utf8_chars(ls->v[i].value);
    }
    return chars <= EXEMPLAR_CHARS_MAX;
}

static int exemplars_take(struct push *p, const struct wr_series *ws, struct err *err)
{
    struct rd r = rd_of(ws->points);
    struct push_exemplar e = {.series = p->series_count};
    int64_t max = p->limits->max_exemplars_per_series_per_request, kept = 0;
    int rc;

    while ((rc = wr_exemplar_next(&r, &p->arena, &e.t, &e.v, &e.labels, err)) > 0) {
        if (!push_exemplar_ok(&e.labels) || (max && kept == max))
            continue;
        kept++;
        rc = LIST_ADD(p, exemplars, exemplar_count, exemplar_cap, err);
        if (rc < 0)
            return rc;
        p->exemplars[p->exemplar_count++] = e;
    }
    return rc;
}

static int series_take(struct push *p, const struct wr_series *ws, struct u128 hash, const struct series_entry *known, const struct sample_rules *rules,
                       struct err *err)
{
    uint32_t before = p->row_count + p->hist_count + p->exemplar_count;
    int rc = LIST_ADD(p, series, series_count, series_cap, err);

    if (rc == 0)
        rc = series_identify(p, ws, hash, known, &p->series[p->series_count], err);
    if (rc <= 0 || !push_ha_takes(p, p->series[p->series_count].ha, ws->sample_count, ws->histogram_count))
        return MIN(rc, 0);
    rc = p->started ? started_samples_take(p, ws, rules, err) : samples_take(p, ws, rules, err);
    if (rc == 0 && ws->histogram_count)
        rc = histograms_take(p, ws, rules, err);
    if (rc == 0 && ws->exemplar_count && p->limits->max_exemplars)
        rc = exemplars_take(p, ws, err);
    if (rc == 0 && p->row_count + p->hist_count + p->exemplar_count > before)
        p->series_count++;
    return rc;
}

int push_metadata_add(struct push *p, const struct wr_metadata *m, struct err *err)
{
    size_t size = m->metric.n + m->help.n + m->unit.n;
    int rc;

    /* Over the length: the samples stay, the metadata is dropped (QT-013). */
    if (m->metric.n == 0 || !utf8_valid(m->metric) || !utf8_valid(m->help) || !utf8_valid(m->unit) ||
        (p->limits->max_metadata_length && size > (size_t)p->limits->max_metadata_length))
        return 0;
    rc = LIST_ADD(p, metadata, metadata_count, metadata_cap, err);
    if (rc == 0)
        p->metadata[p->metadata_count++] = *m;
    return rc;
}

static int metadata_take(struct push *p, struct str message, int64_t now_ms, struct err *err)
{
    struct wr_metadata m;
    int rc = wr_metadata_decode(message, &m, err);

    if (rc < 0 || (p->started && push2_metadata_known(p, &m, now_ms)))
        return rc;
    return push_metadata_add(p, &m, err);
}

/* Series that were scanned and hashed and are looked up together. */
struct group {
    struct wr_series series[SERIES_CACHE_GROUP];
    struct u128 hashes[SERIES_CACHE_GROUP];
    struct series_entry known[SERIES_CACHE_GROUP];
    size_t n;
};

static int group_take(struct push *p, struct group *g, const struct sample_rules *rules, struct err *err)
{
    uint64_t found = series_cache_get_many(p->tenant->cache, g->hashes, g->n, (uint32_t)p->limits->generation, g->known);
    int rc = 0;

    for (size_t i = 0; i < g->n && rc >= 0; i++)
        rc = series_take(p, &g->series[i], g->hashes[i], found >> i & 1 ? &g->known[i] : NULL, rules, err);
    g->n = 0;
    return rc;
}

struct sample_rules push_sample_rules(const struct push *p)
{
    return (struct sample_rules){
        .now_ms = clock_wall_ms(p->d->deps.clock),
        .age_max_ms = p->limits->max_sample_age_ms,
        .future_max_ms = p->limits->creation_grace_period_ms,
    };
}

int push_parse(struct push *p, struct err *err)
{
    struct sample_rules rules = push_sample_rules(p);
    struct rd r = rd_of(buf_view(&p->body));
    struct str metadata;
    struct group g;
    int rc;

    g.n = 0;
    while ((rc = wr_next(&r, &g.series[g.n], &metadata, err)) > 0) {
        if (rc == 1) {
            g.hashes[g.n] = series_hash(p, &g.series[g.n]);
            series_cache_prefetch(p->tenant->cache, g.hashes[g.n]);
            rc = ++g.n == SERIES_CACHE_GROUP ? group_take(p, &g, &rules, err) : 0;
        } else {
            rc = metadata_take(p, metadata, rules.now_ms, err);
        }
        if (rc < 0)
            return rc;
    }
    return rc < 0 ? rc : group_take(p, &g, &rules, err);
}
