#include "common/obs/memory.h"

#include <malloc.h>
#include <stdlib.h>
#include <uthash.h>

struct entry {
    UT_hash_handle hh;
    struct memory_tenant t; /* name.p is owned */
};
struct memory_account {
    struct entry *entries;
    const struct memory_tenant **sorted;
    size_t totals[MEMORY_KINDS];
};

const char *memory_kind_name(enum memory_kind kind)
{
    static const char *const names[] = {
        [MEMORY_SERIES] = "series",
        [MEMORY_LABELS] = "labels",
        [MEMORY_POSTINGS] = "postings",
        [MEMORY_FINGERPRINTS] = "fingerprints",
        [MEMORY_OPEN_CHUNKS] = "open_chunks",
        [MEMORY_SEALED_CHUNKS] = "sealed_chunks",
        [MEMORY_DIGESTS] = "digests",
        [MEMORY_OUT_OF_ORDER] = "out_of_order",
        [MEMORY_EXEMPLARS] = "exemplars",
        [MEMORY_METADATA] = "metadata",
        [MEMORY_TENANTS] = "tenants",
        [MEMORY_SERIES_CACHE] = "series_cache",
        [MEMORY_INDEX_CACHE] = "index_cache",
        [MEMORY_RESULT_CACHE] = "result_cache",
        [MEMORY_LOG_BUFFERS] = "log_buffers",
        [MEMORY_RPC_BUFFERS] = "rpc_buffers",
        [MEMORY_HTTP_BUFFERS] = "http_buffers",
        [MEMORY_PUSHES] = "pushes",
        [MEMORY_ARENAS] = "arenas",
        [MEMORY_QUERY_LOG] = "query_log",
        [MEMORY_METRICS] = "metrics",
    };
    _Static_assert(ARRAY_LEN(names) == MEMORY_KINDS, "every kind has a name");

    return names[kind];
}

struct memory_account *memory_account_new(void)
{
    return xcalloc(1, sizeof(struct memory_account));
}

void memory_account_free(struct memory_account *a)
{
    struct entry *e, *tmp;

    if (!a)
        return;
    HASH_ITER(hh, a->entries, e, tmp) {
        HASH_DEL(a->entries, e);
        free((char *)e->t.name.p);
        free(e);
    }
    free(a->sorted);
    free(a);
}

void memory_add(struct memory_account *a, struct str tenant, enum memory_kind kind, size_t bytes)
{
    struct entry *e;

    if (bytes == 0)
        return;
    HASH_FIND(hh, a->entries, tenant.n ? tenant.p : "", tenant.n, e);
    if (!e) {
        e = xcalloc(1, sizeof *e);
        e->t.name = (struct str){str_dupz(tenant), tenant.n};
        HASH_ADD_KEYPTR(hh, a->entries, e->t.name.p, e->t.name.n, e);
    }
    e->t.bytes[kind] += bytes;
    e->t.total += bytes;
    a->totals[kind] += bytes;
}

static int larger_first(const void *a, const void *b)
{
    const struct memory_tenant *x = *(const struct memory_tenant *const *)a, *y = *(const struct memory_tenant *const *)b;

    if (x->total != y->total)
        return x->total < y->total ? 1 : -1;
    return str_cmp(x->name, y->name);
}

const struct memory_tenant *const *memory_tenants(struct memory_account *a, size_t *ret_n)
{
    size_t n = 0;

    free(a->sorted);
    a->sorted = xcalloc(HASH_COUNT(a->entries) + 1, sizeof(struct memory_tenant *));
    for (const struct entry *e = a->entries; e; e = e->hh.next)
        a->sorted[n++] = &e->t;
    qsort(a->sorted, n, sizeof *a->sorted, larger_first);
    *ret_n = n;
    return a->sorted;
}

size_t memory_total(const struct memory_account *a, enum memory_kind kind)
{
    return a->totals[kind];
}

size_t heap_bytes(const void *p)
{
    return p ? malloc_usable_size((void *)p) : 0;
}
