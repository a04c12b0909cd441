#include "ring/member.h"

#include <stdlib.h>

const char *ring_state_name(enum ring_state s)
{
    static const char *const names[RING_STATES] = {"PENDING", "JOINING", "ACTIVE", "LEAVING", "LEFT"};

    ASSERT((unsigned)s < RING_STATES);
    return names[s];
}

const char *ring_health_name(enum ring_health h)
{
    static const char *const names[RING_HEALTHS] = {"alive", "suspect", "dead"};

    ASSERT((unsigned)h < RING_HEALTHS);
    return names[h];
}

void member_fini(struct member *m)
{
    free(m->tokens);
    *m = (struct member){0};
}

void member_copy(struct member *to, const struct member *from)
{
    *to = *from;
    if (from->tokens_n)
        to->tokens = xmemdup(from->tokens, from->tokens_n * sizeof *from->tokens);
    else
        to->tokens = NULL;
}

bool member_ownership_differs(const struct member *a, const struct member *b)
{
    return a->state != b->state || a->flags != b->flags || member_owns_tokens(a) != member_owns_tokens(b) ||
           strcmp(a->zone, b->zone) != 0 || a->tokens_n != b->tokens_n ||
           (a->tokens_n && memcmp(a->tokens, b->tokens, a->tokens_n * sizeof *a->tokens) != 0);
}

int member_cmp_version(const struct member *a, const struct member *b)
{
    if (a->incarnation != b->incarnation)
        return a->incarnation < b->incarnation ? -1 : 1;
    if (a->version != b->version)
        return a->version < b->version ? -1 : 1;
    /* Two members may forget a third at once: the later date stands. */
    return (a->left_ms > b->left_ms) - (a->left_ms < b->left_ms);
}

unsigned member_merge_health(struct member *m, uint64_t incarnation, enum ring_health health)
{
    if (incarnation != m->incarnation || health <= m->health)
        return MERGE_NOTHING; /* of an earlier life, or no news; of a later one: the record itself will come */
    m->health = health;
    return MERGE_HEALTH;
}

unsigned member_merge(struct member *m, const struct member *from)
{
    uint64_t changes      = MAX(m->changes, from->changes);
    enum ring_health was  = m->health;
    enum ring_health with = m->incarnation > from->incarnation   ? m->health
                            : m->incarnation < from->incarnation ? from->health
                                                                 : MAX(m->health, from->health);
    unsigned what = MERGE_NOTHING;

    ASSERT(strcmp(m->id, from->id) == 0);
    if (m->changes != changes)
        what |= MERGE_CHANGES;
    if (member_cmp_version(m, from) < 0) {
        member_fini(m);
        member_copy(m, from);
        what |= MERGE_BODY;
    }
    m->changes = changes;
    m->health  = with;
    if (was != with)
        what |= MERGE_HEALTH;
    return what;
}

/* Record: id, zone, addr, http_addr (length-prefixed) | roles, flags, state, health, incarnation, version, changes (uvarint) |
 * registered_ms, left_ms (svarint) | token count (uvarint), first token, then differences (uvarint, > 0). */
void member_encode(const struct member *m, struct buf *out)
{
    uint32_t last = 0;

    buf_lstr(out, str_of(m->id));
    buf_lstr(out, str_of(m->zone));
    buf_lstr(out, str_of(m->addr));
    buf_lstr(out, str_of(m->http_addr));
    buf_uvarint(out, m->roles);
    buf_uvarint(out, m->flags);
    buf_uvarint(out, m->state);
    buf_uvarint(out, m->health);
    buf_uvarint(out, m->incarnation);
    buf_uvarint(out, m->version);
    buf_uvarint(out, m->changes);
    buf_svarint(out, m->registered_ms);
    buf_svarint(out, m->left_ms);
    buf_uvarint(out, m->tokens_n);
    for (uint32_t i = 0; i < m->tokens_n; i++) {
        buf_uvarint(out, m->tokens[i] - last);
        last = m->tokens[i];
    }
}

/* Names end up in logs, pages and file names' company: printable ASCII without blanks, quotes and markup. */
static bool read_name(struct rd *r, char *ret, size_t max, bool may_be_empty)
{
    struct str s = rd_lstr(r);

    if (!rd_ok(r) || s.n > max || (s.n == 0 && !may_be_empty))
        return false;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] <= ' ' || s.p[i] > '~' || strchr("<>&\"'\\`", s.p[i]))
            return false;
    }
    memcpy(ret, s.p, s.n);
    ret[s.n] = 0;
    return true;
}

static int read_tokens(struct rd *r, struct member *m, struct err *err)
{
    uint64_t n = rd_uvarint(r), last = 0;

    CORRUPT_UNLESS(rd_ok(r) && n <= RING_TOKENS_MAX, err);
    if (n == 0)
        return 0;
    m->tokens = xcalloc(n, sizeof *m->tokens);
    for (uint64_t i = 0; i < n; i++) {
        uint64_t step = rd_uvarint(r);

        CORRUPT_UNLESS(rd_ok(r) && step <= UINT32_MAX && (step > 0 || i == 0), err);
        last += step;
        CORRUPT_UNLESS(last <= UINT32_MAX, err);
        m->tokens[i] = (uint32_t)last;
    }
    m->tokens_n = (uint32_t)n;
    return 0;
}

static int read_body(struct rd *r, struct member *m, struct err *err)
{
    uint64_t roles, flags, state, health;

    CORRUPT_UNLESS(read_name(r, m->id, RING_ID_MAX, false), err);
    CORRUPT_UNLESS(read_name(r, m->zone, RING_ZONE_MAX, true), err);
    CORRUPT_UNLESS(read_name(r, m->addr, RING_ADDR_MAX, false), err);
    CORRUPT_UNLESS(read_name(r, m->http_addr, RING_ADDR_MAX, true), err);
    roles  = rd_uvarint(r);
    flags  = rd_uvarint(r);
    state  = rd_uvarint(r);
    health = rd_uvarint(r);
    CORRUPT_UNLESS(rd_ok(r) && roles <= UINT32_MAX && flags <= RING_FLAGS, err);
    CORRUPT_UNLESS(state < RING_STATES && health < RING_HEALTHS, err);
    m->roles         = (uint32_t)roles;
    m->flags         = (uint32_t)flags;
    m->state         = (enum ring_state)state;
    m->health        = (enum ring_health)health;
    m->incarnation   = rd_uvarint(r);
    m->version       = rd_uvarint(r);
    m->changes       = rd_uvarint(r);
    m->registered_ms = rd_svarint(r);
    m->left_ms       = rd_svarint(r);
    /* Counters near their end would let one bad message freeze a member for ever. */
    CORRUPT_UNLESS(rd_ok(r) && m->incarnation < UINT64_MAX / 2 && m->version < UINT64_MAX / 2, err);
    CORRUPT_UNLESS(m->changes < (uint64_t)1 << 32, err);
    return read_tokens(r, m, err);
}

int member_decode(struct rd *r, struct member *ret, struct err *err)
{
    struct member m = {0};
    int rc          = read_body(r, &m, err);

    if (rc < 0) {
        member_fini(&m);
        return rc;
    }
    *ret = m;
    return 0;
}
