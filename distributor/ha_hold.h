/* ha_hold.h - requests of replicas that are not followed, kept as they were sent for as long as the followed one may turn out to have missed something.
 * They are bytes only: nothing is parsed again, stored or sent unless a gap is to be filled. A request of several pairs is one body, held once for each.
 * Bounded in bytes, per tenant: past it the oldest go. The caller has the lock. */
#pragma once
#include "distributor/content.h"

#include <stdatomic.h>

struct ha_body {
    _Atomic uint32_t refs;
    struct push_content content;
    bool started; /* 1.0 with start timestamps: what OTLP becomes */
    size_t n;
    char bytes[];
};
/* Copies; one reference. */
struct ha_body *ha_body_new(struct str bytes, const struct push_content *content, bool started);
struct ha_body *ha_body_ref(struct ha_body *b);
void ha_body_unref(struct ha_body *b);

struct ha_held {
    struct ha_held *next;
    struct ha_body *body;
    int64_t came_ms;  /* monotonic */
    int64_t until_ms; /* the sweeper's: where a gap without a later sample ends */
    void *owner;      /* the sweeper's */
    uint16_t pair;    /* ha_core_pair */
};
struct ha_hold {
    struct ha_held *first, **last; /* in order of coming */
    size_t bytes;
};
void ha_hold_init(struct ha_hold *h);
void ha_hold_fini(struct ha_hold *h);
/* Holds a reference of its own. False: something older had to go, or this does not fit at all. */
bool ha_hold_add(struct ha_hold *h, struct ha_body *body, uint16_t pair, int64_t now_ms, size_t bytes_max);
size_t ha_held_bytes(const struct ha_held *held);
enum ha_fate { HA_KEEP, HA_DROP, HA_FILL };
/* Asks for each what becomes of it. Those to fill with come back as a list in order, the caller's (ha_held_free). */
struct ha_held *ha_hold_sweep(struct ha_hold *h, enum ha_fate (*fate)(void *arg, struct ha_held *held), void *arg);
void ha_held_free(struct ha_held *held); /* one */
