#include "querier/fan.h"

#include "common/base/hash.h"
#include "common/base/planted.h"
#include "querier/mailbox.h"

#include <stdlib.h>

/* --- setting up --- */

int fan_read_need(const struct ring *r)
{
    if (PLANTED("reads-ask-one-owner"))
        return 1;
    return ring_rf(r) - ring_quorum(ring_rf(r)) + 1;
}

int fan_ring_check(const struct fan *f, uint64_t theirs, struct err *err)
{
    uint64_t ours = ring_epoch(f->ring);

    if (theirs == ours || theirs == 0)
        return 0;
    return err_set(err, RC_MOVED, "answers at ring version %llu, ours is %llu",
                   (unsigned long long)theirs, (unsigned long long)ours);
}

static bool owns(const struct ring_instance *in)
{
    return (in->roles & RING_INGESTER) && in->tokens_n > 0 &&
           (in->state == RING_ACTIVE || in->state == RING_LEAVING);
}

/* Owners by zone, from a random zone on, suspects at the end of their zone. */
static void make_order(struct fan *f)
{
    bool *placed = f->covered;
    uint64_t seed;
    size_t start;

    random_bytes(&seed, sizeof seed);
    start = f->n ? (size_t)(seed % f->n) : 0;
    memset(placed, 0, f->n * sizeof *placed);
    for (size_t i = 0; i < f->n; i++) {
        const struct fan_peer *first = &f->peers[(start + i) % f->n];

        if (!first->owner || placed[first->instance])
            continue;
        for (int suspects = 0; suspects < 2; suspects++) {
            for (size_t k = 0; k < f->n; k++) {
                const struct fan_peer *p = &f->peers[(start + k) % f->n];

                if (!p->owner || placed[p->instance] || strcmp(p->in->zone, first->in->zone) != 0 ||
                    (p->in->health == RING_SUSPECT) != suspects)
                    continue;
                placed[p->instance] = true;
                f->order[f->order_n++] = p->instance;
            }
        }
        f->zone_end[f->zones_n++] = f->order_n;
    }
}

int fan_init(struct fan *f, const struct fan_cfg *cfg, const struct ring *ring,
             const struct fan_ops *ops, void *arg, struct arena *a, struct err *err)
{
    size_t n = ring_instances_n(ring), owners = 0;
    struct fan out = {.cfg = *cfg, .ring = ring, .ops = ops, .arg = arg, .n = n};

    out.peers = arena_zalloc(a, n * sizeof *out.peers);
    out.order = arena_array(a, n, sizeof *out.order);
    out.zone_end = arena_array(a, n, sizeof *out.zone_end);
    out.covered = arena_array(a, n, sizeof *out.covered);
    if (!out.peers || !out.order || !out.zone_end || !out.covered)
        return err_set(err, RC_NOMEM, "select: memory budget is spent");
    for (size_t i = 0; i < n; i++) {
        const struct ring_instance *in = ring_instance(ring, (uint16_t)i);
        struct fan_peer *p = &out.peers[i];

        *p =
            (struct fan_peer){.in = in, .instance = (uint16_t)i, .owner = owns(in) && in->readable};
        owners += owns(in);
        if (owns(in) && !in->readable) {
            p->state = FAN_FAILED;
            err_set(&p->err, RC_UNAVAILABLE, "%s", in->healthy ? "rebuilding" : "not alive");
        }
    }
    if (owners == 0)
        return err_set(err, RC_UNAVAILABLE, "no ingester owns tokens of the ring yet");
    make_order(&out);
    out.box = mailbox_new();
    *f = out;
    return 0;
}

void fan_fini(struct fan *f)
{
    mailbox_close(f->box);
    f->box = NULL;
}

/* --- asking --- */

static int64_t left_ms(const struct fan *f)
{
    return (f->cfg.deadline_mono_ns - clock_mono_ns(f->cfg.clock)) / 1000000;
}

static int timed_out(struct err *err)
{
    return err_set(err, RC_TIMEOUT, "query timed out in expression evaluation");
}

