#include "ring/ring_kv.h"

int ring_kv_cmp(const struct ring_kv_entry *a, const struct ring_kv_entry *b)
{
    int c;

    if (a->version != b->version)
        return a->version < b->version ? -1 : 1;
    if (a->deleted != b->deleted)
        return a->deleted ? -1 : 1;
    c = str_cmp(a->value, b->value);
    return c ? c : (a->expires_ms > b->expires_ms) - (a->expires_ms < b->expires_ms);
}

int ring_kv_check(const struct ring_kv_entry *e, struct err *err)
{
    if (e->key.n < 1 || e->key.n > RING_KV_KEY_MAX)
        return err_set(err, RC_INVALID, "shared state: a key of %zu bytes, must have 1 to %d", e->key.n, RING_KV_KEY_MAX);
    if (e->value.n > RING_KV_VALUE_MAX)
        return err_set(err, RC_INVALID, "shared state: \"%.*s\": a value of %zu bytes, at most %d", (int)MIN(e->key.n, (size_t)80), e->key.p, e->value.n,
                       RING_KV_VALUE_MAX);
    if (e->version == 0 || e->version == RING_KV_ANY || (e->deleted ? e->value.n > 0 : e->expires_ms != 0))
        return err_set(err, RC_INVALID, "shared state: version %llu, value and expiry do not go together", (unsigned long long)e->version);
    return 0;
}
