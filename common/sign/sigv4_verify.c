#include "common/base/vec.h"
#include "common/sign/hmac.h"
#include "common/sign/percent.h"
#include "common/sign/sigv4.h"

#include <stdio.h>
#include <stdlib.h>

static const struct str algorithm = {"AWS4-HMAC-SHA256", 16};

/* --- what a request says --- */

/* id/date/region/service/aws4_request, read from the end, since an id may have slashes. */
static int credential_parse(struct str text, struct sigv4_auth *a, struct err *err)
{
    struct str parts[5];
    size_t end = text.n;

    if (text.n > SIGV4_CREDENTIAL_BYTES_MAX)
        return err_set(err, RC_INVALID, "Credential is longer than %d bytes", SIGV4_CREDENTIAL_BYTES_MAX);
    for (int i = 4; i > 0; i--) {
        size_t from = end;

        while (from > 0 && text.p[from - 1] != '/')
            from--;
        if (from == 0)
            return err_set(err, RC_INVALID, "Credential is not id/date/region/service/aws4_request");
        parts[i] = str_sub(text, from, end);
        end = from - 1;
    }
    parts[0] = str_sub(text, 0, end);
    if (parts[0].n == 0 || parts[0].n > SIGV4_ID_BYTES_MAX || parts[1].n != 8 || !str_eqz(parts[4], "aws4_request"))
        return err_set(err, RC_INVALID, "Credential is not id/date/region/service/aws4_request");
    a->id = parts[0];
    a->date = parts[1];
    a->region = parts[2];
    a->service = parts[3];
    return 0;
}

static bool name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (c && strchr("-_.!#$%&'*+^`|~", c));
}

/* Lower case, sorted, each once. */
static int names_check(struct str names, struct err *err)
{
    struct str last = {0};

    while (names.n) {
        size_t n = str_find(names, ';');
        struct str name = str_sub(names, 0, n);

        for (size_t i = 0; i < n; i++)
            if (!name_char(name.p[i]))
                return err_set(err, RC_INVALID, "SignedHeaders has a character 0x%02x", (unsigned)(uint8_t)name.p[i]);
        if (n == 0 || str_cmp(last, name) >= 0 || n + 1 == names.n)
            return err_set(err, RC_INVALID, "SignedHeaders must be sorted names in lower case, joined by ';'");
        last = name;
        names = str_skip(names, MIN(n + 1, names.n));
    }
    return last.n ? 0 : err_set(err, RC_INVALID, "SignedHeaders is empty");
}

static int signature_check(struct str s, struct err *err)
{
    bool hex = s.n == 64;

    for (size_t i = 0; hex && i < s.n; i++)
        hex = (s.p[i] >= '0' && s.p[i] <= '9') || (s.p[i] >= 'a' && s.p[i] <= 'f');
    return hex ? 0 : err_set(err, RC_INVALID, "Signature is not 64 hexadecimal digits in lower case");
}

static int auth_check(struct str credential, struct sigv4_auth *a, struct err *err)
{
    int rc = credential_parse(credential, a, err);

    if (rc == 0)
        rc = names_check(a->signed_names, err);
    return rc < 0 ? rc : signature_check(a->signature, err);
}

int sigv4_parse_authorization(struct str header, struct sigv4_auth *ret, struct err *err)
{
    struct sigv4_auth a = {0};
    struct str left, credential = {0};
    int rc;

    header = str_trim(header);
    if (!str_has_prefix(header, algorithm) || header.n == algorithm.n || header.p[algorithm.n] != ' ')
        return err_set(err, RC_INVALID, "Authorization does not begin with AWS4-HMAC-SHA256");
    left = str_skip(header, algorithm.n + 1);
    while (left.n) {
        size_t n = str_find(left, ',');
        struct str part = str_trim(str_sub(left, 0, n)), name = str_sub(part, 0, str_find(part, '='));
        struct str *to = str_eqz(name, "Credential")      ? &credential
                         : str_eqz(name, "SignedHeaders") ? &a.signed_names
                         : str_eqz(name, "Signature")     ? &a.signature
                                                          : NULL;

        if (!to || name.n == part.n || to->p)
            return err_set(err, RC_INVALID, "Authorization has an unknown, repeated or empty part '%.*s'", (int)MIN(name.n, 64), name.p);
        *to = str_skip(part, name.n + 1);
        left = str_skip(left, MIN(n + 1, left.n));
    }
    if (!credential.p || !a.signed_names.p || !a.signature.p)
        return err_set(err, RC_INVALID, "Authorization needs Credential, SignedHeaders and Signature");
    rc = auth_check(credential, &a, err);
    if (rc == 0)
        *ret = a;
    return rc;
}

