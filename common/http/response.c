#include "common/http/http_impl.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <zlib.h>

enum { RESP_HEADERS_MAX = 32, REPLY_TEXT_BYTES_MAX = 64 << 10, RESP_BODY_BYTES_MAX = 1 << 30 };

struct http_resp {
    int status;
    char *names[RESP_HEADERS_MAX], *values[RESP_HEADERS_MAX];
    size_t header_count;
    char *body; /* heap */
    size_t body_n;
    bool streaming, gzipped;
    struct http_stream stream;
};

struct http_resp *http_resp_new(int status)
{
    struct http_resp *r = xcalloc(1, sizeof *r);

    ASSERT(status >= 200 && status < 600);
    r->status = status;
    return r;
}

static void stream_free(struct http_stream *s)
{
    if (s->free)
        s->free(s->arg);
    *s = (struct http_stream){0};
}

void http_resp_free(struct http_resp *r)
{
    if (!r)
        return;
    for (size_t i = 0; i < r->header_count; i++) {
        free(r->names[i]);
        free(r->values[i]);
    }
    free(r->body);
    stream_free(&r->stream);
    free(r);
}

int resp_status(const struct http_resp *r)
{
    return r->status;
}

/* Whatever a value came from, it cannot end its header and begin another. */
static char *header_value(const char *value)
{
    char *copy = xstrdup(value);

    for (char *c = copy; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            *c = ' ';
    return copy;
}

void http_resp_header(struct http_resp *r, const char *name, const char *value)
{
    ASSERT(r->header_count < RESP_HEADERS_MAX);
    r->names[r->header_count] = xstrdup(name);
    r->values[r->header_count++] = header_value(value);
}

static bool has_header(const struct http_resp *r, const char *name)
{
    for (size_t i = 0; i < r->header_count; i++)
        if (str_ieq(str_of(r->names[i]), str_of(name)))
            return true;
    return false;
}

/* Our pages have no script, no frame and nothing from elsewhere, and nobody else may frame them. A page that needs more
 * brings its own policy. */
static void guard_html(struct http_resp *r)
{
    http_resp_header(r, "X-Frame-Options", "DENY");
    http_resp_header(r, "Referrer-Policy", "same-origin");
    if (!has_header(r, "Cache-Control"))
        http_resp_header(r, "Cache-Control", "no-store");
    if (!has_header(r, "Content-Security-Policy"))
        http_resp_header(r, "Content-Security-Policy",
                         "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'self'; "
                         "frame-ancestors 'none'; base-uri 'none'");
}

static void set_type(struct http_resp *r, const char *content_type)
{
    ASSERT(!r->body && !r->streaming);
    if (!content_type)
        return;
    http_resp_header(r, "Content-Type", content_type);
    http_resp_header(r, "X-Content-Type-Options", "nosniff");
    if (str_has_prefix(str_of(content_type), STR("text/html")))
        guard_html(r);
}

void http_resp_body(struct http_resp *r, const char *content_type, struct buf *take)
{
    set_type(r, content_type);
    ASSERT(buf_ok(take));
    r->body = buf_take(take, &r->body_n);
}

void http_resp_text(struct http_resp *r, const char *content_type, struct str body)
{
    set_type(r, content_type);
    r->body = xmemdup(body.p, body.n);
    r->body_n = body.n;
}

void http_resp_stream(struct http_resp *r, const char *content_type,
                      const struct http_stream *stream)
{
    set_type(r, content_type);
    r->streaming = true;
    r->stream = *stream;
}

struct http_resp *resp_text(int status, const char *fmt, ...)
{
    struct http_resp *r = http_resp_new(status);
    char text[1200];
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(text, sizeof text - 1, fmt, ap);
    va_end(ap);
    n = MAX(0, MIN(n, (int)sizeof text - 2));
    text[n++] = '\n';
    http_resp_text(r, HTTP_TYPE_TEXT, str_n(text, (size_t)n));
    return r;
}

void http_reply(struct http_req *req, int status, const char *content_type, struct str body)
{
    struct http_resp *r = http_resp_new(status);

    http_resp_text(r, content_type, body);
    http_respond(req, r);
}

void http_reply_buf(struct http_req *req, int status, const char *content_type, struct buf *take)
{
    struct http_resp *r = http_resp_new(status);

    http_resp_body(r, content_type, take);
    http_respond(req, r);
}

void http_reply_text(struct http_req *req, int status, const char *fmt, ...)
{
    struct buf text;
    va_list ap;
    char *line;

    line = xmalloc(REPLY_TEXT_BYTES_MAX);
    va_start(ap, fmt);
    vsnprintf(line, REPLY_TEXT_BYTES_MAX, fmt, ap);
    va_end(ap);
    buf_init(&text, REPLY_TEXT_BYTES_MAX + 1);
    buf_z(&text, line);
    buf_char(&text, '\n');
    free(line);
    http_reply_buf(req, status, HTTP_TYPE_TEXT, &text);
}

/* gzip framing: window bits 15 + 16. */
static bool gzip_open(z_stream *z, int level)
{
    *z = (z_stream){0};
    return deflateInit2(z, level, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK;
}

static bool may_gzip(const struct http_req *req, const struct http_resp *r)
{
    return req->server->cfg.gzip_level > 0 && !has_header(r, "Content-Encoding") &&
           http_accepts_gzip(req);
}

static void gzip_body(struct http_resp *r, int level)
{
    z_stream z;
    size_t max;
    char *out;

    if (!gzip_open(&z, level))
        return;
    max = deflateBound(&z, r->body_n);
    out = xmalloc(max);
    z.next_in = (Bytef *)r->body;
    z.avail_in = (uInt)r->body_n;
    z.next_out = (Bytef *)out;
    z.avail_out = (uInt)max;
    if (deflate(&z, Z_FINISH) == Z_STREAM_END) {
        free(r->body);
        r->body = out;
        r->body_n = z.total_out;
        r->gzipped = true;
    } else {
        free(out);
    }
    deflateEnd(&z);
}

void resp_prepare(struct http_req *req, struct http_resp *r)
{
    if (!r->streaming && r->body_n >= HTTP_GZIP_BYTES_MIN && r->body_n < RESP_BODY_BYTES_MAX &&
        may_gzip(req, r))
        gzip_body(r, req->server->cfg.gzip_level);
}

/* A stream on its way: pulled text waits in plain until it is copied out or compressed. */
struct flow {
    struct http_stream stream;
    struct buf plain;
    size_t at; /* of plain, already gone */
    bool ended, gzip, done;
    z_stream z;
};

static int flow_fill(struct flow *f)
{
    int rc;

    while (f->at == f->plain.n && !f->ended) {
        buf_clear(&f->plain);
        f->at = 0;
        rc = f->stream.pull(f->stream.arg, &f->plain);
        if (rc < 0 || !buf_ok(&f->plain))
            return -1;
        f->ended = rc == 0;
    }
    return 0;
}

static ssize_t flow_plain(struct flow *f, char *out, size_t max)
{
    size_t n;

    if (flow_fill(f) < 0)
        return MHD_CONTENT_READER_END_WITH_ERROR;
    n = MIN(max, f->plain.n - f->at);
    if (n == 0)
        return MHD_CONTENT_READER_END_OF_STREAM;
    memcpy(out, f->plain.p + f->at, n);
    f->at += n;
    return (ssize_t)n;
}

static ssize_t flow_gzip(struct flow *f, char *out, size_t max)
{
    f->z.next_out = (Bytef *)out;
    f->z.avail_out = (uInt)max;
    while (f->z.avail_out == max && !f->done) {
        int rc;

        if (flow_fill(f) < 0)
            return MHD_CONTENT_READER_END_WITH_ERROR;
        f->z.next_in = (Bytef *)f->plain.p + f->at;
        f->z.avail_in = (uInt)(f->plain.n - f->at);
        rc = deflate(&f->z, f->ended ? Z_FINISH : Z_NO_FLUSH);
        f->at = f->plain.n - f->z.avail_in;
        if (rc == Z_STREAM_ERROR)
            return MHD_CONTENT_READER_END_WITH_ERROR;
        f->done = rc == Z_STREAM_END;
    }
    if (f->z.avail_out == max)
        return MHD_CONTENT_READER_END_OF_STREAM;
    return (ssize_t)(max - f->z.avail_out);
}

static ssize_t flow_read(void *arg, UNUSED uint64_t pos, char *out, size_t max)
{
    struct flow *f = arg;

    max = MIN(max, (size_t)1 << 30);
    return f->gzip ? flow_gzip(f, out, max) : flow_plain(f, out, max);
}

static void flow_free(void *arg)
{
    struct flow *f = arg;

    stream_free(&f->stream);
    if (f->gzip)
        deflateEnd(&f->z);
    buf_fini(&f->plain);
    free(f);
}

static struct MHD_Response *make_stream(struct http_req *req, struct http_resp *r)
{
    struct flow *f = xcalloc(1, sizeof *f);
    struct MHD_Response *m;

    f->stream = r->stream;
    r->stream = (struct http_stream){0};
    buf_init(&f->plain, HTTP_PULL_BYTES_MAX);
    f->gzip = may_gzip(req, r) && gzip_open(&f->z, req->server->cfg.gzip_level);
    r->gzipped = f->gzip;
    m = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, HTTP_PULL_BYTES, flow_read, f,
                                          flow_free);
    if (!m)
        flow_free(f);
    return m;
}

struct MHD_Response *resp_make(struct http_req *req, struct http_resp *r)
{
    struct MHD_Response *m;

    if (r->streaming) {
        m = make_stream(req, r);
    } else {
        m = MHD_create_response_from_buffer(
            r->body_n, r->body, r->body ? MHD_RESPMEM_MUST_FREE : MHD_RESPMEM_PERSISTENT);
        if (m)
            r->body = NULL;
    }
    if (!m)
        return NULL;
    for (size_t i = 0; i < r->header_count; i++)
        MHD_add_response_header(m, r->names[i], r->values[i]);
    if (r->gzipped)
        MHD_add_response_header(m, "Content-Encoding", "gzip");
    MHD_add_response_header(m, "Server", "torc");
    MHD_add_response_header(m, "Vary", "Origin");
    MHD_add_response_header(m, "Vary", "Accept-Encoding");
    MHD_add_response_header(m, "x-amzn-RequestId", req->id);
    if (*req->trace.trace_id)
        MHD_add_response_header(m, "X-Trace-Id", req->trace.trace_id);
    if (atomic_load_explicit(&req->server->draining, memory_order_relaxed))
        MHD_add_response_header(m, "Connection", "close");
    return m;
}
