/* flush.c - from heads to blocks: seal a range in every shard, write one block, publish it in the index, keep the samples for readers with an older
 * index, drop them, cut the log. Each step is in the log, so a restart goes on where it stopped; a step done twice changes nothing (a second block with the
 * same windows is recognised by their digests). */
#include "common/base/fault.h"
#include "common/base/planted.h"
#include "ingester/image.h"
#include "ingester/sync.h"
#include "tsdb/block.h"
#include "tsdb/head_sync.h"
#include "tsdb/index.h"

#include <stdlib.h>

struct mark {
    enum wal_type type;
    uint64_t set, gen;
    int64_t below_ms, idle_before_ms;
};

static void mark_log(struct shard *s, const struct mark *m)
{
    uint64_t value = m->type == WAL_SEAL ? (uint64_t)m->below_ms : m->type == WAL_PUBLISHED ? m->gen : (uint64_t)m->idle_before_ms;
    uint8_t bytes[WAL_MARK_BYTES];
    struct str part = wal_mark_encode(&(struct wal_mark){m->set, value}, bytes);

    shard_log(s, m->type, &part, 1, INT64_MIN);
}

static void seal_run(void *arg, struct shard *s)
{
    struct mark *m = arg;

    head_lock(shard_head(s));
    head_seal(shard_head(s), m->below_ms, m->set);
    mark_log(s, m);
    head_unlock(shard_head(s));
}

static void published_run(void *arg, struct shard *s)
{
    struct mark *m = arg;

    head_published(shard_head(s), m->set, m->gen);
    mark_log(s, m);
}

static void dropped_run(void *arg, struct shard *s)
{
    struct mark *m = arg;

    head_drop(shard_head(s), m->set, m->idle_before_ms);
    mark_log(s, m);
}

/* Nothing for the log: a replay finds them idle again. */
static void idle_run(void *arg, struct shard *s)
{
    head_forget_idle(shard_head(s), ((struct mark *)arg)->idle_before_ms);
}

static int on_all_shards(struct ingester *in, void (*run)(void *, struct shard *), struct mark *m, struct err *err)
{
    int rc = 0;

    mutex_lock(&in->marks_lock);
    for (uint32_t i = 0; i < in->shard_count && rc == 0; i++)
        rc = shard_run_sync(in->shards[i], run, m, err);
    mutex_unlock(&in->marks_lock);
    return rc;
}

/* --- one block from all shards, in (tenant, labels) order --- */

struct source {
    struct head_flush_iter *it;
    struct str tenant;
    const struct stored_series *series; /* NULL: done */
};

static int source_next(struct source *src, struct err *err)
{
    int rc = head_flush_iter_next(src->it, &src->tenant, &src->series, err);

    if (rc == 0)
        src->series = NULL;
    return rc < 0 ? rc : 0;
}

static int source_cmp(const struct source *a, const struct source *b)
{
    int c = str_cmp(a->tenant, b->tenant);

    return c ? c : labels_cmp(&a->series->labels, &b->series->labels);
}

static struct source *smallest(struct source *sources, uint32_t n)
{
    struct source *min = NULL;

    for (uint32_t i = 0; i < n; i++)
        if (sources[i].series && (!min || source_cmp(&sources[i], min) < 0))
            min = &sources[i];
    return min;
}

static int block_fill(struct ingester *in, uint64_t set, struct block_writer *w, struct err *err)
{
    struct source sources[SHARDS_MAX] = {0}, *src;
    int rc = 0;

    for (uint32_t i = 0; i < in->shard_count && rc == 0; i++) {
        if (PLANTED("flush-forgets-a-shard") && i == 0)
            continue;
        rc = head_flush_iter_new(shard_head(in->shards[i]), set, &sources[i].it, err);
        if (rc == RC_NOT_FOUND)
            rc = 0; /* this shard's log ended before the seal: its samples go with a later set */
        else if (rc == 0)
            rc = source_next(&sources[i], err);
    }
    while (rc == 0 && (src = smallest(sources, in->shard_count))) {
        rc = block_writer_add(w, src->tenant, src->series, err);
        if (rc == 0)
            rc = source_next(src, err);
    }
    for (uint32_t i = 0; i < in->shard_count; i++)
        head_flush_iter_free(sources[i].it);
    return rc;
}

