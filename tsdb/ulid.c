#include "common/base/hash.h"
#include "tsdb/block.h"

/* ULID: 48 bits of Unix ms, then 80 random bits, in Crockford's base 32 (github.com/ulid/spec). */
static const char digits[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

void ulid_new(struct ulid *ret, int64_t now_ms)
{
    uint8_t r[ULID_TAIL];

    random_bytes(r, sizeof r);
    ulid_of(ret, now_ms, r);
}

void ulid_of(struct ulid *ret, int64_t time_ms, const uint8_t r[ULID_TAIL])
{
    uint64_t t = (uint64_t)MAX(time_ms, 0);

    for (int i = 9; i >= 0; i--, t >>= 5)
        ret->text[i] = digits[t & 31];
    ret->text[0] = (char)MIN(ret->text[0], '7');
    for (int i = 0; i < ULID_TAIL; i++)
        ret->text[10 + i] = digits[r[i] & 31];
    ret->text[ULID_TEXT] = '\0';
}

bool ulid_valid(struct str s)
{
    if (s.n != ULID_TEXT || s.p[0] > '7')
        return false;
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] == '\0' || !strchr(digits, s.p[i]))
            return false;
    return true;
}

int64_t ulid_time_ms(const struct ulid *u)
{
    uint64_t t = 0;

    for (int i = 0; i < 10; i++) {
        const char *d = strchr(digits, u->text[i]);

        t = t << 5 | (d && *d ? (uint64_t)(d - digits) : 0);
    }
    return (int64_t)t;
}
