#include "ingester/sync_core.h"

#include "common/base/vec.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { BACKOFF_DOUBLINGS = 5 };

struct sync_core {
    struct sync_core_cfg cfg;
    char id[RING_ID_MAX + 1];
    struct ring *ring;  /* NULL: not seen yet */
    uint16_t self;      /* in it */
    int64_t start_ms, contact_ms, changed_ms, state_ms; /* contact: 0: none yet; state: since when it is what it is */
    enum ring_state state;
    int64_t pass_ms;    /* who was compared before this is due again */
    int64_t again_ms;   /* then all are; 0: not yet */
    uint64_t gen, known_gen;
    bool leave, flushed, new_head;
    VEC(struct sync_peer) peers;
    char why[192];
};

/* All are to be compared now, and once more when what is too young now is old enough. */
static void pass_begin(struct sync_core *c, int64_t now_ms)
{
    c->pass_ms = now_ms;
    c->again_ms = c->cfg.slack_ms ? now_ms + c->cfg.slack_ms : 0;
}

struct sync_core *sync_core_new(const struct sync_core_cfg *cfg, int64_t now_ms)
{
    struct sync_core *c = xcalloc(1, sizeof *c);

    c->cfg = *cfg;
    snprintf(c->id, sizeof c->id, "%s", cfg->id);
    c->cfg.id = c->id;
    c->self = RING_NOBODY;
    c->start_ms = c->changed_ms = c->state_ms = c->pass_ms = now_ms;
    c->new_head = cfg->new_head;
    c->state = RING_STATES;
    pass_begin(c, now_ms);
    return c;
}

void sync_core_free(struct sync_core *c)
{
    if (!c)
        return;
    ring_unref(c->ring);
    vec_fini(&c->peers);
    free(c);
}

/* --- looking at the ring --- */

static bool has(const uint16_t *set, size_t n, uint16_t instance)
{
    for (size_t i = 0; i < n; i++)
        if (set[i] == instance)
            return true;
    return false;
}

static bool owns(const struct ring_replicas *s, uint16_t i)
{
    return has(s->owners, s->owners_n, i);
}

static bool will_own(const struct ring_replicas *s, uint16_t i)
{
    return has(s->next, s->next_n, i);
}

/* Comes here: not owned yet. */
static bool coming(const struct sync_core *c, const struct ring_replicas *s)
{
    return will_own(s, c->self) && !owns(s, c->self);
}

static struct sync_peer *peer_find(const struct sync_core *c, const char *id)
{
    for (size_t i = 0; i < c->peers.n; i++)
        if (strcmp(c->peers.v[i].id, id) == 0)
            return &c->peers.v[i];
    return NULL;
}

static struct sync_peer *peer_of(struct sync_core *c, uint16_t instance)
{
    const char *id = ring_instance(c->ring, instance)->id;
    struct sync_peer *p = peer_find(c, id);

    if (!p) {
        p = vec_push(&c->peers);
        *p = (struct sync_peer){0};
        snprintf(p->id, sizeof p->id, "%s", id);
    }
    return p;
}

static void relate(struct sync_core *c)
{
    size_t kept = 0;

    for (size_t i = 0; i < c->peers.n; i++) {
        struct sync_peer *p = &c->peers.v[i];

        p->gives = p->takes = false;
        p->failures = 0;
        p->retry_ms = p->asked_ms = 0;
        if (ring_find(c->ring, p->id) != RING_NOBODY)
            c->peers.v[kept++] = *p;
    }
    c->peers.n = kept;
    for (size_t k = 0; k < ring_sets_n(c->ring) && c->self != RING_NOBODY; k++) {
        const struct ring_replicas *s = ring_set(c->ring, k);

        for (size_t i = 0; i < s->owners_n; i++)
            if (s->owners[i] != c->self && (owns(s, c->self) || will_own(s, c->self)))
                peer_of(c, s->owners[i])->gives = true;
        for (size_t i = 0; i < s->next_n; i++)
            if (owns(s, c->self) && !owns(s, s->next[i]))
                peer_of(c, s->next[i])->takes = true;
    }
}