/* Decoded into scratch; *ret stays empty when the parameter is absent, and twice is refused. */
static int param(struct str query, const char *want, struct buf *scratch, struct str *ret, struct err *err)
{
    struct str found = {0};

    while (query.n) {
        size_t n = str_find(query, '&'), eq;
        struct str one = str_sub(query, 0, n);

        eq = str_find(one, '=');
        if (str_eqz(str_sub(one, 0, eq), want)) {
            if (found.p)
                return err_set(err, RC_INVALID, "%s is there twice", want);
            found = eq < one.n ? str_skip(one, eq + 1) : STR("");
        }
        query = str_skip(query, MIN(n + 1, query.n));
    }
    if (found.p) {
        size_t at = scratch->n;

        percent_decode(scratch, found);
        if (!buf_ok(scratch))
            return err_set(err, RC_LIMIT, "%s is too long", want);
        *ret = str_skip(buf_view(scratch), at);
    }
    return 0;
}

static bool seconds_parse(struct str s, int64_t *ret)
{
    *ret = 0;
    for (size_t i = 0; i < s.n && s.n <= 7; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
        *ret = *ret * 10 + (s.p[i] - '0');
    }
    return s.n > 0 && s.n <= 7 && *ret > 0 && *ret <= SIGV4_EXPIRES_MAX_S;
}

int sigv4_parse_query(struct str query, struct buf *scratch, struct sigv4_auth *ret, struct err *err)
{
    struct sigv4_auth a = {.presigned = true};
    struct str kind = {0}, credential = {0}, expires = {0};
    const struct {
        const char *name;
        struct str *to;
        bool optional;
    } wanted[] = {
        {"X-Amz-Algorithm", &kind, false},      {"X-Amz-Credential", &credential, false}, {"X-Amz-SignedHeaders", &a.signed_names, false},
        {"X-Amz-Signature", &a.signature, false}, {"X-Amz-Date", &a.time, false},         {"X-Amz-Expires", &expires, false},
        {"X-Amz-Security-Token", &a.token, true},
    };
    int rc = 0;

    /* What is decoded is never longer: the buffer does not move under the pieces. */
    if (!buf_reserve(scratch, query.n))
        return err_set(err, RC_LIMIT, "the query is longer than %zu bytes", scratch->max);
    for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {
        rc = param(query, wanted[i].name, scratch, wanted[i].to, err);
        if (rc < 0)
            return rc;
        if (!wanted[i].to->p && !wanted[i].optional)
            return err_set(err, RC_INVALID, "%s is missing", wanted[i].name);
    }
    if (!str_eq(kind, algorithm))
        return err_set(err, RC_INVALID, "X-Amz-Algorithm is not AWS4-HMAC-SHA256");
    if (!seconds_parse(expires, &a.expires_s))
        return err_set(err, RC_INVALID, "X-Amz-Expires is not between 1 and %d", SIGV4_EXPIRES_MAX_S);
    rc = auth_check(credential, &a, err);
    if (rc == 0)
        *ret = a;
    return rc;
}

/* --- the judgement --- */

static const struct sigv4_header *header_find(const struct sigv4_request *r, struct str name, size_t *ret_count)
{
    const struct sigv4_header *found = NULL;

    *ret_count = 0;
    for (size_t i = 0; i < r->header_count; i++) {
        if (!str_ieq(r->headers[i].name, name))
            continue;
        found = found ? found : &r->headers[i];
        ++*ret_count;
    }
    return found;
}

