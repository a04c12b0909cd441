#include "tsdb/s3_credentials.h"
#include "common/sign/percent.h"
#include "common/sys/fs.h"
#include "common/sys/thread.h"
#include "tsdb/s3_xml.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

struct s3_credentials {
    struct s3_credentials_cfg cfg; /* --- read-only --- */
    struct s3_http *http;
    struct mutex lock;             /* --- guards what follows --- */
    struct cond renewed;
    struct s3_keys keys;
    bool have, renewing;
    int64_t asked_s, renew_s;      /* when the source was asked, and when to ask again */
    struct err why;                /* of the last failure */
};

/* --- the shared file --- */

static int set(char *to, size_t size, struct str value, size_t line, struct err *err)
{
    if (value.n >= size)
        return err_set(err, RC_INVALID, "line %zu: a value of %zu bytes", line, value.n);
    memcpy(to, value.p, value.n);
    to[value.n] = '\0';
    return 0;
}

static int pair_read(struct s3_keys *k, struct str line, size_t number, struct err *err)
{
    size_t eq = str_find(line, '=');
    struct str name, value;

    if (eq == line.n)
        return err_set(err, RC_INVALID, "line %zu: neither [profile] nor name = value", number);
    name = str_trim(str_sub(line, 0, eq));
    value = str_trim(str_skip(line, eq + 1));
    if (memchr(value.p ? value.p : "", 0, value.n))
        return err_set(err, RC_INVALID, "line %zu: a NUL", number);
    if (str_ieq(name, STR("aws_access_key_id")))
        return set(k->id, sizeof k->id, value, number, err);
    if (str_ieq(name, STR("aws_secret_access_key")))
        return set(k->secret, sizeof k->secret, value, number, err);
    if (str_ieq(name, STR("aws_session_token")))
        return set(k->token, sizeof k->token, value, number, err);
    return 0;
}

static bool section_is(struct str line, const char *profile)
{
    struct str name = str_trim(str_sub(line, 1, line.n - 1));

    if (str_has_prefix(name, STR("profile ")))
        name = str_trim(str_skip(name, 8));
    return str_eqz(name, profile);
}

int s3_credentials_parse(struct str text, const char *profile, struct s3_keys *ret, struct err *err)
{
    struct s3_keys k = {0};
    bool here = false, found = false;

    for (size_t number = 1; text.n; number++) {
        size_t n = str_find(text, '\n');
        struct str raw = str_sub(text, 0, n), line = str_trim(raw);
        int rc = 0;

        text = str_skip(text, MIN(n + 1, text.n));
        if (line.n == 0 || line.p[0] == '#' || line.p[0] == ';')
            continue;
        if (line.p[0] == '[') {
            if (line.p[line.n - 1] != ']' || line.n < 2)
                return err_set(err, RC_INVALID, "line %zu: a section without ]", number);
            here = section_is(line, profile);
            found = found || here;
        } else if (here && line.p == raw.p) { /* indented: below a setting that is not ours */
            rc = pair_read(&k, line, number, err);
        }
        if (rc < 0)
            return rc;
    }
    if (!found || !k.id[0] || !k.secret[0])
        return err_set(err, RC_NOT_FOUND, "no keys of profile '%.64s'", profile);
    *ret = k;
    return 0;
}

/* --- sources: 0, RC_NOT_FOUND when there is nothing to look at, or an error --- */

static const char *either(const char *option, const char *variable)
{
    const char *v = option && option[0] ? option : getenv(variable);

    return v && v[0] ? v : NULL;
}

static int copy(struct s3_keys *ret, const char *id, const char *secret, const char *token, const char *where, struct err *err)
{
    struct s3_keys k = {0};

    if (!id && !secret)
        return RC_NOT_FOUND;
    if (!id || !secret)
        return err_set(err, RC_INVALID, "%s: an access key id needs a secret, and a secret an id", where);
    if (set(k.id, sizeof k.id, str_of(id), 0, NULL) < 0 || set(k.secret, sizeof k.secret, str_of(secret), 0, NULL) < 0 ||
        set(k.token, sizeof k.token, str_of(token ? token : ""), 0, NULL) < 0)
        return err_set(err, RC_INVALID, "%s: a key is too long", where);
    *ret = k;
    return 0;
}

