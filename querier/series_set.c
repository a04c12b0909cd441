#include "querier/series_set.h"

static int no_memory(struct err *err)
{
    return err_set(err, RC_NOMEM, "select: memory budget is spent");
}

void series_set_init(struct series_set *s, struct arena *a)
{
    *s = (struct series_set){.arena = a};
}

static uint32_t *slot_of(const struct series_set *s, fingerprint fp)
{
    size_t i = (size_t)fingerprint_hash(fp) & (s->slot_cap - 1);

    while (s->slots[i] && !u128_eq(s->v[s->slots[i] - 1].fp, fp))
        i = (i + 1) & (s->slot_cap - 1);
    return &s->slots[i];
}

struct series_entry *series_set_find(const struct series_set *s, fingerprint fp)
{
    uint32_t at = s->slot_cap ? *slot_of(s, fp) : 0;

    return at ? &s->v[at - 1] : NULL;
}

static bool grow(struct series_set *s)
{
    size_t cap = s->cap ? s->cap * 2 : 64;
    struct series_entry *v = arena_array(s->arena, cap, sizeof *v);
    uint32_t *slots = arena_array(s->arena, cap * 2, sizeof *slots);

    if (!v || !slots)
        return false;
    if (s->n)
        memcpy(v, s->v, s->n * sizeof *v);
    memset(slots, 0, cap * 2 * sizeof *slots);
    s->v = v;
    s->cap = cap;
    s->slots = slots;
    s->slot_cap = cap * 2;
    for (size_t i = 0; i < s->n; i++)
        *slot_of(s, v[i].fp) = (uint32_t)i + 1;
    return true;
}

int series_set_entry(struct series_set *s, fingerprint fp, const struct labels *ls,
                     struct series_entry **ret, struct err *err)
{
    struct series_entry *e = series_set_find(s, fp);

    if (e) {
        CORRUPT_UNLESS(labels_eq(&e->labels, ls), err);
        *ret = e;
        return 0;
    }
    if (s->n == s->cap && (s->n >= SERIES_SET_MAX || !grow(s)))
        return no_memory(err);
    e = &s->v[s->n];
    *e = (struct series_entry){.fp = fp, .labels = *ls};
    *slot_of(s, fp) = (uint32_t)++s->n;
    *ret = e;
    return 0;
}

int series_set_add(struct series_set *s, fingerprint fp, const struct labels *ls,
                   struct series_input *in, struct err *err)
{
    struct series_entry *e;
    int rc = series_set_entry(s, fp, ls, &e, err);

    if (rc < 0)
        return rc;
    in->next = e->inputs;
    e->inputs = in;
    e->input_count++;
    return 0;
}

void series_set_drop(struct series_set *s)
{
    size_t n = 0;

    for (size_t i = 0; i < s->n; i++)
        if (!s->v[i].dropped)
            s->v[n++] = s->v[i];
    s->n = n;
    if (s->slot_cap)
        memset(s->slots, 0, s->slot_cap * sizeof *s->slots);
    for (size_t i = 0; i < s->n; i++)
        *slot_of(s, s->v[i].fp) = (uint32_t)i + 1;
}

struct stored_window *series_input_window(const struct series_input *in, int64_t start_ms)
{
    size_t lo = 0, hi = in->window_count;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;

        if (in->windows[mid].start_ms < start_ms)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < in->window_count && in->windows[lo].start_ms == start_ms ? &in->windows[lo] : NULL;
}

bool series_entry_has_bytes(const struct series_entry *e, const struct stored_window *w)
{
    for (const struct series_input *in = e->inputs; in; in = in->next) {
        const struct stored_window *mine = series_input_window(in, w->start_ms);

        if (mine && mine->chunk_count > 0 && stored_windows_alike(mine, w))
            return true;
    }
    return false;
}

static int merge_inputs(const struct series_entry *e, struct arena *a, struct stored_series *ret,
                        struct err *err)
{
    struct stored_series *in = arena_array(a, e->input_count, sizeof *in);
    const struct stored_series **list = arena_array(a, e->input_count, sizeof *list);
    uint32_t *votes = arena_array(a, e->input_count, sizeof *votes);
    size_t n = 0;

    if (!in || !list || !votes)
        return no_memory(err);
    for (const struct series_input *i = e->inputs; i; i = i->next, n++) {
        in[n] = (struct stored_series){.fp = e->fp,
                                       .labels = e->labels,
                                       .window_count = i->window_count,
                                       .windows = i->windows};
        list[n] = &in[n];
        votes[n] = i->votes;
    }
    return stored_series_merge(list, votes, n, a, ret, err);
}

int series_entry_merge(const struct series_entry *e, struct arena *a, struct stored_series *ret,
                       struct err *err)
{
    struct stored_series out = {.fp = e->fp, .labels = e->labels};
    int rc = 0;

    if (e->input_count > 1) {
        rc = merge_inputs(e, a, &out, err);
    } else if (e->inputs) {
        out.window_count = e->inputs->window_count;
        out.windows = e->inputs->windows;
    }
    if (rc == 0 && e->hidden.n)
        rc = stored_series_cut(&out, &e->hidden, a, &out, err);
    if (rc == 0)
        *ret = out;
    return rc;
}