static bool is_signed(struct str names, struct str name)
{
    while (names.n) {
        size_t n = str_find(names, ';');

        if (str_ieq(str_sub(names, 0, n), name))
            return true;
        names = str_skip(names, MIN(n + 1, names.n));
    }
    return false;
}

/* Host and every x-amz- header must be under the signature, else somebody on the way could add or change one. */
static int signed_check(const struct sigv4_request *r, struct str names, struct err *err)
{
    if (!is_signed(names, STR("host")))
        return err_set(err, RC_INVALID, "the Host header is not signed");
    for (size_t i = 0; i < r->header_count; i++) {
        struct str name = r->headers[i].name;

        if (name.n >= 6 && str_ieq(str_sub(name, 0, 6), STR("x-amz-")) && !is_signed(names, name))
            return err_set(err, RC_INVALID, "header '%.*s' is not signed", (int)MIN(name.n, 64), name.p);
    }
    return 0;
}

static int auth_find(const struct sigv4_request *r, struct buf *scratch, struct sigv4_auth *a, const char **code, struct err *err)
{
    size_t n, dates, tokens;
    const struct sigv4_header *h = header_find(r, STR("authorization"), &n), *date, *token;
    int rc;

    *code = "IncompleteSignature";
    if (n > 1)
        return err_set(err, RC_INVALID, "more than one Authorization header");
    if (!h) {
        if (!memmem(r->query.p ? r->query.p : "", r->query.n, "X-Amz-Algorithm", 15)) {
            *code = "MissingAuthenticationToken";
            return err_set(err, RC_INVALID, "the request is not signed: neither Authorization nor X-Amz-Algorithm");
        }
        return sigv4_parse_query(r->query, scratch, a, err);
    }
    rc = sigv4_parse_authorization(h->value, a, err);
    if (rc < 0)
        return rc;
    date = header_find(r, STR("x-amz-date"), &dates);
    token = header_find(r, STR("x-amz-security-token"), &tokens);
    if (dates != 1 || tokens > 1)
        return err_set(err, RC_INVALID, "one x-amz-date and at most one x-amz-security-token is needed");
    a->time = str_trim(date->value);
    a->token = token ? str_trim(token->value) : (struct str){0};
    return 0;
}

static int scope_check(const struct sigv4_auth *a, const struct sigv4_rules *rules, int64_t *ret_time, const char **code, struct err *err)
{
    int64_t skew = rules->skew_s ? rules->skew_s : SIGV4_SKEW_S, t;

    *code = "IncompleteSignature";
    if (!sigv4_time_parse(a->time, &t))
        return err_set(err, RC_INVALID, "X-Amz-Date is not YYYYMMDDTHHMMSSZ");
    *code = "SignatureDoesNotMatch";
    if (!str_eq(a->date, str_sub(a->time, 0, 8)))
        return err_set(err, RC_INVALID, "the date of Credential is not that of X-Amz-Date");
    if (!str_eq(a->service, rules->service))
        return err_set(err, RC_INVALID, "Credential is for service '%.*s', this is '%.*s'", (int)MIN(a->service.n, 64), a->service.p,
                       STR_FMT(rules->service));
    if (rules->region.n && !str_eq(a->region, rules->region))
        return err_set(err, RC_INVALID, "Credential is for region '%.*s', this is '%.*s'", (int)MIN(a->region.n, 64), a->region.p,
                       STR_FMT(rules->region));
    *code = "RequestExpired";
    if (t > rules->now_s + skew)
        return err_set(err, RC_INVALID, "X-Amz-Date is more than %lld s ahead of this clock", (long long)skew);
    if (a->presigned ? t + a->expires_s < rules->now_s : t < rules->now_s - skew)
        return err_set(err, RC_INVALID, "the signature has expired: made at %.*s", STR_FMT(a->time));
    *ret_time = t;
    return 0;
}

