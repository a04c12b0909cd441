#include "common/config/option.h"
#include "common/model/duration.h"

#include <stdlib.h>

static const struct {
    const char *name;
    uint64_t factor;
} byte_units[] = {
    {"TiB", 1ULL << 40},
    {"TB", 1000000000000ULL},
    {"GiB", 1ULL << 30},
    {"GB", 1000000000ULL},
    {"MiB", 1ULL << 20},
    {"MB", 1000000ULL},
    {"KiB", 1ULL << 10},
    {"KB", 1000ULL},
    {"B", 1},
    {"", 1},
};

union value {
    bool b;
    int64_t i;
    uint64_t u;
    double f;
    int e;
};

const char *opt_type_name(enum opt_type type)
{
    static const char *const names[] = {"bool",   "int",   "bytes", "duration",
                                        "string", "float", "enum",  "list"};

    return names[type];
}

static int u64_parse(struct str s, uint64_t *ret)
{
    uint64_t v = 0;

    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] < '0' || s.p[i] > '9' || __builtin_mul_overflow(v, 10, &v) ||
            __builtin_add_overflow(v, (uint64_t)(s.p[i] - '0'), &v))
            return -1;
    *ret = v;
    return s.n ? 0 : -1;
}

static int int_parse(struct str s, int64_t *ret, struct err *err)
{
    bool minus = s.n && s.p[0] == '-';
    uint64_t v;

    if (u64_parse(str_skip(s, minus), &v) < 0 || v > INT64_MAX)
        return err_set(err, RC_INVALID, "\"%.*s\" is not a whole number", STR_FMT(s));
    *ret = minus ? -(int64_t)v : (int64_t)v;
    return 0;
}

static int bytes_parse(struct str s, uint64_t *ret, struct err *err)
{
    size_t digits = 0;
    uint64_t v;

    while (digits < s.n && s.p[digits] >= '0' && s.p[digits] <= '9')
        digits++;
    for (size_t i = 0; i < ARRAY_LEN(byte_units); i++)
        if (str_eqz(str_skip(s, digits), byte_units[i].name) &&
            u64_parse(str_sub(s, 0, digits), &v) == 0 &&
            !__builtin_mul_overflow(v, byte_units[i].factor, ret))
            return 0;
    return err_set(
        err, RC_INVALID,
        "\"%.*s\" is not a size: want a number with B, KB, KiB, MB, MiB, GB, GiB, TB or TiB",
        STR_FMT(s));
}

static int enum_parse(const struct option *o, struct str s, int *ret, struct err *err)
{
    struct buf all;
    int rc;

    for (int i = 0; o->values[i]; i++)
        if (str_eqz(s, o->values[i])) {
            *ret = i;
            return 0;
        }
    buf_init(&all, 512);
    for (int i = 0; o->values[i]; i++)
        buf_printf(&all, "%s%s", i ? ", " : "", o->values[i]);
    rc = err_set(err, RC_INVALID, "\"%.*s\" is not one of %.*s", STR_FMT(s),
                 STR_FMT(buf_view(&all)));
    buf_fini(&all);
    return rc;
}

static int value_parse(const struct option *o, struct str s, union value *ret, struct err *err)
{
    switch (o->type) {
    case OPT_BOOL:
        if (!str_eqz(s, "true") && !str_eqz(s, "false"))
            return err_set(err, RC_INVALID, "\"%.*s\" is neither true nor false", STR_FMT(s));
        ret->b = str_eqz(s, "true");
        return 0;
    case OPT_INT:
        return int_parse(s, &ret->i, err);
    case OPT_BYTES:
        return bytes_parse(s, &ret->u, err);
    case OPT_DURATION:
        return duration_parse_ms(s, &ret->i, err);
    case OPT_FLOAT:
        return float_parse(s, &ret->f, err);
    case OPT_ENUM:
        return enum_parse(o, s, &ret->e, err);
    case OPT_STRING:
    case OPT_LIST:
        break;
    }
    return 0;
}

static int value_cmp(const struct option *o, const union value *a, const union value *b)
{
    if (o->type == OPT_BYTES)
        return (a->u > b->u) - (a->u < b->u);
    if (o->type == OPT_FLOAT)
        return !(a->f >= b->f) ? -1 : a->f > b->f; /* NaN is below every bound */
    return (a->i > b->i) - (a->i < b->i);
}

