#include "querier/active.h"

#include "common/base/json.h"
#include "common/base/vec.h"
#include "common/model/duration.h"
#include "common/obs/memory.h"
#include "common/sys/thread.h"

#include <stdlib.h>
#include <utlist.h>

/* A query that ended; text is tenant and query, one behind the other. */
struct done {
    char *text;
    uint32_t tenant_n, query_n;
    int64_t range_ms, ended_wall_ms, took_ns;
};
struct active {
    struct mutex lock; /* --- guards all below --- */
    struct active_query *running;
    uint64_t next_id;
    struct done done[ACTIVE_DONE_MAX]; /* a ring: done[ended % MAX] is the next to be written */
    uint64_t ended;
};

struct active *active_new(void)
{
    struct active *a = xcalloc(1, sizeof *a);

    mutex_init(&a->lock);
    a->next_id = 1;
    return a;
}

void active_free(struct active *a)
{
    if (!a)
        return;
    ASSERT(!a->running);
    for (size_t i = 0; i < ACTIVE_DONE_MAX; i++)
        free(a->done[i].text);
    mutex_fini(&a->lock);
    free(a);
}

void active_begin(struct active *a, struct active_query *q)
{
    mutex_lock(&a->lock);
    q->id = a->next_id++;
    DL_APPEND(a->running, q);
    mutex_unlock(&a->lock);
}

void active_end(struct active *a, struct active_query *q, int64_t now_wall_ms, int64_t took_ns)
{
    size_t n = MIN(q->text.n, (size_t)ACTIVE_TEXT_MAX);
    char *text = xmalloc(q->tenant.n + n + 1), *old;
    struct done *d;

    memcpy(text, q->tenant.p, q->tenant.n);
    if (n)
        memcpy(text + q->tenant.n, q->text.p, n);
    mutex_lock(&a->lock);
    DL_DELETE(a->running, q);
    d = &a->done[a->ended++ % ACTIVE_DONE_MAX];
    old = d->text;
    *d = (struct done){text, (uint32_t)q->tenant.n, (uint32_t)n, q->end_ms - q->start_ms, now_wall_ms, took_ns};
    mutex_unlock(&a->lock);
    free(old);
}

int active_cancel(struct active *a, struct str tenant, uint64_t id, struct err *err)
{
    struct active_query *q;
    bool found = false;

    mutex_lock(&a->lock);
    DL_FOREACH(a->running, q)
    if (q->id == id && str_eq(q->tenant, tenant)) {
        http_cancel(q->http);
        found = true;
        break;
    }
    mutex_unlock(&a->lock);
    return found ? 0
                 : err_set(err, RC_NOT_FOUND, "no query with the id %llX runs in this process",
                           (unsigned long long)id);
}

/* --- what runs --- */

static void print_running(struct buf *out, const struct active_query *q, int64_t now_mono_ns)
{
    buf_printf(out, "{\"duration\":\"%.3fs\",\"id\":\"%llX\",\"remote_addr\":",
               (double)(now_mono_ns - q->begun_mono_ns) / 1e9, (unsigned long long)q->id);
    json_z(out, http_client_address(q->http));
    buf_z(out, ",\"query\":");
    json_str(out, str_sub(q->text, 0, MIN(q->text.n, (size_t)ACTIVE_TEXT_MAX)));
    buf_printf(out, ",\"start\":%lld,\"end\":%lld,\"step\":%lld}", (long long)q->start_ms,
               (long long)q->end_ms, (long long)q->step_ms);
}

/* The list is in the order of their beginning. */
void active_print(struct active *a, struct buf *out, struct str tenant, int64_t now_mono_ns)
{
    struct active_query *q;
    bool first = true;

    buf_char(out, '[');
    mutex_lock(&a->lock);
    DL_FOREACH(a->running, q)
    if (str_eq(q->tenant, tenant)) {
        buf_z(out, first ? "" : ",");
        print_running(out, q, now_mono_ns);
        first = false;
    }
    mutex_unlock(&a->lock);
    buf_char(out, ']');
}

/* --- what ran --- */

struct top {
    struct str query;
    int64_t range_ms, took_ns; /* all together */
    uint64_t count;
};
typedef VEC(struct top) top_list;

