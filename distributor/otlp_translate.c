#include "distributor/otlp_translate.h"
#include "common/base/hash.h"
#include "common/wire/pb_arena.h"
#include "distributor/otlp_impl.h"
#include "distributor/pb_scan.h"

#include <stdlib.h>

/* The envelopes are walked without copies; resources, scopes and points are unpacked one at a time. */
enum { REQUEST_RESOURCE_METRICS = 1 };
enum { RESOURCE_METRICS_RESOURCE = 1, RESOURCE_METRICS_SCOPES = 2 };
enum { SCOPE_METRICS_SCOPE = 1, SCOPE_METRICS_METRICS = 2, SCOPE_METRICS_SCHEMA_URL = 3 };
enum { METRIC_NAME = 1, METRIC_DESCRIPTION = 2, METRIC_UNIT = 3 };
enum { METRIC_GAUGE = 5, METRIC_SUM = 7, METRIC_HISTOGRAM = 9, METRIC_EXPONENTIAL = 10, METRIC_SUMMARY = 11 };
enum { DATA_POINTS = 1, DATA_TEMPORALITY = 2, DATA_MONOTONIC = 3 };
enum { TEMPORALITY_DELTA = 1, TEMPORALITY_CUMULATIVE = 2 };
/* prometheus.MetricMetadata.MetricType */
enum { TYPE_UNKNOWN = 0, TYPE_COUNTER = 1, TYPE_GAUGE = 2, TYPE_HISTOGRAM = 3, TYPE_SUMMARY = 5 };

static int next_bytes(struct rd *rd, uint32_t number, struct str *ret, struct err *err)
{
    struct pb_field f;
    int rc;

    while ((rc = pb_next(rd, &f, err)) > 0) {
        if (pb_is(&f, number, PB_BYTES)) {
            *ret = f.bytes;
            return 1;
        }
    }
    return rc;
}

/* The last field of this number, which is the one that counts; empty when absent. */
static int last_bytes(struct str message, uint32_t number, struct str *ret, struct err *err)
{
    struct rd rd = rd_of(message);
    int rc;

    *ret = STR("");
    do
        rc = next_bytes(&rd, number, ret, err);
    while (rc > 0);
    return rc;
}

/* --- metrics --- */

struct data {
    uint32_t number;  /* of the oneof; 0: none */
    struct str bytes;
    uint64_t temporality;
    bool monotonic;
};

static int data_scan(struct data *d, struct err *err)
{
    struct rd rd = rd_of(d->bytes);
    struct pb_field f;
    int rc;

    while ((rc = pb_next(&rd, &f, err)) > 0) {
        if (pb_is(&f, DATA_TEMPORALITY, PB_VARINT))
            d->temporality = f.value;
        else if (pb_is(&f, DATA_MONOTONIC, PB_VARINT))
            d->monotonic = f.value != 0;
    }
    return rc;
}

struct metric_fields {
    struct str name, description, unit;
    struct data data;
};

static int metric_scan(struct str message, struct metric_fields *ret, struct err *err)
{
    struct metric_fields m = {.name = STR(""), .description = STR(""), .unit = STR("")};
    struct rd rd = rd_of(message);
    struct pb_field f;
    int rc;

    while ((rc = pb_next(&rd, &f, err)) > 0) {
        if (f.wire != PB_BYTES)
            continue;
        switch (f.number) {
        case METRIC_NAME:
            m.name = f.bytes;
            break;
        case METRIC_DESCRIPTION:
            m.description = f.bytes;
            break;
        case METRIC_UNIT:
            m.unit = f.bytes;
            break;
        case METRIC_GAUGE:
        case METRIC_SUM:
        case METRIC_HISTOGRAM:
        case METRIC_EXPONENTIAL:
        case METRIC_SUMMARY:
            m.data = (struct data){.number = f.number, .bytes = f.bytes};
            break;
        default:
            break;
        }
    }
    if (rc == 0)
        rc = data_scan(&m.data, err);
    if (rc == 0)
        *ret = m;
    return rc;
}

