#include "blocktool/sink.h"
#include "common/sys/clock.h"
#include "tsdb/window.h"

#include <stdlib.h>

/* Spans of the compactor's levels 1, 2 and 3. */
static const int64_t level_ms[] = {BLOCK_RANGE_MS, 6LL * BLOCK_RANGE_MS, 12LL * BLOCK_RANGE_MS};

struct range {
    int64_t start_ms;
    struct ulid mark; /* the source of its block */
    bool done;
};

struct sink {
    struct sink_cfg cfg;
    uint32_t level;
    struct range *ranges;
    size_t range_count, from, to; /* [from, to): at hand */
    struct block_writer *writers[SINK_RANGES_MAX];
    struct arena arena;
    struct sink_totals totals;
};

/* The same for the same source, tenant and range, and for nothing else. */
static void mark_of(const struct sink_cfg *cfg, int64_t start_ms, int64_t span_ms, struct ulid *ret)
{
    struct buf text;
    uint8_t hash[32];

    buf_init(&text, 64 << 10);
    buf_lstr(&text, str_of(cfg->tenant));
    buf_lstr(&text, cfg->source);
    buf_svarint(&text, start_ms);
    buf_svarint(&text, span_ms);
    ASSERT(buf_ok(&text));
    sha256(text.p, text.n, hash);
    ulid_of(ret, start_ms, hash);
    buf_fini(&text);
}

static uint32_t level_of(int64_t mint_ms, int64_t maxt_ms)
{
    uint32_t level = 0;

    while (level + 1 < ARRAY_LEN(level_ms) && floor_to(mint_ms, level_ms[level]) != floor_to(maxt_ms - 1, level_ms[level]))
        level++;
    return level + 1;
}

static int ranges_make(struct sink *s, struct err *err)
{
    int64_t span = level_ms[s->level - 1], first = floor_to(s->cfg.mint_ms, span);
    struct index ix = {0};
    int rc = index_load(s->cfg.bucket, s->cfg.tenant, &ix, err);

    if (rc < 0 && rc != RC_NOT_FOUND)
        return rc;
    s->range_count = (size_t)((s->cfg.maxt_ms - 1 - first) / span) + 1;
    s->ranges = xcalloc(s->range_count, sizeof *s->ranges);
    for (size_t i = 0; i < s->range_count; i++) {
        struct range *r = &s->ranges[i];

        r->start_ms = first + (int64_t)i * span;
        mark_of(&s->cfg, r->start_ms, span, &r->mark);
        r->done = index_covers(&ix, &r->mark);
        s->totals.skipped += r->done;
    }
    index_fini(&ix);
    return 0;
}

int sink_new(const struct sink_cfg *cfg, struct sink **ret, struct err *err)
{
    struct sink *s;
    int rc;

    if (cfg->mint_ms < TIMESTAMP_MIN_MS || cfg->maxt_ms > TIMESTAMP_MAX_MS || cfg->mint_ms >= cfg->maxt_ms)
        return err_set(err, RC_INVALID, "samples from %lld to %lld ms: out of range", (long long)cfg->mint_ms, (long long)cfg->maxt_ms);
    if ((cfg->maxt_ms - cfg->mint_ms) / level_ms[2] > 100000)
        return err_set(err, RC_LIMIT, "samples from %lld to %lld ms: more than 100,000 days", (long long)cfg->mint_ms, (long long)cfg->maxt_ms);
    s = xcalloc(1, sizeof *s);
    s->cfg = *cfg;
    s->level = level_of(cfg->mint_ms, cfg->maxt_ms);
    arena_init(&s->arena, BLOCK_SERIES_BYTES_MAX);
    rc = ranges_make(s, err);
    if (rc < 0) {
        sink_free(s);
        return rc;
    }
    *ret = s;
    return 0;
}

void sink_free(struct sink *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < SINK_RANGES_MAX; i++)
        block_writer_free(s->writers[i]);
    arena_fini(&s->arena);
    free(s->ranges);
    free(s);
}

size_t sink_ranges(const struct sink *s)
{
    return s->range_count;
}

