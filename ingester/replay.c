/* replay.c - from the logs back to heads; then the logs are open for appending, shards in parallel. Applies exactly the rows that were accepted, under no clock and no limit. A series whose shard is
 * another one now (the shard count changed) goes to the head of that shard, under its lock. */
#include "ingester/ingester_impl.h"

#include <stdlib.h>

struct replayer {
    struct ingester *in;
    const struct wal_dir *from;
    struct arena arena;
    struct wal_replay_stats stats;
    uint64_t done_before;
    uint64_t max_set;
    VEC(struct flush_set) sets;
    int rc;
    struct err err;
    pthread_t thread;
};

static struct head *head_of(struct replayer *r, fingerprint fp)
{
    return shard_head(r->in->shards[ingester_shard_of(r->in, fp)]);
}

static int replay_series(struct replayer *r, struct str payload, struct err *err)
{
    struct wal_list l;
    struct labels ls;
    fingerprint fp;
    int rc = wal_list_open(payload, &l, err);

    while (rc >= 0 && (rc = wal_series_next(&l, &r->arena, &fp, &ls, err)) > 0) {
        struct head *h = head_of(r, fp);
        struct head_series *s;

        head_lock(h);
        if (!head_find(h, l.tenant, fp))
            rc = head_create(h, l.tenant, fp, &ls, &s, err);
        head_unlock(h);
        arena_reset(&r->arena);
    }
    return rc;
}

static void replay_row(struct head *h, const struct wal_samples *ws, uint32_t i)
{
    struct head_series *s = head_find(h, ws->tenant, wal_samples_fp(ws, i));

    /* A series that was dropped with all its samples has no labels left: its rows are in blocks. */
    if (s)
        head_replay(h, s, wal_samples_t(ws, i), le_get64(ws->values + (size_t)i * 8),
                    ws->starts ? (int64_t)le_get64(ws->starts + (size_t)i * 8) : 0);
}

static int replay_samples(struct replayer *r, struct str payload, int64_t *ret_t_max, struct err *err)
{
    struct wal_samples ws;
    struct head *locked = NULL;
    int rc = wal_samples_decode(payload, &ws, err);

    if (rc < 0)
        return rc;
    for (uint32_t i = 0; i < ws.n; i++) {
        struct head *h;

        if (!wal_samples_accepted(&ws, i))
            continue;
        h = head_of(r, wal_samples_fp(&ws, i));
        if (h != locked) {
            if (locked)
                head_unlock(locked);
            head_lock(h);
            locked = h;
        }
        replay_row(h, &ws, i);
    }
    if (locked)
        head_unlock(locked);
    *ret_t_max = wal_samples_t_max(&ws);
    return 0;
}

static int replay_histograms(struct replayer *r, struct str payload, int64_t *ret_t_max, struct err *err)
{
    struct wal_histogram row;
    struct wal_list l;
    int rc = wal_list_open(payload, &l, err);

    while (rc >= 0 && (rc = wal_histogram_next(&l, &r->arena, &row, err)) > 0) {
        struct head *h = head_of(r, row.fp);
        struct head_series *s;

        head_lock(h);
        s = head_find(h, l.tenant, row.fp);
        if (s)
            head_replay_histogram(h, s, row.t, &row.h, row.st);
        head_unlock(h);
        *ret_t_max = MAX(*ret_t_max, row.t);
        arena_reset(&r->arena);
    }
    return rc;
}

static int replay_exemplars(struct replayer *r, struct str payload, struct err *err)
{
    struct ingester_limits limits;
    struct wal_exemplar row;
    struct wal_list l;
    int rc = wal_list_open(payload, &l, err);

    if (rc < 0)
        return rc;
    ingester_limits_of(r->in, l.tenant, &limits);
    while ((rc = wal_exemplar_next(&l, &r->arena, &row, err)) > 0) {
        struct head *h = head_of(r, row.fp);

        head_lock(h);
        if (head_find(h, l.tenant, row.fp))
            head_exemplar_add(h, l.tenant, row.fp, row.t, row.v, &row.labels, limits.exemplars_max);
        head_unlock(h);
        arena_reset(&r->arena);
    }
    return rc;
}

static int replay_metadata(struct replayer *r, struct str payload, struct err *err)
{
    struct ingester_limits limits;
    struct ingester_tenant *t;
    struct wal_metadata row;
    struct wal_list l;
    int rc = wal_list_open(payload, &l, err);

    if (rc == 0)
        rc = ingester_tenant_get(r->in, l.tenant, &t, err);
    if (rc < 0)
        return rc;
    ingester_limits_of(r->in, l.tenant, &limits);
    while ((rc = wal_metadata_next(&l, &row, err)) > 0) {
        struct push_metadata md = {row.metric, row.help, row.unit, row.type};

        metadata_add(t->metadata, &md, limits.metadata_metrics_max, limits.metadata_per_metric_max);
    }
    return rc;
}

static struct flush_set *set_of(struct replayer *r, uint64_t id)
{
    for (size_t i = 0; i < r->sets.n; i++)
        if (r->sets.v[i].id == id)
            return &r->sets.v[i];
    return NULL;
}

/* A mark stands in the log of its directory's shard and concerns that shard's series. With a changed shard count, series of one directory are in several
 * heads; then marks are left out: their samples are flushed once more, which readers recognise by digest. */
