/* reconcile.c - after all digests are here: bytes for those that stand alone, and further votes
 * where values differ. */
#include "common/wire/pb_arena.h"
#include "common/wire/push.h"
#include "common/wire/select.h"
#include "querier/fanout_impl.h"

#include <stdlib.h>

enum {
    WANT_BYTES = 24,
    FETCH_ITEMS_MAX = 100000,
    FETCH_SAMPLES_FIRST =
        8192, /* of the first batch; later ones follow the bytes that a sample took */
    FETCH_SAMPLES_MAX = 4 << 20,
    FETCH_BYTES = 4 << 20, /* wanted in one answer */
};

struct want {
    fingerprint fp;
    int64_t start;
    uint32_t samples;
};
/* Of one peer: in the order of the set, so those of a series stand together. */
struct want_list {
    struct want *v;
    size_t n, cap;
    size_t at, batch; /* [at, at + batch) is being asked for */
    uint64_t batch_samples, ask_samples;
};
/* A window with more than one digest. */
struct contested {
    uint32_t entry;
    int64_t start;
};

struct reconciling {
    struct selecting *sel;
    struct arena lists; /* wants and contested ones: gone before the query goes on */
    struct arena scratch;
    struct want_list *wants; /* per instance */
    struct contested *contested;
    size_t contested_n, contested_cap;
    bool more_votes; /* answers are new inputs; else they fill inputs that are there */
};

static int no_memory(struct err *err)
{
    return err_set(err, RC_NOMEM, "select: memory budget is spent");
}

/* Doubles a list of the lists arena. */
static void *grown(struct reconciling *rc, void *v, size_t n, size_t *cap, size_t size)
{
    size_t want = *cap ? *cap * 2 : 64;
    void *out = n < *cap ? v : arena_array(&rc->lists, want, size);

    if (!out || out == v)
        return out;
    if (n)
        memcpy(out, v, n * size);
    *cap = want;
    return out;
}

static int want(struct reconciling *rc, uint16_t peer, fingerprint fp,
                const struct stored_window *w, struct err *err)
{
    struct want_list *l = &rc->wants[peer];
    struct want *v = grown(rc, l->v, l->n, &l->cap, sizeof *v);

    if (!v)
        return no_memory(err);
    l->v = v;
    l->v[l->n++] = (struct want){fp, w->start_ms, w->count};
    return 0;
}

static int contest(struct reconciling *rc, size_t entry, int64_t start, struct err *err)
{
    struct contested *v = grown(rc, rc->contested, rc->contested_n, &rc->contested_cap, sizeof *v);

    if (!v)
        return no_memory(err);
    rc->contested = v;
    v[rc->contested_n++] = (struct contested){(uint32_t)entry, start};
    return 0;
}

/* --- which windows --- */

struct holder {
    struct series_input *in;
    struct stored_window *w;
};

/* Who has the window; out has room for all inputs. */
static size_t holders_of(const struct series_entry *e, int64_t start, struct holder *out)
{
    size_t n = 0;

    for (struct series_input *in = e->inputs; in; in = in->next) {
        struct stored_window *w = series_input_window(in, start);

        if (w)
            out[n++] = (struct holder){in, w};
    }
    return n;
}

/* Wants bytes for each digest that has none; returns how many digests there are, or an rc. */
static int judge_window(struct reconciling *rc, const struct series_entry *e,
                        const struct holder *m, size_t n, struct err *err)
{
    int digests = 0;

    for (size_t i = 0; i < n; i++) {
        bool seen = false, bytes = false;
        int ret = 0;

        for (size_t k = 0; k < n; k++) {
            if (k != i && !stored_windows_alike(m[i].w, m[k].w))
                continue;
            seen |= k < i;
            bytes |= m[k].w->chunk_count > 0;
        }
        if (seen)
            continue;
        digests++;
        if (!bytes)
            ret = want(rc, m[i].in->from, e->fp, m[i].w, err);
        if (ret < 0)
            return ret;
    }
    return digests;
}

/* The common cases: what one replica gave stands for all, or both hold the same and one gave bytes.
 */
static bool all_agree(const struct series_entry *e)
{
    const struct series_input *a = e->inputs, *b;

    if (e->input_count == 1) {
        for (size_t i = 0; i < a->window_count; i++)
            if (a->windows[i].chunk_count == 0)
                return false;
        return true;
    }
    if (e->input_count != 2)
        return false;
    b = a->next;
    if (a->window_count != b->window_count)
        return false;
    for (size_t i = 0; i < a->window_count; i++) {
        const struct stored_window *x = &a->windows[i], *y = &b->windows[i];

        if (!stored_windows_alike(x, y) || x->chunk_count + y->chunk_count == 0)
            return false;
    }
    return true;
}