static int by_query(const void *x, const void *y)
{
    const struct top *a = x, *b = y;
    int c = str_cmp(a->query, b->query);

    return c ? c : (a->range_ms > b->range_ms) - (a->range_ms < b->range_ms);
}
static int by_count(const void *x, const void *y)
{
    const struct top *a = x, *b = y;

    return a->count != b->count ? (a->count < b->count) - (a->count > b->count) : by_query(x, y);
}
static double average(const struct top *t)
{
    return (double)t->took_ns / 1e9 / (double)t->count;
}
static int by_average(const void *x, const void *y)
{
    double a = average(x), b = average(y);

    return a != b ? (a < b) - (a > b) : by_query(x, y);
}
static int by_sum(const void *x, const void *y)
{
    const struct top *a = x, *b = y;

    return a->took_ns != b->took_ns ? (a->took_ns < b->took_ns) - (a->took_ns > b->took_ns) : by_query(x, y);
}

/* Copies of the texts, so that sorting needs no lock. */
static void collect(struct active *a, struct str tenant, int64_t since_wall_ms, top_list *ret)
{
    mutex_lock(&a->lock);
    for (size_t i = 0; i < ACTIVE_DONE_MAX && a->done[i].text; i++) {
        const struct done *d = &a->done[i];

        if (d->ended_wall_ms < since_wall_ms || !str_eq(str_n(d->text, d->tenant_n), tenant))
            continue;
        *vec_push(ret) = (struct top){
            .query = {str_dupz(str_n(d->text + d->tenant_n, d->query_n)), d->query_n},
            .range_ms = d->range_ms,
            .took_ns = d->took_ns,
            .count = 1,
        };
    }
    mutex_unlock(&a->lock);
}

/* Equal queries become one. */
static void fold(top_list *l)
{
    size_t n = 0;

    if (l->n == 0)
        return;
    qsort(l->v, l->n, sizeof *l->v, by_query);
    for (size_t i = 1; i < l->n; i++) {
        if (by_query(&l->v[n], &l->v[i]) != 0) {
            l->v[++n] = l->v[i];
            continue;
        }
        l->v[n].took_ns += l->v[i].took_ns;
        l->v[n].count++;
        free((char *)l->v[i].query.p);
    }
    l->n = n + 1;
}

enum figure { FIGURE_COUNT, FIGURE_AVERAGE, FIGURE_SUM };

static void print_list(struct buf *out, const char *key, top_list *l, size_t top, enum figure f)
{
    static int (*const orders[])(const void *, const void *) = {by_count, by_average, by_sum};

    if (l->n)
        qsort(l->v, l->n, sizeof *l->v, orders[f]);
    buf_printf(out, ",\"%s\":[", key);
    for (size_t i = 0; i < MIN(l->n, top) && buf_ok(out); i++) {
        const struct top *t = &l->v[i];

        buf_z(out, i ? ",{\"query\":" : "{\"query\":");
        json_str(out, t->query);
        buf_printf(out, ",\"timeRangeSeconds\":%lld", (long long)(t->range_ms / 1000));
        if (f == FIGURE_AVERAGE)
            buf_printf(out, ",\"avgDurationSeconds\":%.3f", average(t));
        if (f == FIGURE_SUM)
            buf_printf(out, ",\"sumDurationSeconds\":%.3f", (double)t->took_ns / 1e9);
        buf_printf(out, ",\"count\":%llu}", (unsigned long long)t->count);
    }
    buf_char(out, ']');
}

void active_print_top(struct active *a, struct buf *out, struct str tenant, size_t top,
                      int64_t since_wall_ms)
{
    top_list l = {0};

    collect(a, tenant, since_wall_ms, &l);
    fold(&l);
    print_list(out, "topByCount", &l, top, FIGURE_COUNT);
    print_list(out, "topByAvgDuration", &l, top, FIGURE_AVERAGE);
    print_list(out, "topBySumDuration", &l, top, FIGURE_SUM);
    for (size_t i = 0; i < l.n; i++)
        free((char *)l.v[i].query.p);
    vec_fini(&l);
}

void active_memory(struct active *a, struct memory_account *account)
{
    size_t done = heap_bytes(a);

    mutex_lock(&a->lock);
    for (const struct active_query *q = a->running; q; q = q->next)
        memory_add(account, q->tenant, MEMORY_ARENAS, arena_used(q->arena));
    for (size_t i = 0; i < ACTIVE_DONE_MAX && a->done[i].text; i++)
        done += heap_bytes(a->done[i].text);
    mutex_unlock(&a->lock);
    memory_add(account, (struct str){0}, MEMORY_QUERY_LOG, done);
}
