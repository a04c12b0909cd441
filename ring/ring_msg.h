/* ring_msg.h - what members tell each other (payload of RPC_GOSSIP). One-way: an answer is another message.
 *   0 version u8 | type u8 | sender id, sender addr, target id (length-prefixed) | seq (uvarint)
 *   then four lists, each a count (uvarint) and its items:
 *     records  whole members (member.h)
 *     notes    health statements: id, incarnation, health
 *     digests  what the sender knows, by ascending id: id, incarnation, version, changes, left_ms, health
 *     wants    ids whose records the sender asks for
 * The cluster's name is checked by the frames below.   Reads versions RING_MSG_VERSION_MIN..RING_MSG_VERSION. */
#pragma once
#include "common/base/vec.h"
#include "ring/member.h"

enum {
    RING_MSG_VERSION     = 1,
    RING_MSG_VERSION_MIN = 1,
    RING_MSG_BYTES_MAX   = 8 << 20,
};

enum ring_msg_type {
    RING_MSG_PING = 1, /* answered with ACK of the same seq */
    RING_MSG_ACK,
    RING_MSG_PING_REQ, /* ping target for me */
    RING_MSG_GOSSIP,   /* records and notes only */
    RING_MSG_DIGEST,   /* answered with DELTA: what I have newer, and what I want */
    RING_MSG_DELTA,    /* answered with DELTA when it wants something */
    RING_MSG_TYPES,
};

struct ring_note {
    struct str id;
    uint64_t incarnation;
    enum ring_health health;
};
struct ring_digest {
    struct str id;
    uint64_t incarnation, version, changes;
    int64_t left_ms;
    enum ring_health health;
};
struct ring_want {
    struct str id;
};

/* Strings are borrowed: from the payload when decoded, from the writer's tables when built. Records are owned when decoded. */
struct ring_msg {
    enum ring_msg_type type;
    struct str sender, sender_addr, target;
    uint64_t seq;
    VEC(struct member) records;
    VEC(struct ring_note) notes;
    VEC(struct ring_digest) digests;
    VEC(struct ring_want) wants;
    bool borrowed_records; /* built, not decoded: tokens belong to somebody else */
};

void ring_msg_fini(struct ring_msg *m);
void ring_msg_encode(const struct ring_msg *m, struct buf *out);
/* RC_VERSION, RC_CORRUPT, RC_LIMIT; ret is untouched then. */
int ring_msg_decode(struct str payload, struct ring_msg *ret, struct err *err);
