#include "common/auth/auth.h"
#include "common/base/hash.h"
#include "common/model/tenant.h"
#include "common/sys/clock.h"
#include "common/sys/fs.h"
#include "common/sys/thread.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

/* A table and who uses it. */
struct snapshot {
    _Atomic int refs;
    struct users *users;
};

struct auth {
    char *path; /* --- fixed --- */
    int64_t period_ms;
    bool tenancy;
    struct log *log;
    struct metric *ok, *users_gauge;
    struct metric_family *refused;
    struct mutex reload_lock; /* --- one reload at a time --- */
    uint64_t file_hash;
    struct mutex lock; /* --- guards current --- */
    struct snapshot *current;
    pthread_t thread;
    bool threaded;
    struct mutex stop_lock;
    struct cond stop_wake;
    bool stop;
};

/* --- the header --- */

static int base64_digit(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = c ? strchr(digits, c) : NULL;

    return at ? (int)(at - digits) : -1;
}

/* RFC 4648 4, whole and canonical. The size, or -1. */
static int base64_decode(struct str in, char *out, size_t max)
{
    size_t n = 0;
    uint32_t bits = 0;
    int have = 0;

    if (in.n % 4)
        return -1;
    for (size_t i = 0; i < in.n; i++) {
        int digit = base64_digit(in.p[i]);

        if (in.p[i] == '=' && i + 2 >= in.n && (i + 1 == in.n || in.p[i + 1] == '='))
            return bits & ((1u << have) - 1) ? -1 : (int)n;
        if (digit < 0)
            return -1;
        bits = bits << 6 | (uint32_t)digit;
        have += 6;
        if (have < 8)
            continue;
        have -= 8;
        if (n == max)
            return -1;
        out[n++] = (char)(bits >> have & 0xff);
    }
    return (int)n;
}

static void basic_parse(struct str coded, struct auth_given *ret)
{
    int n = base64_decode(coded, ret->room, sizeof ret->room);
    struct str text = str_n(ret->room, n > 0 ? (size_t)n : 0);
    size_t colon = str_find(text, ':');

    if (n < 0 || colon == text.n || colon > USER_NAME_BYTES_MAX || text.n - colon - 1 > USER_SECRET_BYTES_MAX)
        return;
    ret->name = str_sub(text, 0, colon);
    ret->secret = str_skip(text, colon + 1);
    ret->scheme = AUTH_BASIC;
}

void auth_header_parse(struct str header, struct auth_given *ret)
{
    size_t blank = str_find(header, ' ');
    struct str scheme = str_sub(header, 0, blank), rest = str_trim(str_skip(header, blank));

    *ret = (struct auth_given){.scheme = header.p ? AUTH_BAD : AUTH_NONE};
    if (str_ieq(scheme, STR("basic"))) {
        basic_parse(rest, ret);
    } else if (str_ieq(scheme, STR("bearer")) && rest.n && rest.n <= USER_SECRET_BYTES_MAX && str_find(rest, ' ') == rest.n) {
        memcpy(ret->room, rest.p, rest.n);
        ret->secret = str_n(ret->room, rest.n);
        ret->scheme = AUTH_BEARER;
    }
}

/* --- the decision --- */

static bool is_of_tenant(enum http_role role)
{
    return role == HTTP_ROLE_WRITE || role == HTTP_ROLE_READ || role == HTTP_ROLE_RULES;
}

const char *auth_refusal(const struct user *u, enum http_role role, struct str tenant, struct str *ret_tenant)
{
    if (role == HTTP_ROLE_OPEN)
        return NULL;
    if (!user_has(u, role))
        return "this user does not have the role that is wanted";
    if (!is_of_tenant(role) || !u->tenants)
        return NULL;
    if (tenant.n == 0) {
        if (u->tenants_n != 1)
            return "this user has several tenants: say which one (X-Scope-OrgID)";
        *ret_tenant = str_of(u->tenants[0]);
        return NULL;
    }
    while (tenant.n) {
        size_t bar = str_find(tenant, '|');

        if (!user_may(u, str_sub(tenant, 0, bar)))
            return "this user may not act for this tenant";
        tenant = str_skip(tenant, MIN(bar + 1, tenant.n));
    }
    return NULL;
}

