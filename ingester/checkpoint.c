#include "ingester/checkpoint.h"

enum { CHECKPOINT_RECORD_BYTES = 1 << 20 };

/* Collects series of one tenant into records of about a megabyte. */
struct collector {
    struct shard *shard;
    struct ingester *with;
    wal_emit_fn *emit;
    void *emit_arg;
    struct err *err;
    struct buf front, rows, tenant;
    size_t n;
};

static int emit_list(struct collector *c, enum wal_type type)
{
    buf_clear(&c->front);
    wal_list_begin(&c->front, buf_view(&c->tenant), c->n);
    buf_str(&c->front, buf_view(&c->rows));
    c->n = 0;
    if (!buf_ok(&c->front) || !buf_ok(&c->rows))
        return err_set(c->err, RC_NOMEM, "no memory for a checkpoint record");
    buf_clear(&c->rows);
    return c->emit(c->emit_arg, type, buf_view(&c->front), c->err);
}

static int collect_series(void *arg, struct str tenant, fingerprint fp, const struct labels *ls)
{
    struct collector *c = arg;
    int rc = 0;

    if (c->n && (!str_eq(tenant, buf_view(&c->tenant)) || c->rows.n > CHECKPOINT_RECORD_BYTES || c->n == WAL_ROWS_MAX))
        rc = emit_list(c, WAL_SERIES);
    if (rc < 0)
        return rc;
    if (c->n == 0) {
        buf_clear(&c->tenant);
        buf_str(&c->tenant, tenant);
    }
    wal_series_add(&c->rows, fp, ls);
    c->n++;
    return 0;
}

static int collect_metadata(struct collector *c)
{
    struct ingester_tenant *t, *tmp;
    int rc = 0;

    pthread_rwlock_rdlock(&c->with->tenants_lock);
    HASH_ITER(hh, c->with->tenants, t, tmp) {
        if (rc < 0)
            break;
        buf_clear(&c->tenant);
        buf_str(&c->tenant, str_n(t->id, t->id_len));
        buf_clear(&c->rows);
        c->n = metadata_write(t->metadata, (struct str){0}, &c->rows);
        if (c->n)
            rc = emit_list(c, WAL_METADATA);
    }
    pthread_rwlock_unlock(&c->with->tenants_lock);
    return rc;
}

static int fill(void *arg, wal_emit_fn *emit, void *emit_arg, struct err *err)
{
    struct collector *c = arg;
    int rc;

    c->emit = emit;
    c->emit_arg = emit_arg;
    c->err = err;
    rc = head_each_series(shard_head(c->shard), collect_series, c);
    if (rc == 0 && c->n)
        rc = emit_list(c, WAL_SERIES);
    if (rc == 0 && c->with)
        rc = collect_metadata(c);
    return rc;
}

static void collector_init(struct collector *c, struct shard *s, struct ingester *with)
{
    *c = (struct collector){.shard = s, .with = with};
    buf_init(&c->front, WAL_RECORD_BYTES_MAX);
    buf_init(&c->rows, WAL_RECORD_BYTES_MAX / 2);
    buf_init(&c->tenant, 4096);
}

static void collector_fini(struct collector *c)
{
    buf_fini(&c->front);
    buf_fini(&c->rows);
    buf_fini(&c->tenant);
}

int checkpoint_metadata(struct ingester *in, wal_emit_fn *emit, void *emit_arg, struct err *err)
{
    struct collector c;
    int rc;

    collector_init(&c, NULL, in);
    c.emit = emit;
    c.emit_arg = emit_arg;
    c.err = err;
    rc = collect_metadata(&c);
    collector_fini(&c);
    return rc;
}

static int append(void *shard, enum wal_type type, struct str payload, struct err *err)
{
    struct shard *s = shard;

    shard_log(s, type, &payload, 1, INT64_MIN);
    return shard_dead(s) ? err_set(err, RC_IO, "the log has failed") : 0;
}

int checkpoint_append(struct shard *s, struct ingester *with, struct err *err)
{
    struct collector c;
    int rc;

    collector_init(&c, s, with);
    rc = fill(&c, append, s, err);
    if (rc == 0)
        rc = wal_sync(shard_wal(s), err);
    collector_fini(&c);
    return rc;
}
