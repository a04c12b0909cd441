#include "common/model/duration.h"
#include "promql/fhist_work.h"

static void put_bucket(struct buf *out, const struct fhist_bucket *b)
{
    if (b->count == 0)
        return;
    buf_z(out, b->lower_inclusive ? ", [" : ", (");
    float_print_g(out, b->lower);
    buf_char(out, ',');
    float_print_g(out, b->upper);
    buf_z(out, b->upper_inclusive ? "]:" : "):");
    float_print_g(out, b->count);
}

static void put_walked(struct buf *out, const struct histogram *h, bool negative,
                       const struct hist_walk *w)
{
    struct fhist_bucket b = fhist_bucket_of(h, negative, w->index, w->side->f[w->at]);

    put_bucket(out, &b);
}

/* Bounds as they are, also where they reach into the zero bucket. */
void fhist_print(struct buf *out, const struct histogram *h)
{
    struct fhist_bucket zero = {
        -h->zero_threshold, h->zero_threshold, h->zero_count.f, true, true, 0};
    struct hist_walk w;

    ASSERT(h->is_float);
    buf_z(out, "{count:");
    float_print_g(out, h->count.f);
    buf_z(out, ", sum:");
    float_print_g(out, h->sum);
    hist_walk_init_back(&w, &h->neg);
    while (hist_walk_prev(&w))
        put_walked(out, h, true, &w);
    put_bucket(out, &zero);
    hist_walk_init(&w, &h->pos);
    while (hist_walk_next(&w))
        put_walked(out, h, false, &w);
    buf_char(out, '}');
}

static void put_quoted(struct buf *out, const char *before, double v)
{
    buf_z(out, before);
    float_print(out, v);
    buf_char(out, '"');
}

void fhist_print_json(struct buf *out, const struct histogram *h)
{
    static const char rules[2][2] = {{'2', '0'},
                                     {'1', '3'}}; /* [lower inclusive][upper inclusive] */
    const char *before = ",\"buckets\":[[";
    struct fhist_bucket b;
    struct fhist_iter it;

    put_quoted(out, "{\"count\":\"", h->count.f);
    put_quoted(out, ",\"sum\":\"", h->sum);
    fhist_iter_init(&it, h);
    while (fhist_iter_next(&it, &b)) {
        if (b.count == 0)
            continue;
        buf_z(out, before);
        buf_char(out, rules[b.lower_inclusive][b.upper_inclusive]);
        put_quoted(out, ",\"", b.lower);
        put_quoted(out, ",\"", b.upper);
        put_quoted(out, ",\"", b.count);
        buf_char(out, ']');
        before = ",[";
    }
    buf_z(out, before[1] == '[' ? "]}" : "}");
}
