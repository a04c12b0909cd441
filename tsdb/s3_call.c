#include "tsdb/s3_call.h"
#include "common/sign/hmac.h"
#include "common/sign/percent.h"
#include "common/sign/sigv4.h"
#include "common/sys/clock.h"
#include "tsdb/s3_xml.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static const char *const op_names[S3_OPS] = {"get", "get_range", "head", "put", "create", "put_part", "multipart", "list", "delete"};

/* --- counting --- */

static void count(struct s3 *s, enum s3_op op, const char *result, int64_t begun_ns, uint64_t sent, uint64_t received)
{
    struct s3_metrics *m = s->metrics;

    if (!m)
        return;
    metric_inc(metric_with(m->requests, op_names[op], result, NULL));
    metric_observe(metric_with(m->duration, op_names[op], NULL), (double)(clock_mono_ns(clock_system()) - begun_ns) * 1e-9);
    metric_add(m->sent, sent);
    metric_add(m->received, received);
}

static void result_text(char to[32], int rc, const struct s3_http_answer *a, bool ok)
{
    if (rc < 0)
        snprintf(to, 32, "%s", rc == RC_TIMEOUT ? "timeout" : rc == RC_LIMIT ? "too_large" : "no_answer");
    else if (!ok && a->status / 100 == 2)
        snprintf(to, 32, "bad_answer");
    else
        snprintf(to, 32, "%ld", a->status);
}

/* --- a signed request --- */

struct message {
    struct s3_http_request http;
    char *headers[S3_HTTP_HEADERS_MAX]; /* owned; http.headers are these */
    struct sigv4_header parsed[S3_HTTP_HEADERS_MAX];
    struct buf url, path, authorization;
};

static void header_add(struct message *m, const char *name, const char *value)
{
    size_t size = strlen(name) + strlen(value) + 3, i = m->http.header_count;
    char *line = xmalloc(size);

    ASSERT(i < S3_HTTP_HEADERS_MAX);
    snprintf(line, size, "%s: %s", name, value);
    m->headers[i] = line;
    m->http.headers[i] = line;
    m->http.header_count++;
    m->parsed[i] = (struct sigv4_header){str_n(line, strlen(name)), str_n(line + strlen(name) + 2, strlen(value))};
}

static void header_add_line(struct message *m, const char *line)
{
    size_t n = str_find(str_of(line), ':');
    char name[128];

    ASSERT(n < sizeof name && line[n] == ':' && line[n + 1] == ' ');
    snprintf(name, sizeof name, "%.*s", (int)n, line);
    header_add(m, name, line + n + 2);
}

static void message_fini(struct message *m)
{
    for (size_t i = 0; i < m->http.header_count; i++) {
        explicit_bzero(m->headers[i], strlen(m->headers[i]));
        free(m->headers[i]);
    }
    buf_fini(&m->url);
    buf_fini(&m->path);
    buf_fini(&m->authorization);
}

static void addressed(const struct s3 *s, const struct s3_call *c, struct message *m)
{
    buf_init(&m->url, 16 << 10);
    buf_init(&m->path, 8 << 10);
    buf_z(&m->path, s->base_path);
    if (c->name || !s->base_path[0])
        buf_char(&m->path, '/');
    if (c->name) {
        percent_encode(&m->path, str_of(s->prefix), true);
        percent_encode(&m->path, str_of(c->name), true);
    }
    buf_z(&m->url, s->base);
    buf_str(&m->url, buf_view(&m->path));
    if (c->query)
        buf_printf(&m->url, "?%s", c->query);
    buf_u8(&m->url, 0);
    ASSERT(buf_ok(&m->url) && buf_ok(&m->path));
}

static int64_t hedge_of(struct s3 *s, const struct s3_call *c, unsigned attempt)
{
    bool read = c->op == S3_GET || c->op == S3_GET_RANGE || c->op == S3_HEAD;

    if (!read || attempt > 0 || s->cfg->hedge_delay_ms == 0)
        return 0;
    /* A slow server must not get twice the requests: about one in S3_HEDGE_EVERY may be repeated. */
    if (atomic_fetch_add(&s->hedge_tokens, 1) >= S3_HEDGE_EVERY * S3_HEDGE_BURST)
        atomic_store(&s->hedge_tokens, S3_HEDGE_EVERY * S3_HEDGE_BURST);
    return atomic_load(&s->hedge_tokens) >= S3_HEDGE_EVERY ? s->cfg->hedge_delay_ms : 0;
}

