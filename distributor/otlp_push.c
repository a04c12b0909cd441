#include "distributor/otlp_push.h"
#include "distributor/body.h"
#include "distributor/distributor_impl.h"
#include "distributor/otlp_json.h"
#include "distributor/otlp_translate.h"

#include <stdlib.h>

enum {
    EXPANSION_MAX = 16,          /* bytes of series for a byte of OTLP: a histogram repeats its labels for each bucket */
    EXPANDED_BYTES_MAX = 1 << 30, /* with max_request_inflated_size off */
    JSON_EXPANSION_MAX = 5,      /* "1," becomes nine bytes of a fixed64 */
};
_Static_assert((int)OTLP_DELTA_REFUSE == (int)OTEL_DELTA_REFUSE && (int)OTLP_DELTA_NATIVE == (int)OTEL_DELTA_NATIVE, "the limit is the option");
struct otlp_count {
    uint32_t rejected, all; /* data points */
};

struct part {
    struct part *next;
    struct buf body;
    struct otlp_point *points;
    size_t point_count;
};
struct otlp_push {
    struct distributor *d;
    struct http_req *http;
    int64_t taken_ns; /* by admission */
    bool json;
    /* --- the maker's --- */
    struct part *parts, **tail;
    size_t parts_bytes;
    uint32_t refused;      /* points that never became series */
    struct mutex lock;     /* --- guards all below --- */
    uint32_t open;         /* parts that are not decided, and the maker */
    struct otlp_count count;
    int status;            /* the worst of all parts; 0: none failed */
    struct buf text;
};

/* --- the request --- */

static bool media_type_is(struct str header, struct str type)
{
    return header.p && str_ieq(str_trim(str_sub(header, 0, str_find(header, ';'))), type);
}

bool otlp_wants_json(const struct http_req *req)
{
    return media_type_is(http_header(req, "Content-Type"), STR(HTTP_TYPE_JSON));
}

struct otlp_push *otlp_push_new(struct distributor *d, int64_t taken_ns, struct http_req *req)
{
    struct otlp_push *o = xcalloc(1, sizeof *o);

    o->d = d;
    o->taken_ns = taken_ns;
    o->http = req;
    o->json = otlp_wants_json(req);
    o->tail = &o->parts;
    o->open = 1;
    mutex_init(&o->lock);
    buf_init(&o->text, OTLP_ERRORS_TEXT_MAX);
    return o;
}

static void part_free(struct part *part)
{
    buf_fini(&part->body);
    free(part->points);
    free(part);
}

static void otlp_push_free(struct otlp_push *o)
{
    while (o->parts) {
        struct part *next = o->parts->next;

        part_free(o->parts);
        o->parts = next;
    }
    buf_fini(&o->text);
    mutex_fini(&o->lock);
    free(o);
}

void otlp_push_add(struct otlp_push *o, struct push *p)
{
    p->otlp = o;
    p->started = true;
    mutex_lock(&o->lock);
    o->open++;
    mutex_unlock(&o->lock);
}

static void refuse(void *arg, enum discard_reason why, uint32_t points, const char *text)
{
    struct push *p = arg;

    p->otlp->refused += points;
    push_refuse(p, why, points, text);
}

static size_t bytes_max(const struct limits *l)
{
    size_t inflated = (size_t)l->max_request_inflated_size;

    return inflated && inflated < EXPANDED_BYTES_MAX / EXPANSION_MAX ? inflated * EXPANSION_MAX : EXPANDED_BYTES_MAX;
}

/* What w has so far becomes a part. */
static int part_end(void *arg, struct otlp_write *w, struct err *err)
{
    struct push *p = arg;
    struct otlp_push *o = p->otlp;
    size_t max = bytes_max(p->limits);
    struct part *part;
    int rc = push_charge(p, w->body.cap, err);

    if (rc < 0)
        return rc;
    o->parts_bytes += w->body.n;
    if (o->parts_bytes > max)
        return err_set(err, RC_LIMIT, "the request becomes more than %zu bytes of series, the limit: send fewer data points at once", max);
    part = xcalloc(1, sizeof *part);
    otlp_write_take(w, &part->body, &part->points, &part->point_count);
    *o->tail = part;
    o->tail = &part->next;
    return 0;
}

static struct otlp_options options_of(struct push *p)
{
    const struct limits *l = p->limits;

