/* Any bytes as an answer of etcd, then as what a member hears from it in each step: what is accepted has its strings within its bytes, and
 * the member keeps its own record. */
#include "ring/etcd_core.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static int64_t fixed_time(UNUSED void *self)
{
    return 1000000;
}
static void no_send(UNUSED void *self, UNUSED const char *addr, UNUSED struct str msg)
{
    abort(); /* a table with a store sends nothing */
}
static void no_persist(UNUSED void *self, UNUSED const struct member *m)
{
}
static void no_change(UNUSED void *self)
{
}

static void check_answer(struct str text)
{
    struct err err = {0};
    struct etcd_answer a;

    if (etcd_answer_decode(text, &a, &err) < 0) {
        ASSERT(err.rc < 0 && err.text[0]);
        return;
    }
    for (size_t i = 0; i < a.kvs.n; i++) {
        struct str key = a.kvs.v[i].key, value = a.kvs.v[i].value;

        ASSERT(key.n == 0 || (key.p >= a.bytes.p && key.p + key.n <= a.bytes.p + a.bytes.n));
        ASSERT(value.n == 0 || (value.p >= a.bytes.p && value.p + value.n <= a.bytes.p + a.bytes.n));
    }
    ASSERT(a.ttl_s >= 0 && memchr(a.message, 0, sizeof a.message));
    etcd_answer_fini(&a);
}

/* Answers steps 0..last with what makes it go on, the rest with text. */
static void tell(struct etcd_core *e, struct ring_core *table, struct str text, int last)
{
    static const char *const good[] = {"{\"ID\":\"7\",\"TTL\":\"15\"}", "{\"header\":{\"revision\":\"5\"}}",
                                       "{\"succeeded\":true,\"header\":{\"revision\":\"6\"}}", "{}"};
    struct etcd_request req;

    for (int step = 0; step < 8; step++) {
        int64_t now = 1000 + 400 * step;

        etcd_core_tick(e, now);
        if (etcd_core_watch(e, &req)) {
            buf_fini(&req.body);
            etcd_core_watch_line(e, now, text);
        }
        if (etcd_core_watch_unwanted(e) || !etcd_core_next(e, now, &req))
            continue;
        ASSERT(buf_ok(&req.body));
        etcd_core_answer(e, now, 0, step <= last && step < (int)ARRAY_LEN(good) ? str_of(good[step]) : text, "");
        buf_fini(&req.body);
    }
    ASSERT(ring_core_self(table)->state == RING_ACTIVE && ring_core_self(table)->health == RING_ALIVE);
    ASSERT(strcmp(ring_core_self(table)->addr, "a:1") == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const uint32_t tokens[]      = {1, 1000, 100000};
    const struct ring_core_env env      = {NULL, fixed_time, fixed_time, no_send, no_persist, no_change, 1};
    const struct ring_core_cfg cfg      = {.id = "a", .zone = "z", .addr = "a:1", .roles = RING_INGESTER, .tokens = tokens,
                                           .tokens_n = 3, .state = RING_ACTIVE, .stored = true};
    const struct etcd_core_cfg etcd_cfg = {.prefix = STR("torc/c/"), .ttl_ms = 3000, .random_seed = 1, .now_ms = 1000};

    check_answer(str_n(data, n));
    for (int last = -1; last < 4; last++) {
        struct ring_core *table;
        struct etcd_core *e;

        ASSERT(ring_core_new(&cfg, &env, &table, NULL) == 0);
        e = etcd_core_new(&etcd_cfg, table);
        tell(e, table, str_n(data, n), last);
        etcd_core_free(e);
        ring_core_free(table);
    }
    return 0;
}
