#include "common/sign/sigv4.h"
#include "common/base/hash.h"
#include "common/base/vec.h"
#include "common/sign/hmac.h"
#include "common/sign/percent.h"

#include <stdio.h>
#include <time.h>

void sigv4_time_print(int64_t time_s, char ret[SIGV4_TIME + 1])
{
    time_t t = (time_t)time_s;
    struct tm tm;

    gmtime_r(&t, &tm);
    strftime(ret, SIGV4_TIME + 1, "%Y%m%dT%H%M%SZ", &tm);
}

static bool digits(struct str s, size_t from, size_t n, int *ret)
{
    *ret = 0;
    for (size_t i = from; i < from + n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
        *ret = *ret * 10 + (s.p[i] - '0');
    }
    return true;
}

bool sigv4_time_parse(struct str text, int64_t *ret_s)
{
    struct tm tm = {0};
    char again[SIGV4_TIME + 1];
    int64_t t;

    if (text.n != SIGV4_TIME || text.p[8] != 'T' || text.p[15] != 'Z' || !digits(text, 0, 4, &tm.tm_year) ||
        !digits(text, 4, 2, &tm.tm_mon) || !digits(text, 6, 2, &tm.tm_mday) || !digits(text, 9, 2, &tm.tm_hour) ||
        !digits(text, 11, 2, &tm.tm_min) || !digits(text, 13, 2, &tm.tm_sec))
        return false;
    tm.tm_year -= 1900;
    tm.tm_mon--;
    t = timegm(&tm);
    sigv4_time_print(t, again); /* refuses the 31st of February */
    if (!str_eqz(text, again))
        return false;
    *ret_s = t;
    return true;
}

/* --- the canonical request --- */

typedef VEC(struct str) str_list;

static void part_keep(str_list *parts, struct str part)
{
    if (str_eqz(part, "..")) {
        if (parts->n)
            parts->n--;
    } else if (part.n && !str_eqz(part, ".")) {
        *vec_push(parts) = part;
    }
}

/* RFC 3986, 5.2.4, and no empty parts; a slash at the end stays. */
static void path_normalised(struct str path, struct buf *out)
{
    str_list parts = {0};
    struct str left = path;

    while (left.n) {
        size_t n = str_find(left, '/');

        part_keep(&parts, str_sub(left, 0, n));
        left = str_skip(left, MIN(n + 1, left.n));
    }
    for (size_t i = 0; i < parts.n; i++) {
        buf_char(out, '/');
        percent_encode(out, parts.v[i], false);
    }
    if (parts.n == 0 || (path.n && path.p[path.n - 1] == '/'))
        buf_char(out, '/');
    vec_fini(&parts);
}

static void path_put(const struct sigv4_request *r, struct buf *out)
{
    if (!r->s3)
        path_normalised(r->path, out);
    else if (r->path.n)
        buf_str(out, r->path);
    else
        buf_char(out, '/');
}

struct pair {
    size_t name, value, name_n, value_n; /* in the text, so that it may grow */
    const struct buf *text;
};

static struct str pair_name(const struct pair *p)
{
    return str_sub(buf_view(p->text), p->name, p->name + p->name_n);
}

static struct str pair_value(const struct pair *p)
{
    return str_sub(buf_view(p->text), p->value, p->value + p->value_n);
}

static int by_pair(const void *a, const void *b)
{
    int c = str_cmp(pair_name(a), pair_name(b));

    return c ? c : str_cmp(pair_value(a), pair_value(b));
}

static struct pair pair_read(struct str text, struct buf *to)
{
    size_t eq = str_find(text, '=');
    struct pair p = {.text = to, .name = to->n};

    percent_normalise(to, str_sub(text, 0, eq));
    p.name_n = to->n - p.name;
    p.value = to->n;
    if (eq < text.n)
        percent_normalise(to, str_skip(text, eq + 1));
    p.value_n = to->n - p.value;
    return p;
}

static int query_put(struct str query, struct buf *out, struct err *err)
{
    VEC(struct pair) pairs = {0};
    struct buf text;
    int rc = 0;

    buf_init(&text, SIGV4_CANONICAL_BYTES_MAX);
    while (query.n && rc == 0) {
        size_t n = str_find(query, '&');
        struct str one = str_sub(query, 0, n);

        if (pairs.n == SIGV4_PARAMS_MAX)
            rc = err_set(err, RC_LIMIT, "the query has more than %d parameters", SIGV4_PARAMS_MAX);
        else if (one.n)
            *vec_push(&pairs) = pair_read(one, &text);
        query = str_skip(query, MIN(n + 1, query.n));
    }
    if (rc == 0 && !buf_ok(&text))
        rc = err_set(err, RC_LIMIT, "the query is longer than %d bytes", SIGV4_CANONICAL_BYTES_MAX);
    if (rc == 0 && pairs.n)
        qsort(pairs.v, pairs.n, sizeof *pairs.v, by_pair);
    for (size_t i = 0, put = 0; rc == 0 && i < pairs.n; i++) {
        if (str_eqz(pair_name(&pairs.v[i]), "X-Amz-Signature"))
            continue;
        if (put++)
            buf_char(out, '&');
        buf_str(out, pair_name(&pairs.v[i]));
        buf_char(out, '=');
        buf_str(out, pair_value(&pairs.v[i]));
    }
    buf_fini(&text);
    vec_fini(&pairs);
    return rc;
}

