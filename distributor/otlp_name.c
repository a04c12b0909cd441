#include "distributor/otlp_name.h"
#include "common/base/buf.h"
#include "common/base/utf8.h"

enum { NAME_BYTES_MAX = 1 << 20, NAME_SHOWN_MAX = 100 };

/* --- units --- */

struct unit {
    const char *otlp, *name;
};
/* UCUM in the case-sensitive form, as the semantic conventions use it. */
static const struct unit units[] = {
    {"d", "days"},         {"h", "hours"},         {"min", "minutes"},    {"s", "seconds"},      {"ms", "milliseconds"},
    {"us", "microseconds"}, {"ns", "nanoseconds"},  {"By", "bytes"},       {"KiBy", "kibibytes"}, {"MiBy", "mebibytes"},
    {"GiBy", "gibibytes"}, {"TiBy", "tibibytes"},  {"KBy", "kilobytes"},  {"MBy", "megabytes"},  {"GBy", "gigabytes"},
    {"TBy", "terabytes"},  {"m", "meters"},        {"V", "volts"},        {"A", "amperes"},      {"J", "joules"},
    {"W", "watts"},        {"g", "grams"},         {"Cel", "celsius"},    {"Hz", "hertz"},       {"1", ""},
    {"%", "percent"},
};
static const struct unit per_units[] = {
    {"s", "second"}, {"m", "minute"}, {"h", "hour"}, {"d", "day"}, {"w", "week"}, {"mo", "month"}, {"y", "year"},
};

static struct str unit_find(const struct unit *table, size_t n, struct str unit)
{
    for (size_t i = 0; i < n; i++)
        if (str_eqz(unit, table[i].otlp))
            return str_of(table[i].name);
    return unit;
}

/* Units in braces are annotations ("{request}"), no units. */
static struct str unit_part(struct str unit, const struct unit *table, size_t n)
{
    unit = str_trim(unit);
    if (str_find(unit, '{') < unit.n || str_find(unit, '}') < unit.n)
        return STR("");
    return unit_find(table, n, unit);
}

struct suffixes {
    struct str main, per; /* per without "per_" */
};

static struct suffixes suffixes_of(struct str unit)
{
    size_t slash = str_find(unit, '/');
    struct suffixes s = {unit_part(str_sub(unit, 0, slash), units, ARRAY_LEN(units)), STR("")};

    if (slash < unit.n)
        s.per = unit_part(str_skip(unit, slash + 1), per_units, ARRAY_LEN(per_units));
    return s;
}

/* --- characters --- */

static bool letter_or_digit(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static bool digit(char c)
{
    return c >= '0' && c <= '9';
}

/* One character of s at *at, as a whole: what is not UTF-8 counts by the byte. */
static size_t step(struct str s, size_t at)
{
    size_t n = utf8_step(s, at);

    return n ? n : 1;
}

/* A run of other characters becomes one '_', none at the front. */
static void clean_add(struct buf *out, struct str s)
{
    size_t start = out->n;
    bool gap = false;

    for (size_t i = 0; i < s.n; i += step(s, i)) {
        if (!letter_or_digit(s.p[i]) && s.p[i] != ':') {
            gap = true;
            continue;
        }
        if (gap && out->n > start)
            buf_char(out, '_');
        gap = false;
        buf_char(out, s.p[i]);
    }
    if (gap && out->n > start)
        buf_char(out, '_');
}

static struct str trim_end(struct str s)
{
    return s.n && s.p[s.n - 1] == '_' ? str_sub(s, 0, s.n - 1) : s;
}

/* --- results --- */

static int no_memory(struct err *err)
{
    return err_set(err, RC_LIMIT, "names: the request's memory budget is spent");
}

static int result(struct arena *a, const struct buf *b, struct str *ret, struct err *err)
{
    struct str copy = buf_ok(b) ? arena_str(a, buf_view(b)) : (struct str){0};

    if (!copy.p && (b->n || !buf_ok(b)))
        return no_memory(err);
    *ret = copy.n ? copy : STR("");
    return 0;
}

static bool underscores_only(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] != '_')
            return false;
    return true;
}