static int message_make(struct s3 *s, const struct s3_call *c, const struct s3_keys *k, const char *payload, unsigned attempt, struct message *m,
                        struct err *err)
{
    struct sigv4_key key = {str_of(k->id), str_of(k->secret), str_of(k->token)};
    struct sigv4_scope scope = {str_of(s->region), STR("s3"), time(NULL) + atomic_load(&s->skew_s)};
    struct sigv4_request r = {.method = str_of(c->method), .query = str_of(c->query ? c->query : ""), .payload = str_of(payload), .s3 = true};
    char date[SIGV4_TIME + 1];
    int rc;

    *m = (struct message){.http = {.method = c->method, .body = c->body, .timeout_ms = s->cfg->request_timeout_ms, .raw = c->raw, .raw_n = c->raw_n,
                                   .body_max = c->body_max, .hedge_ms = hedge_of(s, c, attempt)}};
    addressed(s, c, m);
    sigv4_time_print(scope.time_s, date);
    header_add(m, "Host", s->host);
    header_add(m, "x-amz-date", date);
    header_add(m, "x-amz-content-sha256", payload);
    if (key.token.n)
        header_add(m, "x-amz-security-token", k->token);
    for (size_t i = 0; i < c->extra_count; i++)
        header_add_line(m, c->extra[i]);
    r.path = buf_view(&m->path);
    r.headers = m->parsed;
    r.header_count = m->http.header_count;
    buf_init(&m->authorization, 4 << 10);
    rc = sigv4_authorization(&r, &key, &scope, &m->authorization, err);
    buf_u8(&m->authorization, 0);
    if (rc == 0)
        header_add(m, "Authorization", m->authorization.p);
    m->http.url = m->url.p;
    return rc;
}

/* --- the judgement --- */

static const char *hint_of(long status, const char *code)
{
    static const struct {
        const char *code, *hint;
    } hints[] = {
        {"AccessDenied", "; see the policy of the bucket and bucket.s3.access-key-id"},
        {"InvalidAccessKeyId", "; see bucket.s3.access-key-id"},
        {"SignatureDoesNotMatch", "; see bucket.s3.secret-access-key"},
        {"ExpiredToken", "; see bucket.s3.session-token"},
        {"InvalidToken", "; see bucket.s3.session-token"},
        {"NoSuchBucket", "; see bucket.url"},
        {"InvalidBucketName", "; see bucket.url and bucket.s3.addressing"},
        {"RequestTimeTooSkewed", "; see the clock of this machine"},
        {"SlowDown", "; see bucket.s3.concurrency"},
        {"EntityTooSmall", "; see bucket.s3.part-size"},
        {"AuthorizationHeaderMalformed", "; see bucket.s3.region"},
    };

    for (size_t i = 0; i < ARRAY_LEN(hints); i++)
        if (strcmp(code, hints[i].code) == 0)
            return hints[i].hint;
    if (status / 100 == 3)
        return "; see bucket.s3.region and bucket.s3.endpoint";
    if (status == 401 || status == 403)
        return "; see the policy of the bucket and bucket.s3.access-key-id";
    return status / 100 == 5 ? "; see bucket.s3.endpoint" : "";
}

static int rc_of(const struct s3_call *c, long status, const char *code)
{
    if (status == 404 && c->name && strcmp(code, "NoSuchBucket") != 0)
        return RC_NOT_FOUND;
    if (status == 412)
        return RC_EXISTS;
    if (status == 416)
        return RC_CORRUPT;
    if (status == 501 || strcmp(code, "NotImplemented") == 0 || status / 100 == 3)
        return RC_UNSUPPORTED;
    return RC_UNAVAILABLE;
}

static const char *where(const struct s3 *s, const struct s3_call *c, char to[700])
{
    snprintf(to, 700, "s3: %s %s/%s%.400s", c->method, s->bucket_name, s->prefix, c->name ? c->name : "");
    return to;
}

