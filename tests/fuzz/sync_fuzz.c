/* Answers of another ingester in a sync: from the bytes of the message to the samples that a shard would add; and questions. */
#include "common/wire/pb_arena.h"
#include "common/wire/torc.pb-c.h"
#include "ingester/sync.h"
#include "tsdb/head_sync.h"

struct fuzzed {
    struct head *head;
    struct arena scratch;
};

/* What is taken must have the digest it came with, and the same again must be nothing. */
static int take(void *arg, struct str tenant, fingerprint fp, const struct labels *ls, const struct chunk_columns *c)
{
    struct fuzzed *f = arg;
    uint8_t *accepted = calloc(1, c->n / 8 + 1);
    struct head_absorbed first, again;
    struct head_series *s;

    head_lock(f->head);
    if (head_create(f->head, tenant, fp, ls, &s, NULL) == 0) {
        ASSERT(head_absorb(f->head, s, c, &f->scratch, accepted, &first, NULL) == 0);
        ASSERT(first.accepted + first.same + first.conflicts == c->n);
        memset(accepted, 0, c->n / 8 + 1);
        ASSERT(head_absorb(f->head, s, c, &f->scratch, accepted, &again, NULL) == 0);
        ASSERT(again.accepted == 0);
    }
    head_unlock(f->head);
    arena_reset(&f->scratch);
    free(accepted);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    Torc__Wire__SyncResponse *m;
    struct fuzzed f = {.head = head_new()};
    struct arena a;

    arena_init(&a, 64 << 20);
    arena_init(&f.scratch, 256 << 20);
    m = torc__wire__sync_response__unpack(pb_arena_allocator(&a), n, data);
    if (m)
        (void)sync_decode(m, &a, take, &f, NULL);
    arena_fini(&a);
    arena_fini(&f.scratch);
    head_free(f.head);
    return 0;
}