/* What the client says the body's hash is, if it says so: that is what it signed. */
static int payload_check(const struct sigv4_request *r, const struct sigv4_rules *rules, const struct sigv4_auth *a, struct str *ret, const char **code,
                         struct err *err)
{
    size_t n;
    const struct sigv4_header *h = header_find(r, STR("x-amz-content-sha256"), &n);
    struct str said = h ? str_trim(h->value) : a->presigned && r->s3 ? STR(SIGV4_UNSIGNED) : r->payload;
    bool may_be_unsigned = rules->unsigned_payload || (a->presigned && r->s3);

    *code = "XAmzContentSHA256Mismatch";
    if (n > 1)
        return err_set(err, RC_INVALID, "more than one x-amz-content-sha256");
    if (str_eqz(said, SIGV4_UNSIGNED) && !may_be_unsigned)
        return err_set(err, RC_INVALID, SIGV4_UNSIGNED " is not accepted here: sign the body");
    if (!str_eqz(said, SIGV4_UNSIGNED) && !str_eq(said, r->payload))
        return err_set(err, RC_INVALID, "x-amz-content-sha256 is not the hash of the body");
    *ret = said;
    return 0;
}

static int signature_matches(const struct sigv4_request *r, const struct sigv4_auth *a, struct str secret, int64_t time_s, struct err *err)
{
    struct sigv4_scope scope = {a->region, a->service, time_s};
    struct buf canonical, text;
    char want[65];
    int rc;

    buf_init(&canonical, SIGV4_CANONICAL_BYTES_MAX);
    buf_init(&text, 2 << 10);
    rc = sigv4_canonical(r, a->signed_names, &canonical, err);
    if (rc == 0) {
        sigv4_string_to_sign(buf_view(&canonical), &scope, &text);
        ASSERT(buf_ok(&text));
        sigv4_signature(buf_view(&text), secret, &scope, want);
        if (!equal_in_constant_time(str_of(want), a->signature))
            rc = err_set(err, RC_INVALID, "the signature is not that of this request");
    }
    buf_fini(&canonical);
    buf_fini(&text);
    return rc;
}

static int key_check(const struct sigv4_rules *rules, const struct sigv4_auth *a, struct str *ret_secret, const char **code, struct err *err)
{
    struct str token = {0};

    *code = "InvalidClientTokenId";
    if (rules->secret(rules->arg, a->id, ret_secret, &token) < 0)
        return err_set(err, RC_INVALID, "the access key id is not known");
    return equal_in_constant_time(token, a->token) ? 0 : err_set(err, RC_INVALID, "the session token is not that of the access key");
}

int sigv4_verify(const struct sigv4_request *r, const struct sigv4_rules *rules, char ret_id[SIGV4_ID_BYTES_MAX + 1], const char **ret_code, struct err *err)
{
    struct sigv4_request with = *r;
    struct sigv4_auth a = {0};
    struct str secret = {0};
    struct buf scratch;
    int64_t time_s = 0;
    int rc;

    buf_init(&scratch, SIGV4_CANONICAL_BYTES_MAX);
    rc = auth_find(r, &scratch, &a, ret_code, err);
    if (rc == 0)
        rc = scope_check(&a, rules, &time_s, ret_code, err);
    if (rc == 0)
        rc = payload_check(r, rules, &a, &with.payload, ret_code, err);
    if (rc == 0)
        rc = key_check(rules, &a, &secret, ret_code, err);
    if (rc == 0) {
        *ret_code = "SignatureDoesNotMatch";
        rc = signed_check(r, a.signed_names, err);
    }
    if (rc == 0)
        rc = signature_matches(&with, &a, secret, time_s, err);
    if (rc == 0)
        *ret_code = NULL;
    if (rc == 0)
        snprintf(ret_id, SIGV4_ID_BYTES_MAX + 1, "%.*s", STR_FMT(a.id));
    buf_fini(&scratch);
    return rc;
}
