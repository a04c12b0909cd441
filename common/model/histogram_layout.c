#include "common/model/histogram.h"

/* --- walking --- */
void hist_walk_init(struct hist_walk *w, const struct hist_side *side)
{
    *w = (struct hist_walk){.side = side};
    if (side->span_count > 0)
        w->index = side->spans[0].offset;
}

bool hist_walk_next(struct hist_walk *w)
{
    const struct hist_side *side = w->side;

    if (w->started) {
        w->at++;
        w->in_span++;
        w->index++;
    }
    w->started = true;
    while (w->span < side->span_count && w->in_span >= side->spans[w->span].length) {
        w->in_span = 0;
        if (++w->span < side->span_count)
            w->index += side->spans[w->span].offset;
    }
    return w->span < side->span_count && w->at < side->bucket_count;
}

/* span counts down from span_count and stands one above the current one; so does in_span. at is one
 * above until started. */
void hist_walk_init_back(struct hist_walk *w, const struct hist_side *side)
{
    *w = (struct hist_walk){.side = side, .span = side->span_count, .at = side->bucket_count};
    for (uint32_t i = 0; i < side->span_count; i++)
        w->index += (int64_t)side->spans[i].offset + side->spans[i].length;
    if (side->span_count > 0)
        w->in_span = side->spans[side->span_count - 1].length;
}

bool hist_walk_prev(struct hist_walk *w)
{
    const struct hist_side *side = w->side;

    if (w->at == 0 || w->span == 0)
        return false;
    while (w->in_span == 0) {
        w->index -= side->spans[w->span - 1].offset;
        if (--w->span == 0)
            return false;
        w->in_span = side->spans[w->span - 1].length;
    }
    w->in_span--;
    w->at--;
    w->index--;
    return true;
}

/* --- compacting --- */
/* A zero count is empty: integer 0, float 0 and -0. */
static bool bucket_empty(const struct hist_side *side, bool is_float, uint32_t at)
{
    return is_float ? side->f[at] == 0 : side->i[at] == 0;
}

struct layout {
    uint64_t spans, buckets;
    int64_t next; /* index after the last bucket laid down */
};

/* Whether a bucket at index starts a new span; else gap empty buckets stand before it. */
static bool layout_add(struct layout *l, int64_t index, uint32_t max_empty, uint64_t *ret_gap)
{
    bool first = l->spans == 0;
    uint64_t gap = first ? 0 : (uint64_t)(index - l->next);
    bool fresh = first || gap > max_empty;

    if (fresh) {
        l->spans++;
        gap = 0;
    }
    l->buckets += gap + 1;
    l->next = index + 1;
    *ret_gap = gap;
    return fresh;
}

static bool side_compact(struct arena *a, const struct hist_side *side, bool is_float,
                         uint32_t max_empty, struct hist_side *ret)
{
    struct layout size = {0}, l = {0};
    struct hist_span *spans;
    struct hist_walk w;
    uint64_t *counts, gap;

    hist_walk_init(&w, side);
    while (hist_walk_next(&w))
        if (!bucket_empty(side, is_float, w.at))
            layout_add(&size, w.index, max_empty, &gap);
    if (size.buckets > HIST_BUCKETS_MAX || size.spans > HIST_SPANS_MAX)
        return false;
    spans = arena_array(a, size.spans, sizeof *spans);
    counts = arena_array(a, size.buckets, sizeof *counts);
    if (!spans || !counts)
        return false;
    hist_walk_init(&w, side);
    while (hist_walk_next(&w)) {
        int64_t end = l.next;

        if (bucket_empty(side, is_float, w.at))
            continue;
        if (layout_add(&l, w.index, max_empty, &gap))
            spans[l.spans - 1] =
                (struct hist_span){.offset = (int32_t)(w.index - (l.spans == 1 ? 0 : end))};
        for (uint64_t i = 0; i < gap; i++)
            counts[l.buckets - 2 - i] = 0; /* also the bits of 0.0 */
        spans[l.spans - 1].length += (uint32_t)gap + 1;
        counts[l.buckets - 1] = side->i[w.at];
    }
    *ret = (struct hist_side){.spans = spans,
                              .span_count = (uint32_t)l.spans,
                              .bucket_count = (uint32_t)l.buckets,
                              .i = counts};
    return true;
}

bool histogram_compact(struct arena *a, const struct histogram *h, uint32_t max_empty,
                       struct histogram *ret)
{
    struct histogram out = *h;

    if (!side_compact(a, &h->pos, h->is_float, max_empty, &out.pos) ||
        !side_compact(a, &h->neg, h->is_float, max_empty, &out.neg))
        return false;
    *ret = out;
    return true;
}

/* --- reducing the resolution --- */
/* Merging would hide what histogram_validate() is to find afterwards. */
static int spans_check(const struct hist_side *side, struct err *err)
{
    uint64_t need = 0;

    for (uint32_t i = 0; i < side->span_count; i++) {
        if (i > 0 && side->spans[i].offset < 0)
            return err_set(err, RC_INVALID, "histogram has a span whose offset is negative");
        need += side->spans[i].length;
    }
    if (need != side->bucket_count)
        return err_set(err, RC_INVALID,
                       "histogram spans specify different number of buckets than provided");
    return 0;
}

static int side_reduce(struct arena *a, const struct histogram *h, const struct hist_side *side,
                       int32_t schema, struct hist_side *ret, struct err *err)
{
    struct hist_span *spans = arena_array(a, side->bucket_count, sizeof *spans);
    uint64_t *counts = arena_array(a, side->bucket_count, sizeof *counts);
    struct layout l = {0};
    struct hist_walk w;
    uint64_t gap;
    int rc = spans_check(side, err);

    if (rc < 0)
        return rc;
    if (!spans || !counts)
        return err_set(err, RC_NOMEM, "histogram: no memory to reduce its resolution");
    hist_walk_init(&w, side);
    while (hist_walk_next(&w)) {
        int64_t index = hist_index_reduce(w.index, h->schema, schema), end = l.next;

        if (index < -HIST_INDEX_MAX || index > HIST_INDEX_MAX)
            return err_set(err, RC_INVALID, "histogram has a bucket index out of range");
        if (l.spans > 0 && index == end - 1) {
            uint64_t *into = &counts[l.buckets - 1];

            if (h->is_float)
                *into = double_bits(bits_double(*into) + side->f[w.at]);
            else if (__builtin_add_overflow(*into, side->i[w.at], into))
                return err_set(err, RC_INVALID, "histogram has a bucket count out of range");
            continue;
        }
        if (layout_add(&l, index, 0, &gap))
            spans[l.spans - 1] =
                (struct hist_span){.offset = (int32_t)(index - (l.spans == 1 ? 0 : end))};
        spans[l.spans - 1].length++;
        counts[l.buckets - 1] = side->i[w.at];
    }
    *ret = (struct hist_side){.spans = spans,
                              .span_count = (uint32_t)l.spans,
                              .bucket_count = (uint32_t)l.buckets,
                              .i = counts};
    return 0;
}

int histogram_reduce(struct arena *a, const struct histogram *h, int32_t schema,
                     struct histogram *ret, struct err *err)
{
    struct histogram out = *h;
    int rc;

    ASSERT(schema <= h->schema && schema >= HIST_SCHEMA_MIN && h->schema <= HIST_SCHEMA_WIRE_MAX);
    out.schema = schema;
    rc = side_reduce(a, h, &h->pos, schema, &out.pos, err);
    if (rc == 0)
        rc = side_reduce(a, h, &h->neg, schema, &out.neg, err);
    if (rc == 0)
        *ret = out;
    return rc;
}
