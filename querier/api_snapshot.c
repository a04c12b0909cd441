/* api_snapshot.c - POST|PUT admin/tsdb/snapshot as Prometheus has it (skip_head too), of the asking tenant; GET admin/tsdb/snapshots lists them, DELETE removes one.
 * Every ingester of the ring flushes first, so all that was acknowledged before the call is in blocks that level 0 names; then the blocks are pinned (tsdb/snapshot.h). */
#include "querier/api.h"

#include "common/wire/pb_arena.h"
#include "common/wire/select.h"
#include "common/wire/torc.pb-c.h"
#include "querier/mailbox.h"
#include "tsdb/snapshot.h"

#include <stdio.h>

enum { FLUSH_WAIT_MS = 300000 };

static int flush_request(struct buf *out, struct err *err)
{
    Torc__Wire__FlushRequest m = TORC__WIRE__FLUSH_REQUEST__INIT;

    m.version = SELECT_VERSION;
    m.wait = true;
    buf_init(out, 4096);
    return pb_pack(&m.base, out) ? 0 : err_set(err, RC_INTERNAL, "a request to flush does not fit");
}

/* Asks all; returns how many. */
static size_t flush_ask(struct rpc_client *rpc, const struct ring *ring, struct mailbox *box)
{
    size_t asked = 0;

    for (size_t i = 0; i < ring_instances_n(ring); i++) {
        const struct ring_instance *in = ring_instance(ring, (uint16_t)i);
        struct buf out;

        if (!(in->roles & RING_INGESTER))
            continue;
        if (flush_request(&out, NULL) == 0) {
            mailbox_send(box, rpc, in->addr, RPC_FLUSH, &out, FLUSH_WAIT_MS, (uint32_t)i, 0);
            asked++;
        }
        buf_fini(&out);
    }
    return asked;
}

/* One that does not flush may be the only one that is slow, or dead with samples that are nowhere else in blocks: then there is no snapshot. */
static int flush_all(struct api_request *r, struct err *err)
{
    struct ring *ring = r->q->deps.ring(r->q->deps.ring_arg);
    struct mailbox *box;
    size_t left;
    int rc = 0;

    if (!ring)
        return err_set(err, RC_UNAVAILABLE, "the ring is not known yet");
    box = mailbox_new();
    left = flush_ask(r->q->deps.rpc, ring, box);
    while (left > 0)
        for (struct mail *m = mailbox_take(box, FLUSH_WAIT_MS), *next; m; m = next, left--) {
            if (m->rc < 0 && rc == 0) {
                *err = m->err;
                rc = err_wrap(err, RC_UNAVAILABLE, "ingester %s has not flushed", ring_instance(ring, (uint16_t)m->tag)->id);
            }
            next = m->next;
            mail_free(m);
        }
    mailbox_close(box);
    ring_unref(ring);
    return rc;
}

static int snapshot_check(const struct api_request *r, char tenant[TENANT_ID_BYTES_MAX + 1], struct err *err)
{
    snprintf(tenant, TENANT_ID_BYTES_MAX + 1, "%.*s", STR_FMT(r->tenants[0]));
    return api_admin_check(r, err);
}

static int skip_head(const struct api_request *r, bool *ret, struct err *err)
{
    struct str v = http_param(r->http, "skip_head");

    *ret = str_eqz(v, "true") || str_eqz(v, "1");
    if (v.n == 0 || *ret || str_eqz(v, "false") || str_eqz(v, "0"))
        return 0;
    err_set(err, RC_INVALID, "unable to parse boolean: \"%.*s\"", (int)MIN(v.n, (size_t)100), v.p);
    return param_invalid("skip_head", err);
}

void api_snapshot(struct api_request *r)
{
    char tenant[TENANT_ID_BYTES_MAX + 1];
    struct snapshot_name name;
    bool skip = false;
    struct err err;
    struct buf out;
    int rc = snapshot_check(r, tenant, &err);

    if (rc == 0)
        rc = skip_head(r, &skip, &err);
    if (rc == 0 && !skip)
        rc = flush_all(r, &err);
    if (rc == 0)
        rc = snapshot_create(r->q->deps.bucket, tenant, clock_wall_ms(r->q->deps.clock), &name, &err);
    if (rc < 0) {
        api_reply_error(r, &err);
        return;
    }
    log_info(r->q->deps.log, "snapshot made", "tenant", tenant, "name", name.text);
    api_begin(&out);
    buf_printf(&out, "{\"name\":\"%s\"}", name.text);
    api_end(r, &out, false);
}

static void snapshot_json(struct buf *out, const char *name, const struct index *ix)
{
    uint64_t bytes = 0, samples = 0;

    for (size_t i = 0; i < ix->blocks.n; i++) {
        bytes += ix->blocks.v[i].bytes;
        samples += ix->blocks.v[i].samples;
    }
    buf_printf(out, "{\"name\":\"%s\",\"created\":%llu,\"blocks\":%zu,\"samples\":%llu,\"bytes\":%llu}", name, (unsigned long long)ix->gen, ix->blocks.n,
               (unsigned long long)samples, (unsigned long long)bytes);
}

void api_snapshots(struct api_request *r)
{
    char tenant[TENANT_ID_BYTES_MAX + 1];
    fs_names names = {0};
    struct err err;
    struct buf out;
    bool first = true;
    int rc = snapshot_check(r, tenant, &err);

    if (rc == 0)
        rc = snapshot_list(r->q->deps.bucket, tenant, &names, &err);
    api_begin(&out);
    buf_char(&out, '[');
    for (size_t i = 0; i < names.n && rc == 0; i++) {
        struct index ix;

        rc = snapshot_load(r->q->deps.bucket, tenant, names.v[i], &ix, &err);
        if (rc == RC_NOT_FOUND) { /* removed meanwhile */
            rc = 0;
            continue;
        }
        if (rc < 0)
            break;
        buf_z(&out, first ? "" : ",");
        snapshot_json(&out, names.v[i], &ix);
        first = false;
        index_fini(&ix);
    }
    buf_char(&out, ']');
    fs_names_free(&names);
    if (rc == 0) {
        api_end(r, &out, false);
    } else {
        buf_fini(&out);
        api_reply_error(r, &err);
    }
}

void api_snapshot_remove(struct api_request *r)
{
    char tenant[TENANT_ID_BYTES_MAX + 1], name[SNAPSHOT_NAME_BYTES] = "";
    struct str given = http_param(r->http, "name");
    struct err err;
    int rc = snapshot_check(r, tenant, &err);

    if (given.n < sizeof name)
        snprintf(name, sizeof name, "%.*s", STR_FMT(given));
    if (rc == 0)
        rc = snapshot_remove(r->q->deps.bucket, tenant, name, &err);
    if (rc < 0)
        api_reply_error(r, &err);
    else
        api_reply_empty(r);
}
