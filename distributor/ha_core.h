/* ha_core.h - which replica of each pair of senders is followed, for one tenant. Pure core: pushes, news of the shared state and time in; verdicts and writes out;
 * no clock, lock or thread.
 *
 * A *cluster* is what one pair (or more) of replicas scrape in common; a *pair* names one replica of one cluster. One replica of a cluster is followed. The first
 * that is heard is elected; another one when it is heard and the followed one has been silent for the failover timeout, at this distributor and, by what the
 * shared state says, at all others. Each election has the next epoch. All distributors follow the greatest (epoch, name): the state's order (ring/ring_kv.h) is
 * that too, with the epoch as version and the name in front of the value. Who hears the followed replica says so in the shared state every update timeout, unless
 * somebody else did. Silence is measured on this process's clock from when such news came, so clocks of distributors need not agree.
 *
 * *Gaps*. A replica that is heard again, not having failed over, may have missed scrapes. Its silence, when longer than 1.5 times the longest pause between its pushes
 * of late, is told to all distributors as a gap; what standbys sent about that time is then offered to the ingesters (ha_hold.h), which take what fills holes.
 *
 * A cluster that nobody sends for HA_IDLE_MS is forgotten everywhere.
 * Times: now_ms monotonic, wall_ms wall clock. Memory: names are copied. */
#pragma once
#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/base/rng.h"

enum {
    HA_NAME_MAX      = 256,   /* bytes of a cluster's and of a replica's name */
    HA_PAIRS_MAX     = 65534, /* of a tenant, while the process lives */
    HA_IDLE_MS       = 30 * 60 * 1000,
    HA_PAUSE_MS      = 5000,  /* between pushes, when nothing is known yet */
    HA_PAUSE_MIN_MS  = 1000,
    HA_PAUSE_MAX_MS  = 60000,
    HA_GAP_MARGIN_MS = 10000, /* what came so long before or after a gap may belong into it */
    HA_VALUE_VERSION = 1,
};

struct ha_core;

enum ha_verdict {
    HA_FOLLOWED,
    HA_STANDBY,  /* another replica is followed */
    HA_TOO_MANY, /* clusters of this tenant: this one is not known and stays so */
};

/* What holds for the tenant at the moment. */
struct ha_rules {
    int64_t failover_ms, update_ms, jitter_ms;
    int64_t clusters_max; /* 0: no limit */
};

/* What the shared state says of a cluster; its version there is the epoch. */
struct ha_elected {
    struct str replica;
    uint64_t epoch;
    int64_t received_ms; /* wall clock of whoever heard it last and said so */
    int64_t elected_ms;
    int64_t gap_from_ms, gap_to_ms; /* its last gap; 0: none */
    uint64_t elections;  /* so far, of any replica */
};
/* Value: replica, 0 u8, big-endian u64 received, gap to, gap from, elected, elections, then HA_VALUE_VERSION u8. Larger bytes: the greater name, then the later. */
void ha_elected_encode(const struct ha_elected *e, struct buf *out);
/* replica is borrowed. RC_CORRUPT, RC_VERSION. */
int ha_elected_decode(uint64_t version, struct str value, struct ha_elected *ret, struct err *err);

/* elected: another replica is followed from now on; borrowed during the call. */
struct ha_core *ha_core_new(void (*elected)(void *self, struct str cluster, const struct ha_elected *e), void *self, uint64_t seed);
void ha_core_free(struct ha_core *c);

/* Names this pair while the process lives: 1 to HA_PAIRS_MAX; 0: there are too many. */
uint16_t ha_core_pair(struct ha_core *c, struct str cluster, struct str replica);
/* A request with samples of this pair came. */
enum ha_verdict ha_core_heard(struct ha_core *c, uint16_t pair, const struct ha_rules *rules, int64_t now_ms, int64_t wall_ms);
/* The shared state has this; e NULL: the cluster was removed at that version. */
void ha_core_learn(struct ha_core *c, struct str cluster, uint64_t version, const struct ha_elected *e, int64_t now_ms, int64_t wall_ms);
void ha_core_tick(struct ha_core *c, int64_t now_ms);

/* To be written into the shared state; names are borrowed until the next event. */
struct ha_write {
    struct str cluster;
    bool remove; /* with e.epoch as its version */
    struct ha_elected e;
};
/* The next one, which counts as done; false: there is none. */
bool ha_core_next_write(struct ha_core *c, int64_t now_ms, struct ha_write *ret);
/* It could not be written: it is due again. */
void ha_core_write_failed(struct ha_core *c, struct str cluster);

/* This pair is followed. */
bool ha_core_follows(const struct ha_core *c, uint16_t pair);
/* What this pair sent at came_ms, when it was not followed, is wanted: it is followed now and the one before was silent then, or a gap of the followed one is over
 * that it belongs into. Asked between ha_core_tick and ha_core_gaps_done. */
bool ha_core_in_gap(const struct ha_core *c, uint16_t pair, int64_t came_ms, int64_t now_ms);
void ha_core_gaps_done(struct ha_core *c, int64_t now_ms);
struct str ha_core_cluster_of(const struct ha_core *c, uint16_t pair);
struct str ha_core_replica_of(const struct ha_core *c, uint16_t pair);

/* For pages. silent_ms: since the followed replica was heard of. */
struct ha_view {
    struct str cluster;
    struct ha_elected e;
    int64_t silent_ms;
};
void ha_core_each(const struct ha_core *c, int64_t now_ms, void (*fn)(void *arg, const struct ha_view *v), void *arg);
size_t ha_core_clusters(const struct ha_core *c);
size_t ha_core_memory(const struct ha_core *c);
