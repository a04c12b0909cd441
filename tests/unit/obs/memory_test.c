#include "common/obs/memory.h"
#include "tests/test.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

TEST(an_account_adds_up_by_tenant_and_kind_the_largest_first)
{
    struct memory_account *a = memory_account_new();
    const struct memory_tenant *const *t;
    size_t n;

    (void)memory_tenants(a, &n);
    CHECK(n == 0);
    memory_add(a, STR("small"), MEMORY_LABELS, 10);
    memory_add(a, STR("large"), MEMORY_SERIES, 100);
    memory_add(a, STR("small"), MEMORY_SERIES, 7);
    memory_add(a, (struct str){0}, MEMORY_METRICS, 50);
    memory_add(a, STR("small"), MEMORY_LABELS, 3);
    memory_add(a, STR("none"), MEMORY_LABELS, 0);
    t = memory_tenants(a, &n);
    CHECK(n == 3);
    CHECK(str_eqz(t[0]->name, "large") && t[0]->total == 100);
    CHECK(t[1]->name.n == 0 && t[1]->bytes[MEMORY_METRICS] == 50);
    CHECK(str_eqz(t[2]->name, "small") && t[2]->total == 20 && t[2]->bytes[MEMORY_LABELS] == 13);
    CHECK(memory_total(a, MEMORY_SERIES) == 107 && memory_total(a, MEMORY_LABELS) == 13);
    memory_account_free(a);
    memory_account_free(NULL);
}

TEST(every_kind_has_a_name_of_its_own)
{
    for (int i = 0; i < MEMORY_KINDS; i++)
        for (int k = 0; k < i; k++)
            CHECK(strcmp(memory_kind_name((enum memory_kind)i), memory_kind_name((enum memory_kind)k)) != 0);
}

static size_t statm_rss(void)
{
    unsigned long total, resident;
    FILE *f = fopen("/proc/self/statm", "r");

    CHECK(f && fscanf(f, "%lu %lu", &total, &resident) == 2);
    fclose(f);
    return resident * 4096;
}

struct sleeper {
    pthread_barrier_t used, done;
};

static void *use_stack(void *arg)
{
    struct sleeper *s = arg;
    volatile char deep[1 << 20];

    for (size_t i = 0; i < sizeof deep; i += 4096)
        deep[i] = 1;
    pthread_barrier_wait(&s->used);
    pthread_barrier_wait(&s->done);
    return NULL;
}

TEST(the_process_is_told_as_the_system_tells_it)
{
    enum { BYTES = 64 << 20, THREADS = 4 };
    struct memory_process before, after;
    pthread_t threads[THREADS];
    struct sleeper s;
    size_t rss;
    char *p;

    memory_process(&before);
    rss = statm_rss();
    CHECK(before.rss > rss / 10 * 9 && before.rss < rss / 10 * 11);
    CHECK(before.files > 0 && before.files < before.rss && before.allocated > 0);
    p = xmalloc(BYTES);
    memset(p, 1, BYTES);
    CHECK(heap_bytes(p) >= BYTES && heap_bytes(p) < BYTES / 4 * 5 && heap_bytes(NULL) == 0);
    pthread_barrier_init(&s.used, NULL, THREADS + 1);
    pthread_barrier_init(&s.done, NULL, THREADS + 1);
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, use_stack, &s) == 0);
    pthread_barrier_wait(&s.used);
    memory_process(&after);
    CHECK(after.allocated >= before.allocated + BYTES);
    CHECK(after.rss >= before.rss + BYTES);
    CHECK(after.stacks >= before.stacks + (size_t)THREADS * (1 << 20));
    pthread_barrier_wait(&s.done);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    free(p);
}
