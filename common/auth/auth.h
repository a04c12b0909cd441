/* auth.h - whether a request may go on: who asks (Authorization: Basic or Bearer), whether that user has the route's role, and whether the tenant is one of
 * the user's. The users come from a file that is looked at again while the process runs (users.h); a file that does not load changes nothing, and the log
 * and torc_auth_users_last_reload_successful say so.
 *   401  no name, or none that is right; with WWW-Authenticate. The same answer, after the same time, for an unknown name and a wrong password.
 *   403  the user has not this role, or not this tenant.
 * A password that was right is remembered, for as long as the file stays the same, so that only the first request of a client pays for its hash; others are
 * checked on one thread, so that guessing costs one core at most.
 * Threads: any. */
#pragma once
#include "common/auth/users.h"
#include "common/http/http.h"
#include "common/obs/log.h"
#include "common/obs/metrics.h"

struct auth;
struct auth_cfg {
    const char *users_file;
    int64_t period_ms; /* how often the file is looked at; 0: only by auth_reload */
    bool tenancy;      /* false: X-Scope-OrgID is not read */
};
struct auth_deps {
    struct log *log;         /* may be NULL */
    struct metrics *metrics; /* may be NULL */
};
/* The file must load the first time. */
int auth_new(const struct auth_cfg *cfg, const struct auth_deps *deps, struct auth **ret, struct err *err);
void auth_free(struct auth *a); /* NULL is fine; once the HTTP server has ended */
int auth_reload(struct auth *a, struct err *err);
/* For http_server_guard. */
struct http_guard auth_guard(struct auth *a);

/* --- the decisions, for tests: pure --- */

/* What an Authorization header says. */
enum auth_scheme { AUTH_NONE, AUTH_BASIC, AUTH_BEARER, AUTH_BAD };
struct auth_given {
    enum auth_scheme scheme;
    struct str name, secret; /* in room; bearer: secret */
    char room[USER_NAME_BYTES_MAX + USER_SECRET_BYTES_MAX + 8];
};
/* RFC 7617 (the password may have ':', and is UTF-8) and RFC 6750. AUTH_BAD: malformed, or too long. */
void auth_header_parse(struct str header, struct auth_given *ret);

/* May this user ask a route of this role as this tenant ("a|b": all of them)? tenant .n 0: none was named; *ret_tenant is then the user's only one.
 * NULL, or why not. */
const char *auth_refusal(const struct user *u, enum http_role role, struct str tenant, struct str *ret_tenant);
