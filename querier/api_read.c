/* api_read.c - remote read: POST read, snappy in; samples in snappy or a stream of chunks out (conformance/http-api.md section 6). Errors are plain text. */
#include "querier/api.h"

#include "querier/read_answer.h"
#include "querier/read_request.h"
#include "tsdb/window.h"

#include <snappy-c.h>
#include <stdlib.h>

/* One query's selection, and its series in the order of their labels. */
struct read_part {
    struct series_cursor *cursor;
    uint32_t *order;
    size_t n;
};
struct reading {
    struct arena arena;
    struct read_request req;
    struct read_part *parts; /* one for each query */
    uint64_t samples, samples_max; /* 0: no limit */
    struct buf scratch;
    size_t part, series; /* of a stream: where it is */
};

static void reading_free(void *arg)
{
    struct reading *rd = arg;

    for (size_t i = 0; rd->parts && i < rd->req.n; i++)
        if (rd->parts[i].cursor)
            rd->parts[i].cursor->ops->free(rd->parts[i].cursor);
    read_request_fini(&rd->req);
    buf_fini(&rd->scratch);
    arena_fini(&rd->arena);
    free(rd);
}

/* --- the request --- */

static int decode(struct api_request *r, struct reading *rd, struct err *err)
{
    struct str body = http_body(r->http);
    size_t n;
    char *bytes;

    if (snappy_uncompressed_length(body.p, body.n, &n) != SNAPPY_OK)
        return err_set(err, RC_INVALID, "the body is not valid snappy (block format)");
    if (n > READ_BODY_BYTES_MAX)
        return err_set(err, RC_INVALID, "the request inflates to %zu bytes, limit %d", n, READ_BODY_BYTES_MAX);
    bytes = arena_alloc(&rd->arena, n);
    if (!bytes)
        return err_set(err, RC_NOMEM, "remote read: memory budget is spent");
    if (snappy_uncompress(body.p, body.n, bytes, &n) != SNAPPY_OK)
        return err_set(err, RC_INVALID, "the body is not valid snappy (block format)");
    return read_request_decode(str_n(bytes, n), &rd->arena, &rd->req, err);
}

/* --- selecting --- */

static int by_labels(const void *a, const void *b, void *cursor)
{
    const struct series_cursor *c = cursor;

    return labels_cmp(c->ops->labels(c, *(const uint32_t *)a), c->ops->labels(c, *(const uint32_t *)b));
}

static int select_part(struct source *src, struct arena *a, const struct read_query *q, struct read_part *p, struct err *err)
{
    struct select_hints hints = {.mint_ms = MAX(q->start_ms, TIMESTAMP_MIN_MS), .maxt_ms = MIN(q->end_ms, TIMESTAMP_MAX_MS)};
    int rc = src->base.select(&src->base, q->matchers, q->matcher_count, &hints, a, &p->cursor, err);

    if (rc < 0)
        return rc;
    p->n = p->cursor->ops->count(p->cursor);
    p->order = arena_array(a, p->n, sizeof *p->order);
    if (!p->order)
        return err_set(err, RC_NOMEM, "remote read: memory budget is spent");
    for (size_t i = 0; i < p->n; i++)
        p->order[i] = (uint32_t)i;
    qsort_r(p->order, p->n, sizeof *p->order, by_labels, p->cursor);
    return 0;
}

static int select_all(struct api_request *r, struct reading *rd, struct err *err)
{
    struct source src;
    int64_t deadline;
    int rc = 0;

    api_deadline(r, r->limits->query_timeout_ms, &deadline);
    source_init(&src, &r->q->env, r->tenants, r->tenant_count, deadline, http_cancel_flag(r->http));
    src.limits.series_max = (uint64_t)r->limits->max_query_series;
    src.limits.chunks_max = (uint64_t)r->limits->max_query_chunks;
    src.limits.bytes_max = r->limits->max_query_bytes;
    rd->samples_max = (uint64_t)MAX(r->limits->max_query_samples, (int64_t)0);
    rd->parts = arena_zalloc(&rd->arena, rd->req.n * sizeof *rd->parts);
    if (!rd->parts)
        rc = err_set(err, RC_NOMEM, "remote read: memory budget is spent");
    for (size_t i = 0; i < rd->req.n && rc == 0; i++)
        if (rd->req.queries[i].start_ms <= rd->req.queries[i].end_ms)
            rc = select_part(&src, &rd->arena, &rd->req.queries[i], &rd->parts[i], err);
    api_count_fetched(r->q, &src.used);
    api_count_memory(r->q, &rd->arena);
    return rc;
}

static int part_samples(struct reading *rd, const struct read_part *p, size_t i, const struct labels **ret_labels, struct columns *ret, struct err *err)
{
    int rc = p->cursor->ops->samples(p->cursor, p->order[i], ret, err);

    *ret_labels = p->cursor->ops->labels(p->cursor, p->order[i]);
    if (rc == 0 && rd->samples_max && (rd->samples += ret->n) > rd->samples_max)
        return err_set(err, RC_INVALID, "exceeded sample limit (%llu)", (unsigned long long)rd->samples_max);
    return rc;
}

