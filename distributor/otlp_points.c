/* otlp_points.c - numbers and summaries, exemplars, and what all points need. */
#include "common/model/duration.h"
#include "common/model/sample.h"
#include "common/wire/pb_arena.h"
#include "distributor/otlp_impl.h"
#include "distributor/otlp_value.h"

#include <math.h>
#include <stdlib.h>

int otlp_point_failed(struct otlp_run *r, enum discard_reason why, int rc, const struct err *text, struct err *err)
{
    const struct str name = r->metric.raw_name;
    struct err line;

    if (rc != RC_INVALID)
        return err_set(err, rc, "%s", err_text(text));
    err_set(&line, rc, "metric '%.*s': %s (%s)", (int)MIN(name.n, (size_t)100), name.p, err_text(text), discard_text(why));
    r->o->refuse(r->o->arg, why, 1, err_text(&line));
    return 0;
}

/* Of what counts up from its start: a start after the point, or of a gauge, says nothing. */
static int64_t start_of(const struct otlp_metric *m, uint64_t start_ns, uint64_t time_ns)
{
    bool counts = m->kind != OTLP_GAUGE && m->kind != OTLP_UP_DOWN_COUNTER && !m->delta;

    return counts && start_ns <= time_ns ? otlp_ms(start_ns) : 0;
}

int otlp_point_open(struct otlp_run *r, const struct otlp_attributes *attributes, uint64_t start_ns, uint64_t time_ns, struct labels *ret, struct err *err)
{
    int64_t t = otlp_ms(time_ns);
    struct err text;
    int rc = otlp_point_labels(&r->point, &r->scoped, attributes, &r->o->labels, ret, &text);

    if (rc < 0)
        return otlp_point_failed(r, DISCARD_LABEL_INVALID, rc, &text, err);
    r->oldest_ms = r->timed ? MIN(r->oldest_ms, t) : t;
    r->newest_ms = r->timed ? MAX(r->newest_ms, t) : t;
    r->timed = true;
    r->w->start_ms = start_of(&r->metric, start_ns, time_ns);
    otlp_write_point(r->w, true);
    return 1;
}

/* --- exemplars --- */

enum { EXEMPLAR_CHARS_MAX = 128, TRACE_ID_BYTES = 16, SPAN_ID_BYTES = 8 };

static bool id_set(ProtobufCBinaryData id, size_t n)
{
    for (size_t i = 0; id.len == n && i < n; i++)
        if (id.data[i])
            return true;
    return false;
}

static int id_label(struct arena *a, ProtobufCBinaryData id, size_t n, const char *name, struct labels *ls, struct err *err)
{
    char *hex;

    if (!id_set(id, n))
        return 0;
    hex = arena_alloc(a, n * 2 + 1);
    if (!hex)
        return err_set(err, RC_LIMIT, "exemplars: the request's memory budget is spent");
    hex_put(hex, id.data, n);
    ls->v[ls->n++] = (struct label){str_of(name), str_n(hex, n * 2)};
    return 0;
}

static size_t chars(struct str s)
{
    size_t n = 0;

    for (size_t i = 0; i < s.n; i++)
        n += ((uint8_t)s.p[i] & 0xc0) != 0x80;
    return n;
}

/* The filtered attributes, all or, where they make the exemplar too long or one is no label value, none of them. */
static int filtered_labels(struct arena *a, const Torc__Otlp__Exemplar *e, struct labels *ls, struct err *err)
{
    size_t ids = ls->n, total = 0;
    int rc = 0;

    for (size_t i = 0; i < ls->n; i++)
        total += ls->v[i].name.n + ls->v[i].value.n;
    for (size_t i = 0; i < e->n_filtered_attributes && rc == 0 && total <= EXEMPLAR_CHARS_MAX; i++) {
        struct label l = {.name = pb_str(e->filtered_attributes[i]->key)};

        rc = otlp_value_text(a, e->filtered_attributes[i]->value, &l.value, err);
        if (rc < 0)
            break;
        total += chars(l.name) + chars(l.value);
        ls->v[ls->n++] = l;
    }
    if (total > EXEMPLAR_CHARS_MAX || rc == RC_INVALID)
        ls->n = ids;
    return rc == RC_INVALID ? 0 : rc;
}

static int exemplar_of(struct arena *a, const Torc__Otlp__Exemplar *e, struct otlp_exemplar *ret, struct err *err)
{
    struct labels ls = {arena_array(a, e->n_filtered_attributes + 2, sizeof *ls.v), 0};
    int rc = ls.v ? id_label(a, e->trace_id, TRACE_ID_BYTES, "trace_id", &ls, err) : err_set(err, RC_LIMIT, "exemplars: the request's memory budget is spent");

    if (rc == 0)
        rc = id_label(a, e->span_id, SPAN_ID_BYTES, "span_id", &ls, err);
    if (rc == 0)
        rc = filtered_labels(a, e, &ls, err);
    if (rc < 0)
        return rc;
    ret->t = otlp_ms(e->time_unix_nano);
    ret->v = e->value_case == TORC__OTLP__EXEMPLAR__VALUE_AS_INT ? (double)e->as_int : e->as_double;
    ret->labels = ls;
    return 0;
}

