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

/* Lock held. */
static struct dist_head *head_of(struct distributor *d, const char *instance)
{
    struct dist_head *h;

    HASH_FIND_STR(d->heads, instance, h);
    if (!h) {
        h = xcalloc(1, sizeof *h);
        h->instance = xstrdup(instance);
        HASH_ADD_KEYPTR(hh, d->heads, h->instance, strlen(h->instance), h);
    }
    return h;
}

void dist_head_seen(struct distributor *d, const char *instance, uint64_t head_id)
{
    struct dist_head *h;

    mutex_lock(&d->heads_lock);
    h = head_of(d, instance);
    if (h->head_id && h->head_id != head_id)
        atomic_fetch_add(&d->ack_epoch, 1);
    h->head_id = head_id;
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

void dist_linger_add(struct distributor *d, const char *instance, int64_t bytes)
{
    struct dist_head *h;

    mutex_lock(&d->heads_lock);
    h = head_of(d, instance);
    ASSERT(bytes >= 0 || h->lingering >= (uint64_t)-bytes);
    h->lingering += (uint64_t)bytes;
    mutex_unlock(&d->heads_lock);
}

bool dist_linger_fits(struct distributor *d, const char *instance)
{
    struct dist_head *h;
    bool fits;

    mutex_lock(&d->heads_lock);
    HASH_FIND_STR(d->heads, instance, h);
    fits = !h || h->lingering < d->cfg.lingering_bytes;
    mutex_unlock(&d->heads_lock);
    return fits;
}

void dist_linger_collect(struct distributor *d)
{
    struct dist_head *h, *tmp;

    mutex_lock(&d->heads_lock);
    HASH_ITER(hh, d->heads, h, tmp)
        metric_set(metric_with(d->m_lingering, h->instance, NULL), (double)h->lingering);
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