/* RC_NOT_FOUND when the set is empty. */
static int block_ship(struct ingester *in, const struct flush_set *set, struct block_meta *ret, struct err *err)
{
    struct block_meta meta = {.level = 0, .range_start_ms = set->below_ms - BLOCK_RANGE_MS, .range_end_ms = set->below_ms};
    struct block_writer *w = NULL;
    char scratch[512];
    int rc;

    ulid_new(&meta.id, clock_wall_ms(in->deps.clock));
    snprintf(meta.ingester, sizeof meta.ingester, "%s", in->instance_id);
    snprintf(scratch, sizeof scratch, "%s/scratch/%s", in->data_dir, meta.id.text);
    rc = block_writer_new(scratch, &meta, &w, err);
    if (rc == 0)
        rc = block_fill(in, set->id, w, err);
    if (rc == 0)
        rc = block_writer_ship(w, in->deps.bucket, ret, err);
    block_writer_free(w);
    return rc;
}

/* Ships a sealed set and publishes it. flush_lock held. */
static int set_publish(struct ingester *in, struct flush_set *set, uint64_t *blocks, struct err *err)
{
    struct block_meta meta = {0};
    struct mark m = {.type = WAL_PUBLISHED, .set = set->id};
    int rc = block_ship(in, set, &meta, err);

    if (rc == 0) {
        FAULT(FAULT_CRASH, _Exit(99));
        rc = index_add_block(in->deps.bucket, NULL, &meta, &m.gen, err);
        if (rc == 0) {
            log_info(in->deps.log, "block published", "block", meta.id.text, "series", log_i64((int64_t)meta.series), "samples",
                     log_i64((int64_t)meta.samples), "bytes", log_i64((int64_t)meta.bytes), "generation", log_i64((int64_t)m.gen));
            ++*blocks;
        }
        block_meta_fini(&meta);
    } else if (rc == RC_NOT_FOUND) {
        rc = 0; /* nothing was in it */
    }
    if (rc == 0) {
        FAULT(FAULT_CRASH, _Exit(99));
        rc = on_all_shards(in, published_run, &m, err);
    }
    if (rc < 0) {
        metric_inc(in->m_flush_failures);
        return err_wrap(err, rc, "flush of set %llu", (unsigned long long)set->id);
    }
    metric_inc(in->m_flushes);
    set->gen = m.gen;
    set->published_mono_ms = clock_mono_ms(in->deps.clock);
    return 0;
}

static int64_t oldest_ms(struct ingester *in)
{
    int64_t t = INT64_MAX;

    for (uint32_t i = 0; i < in->shard_count; i++)
        t = MIN(t, head_min_ms(shard_head(in->shards[i])));
    return t;
}

static int64_t newest_ms(struct ingester *in)
{
    int64_t t = INT64_MIN;

    for (uint32_t i = 0; i < in->shard_count; i++)
        t = MAX(t, head_max_ms(shard_head(in->shards[i])));
    return t;
}

static struct flush_set *set_unpublished(struct ingester *in)
{
    for (size_t i = 0; i < in->sets.n; i++)
        if (in->sets.v[i].published_mono_ms == 0)
            return &in->sets.v[i];
    return NULL;
}

/* Seals and publishes range after range, oldest first, until nothing below cut is left. flush_lock held. */
static int flush_below(struct ingester *in, int64_t cut_ms, uint64_t *blocks, struct err *err)
{
    int rc = 0;

    for (;;) {
        struct flush_set *set = set_unpublished(in);
        int64_t oldest;

        if (!set) {
            oldest = oldest_ms(in);
            if (oldest == INT64_MAX || floor_to(oldest, BLOCK_RANGE_MS) + BLOCK_RANGE_MS > cut_ms)
                return 0;
            set = vec_push(&in->sets);
            set->id = in->next_set++;
            set->below_ms = floor_to(oldest, BLOCK_RANGE_MS) + BLOCK_RANGE_MS;
            set->oldest_ms = oldest;
            rc = on_all_shards(in, seal_run, &(struct mark){.type = WAL_SEAL, .set = set->id, .below_ms = set->below_ms}, err);
        }
        if (rc == 0)
            rc = set_publish(in, set, blocks, err);
        if (rc < 0)
            return rc;
    }
}

/* A range is due once samples, or time itself, have passed its end by the delay. */
static int64_t cut_due(struct ingester *in)
{
    int64_t now = clock_wall_ms(in->deps.clock), newest = newest_ms(in);

    if (newest == INT64_MIN)
        return INT64_MIN;
    /* Nothing came for a whole range (imports, or senders that stopped): time passes all the same. */
    if (newest < now && now - newest > BLOCK_RANGE_MS && now - atomic_load(&in->last_push_ms) > BLOCK_RANGE_MS)
        newest = now;
    return floor_to(MIN(newest, now) - in->cfg.flush_delay_ms, BLOCK_RANGE_MS);
}

