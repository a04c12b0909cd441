#include "querier/api.h"

#include "common/model/duration.h"
#include "common/shim/shim.h"
#include "promql/ast.h"
#include "tsdb/window.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistr.h>

int param_invalid(const char *name, struct err *err)
{
    char text[ERR_TEXT_MAX];

    snprintf(text, sizeof text, "%s", err_text(err));
    return err_set(err, RC_INVALID, "invalid parameter \"%s\": %s", name, text);
}

int param_time(const struct api_request *r, const char *name, int64_t *ret_ms, struct err *err)
{
    struct str v = http_param(r->http, name);
    int rc = time_param_parse_ms(v.p ? v : STR(""), ret_ms, err);

    return rc < 0 ? param_invalid(name, err) : 0;
}

int param_time_default(const struct api_request *r, const char *name, int64_t *ret_ms,
                       bool *ret_given, struct err *err)
{
    struct str v = http_param(r->http, name);

    if (v.n == 0)
        return 0;
    if (time_param_parse_ms(v, ret_ms, err) < 0) {
        err_wrap(err, RC_INVALID, "invalid time value for '%s'", name);
        return param_invalid(name, err);
    }
    if (ret_given)
        *ret_given = true;
    return 0;
}

/* strconv.Atoi, errors included. */
static int whole_number(struct str v, int64_t *ret, struct err *err)
{
    char text[32], *end;
    size_t digits = v.n - (v.n > 0 && (v.p[0] == '-' || v.p[0] == '+'));
    int64_t n;

    for (size_t i = v.n - digits; i < v.n; i++)
        if (v.p[i] < '0' || v.p[i] > '9')
            digits = 0;
    if (digits == 0)
        return err_set(err, RC_INVALID, "strconv.Atoi: parsing \"%.*s\": invalid syntax",
                       (int)MIN(v.n, (size_t)256), v.p);
    snprintf(text, sizeof text, "%.*s", STR_FMT(v));
    errno = 0;
    n = strtoll(text, &end, 10);
    if (errno || v.n >= sizeof text)
        return err_set(err, RC_INVALID, "strconv.Atoi: parsing \"%.*s\": value out of range",
                       (int)MIN(v.n, (size_t)256), v.p);
    *ret = n;
    return 0;
}

int param_limit(const struct api_request *r, const char *name, size_t *ret, struct err *err)
{
    struct str v = http_param(r->http, name);
    int64_t n = 0;

    *ret = 0;
    if (v.n == 0)
        return 0;
    if (whole_number(v, &n, err) < 0)
        return param_invalid(name, err);
    if (n < 0) {
        err_set(err, RC_INVALID, "limit must be non-negative");
        return param_invalid(name, err);
    }
    *ret = (size_t)n;
    return 0;
}

int param_step(const struct api_request *r, int64_t *ret_ms, struct err *err)
{
    struct str step = http_param(r->http, "step");
    int rc = duration_param_parse_ms(step.p ? step : STR(""), ret_ms, err);

    if (rc == 0 && *ret_ms <= 0)
        rc = err_set(err, RC_INVALID,
                     "zero or negative query resolution step widths are not accepted. Try a positive "
                     "integer");
    return rc < 0 ? param_invalid("step", err) : 0;
}

int param_count(const struct api_request *r, const char *name, uint64_t *ret, struct err *err)
{
    struct str v = http_param(r->http, name);
    int64_t n = 0;

    *ret = 0;
    if (v.n == 0)
        return 0;
    if (whole_number(v, &n, err) < 0)
        return param_invalid(name, err);
    if (n < 0) {
        err_set(err, RC_INVALID, "%s must be non-negative", name);
        return param_invalid(name, err);
    }
    *ret = (uint64_t)n;
    return 0;
}

int range_check(const struct api_request *r, int64_t start_ms, int64_t end_ms, struct err *err)
{
    int64_t max = r->limits->max_query_range_ms;
    struct buf length, limit;

    if (max <= 0 || end_ms - start_ms <= max)
        return 0;
    buf_init(&length, 256);
    buf_init(&limit, 256);
    duration_print(&length, end_ms - start_ms);
    duration_print(&limit, max);
    err_set(err, RC_EXECUTION,
            "the query time range exceeds the limit (query length: %.*s, limit: %.*s)",
            STR_FMT(buf_view(&length)), STR_FMT(buf_view(&limit)));
    buf_fini(&length);
    buf_fini(&limit);
    return RC_EXECUTION;
}

int param_range(const struct api_request *r, struct api_range *ret, struct err *err)
{
    struct api_range out = {TIMESTAMP_MIN_MS, TIMESTAMP_MAX_MS};
    bool has_start = false, has_end = false;
    int rc = param_time_default(r, "start", &out.mint_ms, &has_start, err);

    if (rc == 0)
        rc = param_time_default(r, "end", &out.maxt_ms, &has_end, err);
    if (rc < 0)
        return rc;
    out.mint_ms = MAX(out.mint_ms, TIMESTAMP_MIN_MS);
    out.maxt_ms = MIN(out.maxt_ms, TIMESTAMP_MAX_MS);
    /* Grafana sends both; who sends none, or Prometheus's limits of time, means everything there
     * is. */
    if (has_start && has_end && out.mint_ms > TIMESTAMP_MIN_MS && out.maxt_ms < TIMESTAMP_MAX_MS)
        rc = range_check(r, out.mint_ms, out.maxt_ms, err);
    if (rc == 0)
        *ret = out;
    return rc;
}