static int replay_mark(struct replayer *r, enum wal_type type, struct str payload, struct err *err)
{
    struct wal_mark m;
    struct head *h;
    struct flush_set *set;
    int rc = wal_mark_decode(payload, &m, err);

    if (rc < 0)
        return rc;
    r->max_set = MAX(r->max_set, m.set_id);
    if (r->from->foreign)
        return 0;
    h = shard_head(r->in->shards[r->from->shard]);
    set = set_of(r, m.set_id);
    if (type == WAL_SEAL) {
        head_lock(h);
        head_seal(h, (int64_t)m.value, m.set_id);
        head_unlock(h);
        if (!set) {
            set = vec_push(&r->sets);
            *set = (struct flush_set){.id = m.set_id, .below_ms = (int64_t)m.value, .oldest_ms = (int64_t)m.value - BLOCK_RANGE_MS};
        }
    } else if (type == WAL_PUBLISHED && set) {
        head_published(h, m.set_id, m.value);
        set->gen = m.value;
        set->published_mono_ms = clock_mono_ms(r->in->deps.clock);
    } else if (type == WAL_DROPPED) {
        head_drop(h, m.set_id, INT64_MIN);
        if (set)
            vec_remove_swap(&r->sets, (size_t)(set - r->sets.v));
    }
    return 0;
}

static int replay_record(void *arg, enum wal_type type, struct str payload, int64_t *ret_t_max, struct err *err)
{
    struct replayer *r = arg;

    arena_reset(&r->arena);
    switch (type) {
    case WAL_SERIES:
        return replay_series(r, payload, err);
    case WAL_SAMPLES:
        return replay_samples(r, payload, ret_t_max, err);
    case WAL_HISTOGRAMS:
        return replay_histograms(r, payload, ret_t_max, err);
    case WAL_EXEMPLARS:
        return replay_exemplars(r, payload, err);
    case WAL_METADATA:
        return replay_metadata(r, payload, err);
    case WAL_SEAL:
    case WAL_PUBLISHED:
    case WAL_DROPPED:
        return replay_mark(r, type, payload, err);
    }
    return err_set(err, RC_CORRUPT, "log record of unknown type %d", (int)type);
}

static void progress(void *arg, uint64_t done, uint64_t total)
{
    struct replayer *r = arg;

    if (r->done_before == 0 && done > 0)
        atomic_fetch_add(&r->in->replay_total, total);
    atomic_fetch_add(&r->in->replay_done, done - r->done_before);
    r->done_before = done;
}

static void *replay_main(void *arg)
{
    struct replayer *r = arg;

    struct wal_replay_cfg cfg = {.dir = r->from->path, .shard = r->from->shard, .fn = replay_record, .progress = progress, .arg = r};

    r->rc = wal_replay(&cfg, &r->stats, &r->err);
    return NULL;
}

/* Sets are complete when every shard has them: a seal that only some logs hold is sealed again by the next flush under a new id. */
static void sets_collect(struct ingester *in, struct replayer *rs, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        for (size_t k = 0; k < rs[i].sets.n; k++) {
            struct flush_set *found = NULL, *one = &rs[i].sets.v[k];

            for (size_t m = 0; m < in->sets.n; m++)
                if (in->sets.v[m].id == one->id)
                    found = &in->sets.v[m];
            if (!found)
                *vec_push(&in->sets) = *one;
            else if (one->published_mono_ms == 0)
                found->published_mono_ms = 0; /* one shard does not know yet: publish again */
        }
        in->next_set = MAX(in->next_set, rs[i].max_set + 1);
    }
}

/* All directories of one kind at once. */
static int replay_dirs(struct ingester *in, bool foreign, struct err *err)
{
    struct replayer *rs = xcalloc(in->wal_dirs.n, sizeof *rs);
    uint32_t n = 0;
    int rc = 0;

    for (size_t i = 0; i < in->wal_dirs.n; i++) {
        struct replayer *r = &rs[n];

        if (in->wal_dirs.v[i].foreign != foreign)
            continue;
        n++;
        r->in = in;
        r->from = &in->wal_dirs.v[i];
        arena_init(&r->arena, 64 << 20);
        r->thread = thread_start("replay", replay_main, r);
    }
    for (uint32_t i = 0; i < n; i++) {
        pthread_join(rs[i].thread, NULL);
        if (rs[i].rc < 0 && rc == 0) {
            rc = rs[i].rc;
            if (err)
                *err = rs[i].err;
        }
        if (rs[i].stats.torn_bytes)
            log_warn(in->deps.log, "log ended in a torn write, cut there", "dir", rs[i].from->path, "bytes", log_i64((int64_t)rs[i].stats.torn_bytes));
    }
    if (rc == 0)
        sets_collect(in, rs, n);
    for (uint32_t i = 0; i < n && rc == 0 && !foreign; i++)
        rc = shard_open_log(in->shards[rs[i].from->shard], &rs[i].stats, err);
    for (uint32_t i = 0; i < n; i++) {
        wal_replay_stats_fini(&rs[i].stats);
        arena_fini(&rs[i].arena);
        vec_fini(&rs[i].sets);
    }
    free(rs);
    return rc;
}

/* Logs of another shard count first: they are older. */
int ingester_replay(struct ingester *in, struct err *err)
{
    int rc = replay_dirs(in, true, err);

    return rc < 0 ? rc : replay_dirs(in, false, err);
}
