#include "script.h"

#include "common/model/duration.h"
#include "common/shim/shim.h"
#include "promql/ast.h"

#include <math.h>
#include <stdlib.h>

enum { NUMBER_BYTES_MAX = 64, TEXT_ARENA_MAX = 64 << 20 };

int string_parse(struct str s, struct arena *a, struct str *ret, struct err *err)
{
    struct promql_ast ast;
    int rc = promql_parse(s, &promql_parse_all, a, &ast, err);

    if (rc < 0)
        return rc;
    if (ast.root->type == NODE_STRING)
        *ret = ast.root->string;
    else
        rc = err_set(err, RC_INVALID, "not a string: %.*s", STR_FMT(s));
    promql_ast_fini(&ast);
    return rc;
}

static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == ':';
}

static struct str trim_left(struct str s)
{
    while (s.n && (s.p[0] == ' ' || s.p[0] == '\t'))
        s = str_skip(s, 1);
    return s;
}

/* --- labels --- */
/* Bytes of the quoted string at the start of s, quotes included; 0 when it does not end. */
static size_t quoted_length(struct str s)
{
    for (size_t i = 1; i < s.n; i++) {
        if (s.p[i] == '\\' && s.p[0] != '`')
            i++;
        else if (s.p[i] == s.p[0])
            return i + 1;
    }
    return 0;
}

static int token_take(struct str *s, struct arena *a, struct str *ret, bool *ret_quoted,
                      struct err *err)
{
    size_t n = 0;

    *ret_quoted = s->n && strchr("\"'`", s->p[0]);
    if (*ret_quoted) {
        int rc;

        n = quoted_length(*s);
        if (n == 0)
            return err_set(err, RC_INVALID, "unterminated string");
        rc = string_parse(str_sub(*s, 0, n), a, ret, err);
        if (rc < 0)
            return rc;
    } else {
        while (n < s->n && is_word(s->p[n]))
            n++;
        if (n == 0)
            return err_set(err, RC_INVALID, "label name expected");
        *ret = str_sub(*s, 0, n);
    }
    *s = trim_left(str_skip(*s, n));
    return 0;
}

static int label_take(struct str *s, struct arena *a, struct label *ret, struct err *err)
{
    bool quoted, value_quoted;
    int rc = token_take(s, a, &ret->name, &quoted, err);

    if (rc < 0)
        return rc;
    if (quoted && (s->n == 0 || s->p[0] != '=')) {
        *ret = (struct label){STR(LABEL_METRIC_NAME), ret->name};
        return 0;
    }
    if (s->n == 0 || s->p[0] != '=')
        return err_set(err, RC_INVALID, "= expected after a label name");
    *s = trim_left(str_skip(*s, 1));
    rc = token_take(s, a, &ret->value, &value_quoted, err);
    if (rc == 0 && !value_quoted)
        return err_set(err, RC_INVALID, "label value must be quoted");
    return rc;
}

static int braces_take(struct str *s, struct arena *a, struct labels *ls, size_t cap,
                       struct err *err)
{
    *s = trim_left(str_skip(*s, 1));
    while (s->n && s->p[0] != '}') {
        int rc;

        if (ls->n == cap)
            return err_set(err, RC_LIMIT, "too many labels");
        rc = label_take(s, a, &ls->v[ls->n], err);
        if (rc < 0)
            return rc;
        ls->n += ls->v[ls->n].value.n > 0; /* empty: no such label */
        if (s->n && s->p[0] == ',')
            *s = trim_left(str_skip(*s, 1));
        else if (s->n == 0 || s->p[0] != '}')
            return err_set(err, RC_INVALID, ", or } expected in labels");
    }
    if (s->n == 0)
        return err_set(err, RC_INVALID, "} expected");
    *s = str_skip(*s, 1);
    return 0;
}

int description_parse(struct str s, struct arena *a, struct labels *ret, struct str *ret_rest,
                      struct err *err)
{
    enum { LABELS_CAP = 128 };
    struct labels ls = {arena_array(a, LABELS_CAP + 1, sizeof *ls.v), 0};
    size_t n = 0;
    int rc = 0;

