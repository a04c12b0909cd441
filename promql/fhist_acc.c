#include "promql/fhist_work.h"

#include <math.h>

/* Spans, counts and bounds of one histogram. */
enum { SCRATCH_BYTES_MAX = 4 << 20 };

static void plus(double x, double *sum, double *comp, bool kahan)
{
    if (kahan)
        kahan_add(x, sum, comp);
    else
        *sum += x;
}

/* --- cells --- */
/* Makes room for need cells; what stood there is lost. */
static bool cells_reserve(struct arena *a, struct fhist_cells *c, uint32_t need)
{
    enum { CELLS_MIN = 16 };
    uint32_t cap;

    if (c->cap >= need && c->index)
        return true;
    if (need > HIST_BUCKETS_MAX)
        return false;
    cap = MAX(MAX(need, 2 * c->cap), (uint32_t)CELLS_MIN);
    *c = (struct fhist_cells){.index = arena_array(a, cap, sizeof *c->index),
                              .value = arena_array(a, cap, sizeof *c->value),
                              .comp = arena_array(a, cap, sizeof *c->comp),
                              .cap = cap};
    return c->index && c->value && c->comp;
}

static void cells_push(struct fhist_cells *c, int32_t index, double value, double comp)
{
    ASSERT(c->n < c->cap);
    c->index[c->n] = index;
    c->value[c->n] = value;
    c->comp[c->n++] = comp;
}

static bool cells_load(struct arena *a, struct fhist_cells *c, const struct hist_side *side)
{
    struct hist_walk w;

    if (!cells_reserve(a, c, side->bucket_count))
        return false;
    hist_walk_init(&w, side);
    while (hist_walk_next(&w))
        if (side->f[w.at] != 0)
            cells_push(c, (int32_t)w.index, side->f[w.at], 0);
    return true;
}

static bool cells_copy(struct arena *a, struct fhist_cells *c, const struct fhist_cells *from)
{
    if (!cells_reserve(a, c, from->n))
        return false;
    for (uint32_t i = 0; i < from->n; i++)
        cells_push(c, from->index[i], from->value[i], from->comp[i]);
    return true;
}

/* In place. */
static void cells_reduce(struct fhist_cells *c, int32_t from, int32_t to, bool kahan)
{
    uint32_t n = c->n;

    c->n = 0;
    for (uint32_t i = 0; i < n; i++) {
        int32_t index = (int32_t)hist_index_reduce(c->index[i], from, to);
        double value = c->value[i], comp = c->comp[i];

        if (c->n > 0 && c->index[c->n - 1] == index) {
            plus(value, &c->value[c->n - 1], &c->comp[c->n - 1], kahan);
            plus(comp, &c->value[c->n - 1], &c->comp[c->n - 1], kahan);
        } else {
            cells_push(c, index, value, comp);
        }
    }
}

/* Drops what lies in the zero bucket, and empty cells. In place. */
static void cells_cut(struct fhist_cells *c, int32_t schema, double threshold)
{
    uint32_t n = c->n;

    c->n = 0;
    for (uint32_t i = 0; i < n; i++)
        if (fhist_bound(schema, c->index[i] - 1) >= threshold &&
            (c->value[i] != 0 || c->comp[i] != 0))
            cells_push(c, c->index[i], c->value[i], c->comp[i]);
}

/* How many of the stream's buckets have no cell. */
static uint32_t cells_missing(const struct fhist_cells *c, struct fhist_stream s)
{
    uint32_t at = 0, missing = 0;
    double value, comp;
    int32_t index;

    while (fhist_stream_next(&s, &index, &value, &comp)) {
        while (at < c->n && c->index[at] < index)
            at++;
        missing += at == c->n || c->index[at] != index;
    }
    return missing;
}

static void cell_add(struct fhist_cells *c, uint32_t at, double value, double comp, bool kahan)
{
    plus(value, &c->value[at], &c->comp[at], kahan);
    if (comp != 0)
        plus(comp, &c->value[at], &c->comp[at], kahan);
}

static void cells_add_in_place(struct fhist_cells *c, struct fhist_stream s, double sign)
{
    double value, comp;
    uint32_t at = 0;
    int32_t index;

    while (fhist_stream_next(&s, &index, &value, &comp)) {
        while (c->index[at] < index)
            at++;
        cell_add(c, at, sign * value, comp, s.kahan);
    }
}