static int send_next(struct fan *f, struct fan_peer *p, struct err *err)
{
    struct buf out;
    int64_t left = left_ms(f);
    int rc;

    if (left <= 0)
        return timed_out(err);
    buf_init(&out, RPC_MESSAGE_BYTES_MAX);
    rc = f->ops->request(f->arg, p, &out, err);
    if (rc < 0) {
        buf_fini(&out);
        return rc;
    }
    f->in_flight++;
    p->state = FAN_ASKED;
    p->asked_ms = clock_mono_ms(f->cfg.clock);
    p->trace = trace_begin(f->cfg.trace, "ask %s in zone %s for %s", p->in->id, p->in->zone, p->data ? "samples" : "what it has");
    mailbox_send(f->box, f->cfg.rpc, p->in->addr, f->ops->method, &out, left, p->instance, f->round);
    buf_fini(&out);
    return 0;
}

int fan_ask_next(struct fan *f, struct fan_peer *p, struct err *err)
{
    return send_next(f, p, err);
}

static bool fails_peer(int rc)
{
    return rc == RC_MOVED || rc == RC_CORRUPT || rc == RC_VERSION || rc == RC_UNAVAILABLE;
}

/* What the server said for good: another would say the same. */
static bool fails_all(int rc)
{
    return rc == RC_STALE || rc == RC_INVALID || rc == RC_LIMIT;
}

static int take_reply(struct fan *f, struct mail *r, struct err *err)
{
    struct fan_peer *p = &f->peers[r->tag];
    int rc = r->rc;

    if (r->round != f->round) /* of a question that was settled without it */
        return 0;
    f->in_flight--;
    if (p->state == FAN_FAILED) /* by an answer before this one */
        return 0;
    trace_end(p->trace, ": %s, %zu bytes", rc_name(rc), r->payload.n);
    if (rc == RC_OK) {
        rc = f->ops->answer(f->arg, p, &r->payload, err);
        if (rc > 0)
            return rc == FAN_NEXT_ASKED ? 0 : send_next(f, p, err);
        if (rc == 0) {
            p->state = FAN_DONE;
            p->late = false;
            return 0;
        }
        if (!fails_peer(rc))
            return rc;
        if (err)
            p->err = *err;
    } else {
        if (fails_all(rc)) {
            *err = r->err;
            return rc;
        }
        p->err = r->err;
    }
    p->state = FAN_FAILED;
    p->moved = rc == RC_MOVED;
    f->replace_data |= p->data;
    return 0;
}

/* Takes what has arrived, or waits a little. */
static int take_replies(struct fan *f, struct err *err)
{
    int64_t left = left_ms(f);
    struct mail *list = mailbox_take(f->box, MIN(left, (int64_t)FAN_POLL_MS));
    int rc = 0;

    while (list) {
        struct mail *next = list->next;

        if (rc == 0)
            rc = take_reply(f, list, err);
        mail_free(list);
        list = next;
    }
    if (rc < 0)
        return rc;
    if (f->cfg.cancel && atomic_load_explicit(f->cfg.cancel, memory_order_relaxed))
        return err_set(err, RC_CANCELED, "query was canceled in expression evaluation");
    return left <= 0 ? timed_out(err) : 0;
}

/* --- choosing --- */

enum { COUNT_DONE, COUNT_EXPECTED, COUNT_HOPED };

/* Covered by those that are done; that are asked and not late as well; that are late as well. */
static bool covered_by(struct fan *f, int what, int need)
{
    for (size_t i = 0; i < f->n; i++) {
        const struct fan_peer *p = &f->peers[i];

        f->covered[i] =
            p->state == FAN_DONE || (p->state == FAN_ASKED &&
                                     (what == COUNT_HOPED || (what == COUNT_EXPECTED && !p->late)));
    }
    return ring_covered(f->ring, f->covered, need);
}

/* Chosen in f->covered; those of order[from..to) that coverage does not need are taken out again,
 * last first. */
static void prune(struct fan *f, const bool *fresh, int need)
{
    for (size_t i = f->order_n; i-- > 0;) {
        uint16_t at = f->order[i];

        if (!fresh[at])
            continue;
        f->covered[at] = false;
        if (!ring_covered(f->ring, f->covered, need))
            f->covered[at] = true;
    }
}

/* Marks as data so many of the first chosen as cover every range once. */
static void choose_data(struct fan *f, const bool *fresh)
{
    bool *data = xcalloc(f->n, sizeof *data);

    for (size_t z = 0, i = 0; z < f->zones_n && !ring_covered(f->ring, data, 1); z++)
        for (; i < f->zone_end[z]; i++)
            data[f->order[i]] = f->covered[f->order[i]];
    for (size_t i = f->order_n; i-- > 0;) {
        uint16_t at = f->order[i];

        if (!data[at])
            continue;
        data[at] = false;
        data[at] = !ring_covered(f->ring, data, 1);
    }
    for (size_t i = 0; i < f->n; i++)
        if (fresh[i])
            f->peers[i].data = data[i];
    free(data);
}

