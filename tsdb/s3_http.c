#include "tsdb/s3_http.h"
#include "common/sys/clock.h"
#include "common/sys/thread.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>

enum { STALL_BYTES_PER_S = 1, ERROR_SWALLOW_MAX = 1 << 20, POLL_MS = 1000 };

/* One place: a connection cache of its own, and room for a request and its second try. */
struct slot {
    CURLM *multi;
    CURL *easy[2];
};
struct s3_http {
    struct s3_http_cfg cfg; /* --- read-only --- */
    struct mutex lock;      /* --- guards what follows --- */
    struct cond freed;
    struct slot *slots;     /* free ones, the last used on top: its connections are warm */
    size_t slot_count;
};

static pthread_once_t once = PTHREAD_ONCE_INIT;

static void curl_init(void)
{
    ASSERT(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK);
}

struct s3_http *s3_http_new(const struct s3_http_cfg *cfg)
{
    struct s3_http *h = xcalloc(1, sizeof *h);

    ASSERT(pthread_once(&once, curl_init) == 0);
    ASSERT(cfg->concurrency > 0);
    h->cfg = *cfg;
    h->slots = xcalloc(cfg->concurrency, sizeof *h->slots);
    h->slot_count = cfg->concurrency;
    for (size_t i = 0; i < h->slot_count; i++) {
        h->slots[i].multi = curl_multi_init();
        ASSERT(h->slots[i].multi);
        for (int k = 0; k < 2; k++)
            ASSERT((h->slots[i].easy[k] = curl_easy_init()));
    }
    mutex_init(&h->lock);
    cond_init(&h->freed);
    return h;
}

void s3_http_free(struct s3_http *h)
{
    if (!h)
        return;
    ASSERT(h->slot_count == h->cfg.concurrency);
    for (size_t i = 0; i < h->slot_count; i++) {
        for (int k = 0; k < 2; k++)
            curl_easy_cleanup(h->slots[i].easy[k]);
        curl_multi_cleanup(h->slots[i].multi);
    }
    cond_fini(&h->freed);
    mutex_fini(&h->lock);
    free(h->slots);
    free(h);
}

static int slot_take(struct s3_http *h, int64_t timeout_ms, struct slot *ret, struct err *err)
{
    int64_t end = clock_mono_ms(clock_system()) + timeout_ms, left = timeout_ms;

    mutex_lock(&h->lock);
    while (h->slot_count == 0 && left > 0) {
        cond_wait_ms(&h->freed, &h->lock, left);
        left = end - clock_mono_ms(clock_system());
    }
    if (h->slot_count == 0) {
        mutex_unlock(&h->lock);
        return err_set(err, RC_TIMEOUT, "all %zu requests at a time are busy for %lld ms", h->cfg.concurrency, (long long)timeout_ms);
    }
    *ret = h->slots[--h->slot_count];
    mutex_unlock(&h->lock);
    return 0;
}

static void slot_give(struct s3_http *h, const struct slot *s)
{
    mutex_lock(&h->lock);
    h->slots[h->slot_count++] = *s;
    cond_signal(&h->freed);
    mutex_unlock(&h->lock);
}

/* --- one transfer --- */

struct transfer {
    const struct s3_http_request *r;
    CURL *easy;
    struct curl_slist *headers;
    struct s3_http_answer a;
    char *raw;            /* r->raw, or memory of its own for a hedge */
    size_t sent, header_bytes, swallowed;
    bool own_raw, running, too_large, too_long;
    CURLcode code;
    char words[CURL_ERROR_SIZE];
};

static size_t on_read(char *to, size_t size, size_t count, void *arg)
{
    struct transfer *t = arg;
    size_t n = MIN(size * count, t->r->body.n - t->sent);

    if (n)
        memcpy(to, t->r->body.p + t->sent, n);
    t->sent += n;
    return n;
}

static int on_seek(void *arg, curl_off_t offset, int origin)
{
    struct transfer *t = arg;

    if (origin != SEEK_SET || offset < 0 || (size_t)offset > t->r->body.n)
        return CURL_SEEKFUNC_FAIL;
    t->sent = (size_t)offset;
    return CURL_SEEKFUNC_OK;
}

static size_t error_body(struct transfer *t, const char *p, size_t n)
{
    size_t room = S3_HTTP_ERROR_BYTES_MAX - MIN(t->a.body.n, (size_t)S3_HTTP_ERROR_BYTES_MAX);

    t->a.body.max = S3_HTTP_ERROR_BYTES_MAX;
    buf_add(&t->a.body, p, MIN(n, room));
    t->swallowed += n;
    return t->swallowed > ERROR_SWALLOW_MAX ? 0 : n;
}

static size_t on_write(char *p, size_t size, size_t count, void *arg)
{
    struct transfer *t = arg;
    size_t n = size * count;

    if (t->a.status < 200 || t->a.status > 299)
        return error_body(t, p, n);
    if (t->r->raw) {
        if (n > t->r->raw_n - t->a.raw_got) {
            t->too_long = true;
            return 0;
        }
        memcpy(t->raw + t->a.raw_got, p, n);
        t->a.raw_got += n;
        return n;
    }
    buf_add(&t->a.body, p, n);
    t->too_large = !buf_ok(&t->a.body);
    return t->too_large ? 0 : n;
}

