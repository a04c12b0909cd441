#include "ring/auto_forget.h"
#include "ring/ring.h"
#include "tests/test.h"

enum { AFTER_MS = 60000, MEMBERS = 24 };

static uint32_t tokens[MEMBERS][RING_TOKENS];

/* text: one character per ingester, which go round three zones: '.' alive, 'x' dead for long, 'y' dead for longer, '-' dead for a moment, 'L' long
 * gone, 'P' dead and still PENDING, 'd' a dead distributor. */
static int pick(const char *text, unsigned zones, int rf)
{
    struct member m[MEMBERS] = {0};
    const struct member *list[MEMBERS];
    int64_t dead_ms[MEMBERS] = {0};
    size_t n                 = strlen(text);

    for (size_t i = 0; i < n; i++) {
        unsigned zone = (unsigned)i % zones;

        m[i] = (struct member){.roles = text[i] == 'd' ? RING_DISTRIBUTOR : RING_INGESTER, .state = RING_ACTIVE, .incarnation = 1};
        snprintf(m[i].id, sizeof m[i].id, "i-%zu", i);
        snprintf(m[i].zone, sizeof m[i].zone, "z%u", zone);
        if (text[i] != 'd') {
            tokens_of_ordinal((unsigned)i / zones, RING_TOKENS, tokens[i]);
            m[i].tokens   = tokens[i];
            m[i].tokens_n = RING_TOKENS;
        }
        m[i].state  = text[i] == 'L' ? RING_LEFT : text[i] == 'P' ? RING_PENDING : RING_ACTIVE;
        m[i].health = text[i] == '.' ? RING_ALIVE : RING_DEAD;
        dead_ms[i]  = text[i] == '.' || text[i] == 'L' ? 0 : text[i] == '-' ? AFTER_MS - 1 : text[i] == 'y' ? 2 * AFTER_MS : AFTER_MS;
        list[i]     = &m[i];
    }
    CHECK(auto_forget_pick(list, dead_ms, n, rf, 0) == -1); /* off */
    return auto_forget_pick(list, dead_ms, n, rf, AFTER_MS);
}

TEST(only_what_can_be_missed_is_forgotten)
{
    static const struct {
        const char *name, *members;
        unsigned zones;
        int rf, want;
    } cases[] = {
        {"nobody is dead", "......", 3, 3, -1},
        {"dead for long enough", "....x.", 3, 3, 4},
        {"not yet", "....-.", 3, 3, -1},
        {"the longest dead first", ".x....y..", 3, 3, 6},
        {"one of three: the other two are a quorum", "..x", 3, 3, 2},
        {"two of three: whoever sees that is cut off", ".xx", 3, 3, -1},
        {"a third is dead, in one zone: others have a quorum", "x..x.....", 3, 3, 0},
        {"more than a third is dead", "x..x..xx.", 3, 3, -1},
        {"dead in two zones: without one of them all have a quorum", "xy....", 3, 3, 1},
        {"dead in three zones: two of them still own the same", "xyx......", 3, 3, -1},
        {"without replication the others own all afterwards", "...x", 1, 1, 3},
        {"without replication another dead one still owns", "....x.-", 1, 1, -1},
        {"alone and dead", "x", 1, 1, -1},
        {"departed and pending ones own nothing", ".L.P..", 3, 3, -1},
        {"distributors are not its business", "...d..", 3, 3, -1},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int got = pick(cases[i].members, cases[i].zones, cases[i].rf);

        if (got != cases[i].want)
            fail_msg("%s: %d, expected %d", cases[i].name, got, cases[i].want);
    }
}
