#include "compare.h"

#include "answer.h"

#include "common/model/duration.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

enum { COMPARE_ARENA_MAX = 64 << 20 };

static bool almost(double a, double b)
{
    const double e = 0.000001;
    double d = fabs(a - b), s = fabs(a) + fabs(b);

    if (is_stale_nan(a) || is_stale_nan(b))
        return is_stale_nan(a) && is_stale_nan(b);
    if ((isnan(a) && isnan(b)) || a == b)
        return true;
    if (a == 0 || b == 0 || s < DBL_MIN)
        return d < e * DBL_MIN;
    return d / fmin(s, DBL_MAX) < e;
}

static bool almost_all(const double *a, const double *b, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        if (!almost(a[i], b[i]))
            return false;
    return true;
}

static bool side_equal(const struct hist_side *a, const struct hist_side *b)
{
    struct hist_walk x, y;

    if (a->bucket_count != b->bucket_count)
        return false;
    hist_walk_init(&x, a);
    hist_walk_init(&y, b);
    while (hist_walk_next(&x) && hist_walk_next(&y))
        if (x.index != y.index)
            return false;
    return almost_all(a->f, b->f, a->bucket_count);
}

static bool histograms_equal(const struct value *want, const struct histogram *got)
{
    struct arena a;
    struct histogram *w, *g;
    bool same;

    arena_init(&a, COMPARE_ARENA_MAX);
    w = fhist_compact(&a, want->h, 0);
    g = fhist_compact(&a, got, 0);
    same = w && g && w->schema == g->schema && w->zero_threshold == g->zero_threshold &&
           almost(w->count.f, g->count.f) && almost(w->sum, g->sum) &&
           almost(w->zero_count.f, g->zero_count.f) && side_equal(&w->pos, &g->pos) &&
           side_equal(&w->neg, &g->neg) && (!want->hint_given || w->hint == g->hint);
    if (same && w->schema == HIST_CUSTOM_SCHEMA) {
        same = w->custom_count == g->custom_count;
        for (uint32_t i = 0; same && i < w->custom_count; i++)
            same = w->custom[i] == g->custom[i];
    }
    arena_fini(&a);
    return same;
}

/* In the form of the API: layout and hint are not visible. */
static bool shown_equal(const struct value *want, const struct histogram *got)
{
    const struct api_histogram *w, *g = CONTAINER_OF(got, struct api_histogram, base);
    struct arena a;
    bool same;

    arena_init(&a, COMPARE_ARENA_MAX);
    w = CONTAINER_OF(answer_histogram(want->h, &a), struct api_histogram, base);
    same = w->n == g->n && almost(w->base.count.f, g->base.count.f) &&
           almost(w->base.sum, g->base.sum);
    for (size_t i = 0; same && i < w->n; i++) {
        const struct fhist_bucket *x = &w->buckets[i], *y = &g->buckets[i];

        same = almost(x->lower, y->lower) && almost(x->upper, y->upper) &&
               almost(x->count, y->count) && x->lower_inclusive == y->lower_inclusive &&
               x->upper_inclusive == y->upper_inclusive;
    }
    arena_fini(&a);
    return same;
}

static bool value_equal(const struct value *want, const struct result_sample *got, bool api)
{
    if (!want->h != !got->h)
        return false;
    if (!want->h)
        return almost(want->v, got->v);
    return api ? shown_equal(want, got->h) : histograms_equal(want, got->h);
}

/* --- words --- */
static void print_value(struct buf *b, double v, const struct histogram *h)
{
    if (h)
        fhist_print_text(b, h);
    else if (is_stale_nan(v))
        buf_z(b, "stale");
    else
        float_print(b, v);
}

static void print_want(struct buf *b, const struct series_line *s)
{
    labels_print(b, &s->labels);
    for (size_t i = 0; i < s->n; i++) {
        buf_char(b, ' ');
        if (s->v[i].omitted)
            buf_char(b, '_');
        else
            print_value(b, s->v[i].v, s->v[i].h);
    }
}

static void print_got(struct buf *b, const struct result_series *s)
{
    labels_print(b, &s->labels);
    for (size_t i = 0; i < s->n; i++) {
        buf_char(b, ' ');
        print_value(b, s->s[i].v, s->s[i].h);
        buf_printf(b, "@%lld", (long long)s->s[i].t);
    }
}

