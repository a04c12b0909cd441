#include "distributor/admission.h"

static const int64_t NS_PER_MS = 1000000, NS_PER_S = 1000000000;

static void interval_begin(struct admission *a, int64_t now_ns)
{
    a->now = (struct admission_interval){.began_ns = now_ns, .min_ns = INT64_MAX, .peak = a->in_flight};
}

void admission_init(struct admission *a, const struct admission_cfg *cfg, int64_t now_ns)
{
    ASSERT(cfg->requests_max >= ADMISSION_WINDOW_MIN);
    *a = (struct admission){.cfg = *cfg, .window = cfg->requests_max, .second.began_ns = now_ns};
    interval_begin(a, now_ns);
}

/* --- the window --- */

static int64_t longest_service(const struct admission *a)
{
    return a->base_ns + a->cfg.target_ns;
}

static void shrink(struct admission *a, double factor)
{
    double from = MIN(a->window, MAX(a->now.peak, (uint32_t)ADMISSION_WINDOW_MIN));

    a->window = (uint32_t)MAX(from * MIN(MAX(factor, 0.5), 0.9), (double)ADMISSION_WINDOW_MIN);
}

static void window_adapt(struct admission *a)
{
    const struct admission_interval *i = &a->now;
    bool delayed = i->long_served * 2 > i->served;

    if (i->failed > i->served / 4)
        shrink(a, 0.5);
    else if (delayed && a->delayed)
        shrink(a, (double)longest_service(a) * i->served / (double)i->sum_ns);
    else if (!delayed)
        a->window = MIN(a->window + MAX(a->window / 10, 1u), a->cfg.requests_max);
    a->delayed = delayed;
    if (i->served && (i->peak <= ADMISSION_WINDOW_MIN || i->min_ns < a->base_ns))
        a->base_ns = i->min_ns;
}

static void interval_end(struct admission *a, int64_t now_ns)
{
    if (a->now.served + a->now.failed)
        window_adapt(a);
    a->standing = a->now.long_waits * 2 > a->now.waits;
    interval_begin(a, now_ns);
}

static void pass_time(struct admission *a, int64_t now_ns)
{
    int64_t age_ms = (now_ns - a->now.began_ns) / NS_PER_MS;

    if (age_ms >= ADMISSION_INTERVAL_MAX_MS || (age_ms >= ADMISSION_INTERVAL_MS && a->now.served + a->now.failed + a->now.refused >= ADMISSION_SAMPLES_MIN))
        interval_end(a, now_ns);
    if (now_ns - a->second.began_ns >= NS_PER_S) {
        a->spread_s = MIN(a->second.refused / (a->second.taken + 1), (uint32_t)ADMISSION_RETRY_MAX_S - 2);
        a->second = (struct admission_second){.began_ns = now_ns};
    }
}

/* --- verdicts --- */

static enum admission_verdict judge(const struct admission *a, int64_t waited_ns)
{
    if (a->in_flight >= a->cfg.requests_max)
        return ADMISSION_REFUSED_REQUESTS;
    if (!a->cfg.target_ns)
        return ADMISSION_TAKEN;
    if (a->in_flight >= a->window)
        return ADMISSION_REFUSED_WINDOW;
    return a->standing && waited_ns > a->cfg.target_ns ? ADMISSION_REFUSED_WAITED : ADMISSION_TAKEN;
}

enum admission_verdict admission_judge(struct admission *a, int64_t now_ns, int64_t waited_ns)
{
    enum admission_verdict v;

    pass_time(a, now_ns);
    a->now.waits++;
    a->now.long_waits += waited_ns > a->cfg.target_ns;
    v = judge(a, waited_ns);
    a->now.refused += v != ADMISSION_TAKEN;
    a->second.refused += v != ADMISSION_TAKEN;
    return v;
}

enum admission_verdict admission_take(struct admission *a, int64_t now_ns, int64_t waited_ns)
{
    enum admission_verdict v = admission_judge(a, now_ns, waited_ns);

    if (v == ADMISSION_TAKEN) {
        a->in_flight++;
        a->now.peak = MAX(a->now.peak, a->in_flight);
        a->second.taken++;
    }
    return v;
}

void admission_answered(struct admission *a, int64_t now_ns, int64_t taken_ns, bool failed)
{
    int64_t took = now_ns - taken_ns;

    ASSERT(a->in_flight > 0);
    a->in_flight--;
    if (failed) {
        a->now.failed++; /* soon or late: its time says nothing about a queue */
    } else {
        a->now.served++;
        a->now.long_served += took > longest_service(a);
        a->now.sum_ns += took;
        a->now.min_ns = MIN(a->now.min_ns, took);
    }
    pass_time(a, now_ns);
}

unsigned admission_retry_after_s(struct admission *a, int64_t now_ns, struct rng *rng)
{
    pass_time(a, now_ns);
    return 1 + (unsigned)rng_below(rng, a->spread_s + 2);
}