static bool etag_is_of(const struct s3 *s, const struct s3_http_answer *a, const char md5_hex[33])
{
    /* With keys of KMS or the client's an ETag is no MD5; the answer says so even when the bucket's default did it. */
    if (s->cfg->sse >= S3_SSE_KMS || strncmp(a->encryption, "aws:kms", 7) == 0)
        return true;
    return a->etag[0] == '"' && strncmp(a->etag + 1, md5_hex, 32) == 0 && strcmp(a->etag + 33, "\"") == 0;
}

/* 0, or the error; *ret_again: another attempt may help. */
static int judge(struct s3 *s, struct s3_call *c, struct s3_http_answer *a, const char *md5_hex, bool *ret_again, struct err *err)
{
    char at[700];
    struct s3_error e = {0};
    bool success = a->status / 100 == 2;

    c->status = a->status;
    *ret_again = true;
    if (success && c->check_etag && !etag_is_of(s, a, md5_hex))
        return err_set(err, RC_UNAVAILABLE, "%s: the ETag %s of the answer is not the MD5 of what was sent, %s; see bucket.s3.verify-etag", where(s, c, at),
                       a->etag[0] ? a->etag : "(none)", md5_hex);
    if (success && (!c->accept || c->accept(buf_view(&a->body))))
        return 0;
    s3_xml_error(buf_view(&a->body), &e);
    snprintf(c->code, sizeof c->code, "%s", e.code);
    *ret_again = success || s3_retryable(false, a->status, e.code);
    return err_set(err, success ? RC_UNAVAILABLE : rc_of(c, a->status, e.code), "%s: %ld %s (request %s)%s%s%s", where(s, c, at), a->status, e.code[0] ? e.code : "without a code",
                   e.request_id[0]    ? e.request_id
                   : a->request_id[0] ? a->request_id
                                      : "without an id",
                   e.message[0] ? ": " : "", e.message, hint_of(a->status, e.code));
}

/* The server's clock says that ours is wrong: believe it. */
static bool skew_learn(struct s3 *s, const struct s3_call *c, const struct s3_http_answer *a)
{
    int64_t theirs = s3_http_date(a->date);

    if (strcmp(c->code, "RequestTimeTooSkewed") != 0 || theirs < 0)
        return false;
    atomic_store(&s->skew_s, theirs - time(NULL));
    return true;
}

static bool keys_renew(struct s3 *s, const struct s3_call *c, const struct s3_keys *k)
{
    static const char *const codes[] = {"ExpiredToken", "InvalidToken", "InvalidAccessKeyId", "TokenRefreshRequired"};

    for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
        if (strcmp(c->code, codes[i]) == 0) {
            s3_credentials_refused(s->credentials, k);
            return true;
        }
    }
    return false;
}

/* --- attempts --- */

static void sleep_ms(int64_t ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};

    if (ms > 0)
        nanosleep(&t, NULL);
}

static struct s3_pace *pace_of(struct s3 *s, const struct s3_call *c)
{
    const char *name = c->name ? c->name : c->query ? c->query : "";

    return &s->paces[hash64(name, strlen(name), 0) % S3_PACE_SLOTS];
}

static void pace_wait(struct s3 *s, const struct s3_call *c)
{
    int64_t now = clock_mono_ms(clock_system()), at;

    mutex_lock(&s->pace_lock);
    at = s3_pace_take(pace_of(s, c), now);
    mutex_unlock(&s->pace_lock);
    sleep_ms(at - now);
}

static void pace_result(struct s3 *s, const struct s3_call *c, bool ok)
{
    mutex_lock(&s->pace_lock);
    s3_pace_result(pace_of(s, c), ok, clock_mono_ms(clock_system()));
    mutex_unlock(&s->pace_lock);
}

