#include "loadgen/verify_request.h"

#include <inttypes.h>
#include <snappy-c.h>
#include <stdio.h>

const char *const verify_path_names[VERIFY_PATH_COUNT + 1] = {"instant", "range", "remote-read", NULL};

static void put_selector(const struct verify_question *q, int64_t range_ms, struct buf *out)
{
    buf_z(out, q->several ? "{instance=~\"" : "{instance=\"");
    buf_str(out, q->instance);
    buf_printf(out, "\"}[%" PRId64 "ms]", range_ms);
}

static void put_instant(const struct verify_question *q, struct buf *form)
{
    struct buf query;

    buf_init(&query, 1 << 20);
    put_selector(q, q->hi_ms - q->lo_ms, &query);
    buf_printf(form, "time=%" PRId64 ".%03" PRId64 "&query=", q->hi_ms / 1000, q->hi_ms % 1000);
    http_form_encode(form, buf_view(&query));
    buf_fini(&query);
}

static void put_range(const struct verify_question *q, struct buf *form)
{
    int64_t first = verify_step_end(q->lo_ms, q->step_ms, 0), last = first;
    struct buf query;

    while (last < q->hi_ms)
        last += q->step_ms;
    buf_init(&query, 1 << 20);
    buf_z(&query, "last_over_time(");
    put_selector(q, q->step_ms, &query);
    buf_z(&query, ")");
    buf_printf(form, "start=%" PRId64 ".%03" PRId64 "&end=%" PRId64 ".%03" PRId64 "&step=%" PRId64 ".%03" PRId64 "&query=", first / 1000, first % 1000,
               last / 1000, last % 1000, q->step_ms / 1000, q->step_ms % 1000);
    http_form_encode(form, buf_view(&query));
    buf_fini(&query);
}

/* --- remote read: protobuf by hand, as prometheus/prompb/remote.proto numbers it --- */

static void put_bytes(struct buf *out, unsigned field, struct str s)
{
    buf_uvarint(out, field << 3 | 2);
    buf_lstr(out, s);
}

static void put_number(struct buf *out, unsigned field, int64_t v)
{
    buf_uvarint(out, field << 3);
    buf_uvarint(out, (uint64_t)v);
}

static void put_read(const struct verify_question *q, struct buf *body)
{
    enum { MATCH_EQUAL = 0, MATCH_REGEX = 2, READ_SAMPLES = 0 };
    struct buf matcher, query, request;
    size_t n;

    buf_init(&matcher, 1 << 20);
    buf_init(&query, 1 << 20);
    buf_init(&request, 1 << 20);
    put_number(&matcher, 1, q->several ? MATCH_REGEX : MATCH_EQUAL);
    put_bytes(&matcher, 2, STR("instance"));
    put_bytes(&matcher, 3, q->instance);
    put_number(&query, 1, q->lo_ms + 1); /* both ends are included */
    put_number(&query, 2, q->hi_ms);
    put_bytes(&query, 3, buf_view(&matcher));
    put_bytes(&request, 1, buf_view(&query));
    put_number(&request, 2, READ_SAMPLES);
    n = snappy_max_compressed_length(request.n);
    if (buf_reserve(body, n) && snappy_compress(request.p, request.n, body->p, &n) == SNAPPY_OK)
        body->n = n;
    buf_fini(&matcher);
    buf_fini(&query);
    buf_fini(&request);
}

void verify_request_make(const struct verify_question *q, const struct http_peer *peer, struct buf *head, struct buf *body)
{
    static const char *const ends[] = {"query", "query_range", "read"};
    static const char *const types[] = {"Content-Type: application/x-www-form-urlencoded\r\n", "Content-Type: application/x-www-form-urlencoded\r\n",
                                        "Content-Type: application/x-protobuf\r\nContent-Encoding: snappy\r\nX-Prometheus-Remote-Read-Version: 0.1.0\r\n"};
    char path[HTTP_HOST_MAX * 2], headers[512];

    buf_clear(body);
    if (q->path == VERIFY_INSTANT)
        put_instant(q, body);
    else if (q->path == VERIFY_RANGE)
        put_range(q, body);
    else
        put_read(q, body);
    snprintf(headers, sizeof headers, "%s%s%s%s", types[q->path], q->tenant[0] ? "X-Scope-OrgID: " : "", q->tenant, q->tenant[0] ? "\r\n" : "");
    snprintf(path, sizeof path, "%.*s/api/v1/%s", STR_FMT(peer->path), ends[q->path]);
    buf_clear(head);
    http_request_head(head, peer, "POST", str_of(path), str_of(headers), body->n);
}
