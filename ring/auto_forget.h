/* auto_forget.h - which dead ingester may be forgotten without an operator. Off unless it is configured: what is forgotten loses its ranges
 * to others, who do not have its samples.
 * The rule: it has been dead for the configured time; of the owners no more than one in AUTO_FORGET_PART is dead (whoever sees more is
 * rather cut off itself); and without it every range still has a quorum of healthy owners. One at a time, the longest dead first.
 * Pure.   Threads: any. */
#pragma once
#include "ring/member.h"

enum { AUTO_FORGET_PART = 3 };

/* members[n]: the table; dead_ms[i]: for how long member i has been dead here, 0: it is not. The index, or -1: nobody. */
int auto_forget_pick(const struct member *const *members, const int64_t *dead_ms, size_t n, int rf, int64_t after_ms);