static bool blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static void value_put(struct str v, struct buf *out)
{
    bool gap = false, begun = false;

    for (size_t i = 0; i < v.n; i++) {
        if (blank(v.p[i])) {
            gap = begun;
            continue;
        }
        if (gap)
            buf_char(out, ' ');
        buf_char(out, v.p[i]);
        begun = true;
        gap = false;
    }
}

static int header_put(const struct sigv4_request *r, struct str name, struct buf *out, struct err *err)
{
    size_t found = 0;

    buf_str(out, name);
    buf_char(out, ':');
    for (size_t i = 0; i < r->header_count; i++) {
        if (!str_ieq(r->headers[i].name, name))
            continue;
        if (found++)
            buf_char(out, ',');
        value_put(r->headers[i].value, out);
    }
    buf_char(out, '\n');
    return found ? 0 : err_set(err, RC_INVALID, "signed header '%.*s' is not in the request", (int)MIN(name.n, 64), name.p);
}

static int headers_put(const struct sigv4_request *r, struct str names, struct buf *out, struct err *err)
{
    size_t count = 0;
    int rc = 0;

    while (names.n && rc == 0) {
        size_t n = str_find(names, ';');

        if (count++ == SIGV4_HEADERS_MAX)
            return err_set(err, RC_LIMIT, "more than %d signed headers", SIGV4_HEADERS_MAX);
        rc = header_put(r, str_sub(names, 0, n), out, err);
        names = str_skip(names, MIN(n + 1, names.n));
    }
    return rc;
}

int sigv4_canonical(const struct sigv4_request *r, struct str signed_names, struct buf *out, struct err *err)
{
    int rc;

    buf_str(out, r->method);
    buf_char(out, '\n');
    path_put(r, out);
    buf_char(out, '\n');
    rc = query_put(r->query, out, err);
    buf_char(out, '\n');
    if (rc == 0)
        rc = headers_put(r, signed_names, out, err);
    buf_char(out, '\n');
    buf_str(out, signed_names);
    buf_char(out, '\n');
    buf_str(out, r->payload);
    if (rc == 0 && !buf_ok(out))
        rc = err_set(err, RC_LIMIT, "the canonical request is longer than %zu bytes", out->max);
    return rc;
}

/* --- the signature --- */

static void scope_put(const struct sigv4_scope *scope, struct buf *out)
{
    char time[SIGV4_TIME + 1];

    sigv4_time_print(scope->time_s, time);
    buf_printf(out, "%.8s/%.*s/%.*s/aws4_request", time, STR_FMT(scope->region), STR_FMT(scope->service));
}

void sigv4_string_to_sign(struct str canonical, const struct sigv4_scope *scope, struct buf *out)
{
    char time[SIGV4_TIME + 1], hash[65];

    sigv4_time_print(scope->time_s, time);
    sha256_hex(canonical, hash);
    buf_printf(out, "AWS4-HMAC-SHA256\n%s\n", time);
    scope_put(scope, out);
    buf_printf(out, "\n%s", hash);
}

void sigv4_signature(struct str string_to_sign, struct str secret, const struct sigv4_scope *scope, char ret_hex[65])
{
    char time[SIGV4_TIME + 1];
    uint8_t k[32];
    struct str key = {(const char *)k, sizeof k};
    struct buf first;

    sigv4_time_print(scope->time_s, time);
    buf_init(&first, secret.n + 4);
    buf_z(&first, "AWS4");
    buf_str(&first, secret);
    ASSERT(buf_ok(&first));
    hmac_sha256(buf_view(&first), str_n(time, 8), k);
    hmac_sha256(key, scope->region, k);
    hmac_sha256(key, scope->service, k);
    hmac_sha256(key, STR("aws4_request"), k);
    hmac_sha256(key, string_to_sign, k);
    hex_put(ret_hex, k, sizeof k);
    explicit_bzero(first.p, first.n);
    buf_fini(&first);
}