/* --- series --- */
static const struct series_line *want_of(const struct eval *e, const struct labels *ls)
{
    for (size_t i = 0; i < e->series_count; i++)
        if (labels_eq(&e->series[i].labels, ls))
            return &e->series[i];
    return NULL;
}

static const struct result_series *got_of(const struct query_result *r, const struct labels *ls)
{
    for (size_t i = 0; i < r->series_count; i++)
        if (labels_eq(&r->series[i].labels, ls))
            return &r->series[i];
    return NULL;
}

static void check_sets(const struct eval *e, const struct query_result *r, struct buf *why)
{
    for (size_t i = 0; i < r->series_count; i++) {
        if (!want_of(e, &r->series[i].labels)) {
            buf_z(why, "    not expected: ");
            print_got(why, &r->series[i]);
            buf_char(why, '\n');
        }
    }
    for (size_t i = 0; i < e->series_count; i++) {
        if (!got_of(r, &e->series[i].labels)) {
            buf_z(why, "    missing: ");
            print_want(why, &e->series[i]);
            buf_char(why, '\n');
        }
    }
}

static void differ(const struct series_line *want, const struct result_series *got, struct buf *why)
{
    buf_z(why, "    expected: ");
    print_want(why, want);
    buf_z(why, "\n    got:      ");
    print_got(why, got);
    buf_char(why, '\n');
}

static void compare_vector(const struct eval *e, const struct query_result *r,
                           const struct compare_opt *opt, struct buf *why)
{
    check_sets(e, r, why);
    for (size_t i = 0; i < r->series_count; i++) {
        const struct result_series *got = &r->series[i];
        const struct series_line *want = want_of(e, &got->labels);

        if (!want)
            continue;
        if (want->n == 0 || got->n != 1 || !value_equal(&want->v[0], &got->s[0], opt->api))
            differ(want, got, why);
        if (e->ordered && opt->order && want != &e->series[i])
            buf_printf(why, "    place %zu: wrong order\n", i);
    }
}

static bool points_equal(const struct series_line *want, const struct result_series *got,
                         int64_t start, int64_t step, bool api)
{
    size_t k = 0;

    for (size_t i = 0; i < want->n; i++) {
        if (want->v[i].omitted)
            continue;
        if (k == got->n || got->s[k].t != start + (int64_t)i * step ||
            !value_equal(&want->v[i], &got->s[k], api))
            return false;
        k++;
    }
    return k == got->n;
}

static void check_sorted(const struct query_result *r, struct buf *why)
{
    for (size_t i = 1; i < r->series_count; i++)
        if (labels_cmp(&r->series[i - 1].labels, &r->series[i].labels) >= 0)
            buf_z(why, "    series are not sorted by labels\n");
}

static void compare_matrix(const struct eval *e, const struct query_result *r,
                           const struct compare_opt *opt, struct buf *why)
{
    int64_t start = e->has_matrix ? e->matrix_start_ms : e->start_ms,
            step = e->has_matrix ? e->matrix_step_ms : e->step_ms;

    if (e->has_scalar || e->ordered)
        buf_z(why, "    a matrix is neither a scalar nor ordered\n");
    check_sorted(r, why);
    check_sets(e, r, why);
    for (size_t i = 0; i < r->series_count; i++) {
        const struct series_line *want = want_of(e, &r->series[i].labels);

        if (!want)
            continue;
        if (!e->has_matrix && want->n > (size_t)((e->end_ms - e->start_ms) / step) + 1)
            buf_printf(why, "    line %zu: more values than steps\n", want->line);
        if (!points_equal(want, &r->series[i], start, step, opt->api))
            differ(want, &r->series[i], why);
    }
}

static void compare_scalar(const struct eval *e, const struct query_result *r, struct buf *why)
{
    if (!e->has_scalar || e->series_count > 0 || e->has_string) {
        buf_z(why, "    got a scalar, expected something else\n");
        return;
    }
    if (r->series_count != 1 || r->series[0].n != 1 || r->series[0].s[0].h ||
        !almost(e->scalar, r->series[0].s[0].v)) {
        buf_z(why, "    expected scalar: ");
        float_print(why, e->scalar);
        buf_z(why, "\n    got:             ");
        if (r->series_count == 1 && r->series[0].n == 1)
            float_print(why, r->series[0].s[0].v);
        buf_char(why, '\n');
    }
}