static const char *some(const char *s)
{
    return s && s[0] ? s : NULL;
}

static int from_options(struct s3_credentials *c, struct s3_keys *ret, struct err *err)
{
    return copy(ret, some(c->cfg.id), some(c->cfg.secret), some(c->cfg.token), "bucket.s3.access-key-id", err);
}

static int from_environment(UNUSED struct s3_credentials *c, struct s3_keys *ret, struct err *err)
{
    return copy(ret, either(NULL, "AWS_ACCESS_KEY_ID"), either(NULL, "AWS_SECRET_ACCESS_KEY"), either(NULL, "AWS_SESSION_TOKEN"), "AWS_ACCESS_KEY_ID", err);
}

static void form_put(struct buf *b, const char *name, struct str value)
{
    buf_printf(b, "&%s=", name);
    percent_encode(b, value, false);
}

static int sts_ask(struct s3_credentials *c, const char *url, struct str form, struct s3_session *ret, struct err *err)
{
    struct s3_http_request r = {.method = "POST", .url = url, .headers = {"Content-Type: application/x-www-form-urlencoded"}, .header_count = 1,
                                .body = form, .timeout_ms = c->cfg.timeout_ms, .body_max = 64 << 10};
    struct s3_http_answer a;
    struct s3_error e = {0};
    int rc = s3_http_do(c->http, &r, &a, err);

    if (rc < 0)
        return rc;
    if (a.status == 200) {
        rc = s3_xml_session(buf_view(&a.body), ret, err);
    } else {
        s3_xml_error(buf_view(&a.body), &e);
        rc = err_set(err, RC_UNAVAILABLE, "status %ld %s: %s", a.status, e.code, e.message);
    }
    s3_http_answer_fini(&a);
    return rc;
}

static int from_web_identity(struct s3_credentials *c, struct s3_keys *ret, struct err *err)
{
    const char *file = either(c->cfg.web_identity_token_file, "AWS_WEB_IDENTITY_TOKEN_FILE"), *role = either(c->cfg.role_arn, "AWS_ROLE_ARN"),
               *session = either(NULL, "AWS_ROLE_SESSION_NAME");
    struct s3_session s;
    struct buf token, form;
    char url[512];
    int rc;

    if (!file)
        return RC_NOT_FOUND;
    if (!role)
        return err_set(err, RC_INVALID, "a web identity token without a role: set bucket.s3.role-arn or AWS_ROLE_ARN");
    if (c->cfg.sts_endpoint && c->cfg.sts_endpoint[0])
        snprintf(url, sizeof url, "%s/", c->cfg.sts_endpoint);
    else
        snprintf(url, sizeof url, "https://sts.%s.amazonaws.com/", c->cfg.region);
    buf_init(&token, 64 << 10);
    buf_init(&form, 256 << 10);
    rc = fs_read(file, &token, err);
    buf_z(&form, "Action=AssumeRoleWithWebIdentity&Version=2011-06-15");
    form_put(&form, "RoleArn", str_of(role));
    form_put(&form, "RoleSessionName", str_of(session ? session : "torc"));
    form_put(&form, "WebIdentityToken", str_trim(buf_view(&token)));
    if (rc == 0)
        rc = sts_ask(c, url, buf_view(&form), &s, err);
    if (rc == 0)
        rc = copy(ret, s.id, s.secret, s.token, url, err);
    if (rc == 0)
        ret->expires_s = s.expires_s;
    if (form.p)
        explicit_bzero(form.p, form.n);
    if (token.p)
        explicit_bzero(token.p, token.n);
    buf_fini(&form);
    buf_fini(&token);
    if (rc == RC_NOT_FOUND)
        rc = RC_UNAVAILABLE;
    return rc < 0 ? err_wrap(err, rc, "web identity of %s at %s", file, url) : 0;
}

