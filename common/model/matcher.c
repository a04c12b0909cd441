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

/* Reads literal text up to | or the end, undoing escapes of punctuation. False at anything that is not literal. */
static bool literal_take(struct str pattern, size_t *at, struct buf *out)
{
    while (*at < pattern.n && pattern.p[*at] != '|') {
        char c = pattern.p[*at];

        if (c == '\\' && *at + 1 < pattern.n && strchr("\\.+*?()|[]{}^$-/\"'", pattern.p[*at + 1]))
            c = pattern.p[++*at];
        else if (c == '\0' || is_meta(c))
            return false;
        buf_char(out, c);
        ++*at;
    }
    return buf_ok(out);
}

static int by_str(const void *a, const void *b)
{
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

static struct str strip_group(struct str p)
{
    size_t depth = 0;

    if (p.n < 2 || p.p[0] != '(' || p.p[p.n - 1] != ')' || (p.n > 2 && p.p[1] == '?'))
        return p;
    for (size_t i = 0; i < p.n; i++) {
        if (p.p[i] == '\\')
            i++;
        else if (p.p[i] == '[')
            return p;
        else if (p.p[i] == '(')
            depth++;
        else if (p.p[i] == ')' && --depth == 0 && i + 1 < p.n)
            return p;
    }
    return str_sub(p, 1, p.n - 1);
}

/* a|b|c as a sorted set. */
static bool set_parse(struct matcher *m, struct str pattern)
{
    struct str *set = NULL;
    size_t n = 0, at = 0, unique = 0;
    struct buf word;
    bool ok;

    buf_init(&word, MATCHER_REGEX_BYTES_MAX);
    do {
        buf_clear(&word);
        ok = n < MATCHER_SET_MAX && literal_take(pattern, &at, &word);
        if (!ok)
            break;
        set = xrealloc(set, (n + 1) * sizeof *set);
        set[n++] = own(buf_view(&word));
    } while (at < pattern.n ? (at++, true) : false);
    buf_fini(&word);
    if (!ok) {
        for (size_t i = 0; i < n; i++)
            free((char *)set[i].p);
        free(set);
        return false;
    }
    qsort(set, n, sizeof *set, by_str);
    for (size_t i = 0; i < n; i++) {
        if (unique > 0 && str_eq(set[unique - 1], set[i]))
            free((char *)set[i].p);
        else
            set[unique++] = set[i];
    }
    m->set = set;
    m->set_count = unique;
    return true;
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

static int regex_init(struct matcher *m, struct err *err)
{
    struct str pattern = strip_group(m->value);
    char why[256];

    if (m->value.n > MATCHER_REGEX_BYTES_MAX)
        return err_set(err, RC_INVALID, "regular expression of %zu bytes is longer than %d", m->value.n,
                       MATCHER_REGEX_BYTES_MAX);
    if (!utf8_valid(m->value))
        return err_set(err, RC_INVALID, "error parsing regexp: invalid UTF-8: `%.*s`",
                       (int)MIN(m->value.n, (size_t)256), m->value.p);
    if (str_eqz(pattern, ".*"))
        m->any = true;
    else if (str_eqz(pattern, ".+"))
        m->any_nonempty = true;
    else if (!set_parse(m, pattern)) {
        m->re = shim_re2_new(m->value, why, sizeof why);
        if (!m->re)
            return bad_regex(err, why);
        m->prefix = prefix_parse(pattern);
    }
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
    for (size_t i = 0; i < m->set_count; i++)
        free((char *)m->set[i].p);
    free(m->set);
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
    return str_has_prefix(value, m->prefix) && shim_re2_match(m->re, value);
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
