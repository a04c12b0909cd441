#include "common/obs/exposition.h"

#include "common/model/duration.h"
#include "common/model/labels.h"

#include <math.h>

void exposition_init(struct exposition *e, struct str text)
{
    struct str tail = str_trim(text);

    e->text = e->rest = text;
    e->line = 0;
    e->openmetrics = str_has_suffix(tail, STR("# EOF")) && (tail.n == 5 || tail.p[tail.n - 6] == '\n');
    e->ended = false;
    e->type_name = e->type = (struct str){0};
}

static int wrong(const struct exposition *e, struct err *err, const char *what, struct str where)
{
    return err_set(err, RC_INVALID, "line %zu: %s at \"%.*s\"", e->line, what, (int)MIN(where.n, (size_t)60), where.p ? where.p : "");
}

static struct str skip_blanks(struct str s)
{
    while (s.n && (s.p[0] == ' ' || s.p[0] == '\t'))
        s = str_skip(s, 1);
    return s;
}

static bool name_char(char c, bool first, bool colon)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (colon && c == ':') || (!first && c >= '0' && c <= '9');
}

static struct str take_name(struct str *s, bool colon)
{
    size_t n = 0;

    while (n < s->n && name_char(s->p[n], n == 0, colon))
        n++;
    *s = str_skip(*s, n);
    return str_n(s->p - n, n);
}

static struct str take_word(struct str *s)
{
    size_t n = 0;

    while (n < s->n && s->p[n] != ' ' && s->p[n] != '\t')
        n++;
    *s = str_skip(*s, n);
    return str_n(s->p - n, n);
}

/* A quoted value; *used: bytes of e->unescaped that are taken. */
static int take_value(struct exposition *e, struct str *s, size_t *used, struct str *ret, struct err *err)
{
    size_t n = 1, from = *used;
    bool escaped = false;

    if (!s->n || s->p[0] != '"')
        return wrong(e, err, "a label value must begin with a quote", *s);
    for (; n < s->n && s->p[n] != '"'; n++) {
        char c = s->p[n];

        if (c == '\\') {
            escaped = true;
            c = ++n < s->n ? s->p[n] : '\0';
            if (c != '\\' && c != '"' && c != 'n')
                return wrong(e, err, "unknown escape", str_skip(*s, MIN(n - 1, s->n)));
            c = c == 'n' ? '\n' : c;
        }
        e->unescaped[(*used)++] = c; /* never longer than the line */
    }
    if (n >= s->n)
        return wrong(e, err, "a label value does not end", *s);
    *ret = escaped ? str_n(e->unescaped + from, *used - from) : str_sub(*s, 1, n);
    if (!utf8_valid(*ret))
        return wrong(e, err, "a label value is not UTF-8", *s);
    *s = str_skip(*s, n + 1);
    return 0;
}

static int add_label(struct exposition *e, struct exposition_sample *r, struct str name, struct str value, struct err *err)
{
    for (size_t i = 0; i < r->label_n; i++)
        if (str_eq(r->labels[i].name, name))
            return wrong(e, err, "a label stands twice", name);
    if (r->label_n == EXPOSITION_LABELS_MAX)
        return wrong(e, err, "more than 60 labels", name);
    r->labels[r->label_n].name = name;
    r->labels[r->label_n++].value = value;
    return 0;
}

/* {name="value",...}; blanks between all parts in 0.0.4, a comma before the end too. */
static int take_labels(struct exposition *e, struct str *s, struct exposition_sample *r, struct err *err)
{
    size_t used = 0;
    int rc = 0;

    *s = skip_blanks(str_skip(*s, 1));
    while (rc == 0 && s->n && s->p[0] != '}') {
        struct str name = take_name(s, false), value = {0};

        if (!name.n)
            return wrong(e, err, "want a label name", *s);
        *s = skip_blanks(*s);
        if (!s->n || s->p[0] != '=')
            return wrong(e, err, "want = behind a label name", *s);
        *s = skip_blanks(str_skip(*s, 1));
        rc = take_value(e, s, &used, &value, err);
        if (rc == 0)
            rc = add_label(e, r, name, value, err);
        *s = skip_blanks(*s);
        if (rc == 0 && s->n && s->p[0] == ',')
            *s = skip_blanks(str_skip(*s, 1));
        else if (rc == 0 && (!s->n || s->p[0] != '}'))
            return wrong(e, err, "want , or } behind a label", *s);
    }
    if (rc == 0 && !s->n)
        return wrong(e, err, "labels do not end", *s);
    if (rc == 0)
        *s = str_skip(*s, 1);
    return rc;
}