    while (n < s.n && is_word(s.p[n]))
        n++;
    if (n > 0)
        ls.v[ls.n++] = (struct label){STR(LABEL_METRIC_NAME), str_sub(s, 0, n)};
    s = str_skip(s, n);
    if (s.n && s.p[0] == '{')
        rc = braces_take(&s, a, &ls, LABELS_CAP, err);
    else if (n == 0)
        return err_set(err, RC_INVALID, "series expected");
    if (rc < 0)
        return rc;
    if (!labels_sort(&ls, NULL))
        return err_set(err, RC_INVALID, "label given twice");
    *ret = ls;
    *ret_rest = s;
    return 0;
}

/* --- numbers --- */
bool number_parse(struct str s, double *ret)
{
    char text[NUMBER_BYTES_MAX + 1], *end;
    size_t n = 0;
    struct str word = s;

    if (s.n == 0 || s.n > NUMBER_BYTES_MAX)
        return false;
    if (word.p[0] == '+' || word.p[0] == '-')
        word = str_skip(word, 1);
    if (str_ieq(word, STR("nan"))) {
        *ret = bits_double(NORMAL_NAN_BITS);
        return true;
    }
    if (str_ieq(word, STR("inf")) || str_ieq(word, STR("infinity"))) {
        *ret = s.p[0] == '-' ? -INFINITY : INFINITY;
        return true;
    }
    if (word.n == 0 || !((word.p[0] >= '0' && word.p[0] <= '9') || word.p[0] == '.'))
        return false;
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] != '_')
            text[n++] = s.p[i];
    text[n] = '\0';
    *ret = strtod(text, &end);
    return *end == '\0';
}

/* In series: an integer with a leading zero is octal; no hexadecimal. */
static bool value_parse(struct str s, double *ret)
{
    struct str digits = s;
    double v = 0;

    if (s.n && (s.p[0] == '+' || s.p[0] == '-'))
        digits = str_skip(s, 1);
    for (size_t i = 0; i < digits.n; i++)
        if (digits.p[i] == 'x' || digits.p[i] == 'X')
            return false;
    for (size_t i = 0; i < digits.n; i++) {
        if (digits.n < 2 || digits.p[0] != '0' || digits.p[i] < '0' || digits.p[i] > '7')
            return number_parse(s, ret);
        v = v * 8 + (digits.p[i] - '0');
    }
    if (digits.n < 2)
        return number_parse(s, ret);
    *ret = s.p[0] == '-' ? -v : v;
    return true;
}

static bool count_parse(struct str s, size_t *ret)
{
    size_t n = 0;

    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9' || n > SERIES_VALUES_MAX)
            return false;
        n = n * 10 + (size_t)(s.p[i] - '0');
    }
    *ret = n;
    return s.n > 0 && n <= SERIES_VALUES_MAX;
}

/* --- value lists --- */
struct values {
    struct arena *a;
    struct value *v;
    size_t n, cap;
};

static struct value *values_add(struct values *vs)
{
    if (vs->n == vs->cap) {
        size_t cap = vs->cap ? vs->cap * 2 : 16;
        struct value *v = arena_array(vs->a, cap, sizeof *v);

        ASSERT(v);
        if (vs->n)
            memcpy(v, vs->v, vs->n * sizeof *v);
        vs->v = v;
        vs->cap = cap;
    }
    vs->v[vs->n] = (struct value){0};
    return &vs->v[vs->n++];
}

static int bad_item(struct str item, struct err *err)
{
    return err_set(err, RC_INVALID, "bad value: %.*s", STR_FMT(item));
}

/* Length of the number at the start of s: sign, then up to the next + or - that is not an
 * exponent's, or x. */
static size_t number_length(struct str s)
{
    size_t i = s.n && (s.p[0] == '+' || s.p[0] == '-');

    for (; i < s.n; i++) {
        if (s.p[i] == 'x')
            break;
        if ((s.p[i] == '+' || s.p[i] == '-') &&
            !(i > 0 && (s.p[i - 1] == 'e' || s.p[i - 1] == 'E')))
            break;
    }
    return i;
}

