/* parse2.c - a Remote Write 2.0 request to the rows that parse.c makes of 1.0: the same cache of known series, the same rules, the same fingerprints.
 * A series is looked up by the hashes of its symbols, each of which is hashed once per request. */
#include "distributor/distributor_impl.h"

#include <stdio.h>
#include <stdlib.h>

enum { RECENT_METADATA = 256, HASHED_AT_ONCE = 64 };

/* One request being read. */
struct reader {
    struct push *p;
    struct sample_rules rules;
    struct u128 *hashes;              /* of the symbols, under the process's secret */
    uint64_t recent[RECENT_METADATA]; /* metadata of this request, by its references */
    struct w2_refs refs, exemplar_refs;
};

/* --- symbols --- */

static int symbols_take(struct reader *x, struct err *err)
{
    struct push *p = x->p;
    int rc = w2_symbols_scan(buf_view(&p->body), &p->arena, &p->symbols, err);

    if (rc < 0)
        return rc;
    if (p->symbols.n && p->symbols.v[0].n)
        return err_set(err, RC_INVALID, "the first symbol must be the empty string, it has %zu bytes", p->symbols.v[0].n);
    x->hashes = arena_array(&p->arena, p->symbols.n, sizeof *x->hashes);
    if (!x->hashes)
        return err_set(err, RC_LIMIT, "symbols: the request's memory budget is spent");
    for (uint32_t i = 0; i < p->symbols.n; i++)
        x->hashes[i] = hash128_secret(p->symbols.v[i].p, p->symbols.v[i].n);
    return 0;
}

/* All references are inside the table. The first part is no bytes that a 1.0 series can begin with. */
static struct u128 series_hash(const struct reader *x)
{
    struct u128 parts[HASHED_AT_ONCE] = {{0x32206574697257ULL, x->refs.n}};
    uint32_t n = MIN(x->refs.n, (uint32_t)W2_REFS_MAX), used = 1;

    for (uint32_t i = 0; i < n; i++) {
        if (UNLIKELY(used == HASHED_AT_ONCE)) {
            parts[0] = hash128_secret(parts, sizeof parts);
            used = 1;
        }
        parts[used++] = x->hashes[x->refs.v[i]];
    }
    return hash128_secret(parts, used * sizeof parts[0]);
}

/* --- series --- */

int push2_series_labels(struct push *p, const struct push_series *s, struct arena *a, struct labels *ret, struct err *err)
{
    struct w2_refs *refs = arena_alloc(a, sizeof *refs);
    struct labels ls = {0};

    if (refs) {
        w2_series_refs(s->message, refs);
        ls = w2_labels(refs, &p->symbols, a);
    }
    if (!ls.v)
        return err_set(err, RC_LIMIT, "labels: the request's memory budget is spent");
    *ret = ls;
    return 0;
}

/* samples 0: nothing is counted as lost, the request is not right all the same. */
static void refuse(struct reader *x, const struct w2_refs *refs, enum discard_reason why, uint32_t samples, const char *text)
{
    struct push *p = x->p;
    struct labels ls = {0};
    struct arena a;
    struct err line = {0};

    p->faults += samples == 0;
    if (p->error_lines < PUSH_ERROR_LINES_MAX) {
        arena_init(&a, 1 << 20);
        ls = w2_labels(refs, &p->symbols, &a);
        series_explain(why, text, &ls, &line);
        arena_fini(&a);
    }
    push_refuse(p, why, samples, line.text);
}

/* What the numbers of a series must be. text explains. */
static enum discard_reason numbers_judge(const struct reader *x, const struct w2_series *ws, char text[ERR_TEXT_MAX])
{
    const struct w2_symbols *symbols = &x->p->symbols;
    uint32_t outside = w2_refs_outside(&x->refs, symbols), metadata = MAX(ws->metadata.help_ref, ws->metadata.unit_ref);

