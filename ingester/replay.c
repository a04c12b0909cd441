/* replay.c - from head images and logs back to heads; then the logs are open for appending, shards in parallel. Applies exactly the rows that were accepted, under no clock and
 * no limit: those that an image does not have already. A series whose shard is another one now (the shard count changed) goes to the head of that shard, under its lock. */
#include "ingester/image.h"

#include <stdlib.h>

struct replayer {
    struct ingester *in;
    struct wal_dir *from;
    struct arena arena;
    struct wal_replay_stats stats;
    struct head_image image; /* what it has is left out; in no image when empty */
    struct wal_position at;  /* behind the record being replayed */
    uint64_t max_set;
    VEC(struct flush_set) sets;
    int rc;
    struct err err;
    pthread_t thread;
};

static struct head *head_of(const struct replayer *r, fingerprint fp)
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

/* A series that was dropped with all its samples has no labels left: its rows are in blocks. */
static bool wanted(const struct replayer *r, const struct head_series *s)
{
    return s && !head_image_has(&r->image, s, r->at);
}

static void replay_row(const struct replayer *r, struct head *h, struct head_series *s, const struct wal_samples *ws, uint32_t i)
{
    if (wanted(r, s))
        head_replay(h, s, wal_samples_t(ws, i), le_get64(ws->values + (size_t)i * 8),
                    ws->starts ? (int64_t)le_get64(ws->starts + (size_t)i * 8) : 0);
}

/* All of one head: looked up together, which hides the cache misses. */
static void replay_rows_here(const struct replayer *r, const struct wal_samples *ws)
{
    struct head *h = shard_head(r->in->shards[r->from->shard]);
    struct head_series *series[HEAD_FIND_GROUP];
    fingerprint fps[HEAD_FIND_GROUP];
    uint32_t rows[HEAD_FIND_GROUP], n = 0;

    head_lock(h);
    for (uint32_t i = 0; i < ws->n; i++) {
        if (wal_samples_accepted(ws, i)) {
            fps[n] = wal_samples_fp(ws, i);
            rows[n++] = i;
        }
        if (n < HEAD_FIND_GROUP && i + 1 < ws->n)
            continue;
        head_find_many(h, ws->tenant, fps, n, series);
        for (uint32_t k = 0; k < n; k++)
            replay_row(r, h, series[k], ws, rows[k]);
        n = 0;
    }
    head_unlock(h);
}

static void replay_rows_anywhere(const struct replayer *r, const struct wal_samples *ws)
{
    for (uint32_t i = 0; i < ws->n; i++) {
        struct head *h = head_of(r, wal_samples_fp(ws, i));

        if (!wal_samples_accepted(ws, i))
            continue;
        head_lock(h);
        replay_row(r, h, head_find(h, ws->tenant, wal_samples_fp(ws, i)), ws, i);
        head_unlock(h);
    }
}

static int replay_samples(struct replayer *r, struct str payload, int64_t *ret_t_max, struct err *err)
{
    struct wal_samples ws;
    int rc = wal_samples_decode(payload, &ws, err);

    if (rc < 0)
        return rc;
    if (r->from->foreign)
        replay_rows_anywhere(r, &ws);
    else
        replay_rows_here(r, &ws);
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
        if (wanted(r, s))
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

    atomic_store(&r->from->log_total, total);
    atomic_store(&r->from->log_done, done);
}

static void sets_of_image(struct replayer *r)
{
    int64_t now = clock_mono_ms(r->in->deps.clock);

    r->max_set = r->image.set_max;
    for (size_t i = 0; i < r->image.sets.n; i++) {
        const struct head_image_set *s = &r->image.sets.v[i];

        *vec_push(&r->sets) = (struct flush_set){s->id, s->gen, s->below_ms, s->below_ms - BLOCK_RANGE_MS, s->published ? now : 0};
    }
}

/* The log ends where it did when the image was made, or behind. */
static int check_end(const struct replayer *r, struct err *err)
{
    const struct wal_segment_info *last = r->stats.segments.n ? &r->stats.segments.v[r->stats.segments.n - 1] : NULL;
    struct wal_position end = last ? (struct wal_position){last->number, last->bytes} : (struct wal_position){0};

    if (wal_position_cmp(end, r->image.to) >= 0)
        return 0;
    return err_set(err, RC_CORRUPT, "the log ends at segment %08llu, offset %llu, before its head image %08llu: segments are missing or cut", (unsigned long long)end.segment,
                   (unsigned long long)end.offset, (unsigned long long)r->image.number);
}

static int replay_dir(struct replayer *r, struct err *err)
{
    struct wal_replay_cfg cfg = {.dir = r->from->path, .shard = r->from->shard, .at = &r->at, .fn = replay_record, .progress = progress, .arg = r};
    bool image;
    int rc = ingester_image_load(r->in, &(struct image_load){r->from, replay_record, r}, &r->image, err);

    if (rc < 0)
        return rc;
    image = rc > 0;
    cfg.from = r->image.from;
    if (image && !r->from->foreign)
        sets_of_image(r);
    /* Of a foreign image no cut counts, because its series are others here; a sample twice is stored once. */
    if (r->from->foreign)
        vec_clear(&r->image.cuts);
    rc = wal_replay(&cfg, &r->stats, err);
    if (rc == 0 && image)
        rc = check_end(r, err);
    if (rc < 0)
        return err_wrap(err, rc, "%s: %s; to start without it, move this directory away: this ingester's copies are then those of its peers alone", r->from->path,
                        image ? "log behind the head image" : "log without a readable head image");
    return 0;
}

static void *replay_main(void *arg)
{
    struct replayer *r = arg;

    r->rc = replay_dir(r, &r->err);
    head_image_fini(&r->image);
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
    int rc;

    atomic_store(&in->replay_begin_ms, clock_mono_ms(in->deps.clock));
    rc = replay_dirs(in, true, err);
    if (rc == 0)
        rc = replay_dirs(in, false, err);
    atomic_store(&in->replay_end_ms, clock_mono_ms(in->deps.clock));
    return rc;
}