static int float_item(struct str item, struct values *vs, struct err *err)
{
    size_t n = number_length(item), count = 0;
    struct str first = str_sub(item, 0, n), rest = str_skip(item, n);
    double v, delta = 0;

    if (!value_parse(first, &v))
        return bad_item(item, err);
    if (rest.n && rest.p[0] != 'x') {
        n = number_length(rest);
        if (!value_parse(str_sub(rest, 0, n), &delta) || n == rest.n)
            return bad_item(item, err);
        rest = str_skip(rest, n);
    }
    if (rest.n && !count_parse(str_skip(rest, 1), &count))
        return bad_item(item, err);
    for (size_t i = 0; i <= count; i++, v += delta)
        values_add(vs)->v = v;
    return 0;
}

static int omitted_item(struct str item, struct values *vs, struct err *err)
{
    size_t count = 1;

    if (item.n > 1 && (item.p[1] != 'x' || !count_parse(str_skip(item, 2), &count)))
        return bad_item(item, err);
    for (size_t i = 0; i < count; i++)
        values_add(vs)->omitted = true;
    return 0;
}

static int stale_item(struct str item, struct values *vs, struct err *err)
{
    struct str rest = str_skip(item, 5);
    size_t count = 0;

    if (rest.n && (rest.p[0] != 'x' || !count_parse(str_skip(rest, 1), &count)))
        return bad_item(item, err);
    for (size_t i = 0; i <= count; i++)
        values_add(vs)->v = bits_double(STALE_NAN_BITS);
    return 0;
}

/* {{...}} at the start of s. */
static int histogram_take(struct str *s, struct arena *a, struct histogram **ret, bool *ret_hint,
                          struct err *err)
{
    struct str body;
    size_t i = 2;

    while (i + 1 < s->n && !(s->p[i] == '}' && s->p[i + 1] == '}'))
        i++;
    if (i + 1 >= s->n)
        return err_set(err, RC_INVALID, "}} expected");
    body = str_sub(*s, 2, i);
    *s = str_skip(*s, i + 2);
    *ret_hint = fhist_text_gives_hint(body);
    return fhist_parse_text(a, body, ret, err);
}

static uint8_t hint_combine(uint8_t x, uint8_t y)
{
    if (x == y)
        return x;
    return x == HIST_HINT_GAUGE || y == HIST_HINT_GAUGE ? HIST_HINT_GAUGE : HIST_HINT_UNKNOWN;
}

static int histogram_step(struct arena *a, struct histogram **h, const struct histogram *by,
                          bool add, struct err *err)
{
    struct histogram *next;
    int rc = add ? fhist_add(a, *h, by, &next, NULL) : fhist_sub(a, *h, by, &next, NULL);

    if (rc < 0)
        return err_set(err, RC_INVALID, "histograms do not combine");
    next->hint = hint_combine((*h)->hint, by->hint);
    *h = next;
    return 0;
}

static int histogram_item(struct str *s, struct values *vs, struct err *err)
{
    struct histogram *h, *by = NULL;
    bool hint, add = false;
    size_t count = 0, n = 0;
    int rc = histogram_take(s, vs->a, &h, &hint, err);

    if (rc == 0 && s->n > 2 && (s->p[0] == '+' || s->p[0] == '-')) {
        add = s->p[0] == '+';
        *s = str_skip(*s, 1);
        if (!str_has_prefix(*s, STR("{{")))
            return bad_item(*s, err);
        rc = histogram_take(s, vs->a, &by, &hint, err);
        if (rc == 0 && (s->n == 0 || s->p[0] != 'x'))
            return bad_item(*s, err);
        if (rc == 0 && by->schema < h->schema)
            return err_set(err, RC_INVALID,
                           "error in combining histograms: cannot merge from schema %d to %d",
                           by->schema, h->schema);
    }
    if (rc < 0)
        return rc;
    if (s->n && s->p[0] == 'x') {
        while (n + 1 < s->n && s->p[n + 1] != ' ' && s->p[n + 1] != '\t')
            n++;
        if (!count_parse(str_sub(*s, 1, n + 1), &count))
            return bad_item(*s, err);
        *s = str_skip(*s, n + 1);
    }
    for (size_t i = 0; rc == 0 && i <= count; i++) {
        struct value *v = values_add(vs);

        v->h = h;
        v->hint_given = hint;
        if (by && i < count)
            rc = histogram_step(vs->a, &h, by, add, err);
    }
    return rc;
}

