#include "common/model/tenant.h"
#include "distributor/distributor_impl.h"

#include <stdlib.h>

int dist_tenant_get(struct distributor *d, struct str id, struct dist_tenant **ret, struct err *err)
{
    struct dist_tenant *t;
    int rc;

    pthread_rwlock_rdlock(&d->tenants_lock);
    HASH_FIND(hh, d->tenants, id.p, id.n, t);
    pthread_rwlock_unlock(&d->tenants_lock);
    if (t) {
        *ret = t;
        return 0;
    }
    rc = tenant_id_check(id, err);
    if (rc < 0)
        return rc;
    pthread_rwlock_wrlock(&d->tenants_lock);
    HASH_FIND(hh, d->tenants, id.p, id.n, t);
    if (!t && HASH_COUNT(d->tenants) >= DISTRIBUTOR_TENANTS_MAX) {
        rc = err_set(err, RC_UNAVAILABLE, "more than %d tenants on one distributor", DISTRIBUTOR_TENANTS_MAX);
    } else if (!t) {
        t = xcalloc(1, sizeof *t);
        t->id = str_dupz(id);
        t->id_len = id.n;
        t->cache = series_cache_new(d->cfg.series_cache_bytes, d->deps.clock);
        t->m_non_ha = metric_with(d->m_non_ha, t->id, NULL);
        mutex_init(&t->rate_lock);
        HASH_ADD_KEYPTR(hh, d->tenants, t->id, t->id_len, t);
    }
    pthread_rwlock_unlock(&d->tenants_lock);
    if (rc == 0)
        *ret = t;
    return rc;
}

void dist_tenants_free(struct distributor *d)
{
    struct dist_tenant *t, *tmp;

    HASH_ITER(hh, d->tenants, t, tmp) {
        HASH_DEL(d->tenants, t);
        series_cache_free(t->cache);
        mutex_fini(&t->rate_lock);
        free(t->id);
        free(t);
    }
}
