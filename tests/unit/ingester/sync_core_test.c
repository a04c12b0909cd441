/* Single decisions of the sync core; how they work together is simulated (tests/sim/ingester). */
#include "ingester/sync_core.h"
#include "tests/test.h"

#include <stdio.h>

enum { MEMBERS_MAX = 8 };

struct fixture {
    struct member members[MEMBERS_MAX];
    size_t n;
    struct sync_core *core;
    int64_t now;
    uint64_t epoch;
};

static void member_add(struct fixture *f, enum ring_state state, uint32_t flags, const char *zone)
{
    struct member *m = &f->members[f->n];

    *m = (struct member){.roles = RING_INGESTER, .state = state, .flags = flags, .incarnation = 1};
    snprintf(m->id, sizeof m->id, "i%zu", f->n++);
    snprintf(m->zone, sizeof m->zone, "%s", zone);
    snprintf(m->addr, sizeof m->addr, "n%zu:1", f->n);
    m->tokens_n = RING_TOKENS;
    m->tokens = xcalloc(RING_TOKENS, sizeof *m->tokens);
    tokens_of_name(str_of(m->id), RING_TOKENS, m->tokens);
}

/* The ring as the members are now, with a new epoch; self is i0. */
static void changed(struct fixture *f)
{
    const struct member *list[MEMBERS_MAX];
    struct ring *r;

    for (size_t i = 0; i < f->n; i++)
        list[i] = &f->members[i];
    r = ring_new(list, f->n, 3, ++f->epoch, "i0");
    sync_core_ring(f->core, r, f->now);
    ring_unref(r);
}

/* i0 in this state, with others ACTIVE in three zones. */
static void begin(struct fixture *f, enum ring_state state, uint32_t flags, size_t others)
{
    static const char *const zones[] = {"a", "b", "c"};
    const struct sync_core_cfg cfg = {.id = "i0", .period_ms = 60000, .settle_ms = 3000, .greet_ms = 1000, .contact_ms = 10000, .retry_ms = 500, .leave_ms = 100000};

    *f = (struct fixture){.now = 1000};
    f->core = sync_core_new(&cfg, f->now);
    member_add(f, state, flags, "a");
    for (size_t i = 0; i < others; i++)
        member_add(f, RING_ACTIVE, 0, zones[(i + 1) % 3]);
    changed(f);
}

static void end(struct fixture *f)
{
    sync_core_free(f->core);
    for (size_t i = 0; i < f->n; i++)
        member_fini(&f->members[i]);
}

static struct sync_action next(struct fixture *f)
{
    return sync_core_next(f->core, f->now);
}

/* What it wants besides waiting and comparing; every comparison succeeds, unless nobody gives. */
static struct sync_action wants(struct fixture *f, int64_t within_ms, unsigned *compared)
{
    int64_t until = f->now + within_ms;
    struct sync_action a = {0};

    while (f->now < until) {
        a = next(f);
        if (a.what == SYNC_COMPARE) {
            ++*compared;
            sync_core_compared(f->core, a.peer, f->epoch, true, 5, f->now);
        } else if (a.what == SYNC_KNOW) {
            CHECK_INT(a.gen, 5);
            sync_core_known(f->core, a.gen);
        } else if (a.what != SYNC_WAIT) {
            return a;
        } else {
            f->now += 100;
        }
    }
    return a;
}

TEST(who_displaces_nobody_owns_at_once)
{
    struct fixture f;
    unsigned compared = 0;

    begin(&f, RING_PENDING, 0, 2);
    CHECK(wants(&f, 2000, &compared).state == RING_JOINING);
    f.members[0].state = RING_JOINING;
    changed(&f);
    CHECK(wants(&f, 2000, &compared).state == RING_ACTIVE);
    CHECK_INT(compared, 0);
    end(&f);
}

TEST(who_displaces_others_takes_over_first)
{
    struct fixture f;
    unsigned compared = 0;
    struct sync_action a;

    begin(&f, RING_PENDING, 0, 3);
    CHECK(wants(&f, 2900, &compared).what == SYNC_WAIT); /* until it is quiet */
    a = wants(&f, 1000, &compared);
    CHECK(a.what == SYNC_SET_STATE && a.state == RING_JOINING && compared == 0);
    f.members[0].state = RING_JOINING;
    changed(&f);
    CHECK_INT(sync_core_taken(f.core), 0);
    a = next(&f);
    CHECK(a.what == SYNC_COMPARE && a.whole);
    sync_core_compared(f.core, a.peer, f.epoch, false, 0, f.now); /* fails: later again */
    sync_core_compared(f.core, a.peer, f.epoch - 1, true, 0, f.now); /* of another version: nothing */
    a = wants(&f, 10000, &compared);
    CHECK(a.what == SYNC_SET_STATE && a.state == RING_ACTIVE);
    CHECK(compared >= 2);
    CHECK(sync_core_taken(f.core) == f.epoch);
    end(&f);
}

TEST(one_moves_at_a_time)
{
    struct fixture f;
    unsigned compared = 0;

    begin(&f, RING_PENDING, 0, 4);
    f.members[2].state = RING_LEAVING;
    changed(&f);
    CHECK(wants(&f, 20000, &compared).what == SYNC_WAIT);
    CHECK(strstr(sync_core_why(f.core), "i2") && strstr(sync_core_why(f.core), "LEAVING"));
    f.members[2].state = RING_ACTIVE;
    f.members[3].flags = RING_READ_ONLY;
    changed(&f);
    CHECK(wants(&f, 20000, &compared).what == SYNC_WAIT && strstr(sync_core_why(f.core), "READ_ONLY"));
    /* Both began: who leaves stays, who joins steps back. */
    f.members[0].state = RING_JOINING;
    changed(&f);
    CHECK(next(&f).state == RING_PENDING);
    /* Two join: the smaller id stays. */
    f.members[3].flags = 0;
    f.members[1].state = RING_JOINING;
    changed(&f);
    CHECK(wants(&f, 20000, &compared).what == SYNC_WAIT);
    CHECK_INT(compared, 0);
    end(&f);
}