/* Asks as many more as coverage needs. False in *ret_enough when even all do not cover. */
static int extend(struct fan *f, int need, bool first, bool *ret_enough, struct err *err)
{
    bool *fresh = xcalloc(f->n, sizeof *fresh);
    bool enough = covered_by(f, COUNT_EXPECTED, need);
    bool any = false;
    int rc = 0;

    for (size_t z = 0, i = 0; z < f->zones_n && !enough; z++) {
        for (; i < f->zone_end[z]; i++) {
            struct fan_peer *p = &f->peers[f->order[i]];

            fresh[p->instance] = p->state == FAN_IDLE;
            f->covered[p->instance] |= fresh[p->instance];
            any |= fresh[p->instance];
        }
        enough = ring_covered(f->ring, f->covered, need);
    }
    if (enough && any && (ring_zones_n(f->ring) < (size_t)ring_rf(f->ring) || !first))
        prune(f, fresh, need);
    if (first && any)
        choose_data(f, fresh);
    for (size_t i = 0; i < f->n && rc == 0 && any; i++) {
        if (!fresh[i] || !f->covered[i])
            continue;
        if (!first)
            f->peers[i].data = f->replace_data;
        rc = send_next(f, &f->peers[i], err);
    }
    *ret_enough = enough;
    free(fresh);
    return rc;
}

static void mark_late(struct fan *f)
{
    int64_t now = clock_mono_ms(f->cfg.clock);

    for (size_t i = 0; i < f->n; i++) {
        struct fan_peer *p = &f->peers[i];

        if (p->state != FAN_ASKED || p->late || now - p->asked_ms < f->cfg.hedge_ms)
            continue;
        p->late = true;
        f->replace_data |= p->data;
    }
}

static int not_covered(struct fan *f, int need, struct err *err)
{
    struct buf b;
    bool moved = false;
    int rc;

    buf_init(&b, ERR_TEXT_MAX / 2);
    for (size_t i = 0; i < f->n; i++) {
        const struct fan_peer *p = &f->peers[i];

        moved |= p->moved;
        if (p->state == FAN_FAILED && b.n < ERR_TEXT_MAX / 4)
            buf_printf(&b, "%s%s (%.100s)", b.n ? ", " : "", p->in->id, err_text(&p->err));
    }
    rc = err_set(err, moved ? RC_MOVED : RC_UNAVAILABLE,
                 "too few ingesters answered, %d owners of each series are needed; failed: %.*s",
                 need, STR_FMT(buf_view(&b)));
    buf_fini(&b);
    return rc;
}

int fan_run(struct fan *f, int need, struct err *err)
{
    bool enough, first = true;
    int rc;

    for (;;) {
        if (covered_by(f, COUNT_DONE, need))
            return 0;
        mark_late(f);
        rc = extend(f, need, first, &enough, err);
        first = false;
        if (rc < 0)
            return rc;
        if (!enough && !covered_by(f, COUNT_HOPED, need))
            return not_covered(f, need, err);
        rc = take_replies(f, err);
        if (rc < 0)
            return rc;
    }
}

int fan_ask(struct fan *f, const struct fan_ops *ops, void *arg, const uint16_t *peers, size_t n,
            bool best_effort, struct err *err)
{
    int64_t give_up = clock_mono_ms(f->cfg.clock) + f->cfg.hedge_ms;
    int rc = 0;

    f->ops = ops;
    f->arg = arg;
    f->round++;
    f->in_flight = 0;
    for (size_t i = 0; i < f->n; i++)
        if (f->peers[i].state == FAN_ASKED)
            f->peers[i].state = FAN_IDLE;
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = send_next(f, &f->peers[peers[i]], err);
    while (rc == 0 && f->in_flight && !(best_effort && clock_mono_ms(f->cfg.clock) > give_up))
        rc = take_replies(f, err);
    for (size_t i = 0; i < n && rc == 0 && !best_effort; i++) {
        const struct fan_peer *p = &f->peers[peers[i]];

        if (p->state == FAN_FAILED)
            rc = err_set(err, RC_MOVED, "%s has failed between two steps of a select: %.200s",
                         p->in->id, err_text(&p->err));
    }
    return rc;
}