/* dst becomes the union of c and the stream. */
static void cells_merge(struct fhist_cells *dst, const struct fhist_cells *c, struct fhist_stream s,
                        double sign)
{
    double value, comp;
    uint32_t at = 0;
    int32_t index;

    dst->n = 0;
    while (fhist_stream_next(&s, &index, &value, &comp)) {
        for (; at < c->n && c->index[at] < index; at++)
            cells_push(dst, c->index[at], c->value[at], c->comp[at]);
        if (at < c->n && c->index[at] == index) {
            cells_push(dst, index, c->value[at], c->comp[at]);
            cell_add(dst, dst->n - 1, sign * value, comp, s.kahan);
            at++;
        } else {
            cells_push(dst, index, sign * value, comp);
        }
    }
    for (; at < c->n; at++)
        cells_push(dst, c->index[at], c->value[at], c->comp[at]);
}

static bool side_add(struct arena *a, struct fhist_acc *acc, struct fhist_cells *c,
                     struct fhist_stream s, double sign)
{
    uint32_t missing = cells_missing(c, s);
    struct fhist_cells old;

    if (missing == 0) {
        cells_add_in_place(c, s, sign);
        return true;
    }
    if (!cells_reserve(a, &acc->spare, c->n + missing))
        return false;
    cells_merge(&acc->spare, c, s, sign);
    old = *c;
    *c = acc->spare;
    acc->spare = old;
    return true;
}

/* --- the zero bucket --- */
/* A side as a histogram's or as an accumulator's. */
struct zero_side {
    const struct fhist_cells *cells;
    struct hist_walk walk;
    uint32_t at;
};
static bool zero_side_next(struct zero_side *z, int64_t *ret_index, double *ret_value,
                           double *ret_comp)
{
    if (z->cells) {
        if (z->at == z->cells->n)
            return false;
        *ret_index = z->cells->index[z->at];
        *ret_value = z->cells->value[z->at];
        *ret_comp = z->cells->comp[z->at++];
        return true;
    }
    if (!hist_walk_next(&z->walk))
        return false;
    *ret_index = z->walk.index;
    *ret_value = z->walk.side->f[z->walk.at];
    *ret_comp = 0;
    return true;
}

/* Adds the buckets that reach below *threshold; a populated one that it cuts raises it. Both sides
 * are alike in absolute terms. */
static void zero_take(struct zero_side z, int32_t schema, double *threshold, double *zero,
                      double *comp, bool kahan)
{
    double value, value_comp, limit = *threshold;
    int64_t index;

    while (zero_side_next(&z, &index, &value, &value_comp)) {
        double upper = fhist_bound(schema, (int32_t)index);

        if (fhist_bound(schema, (int32_t)index - 1) >= limit)
            return;
        plus(value, zero, comp, kahan);
        plus(value_comp, zero, comp, kahan);
        if (upper > limit) {
            if (value != 0)
                *threshold = upper;
            return;
        }
    }
}

/* *zero and *comp: the zero count; grown to at least *threshold. Repeats when the negative side
 * raises the threshold, since the positive side then has more to give. */
static void zero_grow(struct zero_side pos, struct zero_side neg, int32_t schema, double *threshold,
                      double *zero, double *comp, bool kahan)
{
    double start = *zero, start_comp = *comp, before;

    do {
        *zero = start;
        *comp = start_comp;
        zero_take(pos, schema, threshold, zero, comp, kahan);
        before = *threshold;
        zero_take(neg, schema, threshold, zero, comp, kahan);
    } while (*threshold > before);
}

double fhist_zero_at(const struct histogram *h, double *threshold)
{
    struct zero_side pos = {0}, neg = {0};
    double zero = h->zero_count.f, comp = 0;

    if (*threshold == h->zero_threshold)
        return zero;
    hist_walk_init(&pos.walk, &h->pos);
    hist_walk_init(&neg.walk, &h->neg);
    zero_grow(pos, neg, h->schema, threshold, &zero, &comp, false);
    return zero;
}

static void acc_zero_grow(struct fhist_acc *acc, double threshold, bool kahan)
{
    struct zero_side pos = {.cells = &acc->pos}, neg = {.cells = &acc->neg};

    zero_grow(pos, neg, acc->schema, &threshold, &acc->zero, &acc->comp_zero, kahan);
    acc->zero_threshold = threshold;
    cells_cut(&acc->pos, acc->schema, threshold);
    cells_cut(&acc->neg, acc->schema, threshold);
}

