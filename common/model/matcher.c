#include "common/model/matcher.h"
#include "common/model/labels.h"
#include "common/shim/shim.h"

#include <stdlib.h>

static struct str own(struct str s)
{
    return (struct str){str_dupz(s), s.n};
}

static bool is_meta(char c)
{
    return strchr("\\.+*?()|[]{}^$", c) != NULL;
}

static int by_str(const void *a, const void *b)
{
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

/* The literal text every match starts with. */
static struct str prefix_parse(struct str pattern)
{
    size_t n = 0;

    if (str_find(pattern, '|') < pattern.n)
        return (struct str){0};
    while (n < pattern.n && pattern.p[n] != '\0' && !is_meta(pattern.p[n]))
        n++;
    /* The last literal may be repeated zero times: ab* */
    if (n < pattern.n && strchr("*?{", pattern.p[n])) {
        if (n > 0)
            n--;
        while (n > 0 && ((uint8_t)pattern.p[n] & 0xc0) == 0x80)
            n--;
    }
    return n ? own(str_sub(pattern, 0, n)) : (struct str){0};
}

/* RE2's reason in Go's words: "missing ): a(b" becomes "missing closing ): `a(b`". */
static int bad_regex(struct err *err, const char *why)
{
    static const struct {
        const char *re2, *go;
    } words[] = {
        {"missing )", "missing closing )"},
        {"missing ]", "missing closing ]"},
        {"no argument for repetition operator", "missing argument to repetition operator"},
        {"invalid perl operator", "invalid or unsupported Perl syntax"},
        {"invalid repetition size", "invalid repeat count"},
        {"bad repetition operator", "invalid nested repetition operator"},
        {"invalid named capture group", "invalid named capture"},
        {"trailing \\", "trailing backslash at end of expression"},
    };
    struct str reason = str_of(why), what = str_sub(reason, 0, str_find(reason, ':'));
    struct str arg = str_skip(reason, MIN(what.n + 2, reason.n));

    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        if (str_eqz(what, words[i].re2))
            what = str_of(words[i].go);
    }
    return err_set(err, RC_INVALID, "error parsing regexp: %.*s: `%.*s`", STR_FMT(what), STR_FMT(arg));
}

static bool glob_is(struct str glob, int c)
{
    return glob.n == 1 && (uint8_t)glob.p[0] == c;
}

/* What the expression comes to: anything, a set, or something to search for. */
static void globs_take(struct matcher *m)
{
    struct globs *g = &m->globs;

    m->any = g->n == 1 && glob_is(g->v[0], GLOB_ANY);
    m->any_nonempty = g->n == 1 && glob_is(g->v[0], GLOB_SOME);
    if (g->literal) {
        m->set = g->v;
        m->set_count = g->n;
    } else if (globs_prefix(g).n > 0) {
        m->prefix = own(globs_prefix(g));
    }
}

static int regex_init(struct matcher *m, struct err *err)
{
    char why[256];

    if (m->value.n > MATCHER_REGEX_BYTES_MAX)
        return err_set(err, RC_INVALID, "regular expression of %zu bytes is longer than %d", m->value.n,
                       MATCHER_REGEX_BYTES_MAX);
    if (!utf8_valid(m->value))
        return err_set(err, RC_INVALID, "error parsing regexp: invalid UTF-8: `%.*s`",
                       (int)MIN(m->value.n, (size_t)256), m->value.p);
    if (globs_parse(m->value, &m->globs)) {
        globs_take(m);
        return 0;
    }
    m->re = shim_re2_new(m->value, why, sizeof why);
    if (!m->re)
        return bad_regex(err, why);
    m->prefix = prefix_parse(m->value);
    return 0;
}

int matcher_init(struct matcher *m, enum matcher_type type, struct str name, struct str value, struct err *err)
{
    struct matcher made = {.type = type, .name = own(name), .value = own(value)};
    int rc = type == MATCH_RE || type == MATCH_NRE ? regex_init(&made, err) : 0;

    if (rc < 0)
        matcher_fini(&made);
    else
        *m = made;
    return rc;
}

void matcher_fini(struct matcher *m)
{
    free((char *)m->name.p);
    free((char *)m->value.p);
    globs_fini(&m->globs);
    free((char *)m->prefix.p);
    if (m->re)
        shim_re2_free(m->re);
    *m = (struct matcher){0};
}

bool matcher_accepts(const struct matcher *m, struct str value)
{
    if (m->type == MATCH_EQ || m->type == MATCH_NEQ)
        return str_eq(m->value, value);
    if (m->any)
        return true;
    if (m->any_nonempty)
        return value.n > 0;
    if (m->set)
        return bsearch(&value, m->set, m->set_count, sizeof *m->set, by_str) != NULL;
    return str_has_prefix(value, m->prefix) && (m->re ? shim_re2_match(m->re, value) : globs_match(&m->globs, value));
}

bool matcher_matches(const struct matcher *m, struct str value)
{
    return matcher_accepts(m, value) != matcher_negative(m);
}

void matcher_print(struct buf *out, const struct matcher *m)
{
    static const char *const ops[] = {"=", "!=", "=~", "!~"};

    if (label_name_legacy_valid(m->name))
        buf_str(out, m->name);
    else
        labels_quote(out, m->name);
    buf_z(out, ops[m->type]);
    labels_quote(out, m->value);
}

void matcher_encode(struct buf *out, const struct matcher *m)
{
    buf_u8(out, (uint8_t)m->type);
    buf_lstr(out, m->name);
    buf_lstr(out, m->value);
}

int matcher_decode(struct rd *r, struct matcher *m, struct err *err)
{
    uint8_t type = rd_u8(r);
    struct str name = rd_lstr(r), value = rd_lstr(r);

    CORRUPT_UNLESS(rd_ok(r) && type <= MATCH_NRE, err);
    return matcher_init(m, type, name, value, err);
}