    if (outside < W2_REFS_MAX) {
        snprintf(text, ERR_TEXT_MAX, "label reference %u is outside the table of %u symbols", x->refs.v[outside], symbols->n);
        return DISCARD_LABEL_INVALID;
    }
    if (x->refs.n % 2) {
        snprintf(text, ERR_TEXT_MAX, "%u label references: the last name has no value", x->refs.n);
        return DISCARD_LABEL_INVALID;
    }
    if (metadata && metadata >= symbols->n) {
        snprintf(text, ERR_TEXT_MAX, "metadata reference %u is outside the table of %u symbols", metadata, symbols->n);
        return DISCARD_LABEL_INVALID;
    }
    if (ws->sample_count && ws->histogram_count) {
        snprintf(text, ERR_TEXT_MAX, "TimeSeries must contain either samples or histograms, it has %u and %u", ws->sample_count, ws->histogram_count);
        return DISCARD_SERIES_INVALID;
    }
    if (ws->sample_count + ws->histogram_count == 0) {
        snprintf(text, ERR_TEXT_MAX, "TimeSeries must contain at least one sample or histogram");
        return DISCARD_SERIES_INVALID;
    }
    return DISCARD_NONE;
}

/* 1: s is filled; 0: refused. */
static int series_identify(struct reader *x, const struct w2_series *ws, struct push_series *s, struct err *err)
{
    struct push *p = x->p;
    struct series_entry e;
    struct labels ls;

    *s = (struct push_series){.message = ws->message, .hash = series_hash(x)};
    if (LIKELY(series_cache_get(p->tenant->cache, s->hash, (uint32_t)p->limits->generation, &e))) {
        s->fp = e.fp;
        s->ha = e.ha;
        s->acked = e.ack_epoch == p->ack_epoch ? e.acked : 0;
        return 1;
    }
    ls = w2_labels(&x->refs, &p->symbols, &p->arena);
    if (!ls.v)
        return err_set(err, RC_LIMIT, "labels: the request's memory budget is spent");
    return push_series_judge(p, &ls, x->refs.n / 2, ws->sample_count + ws->histogram_count, s);
}

/* --- samples --- */

/* A start that no sample could have is none. */
static int64_t start_of(int64_t st, const struct w2_series *ws)
{
    st = st ? st : ws->start;
    return st > -(1LL << 53) && st < (1LL << 53) ? st : 0;
}

/* Rows before the first that has a start have none. */
static int start_put(struct push *p, uint32_t row, int64_t st, struct err *err)
{
    if (p->start_cap < p->row_cap) {
        int64_t *more = realloc(p->starts, p->row_cap * sizeof *more);

        if (!more)
            return err_set(err, RC_NOMEM, "no memory for a request of %u rows", p->row_cap);
        memset(more + p->start_cap, 0, (p->row_cap - p->start_cap) * sizeof *more);
        p->starts = more;
        p->start_cap = p->row_cap;
    }
    p->starts[row] = st;
    return 0;
}

int push_row_add(struct push *p, int64_t t, uint64_t vbits, int64_t st, struct err *err)
{
    int rc = LIST_ADD(p, rows, row_count, row_cap, err);

    if (rc == 0 && (st || p->starts))
        rc = start_put(p, p->row_count, st, err);
    if (rc == 0)
        p->rows[p->row_count++] = (struct push_row){t, vbits, p->series_count};
    return rc;
}

static int samples_take(struct reader *x, const struct w2_series *ws, struct err *err)
{
    struct rd r = rd_of(ws->message);
    uint64_t vbits;
    int64_t t, st;
    int rc;

    while ((rc = w2_sample_next(&r, &t, &vbits, &st, err)) > 0) {
        enum discard_reason why = sample_judge(t, &x->rules);

        if (UNLIKELY(why)) {
            push_row_refuse(x->p, why, t, &x->rules, NULL);
            continue;
        }
        rc = push_row_add(x->p, t, vbits, start_of(st, ws), err);
        if (rc < 0)
            return rc;
    }
    return rc;
}

