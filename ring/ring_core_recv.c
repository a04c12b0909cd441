/* What a member does with a message. */
#include "ring/ring_core_impl.h"

#include <stdio.h>
#include <stdlib.h>

/* --- knowledge --- */

/* A member without a past hears that it was an owner: its disk is gone, its ranges are not. It takes them up again, rebuilding, so that
 * ownership does not jump to others and back. */
static void take_up_former_life(struct ring_core *c, const struct member *m)
{
    struct member *self = &core_self(c)->m;

    if (c->has_past || !member_owns_tokens(m) || !member_owns_tokens(self) || m->tokens_n == 0)
        return;
    if (m->incarnation < self->incarnation || m->registered_ms == self->registered_ms)
        return;
    if (m->state != RING_ACTIVE && m->state != RING_LEAVING)
        return;
    c->has_past = true;
    free(self->tokens);
    self->tokens        = xmemdup(m->tokens, m->tokens_n * sizeof *m->tokens);
    self->tokens_n      = m->tokens_n;
    self->state         = RING_ACTIVE;
    self->flags         = m->flags | RING_REBUILDING;
    self->registered_ms = m->registered_ms;
}

/* Something about this member itself: only it decides, the rest is overruled. */
static void hear_of_self(struct ring_core *c, const struct member *m)
{
    struct entry *self = core_self(c);
    bool overrule, recount;

    if (self->m.state == RING_LEFT)
        return;
    take_up_former_life(c, m);
    overrule = m->incarnation > self->m.incarnation ||
               (m->incarnation == self->m.incarnation &&
                (m->version > self->m.version || m->health != RING_ALIVE));
    recount = m->changes > self->m.changes ||
              (m->changes == self->m.changes && member_owns_tokens(m) &&
               member_cmp_version(m, &self->m) != 0 && member_ownership_differs(m, &self->m));
    if (recount) { /* an earlier life's or a forgetter's count: pass it, for what it counted is not what is */
        self->m.changes = m->changes;
        core_self_changed(c, true);
    }
    if (overrule)
        core_refute(c, m->incarnation);
}

static void hear_note(struct ring_core *c, const struct ring_note *n)
{
    struct entry *e = core_find(c, n->id);

    if (!e)
        return; /* the record will come by itself */
    if (entry_is_self(c, e)) {
        /* Of a former life, of which this process knows nothing: to refute it would overwrite at the others what they know about it. Its record comes. */
        if (!c->has_past && n->incarnation > e->m.incarnation)
            return;
        if (n->health != RING_ALIVE && n->incarnation >= e->m.incarnation && n->incarnation < UINT64_MAX / 2)
            core_refute(c, n->incarnation);
        return;
    }
    if (member_merge_health(&e->m, n->incarnation, n->health)) {
        e->health_ms = core_now(c);
        core_tell_health(c, e);
    }
}

void core_hear_record(struct ring_core *c, struct member *m)
{
    struct entry *e = core_find(c, str_of(m->id));
    unsigned what;

    if (e && entry_is_self(c, e)) {
        hear_of_self(c, m);
        return;
    }
    if (!e) {
        if (ring_core_expired(c, m))
            return;
        e = core_insert(c, m);
        if (e)
            core_tell_body(c, e);
        return;
    }
    what = member_merge(&e->m, m);
    if (what & MERGE_HEALTH)
        e->health_ms = core_now(c);
    if (what & (MERGE_BODY | MERGE_CHANGES))
        core_tell_body(c, e);
    else if (what & MERGE_HEALTH)
        core_tell_health(c, e);
}

/* --- digests --- */

