/* fanout_impl.h - what fanout.c and reconcile.c share. */
#pragma once
#include "common/wire/select.h"
#include "common/wire/torc.pb-c.h"
#include "querier/fanout.h"

struct selecting {
    const struct fanout_select *s;
    struct series_set *set;
    struct buf matchers, keep; /* encoded; keep is empty for all labels */
    struct fan fan;
};

/* The part of a request that all of a select's share. */
void select_request_common(const struct selecting *sel, Torc__Wire__SelectRequest *m);
int select_request_pack(const Torc__Wire__SelectRequest *m, struct buf *out, struct err *err);
/* What matters of a SelectResponse. The page is not copied: payload's bytes go to the set's arena,
 * and nothing else is taken from it. Checks the ring version and counts the bytes. */
struct select_response {
    uint64_t cursor;
    bool summary;
    struct str page, trace;
};
int select_response(struct selecting *sel, const struct fan_peer *p, struct buf *payload, bool data,
                    struct select_response *ret, struct err *err);
/* 1 with the next series of a page (windows in the arena), 0 at the end. */
struct page_series {
    struct page_series *next;
    fingerprint fp;
    struct u128 sum; /* select_series_hash */
    struct labels labels;
    struct series_input input;
};
int page_next(struct selecting *sel, struct select_reader *r, const struct fan_peer *p,
              struct page_series **ret, struct err *err);

/* Fetches what digests lack and what conflicts need. */
int reconcile(struct selecting *sel, struct err *err);
