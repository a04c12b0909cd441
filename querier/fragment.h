/* fragment.h - the answer to one part of a divided query, between queriers (FragmentResponse of
 * torc.proto says the layout). Only what combines travels: floats, no warnings (shard_plan.h).
 * Pure; threads: none of its own. */
#pragma once
#include "querier/fanout.h"
#include "querier/shard_plan.h"

enum { FRAGMENT_VERSION = 1 };

/* out: borrowed; one over its maximum has failed. */
void fragment_write(struct buf *out, const struct query_result *res, const struct fetch_used *used);
/* Everything is copied to the arena; adds to used. RC_CORRUPT, RC_VERSION, RC_NOMEM. */
int fragment_read(struct str in, struct arena *a, struct query_result *ret, struct fetch_used *used,
                  struct err *err);