TEST(who_leaves_waits_for_the_takers)
{
    struct fixture f;
    unsigned compared = 0, asked = 0;
    struct sync_action a;

    begin(&f, RING_ACTIVE, 0, 4);
    sync_core_leave(f.core, true);
    a = wants(&f, 10000, &compared);
    CHECK(a.what == SYNC_SET_STATE && a.state == RING_LEAVING);
    f.members[0].state = RING_LEAVING;
    changed(&f);
    while ((a = next(&f)).what != SYNC_GONE) {
        CHECK(a.what == SYNC_WAIT || a.what == SYNC_ASK);
        if (a.what == SYNC_ASK)
            sync_core_asked(f.core, a.peer, ++asked < 4 ? f.epoch - 1 : f.epoch, f.now);
        f.now += 100;
        CHECK(f.now < 60000);
    }
    CHECK(asked >= 4);
    end(&f);
}

TEST(who_leaves_alone_or_too_slowly_flushes)
{
    struct fixture f;

    begin(&f, RING_LEAVING, 0, 2); /* three owners become two */
    sync_core_leave(f.core, true);
    f.now += 5000;
    CHECK(next(&f).what == SYNC_FLUSH);
    sync_core_flushed(f.core, false);
    CHECK(next(&f).what == SYNC_FLUSH);
    sync_core_flushed(f.core, true);
    CHECK(next(&f).what == SYNC_GONE);
    end(&f);
    begin(&f, RING_LEAVING, 0, 4);
    sync_core_leave(f.core, true);
    CHECK(next(&f).what == SYNC_ASK);
    f.now += 100001;
    CHECK(next(&f).what == SYNC_FLUSH);
    sync_core_leave(f.core, false); /* no, it stays */
    CHECK(next(&f).state == RING_ACTIVE);
    end(&f);
}

TEST(a_lost_disk_is_rebuilt_from_enough_others)
{
    struct fixture f;
    struct sync_action a;
    unsigned compared = 0;

    begin(&f, RING_ACTIVE, RING_REBUILDING, 2);
    f.members[2].health = RING_DEAD; /* what only it has is not here yet */
    changed(&f);
    a = wants(&f, 30000, &compared);
    CHECK(a.what == SYNC_WAIT && compared == 1);
    f.members[2].health = RING_ALIVE;
    changed(&f);
    a = wants(&f, 30000, &compared);
    CHECK(a.what == SYNC_SET_FLAGS && a.flags == 0 && compared == 3);
    /* Who lost its disk as well has nothing to give. */
    f.members[1].flags = f.members[2].flags = RING_REBUILDING;
    changed(&f);
    CHECK(next(&f).what == SYNC_SET_FLAGS);
    end(&f);
}

TEST(an_owner_whose_head_is_new_has_lost_it)
{
    const struct sync_core_cfg cfg = {.id = "i0", .settle_ms = 3000, .retry_ms = 500, .new_head = true};
    struct fixture f;
    struct sync_action a;

    begin(&f, RING_ACTIVE, 0, 3);
    sync_core_free(f.core);
    f.core = sync_core_new(&cfg, f.now);
    changed(&f);
    a = next(&f);
    CHECK(a.what == SYNC_SET_FLAGS && a.flags == RING_REBUILDING);
    end(&f);
}

TEST(what_was_too_young_is_compared_once_more)
{
    const struct sync_core_cfg cfg = {.id = "i0", .settle_ms = 3000, .retry_ms = 500, .slack_ms = 30000};
    struct fixture f;
    unsigned compared = 0;

    begin(&f, RING_ACTIVE, 0, 2);
    sync_core_free(f.core);
    f.core = sync_core_new(&cfg, f.now);
    changed(&f);
    wants(&f, 20000, &compared);
    CHECK_INT(compared, 2);
    wants(&f, 20000, &compared);
    CHECK_INT(compared, 4);
    wants(&f, 100000, &compared);
    CHECK_INT(compared, 4);
    end(&f);
}

/* The epoch does not tell: health is no part of it. */
TEST(one_that_is_back_is_compared)
{
    struct fixture f;
    unsigned compared = 0;

    begin(&f, RING_ACTIVE, 0, 2);
    wants(&f, 1000, &compared);
    f.members[1].health = RING_DEAD;
    f.epoch--;
    changed(&f);
    wants(&f, 1000, &compared);
    CHECK_INT(compared, 2);
    f.members[1].health = RING_ALIVE;
    f.epoch--;
    changed(&f);
    wants(&f, 1000, &compared);
    CHECK_INT(compared, 4);
    end(&f);
}

TEST(all_are_compared_after_a_change_and_each_period)
{
    struct fixture f;
    unsigned compared = 0;

    begin(&f, RING_ACTIVE, 0, 2);
    wants(&f, 1000, &compared);
    CHECK(compared == 2 && sync_core_quiet(f.core));
    wants(&f, 50000, &compared);
    CHECK_INT(compared, 2);
    wants(&f, 20000, &compared);
    CHECK_INT(compared, 4);
    sync_core_kick(f.core, f.now);
    CHECK(!sync_core_quiet(f.core));
    wants(&f, 1000, &compared);
    CHECK_INT(compared, 6);
    changed(&f);
    wants(&f, 1000, &compared);
    CHECK_INT(compared, 8);
    end(&f);
}
