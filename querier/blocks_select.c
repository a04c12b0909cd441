/* blocks_select.c - series and labels of the blocks of a view.
 * Before they are compacted, three level-0 blocks hold the same samples: of all but the first,
 * digests are read, and bytes only where a digest is new. */
#include "querier/blocks.h"

#include <stdlib.h>

enum { POLL_SERIES = 256 }; /* between two looks at the cancel flag and the clock */

struct adding {
    const struct blocks_select *s;
    struct series_set *set;
    uint32_t votes;
    size_t lacking; /* windows of the digest pass whose bytes nobody has given */
    size_t seen;    /* series */
    struct err *err;
};

static int no_memory(struct err *err)
{
    return err_set(err, RC_NOMEM, "select: memory budget is spent");
}

static int interrupted(const struct fan_cfg *f, struct err *err)
{
    if (f->cancel && atomic_load_explicit(f->cancel, memory_order_relaxed))
        return err_set(err, RC_CANCELED, "query was canceled in expression evaluation");
    if (clock_mono_ns(f->clock) >= f->deadline_mono_ns)
        return err_set(err, RC_TIMEOUT, "query timed out in expression evaluation");
    return 0;
}

static int poll(struct adding *ad)
{
    return ++ad->seen % POLL_SERIES == 0 ? interrupted(ad->s->fan, ad->err) : 0;
}

static int copy_chunks(struct adding *ad, const struct stored_window *from,
                       struct stored_window *to)
{
    struct arena *a = ad->set->arena;
    struct str *list = arena_array(a, from->chunk_count, sizeof *list);
    uint64_t bytes = 0;

    if (!list)
        return no_memory(ad->err);
    for (uint32_t k = 0; k < from->chunk_count; k++) {
        list[k] = arena_str(a, from->chunks[k]);
        if (!list[k].p)
            return no_memory(ad->err);
        bytes += from->chunks[k].n;
    }
    to->chunks = list;
    to->chunk_count = from->chunk_count;
    return fetch_count(ad->s->used, ad->s->limits, from->chunk_count, bytes, ad->err);
}

/* Windows without bytes that the entry has are only votes. */
static int add_windows(struct adding *ad, const struct series_entry *e,
                       const struct stored_series *s, struct series_input *in)
{
    int rc = 0;

    in->windows = arena_array(ad->set->arena, s->window_count, sizeof *in->windows);
    in->window_count = s->window_count;
    if (!in->windows)
        return no_memory(ad->err);
    for (size_t i = 0; i < s->window_count && rc == 0; i++) {
        const struct stored_window *w = &s->windows[i];
        bool have = e && series_entry_has_bytes(e, w);

        in->windows[i] = *w;
        in->windows[i].chunks = NULL;
        in->windows[i].chunk_count = 0;
        if (have)
            continue;
        if (w->chunk_count)
            rc = copy_chunks(ad, w, &in->windows[i]);
        else
            ad->lacking++;
    }
    return rc;
}

/* Labels, digests or data, as the block gives them. */
static int add_series(void *arg, const struct stored_series *s)
{
    struct adding *ad = arg;
    struct series_entry *e = series_set_find(ad->set, s->fp);
    const struct label_names *keep = ad->s->q->keep;
    struct labels ls = keep ? labels_only(ad->set->arena, &s->labels, keep) : s->labels;
    struct series_input *in;
    bool fresh = !e;
    int rc = poll(ad);

    if (rc < 0)
        return rc;
    if (ls.v && !e)
        ls = labels_dup(ad->set->arena, &ls);
    if (!ls.v)
        return no_memory(ad->err);
    if (ad->s->q->mode == STORE_LABELS) {
        rc = series_set_entry(ad->set, s->fp, &ls, &e, ad->err);
    } else {
        in = arena_zalloc(ad->set->arena, sizeof *in);
        if (!in)
            return no_memory(ad->err);
        in->votes = ad->votes;
        in->from = SERIES_FROM_BLOCK;
        rc = add_windows(ad, e, s, in);
        if (rc == 0)
            rc = series_set_add(ad->set, s->fp, &ls, in, ad->err);
    }
    return rc == 0 && fresh ? fetch_count_series(ad->s->used, ad->s->limits, 1, ad->err) : rc;
}