/* Finds a threshold that cuts no populated bucket of either; returns y's zero count at it. Written
 * with < and > so that NaN ends it. */
static double zero_reconcile(struct fhist_acc *acc, const struct histogram *y, bool kahan)
{
    double threshold = y->zero_threshold, zero = y->zero_count.f;

    while (acc->zero_threshold > threshold || acc->zero_threshold < threshold) {
        if (acc->zero_threshold > threshold) {
            threshold = acc->zero_threshold;
            zero = fhist_zero_at(y, &threshold);
        }
        if (acc->zero_threshold < threshold)
            acc_zero_grow(acc, threshold, kahan);
    }
    return zero;
}

/* --- custom bounds --- */
bool fhist_custom_eq(const double *a, uint32_t a_n, const double *b, uint32_t b_n)
{
    if (a_n != b_n)
        return false;
    for (uint32_t i = 0; i < a_n; i++)
        if (a[i] != b[i])
            return false;
    return true;
}

/* acc's bounds become those that y has too, in place. */
static void bounds_intersect(struct fhist_acc *acc, const struct histogram *y)
{
    uint32_t n = 0, i = 0, j = 0;

    while (i < acc->custom_count && j < y->custom_count) {
        double x = acc->custom[i], z = y->custom[j];

        if (x == z)
            acc->custom[n++] = x;
        i += !(x > z);
        j += !(x < z);
    }
    acc->custom_count = n;
}

/* Index among bounds of the bucket that ends at the bound of index i in from, or beyond it. *at:
 * search position, only grows. */
static int32_t custom_map(const double *from, uint32_t from_n, int64_t i, const double *bounds,
                          uint32_t n, uint32_t *at)
{
    if (i >= from_n)
        return (int32_t)n;
    while (*at < n && bounds[*at] < from[i])
        (*at)++;
    return (int32_t)*at;
}

static void custom_push(struct fhist_cells *c, int32_t index, double value, double comp, bool kahan)
{
    if (c->n > 0 && c->index[c->n - 1] == index)
        cell_add(c, c->n - 1, value, comp, kahan);
    else
        cells_push(c, index, value, comp);
}

static void acc_map(struct fhist_acc *acc, const double *old, uint32_t old_n, bool kahan)
{
    uint32_t n = acc->pos.n, at = 0;

    acc->pos.n = 0;
    for (uint32_t i = 0; i < n; i++) {
        int32_t index =
            custom_map(old, old_n, acc->pos.index[i], acc->custom, acc->custom_count, &at);

        custom_push(&acc->pos, index, acc->pos.value[i], acc->pos.comp[i], kahan);
    }
}

static bool side_map(struct arena *tmp, const struct fhist_acc *acc, const struct histogram *y,
                     struct hist_side *ret)
{
    struct hist_span *spans = arena_array(tmp, y->pos.bucket_count, sizeof *spans);
    double *counts = arena_array(tmp, y->pos.bucket_count, sizeof *counts);
    uint32_t n = 0, at = 0;
    int32_t end = 0;
    struct hist_walk w;

    if (!spans || !counts)
        return false;
    hist_walk_init(&w, &y->pos);
    while (hist_walk_next(&w)) {
        int32_t index =
            custom_map(y->custom, y->custom_count, w.index, acc->custom, acc->custom_count, &at);

        if (n > 0 && index == end - 1) {
            counts[n - 1] += y->pos.f[w.at];
            continue;
        }
        spans[n] = (struct hist_span){index - end, 1};
        counts[n++] = y->pos.f[w.at];
        end = index + 1;
    }
    *ret = (struct hist_side){.spans = spans, .span_count = n, .bucket_count = n, .f = counts};
    return true;
}

/* Both are mapped to the bounds they share: the accumulator in place, y into a scratch side, which
 * is then added. */
static bool custom_reconcile(struct arena *a, struct fhist_acc *acc, const struct histogram *y,
                             double sign, bool kahan)
{
    uint32_t old_n = acc->custom_count;
    struct histogram mapped = *y;
    struct fhist_stream s;
    struct arena tmp;
    double *old;
    bool ok;

    arena_init(&tmp, SCRATCH_BYTES_MAX);
    old = arena_dup(&tmp, acc->custom, old_n * sizeof *old);
    if (old) {
        bounds_intersect(acc, y);
        acc_map(acc, old, old_n, kahan);
    }
    ok = old && side_map(&tmp, acc, y, &mapped.pos);
    if (ok) {
        fhist_stream_init(&s, &mapped, &mapped.pos, HIST_CUSTOM_SCHEMA, 0, kahan);
        ok = side_add(a, acc, &acc->pos, s, sign);
    }
    arena_fini(&tmp);
    return ok;
}