    return (struct otlp_options){
        .labels = {
            .naming = {
                .utf8 = l->otel_translation_strategy == OTEL_NO_UTF8_ESCAPING_WITH_SUFFIXES || l->otel_translation_strategy == OTEL_NO_TRANSLATION,
                .suffixes = l->otel_translation_strategy == OTEL_UNDERSCORE_ESCAPING_WITH_SUFFIXES ||
                            l->otel_translation_strategy == OTEL_NO_UTF8_ESCAPING_WITH_SUFFIXES,
            },
            .promoted = &l->promote_otel_resource_attributes,
            .scope = l->otel_promote_scope_metadata,
            .keep_identifying = l->otel_keep_identifying_resource_attributes,
        },
        .nhcb = l->otel_convert_histograms_to_nhcb,
        .delta = (enum otlp_delta)l->otel_delta_temporality,
        .body_max = bytes_max(l),
        .part_bytes = OTLP_PART_BYTES,
        .part = part_end,
        .refuse = refuse,
        .arg = p,
    };
}

/* JSON to protobuf, in place of in. The tree is charged while it lives. */
static int json_read(struct push *p, struct buf *in, struct err *err)
{
    size_t cost = otlp_json_cost(buf_view(in)), before = p->charged;
    struct buf out;
    int rc;

    buf_init(&out, in->n * JSON_EXPANSION_MAX + 64);
    rc = cost <= OTLP_JSON_TREE_BYTES_MAX ? push_charge(p, cost, err) : 0; /* a larger one is refused before it is read */
    if (rc == 0)
        rc = otlp_json_request(buf_view(in), &out, err);
    push_uncharge(p, p->charged - before);
    buf_fini(in);
    *in = out;
    if (rc == 0)
        rc = push_charge(p, out.cap, err);
    return rc;
}

/* The body moves, and its memory is p's. */
static void part_take(struct otlp_push *o, struct push *p)
{
    struct part *part = o->parts;

    o->parts = part->next;
    p->body = part->body;
    p->points = part->points;
    p->point_count = part->point_count;
    free(part);
}

static int translate(struct push *p, struct str request, struct err *err)
{
    struct otlp_options o = options_of(p);
    struct otlp_write w;
    int rc = otlp_translate(request, &o, &p->arena, &w, err);

    if (rc == 0)
        rc = part_end(p, &w, err);
    if (rc == 0)
        part_take(p->otlp, p);
    otlp_write_fini(&w);
    return rc;
}

bool otlp_push_more(const struct otlp_push *o)
{
    return o->parts != NULL;
}

void otlp_push_next(struct otlp_push *o, struct push *first, struct push *p)
{
    part_take(o, p);
    p->charged = p->body.cap;
    ASSERT(first->charged >= p->charged);
    first->charged -= p->charged;
}

int otlp_push_open(struct push *p, struct err *err)
{
    struct body_budget budget = {.inflated_max = (size_t)p->limits->max_request_inflated_size, .charge = push_charge, .arg = p};
    struct str type = http_header(p->http, "Content-Type");
    enum body_encoding encoding;
    struct buf in;
    int rc;

    if (!p->otlp->json && !media_type_is(type, STR("application/x-protobuf")))
        return err_set(err, RC_UNSUPPORTED, "Content-Type '%.*s' is not supported, send application/x-protobuf or application/json",
                       (int)MIN(type.n, (size_t)64), type.p ? type.p : "");
    rc = body_encoding_parse(http_header(p->http, "Content-Encoding"), BODY_IDENTITY | BODY_GZIP | BODY_ZSTD | BODY_SNAPPY, BODY_IDENTITY, &encoding, err);
    if (rc < 0)
        return rc;
    rc = body_inflate(encoding, http_body(p->http), &budget, &in, err);
    if (rc == 0 && p->otlp->json)
        rc = json_read(p, &in, err);
    if (rc == 0) {
        size_t charged = p->charged;

        rc = translate(p, buf_view(&in), err);
        push_uncharge(p, charged); /* of the input, which goes */
    }
    buf_fini(&in);
    return rc;
}

/* --- the outcome --- */

/* The point that the series at this place of the body came from. */
static size_t point_at(const struct push *p, size_t offset)
{
    size_t lo = 0, hi = p->point_count;

    while (hi - lo > 1) {
        size_t mid = lo + (hi - lo) / 2;

        if (p->points[mid].offset <= offset)
            lo = mid;
        else
            hi = mid;
    }
    return lo;
}

