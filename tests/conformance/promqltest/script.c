#include "script.h"

#include "common/model/duration.h"

struct reader {
    struct str *lines;
    size_t n, at; /* line number is at + 1 */
    struct arena *a;
    struct err *err;
};

static bool blank(char c)
{
    return c == ' ' || c == '\t';
}

/* The first word, and s moved to what follows it. */
static struct str word_take(struct str *s)
{
    size_t n = 0;
    struct str w;

    while (n < s->n && !blank(s->p[n]))
        n++;
    w = str_sub(*s, 0, n);
    *s = str_trim(str_skip(*s, n));
    return w;
}

static int bad_line(struct reader *r, const char *what)
{
    return err_set(r->err, RC_INVALID, "line %zu: %s", r->at + 1, what);
}

static int split_lines(struct str text, struct reader *r)
{
    size_t n = 1;

    for (size_t i = 0; i < text.n; i++)
        n += text.p[i] == '\n';
    r->lines = arena_array(r->a, n, sizeof *r->lines);
    if (!r->lines)
        return err_set(r->err, RC_NOMEM, "script is too large");
    while (r->n < n) {
        size_t end = str_find(text, '\n');
        struct str line = str_trim(str_sub(text, 0, end));

        r->lines[r->n++] = line.n && line.p[0] == '#' ? STR("") : line;
        text = str_skip(text, MIN(end + 1, text.n));
    }
    return 0;
}

/* --- lists --- */
static struct series_line *series_add(struct reader *r, struct series_line **v, size_t *n)
{
    if ((*n & (*n - 1)) == 0) {
        struct series_line *grown = arena_array(r->a, *n ? *n * 2 : 1, sizeof *grown);

        ASSERT(grown);
        if (*n)
            memcpy(grown, *v, *n * sizeof *grown);
        *v = grown;
    }
    return &(*v)[(*n)++];
}

/* Appends, or replaces the one with the same labels. */
static void series_put(struct reader *r, struct series_line **v, size_t *n,
                       const struct series_line *line)
{
    for (size_t i = 0; i < *n; i++) {
        if (labels_eq(&(*v)[i].labels, &line->labels)) {
            (*v)[i] = *line;
            return;
        }
    }
    *series_add(r, v, n) = *line;
}

/* --- load --- */
static int st_apply(struct reader *r, struct series_line *line, const struct labels *ls,
                    const struct value *st, size_t n)
{
    if (!labels_eq(ls, &line->labels))
        return bad_line(r, "@st line has other labels");
    if (n != line->n)
        return bad_line(r, "@st line has another number of values");
    for (size_t i = 0; i < n; i++) {
        line->v[i].st = st[i].st;
        line->v[i].st_known = st[i].st_known;
    }
    return 0;
}

static int load_line(struct reader *r, struct command *c)
{
    struct str line = r->lines[r->at], items = line, head = word_take(&items);
    struct value *st = NULL;
    struct labels ls;
    struct str rest;
    struct series_line out;
    size_t n = 0;
    bool has_st = str_has_suffix(head, STR("@st"));
    int rc = 0;

    if (has_st) {
        rc = description_parse(str_sub(head, 0, head.n - 3), r->a, &ls, &rest, r->err);
        if (rc == 0)
            rc = st_line_parse(items, r->a, &st, &n, r->err);
        if (rc == 0 && (++r->at == r->n || r->lines[r->at].n == 0))
            return bad_line(r, "@st line without series");
    }
    if (rc == 0)
        rc = series_line_parse(r->lines[r->at], r->a, &out, r->err);
    if (rc == 0 && has_st)
        rc = st_apply(r, &out, &ls, st, n);
    if (rc < 0)
        return err_wrap(r->err, rc, "line %zu", r->at + 1);
    out.line = r->at + 1;
    series_put(r, &c->load.series, &c->load.series_count, &out);
    return 0;
}

static int parse_load(struct reader *r, struct command *c)
{
    struct str s = r->lines[r->at], w = word_take(&s);

    c->load.with_nhcb = str_eqz(w, "load_with_nhcb");
    if (!c->load.with_nhcb && !str_eqz(w, "load"))
        return bad_line(r, "unknown command");
    if (duration_parse_ms(s, &c->load.step_ms, NULL) < 0)
        return bad_line(r, "bad step");
    for (r->at++; r->at < r->n && r->lines[r->at].n; r->at++) {
        int rc = load_line(r, c);

        if (rc < 0)
            return rc;
    }
    return 0;
}

