#include "ring/tokens.h"

#include "common/base/hash.h"
#include "common/base/rng.h"

#include <stdlib.h>

#define SPACE ((uint64_t)1 << 32)

/* A run of the space; its last position is the token that owns it. */
struct range {
    uint32_t start, len;
};

struct plan {
    size_t n;             /* ranges per instance */
    struct range *ranges; /* [instance][n] */
    uint64_t *owned;      /* [instance] */
};

static int longest_first(const void *pa, const void *pb)
{
    const struct range *a = pa, *b = pb;

    if (a->len != b->len)
        return a->len > b->len ? -1 : 1;
    return (a->start > b->start) - (a->start < b->start);
}

static int ascending(const void *pa, const void *pb)
{
    uint32_t a = *(const uint32_t *)pa, b = *(const uint32_t *)pb;

    return (a > b) - (a < b);
}

static void plan_first(struct plan *p)
{
    for (size_t k = 0; k < p->n; k++) {
        uint64_t start = SPACE * k / p->n, end = SPACE * (k + 1) / p->n;

        p->ranges[k] = (struct range){(uint32_t)start, (uint32_t)(end - start)};
    }
    p->owned[0] = SPACE;
}

/* Cuts `wanted` positions from the fronts of the count longest ranges of a victim into ret[0..count). */
static uint64_t plan_take(struct plan *p, size_t victim, uint64_t wanted, size_t count, struct range *ret)
{
    struct range *from = p->ranges + victim * p->n;
    uint64_t sum = 0, left = wanted, taken = 0;

    qsort(from, p->n, sizeof *from, longest_first);
    for (size_t k = 0; k < count; k++)
        sum += from[k].len;
    for (size_t k = 0; k < count; k++) {
        uint64_t cut = k + 1 == count ? left : wanted * from[k].len / sum;

        cut    = MIN(MAX(cut, 1), (uint64_t)from[k].len - 1);
        ret[k] = (struct range){from[k].start, (uint32_t)cut};
        from[k].start += (uint32_t)cut;
        from[k].len -= (uint32_t)cut;
        ASSERT(from[k].len > 0 && cut > 0);
        left -= MIN(left, cut);
        taken += cut;
    }
    p->owned[victim] -= taken;
    return taken;
}

/* Instance i takes its share from all before it. */
static void plan_add(struct plan *p, size_t i)
{
    struct range *to = p->ranges + i * p->n;
    uint64_t target  = SPACE / (i + 1);
    size_t placed    = 0;

    p->owned[i] = 0;
    for (size_t j = 0; j < i && placed < p->n; j++) {
        /* n ranges over i victims, the remainder spread evenly; with more victims than ranges some are spared. */
        size_t count  = p->n * (j + 1) / i - p->n * j / i;
        uint64_t want = p->owned[j] > target ? p->owned[j] - target : count;

        if (count == 0)
            continue;
        p->owned[i] += plan_take(p, j, want, count, to + placed);
        placed += count;
    }
    ASSERT(placed == p->n);
}

void tokens_of_ordinal(unsigned ordinal, size_t n, uint32_t *ret)
{
    struct plan p = {.n = n};

    ASSERT(ordinal <= RING_ORDINAL_MAX && n > 1 && n <= RING_TOKENS_MAX);
    p.ranges = xcalloc((size_t)(ordinal + 1) * n, sizeof *p.ranges);
    p.owned  = xcalloc(ordinal + 1, sizeof *p.owned);
    plan_first(&p);
    for (size_t i = 1; i <= ordinal; i++)
        plan_add(&p, i);
    for (size_t k = 0; k < n; k++) {
        const struct range *r = &p.ranges[ordinal * n + k];

        ret[k] = r->start + r->len - 1;
    }
    qsort(ret, n, sizeof *ret, ascending);
    free(p.ranges);
    free(p.owned);
}

void tokens_of_name(struct str name, size_t n, uint32_t *ret)
{
    struct rng rng;
    size_t k = 0;

    ASSERT(n > 0 && n <= RING_TOKENS_MAX);
    rng_init(&rng, hash64(name.p, name.n, 0));
    while (k < n) {
        for (size_t have = k; have < n; have++)
            ret[have] = (uint32_t)rng_u64(&rng);
        qsort(ret, n, sizeof *ret, ascending);
        k = 1;
        for (size_t i = 1; i < n; i++) { /* drop duplicates, draw again for the gap */
            if (ret[i] != ret[k - 1])
                ret[k++] = ret[i];
        }
    }
}

int tokens_ordinal_of_name(struct str name)
{
    size_t at = name.n;
    long v    = 0;

    while (at > 0 && name.p[at - 1] >= '0' && name.p[at - 1] <= '9')
        at--;
    if (at == name.n || name.n - at > 6)
        return -1;
    for (; at < name.n; at++)
        v = v * 10 + (name.p[at] - '0');
    return v <= RING_ORDINAL_MAX ? (int)v : -1;
}
