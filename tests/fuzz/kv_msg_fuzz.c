/* Any bytes as a message of the shared state, and as its file: what is accepted encodes to the same bytes again, and who hears it twice is the same as who
 * hears it once. */
#include "ring/kv_file.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static int64_t fixed_time(UNUSED void *self)
{
    return 1000000;
}
static size_t no_peers(UNUSED void *self, const char *const **ret)
{
    *ret = NULL;
    return 0;
}
static void no_send(UNUSED void *self, UNUSED const char *addr, struct str msg)
{
    struct kv_msg m;

    ASSERT(kv_msg_decode(msg, &m, NULL) == 0); /* what we say can be read */
    kv_msg_fini(&m);
}
static void no_change(UNUSED void *self, UNUSED const struct ring_kv_entry *e)
{
}

static void merge_one(void *core, const struct ring_kv_entry *e)
{
    kv_core_merge(core, e, false);
}

static void hear(struct str bytes)
{
    const struct kv_core_env env = {NULL, fixed_time, fixed_time, no_peers, no_send, no_change, 1};
    struct kv_core *c            = kv_core_new(&(struct kv_core_cfg){.addr = "a:1", .entries_max = 100, .bytes_max = 10000}, &env);
    uint64_t digest;

    kv_core_receive(c, bytes, NULL);
    digest = kv_core_digest(c);
    kv_core_receive(c, bytes, NULL);
    ASSERT(kv_core_stats(c).full || kv_core_digest(c) == digest);
    ASSERT(kv_core_count(c) <= 100 && kv_core_bytes(c) <= 10000);
    kv_file_decode(bytes, merge_one, c, NULL);
    kv_core_tick(c);
    kv_core_free(c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct err err = {0};
    struct kv_msg m, again;
    struct buf a, b;

    hear(str_n(data, n));
    if (kv_msg_decode(str_n(data, n), &m, &err) < 0) {
        ASSERT(err.rc < 0 && err.text[0]);
        return 0;
    }
    buf_init(&a, KV_MSG_BYTES_MAX * 2);
    buf_init(&b, KV_MSG_BYTES_MAX * 2);
    kv_msg_encode(&m, &a);
    if (a.n <= KV_MSG_BYTES_MAX) {
        ASSERT(kv_msg_decode(buf_view(&a), &again, NULL) == 0);
        kv_msg_encode(&again, &b);
        ASSERT(str_eq(buf_view(&a), buf_view(&b)));
        kv_msg_fini(&again);
    }
    kv_msg_fini(&m);
    buf_fini(&a);
    buf_fini(&b);
    return 0;
}
