/* hiding.h - what a select must not show: samples under tombstones of the tenant's index and those past retention, by rules (promql/retention.h) or as a whole. Applied to what
 * ingesters and blocks have answered, so a deletion holds everywhere from the moment the index names it. Not for threads. */
#pragma once
#include "querier/series_set.h"
#include "querier/source.h"

struct hiding {
    const struct tombstone *v; /* those that meet the range; borrowed from the view and from rules */
    size_t n;
    struct time_span range;    /* all before it is hidden */
    bool waiting;              /* some of what is hidden may still be stored: label names and values are to be told series by series */
    tombstones rules;
};
/* labels: for a question about labels alone. The beginning of range is moved behind what is deleted for all series, and may then lie past its end: nothing is to be seen.
 * Memory from the arena, and rules until hiding_fini (which is due on success only). A rule that does not parse is RC_EXECUTION. */
int hiding_init(struct hiding *h, const struct source_env *env, struct str tenant, const struct blocks_view *view, struct time_span range, bool labels,
                struct arena *a, struct err *err);
void hiding_fini(struct hiding *h);
/* Retention rules as tombstones of what is past them now, appended to ret: for the compactor, which removes it. */
int hiding_rules(const struct opt_list *rules, int64_t now_ms, tombstones *ret, struct err *err);
/* Whether one sample is hidden. */
bool hiding_has(const struct hiding *h, const struct labels *ls, int64_t t);
/* The labels to ask for: keep and those that matchers look at. *keep NULL stays NULL. RC_NOMEM. */
int hiding_keep(const struct hiding *h, const struct label_names **keep, struct arena *a, struct err *err);
/* The spans of each series of the set (series_entry_merge leaves them out); series of which nothing is left are dropped. */
int hiding_apply(const struct hiding *h, struct series_set *set, struct err *err);
/* The same for a set of labels alone, of which the windows are not known. part asks for the series of a part of the range, labels only, into an empty set.
 * A series is kept when a part that is not hidden has it; beyond HIDING_PARTS_MAX parts it is kept in any case. */
enum { HIDING_PARTS_MAX = 64 };
typedef int hiding_part_fn(void *arg, struct time_span part, struct series_set *set, struct err *err);
int hiding_apply_labels(const struct hiding *h, struct series_set *set, hiding_part_fn *part, void *arg, struct err *err);
