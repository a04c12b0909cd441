/* The zero-copy walk over a WriteRequest against protobuf-c: what both accept must have the same series, labels, samples, exemplars, histograms and
 * metadata. protobuf-c lets more pass (it cuts tags and varints to size), so a cursor that refuses is not compared further. */
#include "distributor/write_request.h"
#include "remote_write.pb-c.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool cond)
{
    if (!cond)
        abort();
}

static bool same(struct str ours, ProtobufCBinaryData theirs)
{
    return str_eq(ours, str_n(theirs.data, theirs.len));
}

static void compare_labels(const struct wr_series *s, const Remote__TimeSeries *ts)
{
    struct rd r = rd_of(s->message);
    struct label l;
    size_t n = 0;
    int rc;

    while ((rc = wr_label_next(&r, &l, NULL)) > 0) {
        must(n < ts->n_labels);
        must(same(l.name, ts->labels[n]->name) && same(l.value, ts->labels[n]->value));
        n++;
    }
    must(rc < 0 || (n == ts->n_labels && n == s->label_count));
}

static void compare_samples(const struct wr_series *s, const Remote__TimeSeries *ts)
{
    struct rd r = rd_of(s->points);
    uint64_t vbits;
    int64_t t;
    size_t n = 0;
    int rc;

    while ((rc = wr_sample_next(&r, &t, &vbits, NULL)) > 0) {
        must(n < ts->n_samples);
        must(t == ts->samples[n]->timestamp && vbits == double_bits(ts->samples[n]->value));
        n++;
    }
    must(rc < 0 || (n == ts->n_samples && n == s->sample_count));
}

static void compare_exemplars(const struct wr_series *s, const Remote__TimeSeries *ts, struct arena *a)
{
    struct rd r = rd_of(s->points);
    struct labels ls;
    int64_t t;
    double v;
    size_t n = 0;
    int rc;

    while ((rc = wr_exemplar_next(&r, a, &t, &v, &ls, NULL)) > 0) {
        must(n < ts->n_exemplars);
        must(t == ts->exemplars[n]->timestamp && double_bits(v) == double_bits(ts->exemplars[n]->value));
        must(ls.n == MIN(ts->exemplars[n]->n_labels, (size_t)EXEMPLAR_LABELS_MAX));
        n++;
    }
    must(rc < 0 || n == ts->n_exemplars);
}

static void compare_histograms(const struct wr_series *s, const Remote__TimeSeries *ts, struct arena *a)
{
    struct rd r = rd_of(s->points);
    struct histogram h;
    int64_t t;
    size_t n = 0;
    int rc;

    while ((rc = wr_histogram_next(&r, a, &t, &h, NULL)) > 0 || rc == RC_UNSUPPORTED) {
        const Remote__Histogram *theirs;

        must(n < ts->n_histograms);
        theirs = ts->histograms[n++];
        if (rc == RC_UNSUPPORTED)
            continue;
        must(t == theirs->timestamp && double_bits(h.sum) == double_bits(theirs->sum));
        if (theirs->schema > HIST_SCHEMA_MAX && theirs->schema <= HIST_SCHEMA_WIRE_MAX) {
            must(h.schema == HIST_SCHEMA_MAX); /* reduced: other spans and buckets */
            continue;
        }
        must(h.schema == theirs->schema);
        must(h.pos.span_count == theirs->n_positive_spans && h.neg.span_count == theirs->n_negative_spans);
        must(h.custom_count == theirs->n_custom_values);
        for (size_t i = 0; i < h.pos.span_count; i++)
            must(h.pos.spans[i].offset == theirs->positive_spans[i]->offset && h.pos.spans[i].length == theirs->positive_spans[i]->length);
        must(h.pos.bucket_count == (h.is_float ? theirs->n_positive_counts : theirs->n_positive_deltas));
    }
    must(rc < 0 || n == ts->n_histograms);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Remote__WriteRequest *theirs = remote__write_request__unpack(NULL, size, data);
    struct rd r = rd_of(str_n(data, size));
    struct wr_series s;
    struct str metadata;
    struct arena a;
    size_t series = 0, metas = 0;
    int rc;

    arena_init(&a, 16 << 20);
    while ((rc = wr_next(&r, &s, &metadata, NULL)) > 0) {
        if (rc == 2) {
            struct wr_metadata m;

            if (wr_metadata_decode(metadata, &m, NULL) == 0 && theirs) {
                must(metas < theirs->n_metadata);
                must(same(m.metric, theirs->metadata[metas]->metric_family_name) && same(m.help, theirs->metadata[metas]->help));
            }
            metas++;
            continue;
        }
        if (theirs) {
            must(series < theirs->n_timeseries);
            compare_labels(&s, theirs->timeseries[series]);
            compare_samples(&s, theirs->timeseries[series]);
            compare_exemplars(&s, theirs->timeseries[series], &a);
            compare_histograms(&s, theirs->timeseries[series], &a);
        }
        series++;
        arena_reset(&a);
    }
    /* protobuf-c lets field numbers and varints pass that the format does not have; we refuse them. */
    if (theirs && rc == 0)
        must(series == theirs->n_timeseries && metas == theirs->n_metadata);
    if (theirs)
        remote__write_request__free_unpacked(theirs, NULL);
    arena_fini(&a);
    return 0;
}