static int name_check(struct str was, struct str name, const char *what, struct err *err)
{
    if (name.n == 0)
        return err_set(err, RC_INVALID, "%s name '%.*s' becomes an empty name", what, (int)MIN(was.n, (size_t)NAME_SHOWN_MAX), was.p ? was.p : "");
    if (!str_eq(was, name) && underscores_only(name))
        return err_set(err, RC_INVALID, "%s name '%.*s' becomes '%.*s', which names nothing", what, (int)MIN(was.n, (size_t)NAME_SHOWN_MAX), was.p,
                       (int)MIN(name.n, (size_t)NAME_SHOWN_MAX), name.p);
    return 0;
}

/* --- metric names --- */

static void token_add(struct buf *out, struct str token)
{
    if (!token.n)
        return;
    if (out->n)
        buf_char(out, '_');
    buf_str(out, token);
}

static struct str token_next(struct str *rest)
{
    size_t i = 0, end;
    struct str token;

    while (i < rest->n && !letter_or_digit(rest->p[i]) && rest->p[i] != ':')
        i++;
    end = i;
    while (end < rest->n && (letter_or_digit(rest->p[end]) || rest->p[end] == ':'))
        end++;
    token = str_sub(*rest, i, end);
    *rest = str_skip(*rest, end);
    return token;
}

static bool token_in(struct str name, struct str token)
{
    struct str t;

    while ((t = token_next(&name)).n)
        if (str_eq(t, token))
            return true;
    return false;
}

/* The tokens of name without those that read moved, which goes to the end. */
static void tokens_add(struct buf *out, struct str name, const char *moved)
{
    struct str t;

    while ((t = token_next(&name)).n)
        if (!moved || !str_eqz(t, moved))
            token_add(out, t);
}

static const char *last_token(enum otlp_kind kind, struct str unit)
{
    if (kind == OTLP_COUNTER)
        return "total";
    return kind == OTLP_GAUGE && str_eqz(unit, "1") ? "ratio" : NULL; /* counters of things often claim unit 1 */
}

static void name_normalize(struct buf *out, struct str name, struct str unit, enum otlp_kind kind)
{
    struct suffixes s = suffixes_of(unit);
    const char *last = last_token(kind, unit);
    struct buf main, per;
    struct str main_text, per_text;

    buf_init(&main, NAME_BYTES_MAX);
    buf_init(&per, NAME_BYTES_MAX);
    clean_add(&main, s.main);
    if (s.per.n) {
        buf_z(&per, "per_");
        clean_add(&per, s.per);
    }
    main_text = buf_view(&main);
    per_text = trim_end(buf_view(&per));
    if (str_eqz(per_text, "per") || token_in(name, per_text))
        per_text = STR("");
    if (token_in(name, main_text))
        main_text = STR("");
    else if (per_text.n)
        main_text = trim_end(main_text);
    tokens_add(out, name, last);
    if (!last || !str_eqz(main_text, last))
        token_add(out, main_text);
    token_add(out, per_text);
    if (last)
        token_add(out, str_of(last));
    buf_fini(&main);
    buf_fini(&per);
}

/* As it stands, but for characters that are not allowed: those, and runs of them, are '_'. */
static void name_escape(struct buf *out, struct str name)
{
    bool gap = false;

    for (size_t i = 0; i < name.n; i += step(name, i)) {
        if (!letter_or_digit(name.p[i]) && name.p[i] != ':' && name.p[i] != '_') {
            gap = true;
            continue;
        }
        if (gap && out->n)
            buf_char(out, '_');
        gap = false;
        buf_char(out, name.p[i]);
    }
}

/* name without suffix and the one character in front of it. */
static struct str cut(struct str name, struct str suffix)
{
    return str_has_suffix(name, suffix) && name.n > suffix.n + 1 ? str_sub(name, 0, name.n - suffix.n - 1) : name;
}