/* --- eval --- */
static int duration_word(struct reader *r, struct str *s, int64_t *ret)
{
    if (duration_parse_ms(word_take(s), ret, NULL) < 0)
        return bad_line(r, "bad duration");
    return 0;
}

static int keyword(struct reader *r, struct str *s, const char *want)
{
    return str_eqz(word_take(s), want) ? 0 : bad_line(r, want);
}

static int range_words(struct reader *r, struct str *s, int64_t *start, int64_t *end, int64_t *step)
{
    int rc = keyword(r, s, "from");

    if (rc == 0)
        rc = duration_word(r, s, start);
    if (rc == 0)
        rc = keyword(r, s, "to");
    if (rc == 0)
        rc = duration_word(r, s, end);
    if (rc == 0)
        rc = keyword(r, s, "step");
    if (rc == 0)
        rc = duration_word(r, s, step);
    if (rc == 0 && *end < *start)
        rc = bad_line(r, "end is before start");
    return rc;
}

static void expect_add(struct reader *r, struct eval *e, enum expect_kind kind,
                       struct expect_text text)
{
    struct expect_text *t = arena_dup(r->a, &text, sizeof text);

    ASSERT(t);
    t->next = e->expect[kind];
    e->expect[kind] = t;
}

/* ordered, fail, warn, no_warn, info, no_info; the last five may have msg:TEXT or regex:RE. */
static int expect_line(struct reader *r, struct eval *e, struct str s)
{
    static const char *const words[] = {[EXPECT_FAIL] = "fail",
                                        [EXPECT_WARN] = "warn",
                                        [EXPECT_INFO] = "info",
                                        [EXPECT_NO_WARN] = "no_warn",
                                        [EXPECT_NO_INFO] = "no_info"};
    struct expect_text text = {.any = s.n == 0};
    struct str w = word_take(&s);

    text.any = s.n == 0;
    text.regex = str_has_prefix(s, STR("regex:"));
    if (!text.any && !text.regex && !str_has_prefix(s, STR("msg:")))
        return bad_line(r, "msg: or regex: expected");
    if (!text.any)
        text.text = str_trim(str_skip(s, text.regex ? 6 : 4));
    if (str_eqz(w, "ordered")) {
        e->ordered = true;
        return e->instant ? 0 : bad_line(r, "a range query has no order");
    }
    for (size_t k = 0; k < EXPECT_KINDS; k++) {
        if (!str_eqz(w, words[k]))
            continue;
        if (k == EXPECT_FAIL && e->expect[k])
            return bad_line(r, "more than one expect fail");
        expect_add(r, e, (enum expect_kind)k, text);
        if ((e->expect[EXPECT_WARN] && e->expect[EXPECT_NO_WARN]) ||
            (e->expect[EXPECT_INFO] && e->expect[EXPECT_NO_INFO]))
            return bad_line(r, "expected and not expected");
        return 0;
    }
    return bad_line(r, "unknown expectation");
}

static int expect_string(struct reader *r, struct eval *e, struct str s)
{
    int rc;

    s = str_trim(str_skip(s, strlen("expect string")));
    if (!e->instant || s.n == 0 || !strchr("\"`", s.p[0]))
        return bad_line(r, "quoted string expected");
    rc = string_parse(s, r->a, &e->string, r->err);
    e->has_string = true;
    return rc < 0 ? err_wrap(r->err, rc, "line %zu", r->at + 1) : 0;
}

static int expect_matrix(struct reader *r, struct eval *e, struct str s)
{
    int64_t end;
    int rc;

    if (!e->instant)
        return bad_line(r, "expect range vector is for instant queries");
    s = str_trim(str_skip(s, strlen("expect range vector")));
    rc = range_words(r, &s, &e->matrix_start_ms, &end, &e->matrix_step_ms);
    e->has_matrix = true;
    e->start_ms = e->end_ms = end;
    return rc;
}

static int expected_series(struct reader *r, struct eval *e, struct str s)
{
    struct series_line line;
    int rc = series_line_parse(s, r->a, &line, r->err);

    if (rc < 0)
        return err_wrap(r->err, rc, "line %zu", r->at + 1);
    line.line = r->at + 1;
    if (e->instant && !e->has_matrix && line.n > 1)
        return bad_line(r, "two values in an instant result");
    series_put(r, &e->series, &e->series_count, &line);
    return 0;
}