/* The points of a matrix at one time. */
static void slice(const struct query_result *r, int64_t at, struct arena *a,
                  struct query_result *ret)
{
    *ret = *r;
    ret->type = VALUE_VECTOR;
    ret->series = arena_array(a, r->series_count, sizeof *ret->series);
    ret->series_count = 0;
    ASSERT(ret->series);
    for (size_t i = 0; i < r->series_count; i++) {
        for (size_t k = 0; k < r->series[i].n; k++) {
            if (r->series[i].s[k].t == at)
                ret->series[ret->series_count++] = (struct result_series){
                    .labels = r->series[i].labels, .n = 1, .s = &r->series[i].s[k]};
        }
    }
}

static void compare_value(const struct eval *e, const struct query_result *r,
                          const struct compare_opt *opt, struct buf *why)
{
    if (e->has_string && r->type != VALUE_STRING) {
        buf_z(why, "    expected a string\n");
        return;
    }
    switch (r->type) {
    case VALUE_SCALAR:
        compare_scalar(e, r, why);
        return;
    case VALUE_STRING:
        if (!str_eq(e->string, r->string) || e->series_count > 0 || e->has_scalar)
            buf_printf(why, "    got string \"%.*s\"\n", STR_FMT(r->string));
        return;
    case VALUE_MATRIX:
        if (e->instant && !e->has_matrix)
            buf_z(why, "    got a matrix, expected none\n");
        compare_matrix(e, r, opt, why);
        return;
    default:
        if (e->has_scalar || e->has_matrix)
            buf_z(why, "    got a vector, expected something else\n");
        compare_vector(e, r, opt, why);
    }
}

void compare_result(const struct eval *e, const struct query_result *r,
                    const struct compare_opt *opt, struct buf *why)
{
    struct query_result sliced;
    struct arena a;

    arena_init(&a, COMPARE_ARENA_MAX);
    if (opt->at_ms == INT64_MIN) {
        compare_annotations(e, r, why);
        compare_value(e, r, opt, why);
    } else {
        check_sorted(r, why);
        slice(r, opt->at_ms, &a, &sliced);
        if (opt->scalar)
            sliced.type = VALUE_SCALAR;
        compare_value(e, &sliced, opt, why);
    }
    arena_fini(&a);
}

static bool text_fits(const struct expect_text *t, const char *text, struct buf *why)
{
    struct err err = {0};
    bool found = false;

    if (t->any)
        return true;
    if (!t->regex)
        return str_eqz(t->text, text);
    if (pattern_matches(t->text, str_of(text), &found, &err) < 0)
        buf_printf(why, "    bad pattern: %s\n", err_text(&err));
    return found;
}

void compare_error(const struct eval *e, const char *text, struct buf *why)
{
    const struct expect_text *t = e->expect[EXPECT_FAIL];

    if (!t)
        buf_printf(why, "    failed: %s\n", text);
    else if (!text_fits(t, text, why))
        buf_printf(why, "    expected failure: %.*s\n    got:              %s\n", STR_FMT(t->text),
                   text);
}

static void check_texts(const struct expect_text *want, const char *const *got, size_t n,
                        const char *kind, struct buf *why)
{
    if (n == 0)
        buf_printf(why, "    expected %s, got none\n", kind);
    for (const struct expect_text *t = want; t && n; t = t->next) {
        bool any = false;

        for (size_t i = 0; i < n; i++)
            any |= text_fits(t, got[i], why);
        if (!any)
            buf_printf(why, "    expected %s: %.*s\n", kind, STR_FMT(t->text));
    }
    for (size_t i = 0; i < n; i++) {
        bool any = false;

        for (const struct expect_text *t = want; t; t = t->next)
            any |= text_fits(t, got[i], why);
        if (!any)
            buf_printf(why, "    %s that nobody expected: %s\n", kind, got[i]);
    }
}

void compare_annotations(const struct eval *e, const struct query_result *r, struct buf *why)
{
    if (e->expect[EXPECT_WARN])
        check_texts(e->expect[EXPECT_WARN], r->warnings, r->warning_count, "warning", why);
    if (e->expect[EXPECT_INFO])
        check_texts(e->expect[EXPECT_INFO], r->infos, r->info_count, "info", why);
    for (size_t i = 0; e->expect[EXPECT_NO_WARN] && i < r->warning_count; i++)
        buf_printf(why, "    expected no warning: %s\n", r->warnings[i]);
    for (size_t i = 0; e->expect[EXPECT_NO_INFO] && i < r->info_count; i++)
        buf_printf(why, "    expected no info: %s\n", r->infos[i]);
}
