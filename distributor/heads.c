/* heads.c - which head each instance has: labels are sent once per head (design D4.3). */
#include "distributor/distributor_impl.h"

#include <stdlib.h>

uint64_t dist_head_id(struct distributor *d, const char *instance)
{
    struct dist_head *h;
    uint64_t id;

    mutex_lock(&d->heads_lock);
    HASH_FIND_STR(d->heads, instance, h);
    id = h ? h->head_id : 0;
    mutex_unlock(&d->heads_lock);
    return id;
}

void dist_head_seen(struct distributor *d, const char *instance, uint64_t head_id)
{
    struct dist_head *h;

    mutex_lock(&d->heads_lock);
    HASH_FIND_STR(d->heads, instance, h);
    if (!h) {
        h = xcalloc(1, sizeof *h);
        h->instance = xstrdup(instance);
        h->head_id = head_id;
        HASH_ADD_KEYPTR(hh, d->heads, h->instance, strlen(h->instance), h);
    } else if (h->head_id != head_id) {
        h->head_id = head_id;
        atomic_fetch_add(&d->ack_epoch, 1);
    }
    mutex_unlock(&d->heads_lock);
}

void dist_ring_seen(struct distributor *d, uint64_t version)
{
    mutex_lock(&d->heads_lock);
    if (d->ring_version != version) {
        d->ring_version = version;
        atomic_fetch_add(&d->ack_epoch, 1);
    }
    mutex_unlock(&d->heads_lock);
}

void dist_heads_free(struct distributor *d)
{
    struct dist_head *h, *tmp;

    HASH_ITER(hh, d->heads, h, tmp) {
        HASH_DEL(d->heads, h);
        free(h->instance);
        free(h);
    }
}
