/* window_pairs.c - resets, changes: floats and histograms in time order, each with the one before.
 */
#include "promql/window.h"

/* anchored: from the newest sample at or before the start on. false: none after the start. */
static bool anchor(const struct range_call *c, const struct window *w, size_t *f, size_t *h)
{
    const struct samples *s = w->s;
    size_t fa, ha;

    *f = w->f0;
    *h = w->h0;
    if (!c->anchored)
        return true;
    fa = seek_time(s->ft, w->f1, w->f0, w->start + 1);
    ha = seek_time(s->ht, w->h1, w->h0, w->start + 1);
    if (fa == w->f1 && ha == w->h1)
        return false;
    *f = fa;
    *h = ha;
    if (fa > w->f0 && (ha == w->h0 || s->ft[fa - 1] >= s->ht[ha - 1]))
        --*f;
    else if (ha > w->h0)
        --*h;
    return true;
}

static struct last take_first(const struct window *w, size_t *f, size_t *h)
{
    const struct samples *s = w->s;
    struct last out;

    if (*h == w->h1 || (*f < w->f1 && s->ft[*f] < s->ht[*h])) {
        out = (struct last){s->ft[*f], s->fst ? s->fst[*f] : 0, s->fv[*f], NULL};
        ++*f;
    } else {
        out = (struct last){s->ht[*h], s->hst ? s->hst[*h] : 0, 0, s->hh[*h]};
        ++*h;
    }
    return out;
}

static bool sample_resets(const struct last *a, const struct last *b)
{
    if (!a->h != !b->h)
        return true;
    if (start_resets(a->st, a->t, b->st, b->t))
        return true;
    return a->h ? fhist_detect_reset(b->h, a->h) : b->v < a->v;
}

static bool sample_changes(const struct last *a, const struct last *b)
{
    if (!a->h != !b->h)
        return true;
    if (a->h)
        return !fhist_eq_exact(b->h, a->h);
    return a->v != b->v && !(isnan(a->v) && isnan(b->v));
}

static int count_pairs(struct range_call *c, const struct window *w,
                       bool (*differs)(const struct last *, const struct last *), struct point *ret)
{
    struct last prev, cur;
    size_t f, h;
    double n = 0;

    if (!anchor(c, w, &f, &h))
        return 0;
    prev = take_first(w, &f, &h);
    for (; f < w->f1 || h < w->h1; prev = cur) {
        cur = take_first(w, &f, &h);
        n += differs(&prev, &cur);
    }
    *ret = (struct point){.kind = POINT_FLOAT, .v = n};
    return 0;
}

int window_resets(struct range_call *c, const struct window *w, struct point *ret)
{
    return count_pairs(c, w, sample_resets, ret);
}

int window_changes(struct range_call *c, const struct window *w, struct point *ret)
{
    return count_pairs(c, w, sample_changes, ret);
}