static int judge_entry(struct reconciling *rc, size_t entry, struct err *err)
{
    const struct series_entry *e = &rc->sel->set->v[entry];
    struct holder *m;
    int64_t last = INT64_MIN;

    if (all_agree(e))
        return 0;
    m = arena_array(&rc->scratch, e->input_count, sizeof *m);
    if (!m)
        return no_memory(err);
    for (;;) {
        int64_t start = INT64_MAX;
        bool any = false;
        int ret;

        /* The smallest start above the last one. */
        for (const struct series_input *in = e->inputs; in; in = in->next) {
            size_t lo = 0, hi = in->window_count;

            while (lo < hi) {
                size_t mid = lo + (hi - lo) / 2;

                if (in->windows[mid].start_ms <= last)
                    lo = mid + 1;
                else
                    hi = mid;
            }
            if (lo < in->window_count && in->windows[lo].start_ms < start) {
                start = in->windows[lo].start_ms;
                any = true;
            }
        }
        if (!any)
            return 0;
        last = start;
        ret = judge_window(rc, e, m, holders_of(e, start, m), err);
        if (ret > 1)
            ret = contest(rc, entry, start, err);
        if (ret < 0)
            return ret;
    }
}

/* --- fetching --- */

static int fetch_request(void *arg, struct fan_peer *p, struct buf *out, struct err *err)
{
    struct reconciling *rc = arg;
    struct want_list *l = &rc->wants[p->instance];
    Torc__Wire__SelectRequest m;
    struct buf list;
    int ret;

    buf_init(&list, (size_t)FETCH_ITEMS_MAX * WANT_BYTES);
    l->batch = 0;
    l->batch_samples = 0;
    while (l->at + l->batch < l->n && l->batch < FETCH_ITEMS_MAX &&
           (l->batch == 0 || l->batch_samples < l->ask_samples)) {
        const struct want *w = &l->v[l->at + l->batch++];

        l->batch_samples += w->samples;
        buf_u64(&list, w->fp.hi);
        buf_u64(&list, w->fp.lo);
        buf_u64(&list, (uint64_t)w->start);
    }
    ASSERT(l->batch > 0 && buf_ok(&list));
    select_request_common(rc->sel, &m);
    m.mode = STORE_DATA;
    m.want = pb_bytes(buf_view(&list));
    ret = select_request_pack(&m, out, err);
    buf_fini(&list);
    return ret;
}

static struct series_input *input_from(const struct series_entry *e, uint16_t from)
{
    for (struct series_input *in = e->inputs; in; in = in->next)
        if (in->from == from)
            return in;
    return NULL;
}

static int take_series(struct reconciling *rc, struct page_series *ps, struct err *err)
{
    struct series_entry *e = series_set_find(rc->sel->set, ps->fp);
    struct series_input *in;

    CORRUPT_UNLESS(e, err);
    in = input_from(e, ps->input.from);
    if (rc->more_votes && !in)
        return series_set_add(rc->sel->set, ps->fp, &ps->labels, &ps->input, err);
    CORRUPT_UNLESS(in, err);
    for (size_t i = 0; i < ps->input.window_count; i++) {
        struct stored_window *w = series_input_window(in, ps->input.windows[i].start_ms);

        CORRUPT_UNLESS(w && ps->input.windows[i].chunk_count > 0, err);
        *w = ps->input.windows[i];
    }
    return 0;
}

static int fetch_answer(void *arg, struct fan_peer *p, struct buf *payload, struct err *err)
{
    struct reconciling *rc = arg;
    struct want_list *l = &rc->wants[p->instance];
    struct select_response m;
    struct select_reader r;
    struct page_series *ps;
    int ret = select_response(rc->sel, p, payload, true, &m, err);

    if (ret == 0)
        ret = select_page_open(m.page, rc->sel->s->q->keep, rc->sel->set->arena, &r, err);
    while (ret == 0) {
        ret = page_next(rc->sel, &r, p, &ps, err);
        if (ret <= 0)
            break;
        ret = take_series(rc, ps, err);
    }
    if (ret < 0)
        return ret;
    l->at += l->batch;
    rc->sel->s->used->windows_fetched += l->batch;
    l->ask_samples =
        MIN(FETCH_SAMPLES_MAX, MIN(l->ask_samples * 4, MAX(l->batch_samples, 1) * FETCH_BYTES /
                                                           MAX(m.page.n, (size_t)1)));
    return l->at < l->n;
}

static int fetch_all(struct reconciling *rc, bool more_votes, struct err *err)
{
    static const struct fan_ops ops = {RPC_SELECT, fetch_request, fetch_answer};
    struct fan *f = &rc->sel->fan;
    uint16_t *peers = arena_array(&rc->lists, f->n, sizeof *peers);
    size_t n = 0;

    if (!peers)
        return no_memory(err);
    for (size_t i = 0; i < f->n; i++) {
        rc->wants[i].ask_samples = FETCH_SAMPLES_FIRST;
        if (rc->wants[i].n)
            peers[n++] = (uint16_t)i;
    }
    rc->more_votes = more_votes;
    return n ? fan_ask(f, &ops, rc, peers, n, more_votes, err) : 0;
}

/* --- conflicts --- */

static bool same_sample(const struct chunk_columns *a, size_t i, const struct chunk_columns *b,
                        size_t k)
{
    bool ha = a->hist && a->hist[i], hb = b->hist && b->hist[k];

    return ha == hb && chunk_value_word(a, i) == chunk_value_word(b, k) &&
           (a->st ? a->st[i] : 0) == (b->st ? b->st[k] : 0);
}