/* One attempt. 0, or an error and whether to try again, not before *ret_after_ms have passed. */
static int attempt(struct s3 *s, struct s3_call *c, const char *payload, const char *md5_hex, struct s3_http_answer *ret, bool *ret_again,
                   int64_t *ret_after_ms, struct err *err)
{
    int64_t begun = clock_mono_ns(clock_system());
    struct s3_http_answer a = {0};
    struct s3_keys k;
    struct message m;
    char result[32], at[700];
    int rc = s3_credentials_get(s->credentials, &k, err), answered;

    *ret_again = false;
    *ret_after_ms = 0;
    if (rc < 0) {
        atomic_store(&s->last_status, S3_NO_KEYS);
        return err_wrap(err, rc, "%s", where(s, c, at));
    }
    rc = message_make(s, c, &k, payload, c->attempts, &m, err);
    if (rc < 0) {
        message_fini(&m);
        return rc;
    }
    answered = s3_http_do(s->http, &m.http, &a, err);
    c->code[0] = '\0';
    c->status = 0;
    if (answered < 0) {
        *ret_again = answered != RC_LIMIT;
        rc = err_wrap(err, answered, "%s: see %s", where(s, c, at), answered == RC_TIMEOUT ? "bucket.s3.request-timeout" : "bucket.s3.endpoint");
        if (answered == RC_LIMIT)
            rc = err_set(err, RC_LIMIT, "%s: larger than %zu bytes", where(s, c, at), c->body_max);
    } else {
        rc = judge(s, c, &a, md5_hex, ret_again, err);
        *ret_after_ms = a.retry_after_ms;
        if (rc < 0 && c->attempts == 0 && (skew_learn(s, c, &a) || keys_renew(s, c, &k)))
            *ret_again = true;
    }
    atomic_store(&s->last_status, (int)c->status);
    result_text(result, answered, &a, rc == 0);
    count(s, c->op, result, begun, c->body.n, a.body.n + a.raw_got);
    if (s->metrics && a.hedged) {
        atomic_fetch_sub(&s->hedge_tokens, S3_HEDGE_EVERY);
        metric_inc(s->metrics->hedges);
        metric_add(s->metrics->hedges_won, a.hedge_won);
    }
    if (rc == 0)
        *ret = a;
    else
        s3_http_answer_fini(&a);
    message_fini(&m);
    explicit_bzero(&k, sizeof k);
    return rc;
}

int s3_call_run(struct s3 *s, struct s3_call *c, struct s3_http_answer *ret, struct err *err)
{
    char payload[65], md5_hex[33] = "";
    struct err why = {0};
    int rc;

    sha256_hex(c->body, payload);
    if (c->check_etag) {
        uint8_t sum[16];

        md5(c->body, sum);
        hex_put(md5_hex, sum, sizeof sum);
    }
    for (c->attempts = 0;; c->attempts++) {
        int64_t after_ms;
        uint64_t random;
        bool again;

        pace_wait(s, c);
        rc = attempt(s, c, payload, md5_hex, ret, &again, &after_ms, &why);
        pace_result(s, c, rc == 0 || !again);
        if (rc == 0 || !again || c->once || c->attempts >= (unsigned)s->cfg->retries)
            break;
        if (s->metrics)
            metric_inc(s->metrics->retries);
        random_bytes(&random, sizeof random);
        sleep_ms(s3_backoff_ms(c->attempts + 1, after_ms, random));
    }
    if (rc < 0 && err) {
        *err = why;
        if (c->attempts)
            rc = err_wrap(err, rc, "after %u attempts", c->attempts + 1);
    }
    c->attempts++;
    return rc;
}

size_t s3_sse_headers(const struct s3 *s, bool writing, char text[6][256], const char **extra)
{
    size_t n = 0;

    if (s->cfg->sse == S3_SSE_S3 && writing)
        snprintf(text[n++], 256, "x-amz-server-side-encryption: AES256");
    if (s->cfg->sse == S3_SSE_KMS && writing) {
        snprintf(text[n++], 256, "x-amz-server-side-encryption: aws:kms");
        if (s->cfg->sse_kms_key_id[0])
            snprintf(text[n++], 256, "x-amz-server-side-encryption-aws-kms-key-id: %s", s->cfg->sse_kms_key_id);
    }
    if (s->cfg->sse == S3_SSE_C) {
        snprintf(text[n++], 256, "x-amz-server-side-encryption-customer-algorithm: AES256");
        snprintf(text[n++], 256, "x-amz-server-side-encryption-customer-key: %s", s->cfg->sse_customer_key);
        snprintf(text[n++], 256, "x-amz-server-side-encryption-customer-key-md5: %s", s->sse_c_md5);
    }
    for (size_t i = 0; i < n; i++)
        extra[i] = text[i];
    return n;
}
