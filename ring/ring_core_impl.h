/* ring_core_impl.h - what ring_core.c (table, local changes, time) and ring_core_recv.c (messages) share. */
#pragma once
#include "common/base/rng.h"
#include "common/base/vec.h"
#include "ring/ring_core.h"
#include "ring/ring_msg.h"

enum {
    FANOUT        = 3,   /* members per gossip round, helpers per failed probe */
    NOTES_MAX     = 128, /* per message that carries news along */
    RECORDS_MAX   = 16,
    RELAYS_MAX    = 64,
    SEEDS_AT_ONCE = 8, /* that are sent to in one round; of more, these many by chance */
    SYNC_PERIODS  = 5,
    START_PERIODS = 3, /* frequent digests for so long after the start */
};

struct entry {
    struct member m;
    int64_t heard_ms;
    int64_t health_ms; /* since when it is suspect or dead, here */
    int tell_body, tell_health; /* this many more messages carry it */
};

/* The probe of the current period. */
struct probe {
    char target[RING_ID_MAX + 1];
    uint64_t seq;
    int64_t sent_ms;
    bool active, asked_others;
};

/* A ping sent on behalf of another member. */
struct relay {
    uint64_t seq, origin_seq;
    char origin[RING_ADDR_MAX + 1];
};

struct ring_core {
    struct ring_core_env env;
    char id[RING_ID_MAX + 1], addr[RING_ADDR_MAX + 1];
    VEC(char *) seeds;
    int64_t period_ms;
    struct rng rng;
    VEC(struct entry) table; /* by id; this member's own entry is always in it */
    VEC(uint16_t) order;     /* of probing, shuffled; rebuilt when used up or the table grew */
    size_t order_at;
    struct probe probe;
    struct relay relays[RELAYS_MAX];
    size_t relay_at;
    uint64_t seq;
    int64_t started_ms, last_tick_ms, next_probe_ms, next_gossip_ms, next_sync_ms;
    bool dirty, has_past; /* has_past: restored, or taken up from what others knew */
    bool stored;          /* a store carries the records */
    struct ring_core_stats stats;
};

static inline bool entry_is_self(const struct ring_core *c, const struct entry *e)
{
    return strcmp(e->m.id, c->id) == 0;
}
static inline bool entry_alive(const struct entry *e)
{
    return e->m.state != RING_LEFT && e->m.health != RING_DEAD;
}

struct entry *core_find(const struct ring_core *c, struct str id);
struct entry *core_self(const struct ring_core *c);
/* Takes the record's tokens. NULL: the table is full. Pointers into the table are void afterwards. */
struct entry *core_insert(struct ring_core *c, struct member *m);
void core_tell_body(struct ring_core *c, struct entry *e);
void core_tell_health(struct ring_core *c, struct entry *e);
/* This member's own record changed. */
void core_self_changed(struct ring_core *c, bool ownership);
/* Overrules what others believe of this member at incarnations up to this one. */
void core_refute(struct ring_core *c, uint64_t incarnation);
/* Ends the time in which this member might hear of an earlier life. */
void core_settle(struct ring_core *c);
/* A record from somewhere; takes its tokens, perhaps. */
void core_hear_record(struct ring_core *c, struct member *m);
int64_t core_now(const struct ring_core *c);

struct ring_msg core_msg(const struct ring_core *c, enum ring_msg_type type, uint64_t seq);
/* Adds news, and to the receiver (may be NULL) what is thought of it when that is not "alive". */
void core_msg_news(struct ring_core *c, struct ring_msg *m, const struct entry *to);
void core_msg_record(struct ring_msg *m, const struct entry *e);
void core_msg_note(struct ring_msg *m, const struct entry *e);
/* Sends and frees m. */
void core_send(struct ring_core *c, const char *addr, struct ring_msg *m);
void core_send_digest(struct ring_core *c, const char *addr);
/* Ends an event: reports changes. */
void core_flush(struct ring_core *c);
