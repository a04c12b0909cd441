/* OTLP metrics. A target is a resource: job and instance as service.namespace, service.name and service.instance.id, out of which the receiver makes them
 * again; all other labels are attributes of the data points. Names that end in _total are monotonic cumulative sums, all others gauges, so that
 * the receiver's suffixes leave each name what it was; native histograms are exponential ones.
 *
 * ExportMetricsServiceRequest: 1 resource_metrics. ResourceMetrics: 1 resource, 2 scope_metrics. Resource: 1 attributes. ScopeMetrics: 1 scope, 2 metrics.
 * Metric: 1 name, 5 gauge, 7 sum, 10 exponential_histogram. Sum: 1 data_points, 2 aggregation_temporality, 3 is_monotonic.
 * NumberDataPoint: 3 time_unix_nano, 4 as_double, 5 exemplars, 7 attributes. ExponentialHistogramDataPoint: 1 attributes, 3 time_unix_nano, 4 count, 5 sum, 6 scale,
 * 7 zero_count, 8 positive, 14 zero_threshold. Buckets: 1 offset, 2 bucket_counts. Exemplar: 2 time_unix_nano, 3 as_double, 5 trace_id. */
#include "common/base/bytes.h"
#include "loadgen/batch_encode.h"

enum { TEMPORALITY_CUMULATIVE = 2 };
enum { METRIC_GAUGE_FIELD = 5, METRIC_SUM_FIELD = 7, METRIC_EXPONENTIAL_FIELD = 10 };

static void put_attribute(struct skeleton *out, uint32_t field, struct str name, struct str text)
{
    size_t pair = pb_begin(out, field), value;

    pb_str(out, 1, name);
    value = pb_begin(out, 2);
    pb_str(out, 1, text);
    pb_end(out, value);
    pb_end(out, pair);
}

static struct str label(const struct model_labels *l, const char *name)
{
    for (size_t i = 0; i < l->n; i++)
        if (str_eqz(l->name[i], name))
            return l->value[i];
    return (struct str){0};
}

static void put_resource(struct skeleton *out, const struct model_labels *l)
{
    struct str job = label(l, "job");
    size_t resource = pb_begin(out, 1), slash = str_find(job, '/');

    if (slash < job.n)
        put_attribute(out, 1, STR("service.namespace"), str_sub(job, 0, slash));
    if (job.n)
        put_attribute(out, 1, STR("service.name"), slash < job.n ? str_skip(job, slash + 1) : job);
    put_attribute(out, 1, STR("service.instance.id"), label(l, "instance"));
    pb_end(out, resource);
}

static void put_attributes(struct skeleton *out, uint32_t field, const struct model_labels *l)
{
    for (size_t i = 0; i < l->n; i++)
        if (!str_eqz(l->name[i], "__name__") && !str_eqz(l->name[i], "job") && !str_eqz(l->name[i], "instance"))
            put_attribute(out, field, l->name[i], l->value[i]);
}

static void put_number(const struct batch *b, uint32_t k, const struct model_labels *l, struct skeleton *out)
{
    size_t point = pb_begin(out, 1), exemplar, trace;

    put_attributes(out, 7, l);
    pb_tag(out, 3, PB_FIXED64);
    skeleton_mark(out, MARK_TIME_NS, k);
    pb_tag(out, 4, PB_FIXED64);
    skeleton_mark(out, MARK_VALUE, k);
    if (model_has_exemplar(b->model, batch_id(b, k), b->exemplars)) {
        exemplar = pb_begin(out, 5);
        pb_tag(out, 2, PB_FIXED64);
        skeleton_mark(out, MARK_TIME_NS, k);
        pb_tag(out, 3, PB_FIXED64);
        skeleton_mark(out, MARK_EXEMPLAR_VALUE, k);
        trace = pb_begin(out, 5);
        skeleton_mark(out, MARK_TRACE_RAW, k);
        pb_end(out, trace);
        pb_end(out, exemplar);
    }
    pb_end(out, point);
}

/* Spans with gaps become one run of buckets; OTLP counts the bucket (1, base] as 0, Prometheus as 1. */
static void put_buckets(struct skeleton *out, const struct hist_side *side)
{
    size_t buckets = pb_begin(out, 8), counts;
    struct hist_walk w;
    int64_t next;

    pb_sint(out, 1, side->spans[0].offset - 1);
    counts = pb_begin(out, 2);
    next = side->spans[0].offset;
    hist_walk_init(&w, side);
    while (hist_walk_next(&w)) {
        for (; next < w.index; next++)
            buf_uvarint(&out->body, 0);
        buf_uvarint(&out->body, side->i[w.at]);
        next++;
    }
    pb_end(out, counts);
    pb_end(out, buckets);
}

static void put_exponential(const struct batch *b, uint32_t k, const struct model_labels *l, int64_t t_ms, struct skeleton *out)
{
    size_t point = pb_begin(out, 1);
    struct model_native native;

    model_native(b->model, batch_id(b, k), t_ms, &native);
    put_attributes(out, 1, l);
    pb_fixed64(out, 3, (uint64_t)t_ms * 1000000);
    pb_fixed64(out, 4, native.h.count.i);
    pb_fixed64(out, 5, double_bits(native.h.sum));
    pb_sint(out, 6, native.h.schema);
    pb_fixed64(out, 7, native.h.zero_count.i);
    put_buckets(out, &native.h.pos);
    pb_fixed64(out, 14, double_bits(native.h.zero_threshold));
    pb_end(out, point);
}

/* Series k and those behind it that have its name and target, as one metric; returns the first behind them. */
static uint32_t put_metric(const struct batch *b, uint32_t k, struct model_labels *l, int64_t t_ms, struct skeleton *out)
{
    uint32_t target = model_target(b->model, b->first + k);
    struct str name = label(l, "__name__");
    bool sum = !batch_is_native(b) && str_has_suffix(name, STR("_total"));
    size_t metric = pb_begin(out, 2), data;

    pb_str(out, 1, name);
    data = pb_begin(out, batch_is_native(b) ? METRIC_EXPONENTIAL_FIELD : sum ? METRIC_SUM_FIELD : METRIC_GAUGE_FIELD);
    do {
        if (batch_is_native(b))
            put_exponential(b, k, l, t_ms, out);
        else
            put_number(b, k, l, out);
        if (++k < b->count)
            batch_labels(b, k, l);
    } while (k < b->count && str_eq(label(l, "__name__"), name) && model_target(b->model, b->first + k) == target);
    if (sum || batch_is_native(b))
        pb_uint(out, 2, TEMPORALITY_CUMULATIVE);
    if (sum)
        pb_uint(out, 3, true);
    pb_end(out, data);
    pb_end(out, metric);
    return k;
}

void batch_encode_otlp(const struct batch *b, int64_t t_ms, struct skeleton *out)
{
    struct model_labels labels;
    uint32_t k = 0;

    batch_labels(b, 0, &labels);
    while (k < b->count) {
        uint32_t target = model_target(b->model, b->first + k);
        size_t resource = pb_begin(out, 1), scope, name;

        put_resource(out, &labels);
        scope = pb_begin(out, 2);
        name = pb_begin(out, 1);
        pb_str(out, 1, STR("torc-loadgen"));
        pb_end(out, name);
        while (k < b->count && model_target(b->model, b->first + k) == target)
            k = put_metric(b, k, &labels, t_ms, out);
        pb_end(out, scope);
        pb_end(out, resource);
    }
}