/* 1: this line ended the block. */
static int eval_line(struct reader *r, struct eval *e, bool old_fail, struct str s)
{
    struct str rest = s, w = word_take(&rest);
    bool regex = str_has_prefix(s, STR("expected_fail_regexp"));

    if (old_fail && (regex || str_has_prefix(s, STR("expected_fail_message")))) {
        e->expect[EXPECT_FAIL]->any = false;
        e->expect[EXPECT_FAIL]->regex = regex;
        e->expect[EXPECT_FAIL]->text = str_trim(
            str_skip(s, regex ? strlen("expected_fail_regexp") : strlen("expected_fail_message")));
        return 1;
    }
    if (str_has_prefix(s, STR("expect range vector")))
        return expect_matrix(r, e, s);
    if (str_has_prefix(s, STR("expect string")))
        return expect_string(r, e, s);
    if (str_eqz(w, "expect"))
        return expect_line(r, e, rest);
    if (number_parse(s, &e->scalar)) {
        e->has_scalar = true;
        return 1;
    }
    return expected_series(r, e, s);
}

static int eval_head(struct reader *r, struct eval *e, struct str *s)
{
    struct str w = word_take(s);
    int rc;

    e->instant = str_eqz(w, "instant");
    if (e->instant) {
        rc = keyword(r, s, "at");
        if (rc == 0)
            rc = duration_word(r, s, &e->start_ms);
        e->end_ms = e->start_ms;
    } else if (str_eqz(w, "range")) {
        rc = range_words(r, s, &e->start_ms, &e->end_ms, &e->step_ms);
    } else {
        rc = bad_line(r, "instant or range expected");
    }
    if (rc == 0 && s->n == 0)
        rc = bad_line(r, "query expected");
    e->query = *s;
    return rc;
}

static int parse_eval(struct reader *r, struct command *c)
{
    struct eval *e = &c->eval;
    struct str s = r->lines[r->at], w = word_take(&s);
    bool old_fail = str_eqz(w, "eval_fail");
    int rc = eval_head(r, e, &s);

    if (rc < 0)
        return rc;
    if (old_fail)
        expect_add(r, e, EXPECT_FAIL, (struct expect_text){.any = true});
    else if (str_eqz(w, "eval_warn"))
        expect_add(r, e, EXPECT_WARN, (struct expect_text){.any = true});
    else if (str_eqz(w, "eval_info"))
        expect_add(r, e, EXPECT_INFO, (struct expect_text){.any = true});
    else if (str_eqz(w, "eval_ordered"))
        e->ordered = true;
    else if (!str_eqz(w, "eval"))
        return bad_line(r, "unknown command");
    for (r->at++; r->at < r->n && r->lines[r->at].n; r->at++) {
        rc = eval_line(r, e, old_fail, r->lines[r->at]);
        if (rc < 0)
            return rc;
        if (rc > 0) {
            r->at++;
            break;
        }
    }
    return 0;
}

static int parse_command(struct reader *r, struct command *c)
{
    struct str s = r->lines[r->at], w = word_take(&s);

    c->line = r->at + 1;
    if (str_ieq(w, STR("clear"))) {
        c->kind = COMMAND_CLEAR;
        r->at++;
        return 0;
    }
    if (w.n >= 4 && str_ieq(str_sub(w, 0, 4), STR("load"))) {
        c->kind = COMMAND_LOAD;
        return parse_load(r, c);
    }
    if (w.n >= 4 && str_ieq(str_sub(w, 0, 4), STR("eval"))) {
        c->kind = COMMAND_EVAL;
        return parse_eval(r, c);
    }
    return bad_line(r, "unknown command");
}

int script_parse(struct str text, struct arena *a, struct command **ret, struct err *err)
{
    struct reader r = {.a = a, .err = err};
    struct command *list = NULL, **tail = &list;
    int rc = split_lines(text, &r);

    while (rc == 0 && r.at < r.n) {
        if (r.lines[r.at].n == 0) {
            r.at++;
            continue;
        }
        *tail = arena_zalloc(a, sizeof **tail);
        if (!*tail)
            return err_set(err, RC_NOMEM, "script is too large");
        rc = parse_command(&r, *tail);
        tail = &(*tail)->next;
    }
    if (rc == 0)
        *ret = list;
    return rc;
}