/* --- whole accumulators --- */
bool fhist_acc_init(struct arena *a, struct fhist_acc *acc, const struct histogram *h)
{
    ASSERT(h->is_float);
    *acc = (struct fhist_acc){
        .schema = h->schema,
        .hint = h->hint,
        .zero_threshold = h->zero_threshold,
        .count = h->count.f,
        .sum = h->sum,
        .zero = h->zero_count.f,
        .custom = arena_dup(a, h->custom, h->custom_count * sizeof *h->custom),
        .custom_count = h->custom_count,
    };
    return acc->custom && cells_load(a, &acc->pos, &h->pos) && cells_load(a, &acc->neg, &h->neg);
}

bool fhist_acc_copy(struct arena *a, struct fhist_acc *acc, const struct fhist_acc *from)
{
    *acc = *from;
    acc->pos = acc->neg = acc->spare = (struct fhist_cells){0};
    acc->custom = arena_dup(a, from->custom, from->custom_count * sizeof *from->custom);
    return acc->custom && cells_copy(a, &acc->pos, &from->pos) &&
           cells_copy(a, &acc->neg, &from->neg);
}

static void hint_combine(struct fhist_acc *acc, uint8_t hint, unsigned *notes)
{
    uint8_t mine = acc->hint;

    if (mine == hint)
        return;
    if (mine == HIST_HINT_GAUGE || hint == HIST_HINT_GAUGE) {
        acc->hint = HIST_HINT_GAUGE;
        return;
    }
    acc->hint = HIST_HINT_UNKNOWN;
    if (notes && mine != HIST_HINT_UNKNOWN && hint != HIST_HINT_UNKNOWN)
        *notes |= FHIST_NOTE_RESET_COLLISION;
}

static bool acc_add_exponential(struct arena *a, struct fhist_acc *acc, const struct histogram *y,
                                double sign, bool kahan)
{
    struct fhist_stream pos, neg;

    plus(sign * zero_reconcile(acc, y, kahan), &acc->zero, &acc->comp_zero, kahan);
    if (y->schema < acc->schema) {
        cells_reduce(&acc->pos, acc->schema, y->schema, kahan);
        cells_reduce(&acc->neg, acc->schema, y->schema, kahan);
        acc->schema = y->schema;
    }
    fhist_stream_init(&pos, y, &y->pos, acc->schema, acc->zero_threshold, kahan);
    fhist_stream_init(&neg, y, &y->neg, acc->schema, acc->zero_threshold, kahan);
    return side_add(a, acc, &acc->pos, pos, sign) && side_add(a, acc, &acc->neg, neg, sign);
}

static bool acc_add_custom(struct arena *a, struct fhist_acc *acc, const struct histogram *y,
                           double sign, bool kahan, unsigned *notes)
{
    struct fhist_stream s;

    if (fhist_custom_eq(acc->custom, acc->custom_count, y->custom, y->custom_count)) {
        fhist_stream_init(&s, y, &y->pos, HIST_CUSTOM_SCHEMA, 0, kahan);
        return side_add(a, acc, &acc->pos, s, sign);
    }
    if (notes)
        *notes |= FHIST_NOTE_BOUNDS_RECONCILED;
    return custom_reconcile(a, acc, y, sign, kahan);
}

int fhist_acc_add(struct arena *a, struct fhist_acc *acc, const struct histogram *y,
                  enum fhist_op op, unsigned *notes)
{
    double sign = op == FHIST_MINUS ? -1 : 1;
    bool kahan = op == FHIST_PLUS_KAHAN, ok;

    ASSERT(y->is_float);
    if ((acc->schema == HIST_CUSTOM_SCHEMA) != fhist_is_custom(y))
        return RC_EXECUTION;
    hint_combine(acc, y->hint, notes);
    plus(sign * y->count.f, &acc->count, &acc->comp_count, kahan);
    plus(sign * y->sum, &acc->sum, &acc->comp_sum, kahan);
    if (fhist_is_custom(y))
        ok = acc_add_custom(a, acc, y, sign, kahan, notes);
    else
        ok = acc_add_exponential(a, acc, y, sign, kahan);
    return ok ? 0 : RC_NOMEM;
}
