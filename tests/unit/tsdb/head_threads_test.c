/* One thread appends, one flushes, others read: whatever a reader gets is whole. Meant for the tsan
 * preset too. */
#include "tests/unit/tsdb/head_util.h"
#include "common/sys/thread.h"

#include <sched.h>
#include <stdatomic.h>

enum { STEADY = 40, ROUNDS = 3000, STEP_MS = 60000, SEAL_EVERY = 60, READERS = 2 };

struct shared {
    struct head *h;
    atomic_int round;  /* rounds [0, round) are appended */
    atomic_int sealed; /* sets sealed */
    atomic_ullong gen; /* published; set n has generation n */
    atomic_bool done;
    atomic_int selects, stale;
};

static void *appender(void *arg)
{
    struct shared *sh = arg;
    struct append_rules rules = {0};

    for (int round = 0; round < ROUNDS; round++) {
        int64_t t = T0 + (int64_t)round * STEP_MS;

        head_lock(sh->h);
        for (int i = 0; i < STEADY + 2; i++) {
            char labels[64];

            if (i < STEADY)
                snprintf(labels, sizeof labels, "__name__=steady,i=%d", i);
            else /* series that come and go */
                snprintf(labels, sizeof labels, "__name__=churn,i=%d,round=%d", i, round / 10);
            ASSERT(head_append(sh->h, series_of(sh->h, "t", labels), t, double_bits(round), 0,
                               &rules) == APPEND_ACCEPTED);
        }
        head_unlock(sh->h);
        atomic_store(&sh->round, round + 1);
        if (round % SEAL_EVERY == SEAL_EVERY - 1) {
            seal(sh->h, floor_to(t, BLOCK_RANGE_MS), (uint64_t)atomic_load(&sh->sealed) + 1);
            atomic_fetch_add(&sh->sealed, 1);
            while (atomic_load(&sh->gen) + 2 < (unsigned long long)atomic_load(&sh->sealed))
                sched_yield(); /* so that the flusher stays near */
        }
    }
    atomic_store(&sh->done, true);
    return NULL;
}

static int written(void *arg, struct str tenant, const struct stored_series *s)
{
    (void)tenant;
    stored_check(s);
    ++*(size_t *)arg;
    return 0;
}

static void *flusher(void *arg)
{
    struct shared *sh = arg;
    uint64_t set = 1;

    while (!atomic_load(&sh->done) || set <= (uint64_t)atomic_load(&sh->sealed)) {
        size_t series = 0;

        if (set > (uint64_t)atomic_load(&sh->sealed)) {
            sched_yield();
            continue;
        }
        ASSERT(head_flush_each(sh->h, set, written, &series, NULL) == 0);
        head_published(sh->h, set, set);
        atomic_store(&sh->gen, set);
        if (set > 1)
            head_drop(sh->h, set - 1, T0 + (int64_t)(atomic_load(&sh->round) - 30) * STEP_MS);
        set++;
    }
    return NULL;
}

struct seen {
    int steady, least;
    int64_t first;
};

/* Every steady series: one sample a step, none missing, each with its round as value. */
static int check_whole(void *arg, const struct stored_series *s)
{
    struct seen *seen = arg;
    struct chunk_columns cols;
    struct arena a;

    stored_check(s);
    if (!str_eqz(labels_get(&s->labels, STR("__name__")), "steady"))
        return 0;
    arena_init(&a, 1 << 24);
    ASSERT(stored_series_columns(s, INT64_MIN, INT64_MAX, &a, &cols, NULL) == 0);
    for (size_t i = 0; i < cols.n; i++) {
        ASSERT(i == 0 || cols.t[i] == cols.t[i - 1] + STEP_MS);
        ASSERT(cols.t[i] == T0 + (int64_t)cols.v[i] * STEP_MS);
    }
    seen->steady++;
    seen->least = MIN(seen->least, (int)cols.v[cols.n - 1]);
    seen->first = MAX(seen->first, cols.t[0]);
    arena_fini(&a);
    return 0;
}

static int ignore_value(void *arg, struct str value)
{
    ++*(size_t *)arg;
    ASSERT(value.n > 0);
    return 0;
}

static void *reader(void *arg)
{
    static const char *const patterns[] = {"stead.+", "steady|churn", ".+"};
    struct shared *sh = arg;
    int turn = 0;

    while (!atomic_load(&sh->done)) {
        struct seen seen = {.least = INT32_MAX, .first = INT64_MIN};
        struct matchers m;
        struct store_select q;
        uint64_t cursor = 0, gen = atomic_load(&sh->gen);
        int before = atomic_load(&sh->round), rc;
        size_t n = 0;

        matchers_of(&m, (const char *const[]){"__name__", "=~", patterns[turn++ % 3], NULL});
        q = query_of("t", &m, INT64_MIN, INT64_MAX, STORE_DATA);
        do
            rc = head_select(sh->h, &q, gen, 20000, &cursor, check_whole, &seen, NULL);
        while (rc == 0 && cursor);
        ASSERT(rc == 0 || rc == RC_STALE);
        atomic_fetch_add(rc == 0 ? &sh->selects : &sh->stale, 1);
        if (rc == 0 && before > 0) {
            /* Nothing that was there before is missing, and blocks of gen have all that is older.
             */
            ASSERT(seen.steady == STEADY && seen.least >= before - 1);
            ASSERT(gen == 0 ? seen.first == T0
                            : seen.first <= T0 + (int64_t)gen * SEAL_EVERY * STEP_MS);
        }
        ASSERT(head_label_values(sh->h, &q, STR("round"), ignore_value, &n, NULL) == 0);
        matchers_fini(&m);
    }
    return NULL;
}

TEST(readers_see_whole_series_while_others_append_and_flush)
{
    struct shared sh = {.h = head_new()};
    pthread_t threads[2 + READERS];

    threads[0] = thread_start("append", appender, &sh);
    threads[1] = thread_start("flush", flusher, &sh);
    for (int i = 0; i < READERS; i++)
        threads[2 + i] = thread_start("read", reader, &sh);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        pthread_join(threads[i], NULL);
    CHECK(atomic_load(&sh.selects) > 0 && atomic_load(&sh.sealed) == ROUNDS / SEAL_EVERY);
    print_message("%d selects, %d stale\n", atomic_load(&sh.selects), atomic_load(&sh.stale));
    head_free(sh.h);
}