static int from_file(struct s3_credentials *c, struct s3_keys *ret, struct err *err)
{
    const char *said = either(c->cfg.file, "AWS_SHARED_CREDENTIALS_FILE"), *home = getenv("HOME"), *profile = either(c->cfg.profile, "AWS_PROFILE");
    char path[PATH_MAX];
    struct buf text;
    int rc;

    if (!said && !home)
        return RC_NOT_FOUND;
    snprintf(path, sizeof path, "%s%s", said ? said : home, said ? "" : "/.aws/credentials");
    buf_init(&text, S3_KEYS_FILE_BYTES_MAX);
    rc = fs_read(path, &text, err);
    if (rc == RC_NOT_FOUND && !said) {
        buf_fini(&text);
        return rc;
    }
    if (rc == 0)
        rc = s3_credentials_parse(buf_view(&text), profile ? profile : "default", ret, err);
    if (text.p)
        explicit_bzero(text.p, text.n);
    buf_fini(&text);
    return rc < 0 ? err_wrap(err, RC_UNAVAILABLE, "%s", path) : 0;
}

static int look(struct s3_credentials *c, struct s3_keys *ret, int64_t now_s, int64_t *ret_renew_s, struct err *err)
{
    static int (*const sources[])(struct s3_credentials *c, struct s3_keys *ret, struct err *err) = {from_options, from_environment, from_web_identity,
                                                                                                     from_file};
    for (size_t i = 0; i < ARRAY_LEN(sources); i++) {
        int rc = sources[i](c, ret, err);

        if (rc == RC_NOT_FOUND)
            continue;
        *ret_renew_s = ret->expires_s ? MAX(ret->expires_s - S3_KEYS_AHEAD_S, now_s + S3_KEYS_RETRY_S) : now_s + S3_KEYS_FILE_S;
        return rc;
    }
    return err_set(err, RC_UNAVAILABLE,
                   "no credentials: neither bucket.s3.access-key-id, AWS_ACCESS_KEY_ID, AWS_WEB_IDENTITY_TOKEN_FILE nor a shared file");
}

/* --- the keys of now --- */

struct s3_credentials *s3_credentials_new(const struct s3_credentials_cfg *cfg, struct s3_http *http)
{
    struct s3_credentials *c = xcalloc(1, sizeof *c);

    c->cfg = *cfg;
    c->http = http;
    mutex_init(&c->lock);
    cond_init(&c->renewed);
    return c;
}

void s3_credentials_free(struct s3_credentials *c)
{
    if (!c)
        return;
    explicit_bzero(&c->keys, sizeof c->keys);
    cond_fini(&c->renewed);
    mutex_fini(&c->lock);
    free(c);
}

static bool usable(const struct s3_credentials *c, int64_t now_s)
{
    return c->have && (!c->keys.expires_s || now_s < c->keys.expires_s);
}

/* With the lock, which it lets go of while it asks. */
static void renew(struct s3_credentials *c, int64_t now_s)
{
    struct s3_keys k = {0};
    struct err why = {0};
    int64_t renew_s = 0;
    int rc;

    c->renewing = true;
    mutex_unlock(&c->lock);
    rc = look(c, &k, now_s, &renew_s, &why);
    mutex_lock(&c->lock);
    c->renewing = false;
    c->asked_s = now_s;
    if (rc == 0) {
        c->keys = k;
        c->have = true;
        c->renew_s = renew_s;
    } else {
        c->renew_s = now_s + S3_KEYS_RETRY_S;
        c->why = why;
    }
    cond_broadcast(&c->renewed);
    explicit_bzero(&k, sizeof k);
}

int s3_credentials_get(struct s3_credentials *c, struct s3_keys *ret, struct err *err)
{
    int64_t now_s = time(NULL);
    int rc = 0;

    mutex_lock(&c->lock);
    while (c->renewing && !usable(c, now_s))
        cond_wait(&c->renewed, &c->lock);
    if (!c->renewing && now_s >= c->renew_s)
        renew(c, now_s);
    if (usable(c, now_s)) { /* the old ones do until their end */
        *ret = c->keys;
    } else {
        rc = c->why.rc;
        if (err)
            *err = c->why;
        ASSERT(rc < 0);
    }
    mutex_unlock(&c->lock);
    return rc;
}

void s3_credentials_refused(struct s3_credentials *c, const struct s3_keys *keys)
{
    mutex_lock(&c->lock);
    if (c->have && strcmp(c->keys.id, keys->id) == 0 && strcmp(c->keys.token, keys->token) == 0)
        c->renew_s = MIN(c->renew_s, c->asked_s + S3_KEYS_RETRY_S);
    mutex_unlock(&c->lock);
}