static int histograms_take(struct reader *x, const struct w2_series *ws, struct err *err)
{
    struct rd r = rd_of(ws->message);
    int64_t t = 0, st = 0;
    struct histogram h;
    struct err text;
    int rc;

    do {
        rc = w2_histogram_next(&r, &x->p->arena, &t, &st, &h, &text);
        if (rc == 0)
            return 0;
        rc = push_histogram_add(x->p, rc, &text, t, rc > 0 ? start_of(st, ws) : 0, &h, &x->rules, err);
    } while (rc == 0);
    return rc;
}

/* --- exemplars --- */

static bool exemplar_numbers_ok(struct reader *x)
{
    const struct w2_refs *refs = &x->exemplar_refs;
    uint32_t outside = w2_refs_outside(refs, &x->p->symbols);
    char text[ERR_TEXT_MAX];

    if (outside < W2_REFS_MAX)
        snprintf(text, sizeof text, "exemplar: label reference %u is outside the table of %u symbols", refs->v[outside], x->p->symbols.n);
    else if (refs->n % 2)
        snprintf(text, sizeof text, "exemplar: %u label references: the last name has no value", refs->n);
    else
        return true;
    refuse(x, &x->refs, DISCARD_LABEL_INVALID, 0, text);
    return false;
}

/* One that breaks a rule is left out and not counted as written. */
static int exemplar_take(struct reader *x, struct push_exemplar *e, struct err *err)
{
    struct push *p = x->p;
    int rc;

    if (!exemplar_numbers_ok(x) || x->exemplar_refs.n > 2 * EXEMPLAR_LABELS_MAX)
        return 0;
    e->labels = w2_labels(&x->exemplar_refs, &p->symbols, &p->arena);
    if (!e->labels.v)
        return err_set(err, RC_LIMIT, "exemplars: the request's memory budget is spent");
    if (!push_exemplar_ok(&e->labels))
        return 0;
    rc = LIST_ADD(p, exemplars, exemplar_count, exemplar_cap, err);
    if (rc == 0)
        p->exemplars[p->exemplar_count++] = *e;
    return rc;
}

static int exemplars_take(struct reader *x, const struct w2_series *ws, struct err *err)
{
    struct push *p = x->p;
    struct rd r = rd_of(ws->message);
    struct push_exemplar e = {.series = p->series_count};
    int64_t max = p->limits->max_exemplars_per_series_per_request;
    uint32_t before = p->exemplar_count;
    int rc;

    while ((rc = w2_exemplar_next(&r, &e.t, &e.v, &x->exemplar_refs, err)) > 0) {
        if (max && p->exemplar_count - before >= max)
            continue;
        rc = exemplar_take(x, &e, err);
        if (rc < 0)
            return rc;
    }
    return rc;
}

/* --- metadata --- */

/* Metadata belongs to a metric family, a series carries its family's: name{_bucket,_count,_sum} of a histogram are of family name. */
static struct str family_of(struct str name, uint8_t type)
{
    enum { HISTOGRAM = 3, GAUGEHISTOGRAM = 4, SUMMARY = 5 };
    static const struct {
        const char *suffix;
        uint8_t types;
    } suffixes[] = {
        {"_bucket", 1 << HISTOGRAM | 1 << GAUGEHISTOGRAM},
        {"_count", 1 << HISTOGRAM | 1 << GAUGEHISTOGRAM | 1 << SUMMARY},
        {"_sum", 1 << HISTOGRAM | 1 << GAUGEHISTOGRAM | 1 << SUMMARY},
        {"_gcount", 1 << GAUGEHISTOGRAM},
        {"_gsum", 1 << GAUGEHISTOGRAM},
    };

    for (size_t i = 0; i < ARRAY_LEN(suffixes); i++) {
        struct str suffix = str_of(suffixes[i].suffix);

        if ((suffixes[i].types >> type & 1) && name.n > suffix.n && str_eq(str_skip(name, name.n - suffix.n), suffix))
            return str_sub(name, 0, name.n - suffix.n);
    }
    return name;
}

/* The symbol of the metric name; the series was judged, so it has one. */
static uint32_t name_ref(const struct reader *x)
{
    for (uint32_t i = 0; i + 1 < x->refs.n; i += 2)
        if (str_eqz(x->p->symbols.v[x->refs.v[i]], LABEL_METRIC_NAME))
            return x->refs.v[i + 1];
    return 0;
}