static bool row_refused(const struct push *p, uint32_t row)
{
    const struct quorum *q = &p->quorum;
    uint32_t rows = p->row_count + p->hist_count + p->metadata_count;

    if (row >= q->rows)
        return true; /* never sent */
    return q->refusals[row] >= q->need[row] || (p->moving && q->refusals[rows + row] >= q->need[rows + row]);
}

static void stored_count(const struct push *p, uint32_t *stored)
{
    for (uint32_t row = 0; row < p->row_count + p->hist_count; row++) {
        uint32_t series = row < p->row_count ? p->rows[row].series : p->hists[row - p->row_count].series;

        if (!row_refused(p, row))
            stored[point_at(p, (size_t)(p->series[series].message.p - p->body.p))]++;
    }
}

static uint32_t points_all(const struct push *p)
{
    uint32_t n = 0;

    for (size_t i = 0; i < p->point_count; i++)
        n += p->points[i].rows != OTLP_NOT_A_POINT;
    return n;
}

/* A point is stored when all of its rows are. */
static uint32_t points_rejected(const struct push *p)
{
    uint32_t *stored = xcalloc(p->point_count + 1, sizeof *stored), n = 0;

    if (p->point_count)
        stored_count(p, stored);
    for (size_t i = 0; i < p->point_count; i++)
        n += p->points[i].rows != OTLP_NOT_A_POINT && stored[i] < p->points[i].rows;
    free(stored);
    return n;
}

static bool may_succeed_later(int status)
{
    return status == 429 || status == 503;
}

/* 503, 429, what can never succeed, nothing. */
static int badness(int status)
{
    return status == 503 ? 3 : status == 429 ? 2 : status ? 1 : 0;
}

/* Lock held. */
static void outcome_add(struct otlp_push *o, int status, struct str text)
{
    if (badness(status) > badness(o->status)) {
        if (may_succeed_later(status))
            buf_clear(&o->text); /* what decides comes first */
        o->status = status;
    }
    if (!text.n || o->text.n + text.n + 1 > o->text.max)
        return;
    if (o->text.n && o->text.p[o->text.n - 1] != '\n')
        buf_char(&o->text, '\n');
    buf_str(&o->text, text);
}

static void answer(struct otlp_push *o)
{
    struct otlp_count c = o->count;
    struct http_resp *r;
    struct buf text;

    c.rejected += o->refused;
    c.all += o->refused;
    buf_init(&text, OTLP_ERRORS_TEXT_MAX + 256);
    if (c.rejected)
        buf_printf(&text, "%u of %u data points were not stored, the others are. The first reasons:\n", c.rejected, c.all);
    buf_str(&text, buf_view(&o->text));
    if (may_succeed_later(o->status)) {
        r = otlp_status(o->json, o->status, buf_view(&o->text));
        dist_retry_after(o->d, r);
    } else if (o->status && c.rejected == c.all) {
        r = otlp_status(o->json, o->status, buf_view(&text));
    } else {
        r = otlp_response(o->json, c.rejected, buf_view(&text));
    }
    buf_fini(&text);
    http_respond(o->http, r);
    dist_admit_answered(o->d, o->taken_ns, o->status == 503);
}

void otlp_push_release(struct otlp_push *o)
{
    bool last;

    mutex_lock(&o->lock);
    ASSERT(o->open > 0);
    last = --o->open == 0;
    mutex_unlock(&o->lock);
    if (!last)
        return;
    answer(o);
    otlp_push_free(o);
}

void otlp_push_fail(struct otlp_push *o, int status, struct str text)
{
    mutex_lock(&o->lock);
    outcome_add(o, status, text);
    mutex_unlock(&o->lock);
    otlp_push_release(o);
}

void otlp_push_done(struct push *p, int status, struct str text)
{
    struct otlp_push *o = p->otlp;
    struct otlp_count c = {status < 300 ? 0 : points_rejected(p), points_all(p)};

    p->otlp = NULL;
    mutex_lock(&o->lock);
    o->count.rejected += c.rejected;
    o->count.all += c.all;
    if (status >= 400)
        outcome_add(o, status, text);
    mutex_unlock(&o->lock);
    otlp_push_release(o);
}
