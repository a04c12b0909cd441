/* load.h - what a load command stores: samples at multiples of its step, and with load_with_nhcb
 * the classic histograms among them once more as native histograms with custom buckets (F3). */
#pragma once
#include "backend.h"
#include "script.h"

int load_expand(const struct command *c, struct arena *a, struct load_series **ret, size_t *ret_n,
                struct err *err);
int load_nhcb(const struct load_series *in, size_t n, struct arena *a, struct load_series **ret,
              size_t *ret_n, struct err *err);