/* --- answers --- */

static void fail(struct api_request *r, const struct err *err)
{
    int status = 500;

    switch (err->rc) {
    case RC_INVALID:
    case RC_LIMIT:
    case RC_EXECUTION:
    case RC_NOMEM:
        status = 400;
        break;
    case RC_CANCELED:
        status = 499;
        break;
    case RC_UNAVAILABLE:
    case RC_TIMEOUT:
        status = 503;
        break;
    default:
        break;
    }
    metric_inc(metric_with(r->q->m_failures, "remote_read", NULL));
    http_reply_text(r->http, status, "%s", err_text(err));
    r->http = NULL;
}

/* One QueryResult a query, in their order. */
static int samples_message(struct reading *rd, const atomic_bool *cancel, struct buf *out, struct err *err)
{
    struct buf result;
    int rc = 0;

    buf_init(&result, API_ANSWER_BYTES_MAX);
    for (size_t i = 0; i < rd->req.n && rc == 0; i++) {
        const struct read_part *p = &rd->parts[i];

        buf_clear(&result);
        for (size_t k = 0; k < p->n && rc == 0; k++) {
            const struct labels *ls;
            struct columns c;

            rc = part_samples(rd, p, k, &ls, &c, err);
            if (rc == 0 && c.n)
                read_put_series(&result, ls, &c);
            if (rc == 0 && atomic_load_explicit(cancel, memory_order_relaxed))
                rc = err_set(err, RC_CANCELED, "the client went away");
        }
        buf_u8(out, 1 << 3 | 2);
        buf_lstr(out, buf_view(&result));
        out->failed |= !buf_ok(&result);
    }
    buf_fini(&result);
    if (rc == 0 && !buf_ok(out))
        rc = err_set(err, RC_LIMIT, "the answer is larger than %d bytes; ask for STREAMED_XOR_CHUNKS", API_ANSWER_BYTES_MAX);
    return rc;
}

static int answer_samples(struct api_request *r, struct reading *rd, struct err *err)
{
    struct http_resp *resp;
    struct buf plain, out;
    size_t n;
    int rc;

    buf_init(&plain, API_ANSWER_BYTES_MAX);
    buf_init(&out, API_ANSWER_BYTES_MAX * 2UL);
    rc = samples_message(rd, http_cancel_flag(r->http), &plain, err);
    if (rc == 0) {
        n = snappy_max_compressed_length(plain.n);
        if (!buf_space(&out, n) || snappy_compress(plain.p ? plain.p : "", plain.n, out.p, &n) != SNAPPY_OK)
            rc = err_set(err, RC_NOMEM, "no memory for the answer");
        else
            out.n = n;
    }
    buf_fini(&plain);
    if (rc == 0) {
        resp = http_resp_new(200);
        http_resp_header(resp, "Content-Encoding", "snappy");
        http_resp_body(resp, "application/x-protobuf", &out);
        http_respond(r->http, resp);
        r->http = NULL;
    }
    buf_fini(&out);
    return rc;
}

/* About HTTP_PULL_BYTES of frames at a time. */
static int pull_frames(void *arg, struct buf *out)
{
    struct reading *rd = arg;
    size_t end = out->n + HTTP_PULL_BYTES;

    while (out->n < end && rd->part < rd->req.n) {
        const struct read_part *p = &rd->parts[rd->part];
        const struct labels *ls;
        struct columns c;

        if (rd->series == p->n) {
            rd->part++;
            rd->series = 0;
            continue;
        }
        if (part_samples(rd, p, rd->series++, &ls, &c, NULL) < 0)
            return -1; /* what was sent cannot be taken back: the client sees a broken stream */
        read_put_frames(out, &rd->scratch, ls, &c, rd->part);
        if (!buf_ok(out))
            return -1;
    }
    return rd->part < rd->req.n;
}

static void answer_stream(struct api_request *r, struct reading *rd)
{
    struct http_resp *resp = http_resp_new(200);

    buf_init(&rd->scratch, HTTP_PULL_BYTES_MAX / 2);
    http_resp_stream(resp, "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse",
                     &(struct http_stream){pull_frames, reading_free, rd});
    http_respond(r->http, resp);
    r->http = NULL;
}

void api_read(struct api_request *r)
{
    struct reading *rd = xcalloc(1, sizeof *rd);
    struct err err;
    int rc;

    arena_init(&rd->arena, r->limits->query_memory ? (size_t)r->limits->query_memory : SIZE_MAX / 2);
    rc = decode(r, rd, &err);
    if (rc == 0)
        rc = select_all(r, rd, &err);
    if (rc == 0 && rd->req.type == READ_STREAMED_CHUNKS) {
        answer_stream(r, rd);
        return;
    }
    if (rc == 0)
        rc = answer_samples(r, rd, &err);
    if (rc < 0)
        fail(r, &err);
    reading_free(rd);
}
