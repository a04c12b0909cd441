/* The {{...}} literals of test scripts. Keys, all optional, each at most once, in any order:
 *   schema sum count z_bucket z_bucket_w buckets offset n_buckets n_offset custom_values
 * counter_reset_hint */
#include "common/model/duration.h"
#include "promql/fhist_work.h"

#include <limits.h>
#include <math.h>

enum text_key {
    KEY_SCHEMA,
    KEY_SUM,
    KEY_COUNT,
    KEY_ZERO,
    KEY_ZERO_WIDTH,
    KEY_BUCKETS,
    KEY_OFFSET,
    KEY_NEG_BUCKETS,
    KEY_NEG_OFFSET,
    KEY_CUSTOM,
    KEY_HINT,
    KEYS
};
static const char *const keys[KEYS] = {
    [KEY_SCHEMA] = "schema",
    [KEY_SUM] = "sum",
    [KEY_COUNT] = "count",
    [KEY_ZERO] = "z_bucket",
    [KEY_ZERO_WIDTH] = "z_bucket_w",
    [KEY_BUCKETS] = "buckets",
    [KEY_OFFSET] = "offset",
    [KEY_NEG_BUCKETS] = "n_buckets",
    [KEY_NEG_OFFSET] = "n_offset",
    [KEY_CUSTOM] = "custom_values",
    [KEY_HINT] = "counter_reset_hint",
};
static const char *const hints[] = {
    [HIST_HINT_UNKNOWN] = "unknown",
    [HIST_HINT_RESET] = "reset",
    [HIST_HINT_NOT_RESET] = "not_reset",
    [HIST_HINT_GAUGE] = "gauge",
};

struct text {
    struct str rest;
    struct arena *arena;
    unsigned seen; /* bit per key */
    struct histogram *h;
    struct hist_span *pos, *neg; /* the one span of each side */
};

static bool is_space(char c)
{
    return c == ' ' || c == '\t';
}

static void space_skip(struct text *t)
{
    while (t->rest.n > 0 && is_space(t->rest.p[0]))
        t->rest = str_skip(t->rest, 1);
}

/* Up to the next space, bracket or colon. */
static struct str word_take(struct text *t)
{
    struct str word;
    size_t n = 0;

    while (n < t->rest.n && !is_space(t->rest.p[n]) && !strchr("[]:", t->rest.p[n]))
        n++;
    word = str_sub(t->rest, 0, n);
    t->rest = str_skip(t->rest, n);
    return word;
}

/* Decimal digits with '_' between them, Inf or NaN; one sign. No hexadecimal: an x repeats. */
static int number_take(struct text *t, double *ret, struct err *err)
{
    struct str word = word_take(t), body = word;
    char plain[128];
    size_t n = 0;

    if (body.n > 0 && (body.p[0] == '+' || body.p[0] == '-'))
        body = str_skip(body, 1);
    if (str_ieq(body, STR("inf"))) {
        *ret = word.p[0] == '-' ? -INFINITY : INFINITY;
        return 0;
    }
    if (str_ieq(body, STR("nan"))) {
        *ret = bits_double(NORMAL_NAN_BITS);
        return 0;
    }
    for (size_t i = 0; i < word.n; i++) {
        char c = word.p[i];
        bool between = i > 0 && i + 1 < word.n && word.p[i - 1] >= '0' && word.p[i - 1] <= '9' &&
                       word.p[i + 1] >= '0' && word.p[i + 1] <= '9';

        if ((c == '_' && !between) || !c || !strchr("0123456789.eE+-_", c) || n == sizeof plain)
            return err_set(err, RC_INVALID, "histogram description: not a number: \"%.*s\"",
                           (int)MIN(word.n, (size_t)64), word.p);
        if (c != '_')
            plain[n++] = c;
    }
    return float_parse(str_n(plain, n), ret, err);
}

static int integer_take(struct text *t, int32_t limit, int32_t *ret, struct err *err)
{
    double v;
    int rc = number_take(t, &v, err);

    if (rc < 0)
        return rc;
    if (!(fabs(v) <= limit) || v != trunc(v))
        return err_set(err, RC_INVALID,
                       "histogram description: %g is not an integer between -%d and %d", v, limit,
                       limit);
    *ret = (int32_t)v;
    return 0;
}

