#include "loadgen/ask.h"

#include "common/model/duration.h"
#include "common/sys/clock.h"
#include "common/sys/fs.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

enum { STEPS_DEFAULT = 250, NS_PER_MS = 1000000, HEAD_LOOKED_AT = 64 };

/* --- queries --- */

/* "name=DURATION " at the front of text is taken from it. */
static int take_setting(struct str *text, struct str name, int64_t *ret_ms, struct err *err)
{
    struct str word = str_sub(*text, 0, str_find(*text, ' '));
    int rc;

    if (!str_has_prefix(word, name))
        return 0;
    rc = duration_parse_ms(str_skip(word, name.n), ret_ms, err);
    if (rc == 0 && *ret_ms <= 0)
        rc = err_set(err, RC_INVALID, "%.*s must be more than 0", STR_FMT(word));
    *text = str_trim(str_skip(*text, word.n));
    return rc;
}

int ask_queries_add(struct ask_queries *q, struct str text, struct err *err)
{
    struct ask_query one = {0};
    int rc;

    text = str_trim(text);
    rc = take_setting(&text, STR("range="), &one.range_ms, err);
    if (rc == 0)
        rc = take_setting(&text, STR("step="), &one.step_ms, err);
    if (rc < 0)
        return rc;
    if (text.n == 0)
        return err_set(err, RC_INVALID, "there is no expression");
    if (one.step_ms && !one.range_ms)
        return err_set(err, RC_INVALID, "step= needs range= before it");
    if (q->v.n == ASK_QUERIES_MAX)
        return err_set(err, RC_LIMIT, "more than %d queries", ASK_QUERIES_MAX);
    if (one.range_ms && !one.step_ms)
        one.step_ms = MAX(one.range_ms / STEPS_DEFAULT, 1);
    one.expr = str_dupz(text);
    *vec_push(&q->v) = one;
    return 0;
}

int ask_queries_open(struct ask_queries *q, const char *path, struct err *err)
{
    struct buf in;
    struct str rest;
    int line = 0, rc;

    buf_init(&in, ASK_FILE_BYTES_MAX);
    rc = fs_read(path, &in, err);
    for (rest = buf_view(&in); rc == 0 && rest.n;) {
        size_t end = str_find(rest, '\n');
        struct str text = str_trim(str_sub(rest, 0, end));

        line++;
        if (text.n && text.p[0] != '#')
            rc = ask_queries_add(q, text, err);
        if (rc < 0)
            err_wrap(err, rc, "%s, line %d", path, line);
        rest = str_skip(rest, MIN(end + 1, rest.n));
    }
    buf_fini(&in);
    return rc;
}

void ask_queries_fini(struct ask_queries *q)
{
    for (size_t i = 0; i < q->v.n; i++)
        free(q->v.v[i].expr);
    vec_fini(&q->v);
}

/* --- asking --- */

struct line {
    bool busy;
    struct http_client http;
    uint64_t number;
    int64_t due_ns, timeout_ns;
    struct buf head, form;
};

struct ask {
    const struct ask_cfg *cfg;
    const struct clock *clock;
    int64_t start_ns;
    uint64_t next; /* number of the query that is begun next */
    struct line *lines;
    struct ask_stats stats;
};

struct ask *ask_new(const struct ask_cfg *cfg)
{
    struct ask *a = xcalloc(1, sizeof *a);

    ASSERT(cfg->queries->v.n > 0 && cfg->rate > 0 && cfg->connections > 0);
    a->cfg = cfg;
    a->clock = clock_system();
    a->lines = xcalloc(cfg->connections, sizeof *a->lines);
    a->stats.each = xcalloc(cfg->queries->v.n, sizeof *a->stats.each);
    for (uint32_t i = 0; i < cfg->connections; i++) {
        http_client_init(&a->lines[i].http, cfg->peer, ASK_ANSWER_BYTES_MAX);
        buf_init(&a->lines[i].head, HTTP_CLIENT_HEAD_MAX);
        buf_init(&a->lines[i].form, 4 * ASK_FILE_BYTES_MAX);
    }
    return a;
}

void ask_start(struct ask *a, int64_t start_ns)
{
    a->start_ns = start_ns;
}

uint32_t ask_connections(const struct ask *a)
{
    return a->cfg->connections;
}

void ask_free(struct ask *a)
{
    if (!a)
        return;
    for (uint32_t i = 0; i < a->cfg->connections; i++) {
        http_client_fini(&a->lines[i].http);
        buf_fini(&a->lines[i].head);
        buf_fini(&a->lines[i].form);
    }
    free(a->stats.each);
    free(a->lines);
    free(a);
}

static int64_t due_of(const struct ask *a, uint64_t number)
{
    return a->start_ns + (int64_t)((double)number * 1e9 / a->cfg->rate);
}

static const struct ask_query *query_of(const struct ask *a, uint64_t number)
{
    return &a->cfg->queries->v.v[number % a->cfg->queries->v.n];
}