static bool some_are_back(struct sync_core *c)
{
    bool any = false;

    for (size_t i = 0; i < c->peers.n; i++) {
        struct sync_peer *p = &c->peers.v[i];
        uint16_t at = ring_find(c->ring, p->id);
        bool dead = at != RING_NOBODY && !ring_instance(c->ring, at)->healthy;

        any |= p->dead && !dead && p->gives;
        p->dead = dead;
    }
    return any;
}

void sync_core_ring(struct sync_core *c, struct ring *r, int64_t now_ms)
{
    bool changed = !c->ring || ring_epoch(c->ring) != ring_epoch(r);

    ring_ref(r);
    ring_unref(c->ring);
    c->ring = r;
    c->self = ring_self(r);
    if (ring_instances_n(r) > 1 && c->contact_ms == 0)
        c->contact_ms = now_ms;
    if (c->self != RING_NOBODY && ring_instance(r, c->self)->state != c->state) {
        c->state = ring_instance(r, c->self)->state;
        c->state_ms = now_ms;
    }
    if (changed || some_are_back(c))
        pass_begin(c, now_ms);
    if (!changed)
        return;
    c->changed_ms = now_ms;
    c->gen = c->known_gen = 0;
    relate(c);
}

static bool is_owner(const struct ring_instance *in)
{
    return (in->roles & RING_INGESTER) && in->tokens_n > 0 && (in->state == RING_ACTIVE || in->state == RING_LEAVING);
}

static size_t owners_n(const struct sync_core *c)
{
    size_t n = 0;

    for (size_t i = 0; i < ring_instances_n(c->ring); i++)
        n += is_owner(ring_instance(c->ring, (uint16_t)i));
    return n;
}

static bool moves(const struct ring_instance *in)
{
    return (in->roles & RING_INGESTER) && (in->state == RING_JOINING || in->state == RING_LEAVING || (in->state == RING_ACTIVE && (in->flags & RING_READ_ONLY)));
}

/* Instances are in order of their ids: the first. */
const struct ring_instance *sync_core_mover(const struct sync_core *c)
{
    for (size_t i = 0; c->ring && i < ring_instances_n(c->ring); i++)
        if (i != c->self && moves(ring_instance(c->ring, (uint16_t)i)))
            return ring_instance(c->ring, (uint16_t)i);
    return NULL;
}

/* Another one moves that this one has to give way to. */
static bool outranked(const struct sync_core *c)
{
    for (size_t i = 0; i < ring_instances_n(c->ring); i++) {
        const struct ring_instance *in = ring_instance(c->ring, (uint16_t)i);

        if (i != c->self && moves(in) && (in->state != c->state ? in->state != RING_JOINING : strcmp(in->id, c->id) < 0))
            return true;
    }
    return false;
}

static int need_of(const struct sync_core *c)
{
    return ring_rf(c->ring) - ring_quorum(ring_rf(c->ring)) + 1;
}

static bool done(const struct sync_core *c, uint16_t instance)
{
    const struct sync_peer *p = peer_find(c, ring_instance(c->ring, instance)->id);

    return p && p->done_version == ring_epoch(c->ring);
}

/* Some owner of a range that comes here goes out of its set. */
static bool displaces(const struct sync_core *c)
{
    for (size_t k = 0; k < ring_sets_n(c->ring); k++) {
        const struct ring_replicas *s = ring_set(c->ring, k);

        for (size_t i = 0; coming(c, s) && i < s->owners_n; i++)
            if (!will_own(s, s->owners[i]))
                return true;
    }
    return false;
}

/* Owners of a set besides this one that were compared, and how many have to be. */
static bool set_done(const struct sync_core *c, const struct ring_replicas *s)
{
    int have = 0, can = 0;

    for (size_t i = 0; i < s->owners_n; i++) {
        if (s->owners[i] == c->self)
            continue;
        /* Who lost its disk as well has nothing to give; a dead one may come back with what only it has. */
        can += !(ring_instance(c->ring, s->owners[i])->flags & RING_REBUILDING);
        have += done(c, s->owners[i]);
    }
    return have >= MIN(need_of(c), can);
}

static bool all_taken(const struct sync_core *c)
{
    for (size_t k = 0; k < ring_sets_n(c->ring); k++)
        if (coming(c, ring_set(c->ring, k)) && !set_done(c, ring_set(c->ring, k)))
            return false;
    return true;
}