int ingester_flush_due(struct ingester *in, struct err *err)
{
    uint64_t blocks = 0;
    int64_t cut;
    int rc = 0;

    mutex_lock(&in->flush_lock);
    cut = cut_due(in);
    if (cut != INT64_MIN || set_unpublished(in))
        rc = flush_below(in, cut, &blocks, err);
    mutex_unlock(&in->flush_lock);
    return rc;
}

int ingester_flush_all(struct ingester *in, uint64_t *ret_gen, uint64_t *ret_blocks, struct err *err)
{
    uint64_t blocks = 0, gen = 0;
    int64_t cut;
    int rc;

    mutex_lock(&in->flush_lock);
    cut = newest_ms(in);
    rc = cut == INT64_MIN ? 0 : flush_below(in, floor_to(cut, BLOCK_RANGE_MS) + BLOCK_RANGE_MS, &blocks, err);
    for (size_t i = 0; i < in->sets.n; i++)
        gen = MAX(gen, in->sets.v[i].gen);
    mutex_unlock(&in->flush_lock);
    if (rc == 0) {
        if (ret_gen)
            *ret_gen = gen;
        if (ret_blocks)
            *ret_blocks = blocks;
    }
    return rc;
}

/* A set with nothing in it that others have published: so that the heads, and those of a replay, know its generation. */
int ingester_know_generation(struct ingester *in, uint64_t gen, struct err *err)
{
    const int64_t nothing_below = TIMESTAMP_MIN_MS - BLOCK_RANGE_MS;
    uint64_t known = UINT64_MAX;
    struct mark m;
    int rc = 0;

    for (uint32_t i = 0; i < in->shard_count; i++)
        known = MIN(known, head_published_gen(shard_head(in->shards[i])));
    if (known >= gen)
        return 0;
    mutex_lock(&in->flush_lock);
    m = (struct mark){.type = WAL_SEAL, .set = in->next_set++, .gen = gen, .below_ms = nothing_below, .idle_before_ms = INT64_MIN};
    rc = on_all_shards(in, seal_run, &m, err);
    m.type = WAL_PUBLISHED;
    if (rc == 0)
        rc = on_all_shards(in, published_run, &m, err);
    m.type = WAL_DROPPED;
    if (rc == 0)
        rc = on_all_shards(in, dropped_run, &m, err);
    mutex_unlock(&in->flush_lock);
    return rc;
}

/* --- dropping, and cutting the log --- */
void ingester_drop_due(struct ingester *in)
{
    int64_t now = clock_mono_ms(in->deps.clock), idle = clock_wall_ms(in->deps.clock) - in->cfg.series_idle_ms;
    bool dropped = false;
    size_t i = 0;

    mutex_lock(&in->flush_lock);
    while (i < in->sets.n) {
        struct flush_set *set = &in->sets.v[i];
        struct mark m = {.type = WAL_DROPPED, .set = set->id, .gen = set->gen, .idle_before_ms = idle};
        struct err err;

        if (set->published_mono_ms == 0 || now - set->published_mono_ms < in->cfg.retain_ms) {
            i++;
            continue;
        }
        if (on_all_shards(in, dropped_run, &m, &err) < 0) {
            log_warn(in->deps.log, "set not dropped, will retry", "err", err_log(&err));
            break;
        }
        memmove(set, set + 1, (in->sets.n - i - 1) * sizeof *set);
        in->sets.n--;
        dropped = true;
    }
    if (dropped)
        ingester_images_write(in, 1);
    else if (now - in->forgot_mono_ms >= in->cfg.series_idle_ms)
        dropped = on_all_shards(in, idle_run, &(struct mark){.idle_before_ms = idle}, NULL) == 0;
    if (dropped)
        in->forgot_mono_ms = now;
    mutex_unlock(&in->flush_lock);
    if (dropped)
        ingester_recount_series(in);
}

void *ingester_maintain(void *arg)
{
    struct ingester *in = arg;
    int64_t ticked_ms = clock_mono_ms(in->deps.clock);
    bool stopping = false;

    while (!stopping) {
        struct err err;

        mutex_lock(&in->wake_lock);
        if (!in->stopping)
            cond_wait_ms(&in->wake, &in->wake_lock, in->cfg.flush_check_ms);
        stopping = in->stopping;
        mutex_unlock(&in->wake_lock);
        if (stopping || atomic_load(&in->state) != INGESTER_SERVING)
            continue;
        ingester_rates_tick(in, clock_mono_ms(in->deps.clock) - ticked_ms);
        ticked_ms = clock_mono_ms(in->deps.clock);
        if (ingester_flush_due(in, &err) < 0)
            log_warn(in->deps.log, "flush failed, will retry", "err", err_log(&err));
        ingester_drop_due(in);
    }
    return NULL;
}