static const struct ring_digest *digest_of(const struct ring_msg *in, const char *id)
{
    size_t lo = 0, hi = in->digests.n;

    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        int cmp    = str_cmp(in->digests.v[mid].id, str_of(id));

        if (cmp == 0)
            return &in->digests.v[mid];
        if (cmp < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}

static void compare(struct ring_core *c, const struct ring_digest *d, struct ring_msg *out)
{
    struct entry *e      = core_find(c, d->id);
    struct member theirs = {.incarnation = d->incarnation, .version = d->version, .left_ms = d->left_ms};
    int cmp;

    if (!e) {
        *(struct ring_want *)vec_push(&out->wants) = (struct ring_want){d->id};
        return;
    }
    cmp = member_cmp_version(&e->m, &theirs);
    if (cmp > 0 || e->m.changes > d->changes)
        core_msg_record(out, e);
    else if (cmp == 0 && e->m.health > d->health)
        core_msg_note(out, e);
    if (cmp < 0 || e->m.changes < d->changes)
        *(struct ring_want *)vec_push(&out->wants) = (struct ring_want){d->id};
}

static void answer_digest(struct ring_core *c, const struct ring_msg *in, const char *addr)
{
    struct ring_msg out = core_msg(c, RING_MSG_DELTA, in->seq);

    /* Health first: it may make this member refute, and the answer shall carry that. */
    for (size_t i = 0; i < in->digests.n; i++) {
        const struct ring_digest *d = &in->digests.v[i];

        hear_note(c, &(struct ring_note){d->id, d->incarnation, d->health});
    }
    for (size_t i = 0; i < in->digests.n; i++)
        compare(c, &in->digests.v[i], &out);
    for (size_t i = 0; i < c->table.n; i++) {
        if (!digest_of(in, c->table.v[i].m.id))
            core_msg_record(&out, &c->table.v[i]);
    }
    if (out.records.n + out.wants.n + out.notes.n > 0)
        core_send(c, addr, &out);
    else
        ring_msg_fini(&out);
}

static void answer_wants(struct ring_core *c, const struct ring_msg *in, const char *addr)
{
    struct ring_msg out = core_msg(c, RING_MSG_DELTA, in->seq);

    for (size_t i = 0; i < in->wants.n; i++) {
        const struct entry *e = core_find(c, in->wants.v[i].id);

        if (e)
            core_msg_record(&out, e);
    }
    if (out.records.n > 0)
        core_send(c, addr, &out);
    else
        ring_msg_fini(&out);
}

/* --- probes --- */

static void answer_ping(struct ring_core *c, const struct ring_msg *in, const char *addr)
{
    struct ring_msg out = core_msg(c, RING_MSG_ACK, in->seq);

    core_msg_news(c, &out, core_find(c, in->sender));
    core_send(c, addr, &out);
}

static void relay_ping(struct ring_core *c, const struct ring_msg *in, const char *addr)
{
    const struct entry *target = core_find(c, in->target);
    struct relay *r            = &c->relays[c->relay_at++ % RELAYS_MAX];
    struct ring_msg out;

    if (!target || entry_is_self(c, target))
        return;
    *r = (struct relay){.seq = ++c->seq, .origin_seq = in->seq};
    snprintf(r->origin, sizeof r->origin, "%s", addr);
    out = core_msg(c, RING_MSG_PING, r->seq);
    core_send(c, target->m.addr, &out);
}

static void hear_ack(struct ring_core *c, const struct ring_msg *in)
{
    if (c->probe.active && c->probe.seq == in->seq) {
        c->probe.active = false;
        return;
    }
    for (size_t i = 0; i < RELAYS_MAX; i++) {
        struct relay *r = &c->relays[i];
        struct ring_msg out;

        if (r->seq != in->seq || !r->origin[0])
            continue;
        out = core_msg(c, RING_MSG_ACK, r->origin_seq);
        core_send(c, r->origin, &out);
        r->origin[0] = 0;
        return;
    }
}

/* --- entrance --- */

static void hear(struct ring_core *c, struct ring_msg *in)
{
    char addr[RING_ADDR_MAX + 1];
    struct entry *sender;

    snprintf(addr, sizeof addr, "%.*s", STR_FMT(in->sender_addr));
    for (size_t i = 0; i < in->records.n; i++)
        core_hear_record(c, &in->records.v[i]);
    for (size_t i = 0; i < in->notes.n; i++)
        hear_note(c, &in->notes.v[i]);
    sender = core_find(c, in->sender);
    if (sender)
        sender->heard_ms = core_now(c);
    switch (in->type) {
    case RING_MSG_PING:
        answer_ping(c, in, addr);
        break;
    case RING_MSG_ACK:
        hear_ack(c, in);
        break;
    case RING_MSG_PING_REQ:
        relay_ping(c, in, addr);
        break;
    case RING_MSG_DIGEST:
        answer_digest(c, in, addr);
        break;
    case RING_MSG_DELTA:
        answer_wants(c, in, addr);
        break;
    case RING_MSG_GOSSIP:
    case RING_MSG_TYPES:
        break;
    }
    /* A stranger that does not introduce itself: ask. */
    if (!sender && in->type != RING_MSG_DIGEST)
        core_send_digest(c, addr);
}

int ring_core_receive(struct ring_core *c, struct str payload, struct err *err)
{
    struct ring_msg in;
    int rc = ring_msg_decode(payload, &in, err);

    c->stats.received++;
    if (rc < 0) {
        c->stats.malformed++;
        return rc;
    }
    if (str_eqz(in.sender, c->id)) {
        /* A seed list may name this member itself; from elsewhere it is a second process with this name. */
        if (!str_eqz(in.sender_addr, c->addr)) {
            c->stats.conflicts++;
            rc = err_set(err, RC_EXISTS, "another process at %.*s uses this member's id", STR_FMT(in.sender_addr));
        }
    } else if (core_self(c)->m.state != RING_LEFT) {
        hear(c, &in);
    }
    ring_msg_fini(&in);
    core_flush(c);
    return rc;
}