/* Names of all headers: lower case, sorted, each once. */
static int by_name(const void *a, const void *b)
{
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

static void lower(struct buf *b, struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        buf_char(b, s.p[i] >= 'A' && s.p[i] <= 'Z' ? (char)(s.p[i] | 0x20) : s.p[i]);
}

static int names_of(const struct sigv4_request *r, struct buf *out, struct err *err)
{
    struct str names[SIGV4_HEADERS_MAX], last = {0};
    size_t at[SIGV4_HEADERS_MAX];
    struct buf text;
    int rc = 0;

    if (r->header_count > SIGV4_HEADERS_MAX)
        return err_set(err, RC_LIMIT, "more than %d headers to sign", SIGV4_HEADERS_MAX);
    buf_init(&text, SIGV4_CANONICAL_BYTES_MAX);
    for (size_t i = 0; i < r->header_count; i++) {
        at[i] = text.n;
        lower(&text, r->headers[i].name);
    }
    if (!buf_ok(&text))
        rc = err_set(err, RC_LIMIT, "header names longer than %d bytes", SIGV4_CANONICAL_BYTES_MAX);
    for (size_t i = 0; rc == 0 && i < r->header_count; i++)
        names[i] = str_n(text.p + at[i], r->headers[i].name.n);
    if (rc == 0)
        qsort(names, r->header_count, sizeof *names, by_name);
    for (size_t i = 0; rc == 0 && i < r->header_count; i++) {
        if (i && str_eq(names[i], last))
            continue;
        if (i)
            buf_char(out, ';');
        buf_str(out, names[i]);
        last = names[i];
    }
    buf_fini(&text);
    return rc;
}

static int sign(const struct sigv4_request *r, struct str names, struct str secret, const struct sigv4_scope *scope, char ret_hex[65],
                struct err *err)
{
    struct buf canonical, text;
    int rc;

    buf_init(&canonical, SIGV4_CANONICAL_BYTES_MAX);
    buf_init(&text, 1 << 10);
    rc = sigv4_canonical(r, names, &canonical, err);
    if (rc == 0) {
        sigv4_string_to_sign(buf_view(&canonical), scope, &text);
        if (!buf_ok(&text))
            rc = err_set(err, RC_LIMIT, "region or service is too long");
    }
    if (rc == 0)
        sigv4_signature(buf_view(&text), secret, scope, ret_hex);
    buf_fini(&canonical);
    buf_fini(&text);
    return rc;
}

int sigv4_authorization(const struct sigv4_request *r, const struct sigv4_key *key, const struct sigv4_scope *scope, struct buf *out, struct err *err)
{
    char signature[65];
    struct buf names;
    int rc;

    buf_init(&names, SIGV4_CANONICAL_BYTES_MAX);
    rc = names_of(r, &names, err);
    if (rc == 0)
        rc = sign(r, buf_view(&names), key->secret, scope, signature, err);
    if (rc == 0) {
        buf_printf(out, "AWS4-HMAC-SHA256 Credential=%.*s/", STR_FMT(key->id));
        scope_put(scope, out);
        buf_printf(out, ", SignedHeaders=%.*s, Signature=%s", STR_FMT(buf_view(&names)), signature);
    }
    buf_fini(&names);
    if (rc == 0 && !buf_ok(out))
        rc = err_set(err, RC_LIMIT, "the Authorization header is longer than %zu bytes", out->max);
    return rc;
}

int sigv4_presign(const struct sigv4_request *r, const struct sigv4_key *key, const struct sigv4_scope *scope, int64_t expires_s, struct buf *out,
                  struct err *err)
{
    struct sigv4_request with = *r;
    char time[SIGV4_TIME + 1], signature[65];
    struct buf names, credential, query;
    int rc;

    ASSERT(expires_s > 0 && expires_s <= SIGV4_EXPIRES_MAX_S);
    buf_init(&names, SIGV4_CANONICAL_BYTES_MAX);
    buf_init(&credential, SIGV4_CREDENTIAL_BYTES_MAX);
    buf_init(&query, SIGV4_CANONICAL_BYTES_MAX);
    sigv4_time_print(scope->time_s, time);
    rc = names_of(r, &names, err);
    buf_printf(&credential, "%.*s/", STR_FMT(key->id));
    scope_put(scope, &credential);
    buf_str(&query, r->query);
    buf_z(&query, r->query.n ? "&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=" : "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=");
    percent_encode(&query, buf_view(&credential), false);
    buf_printf(&query, "&X-Amz-Date=%s&X-Amz-Expires=%lld&X-Amz-SignedHeaders=", time, (long long)expires_s);
    percent_encode(&query, buf_view(&names), false);
    if (key->token.n) {
        buf_z(&query, "&X-Amz-Security-Token=");
        percent_encode(&query, key->token, false);
    }
    if (rc == 0 && (!buf_ok(&query) || !buf_ok(&credential)))
        rc = err_set(err, RC_LIMIT, "the pre-signed query is longer than %d bytes", SIGV4_CANONICAL_BYTES_MAX);
    with.query = buf_view(&query);
    if (rc == 0)
        rc = sign(&with, buf_view(&names), key->secret, scope, signature, err);
    if (rc == 0) {
        buf_str(out, buf_view(&query));
        buf_printf(out, "&X-Amz-Signature=%s", signature);
    }
    buf_fini(&names);
    buf_fini(&credential);
    buf_fini(&query);
    if (rc == 0 && !buf_ok(out))
        rc = err_set(err, RC_LIMIT, "the pre-signed query is longer than %zu bytes", out->max);
    return rc;
}
