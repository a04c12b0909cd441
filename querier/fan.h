/* fan.h - asks ingesters the same question until enough owners of every range of the ring have
 * answered completely. Who is asked: whole zones, one after the other (starting with a random one),
 * until the instances asked cover the ring with `need` owners per range; those that are not needed
 * are left out again. The first zone's instances are marked `data`: a select takes the bytes from
 * them and digests from the others. When one fails, or is silent for hedge_ms, further instances
 * are asked in its place (as data when it was); whoever completes the coverage first wins. An
 * answer at another ring version is no answer: with a newer one our own ring is old and the whole
 * fan ends with RC_MOVED, so that the caller begins again with the ring of that moment. Threads:
 * one; answers wait in a mailbox until fan_run takes them. */
#pragma once
#include "common/base/arena.h"
#include "common/obs/trace.h"
#include "common/rpc/rpc.h"
#include "common/sys/clock.h"
#include "ring/ring.h"

#include <stdatomic.h>

enum { FAN_HEDGE_MS = 2000, FAN_POLL_MS = 50, FAN_PEERS_MAX = 4096 };

enum { FAN_NEXT_ASKED = 2 };
enum fan_state { FAN_IDLE, FAN_ASKED, FAN_DONE, FAN_FAILED };
struct fan_peer {
    const struct ring_instance *in;
    uint16_t instance;
    enum fan_state state;
    bool owner;       /* may be asked: owns ranges and is readable */
    bool data;        /* the bytes shall come from here */
    bool late;        /* silent for long: others are asked too */
    bool moved;       /* failed for its ring version */
    int64_t asked_ms; /* monotonic */
    struct trace_node *trace; /* of the question that is out, or of the answer at hand */
    uint64_t cursor;  /* for the caller */
    size_t at;        /* for the caller */
    struct err err;   /* why it failed */
};

struct fan_ops {
    enum rpc_method method;
    /* Builds the next request to this peer. Negative ends the fan. */
    int (*request)(void *arg, struct fan_peer *p, struct buf *out, struct err *err);
    /* Takes an answer: 1 asks again (more pages), FAN_NEXT_ASKED: has asked again (fan_ask_next), 0 this peer is done. RC_MOVED, RC_CORRUPT,
     * RC_VERSION, RC_UNAVAILABLE fail this peer, others end the fan. The bytes go after it returns,
     * unless it takes them (buf_take). */
    int (*answer)(void *arg, struct fan_peer *p, struct buf *payload, struct err *err);
};

struct fan_cfg {
    struct rpc_client *rpc;
    const struct clock *clock;
    int64_t hedge_ms;
    int64_t deadline_mono_ns;  /* of the whole query */
    const atomic_bool *cancel; /* may be NULL */
    struct trace_node *trace;  /* may be NULL */
};

struct mailbox;
struct fan {
    struct fan_cfg cfg;
    const struct ring *ring; /* borrowed for the fan's life */
    const struct fan_ops *ops;
    void *arg;
    struct fan_peer *peers; /* one for each instance of the ring */
    size_t n;
    uint16_t *order;  /* owners, zone by zone */
    size_t *zone_end; /* where in order each zone ends */
    size_t order_n, zones_n;
    bool *covered;     /* scratch for ring_covered */
    bool replace_data; /* a data peer failed: who is asked instead gives data */
    unsigned in_flight;
    uint32_t round; /* answers of earlier rounds are dropped */
    struct mailbox *box;
};

/* Memory from the arena. RC_UNAVAILABLE when the ring has no owners. */
int fan_init(struct fan *f, const struct fan_cfg *cfg, const struct ring *ring,
             const struct fan_ops *ops, void *arg, struct arena *a, struct err *err);
void fan_fini(struct fan *f);
/* RC_MOVED when an answer was given at another ring version than ours (0: without a ring, in
 * tests). */
int fan_ring_check(const struct fan *f, uint64_t theirs, struct err *err);
/* Owners per range that a read needs: RF - quorum + 1. */
int fan_read_need(const struct ring *r);
/* Until covered. RC_UNAVAILABLE names who is missing and why; RC_STALE as soon as one says so;
 * RC_MOVED: again with a new ring; RC_TIMEOUT, RC_CANCELED. */
int fan_run(struct fan *f, int need, struct err *err);
/* From an answer function that knows already what to ask next: so the peer works on it while this answer is read. */
int fan_ask_next(struct fan *f, struct fan_peer *p, struct err *err);
/* A new round: asks exactly these peers (any state) and waits until each is done or has failed
 * (RC_MOVED: begin again). best_effort: for hedge_ms at most, and failures are no error. */
int fan_ask(struct fan *f, const struct fan_ops *ops, void *arg, const uint16_t *peers, size_t n,
            bool best_effort, struct err *err);
