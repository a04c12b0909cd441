#include "promql/fhist_work.h"

#include <float.h>
#include <math.h>

/* Accumulators hold 20 bytes a bucket, twice over for merging, with room to double. */
enum { SCRATCH_BYTES_MAX = 16 << 20 };

static int binary(struct arena *a, const struct histogram *x, const struct histogram *y,
                  enum fhist_op op, struct histogram **ret, unsigned *notes)
{
    struct histogram *out;
    struct fhist_acc acc;
    struct arena tmp;
    int rc = RC_NOMEM;

    arena_init(&tmp, SCRATCH_BYTES_MAX);
    if (fhist_acc_init(&tmp, &acc, x))
        rc = fhist_acc_add(&tmp, &acc, y, op, notes);
    if (rc == 0) {
        out = fhist_acc_result(a, &acc, 1);
        rc = out ? 0 : RC_NOMEM;
        if (out)
            *ret = out;
    }
    arena_fini(&tmp);
    return rc;
}

int fhist_add(struct arena *a, const struct histogram *x, const struct histogram *y,
              struct histogram **ret, unsigned *notes)
{
    return binary(a, x, y, FHIST_PLUS, ret, notes);
}

int fhist_sub(struct arena *a, const struct histogram *x, const struct histogram *y,
              struct histogram **ret, unsigned *notes)
{
    return binary(a, x, y, FHIST_MINUS, ret, notes);
}

static double scaled(double v, double k, bool divide)
{
    return divide ? v / k : v * k;
}

static bool side_scale(struct arena *a, struct hist_side *side, double k, bool divide)
{
    double *f = arena_array(a, side->bucket_count, sizeof *f);

    if (!f)
        return false;
    for (uint32_t i = 0; i < side->bucket_count; i++)
        f[i] = scaled(side->f[i], k, divide);
    side->f = f;
    return true;
}

static struct histogram *scale(struct arena *a, const struct histogram *h, double k, bool divide)
{
    struct histogram *out = arena_alloc(a, sizeof *out), all = *h;
    struct arena tmp;
    bool ok;

    ASSERT(h->is_float);
    all.zero_count.f = scaled(h->zero_count.f, k, divide);
    all.count.f = scaled(h->count.f, k, divide);
    all.sum = scaled(h->sum, k, divide);
    if (k < 0)
        all.hint = HIST_HINT_GAUGE;
    if (divide && k == 0)
        all.pos = all.neg = (struct hist_side){0};
    all.custom = arena_dup(a, h->custom, h->custom_count * sizeof *h->custom);
    arena_init(&tmp, SCRATCH_BYTES_MAX);
    ok = out && all.custom && side_scale(&tmp, &all.pos, k, divide) &&
         side_scale(&tmp, &all.neg, k, divide) && histogram_compact(a, &all, 0, out);
    arena_fini(&tmp);
    return ok ? out : NULL;
}

struct histogram *fhist_mul(struct arena *a, const struct histogram *h, double k)
{
    return scale(a, h, k, false);
}

struct histogram *fhist_div(struct arena *a, const struct histogram *h, double k)
{
    return scale(a, h, k, true);
}

/* --- sums --- */
int fhist_sum_add(struct arena *a, struct fhist_sum *s, const struct histogram *x, unsigned *notes)
{
    unsigned done = 0;
    int rc;

    if (s->acc) {
        rc = fhist_acc_add(a, s->acc, x, FHIST_PLUS_KAHAN, &done);
    } else {
        s->acc = arena_alloc(a, sizeof *s->acc);
        rc = s->acc && fhist_acc_init(a, s->acc, x) ? 0 : RC_NOMEM;
    }
    if (rc < 0)
        return rc;
    s->reset_seen |= x->hint == HIST_HINT_RESET;
    s->not_reset_seen |= x->hint == HIST_HINT_NOT_RESET;
    if (s->reset_seen && s->not_reset_seen)
        done |= FHIST_NOTE_RESET_COLLISION;
    if (notes)
        *notes |= done;
    return 0;
}

struct histogram *fhist_sum_result(struct arena *a, const struct fhist_sum *s)
{
    return s->acc ? fhist_acc_result(a, s->acc, 1) : NULL;
}

/* --- means --- */
static double magnitude(const struct histogram *h)
{
    double total = fabs(h->count.f) + fabs(h->zero_count.f) + (isnan(h->sum) ? 0 : fabs(h->sum));

    for (uint32_t i = 0; i < h->pos.bucket_count; i++)
        total += fabs(h->pos.f[i]);
    for (uint32_t i = 0; i < h->neg.bucket_count; i++)
        total += fabs(h->neg.f[i]);
    return total;
}

/* Whether adding x to the sum would give an infinite number; tried on a copy. */
static int sum_overflows(const struct fhist_sum *s, const struct histogram *x, bool *ret)
{
    struct fhist_acc trial;
    struct arena tmp;
    int rc = RC_NOMEM;

    arena_init(&tmp, SCRATCH_BYTES_MAX);
    if (fhist_acc_copy(&tmp, &trial, s->acc))
        rc = fhist_acc_add(&tmp, &trial, x, FHIST_PLUS_KAHAN, NULL);
    if (rc == 0)
        *ret = fhist_acc_overflowed(&trial);
    arena_fini(&tmp);
    return rc;
}

/* mean(n) = mean(n-1) * (n-1)/n + x/n, compensated. */
static int mean_add_incremental(struct arena *a, struct fhist_mean *m, const struct histogram *x,
                                unsigned *notes)
{
    struct histogram *part;
    struct arena tmp;
    int rc = RC_NOMEM;

    if ((m->sum.acc->schema == HIST_CUSTOM_SCHEMA) != fhist_is_custom(x))
        return RC_EXECUTION;
    arena_init(&tmp, SCRATCH_BYTES_MAX);
    part = fhist_div(&tmp, x, m->n + 1);
    if (part) {
        fhist_acc_mul(m->sum.acc, m->n / (m->n + 1));
        rc = fhist_sum_add(a, &m->sum, part, notes);
    }
    arena_fini(&tmp);
    return rc;
}

int fhist_mean_add(struct arena *a, struct fhist_mean *m, const struct histogram *x,
                   unsigned *notes)
{
    int rc = 0;

    if (!m->incremental && m->n > 0) {
        m->magnitude += magnitude(x);
        if (!(m->magnitude < DBL_MAX / 2))
            rc = sum_overflows(&m->sum, x, &m->incremental);
        if (rc == 0 && m->incremental)
            fhist_acc_div(m->sum.acc, m->n);
    } else if (m->n == 0) {
        m->magnitude = magnitude(x);
    }
    if (rc == 0)
        rc = m->incremental ? mean_add_incremental(a, m, x, notes)
                            : fhist_sum_add(a, &m->sum, x, notes);
    if (rc == 0)
        m->n++;
    return rc;
}

struct histogram *fhist_mean_result(struct arena *a, const struct fhist_mean *m)
{
    return m->sum.acc ? fhist_acc_result(a, m->sum.acc, m->incremental ? 1 : m->n) : NULL;
}
