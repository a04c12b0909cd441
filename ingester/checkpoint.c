#include "ingester/checkpoint.h"

enum { CHECKPOINT_RECORD_BYTES = 1 << 20 };

/* Collects series of one tenant into records of about a megabyte. */
struct collector {
    struct shard *shard;
    struct ingester *with;
    wal_emit_fn *emit;
    void *emit_arg;
    struct buf record;
    struct buf tenant;
    bool open;
};

static int collector_flush(struct collector *c)
{
    int rc = 0;

    if (c->open)
        rc = buf_ok(&c->record) ? c->emit(c->emit_arg, WAL_SERIES, buf_view(&c->record)) : RC_NOMEM;
    c->open = false;
    return rc;
}

static int collect_series(void *arg, struct str tenant, fingerprint fp, const struct labels *ls)
{
    struct collector *c = arg;
    int rc = 0;

    if (c->open && (!str_eq(tenant, buf_view(&c->tenant)) || c->record.n > CHECKPOINT_RECORD_BYTES))
        rc = collector_flush(c);
    if (rc < 0)
        return rc;
    if (!c->open) {
        buf_clear(&c->tenant);
        buf_str(&c->tenant, tenant);
        buf_clear(&c->record);
        wal_series_begin(&c->record, tenant);
        c->open = true;
    }
    wal_series_add(&c->record, fp, ls);
    return 0;
}

static int collect_metadata(struct collector *c)
{
    struct ingester_tenant *t, *tmp;
    int rc = 0;

    pthread_rwlock_rdlock(&c->with->tenants_lock);
    HASH_ITER(hh, c->with->tenants, t, tmp) {
        buf_clear(&c->record);
        wal_metadata_begin(&c->record, str_n(t->id, t->id_len));
        if (rc == 0 && metadata_write(t->metadata, (struct str){0}, &c->record) > 0)
            rc = buf_ok(&c->record) ? c->emit(c->emit_arg, WAL_METADATA, buf_view(&c->record)) : RC_NOMEM;
    }
    pthread_rwlock_unlock(&c->with->tenants_lock);
    return rc;
}

static int fill(void *arg, wal_emit_fn *emit, void *emit_arg)
{
    struct collector *c = arg;
    int rc;

    c->emit = emit;
    c->emit_arg = emit_arg;
    rc = head_each_series(shard_head(c->shard), collect_series, c);
    if (rc == 0)
        rc = collector_flush(c);
    if (rc == 0 && c->with)
        rc = collect_metadata(c);
    return rc;
}

int checkpoint_write(struct shard *s, struct ingester *with, int64_t older_than_ms, struct err *err)
{
    struct collector c = {.shard = s, .with = with};
    int rc;

    buf_init(&c.record, WAL_RECORD_BYTES_MAX / 2);
    buf_init(&c.tenant, 4096);
    rc = wal_checkpoint(shard_wal(s), wal_segment(shard_wal(s)), older_than_ms, fill, &c, err);
    buf_fini(&c.record);
    buf_fini(&c.tenant);
    return rc;
}