static enum otlp_kind kind_of(const struct data *d)
{
    switch (d->number) {
    case METRIC_SUM:
        return d->monotonic ? OTLP_COUNTER : OTLP_UP_DOWN_COUNTER;
    case METRIC_HISTOGRAM:
        return OTLP_HISTOGRAM;
    case METRIC_EXPONENTIAL:
        return OTLP_EXPONENTIAL_HISTOGRAM;
    case METRIC_SUMMARY:
        return OTLP_SUMMARY;
    default:
        return OTLP_GAUGE;
    }
}

static uint8_t metadata_type(const struct otlp_metric *m)
{
    if (m->delta)
        return TYPE_UNKNOWN;
    switch (m->kind) {
    case OTLP_COUNTER:
        return TYPE_COUNTER;
    case OTLP_HISTOGRAM:
    case OTLP_EXPONENTIAL_HISTOGRAM:
        return TYPE_HISTOGRAM;
    case OTLP_SUMMARY:
        return TYPE_SUMMARY;
    case OTLP_GAUGE:
    case OTLP_UP_DOWN_COUNTER:
        break;
    }
    return TYPE_GAUGE;
}

static void metadata_write(struct otlp_run *r, uint8_t type, struct str name, struct str help, struct str unit)
{
    uint64_t h = hash64(name.p, name.n, hash64(help.p, help.n, hash64(unit.p, unit.n, type + 1)));
    uint64_t *seen = &r->metadata_seen[h % ARRAY_LEN(r->metadata_seen)];

    if (*seen == h)
        return;
    *seen = h;
    otlp_write_metadata(r->w, type, name, help, unit);
}

/* Why none of the metric's points can be stored; DISCARD_NONE: they can. */
static enum discard_reason temporality_judge(const struct otlp_run *r, const struct data *d, struct err *err)
{
    const struct str name = r->metric.raw_name;
    int n = (int)MIN(name.n, (size_t)100);

    if (d->number == METRIC_GAUGE || d->number == METRIC_SUMMARY || d->temporality == TEMPORALITY_CUMULATIVE)
        return DISCARD_NONE;
    if (d->temporality != TEMPORALITY_DELTA)
        err_set(err, RC_INVALID, "metric '%.*s' has no aggregation temporality", n, name.p);
    else if (r->o->delta == OTLP_DELTA_REFUSE)
        err_set(err, RC_INVALID, "metric '%.*s' has delta temporality: send it cumulative, or see otel_delta_temporality", n, name.p);
    else
        return DISCARD_NONE;
    return DISCARD_OTLP_TEMPORALITY;
}

typedef int point_fn(struct otlp_run *r, struct str point, struct err *err);

static point_fn *point_of(uint32_t data)
{
    switch (data) {
    case METRIC_HISTOGRAM:
        return otlp_histogram_point;
    case METRIC_EXPONENTIAL:
        return otlp_exponential_point;
    case METRIC_SUMMARY:
        return otlp_summary_point;
    default:
        return otlp_number_point;
    }
}

static int points_refuse(struct otlp_run *r, const struct data *d, enum discard_reason why, const struct err *text, struct err *err)
{
    struct rd rd = rd_of(d->bytes);
    struct str point;
    uint32_t n = 0;
    int rc;

    while ((rc = next_bytes(&rd, DATA_POINTS, &point, err)) > 0)
        n++;
    if (rc == 0)
        r->o->refuse(r->o->arg, why, n, err_text(text));
    return rc;
}