static bool rebuilt(const struct sync_core *c)
{
    for (size_t k = 0; k < ring_sets_n(c->ring); k++)
        if (owns(ring_set(c->ring, k), c->self) && !set_done(c, ring_set(c->ring, k)))
            return false;
    return true;
}

static bool anything_coming(const struct sync_core *c)
{
    for (size_t k = 0; k < ring_sets_n(c->ring); k++)
        if (coming(c, ring_set(c->ring, k)))
            return true;
    return false;
}

/* Ranges of which there will be fewer copies without this one. */
static bool fewer_copies(const struct sync_core *c)
{
    for (size_t k = 0; k < ring_sets_n(c->ring); k++) {
        const struct ring_replicas *s = ring_set(c->ring, k);

        if (owns(s, c->self) && s->next_n < s->owners_n)
            return true;
    }
    return false;
}

static bool settled(const struct sync_core *c, int64_t now_ms)
{
    return now_ms - c->changed_ms >= c->cfg.settle_ms;
}

/* --- what next --- */

PRINTF(2, 3)
static void because(struct sync_core *c, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(c->why, sizeof c->why, fmt, ap);
    va_end(ap);
}

static struct sync_action wait_until(int64_t t)
{
    return (struct sync_action){.what = SYNC_WAIT, .until_ms = t};
}

static struct sync_action set_state(enum ring_state state)
{
    return (struct sync_action){.what = SYNC_SET_STATE, .state = state};
}

static struct sync_action gone(struct sync_core *c)
{
    because(c, "gone");
    return (struct sync_action){.what = SYNC_GONE};
}

/* Somebody to compare with; else when there may be somebody. */
static struct sync_action compare(struct sync_core *c, int64_t now_ms)
{
    int64_t next = INT64_MAX;

    for (size_t i = 0; i < c->peers.n; i++) {
        const struct sync_peer *p = &c->peers.v[i];
        uint16_t at = ring_find(c->ring, p->id);

        if (!sync_core_due(c, i))
            continue;
        if (at == RING_NOBODY || !ring_instance(c->ring, at)->healthy)
            next = MIN(next, now_ms + c->cfg.retry_ms); /* it may come back without a change of the version */
        else if (p->retry_ms > now_ms)
            next = MIN(next, p->retry_ms);
        else {
            struct sync_action a = {.what = SYNC_COMPARE, .whole = anything_coming(c) || (ring_instance(c->ring, c->self)->flags & RING_REBUILDING)};

            snprintf(a.peer, sizeof a.peer, "%s", p->id);
            return a;
        }
    }
    return wait_until(next);
}

/* Readers must not come here with an index that lacks what was not shown to us. */
static bool unknown_blocks(const struct sync_core *c)
{
    return c->gen > c->known_gen;
}

static struct sync_action know(const struct sync_core *c)
{
    return (struct sync_action){.what = SYNC_KNOW, .gen = c->gen};
}

static struct sync_action waits_for(struct sync_core *c, const struct ring_instance *in, int64_t now_ms)
{
    because(c, "waits for %s, which is %s: one moves at a time", in->id, in->flags & RING_READ_ONLY ? "READ_ONLY" : ring_state_name(in->state));
    return wait_until(now_ms + c->cfg.retry_ms);
}

/* Until when it cannot know yet who else there is; 0: it does. */
static int64_t greeting(struct sync_core *c, int64_t now_ms)
{
    if (!c->contact_ms && !c->cfg.alone && now_ms - c->start_ms < c->cfg.contact_ms) {
        because(c, "waits for an answer of another member");
        return c->start_ms + c->cfg.contact_ms;
    }
    if (c->contact_ms && now_ms - c->contact_ms < c->cfg.greet_ms) {
        because(c, "hears about the others");
        return c->contact_ms + c->cfg.greet_ms;
    }
    return 0;
}

static struct sync_action pending(struct sync_core *c, int64_t now_ms)
{
    const struct ring_instance *mover = sync_core_mover(c);

    if (c->leave)
        return gone(c);
    if (greeting(c, now_ms))
        return wait_until(greeting(c, now_ms));
    if (owners_n(c) == 0) {
        because(c, "the first: nobody owns anything");
        c->new_head = false;
        return set_state(RING_ACTIVE);
    }
    if (mover)
        return waits_for(c, mover, now_ms);
    if (owners_n(c) >= (size_t)ring_rf(c->ring) && !settled(c, now_ms)) {
        because(c, "waits until the ring is quiet");
        return wait_until(c->changed_ms + c->cfg.settle_ms);
    }
    c->new_head = false;
    because(c, "joins");
    return set_state(RING_JOINING);
}

