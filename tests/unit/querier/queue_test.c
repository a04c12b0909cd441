#include "common/sys/thread.h"
#include "querier/queue.h"
#include "tests/test.h"

#include <stdatomic.h>

enum { JOBS_MAX = 64 };

static struct mutex lock;
static struct cond changed;
static struct metrics *metrics;
static bool open_gate; /* jobs go on only then; guarded by lock */
static int running_now[2], running_most[2], started_n, dropped_n;
static char started[JOBS_MAX + 1];

struct job {
    struct queue_job job;
    int tenant;
    atomic_bool over;
};
static struct job jobs[JOBS_MAX];

static void run(struct queue_job *qj)
{
    struct job *j = CONTAINER_OF(qj, struct job, job);

    mutex_lock(&lock);
    started[started_n++] = (char)('a' + j->tenant);
    running_now[j->tenant]++;
    running_most[j->tenant] = MAX(running_most[j->tenant], running_now[j->tenant]);
    cond_broadcast(&changed);
    while (!open_gate)
        cond_wait(&changed, &lock);
    running_now[j->tenant]--;
    mutex_unlock(&lock);
}

static bool over(const struct queue_job *qj)
{
    return atomic_load(&CONTAINER_OF(qj, struct job, job)->over);
}

static void drop(struct queue_job *qj)
{
    CHECK(over(qj));
    mutex_lock(&lock);
    dropped_n++;
    cond_broadcast(&changed);
    mutex_unlock(&lock);
}

static struct queue *begin(int workers, size_t waiting_max, size_t tenant_waiting_max)
{
    mutex_init(&lock);
    cond_init(&changed);
    metrics = metrics_new();
    open_gate = false;
    started_n = dropped_n = 0;
    memset(started, 0, sizeof started);
    memset(running_most, 0, sizeof running_most);
    return queue_new(&(struct queue_cfg){workers, waiting_max, tenant_waiting_max, metrics});
}

static void end(struct queue *q)
{
    mutex_lock(&lock);
    open_gate = true;
    cond_broadcast(&changed);
    mutex_unlock(&lock);
    queue_free(q);
    metrics_free(metrics);
    mutex_fini(&lock);
    cond_fini(&changed);
}

static int submit(struct queue *q, int i, int tenant, size_t running_max, struct err *err)
{
    jobs[i] = (struct job){{.run = run, .over = over, .drop = drop}, tenant, false};
    return queue_submit(q, str_of(tenant ? "b" : "a"), running_max, &jobs[i].job, err);
}

static void wait_started(int n)
{
    mutex_lock(&lock);
    while (started_n < n)
        cond_wait(&changed, &lock);
    mutex_unlock(&lock);
}

TEST(a_tenant_with_many_requests_delays_another_by_one)
{
    struct queue *q = begin(1, 100, 100);
    struct err err;

    for (int i = 0; i < 6; i++)
        CHECK(submit(q, i, 0, 0, &err) == 0);
    wait_started(1);
    CHECK(submit(q, 6, 1, 0, &err) == 0);
    CHECK(submit(q, 7, 1, 0, &err) == 0);
    end(q);
    CHECK_STR(started, "aababaaa");
}

TEST(a_tenant_has_no_more_workers_than_its_ceiling)
{
    struct queue *q = begin(8, 100, 100);
    struct err err;

    for (int i = 0; i < 10; i++)
        CHECK(submit(q, i, 0, 3, &err) == 0);
    wait_started(3);
    for (int i = 10; i < 12; i++)
        CHECK(submit(q, i, 1, 3, &err) == 0);
    wait_started(5); /* the other's are not held back */
    end(q);
    CHECK_INT(running_most[0], 3);
    CHECK_INT(started_n, 12);
}

TEST(what_waits_is_bounded)
{
    struct queue *q = begin(1, 5, 3);
    struct err err;

    CHECK(submit(q, 0, 0, 0, &err) == 0);
    wait_started(1);
    for (int i = 1; i <= 3; i++)
        CHECK(submit(q, i, 0, 0, &err) == 0);
    CHECK(submit(q, 4, 0, 0, &err) == RC_RATE);
    CHECK(submit(q, 5, 1, 0, &err) == 0);
    CHECK(submit(q, 6, 1, 0, &err) == 0);
    CHECK(submit(q, 7, 1, 0, &err) == RC_UNAVAILABLE);
    end(q);
    CHECK_INT(started_n, 6); /* those that wait are run before the end */
}

/* The only worker is busy until the gate opens, so nobody but the queue itself can notice. */
TEST(whoever_waits_in_vain_is_dropped_and_makes_room)
{
    struct queue *q = begin(1, 100, 4);
    struct err err;

    for (int i = 0; i < 5; i++) {
        CHECK(submit(q, i, 0, 0, &err) == 0);
        wait_started(1);
    }
    CHECK(submit(q, 5, 1, 0, &err) == 0);
    CHECK(submit(q, 6, 0, 0, &err) == RC_RATE);
    for (int i = 2; i <= 5; i++) /* not the first that waits, but the last, and another tenant's only one */
        atomic_store(&jobs[i].over, true);
    mutex_lock(&lock);
    while (dropped_n < 4)
        cond_wait(&changed, &lock);
    mutex_unlock(&lock);
    for (int i = 7; i < 10; i++)
        CHECK(submit(q, i, 0, 0, &err) == 0);
    CHECK(submit(q, 10, 0, 0, &err) == RC_RATE);
    end(q);
    CHECK_INT(started_n, 5);
    CHECK_INT(dropped_n, 4);
}