static uint64_t count_conflicts(const struct chunk_columns *a, const struct chunk_columns *b)
{
    uint64_t n = 0;

    for (size_t i = 0, k = 0; i < a->n && k < b->n;) {
        if (a->t[i] == b->t[k])
            n += !same_sample(a, i++, b, k++);
        else if (a->t[i] < b->t[k])
            i++;
        else
            k++;
    }
    return n;
}

static int window_decode(const struct series_entry *e, const struct stored_window *w,
                         struct arena *a, struct chunk_columns *ret, struct err *err)
{
    struct stored_series one = {.fp = e->fp, .labels = e->labels, .window_count = 1, .windows = w};

    return stored_series_columns(&one, INT64_MIN, INT64_MAX, a, ret, err);
}

/* How many timestamps of the window have two values. */
static int window_conflicts(struct reconciling *rc, const struct series_entry *e,
                            const struct holder *m, size_t n, uint64_t *ret_n, struct err *err)
{
    struct chunk_columns *c = arena_array(&rc->scratch, n, sizeof *c);
    size_t have = 0;
    uint64_t conflicts = 0;

    if (!c)
        return no_memory(err);
    for (size_t i = 0; i < n; i++) {
        int ret;

        if (m[i].w->chunk_count == 0)
            continue;
        ret = window_decode(e, m[i].w, &rc->scratch, &c[have], err);
        if (ret < 0)
            return ret;
        for (size_t k = 0; k < have; k++)
            conflicts += count_conflicts(&c[k], &c[have]);
        have++;
    }
    *ret_n = conflicts;
    return 0;
}

/* Owners of the series that have not been heard about it. */
static int ask_others(struct reconciling *rc, const struct series_entry *e,
                      const struct stored_window *w, struct err *err)
{
    const struct fan *f = &rc->sel->fan;
    const struct ring_replicas *set = ring_replicas(f->ring, fingerprint_token(e->fp));
    int ret = 0;

    for (size_t i = 0; set && i < set->owners_n && ret == 0; i++) {
        const struct fan_peer *p = &f->peers[set->owners[i]];

        if (p->owner && p->state != FAN_DONE && p->state != FAN_FAILED &&
            !input_from(e, p->instance))
            ret = want(rc, p->instance, e->fp, w, err);
    }
    return ret;
}

static int settle(struct reconciling *rc, const struct contested *c, struct err *err)
{
    const struct series_entry *e = &rc->sel->set->v[c->entry];
    struct holder *m = arena_array(&rc->scratch, e->input_count, sizeof *m);
    uint64_t conflicts = 0;
    size_t n;
    int ret;

    if (!m)
        return no_memory(err);
    n = holders_of(e, c->start, m);
    ret = window_conflicts(rc, e, m, n, &conflicts, err);
    rc->sel->s->used->conflicts += conflicts;
    return ret == 0 && conflicts ? ask_others(rc, e, m[0].w, err) : ret;
}

/* What was asked for must be here by now; a head that has lost it since is no replica. */
static int check_bytes(struct reconciling *rc, struct err *err)
{
    for (size_t i = 0; i < rc->sel->fan.n; i++) {
        const struct want_list *l = &rc->wants[i];

        for (size_t k = 0; k < l->n; k++) {
            const struct series_entry *e = series_set_find(rc->sel->set, l->v[k].fp);
            const struct series_input *in = e ? input_from(e, (uint16_t)i) : NULL;
            const struct stored_window *w = in ? series_input_window(in, l->v[k].start) : NULL;

            if (!w || w->chunk_count == 0)
                return err_set(err, RC_MOVED, "%s has lost samples between two steps of a select",
                               rc->sel->fan.peers[i].in->id);
        }
        rc->wants[i] = (struct want_list){0};
    }
    return 0;
}

static int run(struct reconciling *rc, struct err *err)
{
    int ret = 0;

    for (size_t i = 0; i < rc->sel->set->n && ret == 0; i++) {
        ret = judge_entry(rc, i, err);
        arena_reset(&rc->scratch);
    }
    if (ret == 0)
        ret = fetch_all(rc, false, err);
    if (ret == 0)
        ret = check_bytes(rc, err);
    for (size_t i = 0; i < rc->contested_n && ret == 0; i++) {
        ret = settle(rc, &rc->contested[i], err);
        arena_reset(&rc->scratch);
    }
    return ret == 0 ? fetch_all(rc, true, err) : ret;
}

int reconcile(struct selecting *sel, struct err *err)
{
    struct reconciling rc = {.sel = sel};
    int ret;

    arena_init_in(&rc.lists, sel->set->arena);
    arena_init_in(&rc.scratch, sel->set->arena);
    rc.wants = arena_zalloc(&rc.lists, sel->fan.n * sizeof *rc.wants);
    ret = rc.wants ? run(&rc, err) : no_memory(err);
    arena_fini(&rc.lists);
    arena_fini(&rc.scratch);
    return ret;
}
