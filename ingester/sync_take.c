/* sync_take.c - samples of another ingester's windows, on their way into the heads and logs of this one. */
#include "common/model/tenant.h"
#include "common/wire/pb_arena.h"
#include "common/wire/select.h"
#include "common/wire/torc.pb-c.h"
#include "ingester/ingester_impl.h"
#include "ingester/sync.h"
#include "tsdb/head_sync.h"

#include <stdlib.h>

enum { TAKE_ARENA_MAX = 256 << 20 };

/* Samples of one series, of one window, at most SYNC_JOB_SAMPLES. */
struct piece {
    struct str tenant;
    fingerprint fp;
    const struct labels *labels;
    struct chunk_columns columns;
};
typedef VEC(struct piece) piece_list;

/* --- checking what came --- */

static int window_check(fingerprint fp, const struct stored_window *w, const struct chunk_columns *c, struct err *err)
{
    CORRUPT_UNLESS(c->n > 0 && c->n == w->count && u128_eq(chunk_digest(c), w->digest), err);
    CORRUPT_UNLESS(c->t[0] >= TIMESTAMP_MIN_MS && c->t[c->n - 1] <= TIMESTAMP_MAX_MS, err);
    CORRUPT_UNLESS(window_start(fp, c->t[0], NULL) == w->start_ms && window_start(fp, c->t[c->n - 1], NULL) == w->start_ms, err);
    return 0;
}

static void add_pieces(piece_list *list, struct str tenant, fingerprint fp, const struct labels *ls, const struct chunk_columns *c)
{
    for (size_t at = 0; at < c->n; at += SYNC_JOB_SAMPLES) {
        struct piece *p = vec_push(list);

        *p = (struct piece){tenant, fp, ls, *c};
        p->columns.n = MIN(c->n - at, (size_t)SYNC_JOB_SAMPLES);
        p->columns.t += at;
        p->columns.v += at;
        p->columns.st = c->st ? c->st + at : NULL;
        p->columns.hist = c->hist ? c->hist + at : NULL;
    }
}