static int take_time(struct exposition *e, struct str word, struct exposition_sample *r, struct err *err)
{
    double t;

    if (float_parse(word, &t, NULL) < 0 || !isfinite(t) || (!e->openmetrics && t != floor(t)))
        return wrong(e, err, "want a timestamp", word);
    t = e->openmetrics ? round(t * 1000) : t;
    if (!(fabs(t) < 0x1p53))
        return wrong(e, err, "timestamp out of range", word);
    r->has_time = true;
    r->t_ms = (int64_t)t;
    return 0;
}

static int sample_line(struct exposition *e, struct str s, struct exposition_sample *r, struct err *err)
{
    struct str line = s, word;
    int rc = 0;

    *r = (struct exposition_sample){.name = take_name(&s, true)};
    if (!r->name.n || r->name.n > EXPOSITION_NAME_BYTES_MAX)
        return wrong(e, err, "want a metric name", line);
    s = skip_blanks(s);
    if (s.n && s.p[0] == '{')
        rc = take_labels(e, &s, r, err);
    else if (s.p == r->name.p + r->name.n)
        return wrong(e, err, "want a blank or labels behind a metric name", s);
    if (rc < 0)
        return rc;
    s = skip_blanks(s);
    word = take_word(&s);
    if (float_parse(word, &r->value, NULL) < 0)
        return wrong(e, err, "want a value", word);
    s = skip_blanks(s);
    if (s.n && s.p[0] != '#') {
        word = take_word(&s);
        rc = take_time(e, word, r, err);
        s = skip_blanks(s);
    }
    if (rc == 0 && s.n && !(e->openmetrics && str_has_prefix(s, STR("# {"))))
        rc = wrong(e, err, "something behind the sample", s);
    return rc;
}

/* # TYPE name type; all other comments mean nothing here. */
static int comment_line(struct exposition *e, struct str s, struct err *err)
{
    static const char *const types[] = {"counter", "gauge", "histogram", "summary", "untyped", "unknown", "gaugehistogram", "info", "stateset"};
    struct str name, type;

    s = skip_blanks(str_skip(s, 1));
    if (e->openmetrics && str_eqz(s, "EOF")) {
        e->ended = true;
        return 0;
    }
    if (!str_eqz(take_word(&s), "TYPE"))
        return 0;
    s = skip_blanks(s);
    name = take_word(&s);
    type = str_trim(s);
    if (!metric_name_legacy_valid(name))
        return wrong(e, err, "TYPE of no metric name", name);
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        if (str_eqz(type, types[i])) {
            e->type_name = name;
            e->type = type;
            return 0;
        }
    return wrong(e, err, "unknown type", type);
}

int exposition_next(struct exposition *e, struct exposition_sample *ret, struct err *err)
{
    while (e->rest.n) {
        size_t end = str_find(e->rest, '\n');
        struct str line = str_sub(e->rest, 0, end), s;
        int rc;

        e->line++;
        e->rest = str_skip(e->rest, MIN(end + 1, e->rest.n));
        if (line.n && line.p[line.n - 1] == '\r')
            line.n--;
        s = skip_blanks(line);
        if (line.n > EXPOSITION_LINE_BYTES_MAX)
            return wrong(e, err, "line too long", line);
        if (s.n && e->ended)
            return wrong(e, err, "something behind # EOF", s);
        if (s.n == 0)
            continue;
        if (s.p[0] != '#') {
            rc = sample_line(e, s, ret, err);
            return rc < 0 ? rc : 1;
        }
        rc = comment_line(e, s, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

struct str exposition_type(const struct exposition *e, struct str name)
{
    static const char *const suffixes[] = {"", "_total", "_bucket", "_count", "_sum", "_created", "_info", "_gcount", "_gsum"};

    if (!e->type_name.n || !str_has_prefix(name, e->type_name))
        return STR("");
    for (size_t i = 0; i < ARRAY_LEN(suffixes); i++)
        if (str_eqz(str_skip(name, e->type_name.n), suffixes[i]))
            return e->type;
    return STR("");
}