static int by_value(const void *x, const void *y)
{
    const struct otlp_exemplar *a = x, *b = y;

    return (a->v > b->v) - (a->v < b->v);
}

int otlp_exemplars(struct otlp_run *r, Torc__Otlp__Exemplar *const *list, size_t n, struct otlp_exemplar **ret, size_t *ret_n, struct err *err)
{
    struct otlp_exemplar *v = arena_array(&r->point, n + 1, sizeof *v);
    size_t count = 0;
    int rc = v ? 0 : err_set(err, RC_LIMIT, "exemplars: the request's memory budget is spent");

    for (size_t i = 0; i < n && rc == 0; i++) {
        rc = exemplar_of(&r->point, list[i], &v[count], err);
        count += rc == 0 && list[i]->value_case != TORC__OTLP__EXEMPLAR__VALUE__NOT_SET && !isnan(v[count].v);
    }
    if (rc < 0)
        return rc;
    if (count)
        qsort(v, count, sizeof *v, by_value);
    *ret = v;
    *ret_n = count;
    return 0;
}

/* --- numbers --- */

static int number_write(struct otlp_run *r, const Torc__Otlp__NumberDataPoint *p, double v, struct err *err)
{
    struct otlp_exemplar *exemplars = NULL;
    struct labels ls;
    size_t n = 0;
    int rc = otlp_point_open(r, &(struct otlp_attributes){p->attributes, p->n_attributes}, p->start_time_unix_nano, p->time_unix_nano, &ls, err);

    if (rc <= 0)
        return rc;
    if (r->metric.kind != OTLP_GAUGE)
        rc = otlp_exemplars(r, p->exemplars, p->n_exemplars, &exemplars, &n, err);
    if (rc < 0)
        return rc;
    otlp_write_begin(r->w, r->metric.name, "", &ls, (struct label){0});
    otlp_write_sample(r->w, otlp_ms(p->time_unix_nano), v);
    for (size_t i = 0; i < n; i++)
        otlp_write_exemplar(r->w, exemplars[i].t, exemplars[i].v, &exemplars[i].labels);
    otlp_write_end(r->w);
    return 0;
}

int otlp_number_point(struct otlp_run *r, struct str point, struct err *err)
{
    const Torc__Otlp__NumberDataPoint *p;
    ProtobufCMessage *m;
    struct err text;
    int rc = pb_unpack(&torc__otlp__number_data_point__descriptor, &r->point, point, &m, err);

    if (rc < 0)
        return rc;
    p = (const void *)m;
    if (p->flags & OTLP_FLAG_NO_RECORDED_VALUE)
        return number_write(r, p, bits_double(STALE_NAN_BITS), err);
    if (p->value_case == TORC__OTLP__NUMBER_DATA_POINT__VALUE__NOT_SET) {
        err_set(&text, RC_INVALID, "a data point has no value");
        return otlp_point_failed(r, DISCARD_OTLP_POINT_INVALID, RC_INVALID, &text, err);
    }
    return number_write(r, p, p->value_case == TORC__OTLP__NUMBER_DATA_POINT__VALUE_AS_INT ? (double)p->as_int : p->as_double, err);
}

/* --- summaries --- */

static void one_sample(struct otlp_run *r, const char *suffix, const struct labels *ls, struct label extra, int64_t t, double v)
{
    otlp_write_begin(r->w, r->metric.name, suffix, ls, extra);
    otlp_write_sample(r->w, t, v);
    otlp_write_end(r->w);
}

int otlp_summary_point(struct otlp_run *r, struct str point, struct err *err)
{
    const Torc__Otlp__SummaryDataPoint *p;
    const double stale = bits_double(STALE_NAN_BITS);
    ProtobufCMessage *m;
    struct labels ls;
    struct buf text;
    int64_t t;
    bool none;
    int rc = pb_unpack(&torc__otlp__summary_data_point__descriptor, &r->point, point, &m, err);

    if (rc < 0)
        return rc;
    p = (const void *)m;
    rc = otlp_point_open(r, &(struct otlp_attributes){p->attributes, p->n_attributes}, p->start_time_unix_nano, p->time_unix_nano, &ls, err);
    if (rc <= 0)
        return rc;
    t = otlp_ms(p->time_unix_nano);
    none = p->flags & OTLP_FLAG_NO_RECORDED_VALUE;
    one_sample(r, "_sum", &ls, (struct label){0}, t, none ? stale : p->sum);
    one_sample(r, "_count", &ls, (struct label){0}, t, none ? stale : (double)p->count);
    buf_init(&text, 1024);
    for (size_t i = 0; i < p->n_quantile_values; i++) {
        buf_clear(&text);
        float_print_plain(&text, p->quantile_values[i]->quantile);
        one_sample(r, "", &ls, (struct label){STR("quantile"), buf_view(&text)}, t, none ? stale : p->quantile_values[i]->value);
    }
    buf_fini(&text);
    return 0;
}