/* The second pass over a block, with data: the bytes that are still lacking. Its input of the
 * series is the one added last. */
static int fill_series(void *arg, const struct stored_series *s)
{
    struct adding *ad = arg;
    struct series_entry *e = series_set_find(ad->set, s->fp);
    int rc = poll(ad);

    ASSERT(e && e->inputs->from == SERIES_FROM_BLOCK);
    for (size_t i = 0; i < s->window_count && rc == 0; i++) {
        struct stored_window *mine = series_input_window(e->inputs, s->windows[i].start_ms);

        CORRUPT_UNLESS(mine && stored_windows_alike(mine, &s->windows[i]), ad->err); /* level 0 has digests */
        if (mine->chunk_count == 0 && !series_entry_has_bytes(e, mine))
            rc = copy_chunks(ad, &s->windows[i], mine);
    }
    return rc;
}

static bool overlaps(const struct view_block *v, int64_t mint_ms, int64_t maxt_ms)
{
    return v->mint_ms <= maxt_ms && v->maxt_ms >= mint_ms;
}

/* Blocks of other times, and those of other shards, are not opened. */
static bool wanted(const struct view_block *v, const struct store_select *q)
{
    return overlaps(v, q->mint_ms, q->maxt_ms) && block_shard_may_have(v->shard, q->shard, q->shard_count);
}

/* Whether a level-0 block of the same time was read before block i. */
static bool is_replica(const struct blocks_select *s, size_t i)
{
    const struct view_block *v = s->view->v, *me = &v[i];

    for (size_t k = 0; k < i && me->level == 0; k++)
        if (v[k].level == 0 && overlaps(&v[k], s->q->mint_ms, s->q->maxt_ms) &&
            overlaps(&v[k], me->mint_ms, me->maxt_ms))
            return true;
    return false;
}

static int select_block(const struct blocks_select *s, size_t i, struct block_reader *r,
                        struct series_set *set, struct arena *scratch, struct err *err)
{
    struct adding ad = {
        .s = s, .set = set, .votes = s->view->v[i].level ? s->merged_votes : 1, .err = err};
    struct store_select digests = *s->q;
    int rc;

    if (s->q->mode != STORE_DATA || !is_replica(s, i))
        return block_select(r, s->q, add_series, &ad, scratch, err);
    digests.mode = STORE_DIGESTS;
    rc = block_select(r, &digests, add_series, &ad, scratch, err);
    arena_reset(scratch);
    return rc == 0 && ad.lacking ? block_select(r, s->q, fill_series, &ad, scratch, err) : rc;
}

int blocks_select(struct blocks *b, const struct blocks_select *s, struct series_set *set,
                  struct err *err)
{
    struct arena scratch;
    int rc = 0;

    arena_init_in(&scratch, set->arena);
    for (size_t i = 0; i < s->view->n && rc == 0; i++) {
        const struct view_block *v = &s->view->v[i];
        struct trace_node *step;
        struct block_reader *r;
        uint64_t bytes;

        if (!wanted(v, s->q))
            continue;
        rc = interrupted(s->fan, err);
        if (rc == 0)
            rc = blocks_reader(b, &v->id, &r, err);
        if (rc < 0)
            break;
        step = trace_begin(s->fan->trace, "block %s, level %u, %llu series", v->id.text, v->level, (unsigned long long)v->series);
        bytes = s->used->bytes;
        rc = select_block(s, i, r, set, &scratch, err);
        trace_end(step, ": %llu bytes of chunks", (unsigned long long)(s->used->bytes - bytes));
        block_unref(r);
        arena_reset(&scratch);
    }
    arena_fini(&scratch);
    return rc;
}

int blocks_label_values(struct blocks *b, const struct blocks_select *s, struct str name,
                        int (*fn)(void *arg, struct str value), void *arg, struct err *err)
{
    int rc = 0;

    for (size_t i = 0; i < s->view->n && rc == 0; i++) {
        struct block_reader *r;

        if (!wanted(&s->view->v[i], s->q))
            continue;
        rc = interrupted(s->fan, err);
        if (rc == 0)
            rc = blocks_reader(b, &s->view->v[i].id, &r, err);
        if (rc < 0)
            break;
        rc = block_label_values(r, s->q, name, fn, arg, err);
        block_unref(r);
    }
    return rc;
}