static void header_copy(char *to, size_t size, struct str value)
{
    size_t n = MIN(value.n, size - 1);

    for (size_t i = 0; i < n; i++)
        to[i] = (uint8_t)value.p[i] < ' ' ? '?' : value.p[i];
    to[n] = '\0';
}

int64_t s3_http_date(const char *text)
{
    time_t t = curl_getdate(text, NULL);

    return t < 0 ? -1 : (int64_t)t;
}

static int64_t retry_after_of(const char *text)
{
    char *end;
    long seconds = strtol(text, &end, 10);
    int64_t at;

    if (end != text && *end == '\0')
        return seconds > 0 && seconds < 86400 ? seconds * 1000 : 0;
    at = s3_http_date(text);
    return at < 0 ? 0 : MAX(0, at * 1000 - clock_wall_ms(clock_system()));
}

static void header_read(struct transfer *t, struct str name, struct str value)
{
    struct s3_http_answer *a = &t->a;
    const struct {
        const char *name;
        char *to;
        size_t size;
    } kept[] = {
        {"etag", a->etag, sizeof a->etag},
        {"x-amz-request-id", a->request_id, sizeof a->request_id},
        {"content-range", a->content_range, sizeof a->content_range},
        {"x-amz-server-side-encryption", a->encryption, sizeof a->encryption},
        {"x-amz-bucket-region", a->region, sizeof a->region},
        {"x-amz-meta-torc-create", a->nonce, sizeof a->nonce},
        {"date", a->date, sizeof a->date},
    };
    char text[64];

    for (size_t i = 0; i < ARRAY_LEN(kept); i++)
        if (str_ieq(name, str_of(kept[i].name)))
            header_copy(kept[i].to, kept[i].size, value);
    header_copy(text, sizeof text, value);
    if (str_ieq(name, STR("content-length")))
        a->content_length = strtoll(text, NULL, 10);
    if (str_ieq(name, STR("retry-after")))
        a->retry_after_ms = retry_after_of(text);
}

static size_t on_header(char *p, size_t size, size_t count, void *arg)
{
    struct transfer *t = arg;
    struct str line = str_n(p, size * count);
    size_t colon = str_find(line, ':');

    t->header_bytes += line.n;
    if (t->header_bytes > S3_HTTP_HEADER_BYTES_MAX)
        return 0;
    if (str_has_prefix(line, STR("HTTP/"))) {
        char text[16];
        struct str rest = str_skip(line, str_find(line, ' '));

        header_copy(text, sizeof text, str_trim(rest));
        t->a.status = strtol(text, NULL, 10);
    } else if (colon < line.n) {
        header_read(t, str_sub(line, 0, colon), str_trim(str_skip(line, colon + 1)));
    }
    return line.n;
}

static void set_up(const struct s3_http *h, struct transfer *t)
{
    const struct s3_http_request *r = t->r;
    CURL *c = t->easy;
    bool head = strcmp(r->method, "HEAD") == 0, sends = strcmp(r->method, "PUT") == 0 || strcmp(r->method, "POST") == 0;
    size_t bytes = r->body.n + (r->raw ? r->raw_n : MIN(r->body_max, (size_t)64 << 20));

    curl_easy_reset(c);
    for (size_t i = 0; i < r->header_count; i++)
        ASSERT((t->headers = curl_slist_append(t->headers, r->headers[i])));
    ASSERT((t->headers = curl_slist_append(t->headers, "Expect:")));
    curl_easy_setopt(c, CURLOPT_URL, r->url);
    curl_easy_setopt(c, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_USERAGENT, "torc/" TORC_VERSION);
    curl_easy_setopt(c, CURLOPT_HTTPHEADER, t->headers);
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, (long)h->cfg.connect_timeout_ms);
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, (long)STALL_BYTES_PER_S);
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME, (long)MAX(1, r->timeout_ms / 1000));
    curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, (long)(r->timeout_ms + (int64_t)(bytes * 1000 / S3_HTTP_BYTES_PER_S)));
    curl_easy_setopt(c, CURLOPT_ERRORBUFFER, t->words);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_write);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(c, CURLOPT_HEADERDATA, t);
    curl_easy_setopt(c, CURLOPT_PRIVATE, t);
    if (h->cfg.ca_file && h->cfg.ca_file[0])
        curl_easy_setopt(c, CURLOPT_CAINFO, h->cfg.ca_file);
    if (head)
        curl_easy_setopt(c, CURLOPT_NOBODY, 1L);
    if (sends) {
        curl_easy_setopt(c, CURLOPT_UPLOAD, 1L);
        curl_easy_setopt(c, CURLOPT_READFUNCTION, on_read);
        curl_easy_setopt(c, CURLOPT_READDATA, t);
        curl_easy_setopt(c, CURLOPT_SEEKFUNCTION, on_seek);
        curl_easy_setopt(c, CURLOPT_SEEKDATA, t);
        curl_easy_setopt(c, CURLOPT_INFILESIZE_LARGE, (curl_off_t)r->body.n);
    }
    if (!head)
        curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, r->method);
}

