#include "ring/ring_core_impl.h"

#include <stdio.h>
#include <stdlib.h>

/* --- table --- */

int64_t core_now(const struct ring_core *c)
{
    return c->env.now_ms(c->env.self);
}

/* Index of id, or where it belongs. */
static size_t place_of(const struct ring_core *c, struct str id)
{
    size_t lo = 0, hi = c->table.n;

    while (lo < hi) {
        size_t mid = (lo + hi) / 2;

        if (str_cmp(str_of(c->table.v[mid].m.id), id) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

struct entry *core_find(const struct ring_core *c, struct str id)
{
    size_t at = place_of(c, id);

    return at < c->table.n && str_eqz(id, c->table.v[at].m.id) ? &c->table.v[at] : NULL;
}

struct entry *core_self(const struct ring_core *c)
{
    struct entry *e = core_find(c, str_of(c->id));

    ASSERT(e);
    return e;
}

struct entry *core_insert(struct ring_core *c, struct member *m)
{
    size_t at = place_of(c, str_of(m->id));

    if (c->table.n >= RING_MEMBERS_MAX) {
        c->stats.table_full++;
        return NULL;
    }
    vec_push(&c->table);
    memmove(&c->table.v[at + 1], &c->table.v[at], (c->table.n - 1 - at) * sizeof *c->table.v);
    c->table.v[at] = (struct entry){.m = *m, .health_ms = core_now(c)};
    *m             = (struct member){0};
    vec_clear(&c->order); /* indexes moved */
    c->dirty = true;
    return &c->table.v[at];
}

static void remove_entry(struct ring_core *c, size_t at)
{
    member_fini(&c->table.v[at].m);
    memmove(&c->table.v[at], &c->table.v[at + 1], (c->table.n - 1 - at) * sizeof *c->table.v);
    c->table.n--;
    vec_clear(&c->order);
    c->dirty = true;
}

bool ring_core_expired(const struct ring_core *c, const struct member *m)
{
    return m->state == RING_LEFT && !member_owns_tokens(m) &&
           c->env.wall_ms(c->env.self) > m->left_ms + RING_TOMBSTONE_MS;
}

size_t ring_core_alive(const struct ring_core *c)
{
    size_t n = 0;

    for (size_t i = 0; i < c->table.n; i++)
        n += entry_alive(&c->table.v[i]) && !entry_is_self(c, &c->table.v[i]);
    return n;
}

/* --- news --- */

static unsigned log2_up(size_t n)
{
    unsigned bits = 0;

    while (n > 0) {
        bits++;
        n >>= 1;
    }
    return bits;
}

static int tell_times(const struct ring_core *c)
{
    return FANOUT * (int)(log2_up(c->table.n) + 1);
}

void core_tell_body(struct ring_core *c, struct entry *e)
{
    e->tell_body   = tell_times(c);
    e->tell_health = 0; /* the record carries it */
    c->dirty       = true;
}

void core_tell_health(struct ring_core *c, struct entry *e)
{
    if (!e->tell_body)
        e->tell_health = tell_times(c);
    c->dirty = true;
}

struct ring_msg core_msg(const struct ring_core *c, enum ring_msg_type type, uint64_t seq)
{
    return (struct ring_msg){
        .type             = type,
        .sender           = str_of(c->id),
        .sender_addr      = str_of(c->addr),
        .seq              = seq,
        .borrowed_records = true,
    };
}

void core_msg_record(struct ring_msg *m, const struct entry *e)
{
    *(struct member *)vec_push(&m->records) = e->m;
}

void core_msg_note(struct ring_msg *m, const struct entry *e)
{
    *(struct ring_note *)vec_push(&m->notes) =
        (struct ring_note){str_of(e->m.id), e->m.incarnation, e->m.health};
}

void core_msg_news(struct ring_core *c, struct ring_msg *m, const struct entry *to)
{
    if (to && to->m.health != RING_ALIVE)
        core_msg_note(m, to);
    for (size_t i = 0; i < c->table.n; i++) {
        struct entry *e = &c->table.v[i];

        if (e->tell_body > 0 && m->records.n < RECORDS_MAX) {
            e->tell_body--;
            core_msg_record(m, e);
        } else if (e->tell_health > 0 && m->notes.n < NOTES_MAX) {
            e->tell_health--;
            core_msg_note(m, e);
        }
    }
}

void core_send(struct ring_core *c, const char *addr, struct ring_msg *m)
{
    struct buf b;

    buf_init(&b, RING_MSG_BYTES_MAX);
    ring_msg_encode(m, &b);
    ring_msg_fini(m);
    c->stats.sent++;
    if (buf_ok(&b)) /* a table beyond this is refused at insertion long before */
        c->env.send(c->env.self, addr, buf_view(&b));
    buf_fini(&b);
}

void core_send_digest(struct ring_core *c, const char *addr)
{
    struct ring_msg m = core_msg(c, RING_MSG_DIGEST, 0);

    for (size_t i = 0; i < c->table.n; i++) {
        const struct member *k = &c->table.v[i].m;

        *(struct ring_digest *)vec_push(&m.digests) = (struct ring_digest){
            str_of(k->id), k->incarnation, k->version, k->changes, k->left_ms, k->health};
    }
    core_send(c, addr, &m);
}

void core_flush(struct ring_core *c)
{
    if (!c->dirty)
        return;
    c->dirty = false;
    c->env.changed(c->env.self);
}

/* --- choosing members --- */

/* Up to FANOUT random members that are alive, without self and `not`. */
static size_t pick_alive(struct ring_core *c, const struct entry *not, size_t ret[FANOUT])
{
    size_t n = 0, seen = 0;

    for (size_t i = 0; i < c->table.n; i++) {
        const struct entry *e = &c->table.v[i];
        size_t at;

        if (!entry_alive(e) || e == not || entry_is_self(c, e))
            continue;
        at = n < FANOUT ? n++ : rng_below(&c->rng, seen + 1); /* reservoir sampling */
        if (at < FANOUT)
            ret[at] = i;
        seen++;
    }
    return n;
}

static struct entry *pick_dead(struct ring_core *c)
{
    struct entry *found = NULL;
    size_t seen         = 0;

    for (size_t i = 0; i < c->table.n; i++) {
        struct entry *e = &c->table.v[i];

        if (e->m.state != RING_LEFT && e->m.health == RING_DEAD && rng_below(&c->rng, ++seen) == 0)
            found = e;
    }
    return found;
}

static struct entry *next_to_probe(struct ring_core *c)
{
    for (int round = 0; round < 2; round++) {
        while (c->order.n && c->order_at < c->order.n) {
            struct entry *e = &c->table.v[c->order.v[c->order_at++]];

            if (entry_alive(e) && !entry_is_self(c, e))
                return e;
        }
        vec_clear(&c->order);
        for (size_t i = 0; i < c->table.n; i++)
            *vec_push(&c->order) = (uint16_t)i;
        for (size_t i = c->order.n; i > 1; i--) {
            size_t k = rng_below(&c->rng, i);
            uint16_t x        = c->order.v[i - 1];
            c->order.v[i - 1] = c->order.v[k];
            c->order.v[k]     = x;
        }
        c->order_at = 0;
    }
    return NULL;
}

/* --- this member's own record --- */

const struct member *ring_core_self(const struct ring_core *c)
{
    return &core_self(c)->m;
}

void core_self_changed(struct ring_core *c, bool ownership)
{
    struct entry *self = core_self(c);

    self->m.version++;
    if (ownership && member_owns_tokens(&self->m))
        self->m.changes++;
    core_tell_body(c, self);
    c->next_gossip_ms = core_now(c);
    c->env.persist(c->env.self, &self->m);
}

void core_refute(struct ring_core *c, uint64_t incarnation)
{
    struct entry *self = core_self(c);

    if (self->m.state == RING_LEFT)
        return; /* they are right */
    self->m.incarnation = MAX(self->m.incarnation, incarnation) + 1;
    self->m.version     = 0;
    self->m.health      = RING_ALIVE;
    c->stats.refutations++;
    core_self_changed(c, false);
}

void ring_core_set_state(struct ring_core *c, enum ring_state state)
{
    struct entry *self = core_self(c);

    ASSERT(state < RING_STATES);
    if (self->m.state == state)
        return;
    self->m.state = state;
    if (state == RING_LEFT)
        self->m.left_ms = c->env.wall_ms(c->env.self);
    core_self_changed(c, true);
    core_flush(c);
}

void ring_core_set_flags(struct ring_core *c, uint32_t flags)
{
    struct entry *self = core_self(c);

    ASSERT((flags & ~(uint32_t)RING_FLAGS) == 0);
    if (self->m.flags == flags)
        return;
    self->m.flags = flags;
    core_self_changed(c, true);
    core_flush(c);
}

static void drop_tokens(struct member *m)
{
    free(m->tokens);
    m->tokens   = NULL;
    m->tokens_n = 0;
}

static void gossip(struct ring_core *c)
{
    size_t picked[FANOUT], n = c->stored ? 0 : pick_alive(c, NULL, picked);

    for (size_t i = 0; i < n; i++) {
        const struct entry *to = &c->table.v[picked[i]];
        struct ring_msg m      = core_msg(c, RING_MSG_GOSSIP, 0);

        core_msg_news(c, &m, to);
        if (m.records.n + m.notes.n > 0)
            core_send(c, to->m.addr, &m);
        else
            ring_msg_fini(&m);
    }
}

void ring_core_leave(struct ring_core *c)
{
    struct entry *self = core_self(c);

    if (self->m.state == RING_LEFT)
        return;
    drop_tokens(&self->m);
    ring_core_set_state(c, RING_LEFT);
    gossip(c);
    gossip(c); /* there may be no next round: other members, the second time */
}

static void declare_left(struct ring_core *c, struct entry *e)
{
    e->m.incarnation++;
    e->m.version = 0;
    e->m.state   = RING_LEFT;
    e->m.health  = RING_DEAD;
    e->m.left_ms = c->env.wall_ms(c->env.self);
    drop_tokens(&e->m);
    if (member_owns_tokens(&e->m))
        e->m.changes++;
    core_tell_body(c, e);
    c->next_gossip_ms = core_now(c);
}

int ring_core_forget(struct ring_core *c, const char *id, struct err *err)
{
    struct entry *e = core_find(c, str_of(id));

    if (!e || e->m.state == RING_LEFT)
        return err_set(err, RC_NOT_FOUND, "no member \"%.64s\"", id);
    if (entry_is_self(c, e) || e->m.health == RING_ALIVE)
        return err_set(err, RC_INVALID, "member \"%.64s\" is alive: let it leave by itself", id);
    declare_left(c, e);
    core_flush(c);
    return 0;
}

/* --- time --- */

static int64_t suspicion_ms(const struct ring_core *c)
{
    return c->period_ms * (6 + log2_up(c->table.n)) / 2;
}

static void probe_begin(struct ring_core *c, int64_t now)
{
    struct entry *e = next_to_probe(c);
    struct ring_msg m;

    c->probe.active  = false;
    c->next_probe_ms = now + c->period_ms;
    if (!e)
        return;
    c->probe = (struct probe){.seq = ++c->seq, .sent_ms = now, .active = true};
    memcpy(c->probe.target, e->m.id, sizeof c->probe.target);
    c->stats.probes++;
    m = core_msg(c, RING_MSG_PING, c->probe.seq);
    core_msg_news(c, &m, e);
    core_send(c, e->m.addr, &m);
}

static void probe_ask_others(struct ring_core *c)
{
    struct entry *e = core_find(c, str_of(c->probe.target));
    size_t picked[FANOUT], n = pick_alive(c, e, picked);

    c->probe.asked_others = true;
    for (size_t i = 0; e && i < n; i++) {
        struct ring_msg m = core_msg(c, RING_MSG_PING_REQ, c->probe.seq);

        m.target = str_of(e->m.id);
        core_send(c, c->table.v[picked[i]].m.addr, &m);
    }
}

static void probe_failed(struct ring_core *c, int64_t now)
{
    struct entry *e = core_find(c, str_of(c->probe.target));

    c->probe.active = false;
    c->stats.probes_failed++;
    if (!e || e->m.state == RING_LEFT || e->m.health != RING_ALIVE)
        return;
    e->m.health  = RING_SUSPECT;
    e->health_ms = now;
    core_tell_health(c, e);
}

static void step_probe(struct ring_core *c, int64_t now)
{
    if (c->probe.active && !c->probe.asked_others && now >= c->probe.sent_ms + c->period_ms / 2)
        probe_ask_others(c);
    if (c->probe.active && now >= c->probe.sent_ms + c->period_ms)
        probe_failed(c, now);
    if (now >= c->next_probe_ms)
        probe_begin(c, now);
}

static void step_table(struct ring_core *c, int64_t now)
{
    for (size_t i = 0; i < c->table.n; i++) {
        struct entry *e = &c->table.v[i];

        if (entry_is_self(c, e))
            continue;
        if (e->m.state != RING_LEFT && e->m.health == RING_SUSPECT && now >= e->health_ms + suspicion_ms(c)) {
            e->m.health  = RING_DEAD;
            e->health_ms = now;
            core_tell_health(c, e);
        } else if (e->m.state != RING_LEFT && e->m.health == RING_DEAD && !member_owns_tokens(&e->m) &&
                   now >= e->health_ms + RING_FORGET_MS) {
            declare_left(c, e);
        } else if (ring_core_expired(c, &e->m)) {
            remove_entry(c, i--);
        }
    }
}

static bool has_news(const struct ring_core *c)
{
    for (size_t i = 0; i < c->table.n; i++) {
        if (c->table.v[i].tell_body > 0 || c->table.v[i].tell_health > 0)
            return true;
    }
    return false;
}

/* To `most` of the seeds, chosen by chance where there are more. */
static void sync_seeds(struct ring_core *c, size_t most)
{
    size_t left = c->seeds.n;

    for (size_t i = 0; i < c->seeds.n && most > 0; i++, left--) {
        if (rng_below(&c->rng, left) >= most)
            continue;
        most--;
        if (strcmp(c->seeds.v[i], c->addr) != 0)
            core_send_digest(c, c->seeds.v[i]);
    }
}

static void free_seeds(struct ring_core *c)
{
    for (size_t i = 0; i < c->seeds.n; i++)
        free(c->seeds.v[i]);
    vec_clear(&c->seeds);
}

void ring_core_set_seeds(struct ring_core *c, const char *const *addrs, size_t n)
{
    free_seeds(c);
    for (size_t i = 0; i < MIN(n, (size_t)RING_SEED_ADDRS_MAX); i++)
        *vec_push(&c->seeds) = xstrdup(addrs[i]);
    if (ring_core_alive(c) == 0)
        c->next_sync_ms = core_now(c);
}

/* Alone or just started: often, to all seeds. Later: a random member, at times a dead one or a seed, so that a partition is crossed. */
static void step_sync(struct ring_core *c, int64_t now)
{
    bool fresh = now < c->started_ms + START_PERIODS * c->period_ms, alone;
    size_t picked[FANOUT];
    struct entry *dead;
    int64_t step;

    if (now < c->next_sync_ms)
        return;
    alone = pick_alive(c, NULL, picked) == 0;
    dead  = pick_dead(c);
    if (!alone)
        core_send_digest(c, c->table.v[picked[0]].m.addr);
    if (dead)
        core_send_digest(c, dead->m.addr);
    if (alone || fresh)
        sync_seeds(c, SEEDS_AT_ONCE);
    else if (rng_below(&c->rng, 4) == 0)
        sync_seeds(c, 1);
    step = alone ? c->period_ms / 5 : fresh ? c->period_ms / 2 : SYNC_PERIODS * c->period_ms;
    /* Alone for long: seldom. */
    if (alone && !fresh)
        step = c->period_ms;
    c->next_sync_ms = now + step + (int64_t)rng_below(&c->rng, (uint64_t)step / 4 + 1);
}

/* A process that was stopped or starved heard nothing: that says nothing about the others. */
static void forgive_after_sleep(struct ring_core *c, int64_t now)
{
    if (now - c->last_tick_ms > 2 * c->period_ms) {
        c->probe.active = false;
        for (size_t i = 0; i < c->table.n; i++)
            c->table.v[i].health_ms = now;
    }
    c->last_tick_ms = now;
}

/* Nobody spoke of a former life so far. */
void core_settle(struct ring_core *c)
{
    struct entry *self = core_self(c);

    if (self->m.incarnation > 0)
        return;
    self->m.incarnation = 1;
    self->m.version     = 0;
    core_self_changed(c, false);
}

int64_t ring_core_tick(struct ring_core *c)
{
    int64_t now = core_now(c), next;

    if (core_self(c)->m.state == RING_LEFT)
        return now + c->period_ms; /* gone: no more probes, no more opinions */
    forgive_after_sleep(c, now);
    if (!c->stored && now >= c->started_ms + START_PERIODS * c->period_ms)
        core_settle(c);
    if (!c->stored)
        step_probe(c, now);
    step_table(c, now);
    if (c->stored) {
        core_flush(c);
        return now + c->period_ms;
    }
    step_sync(c, now);
    if (now >= c->next_gossip_ms) {
        gossip(c);
        c->next_gossip_ms = now + c->period_ms / 5;
    }
    core_flush(c);
    next = MIN(c->next_probe_ms, c->next_sync_ms);
    if (c->probe.active && !c->probe.asked_others)
        next = MIN(next, c->probe.sent_ms + c->period_ms / 2);
    if (has_news(c))
        next = MIN(next, c->next_gossip_ms);
    return MAX(next, now + 1);
}

/* --- life --- */

static int check_name(const char *what, const char *s, size_t max, bool may_be_empty, struct err *err)
{
    size_t n = s ? strlen(s) : 0;

    if (n > max || (n == 0 && !may_be_empty))
        return err_set(err, RC_INVALID, "ring: %s \"%.80s\" must have %d to %zu bytes", what, s ? s : "",
                       may_be_empty ? 0 : 1, max);
    for (size_t i = 0; i < n; i++) {
        if (s[i] <= ' ' || s[i] > '~' || strchr("<>&\"'\\`", s[i]))
            return err_set(err, RC_INVALID, "ring: %s \"%.80s\" has a character that names cannot have", what, s);
    }
    return 0;
}

static int check_cfg(const struct ring_core_cfg *cfg, struct err *err)
{
    int rc = check_name("id", cfg->id, RING_ID_MAX, false, err);

    if (rc == 0)
        rc = check_name("zone", cfg->zone, RING_ZONE_MAX, true, err);
    if (rc == 0)
        rc = check_name("address", cfg->addr, RING_ADDR_MAX, false, err);
    if (rc == 0)
        rc = check_name("http address", cfg->http_addr, RING_ADDR_MAX, true, err);
    if (rc == 0 && cfg->seeds_n > RING_SEEDS_MAX)
        rc = err_set(err, RC_LIMIT, "ring: %zu seeds, at most %d", cfg->seeds_n, RING_SEEDS_MAX);
    if (rc == 0 && cfg->restored && strcmp(cfg->restored->id, cfg->id) != 0)
        rc = err_set(err, RC_INVALID, "ring: the data directory belongs to \"%s\", this is \"%s\"",
                     cfg->restored->id, cfg->id);
    return rc;
}

/* The record of this life: the former one with a higher incarnation, or a new one of incarnation 0, which gives way to what others may
 * know of a life that this disk does not (ring_core_recv.c); core_settle ends that. */
static void make_self(struct ring_core *c, const struct ring_core_cfg *cfg)
{
    struct member m = {0}, before;
    struct entry *self;

    if (cfg->restored)
        member_copy(&m, cfg->restored);
    else
        m.registered_ms = c->env.wall_ms(c->env.self);
    member_copy(&before, &m);
    snprintf(m.id, sizeof m.id, "%s", cfg->id);
    snprintf(m.zone, sizeof m.zone, "%s", cfg->zone ? cfg->zone : "");
    snprintf(m.addr, sizeof m.addr, "%s", cfg->addr);
    snprintf(m.http_addr, sizeof m.http_addr, "%s", cfg->http_addr ? cfg->http_addr : "");
    m.roles  = cfg->roles;
    m.health = RING_ALIVE;
    if (!cfg->restored || m.state == RING_LEFT)
        m.state = cfg->state;
    if (m.tokens_n == 0 && cfg->tokens_n) {
        m.tokens   = xmemdup(cfg->tokens, cfg->tokens_n * sizeof *cfg->tokens);
        m.tokens_n = cfg->tokens_n;
    }
    if (cfg->restored)
        m.incarnation++;
    m.version = 0;
    m.left_ms = 0;
    if (member_owns_tokens(&m) && (!cfg->restored || member_ownership_differs(&m, &before)))
        m.changes++;
    member_fini(&before);
    self = core_insert(c, &m);
    core_tell_body(c, self);
    c->env.persist(c->env.self, &self->m);
}

int ring_core_new(const struct ring_core_cfg *cfg, const struct ring_core_env *env, struct ring_core **ret, struct err *err)
{
    struct ring_core *c;
    int rc = check_cfg(cfg, err);

    if (rc < 0)
        return rc;
    ASSERT(cfg->tokens_n <= RING_TOKENS_MAX && (cfg->tokens_n == 0 || (cfg->roles & RING_INGESTER)));
    c            = xcalloc(1, sizeof *c);
    c->env       = *env;
    c->has_past  = cfg->restored != NULL;
    c->stored    = cfg->stored;
    c->period_ms = cfg->period_ms ? cfg->period_ms : RING_PERIOD_MS;
    snprintf(c->id, sizeof c->id, "%s", cfg->id);
    snprintf(c->addr, sizeof c->addr, "%s", cfg->addr);
    for (size_t i = 0; i < cfg->seeds_n; i++)
        *vec_push(&c->seeds) = xstrdup(cfg->seeds[i]);
    rng_init(&c->rng, env->random_seed);
    c->started_ms = c->last_tick_ms = core_now(c);
    c->next_probe_ms = c->started_ms + (int64_t)rng_below(&c->rng, (uint64_t)c->period_ms);
    c->next_sync_ms = c->next_gossip_ms = c->started_ms;
    c->seq          = rng_u64(&c->rng) >> 16; /* acks of an earlier life do not fit */
    make_self(c, cfg);
    c->dirty = false;
    *ret     = c;
    return 0;
}

void ring_core_free(struct ring_core *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < c->table.n; i++)
        member_fini(&c->table.v[i].m);
    free_seeds(c);
    vec_fini(&c->seeds);
    vec_fini(&c->table);
    vec_fini(&c->order);
    free(c);
}

/* --- looking --- */

size_t ring_core_members_n(const struct ring_core *c)
{
    return c->table.n;
}

const struct member *ring_core_member(const struct ring_core *c, size_t i)
{
    ASSERT(i < c->table.n);
    return &c->table.v[i].m;
}

int64_t ring_core_heard_ms(const struct ring_core *c, size_t i)
{
    ASSERT(i < c->table.n);
    return entry_is_self(c, &c->table.v[i]) ? core_now(c) : c->table.v[i].heard_ms;
}

int64_t ring_core_dead_ms(const struct ring_core *c, size_t i)
{
    const struct entry *e;

    ASSERT(i < c->table.n);
    e = &c->table.v[i];
    return e->m.state != RING_LEFT && e->m.health == RING_DEAD ? MAX(core_now(c) - e->health_ms, 1) : 0;
}

struct ring_core_stats ring_core_stats(const struct ring_core *c)
{
    return c->stats;
}

uint64_t ring_core_epoch(const struct ring_core *c)
{
    uint64_t sum = 0, h = 0;

    for (size_t i = 0; i < c->table.n; i++) {
        const struct member *m = &c->table.v[i].m;
        uint64_t kind[2]       = {(uint64_t)m->state, m->flags};

        sum += m->changes;
        if (!member_owns_tokens(m) || m->state == RING_LEFT)
            continue;
        h = hash64(m->id, strlen(m->id), h);
        h = hash64(m->zone, strlen(m->zone), h);
        h = hash64(kind, sizeof kind, h);
        h = hash64(m->tokens, m->tokens_n * sizeof *m->tokens, h);
    }
    return sum << 24 | (h & 0xffffff);
}