static void name_suffix(struct buf *out, struct str name, struct str unit, enum otlp_kind kind)
{
    struct suffixes s = suffixes_of(unit);
    const char *last = last_token(kind, unit);
    struct buf per;

    buf_init(&per, NAME_BYTES_MAX);
    if (s.per.n)
        buf_printf(&per, "per_%.*s", STR_FMT(s.per));
    if (last)
        name = cut(name, str_of(last));
    if (per.n)
        name = cut(name, buf_view(&per));
    buf_str(out, name);
    if (s.main.n && !str_has_suffix(name, s.main))
        token_add(out, s.main);
    token_add(out, buf_view(&per));
    if (last)
        token_add(out, str_of(last));
    buf_fini(&per);
}

int otlp_metric_name(struct arena *a, struct str name, struct str unit, enum otlp_kind kind, struct otlp_naming n, struct str *ret, struct err *err)
{
    struct buf b;
    struct str made;
    int rc;

    if (name.n == 0)
        return name_check(name, name, "metric", err);
    buf_init(&b, NAME_BYTES_MAX);
    if (n.utf8 && n.suffixes)
        name_suffix(&b, name, unit, kind);
    else if (n.utf8)
        buf_str(&b, name);
    else if (n.suffixes)
        name_normalize(&b, name, unit, kind);
    else
        name_escape(&b, name);
    if (!n.utf8 && b.n && digit(b.p[0])) {
        buf_char(&b, '_');
        if (buf_ok(&b)) {
            memmove(b.p + 1, b.p, b.n - 1);
            b.p[0] = '_';
        }
    }
    rc = result(a, &b, &made, err);
    buf_fini(&b);
    if (rc == 0)
        rc = name_check(name, made, "metric", err);
    if (rc == 0)
        *ret = made;
    return rc;
}

/* --- labels and units --- */

/* Most attribute names need nothing: those are borrowed. */
static bool label_fine(struct str name)
{
    if (!letter_or_digit(name.p[0]) || digit(name.p[0]))
        return false;
    for (size_t i = 1; i < name.n; i++)
        if (!letter_or_digit(name.p[i]) && name.p[i] != '_')
            return false;
    return true;
}

enum { LABEL_PREFIX_MAX = 4 };

/* out has room for the prefix too. */
static size_t label_escape(char *out, struct str name)
{
    size_t n = 0;
    struct str prefix = STR("");

    for (size_t i = 0; i < name.n; i += step(name, i))
        out[n++] = letter_or_digit(name.p[i]) ? name.p[i] : '_';
    if (digit(out[0]))
        prefix = STR("key_");
    else if (out[0] == '_' && !(n > 1 && out[1] == '_')) /* two stand for reserved names, which stay */
        prefix = STR("key");
    memmove(out + prefix.n, out, n);
    memcpy(out, prefix.p, prefix.n);
    return n + prefix.n;
}

int otlp_label_name(struct arena *a, struct str name, struct otlp_naming n, struct str *ret, struct err *err)
{
    char *text;
    struct str made;
    int rc;

    if (name.n == 0)
        return name_check(name, name, "attribute", err);
    if (n.utf8 || label_fine(name)) {
        *ret = name;
        return 0;
    }
    text = arena_alloc(a, name.n + LABEL_PREFIX_MAX);
    if (!text)
        return no_memory(err);
    made = str_n(text, label_escape(text, name));
    rc = name_check(name, made, "attribute", err);
    if (rc == 0)
        *ret = made;
    return rc;
}

int otlp_unit_name(struct arena *a, struct str unit, struct otlp_naming n, struct str *ret, struct err *err)
{
    struct suffixes s = suffixes_of(unit);
    struct buf b;
    int rc;

    buf_init(&b, NAME_BYTES_MAX);
    if (n.utf8)
        buf_str(&b, s.main);
    else
        clean_add(&b, s.main);
    if (s.per.n) {
        buf_z(&b, b.n ? "_per_" : "per_");
        if (n.utf8)
            buf_str(&b, s.per);
        else
            clean_add(&b, s.per);
    }
    while (b.n && b.p[b.n - 1] == '_')
        b.n--;
    rc = result(a, &b, ret, err);
    buf_fini(&b);
    return rc;
}