static void transfer_begin(const struct s3_http *h, struct slot *s, struct transfer *t)
{
    set_up(h, t);
    ASSERT(curl_multi_add_handle(s->multi, t->easy) == CURLM_OK);
    t->running = true;
}

static void transfer_init(struct transfer *t, const struct s3_http_request *r, CURL *easy)
{
    *t = (struct transfer){.r = r, .easy = easy, .raw = r->raw, .a = {.content_length = -1}};
    buf_init(&t->a.body, r->raw ? S3_HTTP_ERROR_BYTES_MAX : MAX(r->body_max, (size_t)S3_HTTP_ERROR_BYTES_MAX));
}

static void transfer_fini(struct slot *s, struct transfer *t)
{
    if (!t->easy)
        return;
    if (t->headers) {
        curl_multi_remove_handle(s->multi, t->easy); /* closes the connection of one that still runs */
        curl_easy_reset(t->easy);
        curl_slist_free_all(t->headers);
    }
    if (t->own_raw)
        free(t->raw);
    buf_fini(&t->a.body);
}

/* An answer that settles the request; a 5xx may still be beaten by the other transfer. */
static bool good(const struct transfer *t)
{
    return t->code == CURLE_OK && t->a.status >= 200 && t->a.status < 500 && t->a.status != 429 && t->a.status != 408;
}

static void finished_read(struct slot *s)
{
    CURLMsg *m;
    int left;

    while ((m = curl_multi_info_read(s->multi, &left))) {
        struct transfer *t;

        if (m->msg != CURLMSG_DONE)
            continue;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&t);
        t->running = false;
        t->code = m->data.result;
    }
}

/* Runs until one is good or none runs. The winner. */
static struct transfer *race(const struct s3_http *h, struct slot *s, struct transfer t[2])
{
    int64_t hedge_at = clock_mono_ms(clock_system()) + t[0].r->hedge_ms;
    bool may_hedge = t[0].r->hedge_ms > 0;

    for (;;) {
        int64_t wait = POLL_MS;
        int running;

        curl_multi_perform(s->multi, &running);
        finished_read(s);
        for (int i = 0; i < 2; i++)
            if (t[i].easy && t[i].headers && !t[i].running && good(&t[i]))
                return &t[i];
        if (!t[0].running && !t[1].running)
            return &t[0];
        if (may_hedge && t[0].running) {
            wait = hedge_at - clock_mono_ms(clock_system());
            if (wait <= 0) {
                transfer_init(&t[1], t[0].r, s->easy[1]);
                if (t[1].r->raw)
                    t[1].raw = xmalloc(t[1].r->raw_n);
                t[1].own_raw = t[1].r->raw;
                transfer_begin(h, s, &t[1]);
                may_hedge = false;
                continue;
            }
        }
        curl_multi_poll(s->multi, NULL, 0, (int)MIN(wait, POLL_MS), NULL);
    }
}

static int outcome(struct transfer *t, struct err *err)
{
    if (t->too_large)
        return err_set(err, RC_LIMIT, "the body is larger than %zu bytes", t->r->body_max);
    if (t->code == CURLE_OPERATION_TIMEDOUT)
        return err_set(err, RC_TIMEOUT, "no answer in time: %s", t->words);
    if (t->too_long)
        return err_set(err, RC_UNAVAILABLE, "the body has more than the %zu bytes that were asked for", t->r->raw_n);
    if (t->code != CURLE_OK)
        return err_set(err, RC_UNAVAILABLE, "%s", t->words[0] ? t->words : curl_easy_strerror(t->code));
    return 0;
}

int s3_http_do(struct s3_http *h, const struct s3_http_request *r, struct s3_http_answer *ret, struct err *err)
{
    struct transfer t[2] = {0}, *winner;
    struct slot s;
    int rc = slot_take(h, r->timeout_ms, &s, err);

    if (rc < 0)
        return rc;
    transfer_init(&t[0], r, s.easy[0]);
    transfer_begin(h, &s, &t[0]);
    winner = race(h, &s, t);
    rc = outcome(winner, err);
    if (rc == 0) {
        if (winner->own_raw)
            memcpy(r->raw, winner->raw, winner->a.raw_got);
        *ret = winner->a;
        ret->hedged = t[1].easy != NULL;
        ret->hedge_won = winner == &t[1];
        winner->a.body = (struct buf){0};
    }
    transfer_fini(&s, &t[0]);
    transfer_fini(&s, &t[1]);
    slot_give(h, &s);
    return rc;
}

void s3_http_answer_fini(struct s3_http_answer *a)
{
    buf_fini(&a->body);
}
