/* member.h - what is known about one process of the cluster, and how two such knowledges become one.
 * A record has one writer, its member, and is versioned by (incarnation, version): the later wins whole. Exceptions, so that the
 * merge of any two is the same in any order (a join semilattice):
 *   health    belongs to (incarnation): at the same incarnation the worse wins; the member refutes with a higher one (SWIM: Das,
 *             Gupta, Motivala, DSN 2002, 4.2)
 *   changes   grows by one whenever something that decides ownership changes; the merge takes the greater, so their sum over all
 *             members never falls: the ring's epoch comes from it
 *   LEFT      may also be declared by another (forget): at incarnation + 1, so that a living member overrules it
 * Memory: tokens are owned by the record.   Threads: none of its own. */
#pragma once
#include "common/base/buf.h"
#include "common/base/bytes.h"
#include "common/base/err.h"
#include "ring/tokens.h"

enum {
    RING_ID_MAX      = 63, /* bytes */
    RING_ZONE_MAX    = 63,
    RING_ADDR_MAX    = 255,
    RING_MEMBERS_MAX = 4096,
};

enum ring_role {
    RING_INGESTER    = 1 << 0, /* owns tokens */
    RING_DISTRIBUTOR = 1 << 1,
    RING_QUERIER     = 1 << 2,
    RING_COMPACTOR   = 1 << 3,
    RING_LOADGEN     = 1 << 4,
};
enum ring_state {
    RING_PENDING, /* known, owns nothing */
    RING_JOINING, /* takes data over; will own at ACTIVE */
    RING_ACTIVE,
    RING_LEAVING, /* hands data over; owns until LEFT */
    RING_LEFT,
    RING_STATES,
};
enum ring_flag {
    RING_READ_ONLY  = 1 << 0, /* owns and answers reads, takes no writes */
    RING_REBUILDING = 1 << 1, /* lost its disk: owns and takes writes, is no read replica */
    RING_FLAGS      = RING_READ_ONLY | RING_REBUILDING,
};
enum ring_health { RING_ALIVE, RING_SUSPECT, RING_DEAD, RING_HEALTHS };

const char *ring_state_name(enum ring_state s);
const char *ring_health_name(enum ring_health h);

struct member {
    char id[RING_ID_MAX + 1], zone[RING_ZONE_MAX + 1];
    char addr[RING_ADDR_MAX + 1], http_addr[RING_ADDR_MAX + 1];
    uint32_t roles, flags;
    enum ring_state state;
    enum ring_health health;
    uint64_t incarnation, version, changes;
    int64_t registered_ms, left_ms; /* wall clock of who wrote it */
    uint32_t *tokens;               /* ascending, distinct */
    uint32_t tokens_n;
};

void member_fini(struct member *m);
void member_copy(struct member *to, const struct member *from); /* to is overwritten, not freed */
static inline bool member_owns_tokens(const struct member *m)
{
    return (m->roles & RING_INGESTER) != 0;
}
/* True when the two differ in what decides ownership. */
bool member_ownership_differs(const struct member *a, const struct member *b);
/* Order of two records of one member: <0, 0, >0. */
int member_cmp_version(const struct member *a, const struct member *b);

enum member_merge {
    MERGE_NOTHING = 0,
    MERGE_BODY    = 1 << 0, /* the record was replaced */
    MERGE_HEALTH  = 1 << 1,
    MERGE_CHANGES = 1 << 2,
};
/* Merges from into m (same id); returns what changed in m. */
unsigned member_merge(struct member *m, const struct member *from);
/* The same for a bare statement about health. */
unsigned member_merge_health(struct member *m, uint64_t incarnation, enum ring_health health);

void member_encode(const struct member *m, struct buf *out);
/* ret owns its tokens on success, is untouched on failure. */
int member_decode(struct rd *r, struct member *ret, struct err *err);