static int range_check(const struct option *o, const union value *v, struct err *err)
{
    union value bound;

    if (o->min) {
        ASSERT(value_parse(o, str_of(o->min), &bound, NULL) == 0);
        if (value_cmp(o, v, &bound) < 0)
            return err_set(err, RC_INVALID, "below the minimum %s", o->min);
    }
    if (o->max) {
        ASSERT(value_parse(o, str_of(o->max), &bound, NULL) == 0);
        if (value_cmp(o, v, &bound) > 0)
            return err_set(err, RC_INVALID, "above the maximum %s", o->max);
    }
    return 0;
}

static void list_free(struct opt_list *l)
{
    for (size_t i = 0; i < l->n; i++)
        free(l->v[i]);
    free(l->v);
    *l = (struct opt_list){0};
}

int option_set_list(const struct option *o, void *base, const struct str *items, size_t n,
                    struct err *err)
{
    struct opt_list *field = (void *)((char *)base + o->offset);

    ASSERT(o->type == OPT_LIST);
    if (n > OPT_LIST_MAX)
        return err_set(err, RC_LIMIT, "more than %d items", OPT_LIST_MAX);
    list_free(field);
    field->v = xcalloc(n, sizeof *field->v);
    for (size_t i = 0; i < n; i++)
        field->v[field->n++] = str_dupz(items[i]);
    return 0;
}

static int set_list_text(const struct option *o, void *base, struct str text, struct err *err)
{
    struct str items[OPT_LIST_MAX];
    size_t n = 0;

    while (text.n) {
        size_t end = str_find(text, ',');

        if (n == OPT_LIST_MAX)
            return err_set(err, RC_LIMIT, "more than %d items", OPT_LIST_MAX);
        items[n++] = str_trim(str_sub(text, 0, end));
        text = str_skip(text, MIN(end + 1, text.n));
    }
    return option_set_list(o, base, items, n, err);
}

static int add_item(const struct option *o, void *base, struct str text, struct err *err)
{
    struct opt_list *field = (void *)((char *)base + o->offset);

    if (text.n == 0)
        return 0;
    if (field->n == OPT_LIST_MAX)
        return err_set(err, RC_LIMIT, "more than %d items", OPT_LIST_MAX);
    field->v = xrealloc(field->v, (field->n + 1) * sizeof *field->v);
    field->v[field->n++] = str_dupz(text);
    return 0;
}

int option_set(const struct option *o, void *base, struct str text, struct err *err)
{
    char *at = (char *)base + o->offset;
    union value v = {0};
    int rc;

    if (text.n > OPT_TEXT_BYTES_MAX || (text.n && memchr(text.p, '\0', text.n)))
        return err_set(err, RC_INVALID, "value with a zero byte or longer than %d bytes",
                       OPT_TEXT_BYTES_MAX);
    if (o->type == OPT_LIST && o->repeats)
        return add_item(o, base, text, err);
    if (o->type == OPT_LIST)
        return set_list_text(o, base, text, err);
    if (o->type == OPT_STRING) {
        free(*(char **)(void *)at);
        *(char **)(void *)at = str_dupz(text);
        return 0;
    }
    rc = value_parse(o, text, &v, err);
    if (rc == 0)
        rc = range_check(o, &v, err);
    if (rc < 0)
        return rc;
    if (o->type == OPT_BOOL)
        *(bool *)at = v.b;
    else if (o->type == OPT_ENUM)
        memcpy(at, &v.e, sizeof v.e);
    else
        memcpy(at, &v.i, sizeof v.i); /* all three are 8 bytes wide */
    return 0;
}

static struct str default_text(const struct option *o)
{
    static const char *const zeros[] = {"false", "0", "0", "0", "", "0", NULL, ""};

    if (o->def)
        return str_of(o->def);
    return str_of(o->type == OPT_ENUM ? o->values[0] : zeros[o->type]);
}

void options_default(const struct option *table, void *base)
{
    for (const struct option *o = table; o->name; o++)
        ASSERT(option_set(o, base, default_text(o), NULL) == 0);
}

void options_free(const struct option *table, void *base)
{
    for (const struct option *o = table; o->name; o++) {
        void *at = (char *)base + o->offset;

        if (o->type == OPT_STRING) {
            free(*(char **)at);
            *(char **)at = NULL;
        } else if (o->type == OPT_LIST) {
            list_free(at);
        }
    }
}

void options_copy(const struct option *table, void *to, const void *from)
{
    static const size_t widths[] = {sizeof(bool), 8, 8, 8, 0, 8, sizeof(int), 0};

    for (const struct option *o = table; o->name; o++) {
        const void *src = (const char *)from + o->offset;
        void *dst = (char *)to + o->offset;

        if (o->type == OPT_STRING) {
            *(char **)dst = xstrdup(*(char *const *)src);
        } else if (o->type == OPT_LIST) {
            const struct opt_list *l = src;
            struct opt_list *copy = dst;

            copy->v = xcalloc(l->n, sizeof *copy->v);
            for (copy->n = 0; copy->n < l->n; copy->n++)
                copy->v[copy->n] = xstrdup(l->v[copy->n]);
        } else {
            memcpy(dst, src, widths[o->type]);
        }
    }
}