static int points_run(struct otlp_run *r, const struct data *d, struct err *err)
{
    point_fn *point = point_of(d->number);
    struct rd rd = rd_of(d->bytes);
    struct str bytes;
    int rc;

    while ((rc = next_bytes(&rd, DATA_POINTS, &bytes, err)) > 0) {
        arena_reset(&r->point);
        rc = point(r, bytes, err);
        if (rc < 0)
            return rc;
        if (!otlp_write_ok(r->w))
            return err_set(err, RC_LIMIT, "the request becomes more than %zu bytes of series, the limit: send fewer data points at once", r->w->body.max);
        rc = r->o->part && r->w->body.n >= r->o->part_bytes ? r->o->part(r->o->arg, r->w, err) : 0;
        if (rc < 0)
            return rc;
    }
    return rc;
}

static bool has_points(const struct data *d)
{
    struct rd rd = rd_of(d->bytes);
    struct str point;

    return d->number && next_bytes(&rd, DATA_POINTS, &point, NULL) > 0;
}

/* What the metric is called, and its metadata. As temporality_judge, or RC_LIMIT. */
static int name_judge(struct otlp_run *r, const struct metric_fields *m, enum discard_reason *ret_why, struct err *err)
{
    struct otlp_naming naming = r->o->labels.naming;
    struct str unit;
    int rc = otlp_metric_name(&r->scope, m->name, m->unit, r->metric.kind, naming, &r->metric.name, err);

    if (rc == 0)
        rc = otlp_unit_name(&r->scope, m->unit, naming, &unit, err);
    if (rc == 0)
        metadata_write(r, metadata_type(&r->metric), r->metric.name, m->description, unit);
    *ret_why = rc == RC_INVALID ? DISCARD_METRIC_NAME_INVALID : DISCARD_NONE;
    return *ret_why ? 0 : rc;
}

static int metric_run(struct otlp_run *r, struct str message, struct err *err)
{
    enum discard_reason why;
    struct metric_fields m;
    struct err text;
    int rc = metric_scan(message, &m, err);

    if (rc < 0 || !has_points(&m.data))
        return rc;
    r->metric = (struct otlp_metric){.kind = kind_of(&m.data), .raw_name = m.name, .delta = m.data.temporality == TEMPORALITY_DELTA};
    if (r->resource_bad || r->scope_bad)
        return points_refuse(r, &m.data, DISCARD_LABEL_INVALID, &r->bad, err);
    why = temporality_judge(r, &m.data, &text);
    if (!why)
        rc = name_judge(r, &m, &why, &text);
    if (rc < 0)
        return err_set(err, rc, "%s", err_text(&text));
    return why ? points_refuse(r, &m.data, why, &text, err) : points_run(r, &m.data, err);
}

/* --- scopes and resources --- */

/* After attributes of a resource or scope were made labels: those that cannot be (RC_INVALID) cost its points, not the request. */
static int common_judge(struct otlp_run *r, int rc, const char *of, bool *ret_bad, struct err *err)
{
    *ret_bad = rc == RC_INVALID;
    if (rc == RC_INVALID)
        err_wrap(&r->bad, rc, "attributes of a %s", of);
    else if (rc < 0)
        return err_set(err, rc, "%s", err_text(&r->bad));
    return 0;
}

static int scope_run(struct otlp_run *r, struct str message, struct err *err)
{
    struct rd rd = rd_of(message);
    struct str scope, schema_url, metric;
    ProtobufCMessage *m;
    int rc = last_bytes(message, SCOPE_METRICS_SCOPE, &scope, err);

    arena_reset(&r->scope);
    if (rc == 0)
        rc = last_bytes(message, SCOPE_METRICS_SCHEMA_URL, &schema_url, err);
    if (rc == 0)
        rc = pb_unpack(&torc__otlp__instrumentation_scope__descriptor, &r->scope, scope, &m, err);
    if (rc == 0 && !r->resource_bad) {
        rc = otlp_common_scope(&r->scope, &r->common, (const void *)m, schema_url, &r->o->labels, &r->scoped, &r->bad);
        rc = common_judge(r, rc, "scope", &r->scope_bad, err);
    }
    if (rc < 0)
        return rc;
    while ((rc = next_bytes(&rd, SCOPE_METRICS_METRICS, &metric, err)) > 0) {
        rc = metric_run(r, metric, err);
        if (rc < 0)
            break;
    }
    return rc;
}