/* [n n ...] into an arena array. */
static int list_take(struct text *t, double **ret, uint32_t *ret_n, struct err *err)
{
    size_t end = str_find(t->rest, ']'), cap = 1;
    uint32_t n = 0;
    double *v;

    if (t->rest.n == 0 || t->rest.p[0] != '[' || end == t->rest.n)
        return err_set(err, RC_INVALID, "histogram description: expected [...]");
    for (size_t i = 1; i < end; i++)
        cap += is_space(t->rest.p[i]);
    if (cap > HIST_BUCKETS_MAX)
        return err_set(err, RC_INVALID, "histogram description: more than %d numbers",
                       HIST_BUCKETS_MAX);
    v = arena_array(t->arena, cap, sizeof *v);
    if (!v)
        return err_set(err, RC_NOMEM, "histogram description: no memory");
    t->rest = str_skip(t->rest, 1);
    while (t->rest.n > 0 && t->rest.p[0] != ']') {
        int rc = number_take(t, &v[n], err);

        if (rc < 0)
            return rc;
        n++;
        space_skip(t);
    }
    ASSERT(n <= cap && t->rest.n > 0);
    t->rest = str_skip(t->rest, 1);
    *ret = v;
    *ret_n = n;
    return 0;
}

static int buckets_take(struct text *t, struct hist_side *side, struct hist_span *span,
                        struct err *err)
{
    uint32_t n;
    double *v;
    int rc = list_take(t, &v, &n, err);

    if (rc < 0 || n == 0)
        return rc;
    span->length = n;
    *side = (struct hist_side){.spans = span, .span_count = 1, .bucket_count = n, .f = v};
    return 0;
}

static int custom_take(struct text *t, struct err *err)
{
    double *v;
    int rc = list_take(t, &v, &t->h->custom_count, err);

    if (rc == 0)
        t->h->custom = v;
    return rc;
}

static int hint_take(struct text *t, struct err *err)
{
    struct str word = word_take(t);

    for (size_t i = 0; i < ARRAY_LEN(hints); i++)
        if (str_eqz(word, hints[i])) {
            t->h->hint = (uint8_t)i;
            return 0;
        }
    return err_set(err, RC_INVALID, "histogram description: bad counter reset hint \"%.*s\"",
                   (int)MIN(word.n, (size_t)64), word.p);
}

static int schema_take(struct text *t, struct err *err)
{
    int rc = integer_take(t, -HIST_CUSTOM_SCHEMA, &t->h->schema, err);

    if (rc < 0)
        return rc;
    if (t->h->schema != HIST_CUSTOM_SCHEMA &&
        (t->h->schema < HIST_SCHEMA_MIN || t->h->schema > HIST_SCHEMA_MAX))
        return err_set(err, RC_INVALID, "histogram description: bad schema %d", t->h->schema);
    return 0;
}

static int value_take(struct text *t, enum text_key key, struct err *err)
{
    enum { OFFSET_MAX = HIST_INDEX_MAX - HIST_BUCKETS_MAX };

    switch (key) {
    case KEY_SCHEMA:
        return schema_take(t, err);
    case KEY_SUM:
        return number_take(t, &t->h->sum, err);
    case KEY_COUNT:
        return number_take(t, &t->h->count.f, err);
    case KEY_ZERO:
        return number_take(t, &t->h->zero_count.f, err);
    case KEY_ZERO_WIDTH:
        return number_take(t, &t->h->zero_threshold, err);
    case KEY_BUCKETS:
        return buckets_take(t, &t->h->pos, t->pos, err);
    case KEY_OFFSET:
        return integer_take(t, OFFSET_MAX, &t->pos->offset, err);
    case KEY_NEG_BUCKETS:
        return buckets_take(t, &t->h->neg, t->neg, err);
    case KEY_NEG_OFFSET:
        return integer_take(t, OFFSET_MAX, &t->neg->offset, err);
    case KEY_CUSTOM:
        return custom_take(t, err);
    case KEY_HINT:
        return hint_take(t, err);
    case KEYS:
        break;
    }
    return err_set(err, RC_INTERNAL, "histogram description: no such key");
}

static int pair_take(struct text *t, struct err *err)
{
    struct str word = word_take(t);
    int key = 0, rc;

    while (key < KEYS && !str_eqz(word, keys[key]))
        key++;
    if (key == KEYS)
        return err_set(err, RC_INVALID, "histogram description: bad key \"%.*s\"",
                       (int)MIN(word.n, (size_t)64), word.p);
    if (t->seen & 1u << key)
        return err_set(err, RC_INVALID, "histogram description: duplicate key \"%s\"", keys[key]);
    t->seen |= 1u << key;
    if (t->rest.n == 0 || t->rest.p[0] != ':')
        return err_set(err, RC_INVALID, "histogram description: no value after \"%s\"", keys[key]);
    t->rest = str_skip(t->rest, 1);
    rc = value_take(t, (enum text_key)key, err);
    if (rc == 0 && t->rest.n > 0 && !is_space(t->rest.p[0]))
        return err_set(err, RC_INVALID, "histogram description: expected white space after \"%s\"",
                       keys[key]);
    return rc;
}

/* Custom buckets have ascending bounds, enough of them, no zero bucket and no negative side. Counts
 * may be anything: results of queries are. */