/* --- label names --- */

static bool hex_digit(char c, uint32_t *v)
{
    if (c >= '0' && c <= '9')
        *v = *v * 16 + (uint32_t)(c - '0');
    else if (c >= 'a' && c <= 'f')
        *v = *v * 16 + (uint32_t)(c - 'a' + 10);
    else if (c >= 'A' && c <= 'F')
        *v = *v * 16 + (uint32_t)(c - 'A' + 10);
    else
        return false;
    return true;
}

/* _hex_ at s[*at]; true with the rune's bytes appended. */
static bool rune_unescape(struct str s, size_t *at, struct buf *out)
{
    size_t i = *at + 1;
    uint32_t rune = 0;
    uint8_t bytes[6];
    int n;

    while (i < s.n && i - *at <= 6 && hex_digit(s.p[i], &rune))
        i++;
    if (i == *at + 1 || i >= s.n || s.p[i] != '_' || rune > 0x10ffff ||
        (rune >= 0xd800 && rune < 0xe000))
        return false;
    n = u8_uctomb(bytes, rune, sizeof bytes);
    ASSERT(n > 0);
    buf_add(out, bytes, (size_t)n);
    *at = i;
    return true;
}

/* The text after U__; false when it is no escaped name, which then stands for itself. */
static bool name_unescape(struct str s, struct buf *out)
{
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] != '_')
            buf_char(out, s.p[i]);
        else if (i + 1 < s.n && s.p[i + 1] == '_')
            buf_char(out, s.p[i++]);
        else if (!rune_unescape(s, &i, out))
            return false;
    }
    return buf_ok(out);
}

int param_label_name(struct str in, struct arena *a, struct str *ret, struct err *err)
{
    struct str name = in;
    struct buf b;
    int rc = 0;

    buf_init(&b, API_NAME_BYTES_MAX);
    if (str_has_prefix(in, STR("U__")) && name_unescape(str_skip(in, 3), &b))
        name = arena_str(a, buf_view(&b));
    buf_fini(&b);
    if (name.n == 0 || !name.p || !utf8_valid(name)) {
        buf_init(&b, API_NAME_BYTES_MAX * 4);
        labels_quote(&b, in);
        rc = err_set(err, RC_INVALID, "invalid label name: %.*s",
                     (int)MIN(b.n, (size_t)ERR_TEXT_MAX / 2), b.p);
        buf_fini(&b);
    }
    if (rc == 0)
        *ret = name;
    return rc;
}

/* --- match[] --- */

static bool all_match_empty(const struct node *n)
{
    for (size_t i = 0; i < n->selector.matcher_count; i++)
        if (!matcher_matches(&n->selector.matchers[i], STR("")))
            return false;
    return true;
}

static size_t regexes_size(const struct node *n)
{
    size_t size = 0;

    for (size_t i = 0; i < n->selector.matcher_count; i++)
        if (n->selector.matchers[i].re)
            size += (size_t)shim_re2_size(n->selector.matchers[i].re);
    return size;
}

void selectors_fini(struct api_selectors *s)
{
    for (size_t i = 0; i < s->n; i++)
        promql_ast_fini(&s->v[i]);
    s->n = 0;
}

int param_selectors(const struct api_request *r, struct arena *a, struct api_selectors *ret,
                    struct err *err)
{
    const struct url_params *params = http_params(r->http);
    struct api_selectors out = {.v = arena_array(a, params->n, sizeof *out.v)};
    int rc = out.v ? 0 : err_set(err, RC_NOMEM, "match[]: memory budget is spent");
    size_t regex_size = 0;

    for (size_t i = 0; i < params->n && rc == 0; i++) {
        if (!str_eqz(params->v[i].name, "match[]"))
            continue;
        if (out.n == API_SELECTORS_MAX) {
            rc = err_set(err, RC_INVALID, "more than %d match[]", API_SELECTORS_MAX);
            break;
        }
        rc = promql_parse_selector(params->v[i].value, a, &out.v[out.n], err);
        if (rc == RC_LIMIT)
            rc = err->rc = RC_INVALID; /* worded as a parse error, so it is one to the client */
        if (rc == 0 && all_match_empty(out.v[out.n++].root))
            rc = err_set(err, RC_INVALID, "match[] must contain at least one non-empty matcher");
        /* As of one query: all of them are compiled before anything else is looked at. */
        if (rc == 0 && (regex_size += regexes_size(out.v[out.n - 1].root)) > PROMQL_REGEX_SIZE_MAX)
            rc = err_set(err, RC_INVALID, "regular expressions of match[] are too large");
    }
    if (rc < 0)
        selectors_fini(&out);
    else
        *ret = out;
    return rc;
}