/* At the newest point, and before it often enough that a query finds one wherever it finds a point. */
static void target_info_samples(struct otlp_run *r)
{
    int64_t newest = r->newest_ms, t = r->oldest_ms;

    if (newest - t > (int64_t)OTLP_TARGET_INFO_INTERVAL_MS * OTLP_TARGET_INFO_SAMPLES_MAX)
        t = newest - (int64_t)OTLP_TARGET_INFO_INTERVAL_MS * OTLP_TARGET_INFO_SAMPLES_MAX;
    for (; t < newest; t += OTLP_TARGET_INFO_INTERVAL_MS)
        otlp_write_sample(r->w, t, 1);
    otlp_write_sample(r->w, newest, 1);
}

static void target_info(struct otlp_run *r, const struct labels *ls)
{
    if (!r->timed || ls->n == 0)
        return;
    metadata_write(r, TYPE_GAUGE, STR("target_info"), STR("Target metadata"), STR(""));
    r->w->start_ms = 0;
    otlp_write_point(r->w, false);
    otlp_write_begin(r->w, STR("target_info"), "", ls, (struct label){0});
    target_info_samples(r);
    otlp_write_end(r->w);
}

static int resource_open(struct otlp_run *r, struct str message, struct labels *ret_target, struct err *err)
{
    const Torc__Otlp__Resource *resource;
    struct otlp_attributes attributes;
    ProtobufCMessage *m;
    struct str bytes;
    int rc = last_bytes(message, RESOURCE_METRICS_RESOURCE, &bytes, err);

    arena_reset(&r->resource);
    r->timed = r->scope_bad = false;
    if (rc == 0)
        rc = pb_unpack(&torc__otlp__resource__descriptor, &r->resource, bytes, &m, err);
    if (rc < 0)
        return rc;
    resource = (const void *)m;
    attributes = (struct otlp_attributes){resource->attributes, resource->n_attributes};
    rc = otlp_common_of(&r->resource, &attributes, &r->o->labels, &r->common, &r->bad);
    if (rc == 0)
        rc = otlp_target_labels(&r->resource, &attributes, &r->o->labels, ret_target, &r->bad);
    return common_judge(r, rc, "resource", &r->resource_bad, err);
}

static int resource_run(struct otlp_run *r, struct str message, struct err *err)
{
    struct rd rd = rd_of(message);
    struct labels target = {0};
    struct str scope;
    int rc = resource_open(r, message, &target, err);

    if (rc < 0)
        return rc;
    while ((rc = next_bytes(&rd, RESOURCE_METRICS_SCOPES, &scope, err)) > 0) {
        rc = scope_run(r, scope, err);
        if (rc < 0)
            return rc;
    }
    if (rc == 0)
        target_info(r, &target);
    return rc;
}

int otlp_translate(struct str request, const struct otlp_options *o, struct arena *a, struct otlp_write *w, struct err *err)
{
    struct otlp_run *r = xcalloc(1, sizeof *r);
    struct rd rd = rd_of(request);
    struct str resource;
    int rc;

    otlp_write_init(w, o->body_max);
    r->o = o;
    r->w = w;
    arena_init_in(&r->resource, a);
    arena_init_in(&r->scope, a);
    arena_init_in(&r->point, a);
    while ((rc = next_bytes(&rd, REQUEST_RESOURCE_METRICS, &resource, err)) > 0) {
        rc = resource_run(r, resource, err);
        if (rc < 0)
            break;
    }
    if (rc == 0 && !otlp_write_ok(w))
        rc = err_set(err, RC_LIMIT, "the request becomes more than %zu bytes of series, the limit: send fewer data points at once", w->body.max);
    arena_fini(&r->point);
    arena_fini(&r->scope);
    arena_fini(&r->resource);
    free(r);
    return rc;
}