static struct sync_action joining(struct sync_core *c, int64_t now_ms)
{
    const struct ring_instance *mover = sync_core_mover(c);
    bool displacing = displaces(c);
    int64_t quiet = c->changed_ms + (displacing ? c->cfg.settle_ms : c->cfg.greet_ms);
    struct sync_action a;

    if (c->leave)
        return gone(c);
    if (greeting(c, now_ms))
        return wait_until(greeting(c, now_ms));
    if (outranked(c)) {
        because(c, "gives way to %s", mover->id);
        return set_state(RING_PENDING);
    }
    if (mover)
        return waits_for(c, mover, now_ms);
    if (displacing && !all_taken(c)) {
        because(c, "takes over its ranges");
        a = compare(c, now_ms);
        a.until_ms = MIN(a.until_ms, now_ms + c->cfg.retry_ms);
        return a;
    }
    if (now_ms < quiet) {
        because(c, "waits until the ring is quiet");
        return wait_until(quiet);
    }
    if (displacing && unknown_blocks(c))
        return know(c);
    because(c, "has taken over its ranges");
    return set_state(RING_ACTIVE);
}

/* The slow check, and what others give away. */
static struct sync_action check(struct sync_core *c, int64_t now_ms)
{
    bool take = anything_coming(c);
    struct sync_action a;

    if (take && all_taken(c) && unknown_blocks(c))
        return know(c);
    if (c->cfg.period_ms && now_ms - c->pass_ms >= c->cfg.period_ms)
        c->pass_ms = now_ms;
    if (c->again_ms && now_ms >= c->again_ms) {
        c->pass_ms = now_ms;
        c->again_ms = 0;
    }
    a = compare(c, now_ms);
    if (a.what == SYNC_COMPARE || !sync_core_quiet(c))
        because(c, take ? "takes over ranges of another" : "compares with the other owners");
    else
        because(c, "compared with all other owners");
    if (a.what == SYNC_WAIT && c->cfg.period_ms)
        a.until_ms = MIN(a.until_ms, c->pass_ms + c->cfg.period_ms);
    if (a.what == SYNC_WAIT && c->again_ms)
        a.until_ms = MIN(a.until_ms, c->again_ms);
    return a;
}

static struct sync_action active(struct sync_core *c, int64_t now_ms)
{
    uint32_t flags = ring_instance(c->ring, c->self)->flags;
    const struct ring_instance *mover = sync_core_mover(c);
    struct sync_action a;

    if (c->new_head) { /* an owner whose head began empty has lost it */
        c->new_head = false;
        if (!(flags & RING_REBUILDING) && owners_n(c) > 1)
            return (struct sync_action){.what = SYNC_SET_FLAGS, .flags = flags | RING_REBUILDING};
    }
    if (flags & RING_REBUILDING) {
        because(c, "rebuilds from the other owners what its disk had");
        if (!rebuilt(c)) {
            a = compare(c, now_ms);
            a.until_ms = MIN(a.until_ms, now_ms + c->cfg.retry_ms);
            return a;
        }
        if (unknown_blocks(c))
            return know(c);
        return (struct sync_action){.what = SYNC_SET_FLAGS, .flags = flags & ~(uint32_t)RING_REBUILDING};
    }
    if (c->leave && !mover && settled(c, now_ms)) {
        c->flushed = false;
        because(c, "leaves");
        return set_state(RING_LEAVING);
    }
    a = check(c, now_ms);
    if (c->leave && a.what == SYNC_WAIT) {
        if (mover)
            return waits_for(c, mover, now_ms);
        because(c, "waits until the ring is quiet, to leave");
        a.until_ms = MIN(a.until_ms, c->changed_ms + c->cfg.settle_ms);
    }
    return a;
}

static struct sync_action leaving(struct sync_core *c, int64_t now_ms)
{
    uint64_t version = ring_epoch(c->ring);
    bool late = now_ms - c->state_ms >= c->cfg.leave_ms, taken = true;
    const struct ring_instance *mover = sync_core_mover(c);
    int64_t next = now_ms + c->cfg.retry_ms;

