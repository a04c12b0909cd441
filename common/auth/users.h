/* users.h - who may do what: a YAML file, parsed into an immutable table.
 *   users:
 *     - name: grafana
 *       password: "$2b$10$..."      # crypt(3): bcrypt ($2b$), yescrypt ($y$), SHA-512 ($6$); never the password itself
 *       roles: [read]               # write, read, rules, metrics, admin
 *       tenants: [team-a, team-b]   # for write, read, rules; absent: all
 *     - name: agent
 *       token_sha256: 9f86d081...   # of a bearer token, in hex; or token: the token itself
 *       roles: [write]
 *       tenants: [team-a]           # one: requests without X-Scope-OrgID are this tenant's
 * A name stands once; a token too. A user may have both a password and a token.
 * Threads: a table never changes, but for what it remembers of passwords that were right (own lock). */
#pragma once
#include "common/base/err.h"
#include "common/base/str.h"
#include "common/http/role.h"

enum { USERS_FILE_BYTES_MAX = 16 << 20, USERS_MAX = 20000, USER_TENANTS_MAX = 10000, USER_NAME_BYTES_MAX = 256, USER_SECRET_BYTES_MAX = 1024 };

struct user {
    char *name, *hash; /* hash NULL: no password */
    bool has_token;
    uint8_t token[32]; /* SHA-256 */
    unsigned roles;    /* 1 << enum http_role */
    char **tenants;    /* sorted; NULL: all */
    size_t tenants_n;
};

struct users;
/* file: for messages. RC_INVALID names line and rule. */
int users_parse(const char *file, struct str text, struct users **ret, struct err *err);
void users_free(struct users *u); /* NULL is fine */
size_t users_count(const struct users *u);

/* NULL: no such token. As fast for one as for the other. */
const struct user *users_by_token(const struct users *u, struct str token);
/* Whether this pair was right before: no hashing. NULL: not known to be. */
const struct user *users_remembered(struct users *u, struct str name, struct str password);
/* NULL: no such pair. Takes some 10 to 100 ms, the same whether the name is known or not. */
const struct user *users_by_password(struct users *u, struct str name, struct str password);

static inline bool user_has(const struct user *u, enum http_role role)
{
    return u->roles & 1u << role;
}
bool user_may(const struct user *u, struct str tenant);
