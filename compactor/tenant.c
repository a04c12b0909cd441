/* tenant.c - deleting a tenant as a whole, and telling how far it is. */
#include "common/base/json.h"
#include "common/model/tenant.h"
#include "compactor/compactor_impl.h"

#include <inttypes.h>
#include <unistd.h>

enum { ACK_MARGIN_MS = 100 };

int compactor_delete_tenant(struct compactor *c, const char *tenant, struct err *err)
{
    int rc = index_delete_tenant(c->deps.bucket, tenant, clock_wall_ms(c->deps.clock), err);

    if (rc < 0)
        return rc;
    log_info(c->deps.log, "tenant deleted", "tenant", tenant);
    usleep((INDEX_VIEW_AGE_MS + ACK_MARGIN_MS) * 1000);
    compactor_wake(c, false);
    return 0;
}

struct left {
    uint64_t blocks, bytes; /* of the tenant, with samples up to the deletion, files still there */
    uint64_t level0;        /* blocks of all tenants that have samples of it */
};

static void left_in_index(const struct index *ix, const struct tombstone *t, struct left *l)
{
    for (size_t i = 0; i < ix->blocks.n; i++) {
        const struct index_block *b = &ix->blocks.v[i];

        if (b->deleted_ms || (b->mint_ms <= t->span.maxt_ms && b->applied < t->seq)) {
            l->blocks++;
            l->bytes += b->bytes;
        }
    }
}

static bool has_tenant(const struct known_block *k, const char *tenant)
{
    for (size_t i = 0; k && i < k->tenants.n; i++)
        if (strcmp(k->tenants.v[i], tenant) == 0)
            return true;
    return false;
}

static int left_in_level0(struct compactor *c, const char *tenant, const struct tombstone *t, struct left *l, struct err *err)
{
    struct index l0;
    int rc = index_load(c->deps.bucket, NULL, &l0, err);

    if (rc < 0)
        return rc;
    mutex_lock(&c->run_lock); /* guards known */
    for (size_t i = 0; i < l0.blocks.n; i++)
        l->level0 += l0.blocks.v[i].mint_ms <= t->span.maxt_ms && has_tenant(known_find(c, &l0.blocks.v[i].id), tenant);
    mutex_unlock(&c->run_lock);
    index_fini(&l0);
    return 0;
}

static void status_print(const char *tenant, const struct tombstone *t, const struct left *l, struct buf *out)
{
    bool done = t && t->applied_ms && l->blocks == 0 && l->level0 == 0;

    buf_z(out, "{\"tenant_id\":");
    json_z(out, tenant);
    buf_printf(out, ",\"blocks_deleted\":%s,\"state\":\"%s\",\"deleted_at\":%" PRId64 ",\"blocks_left\":%" PRIu64 ",\"bytes_left\":%" PRIu64
                    ",\"level0_blocks_left\":%" PRIu64 "}\n",
               l->blocks == 0 && l->level0 == 0 ? "true" : "false", !t ? "none" : done ? "done" : "hidden", t ? t->span.maxt_ms : 0, l->blocks,
               l->bytes, l->level0);
}

int compactor_delete_status(struct compactor *c, const char *tenant, struct buf *out, struct err *err)
{
    const struct tombstone *t;
    struct left l = {0};
    struct index ix;
    int rc = index_load(c->deps.bucket, tenant, &ix, err);

    if (rc < 0)
        return rc;
    t = index_tenant_deleted(&ix);
    if (t) {
        left_in_index(&ix, t, &l);
        rc = left_in_level0(c, tenant, t, &l, err);
    } else {
        l.blocks = ix.blocks.n; /* never deleted, or done long ago: what there is is in use */
    }
    if (rc == 0)
        status_print(tenant, t, &l, out);
    index_fini(&ix);
    return rc;
}
