/* load.h - what a load command stores: samples at multiples of its step, and with load_with_nhcb
 * the classic histograms among them once more as native histograms with custom buckets (F3). */
#pragma once
#include "backend.h"
#include "script.h"

#include "common/base/vec.h"

int load_expand(const struct command *c, struct arena *a, struct load_series **ret, size_t *ret_n,
                struct err *err);
int load_nhcb(const struct load_series *in, size_t n, struct arena *a, struct load_series **ret,
              size_t *ret_n, struct err *err);

/* Which series ended with a histogram. */
struct load_tails {
    VEC(struct labels) v; /* borrowed from what was loaded */
};
/* A staleness marker after a histogram is a stale histogram (F3): of what load_expand() gave, and
 * with what the loads before it left. */
void load_mark_stale(struct load_tails *tails, struct load_series *series, size_t n,
                     struct arena *a);