static int item_take(struct str *s, struct values *vs, struct err *err)
{
    struct str item;
    size_t n = 0;

    if (str_has_prefix(*s, STR("{{"))) {
        int rc = histogram_item(s, vs, err);

        return rc == 0 && s->n && s->p[0] != ' ' && s->p[0] != '\t' ? bad_item(*s, err) : rc;
    }
    while (n < s->n && s->p[n] != ' ' && s->p[n] != '\t')
        n++;
    item = str_sub(*s, 0, n);
    *s = str_skip(*s, n);
    if (item.p[0] == '_')
        return omitted_item(item, vs, err);
    if (str_has_prefix(item, STR("stale")))
        return stale_item(item, vs, err);
    return float_item(item, vs, err);
}

int series_line_parse(struct str line, struct arena *a, struct series_line *ret, struct err *err)
{
    struct values vs = {.a = a};
    struct labels ls;
    struct str rest;
    int rc = description_parse(line, a, &ls, &rest, err);

    if (rc < 0)
        return rc;
    if (rest.n && rest.p[0] != ' ' && rest.p[0] != '\t')
        return err_set(err, RC_INVALID, "blank expected after the series");
    for (rest = trim_left(rest); rc == 0 && rest.n; rest = trim_left(rest))
        rc = item_take(&rest, &vs, err);
    if (rc < 0)
        return rc;
    *ret = (struct series_line){.labels = ls, .v = vs.v, .n = vs.n};
    return 0;
}

/* --- @st lines --- */
/* One sign, digits, one unit; 0 needs no unit. *s moves behind it. */
static bool offset_take(struct str *s, int64_t *ret)
{
    size_t from = s->n && (s->p[0] == '-' || s->p[0] == '+'), to = from;
    int64_t ms;

    while (to < s->n && s->p[to] >= '0' && s->p[to] <= '9')
        to++;
    while (to < s->n && s->p[to] >= 'a' && s->p[to] <= 'w')
        to++;
    if (duration_parse_ms(str_sub(*s, from, to), &ms, NULL) < 0)
        return false;
    *ret = from && s->p[0] == '-' ? -ms : ms;
    *s = str_skip(*s, to);
    return true;
}

static int st_item(struct str item, struct values *vs, struct err *err)
{
    struct str s = item;
    int64_t offset, delta = 0;
    size_t count = 0;

    if (item.p[0] == '_')
        return omitted_item(item, vs, err);
    if (!offset_take(&s, &offset) || (s.n && s.p[0] != 'x' && !offset_take(&s, &delta)))
        return bad_item(item, err);
    if (s.n && (s.p[0] != 'x' || !count_parse(str_skip(s, 1), &count)))
        return bad_item(item, err);
    for (size_t i = 0; i <= count; i++, offset += delta) {
        struct value *v = values_add(vs);

        v->st = offset;
        v->st_known = true;
    }
    return 0;
}

int st_line_parse(struct str items, struct arena *a, struct value **ret, size_t *ret_n,
                  struct err *err)
{
    struct values vs = {.a = a};
    int rc = 0;

    for (items = trim_left(items); rc == 0 && items.n; items = trim_left(items)) {
        size_t n = 0;

        while (n < items.n && items.p[n] != ' ' && items.p[n] != '\t')
            n++;
        rc = st_item(str_sub(items, 0, n), &vs, err);
        items = str_skip(items, n);
    }
    *ret = vs.v;
    *ret_n = vs.n;
    return rc;
}

int pattern_matches(struct str pattern, struct str text, bool *ret, struct err *err)
{
    struct buf b;
    struct matcher m;
    int rc;

    buf_init(&b, MATCHER_REGEX_BYTES_MAX);
    buf_z(&b, "(?s:.*)(?:");
    buf_str(&b, pattern);
    buf_z(&b, ")(?s:.*)");
    rc = matcher_init(&m, MATCH_RE, STR("x"), buf_view(&b), err);
    buf_fini(&b);
    if (rc < 0)
        return rc;
    *ret = matcher_matches(&m, text);
    matcher_fini(&m);
    return 0;
}
