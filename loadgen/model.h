/* model.h - what the series are called and what their values are. Pure: everything follows from struct model_cfg.
 *
 * Series i of a tenant belongs to target i / TARGET_SERIES, one scraped process: its series share job, instance and pod, and differ in metric and
 * two more labels; nine labels in all, about 260 bytes a sample on the wire. Churn replaces a target by its next generation (another pod and
 * instance) every 100 / churn minutes, each target at its own phase.
 *
 * Values, as in real scrapes: most are counters (monotone integers; buckets of one histogram are consistent with each other and with its _count),
 * some gauges of bytes or of two decimals, some constant, and one full-width noise. Special series send NaN payloads, stale NaN, +-Inf, -0, 0,
 * the smallest denormal and the largest numbers among others. */
#pragma once
#include "common/base/str.h"

enum { TARGET_SERIES = 250, MODEL_LABELS = 9, MODEL_TEXT_MAX = 512, SPECIAL_EVERY = 50 };

struct model_cfg {
    uint64_t seed;
    uint32_t series; /* of each tenant */
    uint32_t tenants;
    double churn;       /* percent of the targets per minute; 0: none */
    bool special;       /* one series in SPECIAL_EVERY sends special values */
    int64_t epoch_ms;   /* generations count from here */
};

struct model_slot {
    uint8_t metric;
    uint8_t x, y; /* which value of the metric's two own labels */
};

struct model {
    struct model_cfg cfg;
    struct model_slot slots[TARGET_SERIES];
};

struct series_id {
    uint32_t tenant, index, generation;
};

/* Sorted by name; values are below. */
struct model_labels {
    struct str name[MODEL_LABELS], value[MODEL_LABELS];
    char text[MODEL_TEXT_MAX];
    size_t text_n;
};

void model_init(struct model *m, const struct model_cfg *cfg);
static inline uint32_t model_target(uint32_t index)
{
    return index / TARGET_SERIES;
}
static inline uint32_t model_targets(const struct model *m)
{
    return (m->cfg.series + TARGET_SERIES - 1) / TARGET_SERIES;
}
/* Of a target at a time; never falls with time. */
uint32_t model_generation(const struct model *m, uint32_t tenant, uint32_t target, int64_t t_ms);
/* Self-referential: not to be copied. */
void model_labels(const struct model *m, struct series_id id, struct model_labels *ret);
/* Value of the label instance of a target's generation: what one reads a target back with. */
struct str model_instance(uint32_t target, uint32_t generation, char text[static 32]);
/* Bits of the value at t. */
uint64_t model_value(const struct model *m, struct series_id id, int64_t t_ms);
bool model_is_special(const struct model *m, uint32_t index);
