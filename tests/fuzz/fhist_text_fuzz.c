/* Two histogram literals, one a line, without braces: what parses prints to a text of the same
 * histogram, and all arithmetic on both is safe and gives histograms that encode and decode. */
#include "promql/fhist.h"

#include <math.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void text_round_trip(struct arena *a, const struct histogram *h)
{
    struct histogram *back = NULL;
    struct buf out;

    buf_init(&out, 1 << 20);
    fhist_print_text(&out, h);
    if (buf_ok(&out)) {
        ASSERT(out.n >= 4);
        if (fhist_parse_text(a, str_n(out.p + 2, out.n - 4), &back, NULL) == 0)
            ASSERT(fhist_eq(back, h) && back->hint == h->hint);
        else
            ASSERT(h->pos.bucket_count + h->neg.bucket_count > 1000); /* the arena's end */
    }
    buf_clear(&out);
    fhist_print(&out, h);
    fhist_print_json(&out, h);
    buf_fini(&out);
}

static void bytes_round_trip(struct arena *a, const struct histogram *h)
{
    struct histogram back;
    struct buf out;
    struct rd r;

    buf_init(&out, 4 << 20);
    histogram_encode(&out, h);
    r = rd_of(buf_view(&out));
    if (buf_ok(&out) && histogram_decode(&r, a, &back, NULL) == 0)
        ASSERT(histogram_eq(&back, h));
    buf_fini(&out);
}

static void one(struct arena *a, const struct histogram *h)
{
    static const double at[] = {-INFINITY, -1.5, -1, 0, 0.0001, 1, 3, 1e300, INFINITY, NAN};

    text_round_trip(a, h);
    bytes_round_trip(a, h);
    (void)fhist_stdvar(h);
    for (size_t i = 0; i < ARRAY_LEN(at); i++) {
        const struct histogram *trimmed = fhist_trim(a, h, at[i], i % 2);

        (void)fhist_quantile(h, at[i] / 4, NULL);
        (void)fhist_fraction(h, at[i], 2, NULL);
        if (trimmed)
            bytes_round_trip(a, trimmed);
    }
}

static void two(struct arena *a, const struct histogram *x, const struct histogram *y)
{
    struct fhist_mean mean = {0};
    struct histogram *out;

    (void)fhist_detect_reset(x, y);
    (void)fhist_eq_exact(x, y);
    if (fhist_add(a, x, y, &out, NULL) == 0)
        one(a, out);
    if (fhist_sub(a, x, y, &out, NULL) == 0)
        bytes_round_trip(a, out);
    for (int i = 0; i < 4; i++)
        if (fhist_mean_add(a, &mean, i % 2 ? y : x, NULL) == RC_NOMEM)
            return;
    out = fhist_mean_result(a, &mean);
    if (out)
        one(a, out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct str text = str_n(data, n);
    size_t line = str_find(text, '\n');
    struct histogram *x, *y;
    struct arena a;

    arena_init(&a, 16 << 20);
    if (fhist_parse_text(&a, str_sub(text, 0, line), &x, NULL) == 0) {
        one(&a, x);
        if (line < n && fhist_parse_text(&a, str_skip(text, line + 1), &y, NULL) == 0)
            two(&a, x, y);
    }
    arena_fini(&a);
    return 0;
}
