/* etcd_core.h - keeps a member's table (ring_core.h) and the keys of an etcd v3 cluster the same. Pure: answers and time in, requests
 * out; no socket, thread or clock. The edge is ring_etcd.c.
 *
 * Keys, below a prefix P (of the etcd that may be shared) and the cluster's name:
 *   P/CLUSTER/ring/members/ID   version u8 (1), then the member's record (member.h); stays when its member dies, for a dead owner is
 *                               still an owner until it is forgotten
 *   P/CLUSTER/ring/live/ID      the member's address; bound to its lease, so etcd removes it when the member has been silent for the TTL
 * Records are only ever replaced by later ones (member_cmp_version), by compare and swap on the key's last change; so what the table
 * does with any two records decides, in which order they come does not.
 *
 * Steps: authenticate (with a user), get a lease, read all keys, then watch them from that revision on. Each loss of a connection starts
 * again with reading. Whatever the table knows and etcd does not is written: this member's record at once, those of others, which an
 * etcd that was restarted empty has lost, after some seconds, so that their own members are first. Every third of the TTL the lease
 * is renewed and the keys' revisions are compared with what is known, in case a watch has died unnoticed.
 *
 * Health: a member whose live key goes is dead. While etcd does not answer nobody's health changes; after that a missing key counts only
 * when it has been missing for a TTL. Nor does a member judge others while its own lease is not alive. So an outage, even one that loses
 * all data, changes no owner and makes nobody unhealthy.
 *
 * One request is under way at a time. Threads: the caller's lock, the one that guards the ring_core. */
#pragma once
#include "common/base/buf.h"
#include "ring/etcd_msg.h"
#include "ring/ring_core.h"

enum {
    ETCD_RETRY_MS     = 100,  /* after a failure; doubles up to */
    ETCD_RETRY_MAX_MS = 2000,
    ETCD_OTHERS_MS    = 2000, /* others' lost records are written after one to two times this */
    ETCD_PREFIX_MAX   = 255,  /* bytes of P/CLUSTER/ring/ */
    ETCD_LINE_BYTES_MAX = ETCD_ANSWER_BYTES_MAX,
};

struct etcd_core;

struct etcd_core_cfg {
    struct str prefix;         /* "P/CLUSTER/ring/"; copied */
    struct str user, password; /* user empty: no authentication; copied */
    int64_t ttl_ms;            /* of the lease, whole seconds */
    uint64_t random_seed;
    int64_t now_ms;
};

struct etcd_request {
    const char *path;  /* "/v3/kv/range" */
    const char *token; /* for the Authorization header; NULL: none. Borrowed until the answer */
    struct buf body;   /* freed by the caller */
};

struct etcd_stats {
    uint64_t requests, failures, reads, malformed, conflicts;
    bool synced;       /* knows what etcd has */
    int64_t synced_ms; /* when it last did (monotonic) */
    char failure[ETCD_MESSAGE_BYTES_MAX]; /* the latest */
};

struct etcd_core *etcd_core_new(const struct etcd_core_cfg *cfg, struct ring_core *table);
void etcd_core_free(struct etcd_core *e); /* NULL is fine */

/* The next request; false: none now. After true exactly one etcd_core_answer is due. */
bool etcd_core_next(struct etcd_core *e, int64_t now_ms, struct etcd_request *ret);
/* rc < 0: no answer, why says so; else body is what came, with HTTP's status 200 or another. */
void etcd_core_answer(struct etcd_core *e, int64_t now_ms, int rc, struct str body, const char *why);
/* A stream is wanted and there is none: true, and its request. After it lines come, until etcd_core_watch_ended. */
bool etcd_core_watch(struct etcd_core *e, struct etcd_request *ret);
void etcd_core_watch_line(struct etcd_core *e, int64_t now_ms, struct str line);
void etcd_core_watch_ended(struct etcd_core *e, int64_t now_ms, const char *why);
/* The stream is of no use any more: the edge closes it (and does not report its end). */
bool etcd_core_watch_unwanted(struct etcd_core *e);
/* Judges health; returns when it wants to be asked again. */
int64_t etcd_core_tick(struct etcd_core *e, int64_t now_ms);

/* Etcd has this member's record as it is in the table. */
bool etcd_core_told(const struct etcd_core *e);
const struct etcd_stats *etcd_core_stats(const struct etcd_core *e);