void bytes_print(struct buf *out, uint64_t v)
{
    for (size_t i = 0; v && i < ARRAY_LEN(byte_units); i++)
        if (v % byte_units[i].factor == 0 && byte_units[i].factor > 1) {
            buf_printf(out, "%llu%s", (unsigned long long)(v / byte_units[i].factor),
                       byte_units[i].name);
            return;
        }
    buf_printf(out, "%llu", (unsigned long long)v);
}

void option_print(const struct option *o, const void *base, struct buf *out)
{
    const void *at = (const char *)base + o->offset;
    const struct opt_list *list = at;
    int64_t i;

    switch (o->type) {
    case OPT_BOOL:
        buf_z(out, *(const bool *)at ? "true" : "false");
        break;
    case OPT_INT:
        memcpy(&i, at, sizeof i);
        buf_printf(out, "%lld", (long long)i);
        break;
    case OPT_BYTES:
        bytes_print(out, *(const uint64_t *)at);
        break;
    case OPT_DURATION:
        duration_print(out, *(const int64_t *)at);
        break;
    case OPT_FLOAT:
        float_print(out, *(const double *)at);
        break;
    case OPT_ENUM:
        buf_z(out, o->values[*(const int *)at]);
        break;
    case OPT_STRING:
        buf_z(out, *(char *const *)at);
        break;
    case OPT_LIST:
        for (size_t n = 0; n < list->n; n++)
            buf_printf(out, "%s%s", n ? "," : "", list->v[n]);
        break;
    }
}

bool option_is_default(const struct option *o, const void *base)
{
    struct buf now, then;
    union {
        uint64_t words[2];
        struct opt_list list;
    } zero = {{0}};
    struct option alone = *o;
    bool same;

    alone.offset = 0;
    ASSERT(option_set(&alone, &zero, default_text(o), NULL) == 0);
    buf_init(&now, OPT_TEXT_BYTES_MAX * 2);
    buf_init(&then, OPT_TEXT_BYTES_MAX * 2);
    option_print(o, base, &now);
    option_print(&alone, &zero, &then);
    same = str_eq(buf_view(&now), buf_view(&then));
    buf_fini(&now);
    buf_fini(&then);
    options_free((struct option[]){alone, {0}}, &zero);
    return same;
}

static char folded(char c)
{
    return c == '_' ? '-' : c;
}

bool option_name_eq(struct str a, struct str b)
{
    if (a.n != b.n)
        return false;
    for (size_t i = 0; i < a.n; i++)
        if (folded(a.p[i]) != folded(b.p[i]))
            return false;
    return true;
}

const struct option *option_find(const struct option *table, struct str name)
{
    for (const struct option *o = table; o->name; o++)
        if (option_name_eq(str_of(o->name), name))
            return o;
    return NULL;
}

/* --- did you mean --- */

enum { NEAREST_NAME_MAX = 128 };

void nearest_init(struct nearest *n, struct str want)
{
    *n = (struct nearest){.want = str_sub(want, 0, MIN(want.n, (size_t)NEAREST_NAME_MAX)),
                          .distance = SIZE_MAX};
}

/* Levenshtein, two rows at a time. */
static size_t edit_distance(struct str a, struct str b)
{
    size_t row[NEAREST_NAME_MAX + 1];

    for (size_t j = 0; j <= b.n; j++)
        row[j] = j;
    for (size_t i = 1; i <= a.n; i++) {
        size_t diagonal = row[0];

        row[0] = i;
        for (size_t j = 1; j <= b.n; j++) {
            size_t above = row[j], change = diagonal + (folded(a.p[i - 1]) != folded(b.p[j - 1]));

            row[j] = MIN(MIN(above, row[j - 1]) + 1, change);
            diagonal = above;
        }
    }
    return row[b.n];
}

void nearest_try(struct nearest *n, struct str name)
{
    size_t d;

    if (name.n > NEAREST_NAME_MAX)
        return;
    d = edit_distance(n->want, name);
    if (d < n->distance) {
        n->distance = d;
        n->best = name;
    }
}

bool nearest_found(const struct nearest *n)
{
    return n->best.p && n->distance <= MAX((size_t)2, n->want.n / 3);
}