static int decode_series(struct str tenant, const struct wire_series *ws, struct arena *a, sync_window_fn *fn, void *arg, struct err *err)
{
    struct labels *ls = arena_alloc(a, sizeof *ls);

    if (!ls)
        return err_set(err, RC_NOMEM, "sync: memory budget is spent");
    *ls = ws->labels;
    for (size_t i = 0; i < ws->window_count; i++) {
        const struct wire_window *x = &ws->windows[i];
        struct stored_window w = {x->start_ms, x->mint_ms, x->maxt_ms, x->digest, x->count, x->chunk_count, x->chunks};
        struct stored_series one = {.fp = ws->fp, .window_count = 1, .windows = &w};
        struct chunk_columns c;
        int rc;

        CORRUPT_UNLESS(w.chunk_count > 0, err);
        rc = stored_series_columns(&one, INT64_MIN, INT64_MAX, a, &c, err);
        if (rc == 0)
            rc = window_check(ws->fp, &w, &c, err);
        if (rc == 0)
            rc = fn(arg, tenant, ws->fp, ls, &c);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int decode_group(const Torc__Wire__SyncGroup *g, struct arena *a, sync_window_fn *fn, void *arg, struct err *err)
{
    struct select_reader r;
    struct wire_series ws;
    int rc = tenant_id_check(pb_str(g->tenant), err);

    if (rc == 0)
        rc = select_page_open(pb_str(g->page), NULL, a, &r, err);
    while (rc == 0) {
        rc = select_page_next(&r, &ws, err);
        if (rc <= 0)
            break;
        rc = decode_series(pb_str(g->tenant), &ws, a, fn, arg, err);
    }
    return rc;
}

int sync_decode(const Torc__Wire__SyncResponse *m, struct arena *a, sync_window_fn *fn, void *arg, struct err *err)
{
    int rc = 0;

    for (size_t i = 0; i < m->n_groups && rc == 0; i++)
        rc = decode_group(m->groups[i], a, fn, arg, err);
    return rc;
}

/* --- on a shard's thread --- */

struct taking {
    struct ingester *in;
    const piece_list *list;
    size_t from, to; /* of the list */
    struct sync_result sum;
    int rc;
    struct err err;
};

static void log_series(struct shard *s, const struct piece *p)
{
    struct buf row;

    buf_init(&row, WAL_RECORD_BYTES_MAX / 2);
    wal_series_add(&row, p->fp, p->labels);
    shard_log_list(s, WAL_SERIES, p->tenant, 1, &row, INT64_MIN);
    buf_fini(&row);
}

/* NULL: it cannot be one of this head. */
static struct head_series *series_here(struct taking *tk, struct shard *s, const struct piece *p)
{
    struct head_series *hs = head_find(shard_head(s), p->tenant, p->fp);
    struct ingester_tenant *t;

    if (hs && head_labels_equal(shard_head(s), hs, p->labels))
        return hs;
    if (hs) {
        tk->sum.collisions++;
        return NULL;
    }
    if (!u128_eq(labels_fingerprint(p->tenant, p->labels), p->fp))
        tk->rc = err_set(&tk->err, RC_CORRUPT, "sync: labels that are not those of their fingerprint");
    else
        tk->rc = head_create(shard_head(s), p->tenant, p->fp, p->labels, &hs, &tk->err);
    if (tk->rc < 0)
        return NULL;
    if (ingester_tenant_get(tk->in, p->tenant, &t, NULL) == 0)
        atomic_fetch_add(&t->series, 1);
    tk->sum.series++;
    log_series(s, p);
    return hs;
}

static bool is_hist(const struct chunk_columns *c, size_t i)
{
    return c->hist && c->hist[i];
}

/* Floats that were added, as columns of a record. */
static void log_floats(struct shard *s, const struct piece *p, const uint8_t *accepted, uint32_t n, int64_t base, int64_t t_max)
{
    const struct chunk_columns *c = &p->columns;
    struct str parts[WAL_SAMPLES_PARTS];
    uint8_t front[WAL_SAMPLES_HEAD], *fps, *offsets, *values, *starts, *bits;
    struct buf *scratch = shard_scratch(s);
    size_t k = 0;

    buf_clear(scratch);
    fps = buf_space(scratch, (size_t)n * (16 + 4 + 8 + 8) + (n + 7) / 8);
    ASSERT(fps); /* SYNC_JOB_SAMPLES of them fit */
    offsets = fps + (size_t)n * 16;
    values = offsets + (size_t)n * 4;
    starts = values + (size_t)n * 8;
    bits = starts + (size_t)n * 8;
    for (size_t i = 0; i < c->n; i++) {
        if (!(accepted[i / 8] >> (i % 8) & 1) || is_hist(c, i))
            continue;
        le_put64(fps + k * 16, p->fp.hi);
        le_put64(fps + k * 16 + 8, p->fp.lo);
        le_put32(offsets + k * 4, (uint32_t)(c->t[i] - base));
        le_put64(values + k * 8, double_bits(c->v[i]));
        le_put64(starts + k * 8, (uint64_t)(c->st ? c->st[i] : 0));
        bits[k / 8] |= (uint8_t)(1U << (k % 8));
        k++;
    }
    shard_log(s, WAL_SAMPLES, parts,
              wal_samples_parts(&(struct wal_samples){p->tenant, n, fps, offsets, values, c->st ? starts : NULL, bits, base}, front, parts), t_max);
}

static void log_added(struct shard *s, const struct piece *p, const uint8_t *accepted)
{
    const struct chunk_columns *c = &p->columns;
    int64_t base = 0, floats_max = INT64_MIN, hists_max = INT64_MIN;
    uint32_t floats = 0, hists = 0;
    struct buf rows;

    buf_init(&rows, WAL_RECORD_BYTES_MAX / 2);
    for (size_t i = 0; i < c->n; i++) {
        if (!(accepted[i / 8] >> (i % 8) & 1))
            continue;
        if (is_hist(c, i)) {
            wal_histogram_add(&rows, p->fp, c->t[i], c->st ? c->st[i] : 0, c->hist[i]);
            hists++;
            hists_max = c->t[i];
            if (rows.n > WAL_RECORD_BYTES_MAX / 4) {
                shard_log_list(s, WAL_HISTOGRAMS, p->tenant, hists, &rows, hists_max);
                buf_clear(&rows);
                hists = 0;
            }
            continue;
        }
        if (floats++ == 0)
            base = c->t[i];
        floats_max = c->t[i];
    }
    if (floats)
        log_floats(s, p, accepted, floats, base, floats_max);
    if (hists)
        shard_log_list(s, WAL_HISTOGRAMS, p->tenant, hists, &rows, hists_max);
    buf_fini(&rows);
}

/* Under the head's lock. */
static void take_piece(struct taking *tk, struct shard *s, const struct piece *p, struct arena *a)
{
    struct head_series *hs = series_here(tk, s, p);
    uint8_t accepted[SYNC_JOB_SAMPLES / 8] = {0};
    struct head_absorbed got;

    if (!hs)
        return;
    tk->rc = head_absorb(shard_head(s), hs, &p->columns, a, accepted, &got, &tk->err);
    tk->sum.samples += got.accepted;
    tk->sum.conflicts += got.conflicts;
    if (got.accepted)
        log_added(s, p, accepted);
}

static void take_run(void *arg, struct shard *s)
{
    struct taking *tk = arg;
    struct arena a;

    arena_init(&a, TAKE_ARENA_MAX);
    head_lock(shard_head(s));
    for (size_t i = tk->from; i < tk->to && tk->rc == 0; i++) {
        take_piece(tk, s, &tk->list->v[i], &a);
        arena_reset(&a);
    }
    head_unlock(shard_head(s));
    arena_fini(&a);
}

static int take_list(struct ingester *in, uint32_t shard, const piece_list *list, struct sync_result *sum, struct err *err)
{
    struct taking tk = {.in = in, .list = list};
    int rc = 0;

    for (size_t at = 0; at < list->n && rc == 0; at = tk.to) {
        size_t samples = 0;

        tk.from = tk.to = at;
        while (tk.to < list->n && (samples == 0 || samples + list->v[tk.to].columns.n <= SYNC_JOB_SAMPLES))
            samples += list->v[tk.to++].columns.n;
        rc = shard_run_sync(in->shards[shard], take_run, &tk, err);
        if (rc == 0 && tk.rc < 0) {
            rc = tk.rc;
            *err = tk.err;
        }
    }
    sum->samples += tk.sum.samples;
    sum->series += tk.sum.series;
    sum->conflicts += tk.sum.conflicts;
    sum->collisions += tk.sum.collisions;
    return rc;
}

struct sorting {
    struct ingester *in;
    piece_list lists[SHARDS_MAX];
};

static int sort_window(void *arg, struct str tenant, fingerprint fp, const struct labels *ls, const struct chunk_columns *c)
{
    struct sorting *so = arg;

    add_pieces(&so->lists[ingester_shard_of(so->in, fp)], tenant, fp, ls, c);
    return 0;
}

int sync_take(struct ingester *in, const Torc__Wire__SyncResponse *m, struct sync_result *sum, struct err *err)
{
    struct sorting so = {.in = in};
    struct arena a;
    int rc;

    arena_init(&a, TAKE_ARENA_MAX);
    rc = sync_decode(m, &a, sort_window, &so, err);
    for (uint32_t i = 0; i < in->shard_count; i++) {
        if (rc == 0)
            rc = take_list(in, i, &so.lists[i], sum, err);
        vec_fini(&so.lists[i]);
    }
    arena_fini(&a);
    return rc;
}

/* --- metadata --- */

struct metadata_taking {
    struct str tenant, rows;
    size_t n;
};

static void log_metadata(void *arg, struct shard *s)
{
    struct metadata_taking *mt = arg;
    struct buf rows;

    buf_init(&rows, mt->rows.n);
    buf_str(&rows, mt->rows);
    shard_log_list(s, WAL_METADATA, mt->tenant, mt->n, &rows, INT64_MIN);
    buf_fini(&rows);
}

static int take_metadata(struct ingester *in, struct metadata_taking *mt, struct err *err)
{
    struct ingester_limits limits;
    struct ingester_tenant *t;
    struct push_metadata row;
    struct rd r = rd_of(mt->rows);
    int rc = 0;

    while (!rd_done(&r) && (rc = push_metadata_next(&r, &row, err)) > 0)
        mt->n++;
    if (rc < 0)
        return rc;
    CORRUPT_UNLESS(rd_done(&r) && mt->n <= WAL_ROWS_MAX, err);
    rc = ingester_tenant_get(in, mt->tenant, &t, err);
    if (rc < 0 || mt->n == 0)
        return rc;
    ingester_limits_of(in, mt->tenant, &limits);
    ingester_metadata_add(in, t, mt->rows, &limits);
    return shard_run_sync(in->shards[0], log_metadata, mt, err);
}

int sync_take_metadata(struct ingester *in, const Torc__Wire__SyncResponse *m, struct err *err)
{
    int rc = 0;

    for (size_t i = 0; i < m->n_groups && rc == 0; i++) {
        struct metadata_taking mt = {.tenant = pb_str(m->groups[i]->tenant), .rows = pb_str(m->groups[i]->page)};

        rc = take_metadata(in, &mt, err);
    }
    return rc;
}