static int shape_check(const struct histogram *h, struct err *err)
{
    if (isnan(h->zero_threshold) || h->zero_threshold < 0)
        return err_set(err, RC_INVALID, "histogram description: bad zero bucket width");
    if (!fhist_is_custom(h))
        return h->custom_count == 0
                   ? 0
                   : err_set(err, RC_INVALID,
                             "histogram description: custom_values need schema:-53");
    for (uint32_t i = 0; i < h->custom_count; i++)
        if (!isfinite(h->custom[i]) || (i > 0 && h->custom[i] <= h->custom[i - 1]))
            return err_set(err, RC_INVALID,
                           "histogram description: custom_values must be finite and ascend");
    if (h->neg.bucket_count > 0 || h->zero_count.f != 0 || h->zero_threshold != 0)
        return err_set(
            err, RC_INVALID,
            "histogram description: custom buckets have neither a zero bucket nor a negative side");
    if (h->pos.bucket_count > 0 && h->pos.spans[0].offset < 0)
        return err_set(err, RC_INVALID,
                       "histogram description: custom buckets cannot have a negative offset");
    if (h->pos.bucket_count > 0 &&
        (uint64_t)h->pos.spans[0].offset + h->pos.bucket_count > (uint64_t)h->custom_count + 1)
        return err_set(err, RC_INVALID,
                       "histogram description: more buckets than custom_values allow");
    return 0;
}

int fhist_parse_text(struct arena *a, struct str s, struct histogram **ret, struct err *err)
{
    struct text t = {.rest = s, .arena = a};
    int rc = 0;

    t.h = arena_zalloc(a, sizeof *t.h);
    t.pos = arena_zalloc(a, sizeof *t.pos);
    t.neg = arena_zalloc(a, sizeof *t.neg);
    if (!t.h || !t.pos || !t.neg)
        return err_set(err, RC_NOMEM, "histogram description: no memory");
    t.h->is_float = true;
    for (space_skip(&t); rc == 0 && t.rest.n > 0; space_skip(&t))
        rc = pair_take(&t, err);
    if (rc == 0)
        rc = shape_check(t.h, err);
    if (rc == 0)
        *ret = t.h;
    return rc;
}

bool fhist_text_gives_hint(struct str s)
{
    struct str key = STR("counter_reset_hint:");

    for (size_t i = 0; i + key.n <= s.n; i++)
        if (memcmp(s.p + i, key.p, key.n) == 0)
            return true;
    return false;
}

/* --- printing: every item ends with a space, the last one's is taken back --- */
static void put_number(struct buf *out, const char *key, double v)
{
    if (double_bits(v) == 0) /* -0 is kept: equality sees it */
        return;
    buf_z(out, key);
    float_print_g(out, v);
    buf_char(out, ' ');
}

static void put_item(struct buf *out, double v)
{
    float_print_g(out, v);
    buf_char(out, ' ');
}

static void list_end(struct buf *out)
{
    if (buf_ok(out) && out->p[out->n - 1] == ' ')
        out->n--;
    buf_z(out, "] ");
}

/* Empty buckets between the first and the last populated one are written out. */
static void put_buckets(struct buf *out, const struct hist_side *side, const char *offset,
                        const char *name)
{
    bool first = true;
    int64_t next = 0;
    struct hist_walk w;

    hist_walk_init(&w, side);
    while (hist_walk_next(&w)) {
        if (side->f[w.at] == 0)
            continue;
        if (first) {
            if (w.index != 0)
                buf_printf(out, "%s:%lld ", offset, (long long)w.index);
            buf_printf(out, "%s:[", name);
            next = w.index;
            first = false;
        }
        if (w.index - next > HIST_BUCKETS_MAX)
            out->failed = true;
        for (; buf_ok(out) && next < w.index; next++)
            buf_z(out, "0 ");
        put_item(out, side->f[w.at]);
        next = w.index + 1;
    }
    if (!first)
        list_end(out);
}

void fhist_print_text(struct buf *out, const struct histogram *h)
{
    ASSERT(h->is_float);
    buf_z(out, "{{");
    if (h->schema != 0)
        buf_printf(out, "schema:%d ", h->schema);
    put_number(out, "count:", h->count.f);
    put_number(out, "sum:", h->sum);
    put_number(out, "z_bucket:", h->zero_count.f);
    put_number(out, "z_bucket_w:", h->zero_threshold);
    if (fhist_is_custom(h)) {
        buf_z(out, "custom_values:[");
        for (uint32_t i = 0; i < h->custom_count; i++)
            put_item(out, h->custom[i]);
        list_end(out);
    }
    if (h->hint != HIST_HINT_UNKNOWN)
        buf_printf(out, "counter_reset_hint:%s ", hints[h->hint & 3]);
    put_buckets(out, &h->pos, "offset", "buckets");
    put_buckets(out, &h->neg, "n_offset", "n_buckets");
    if (buf_ok(out) && out->p[out->n - 1] == ' ')
        out->n--;
    buf_z(out, "}}");
}
