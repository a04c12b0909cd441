/* The zero-copy walk over a Remote Write 2.0 request against protobuf-c: what both accept must have the same symbols, series, references, samples,
 * exemplars, histograms and metadata. protobuf-c lets more pass (it cuts tags and varints to size), so a cursor that refuses is not compared further. */
#include "distributor/pb_scan.h"
#include "distributor/write2_request.h"
#include "remote_write2.pb-c.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool cond)
{
    if (!cond)
        abort();
}

static void compare_refs(const struct w2_refs *ours, const uint32_t *theirs, size_t n)
{
    must(ours->n == n);
    for (size_t i = 0; i < MIN(n, (size_t)W2_REFS_MAX); i++)
        must(ours->v[i] == theirs[i]);
}

static void compare_samples(const struct w2_series *s, const Remote2__TimeSeries *ts)
{
    struct rd r = rd_of(s->message);
    uint64_t vbits;
    int64_t t, st;
    size_t n = 0;
    int rc;

    while ((rc = w2_sample_next(&r, &t, &vbits, &st, NULL)) > 0) {
        must(n < ts->n_samples);
        must(t == ts->samples[n]->timestamp && st == ts->samples[n]->start_timestamp && vbits == double_bits(ts->samples[n]->value));
        n++;
    }
    must(rc < 0 || (n == ts->n_samples && n == s->sample_count));
}

static void compare_exemplars(const struct w2_series *s, const Remote2__TimeSeries *ts)
{
    static struct w2_refs refs;
    struct rd r = rd_of(s->message);
    int64_t t;
    double v;
    size_t n = 0;
    int rc;

    while ((rc = w2_exemplar_next(&r, &t, &v, &refs, NULL)) > 0) {
        must(n < ts->n_exemplars);
        must(t == ts->exemplars[n]->timestamp && double_bits(v) == double_bits(ts->exemplars[n]->value));
        compare_refs(&refs, ts->exemplars[n]->labels_refs, ts->exemplars[n]->n_labels_refs);
        n++;
    }
    must(rc < 0 || (n == ts->n_exemplars && n == s->exemplar_count));
}

static void compare_histogram(const struct histogram *h, const Remote2__Histogram *theirs)
{
    must(double_bits(h->sum) == double_bits(theirs->sum));
    if (theirs->schema > HIST_SCHEMA_MAX && theirs->schema <= HIST_SCHEMA_WIRE_MAX) {
        must(h->schema == HIST_SCHEMA_MAX); /* reduced: other spans and buckets */
        return;
    }
    must(h->schema == theirs->schema);
    must(h->pos.span_count == theirs->n_positive_spans && h->neg.span_count == theirs->n_negative_spans);
    must(h->custom_count == theirs->n_custom_values);
    for (size_t i = 0; i < h->neg.span_count; i++)
        must(h->neg.spans[i].offset == theirs->negative_spans[i]->offset && h->neg.spans[i].length == theirs->negative_spans[i]->length);
    must(h->pos.bucket_count == (h->is_float ? theirs->n_positive_counts : theirs->n_positive_deltas));
}

static void compare_histograms(const struct w2_series *s, const Remote2__TimeSeries *ts, struct arena *a)
{
    struct rd r = rd_of(s->message);
    struct histogram h;
    int64_t t, st;
    size_t n = 0;
    int rc;

    while ((rc = w2_histogram_next(&r, a, &t, &st, &h, NULL)) > 0 || rc == RC_UNSUPPORTED) {
        const Remote2__Histogram *theirs;

        must(n < ts->n_histograms);
        theirs = ts->histograms[n++];
        if (rc == RC_UNSUPPORTED)
            continue;
        must(t == theirs->timestamp && st == theirs->start_timestamp);
        compare_histogram(&h, theirs);
    }
    must(rc < 0 || (n == ts->n_histograms && n == s->histogram_count));
}

/* Several are one merged message; protobuf-c takes the last instead when the schema is proto3, so only one is compared. */
static size_t metadata_messages(struct str series)
{
    struct rd r = rd_of(series);
    struct pb_field f;
    size_t n = 0;

    while (pb_next(&r, &f, NULL) > 0)
        n += pb_is(&f, 5, PB_BYTES);
    return n;
}

static void compare_metadata(const struct w2_metadata *m, const Remote2__Metadata *theirs)
{
    if (!theirs) {
        must(m->type == 0 && m->help_ref == 0 && m->unit_ref == 0);
        return;
    }
    must(m->type == (theirs->type <= 7 ? theirs->type : 0));
    must(m->help_ref == theirs->help_ref && m->unit_ref == theirs->unit_ref);
}

/* Labels never leave the table. */
static void resolve(const struct w2_refs *refs, const struct w2_symbols *symbols, struct arena *a)
{
    struct labels ls = w2_labels(refs, symbols, a);
    uint32_t outside = w2_refs_outside(refs, symbols);

    must(ls.v && ls.n <= LABELS_MAX && ls.n <= refs->n / 2);
    must(outside == W2_REFS_MAX || (refs->v[outside] >= symbols->n && ls.n == outside / 2));
    for (size_t i = 0; i < ls.n; i++)
        must(str_eq(ls.v[i].name, symbols->v[refs->v[i * 2]]) && str_eq(ls.v[i].value, symbols->v[refs->v[i * 2 + 1]]));
}

static size_t walk(struct str bytes, const struct w2_symbols *symbols, const Remote2__Request *theirs, struct arena *a, int *ret_rc)
{
    static struct w2_refs refs, again;
    struct rd r = rd_of(bytes);
    struct w2_series s;
    size_t series = 0;

    while ((*ret_rc = w2_next(&r, &s, &refs, NULL)) > 0) {
        resolve(&refs, symbols, a);
        w2_series_refs(s.message, &again);
        must(again.n == refs.n && memcmp(again.v, refs.v, MIN(refs.n, (uint32_t)W2_REFS_MAX) * sizeof refs.v[0]) == 0);
        if (theirs) {
            const Remote2__TimeSeries *ts;

            must(series < theirs->n_timeseries);
            ts = theirs->timeseries[series];
            compare_refs(&refs, ts->labels_refs, ts->n_labels_refs);
            must(s.start == ts->created_timestamp);
            if (metadata_messages(s.message) <= 1)
                compare_metadata(&s.metadata, ts->metadata);
            compare_samples(&s, ts);
            compare_exemplars(&s, ts);
            compare_histograms(&s, ts, a);
        }
        series++;
    }
    return series;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Remote2__Request *theirs = remote2__request__unpack(NULL, size, data);
    struct str bytes = str_n(data, size);
    struct w2_symbols symbols;
    struct arena a;
    size_t series;
    int rc;

    arena_init(&a, 256 << 20);
    if (w2_symbols_scan(bytes, &a, &symbols, NULL) == 0) {
        must(!theirs || symbols.n == theirs->n_symbols);
        for (uint32_t i = 0; theirs && i < symbols.n; i++)
            must(str_eq(symbols.v[i], str_n(theirs->symbols[i].data, theirs->symbols[i].len)));
        series = walk(bytes, &symbols, theirs, &a, &rc);
        must(!theirs || rc < 0 || series == theirs->n_timeseries);
    }
    if (theirs)
        remote2__request__free_unpacked(theirs, NULL);
    arena_fini(&a);
    return 0;
}
