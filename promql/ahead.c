/* ahead.c - rows of plain float series, computed in batches by several threads ahead of whoever pulls them. Rows come out in the order of the series whatever
 * thread computed them, so that results do not depend on how many there are. */
#include "promql/eval.h"

#include "common/sys/thread.h"

#include <pthread.h>

enum {
    SERIES_MIN = 256, /* fewer are not worth waking a thread for */
    BATCH_BYTES = 512 << 10, /* two batches are there at a time */
    BATCH_ROWS_MIN = 32,
    BATCH_ROWS_MAX = 2048,
    GRAB = 16, /* series a thread takes at a time */
};

struct helper {
    struct ahead *a;
    unsigned thread;
    pthread_t id;
};
/* rows[0 .. n) are those of series first and on. */
struct batch {
    size_t first, n;
    struct ahead_row *rows;
};
struct ahead {
    struct query *q;
    ahead_fn *fill;
    void *arg;
    size_t steps, count, cap;
    struct batch taken, coming; /* whoever pulls reads one while the helpers fill the other */
    struct ahead_lane *lanes;   /* 0: of who pulls */
    unsigned threads;
    atomic_size_t next; /* in the batch that is coming */
    atomic_size_t unready; /* rows of it that must be computed by who pulls */
    bool off;           /* most rows are unready: not worth it */
    struct helper helpers[AHEAD_THREADS_MAX];
    struct mutex lock;  /* --- guards below --- */
    struct cond wake, done;
    uint64_t batch;
    unsigned busy;
    bool stop;
    struct ahead *other; /* of the query */
};

static void work(struct ahead *a, unsigned thread)
{
    struct ahead_lane *lane = &a->lanes[thread];
    const struct batch *b = &a->coming;
    size_t at;

    while ((at = atomic_fetch_add_explicit(&a->next, GRAB, memory_order_relaxed)) < b->n) {
        for (size_t i = at; i < MIN(at + GRAB, b->n); i++) {
            struct ahead_row *r = &b->rows[i];

            arena_reset(lane->scratch);
            r->total = r->fresh = r->most = 0;
            r->any = r->floats = false;
            r->ready = a->fill(a->arg, lane, b->first + i, r);
            if (!r->ready)
                atomic_fetch_add_explicit(&a->unready, 1, memory_order_relaxed);
        }
    }
}

static void *helper_main(void *arg)
{
    struct helper *h = arg;
    struct ahead *a = h->a;
    uint64_t seen = 0;

    mutex_lock(&a->lock);
    for (;;) {
        while (a->batch == seen && !a->stop)
            cond_wait(&a->wake, &a->lock);
        if (a->stop)
            break;
        seen = a->batch;
        mutex_unlock(&a->lock);
        work(a, h->thread);
        mutex_lock(&a->lock);
        if (--a->busy == 0)
            cond_signal(&a->done);
    }
    mutex_unlock(&a->lock);
    return NULL;
}

/* Takes up to want threads out of what the process has to give. */
static unsigned helpers_take(atomic_int *left, unsigned want)
{
    int have = left ? atomic_load(left) : 0, take;

    do {
        take = MIN(have, (int)want);
        if (take <= 0)
            return 0;
    } while (!atomic_compare_exchange_weak(left, &have, have - take));
    return (unsigned)take;
}

static int batch_init(struct ahead *a, struct batch *b)
{
    struct arena *arena = a->q->arena;
    double *v = arena_array(arena, a->cap, a->steps * sizeof *v);
    uint8_t *kind = arena_array(arena, a->cap, a->steps);

    b->rows = arena_array(arena, a->cap, sizeof *b->rows);
    if (!b->rows || !v || !kind)
        return query_nomem(a->q);
    for (size_t i = 0; i < a->cap; i++)
        b->rows[i] = (struct ahead_row){.v = v + i * a->steps, .kind = kind + i * a->steps};
    return 0;
}

static int rows_init(struct ahead *a)
{
    size_t each = a->steps * (sizeof(double) + 1);
    int rc;

    a->cap = MIN(MAX(BATCH_BYTES / each, (size_t)BATCH_ROWS_MIN), MIN((size_t)BATCH_ROWS_MAX, a->count));
    rc = batch_init(a, &a->taken);
    return rc < 0 ? rc : batch_init(a, &a->coming);
}

static int lanes_init(struct ahead *a, const struct plan_spec *spec)
{
    int rc = 0;

    a->lanes = arena_array(a->q->arena, a->threads, sizeof *a->lanes);
    if (!a->lanes)
        return query_nomem(a->q);
    for (unsigned i = 0; i < a->threads && rc == 0; i++) {
        struct arena *plans = NULL;

        a->lanes[i].index = i;
        rc = query_scratch(a->q, &a->lanes[i].scratch);
        if (rc == 0)
            rc = query_scratch(a->q, &plans);
        if (rc == 0)
            plans_init(&a->lanes[i].plans, spec, plans);
    }
    return rc;
}

