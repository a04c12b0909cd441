/* Any bytes as a ring message: what is accepted encodes and decodes to the same bytes again, and a member that hears it keeps its own
 * record. */
#include "ring/ring_core.h"
#include "ring/ring_msg.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static int64_t fixed_time(UNUSED void *self)
{
    return 1000000;
}
static void no_send(UNUSED void *self, UNUSED const char *addr, UNUSED struct str msg)
{
}
static void no_persist(UNUSED void *self, UNUSED const struct member *m)
{
}
static void no_change(UNUSED void *self)
{
}

static void hear(struct str bytes)
{
    static const uint32_t tokens[]   = {1, 1000, 100000};
    const struct ring_core_env env   = {NULL, fixed_time, fixed_time, no_send, no_persist, no_change, 1};
    const struct ring_core_cfg cfg   = {.id = "a", .zone = "z", .addr = "a:1", .roles = RING_INGESTER, .tokens = tokens,
                                        .tokens_n = 3, .state = RING_ACTIVE};
    struct ring_core *c;

    ASSERT(ring_core_new(&cfg, &env, &c, NULL) == 0);
    ring_core_receive(c, bytes, NULL);
    ring_core_tick(c);
    ring_core_receive(c, bytes, NULL);
    ASSERT(ring_core_self(c)->state == RING_ACTIVE && ring_core_self(c)->health == RING_ALIVE);
    ASSERT(strcmp(ring_core_self(c)->addr, "a:1") == 0);
    ring_core_free(c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct err err = {0};
    struct ring_msg m, again;
    struct buf a, b;

    hear(str_n(data, n));
    if (ring_msg_decode(str_n(data, n), &m, &err) < 0) {
        ASSERT(err.rc < 0 && err.text[0]);
        return 0;
    }
    buf_init(&a, RING_MSG_BYTES_MAX);
    buf_init(&b, RING_MSG_BYTES_MAX);
    ring_msg_encode(&m, &a);
    ASSERT(ring_msg_decode(buf_view(&a), &again, NULL) == 0);
    ring_msg_encode(&again, &b);
    ASSERT(str_eq(buf_view(&a), buf_view(&b)));
    ring_msg_fini(&m);
    ring_msg_fini(&again);
    buf_fini(&a);
    buf_fini(&b);
    return 0;
}