static struct metadata_key key_of(const struct push *p, const struct wr_metadata *m, int64_t now_ms)
{
    struct metadata_row row = {str_n(p->tenant->id, p->tenant->id_len), m->metric, m->help, m->unit, m->type};

    return metadata_key_of(&row, p->ack_epoch, now_ms);
}

static int metadata_take(struct reader *x, const struct w2_metadata *wm, struct err *err)
{
    const struct str *symbols = x->p->symbols.v;
    struct wr_metadata m = {.type = wm->type};
    uint32_t name = name_ref(x);
    uint64_t refs = mix64((uint64_t)name << 32 | wm->help_ref) ^ ((uint64_t)wm->unit_ref << 8 | wm->type), *recent = &x->recent[refs % RECENT_METADATA];

    if (*recent == refs)
        return 0;
    *recent = refs;
    m.metric = family_of(symbols[name], m.type);
    m.help = symbols[wm->help_ref];
    m.unit = symbols[wm->unit_ref];
    if (push2_metadata_known(x->p, &m, x->rules.now_ms))
        return 0;
    return push_metadata_add(x->p, &m, err);
}

bool push2_metadata_known(const struct push *p, const struct wr_metadata *m, int64_t now_ms)
{
    return metadata_seen_has(p->d->metadata_seen, key_of(p, m, now_ms));
}

void push2_metadata_acked(struct push *p)
{
    int64_t now_ms = clock_wall_ms(p->d->deps.clock);
    for (uint32_t i = 0; i < p->metadata_count; i++)
        metadata_seen_put(p->d->metadata_seen, key_of(p, &p->metadata[i], now_ms));
}

/* --- the request --- */

/* What hangs on samples goes with them: without any there is nothing to hang it on. */
static int samples_of_series(struct reader *x, const struct w2_series *ws, struct err *err)
{
    struct push *p = x->p;
    uint32_t before = p->row_count + p->hist_count;
    int rc = ws->sample_count ? samples_take(x, ws, err) : histograms_take(x, ws, err);

    if (rc < 0 || p->row_count + p->hist_count == before)
        return rc;
    if (ws->exemplar_count && p->limits->max_exemplars)
        rc = exemplars_take(x, ws, err);
    if (rc == 0 && (ws->metadata.type || ws->metadata.help_ref || ws->metadata.unit_ref))
        rc = metadata_take(x, &ws->metadata, err);
    if (rc == 0)
        p->series_count++;
    return rc;
}

static int series_take(struct reader *x, const struct w2_series *ws, struct err *err)
{
    struct push *p = x->p;
    char text[ERR_TEXT_MAX];
    enum discard_reason why = numbers_judge(x, ws, text);
    int rc;

    if (why) {
        refuse(x, &x->refs, why, ws->sample_count + ws->histogram_count, text);
        return 0;
    }
    rc = LIST_ADD(p, series, series_count, series_cap, err);
    if (rc == 0)
        rc = series_identify(x, ws, &p->series[p->series_count], err);
    if (rc <= 0 || !push_ha_takes(p, p->series[p->series_count].ha, ws->sample_count, ws->histogram_count))
        return MIN(rc, 0);
    return samples_of_series(x, ws, err);
}

int push2_parse(struct push *p, struct err *err)
{
    struct reader *x = arena_alloc(&p->arena, sizeof *x);
    struct rd r = rd_of(buf_view(&p->body));
    struct w2_series ws;
    int rc;

    if (!x)
        return err_set(err, RC_LIMIT, "the request's memory budget is spent");
    x->p = p;
    x->rules = push_sample_rules(p);
    memset(x->recent, 0, sizeof x->recent);
    rc = symbols_take(x, err);
    if (rc < 0)
        return rc;
    while ((rc = w2_next(&r, &ws, &x->refs, err)) > 0) {
        rc = series_take(x, &ws, err);
        if (rc < 0)
            break;
    }
    return rc;
}