int ahead_open(struct query *q, const struct plan_spec *spec, size_t count, ahead_fn *fill, void *arg, struct ahead **ret)
{
    struct ahead *a;
    unsigned helpers;
    int rc;

    *ret = NULL;
    if (count < SERIES_MIN || q->opt->stats_per_step)
        return 0;
    helpers = helpers_take(q->opt->helpers, AHEAD_THREADS_MAX - 1);
    if (helpers == 0)
        return 0;
    a = arena_zalloc(q->arena, sizeof *a);
    if (!a) {
        atomic_fetch_add(q->opt->helpers, (int)helpers);
        return query_nomem(q);
    }
    a->q = q;
    a->fill = fill;
    a->arg = arg;
    a->steps = spec->steps;
    a->count = count;
    a->threads = helpers + 1;
    mutex_init(&a->lock);
    cond_init(&a->wake);
    cond_init(&a->done);
    a->other = q->aheads;
    q->aheads = a;
    rc = rows_init(a);
    if (rc == 0)
        rc = lanes_init(a, spec);
    for (unsigned i = 1; i < a->threads && rc == 0; i++) {
        a->helpers[i] = (struct helper){.a = a, .thread = i};
        a->helpers[i].id = thread_start("query-help", helper_main, &a->helpers[i]);
    }
    if (rc < 0) {
        atomic_fetch_add(q->opt->helpers, (int)helpers);
        a->threads = 0;
        return rc;
    }
    *ret = a;
    return 0;
}

/* The helpers begin with the batch from series first on. */
static void batch_start(struct ahead *a, size_t first)
{
    a->coming.first = first;
    a->coming.n = MIN(a->cap, a->count - first);
    atomic_store(&a->next, 0);
    atomic_store(&a->unready, 0);
    mutex_lock(&a->lock);
    a->batch++;
    a->busy = a->threads - 1;
    cond_broadcast(&a->wake);
    mutex_unlock(&a->lock);
}

static void batch_wait(struct ahead *a)
{
    mutex_lock(&a->lock);
    while (a->busy > 0)
        cond_wait(&a->done, &a->lock);
    mutex_unlock(&a->lock);
}

/* What the threads hold, while none of them runs. */
static int settle(struct ahead *a)
{
    int rc = 0;

    for (unsigned t = 0; t < a->threads && rc == 0; t++) {
        rc = query_scratch_settle(a->q, a->lanes[t].scratch, a->lanes[t].scratch->used);
        if (rc == 0)
            rc = query_scratch_settle(a->q, a->lanes[t].plans.arena, a->lanes[t].plans.arena->used);
    }
    return rc;
}

/* The batch that begins with series i, helped to its end; the one after it is begun. */
static int batch_take(struct ahead *a, size_t i)
{
    struct batch old = a->taken;
    size_t after;
    int rc = query_poll_slow(a->q);

    if (rc < 0)
        return rc;
    /* Series may be passed over: then what was computed ahead is for nothing. */
    if (a->coming.n == 0 || a->coming.first != i) {
        atomic_store(&a->next, a->count);
        batch_wait(a);
        batch_start(a, i);
    }
    work(a, 0);
    batch_wait(a);
    rc = settle(a);
    a->taken = a->coming;
    a->coming = (struct batch){.rows = old.rows};
    after = i + a->taken.n;
    a->off = atomic_load(&a->unready) * 2 > a->taken.n;
    if (rc == 0 && !a->off && after < a->count)
        batch_start(a, after);
    return rc;
}

int ahead_row(struct ahead *a, size_t i, const struct ahead_row **ret)
{
    static const struct ahead_row unready;
    int rc = 0;

    if (i >= a->taken.first + a->taken.n && !a->off)
        rc = batch_take(a, i);
    ASSERT(rc < 0 || i >= a->taken.first);
    if (rc == 0)
        *ret = i < a->taken.first + a->taken.n ? &a->taken.rows[i - a->taken.first] : &unready;
    return rc;
}

/* Ends the threads; the scratch arenas go with the query. */
void ahead_stop(struct ahead *a)
{
    if (!a || a->threads == 0)
        return;
    atomic_store(&a->next, a->count); /* what is not begun need not be */
    mutex_lock(&a->lock);
    a->stop = true;
    cond_broadcast(&a->wake);
    mutex_unlock(&a->lock);
    for (unsigned i = 1; i < a->threads; i++)
        pthread_join(a->helpers[i].id, NULL);
    atomic_fetch_add(a->q->opt->helpers, (int)a->threads - 1);
    a->threads = 0;
}

void aheads_close(struct query *q)
{
    for (struct ahead *a = q->aheads; a; a = a->other) {
        ahead_stop(a);
        cond_fini(&a->done);
        cond_fini(&a->wake);
        mutex_fini(&a->lock);
    }
    q->aheads = NULL;
}
