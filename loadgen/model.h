/* model.h - what the series are called and what their values are. Pure: everything follows from struct model_cfg.
 *
 * A tenant's series are numbered: [0, series) are plain, [series, series + natives) native histograms. Plain series i belongs to target
 * i / TARGET_SERIES, one scraped process: its series share job, instance and pod, and differ in metric and two more labels; nine labels unless
 * told otherwise, about 260 bytes a sample on the wire. A target has NATIVES_PER_TARGET native histograms besides. Churn replaces a target by its
 * next generation (another pod and instance) every 100 / churn minutes, each target at its own phase.
 *
 * Values, as in real scrapes: most are counters (monotone integers; 96 series of a target are the buckets of eight classic histograms, consistent with
 * each other and with their _count and _sum), some gauges of bytes or of two decimals, some constant, and one full-width noise. Special series
 * send NaN payloads, stale NaN, +-Inf, -0, 0, the smallest denormal and the largest numbers among others. Native histograms are exponential,
 * of integers, and every bucket is monotone.
 *
 * Replay: with a recording its series take the place of the targets' (recording.h): target i is instance i of it. */
#pragma once
#include "common/base/str.h"
#include "common/model/histogram.h"
#include "loadgen/recording.h"

enum { TARGET_SERIES = 250, NATIVES_PER_TARGET = 10, MODEL_TEXT_MAX = 4096, SPECIAL_EVERY = 50 };
/* Labels of a series; more than these nine come from --labels, fewer leave out pod, namespace, container, cluster and job in this order. */
enum { MODEL_LABELS = 9, MODEL_LABELS_MIN = 4, MODEL_LABELS_MAX = 60 };
enum { NATIVE_BUCKETS = 28, NATIVE_SCHEMA = 3 };

struct model_cfg {
    uint64_t seed;
    uint32_t series, natives; /* of each tenant */
    uint32_t tenants;
    uint32_t labels;    /* of a series */
    double churn;       /* percent of the targets per minute; 0: none */
    bool special;       /* one series in SPECIAL_EVERY sends special values */
    bool ha;            /* the label cluster names the tenant's pair of replicas */
    int64_t epoch_ms;   /* generations, and the rounds of a recording, count from here */
    int64_t step_ms;    /* of a recording */
    const struct recording *recording; /* borrowed; NULL: none */
};

struct model_slot {
    uint8_t metric;
    uint8_t x, y; /* which value of the metric's two own labels */
};

struct model {
    struct model_cfg cfg;
    uint32_t target_series; /* of a target: TARGET_SERIES, or those of the recording */
    struct model_slot slots[TARGET_SERIES];
};

struct series_id {
    uint32_t tenant, index, generation;
};

/* Sorted by name; values of generated labels are below. */
struct model_labels {
    size_t n;
    struct str name[LABELS_PER_SERIES_MAX], value[LABELS_PER_SERIES_MAX];
    char text[MODEL_TEXT_MAX];
    size_t text_n;
};

/* What the values of a series follow from, apart from time. */
struct model_seed {
    uint64_t group, own;
    uint8_t kind, y;
};

struct model_native {
    struct histogram h; /* of the arrays below: self-referential, not to be copied */
    struct hist_span spans[2];
    uint64_t counts[NATIVE_BUCKETS];
};

void model_init(struct model *m, const struct model_cfg *cfg);
static inline uint32_t model_series(const struct model *m)
{
    return m->cfg.series + m->cfg.natives;
}
static inline bool model_is_native(const struct model *m, uint32_t index)
{
    return index >= m->cfg.series;
}
static inline uint32_t model_target(const struct model *m, uint32_t index)
{
    return model_is_native(m, index) ? (index - m->cfg.series) / NATIVES_PER_TARGET : index / m->target_series;
}
uint32_t model_targets(const struct model *m);
/* A target's series are two runs: plain ones, native histograms. [*ret_first, *ret_end), which may be empty. */
void model_target_run(const struct model *m, uint32_t target, bool native, uint32_t *ret_first, uint32_t *ret_end);
/* Of a target at a time; never falls with time. */
uint32_t model_generation(const struct model *m, uint32_t tenant, uint32_t target, int64_t t_ms);
/* Self-referential: not to be copied. */
void model_labels(const struct model *m, struct series_id id, struct model_labels *ret);
/* Adds a pair where it belongs; value is copied. */
void model_labels_add(struct model_labels *l, struct str name, struct str value);
/* Value of the label instance of a target's generation: what one reads a target back with. */
struct str model_instance(uint32_t target, uint32_t generation, char text[static 32]);
/* Plain series: bits of the value at t. */
struct model_seed model_seed(const struct model *m, struct series_id id);
uint64_t model_value_of(const struct model *m, const struct model_seed *s, int64_t t_ms); /* tests/bench/loadgen_bench */
uint64_t model_value(const struct model *m, struct series_id id, int64_t t_ms);
bool model_is_special(const struct model *m, uint32_t index);
enum metric_type_wire model_type(const struct model *m, uint32_t index);
void model_native(const struct model *m, struct series_id id, int64_t t_ms, struct model_native *ret);
/* One word for what a query shows of a native histogram: count, sum and the buckets with something in them, the zero bucket first. Never a NaN's bits. */
uint64_t model_native_word(uint64_t count, double sum, const uint64_t *filled, size_t n);
/* Of either kind of series: bits of the value, or that word. */
uint64_t model_word(const struct model *m, struct series_id id, int64_t t_ms);
/* Percent of the counters and buckets, the same ones at any time, have an exemplar. */
bool model_has_exemplar(const struct model *m, struct series_id id, double percent);
/* The exemplar of a series at t: a trace and a value. */
void model_exemplar(const struct model_seed *s, int64_t t_ms, uint8_t trace[static 16], double *ret_value);