    if (!c->leave || outranked(c)) {
        because(c, c->leave ? "gives way to %s" : "stays", mover ? mover->id : "");
        return set_state(RING_ACTIVE);
    }
    if (mover)
        return waits_for(c, mover, now_ms);
    for (size_t i = 0; i < c->peers.n; i++) {
        const struct sync_peer *p = &c->peers.v[i];
        struct sync_action a = {.what = SYNC_ASK};

        if (!p->takes || p->taken_version == version)
            continue;
        taken = false;
        because(c, "waits until %s has taken over", p->id);
        if (now_ms - p->asked_ms < c->cfg.retry_ms || late)
            continue;
        snprintf(a.peer, sizeof a.peer, "%s", p->id);
        return a;
    }
    if (!taken && !late)
        return wait_until(next);
    if (!settled(c, now_ms)) {
        because(c, "waits until the ring is quiet");
        return wait_until(c->changed_ms + c->cfg.settle_ms);
    }
    if ((late || fewer_copies(c)) && !c->flushed) {
        because(c, "writes what it has into blocks");
        return (struct sync_action){.what = SYNC_FLUSH};
    }
    return gone(c);
}

struct sync_action sync_core_next(struct sync_core *c, int64_t now_ms)
{
    if (!c->ring || c->self == RING_NOBODY)
        return wait_until(now_ms + c->cfg.retry_ms);
    switch (c->state) {
    case RING_PENDING:
        return pending(c, now_ms);
    case RING_JOINING:
        return joining(c, now_ms);
    case RING_ACTIVE:
        return active(c, now_ms);
    case RING_LEAVING:
        return leaving(c, now_ms);
    default:
        return gone(c);
    }
}

/* --- what came of it --- */

void sync_core_compared(struct sync_core *c, const char *peer, uint64_t version, bool ok, uint64_t gen, int64_t now_ms)
{
    struct sync_peer *p = peer_find(c, peer);

    if (!p || !c->ring || version != ring_epoch(c->ring))
        return;
    if (!ok) {
        p->retry_ms = now_ms + (c->cfg.retry_ms << MIN(p->failures, (unsigned)BACKOFF_DOUBLINGS));
        p->failures++;
        return;
    }
    p->failures = 0;
    p->done_version = version;
    p->done_ms = now_ms;
    c->gen = MAX(c->gen, gen);
}

void sync_core_asked(struct sync_core *c, const char *peer, uint64_t taken_version, int64_t now_ms)
{
    struct sync_peer *p = peer_find(c, peer);

    if (!p)
        return;
    p->asked_ms = now_ms;
    p->taken_version = taken_version;
}

void sync_core_known(struct sync_core *c, uint64_t gen)
{
    c->known_gen = MAX(c->known_gen, gen);
}

void sync_core_flushed(struct sync_core *c, bool ok)
{
    c->flushed = ok;
}

void sync_core_leave(struct sync_core *c, bool leave)
{
    c->leave = leave;
}

void sync_core_kick(struct sync_core *c, int64_t now_ms)
{
    c->pass_ms = now_ms;
    for (size_t i = 0; i < c->peers.n; i++) {
        c->peers.v[i].retry_ms = 0;
        c->peers.v[i].done_ms = MIN(c->peers.v[i].done_ms, now_ms - 1);
    }
}

uint64_t sync_core_taken(const struct sync_core *c)
{
    return c->ring && c->self != RING_NOBODY && all_taken(c) && !unknown_blocks(c) ? ring_epoch(c->ring) : 0;
}

bool sync_core_due(const struct sync_core *c, size_t i)
{
    const struct sync_peer *p = &c->peers.v[i];

    return p->gives && (p->done_version != ring_epoch(c->ring) || p->done_ms < c->pass_ms);
}

bool sync_core_quiet(const struct sync_core *c)
{
    for (size_t i = 0; i < c->peers.n; i++)
        if (sync_core_due(c, i))
            return false;
    return c->ring != NULL;
}

const char *sync_core_why(const struct sync_core *c)
{
    return c->why;
}

size_t sync_core_peers_n(const struct sync_core *c)
{
    return c->peers.n;
}

const struct sync_peer *sync_core_peer(const struct sync_core *c, size_t i)
{
    return &c->peers.v[i];
}
