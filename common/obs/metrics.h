/* metrics.h - our own metrics: a registry of families, each with HELP and TYPE, exposed as Prometheus text 0.0.4 or
 * OpenMetrics 1.0.0. Names follow Prometheus's habits with the prefix torc_ (Mimir-compatible names with cortex_ may be added
 * where public dashboards expect them).
 * Families and children are made at start (or on first use of a label value, under the registry's lock); updating a child is
 * one relaxed atomic operation and may be done from any thread. Children live as long as the registry, except those of a
 * family that is pruned with metric_family_remove. The number of children of a family is bounded by METRIC_CHILDREN_MAX;
 * past it, all further label values share one child whose labels are "overflow". */
#pragma once
#include "common/base/buf.h"

enum { METRIC_LABELS_MAX = 4, METRIC_CHILDREN_MAX = 20000 };
enum metric_type { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

struct metrics;       /* the registry */
struct metric_family;
struct metric;        /* one child: a counter, gauge or histogram */

struct metrics *metrics_new(void);
void metrics_free(struct metrics *m);

/* label_names: NULL-terminated, at most METRIC_LABELS_MAX, or NULL. Asking twice for the same name returns the same family;
 * a differing type is a bug (assert). Strings are borrowed for the registry's life: literals. Counters' names end in _total. */
struct metric_family *metrics_family(struct metrics *m, enum metric_type type, const char *name, const char *help,
                                     const char *const *label_names);
/* Child for these label values (copied), as many as the family has label names; NULL-terminated list. */
struct metric *metric_with(struct metric_family *f, ...) __attribute__((sentinel));
struct metric *metric_with_str(struct metric_family *f, const struct str *values, size_t n);
void metric_remove(struct metric_family *f, const struct str *values, size_t n);

/* Families without labels. */
struct metric *metrics_counter(struct metrics *m, const char *name, const char *help);
struct metric *metrics_gauge(struct metrics *m, const char *name, const char *help);
struct metric *metrics_histogram(struct metrics *m, const char *name, const char *help); /* latency buckets in seconds, 0.5 ms .. 60 s */

void metric_add(struct metric *c, uint64_t n);         /* counter */
static inline void metric_inc(struct metric *c)
{
    metric_add(c, 1);
}
void metric_add_f64(struct metric *c, double v);       /* counter or gauge */
void metric_set(struct metric *g, double v);           /* gauge */
void metric_observe(struct metric *h, double v);       /* histogram */
double metric_value(const struct metric *m);           /* counter or gauge; histogram: its count */

/* Called at each exposition, before values are read, on the scraping thread: sets gauges from live state. */
void metrics_on_collect(struct metrics *m, void (*fn)(void *arg), void *arg);
/* Standard process_* metrics (cpu seconds, resident bytes, fds, start time). */
void metrics_add_process(struct metrics *m);

size_t metrics_memory(struct metrics *m); /* bytes */

/* Exposition. openmetrics: counters named without _total in HELP/TYPE, "# EOF" at the end. */
void metrics_write(struct metrics *m, bool openmetrics, struct buf *out);