/* --- the guard --- */

static struct snapshot *snapshot_ref(struct auth *a)
{
    struct snapshot *s;

    mutex_lock(&a->lock);
    s = a->current;
    atomic_fetch_add(&s->refs, 1);
    mutex_unlock(&a->lock);
    return s;
}

static void snapshot_unref(struct snapshot *s)
{
    if (s && atomic_fetch_sub(&s->refs, 1) == 1) {
        users_free(s->users);
        free(s);
    }
}

static struct http_resp *refusal(struct auth *a, int status, const char *why)
{
    struct http_resp *r = http_resp_new(status);
    struct buf text;

    if (a->refused)
        metric_inc(metric_with(a->refused, status == 401 ? "unauthenticated" : "forbidden", NULL));
    if (status == 401) {
        http_resp_header(r, "WWW-Authenticate", "Basic realm=\"torc\", charset=\"UTF-8\"");
        http_resp_header(r, "WWW-Authenticate", "Bearer realm=\"torc\"");
    }
    buf_init(&text, 4096);
    buf_printf(&text, "%s\n", why);
    http_resp_body(r, HTTP_TYPE_TEXT, &text);
    return r;
}

static struct http_resp *not_authenticated(struct auth *a)
{
    return refusal(a, 401, "a name and password, or a token, that is right is wanted (auth.users-file)");
}

static struct str tenant_of(const struct auth *a, const struct http_req *req)
{
    struct str id = http_path_param(req, "id");

    if (!id.p && a->tenancy)
        return http_header(req, "X-Scope-OrgID");
    return id.p ? id : STR(TENANT_DEFAULT);
}

/* NULL: goes on. */
static struct http_resp *decide(struct auth *a, struct http_req *req, const struct user *u)
{
    struct str tenant = {0};
    const char *why = auth_refusal(u, http_req_role(req), tenant_of(a, req), &tenant);

    if (why)
        return refusal(a, 403, why);
    http_req_user(req, u->name);
    if (tenant.n)
        http_req_tenant(req, tenant);
    return NULL;
}

static enum http_guard_answer guard_quick(void *arg, struct http_req *req, struct http_resp **ret_no)
{
    struct auth_given given;
    const struct user *u = NULL;
    struct auth *a = arg;
    struct snapshot *s;

    if (http_req_role(req) == HTTP_ROLE_OPEN)
        return HTTP_GUARD_YES;
    auth_header_parse(http_header(req, "Authorization"), &given);
    s = snapshot_ref(a);
    if (given.scheme == AUTH_BEARER)
        u = users_by_token(s->users, given.secret);
    else if (given.scheme == AUTH_BASIC)
        u = users_remembered(s->users, given.name, given.secret);
    if (!u && given.scheme == AUTH_BASIC) {
        snapshot_unref(s);
        return HTTP_GUARD_LATER;
    }
    *ret_no = u ? decide(a, req, u) : not_authenticated(a);
    snapshot_unref(s);
    return *ret_no ? HTTP_GUARD_NO : HTTP_GUARD_YES;
}

static struct http_resp *guard_slow(void *arg, struct http_req *req)
{
    struct auth_given given;
    const struct user *u;
    struct auth *a = arg;
    struct snapshot *s = snapshot_ref(a);
    struct http_resp *no;

    auth_header_parse(http_header(req, "Authorization"), &given);
    u = users_by_password(s->users, given.name, given.secret);
    no = u ? decide(a, req, u) : not_authenticated(a);
    snapshot_unref(s);
    return no;
}

struct http_guard auth_guard(struct auth *a)
{
    return (struct http_guard){guard_quick, guard_slow, a};
}

