#include "ring/auto_forget.h"

#include "ring/ring.h"

#include <stdlib.h>

static bool is_owner(const struct member *m)
{
    return member_owns_tokens(m) && m->tokens_n > 0 && (m->state == RING_ACTIVE || m->state == RING_LEAVING || m->state == RING_JOINING);
}

static bool few_are_dead(const struct member *const *members, size_t n)
{
    size_t owners = 0, dead = 0;

    for (size_t i = 0; i < n; i++) {
        owners += is_owner(members[i]);
        dead += is_owner(members[i]) && members[i]->health == RING_DEAD;
    }
    return dead * AUTO_FORGET_PART <= owners;
}

static bool quorum_without(const struct member *const *members, size_t n, size_t gone, int rf)
{
    const struct member **rest = xcalloc(n + 1, sizeof *rest);
    size_t kept                = 0;
    struct ring *r;
    bool yes;

    for (size_t i = 0; i < n; i++) {
        if (i != gone)
            rest[kept++] = members[i];
    }
    r   = ring_new(rest, kept, rf, 0, NULL);
    yes = ring_quorate(r);
    ring_unref(r);
    free(rest);
    return yes;
}

int auto_forget_pick(const struct member *const *members, const int64_t *dead_ms, size_t n, int rf, int64_t after_ms)
{
    int best = -1;

    if (after_ms <= 0)
        return -1;
    for (size_t i = 0; i < n; i++) {
        if (is_owner(members[i]) && members[i]->health == RING_DEAD && dead_ms[i] >= after_ms && (best < 0 || dead_ms[i] > dead_ms[best]))
            best = (int)i;
    }
    if (best < 0 || !few_are_dead(members, n) || !quorum_without(members, n, (size_t)best, rf))
        return -1;
    return best;
}
