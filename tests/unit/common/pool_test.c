#include "common/sys/pool.h"
#include "common/sys/thread.h"
#include "tests/test.h"

#include <stdatomic.h>

static struct mutex gate;
static _Atomic int ran;

static void job(void *arg)
{
    (void)arg;
    mutex_lock(&gate); /* held by the test until the queue is full */
    mutex_unlock(&gate);
    atomic_fetch_add(&ran, 1);
}

TEST(a_full_queue_refuses_and_what_was_accepted_runs)
{
    struct pool *p;
    int accepted = 0;

    mutex_init(&gate);
    mutex_lock(&gate);
    p = pool_new("test", 2, 10);
    for (int i = 0; i < 100; i++)
        accepted += pool_submit(p, job, NULL);
    CHECK(accepted >= 10 && accepted <= 12); /* the queue and what the threads took */
    CHECK_INT(atomic_load(&ran), 0);
    mutex_unlock(&gate);
    pool_free(p);
    CHECK_INT(atomic_load(&ran), accepted);
    mutex_fini(&gate);
    pool_free(NULL);
}