/* --- the file --- */

static void publish(struct auth *a, struct users *users)
{
    struct snapshot *s = xcalloc(1, sizeof *s), *old;

    s->refs = 1;
    s->users = users;
    mutex_lock(&a->lock);
    old = a->current;
    a->current = s;
    mutex_unlock(&a->lock);
    snapshot_unref(old);
}

static int load_if_changed(struct auth *a, struct err *err)
{
    struct users *users;
    struct buf text;
    uint64_t hash;
    int rc;

    buf_init(&text, USERS_FILE_BYTES_MAX);
    rc = fs_read(a->path, &text, err);
    hash = rc == 0 ? hash64(text.p, text.n, 1) : 0;
    if (rc == 0 && !(a->current && hash == a->file_hash)) {
        rc = users_parse(a->path, buf_view(&text), &users, err);
        if (rc == 0) {
            if (a->users_gauge)
                metric_set(a->users_gauge, (double)users_count(users));
            log_info(a->log, "users loaded", "file", a->path, "users", log_i64((int64_t)users_count(users)));
            publish(a, users);
            a->file_hash = hash;
        }
    }
    buf_fini(&text);
    return rc;
}

int auth_reload(struct auth *a, struct err *err)
{
    int rc;

    mutex_lock(&a->reload_lock);
    rc = load_if_changed(a, err);
    mutex_unlock(&a->reload_lock);
    if (a->ok)
        metric_set(a->ok, rc == 0);
    return rc;
}

static void *reload_main(void *arg)
{
    struct auth *a = arg;

    mutex_lock(&a->stop_lock);
    while (!a->stop) {
        struct err err;

        cond_wait_ms(&a->stop_wake, &a->stop_lock, a->period_ms);
        if (a->stop)
            break;
        mutex_unlock(&a->stop_lock);
        if (auth_reload(a, &err) < 0)
            log_error(a->log, "users not loaded, the previous ones stay", "err", err_log(&err));
        mutex_lock(&a->stop_lock);
    }
    mutex_unlock(&a->stop_lock);
    return NULL;
}

int auth_new(const struct auth_cfg *cfg, const struct auth_deps *deps, struct auth **ret, struct err *err)
{
    struct auth *a = xcalloc(1, sizeof *a);
    int rc;

    a->path = xstrdup(cfg->users_file);
    a->period_ms = cfg->period_ms;
    a->tenancy = cfg->tenancy;
    a->log = deps->log;
    mutex_init(&a->reload_lock);
    mutex_init(&a->lock);
    mutex_init(&a->stop_lock);
    cond_init(&a->stop_wake);
    if (deps->metrics) {
        a->ok = metrics_gauge(deps->metrics, "torc_auth_users_last_reload_successful", "1 when the last look at the file of users succeeded.");
        a->users_gauge = metrics_gauge(deps->metrics, "torc_auth_users", "Users of the file.");
        a->refused = metrics_family(deps->metrics, METRIC_COUNTER, "torc_auth_refused_total", "Requests refused for who asked, by reason.",
                                    (const char *const[]){"reason", NULL});
    }
    rc = auth_reload(a, err);
    if (rc < 0) {
        auth_free(a);
        return rc;
    }
    if (cfg->period_ms > 0) {
        a->thread = thread_start("auth", reload_main, a);
        a->threaded = true;
    }
    *ret = a;
    return 0;
}

void auth_free(struct auth *a)
{
    if (!a)
        return;
    if (a->threaded) {
        mutex_lock(&a->stop_lock);
        a->stop = true;
        cond_signal(&a->stop_wake);
        mutex_unlock(&a->stop_lock);
        pthread_join(a->thread, NULL);
    }
    snapshot_unref(a->current);
    cond_fini(&a->stop_wake);
    mutex_fini(&a->stop_lock);
    mutex_fini(&a->lock);
    mutex_fini(&a->reload_lock);
    free(a->path);
    free(a);
}