static void put_request(struct ask *a, struct line *l)
{
    const struct ask_query *q = query_of(a, l->number);
    int64_t now = clock_wall_ms(a->clock), from = now - q->range_ms;
    char tenant[HISTORY_TENANT_MAX + 12], headers[256], path[HTTP_HOST_MAX * 2];

    buf_clear(&l->form);
    if (q->range_ms)
        buf_printf(&l->form, "start=%" PRId64 ".%03" PRId64 "&end=%" PRId64 ".%03" PRId64 "&step=%" PRId64 ".%03" PRId64 "&query=", from / 1000, from % 1000,
                   now / 1000, now % 1000, q->step_ms / 1000, q->step_ms % 1000);
    else
        buf_printf(&l->form, "time=%" PRId64 ".%03" PRId64 "&query=", now / 1000, now % 1000);
    http_form_encode(&l->form, str_of(q->expr));
    tenant_name(a->cfg->tenants, (uint32_t)(l->number % a->cfg->tenants->model.tenants), tenant);
    snprintf(headers, sizeof headers, "Content-Type: application/x-www-form-urlencoded\r\n%s%s%s", tenant[0] ? "X-Scope-OrgID: " : "", tenant, tenant[0] ? "\r\n" : "");
    snprintf(path, sizeof path, "%.*s/api/v1/%s", STR_FMT(a->cfg->peer->path), q->range_ms ? "query_range" : "query");
    buf_clear(&l->head);
    http_request_head(&l->head, a->cfg->peer, "POST", str_of(path), str_of(headers), l->form.n);
}

static void finish(struct ask *a, struct line *l, bool good, struct str why)
{
    struct ask_query_stats *each = &a->stats.each[l->number % a->cfg->queries->v.n];
    int64_t ns = clock_mono_ns(a->clock) - l->due_ns;

    l->busy = false;
    a->stats.done++;
    each->done++;
    if (good) {
        latency_add(&a->stats.latency, ns);
        latency_add(&each->latency, ns);
        return;
    }
    a->stats.errors++;
    each->errors++;
    why = str_sub(why, 0, MIN(str_find(why, '\n'), sizeof a->stats.last_error - 1));
    snprintf(a->stats.last_error, sizeof a->stats.last_error, "%.*s", STR_FMT(why));
}

static void judge(struct ask *a, struct line *l)
{
    struct str body = buf_view(&l->http.body);
    bool good = l->http.status == 200 && body.n && memmem(body.p, MIN(body.n, (size_t)HEAD_LOOKED_AT), "\"success\"", 9);
    char status[32];

    a->stats.answer_bytes += body.n;
    snprintf(status, sizeof status, "status %d", l->http.status);
    finish(a, l, good, body.n ? body : str_of(status));
}

static void begin(struct ask *a, struct line *l)
{
    struct err err;

    l->number = a->next++;
    l->due_ns = due_of(a, l->number);
    l->timeout_ns = clock_mono_ns(a->clock) + a->cfg->timeout_ms * NS_PER_MS;
    l->busy = true;
    put_request(a, l);
    if (http_client_start(&l->http, buf_view(&l->head), buf_view(&l->form), &err) < 0) {
        a->stats.broken++;
        finish(a, l, false, str_of(err_text(&err)));
    }
}

static void step_line(struct ask *a, struct line *l, bool ready, int64_t now)
{
    struct err err;
    int rc = ready ? http_client_step(&l->http, &err) : 0;

    if (rc == 1) {
        judge(a, l);
    } else if (rc < 0) {
        a->stats.broken++;
        finish(a, l, false, str_of(err_text(&err)));
    } else if (now >= l->timeout_ns) {
        http_client_abort(&l->http);
        a->stats.timeouts++;
        finish(a, l, false, STR("no answer in time"));
    }
}

void ask_prepare(struct ask *a, struct pollfd *polled, bool stopping, int64_t *until_ns)
{
    bool free_line = false;

    for (uint32_t i = 0; i < a->cfg->connections; i++) {
        const struct line *l = &a->lines[i];

        polled[i] = (struct pollfd){.fd = l->busy ? l->http.fd : -1, .events = http_client_events(&l->http)};
        if (l->busy)
            *until_ns = MIN(*until_ns, l->timeout_ns);
        free_line |= !l->busy;
    }
    if (free_line && !stopping)
        *until_ns = MIN(*until_ns, due_of(a, a->next));
}

void ask_step(struct ask *a, const struct pollfd *polled, bool stopping)
{
    int64_t now = clock_mono_ns(a->clock);

    for (uint32_t i = 0; i < a->cfg->connections; i++) {
        struct line *l = &a->lines[i];

        if (l->busy)
            step_line(a, l, polled[i].revents != 0, now);
        if (!l->busy && !stopping && due_of(a, a->next) <= now)
            begin(a, l);
    }
    if (!stopping)
        a->stats.due = (uint64_t)MAX((double)(now - a->start_ns) * a->cfg->rate * 1e-9, 0) + 1;
}

bool ask_idle(const struct ask *a)
{
    for (uint32_t i = 0; i < a->cfg->connections; i++)
        if (a->lines[i].busy)
            return false;
    return true;
}

const struct ask_stats *ask_stats(const struct ask *a)
{
    return &a->stats;
}