bool sink_next(struct sink *s, size_t most)
{
    s->from = s->to;
    while (s->from < s->range_count && s->ranges[s->from].done)
        s->from++;
    s->to = MIN(s->from + MIN(most, (size_t)SINK_RANGES_MAX), s->range_count);
    return s->from < s->range_count;
}

static struct range *range_at(const struct sink *s, int64_t t_ms)
{
    int64_t span = level_ms[s->level - 1], start = floor_to(t_ms, span);
    size_t i = (size_t)((start - s->ranges[0].start_ms) / span);

    if (start < s->ranges[0].start_ms || i < s->from || i >= s->to || s->ranges[i].done)
        return NULL;
    return &s->ranges[i];
}

bool sink_takes(const struct sink *s, int64_t t_ms)
{
    return range_at(s, t_ms) != NULL;
}

static int writer_of(struct sink *s, const struct range *r, struct block_writer **ret, struct err *err)
{
    struct block_writer **w = &s->writers[(size_t)(r - s->ranges) - s->from];
    struct ulid source = r->mark;
    struct block_meta meta = {
        .level = s->level, .range_start_ms = r->start_ms, .range_end_ms = r->start_ms + level_ms[s->level - 1], .sources = &source, .source_count = 1,
    };
    int rc = 0;

    if (!*w) {
        ulid_new(&meta.id, clock_wall_ms(clock_system()));
        ASSERT(strlen(s->cfg.tenant) < sizeof meta.tenant);
        memcpy(meta.tenant, s->cfg.tenant, strlen(s->cfg.tenant) + 1);
        rc = block_writer_new(s->cfg.scratch, &meta, w, err);
    }
    *ret = *w;
    return rc;
}

/* Samples of one range. */
static int add_part(struct sink *s, const struct range *r, fingerprint fp, const struct labels *ls, const struct chunk_columns *c, struct err *err)
{
    struct stored_series series;
    struct block_writer *w;
    int rc;

    arena_reset(&s->arena);
    rc = stored_series_build(fp, ls, c, &s->arena, &series, err);
    if (rc == 0)
        rc = writer_of(s, r, &w, err);
    if (rc == 0)
        rc = block_writer_add(w, str_of(s->cfg.tenant), &series, err);
    s->totals.samples += c->n;
    return rc;
}

int sink_add(struct sink *s, const struct labels *ls, const struct chunk_columns *c, struct err *err)
{
    int64_t span = level_ms[s->level - 1];
    fingerprint fp = labels_fingerprint(str_of(s->cfg.tenant), ls);
    int rc = 0;

    for (size_t i = 0, end; rc == 0 && i < c->n; i = end) {
        const struct range *r = range_at(s, c->t[i]);
        int64_t stop = floor_to(c->t[i], span) + span;

        for (end = i; end < c->n && c->t[end] < stop; end++)
            ;
        if (r) {
            struct chunk_columns part = {end - i, c->t + i, c->v + i, c->st ? c->st + i : NULL, c->hist ? c->hist + i : NULL};

            rc = add_part(s, r, fp, ls, &part, err);
        }
    }
    return rc;
}

static int publish(struct sink *s, struct block_writer *w, struct err *err)
{
    struct block_meta meta = {0};
    uint64_t gen;
    int rc = block_writer_ship(w, s->cfg.bucket, &meta, err);

    if (rc < 0)
        return rc;
    rc = index_add_block(s->cfg.bucket, s->cfg.tenant, &meta, &gen, err);
    s->totals.blocks++;
    s->totals.bytes += meta.bytes;
    block_meta_fini(&meta);
    return rc;
}

int sink_finish(struct sink *s, struct err *err)
{
    int rc = 0;

    for (size_t i = s->from; rc == 0 && i < s->to; i++) {
        struct block_writer **w = &s->writers[i - s->from];

        if (*w)
            rc = publish(s, *w, err);
        block_writer_free(*w);
        *w = NULL;
    }
    return rc;
}

struct sink_totals sink_totals(const struct sink *s)
{
    return s->totals;
}
