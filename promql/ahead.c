/* ahead.c - rows of plain float series, computed in batches by several threads ahead of whoever pulls them. Rows come out in the order of the series whatever
 * thread computed them, so that results do not depend on how many there are.
 * There are two batches: while the rows of one are pulled, helpers compute the other; who needs it before it is complete takes part. */
#include "promql/eval.h"

#include "common/sys/thread.h"

#include <pthread.h>

enum {
    SERIES_MIN = 256, /* fewer are not worth waking a thread for */
    BATCH_BYTES = 1 << 20,
    BATCH_ROWS_MIN = 32,
    BATCH_ROWS_MAX = 2048,
    GRAB = 16, /* series a thread takes at a time */
};

struct helper {
    struct ahead *a;
    unsigned thread;
    pthread_t id;
};
struct batch {
    size_t first, n; /* rows[0 .. n) are those of series first and on; n 0: none yet */
    struct ahead_row *rows;
    atomic_size_t next; /* rows below are taken up by a thread */
};
struct ahead {
    struct query *q;
    ahead_fn *fill;
    void *arg;
    size_t steps, count, cap; /* cap: rows of a batch */
    struct batch batches[2];
    unsigned pulled; /* which of them is being pulled */
    struct arena *scratch[AHEAD_THREADS_MAX]; /* 0: of who pulls */
    atomic_size_t scratch_used[AHEAD_THREADS_MAX];
    unsigned threads;
    struct helper helpers[AHEAD_THREADS_MAX];
    struct mutex lock;  /* --- guards below --- */
    struct cond wake, done;
    struct batch *open; /* the one that helpers work on */
    unsigned busy;      /* helpers inside it */
    bool stop;
    struct ahead *other; /* of the query */
};

static bool taken_up(const struct batch *b)
{
    return atomic_load_explicit(&b->next, memory_order_relaxed) >= b->n;
}

static void work(struct ahead *a, struct batch *b, unsigned thread)
{
    size_t at;

    while ((at = atomic_fetch_add_explicit(&b->next, GRAB, memory_order_relaxed)) < b->n) {
        size_t end = MIN(at + GRAB, b->n);

        for (size_t i = at; i < end; i++) {
            struct ahead_row *r = &b->rows[i];

            arena_reset(a->scratch[thread]);
            r->total = r->fresh = r->most = 0;
            r->any = r->floats = false;
            r->ready = a->fill(a->arg, thread, b->first + i, a->scratch[thread], r);
        }
        atomic_store_explicit(&a->scratch_used[thread], a->scratch[thread]->used, memory_order_relaxed);
    }
}

static void *helper_main(void *arg)
{
    struct helper *h = arg;
    struct ahead *a = h->a;

    mutex_lock(&a->lock);
    while (!a->stop) {
        struct batch *b = a->open;

        if (!b || taken_up(b)) {
            cond_wait(&a->wake, &a->lock);
            continue;
        }
        a->busy++;
        mutex_unlock(&a->lock);
        work(a, b, h->thread);
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

static int rows_init(struct ahead *a)
{
    size_t each = a->steps * (sizeof(double) + 1);

    a->cap = MIN(MAX(BATCH_BYTES / each, (size_t)BATCH_ROWS_MIN), MIN((size_t)BATCH_ROWS_MAX, a->count));
    for (size_t k = 0; k < ARRAY_LEN(a->batches); k++) {
        struct batch *b = &a->batches[k];
        double *v = arena_array(a->q->arena, a->cap, a->steps * sizeof *v);
        uint8_t *kind = arena_array(a->q->arena, a->cap, a->steps);

        b->rows = arena_array(a->q->arena, a->cap, sizeof *b->rows);
        if (!b->rows || !v || !kind)
            return query_nomem(a->q);
        for (size_t i = 0; i < a->cap; i++)
            b->rows[i] = (struct ahead_row){.v = v + i * a->steps, .kind = kind + i * a->steps};
    }
    return 0;
}

int ahead_open(struct query *q, size_t steps, size_t count, ahead_fn *fill, void *arg, struct ahead **ret)
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
    a->steps = steps;
    a->count = count;
    a->threads = helpers + 1;
    mutex_init(&a->lock);
    cond_init(&a->wake);
    cond_init(&a->done);
    a->other = q->aheads;
    q->aheads = a;
    rc = rows_init(a);
    for (unsigned i = 0; i < a->threads && rc == 0; i++)
        rc = query_scratch(q, &a->scratch[i]);
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

/* Lets helpers begin with series first and on. Nobody works on b any more. */
static void batch_open(struct ahead *a, struct batch *b, size_t first)
{
    mutex_lock(&a->lock);
    b->first = first;
    b->n = MIN(a->cap, a->count - first);
    atomic_store(&b->next, 0);
    a->open = b;
    if (b->n)
        cond_broadcast(&a->wake);
    mutex_unlock(&a->lock);
}

/* Takes part until all rows are computed and no helper is inside. */
static void batch_complete(struct ahead *a, struct batch *b)
{
    work(a, b, 0);
    mutex_lock(&a->lock);
    while (a->busy > 0)
        cond_wait(&a->done, &a->lock);
    mutex_unlock(&a->lock);
}

static struct batch *batch_next(struct ahead *a, size_t first)
{
    struct batch *b = &a->batches[1 - a->pulled], *old = &a->batches[a->pulled];

    /* Series may be passed over: then what was computed ahead is for nothing. */
    if (b->n == 0 || b->first != first) {
        if (b->n)
            batch_complete(a, b);
        batch_open(a, b, first);
    }
    batch_complete(a, b);
    a->pulled = 1 - a->pulled;
    if (first + b->n < a->count)
        batch_open(a, old, first + b->n);
    return b;
}

int ahead_row(struct ahead *a, size_t i, const struct ahead_row **ret)
{
    struct batch *b = &a->batches[a->pulled];
    int rc = 0;

    if (b->n == 0 || i >= b->first + b->n) {
        rc = query_poll_slow(a->q);
        if (rc == 0)
            b = batch_next(a, i);
        for (unsigned t = 0; t < a->threads && rc == 0; t++)
            rc = query_scratch_settle(a->q, a->scratch[t], atomic_load_explicit(&a->scratch_used[t], memory_order_relaxed));
    }
    ASSERT(rc < 0 || i >= b->first);
    if (rc == 0)
        *ret = &b->rows[i - b->first];
    return rc;
}

unsigned ahead_threads(const struct ahead *a)
{
    return a->threads;
}

/* Ends the threads; the scratch arenas go with the query. */
void ahead_stop(struct ahead *a)
{
    if (!a || a->threads == 0)
        return;
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
