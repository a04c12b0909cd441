#include "common/auth/auth.h"
#include "common/http/http.h"
#include "tests/test.h"

static const struct {
    const char *name, *header;
    enum auth_scheme want;
    const char *user, *secret;
} headers[] = {
    {"none", NULL, AUTH_NONE, "", ""},
    {"basic", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", AUTH_BASIC, "Aladdin", "open sesame"},
    {"RFC 7617 2.1", "Basic dGVzdDoxMjPCow==", AUTH_BASIC, "test", "123\xc2\xa3"},
    {"colons belong to the password", "Basic YTpiOmM=", AUTH_BASIC, "a", "b:c"},
    {"no password", "Basic YTo=", AUTH_BASIC, "a", ""},
    {"no name", "Basic OmI=", AUTH_BASIC, "", "b"},
    {"any case, many blanks", "bAsIc    YTpi", AUTH_BASIC, "a", "b"},
    {"no colon", "Basic YWI=", AUTH_BAD, "", ""},
    {"cut", "Basic YTpi=", AUTH_BAD, "", ""},
    {"not canonical", "Basic YTp=", AUTH_BAD, "", ""},
    {"bits left over", "Basic YTpiYR==", AUTH_BAD, "", ""},
    {"padding inside", "Basic YT==YTpi", AUTH_BAD, "", ""},
    {"other digits", "Basic YT-_", AUTH_BAD, "", ""},
    {"empty", "Basic ", AUTH_BAD, "", ""},
    {"bearer", "Bearer abc.def-_~+/=", AUTH_BEARER, "", "abc.def-_~+/="},
    {"bearer without a token", "Bearer", AUTH_BAD, "", ""},
    {"bearer, two words", "Bearer a b", AUTH_BAD, "", ""},
    {"another scheme", "Digest x", AUTH_BAD, "", ""},
    {"nothing", "", AUTH_BAD, "", ""},
};

TEST(authorization_headers_are_read_strictly)
{
    for (size_t i = 0; i < ARRAY_LEN(headers); i++) {
        struct auth_given g;

        auth_header_parse(headers[i].header ? str_of(headers[i].header) : (struct str){0}, &g);
        if (g.scheme != headers[i].want || !str_eqz(g.name, headers[i].user) || !str_eqz(g.secret, headers[i].secret))
            fail_msg("%s: %d \"%.*s\" \"%.*s\"", headers[i].name, g.scheme, STR_FMT(g.name), STR_FMT(g.secret));
    }
}

#define HASH "$6$saltsaltsalt$fjEJNmzQxqxMdq2AmIIzUnWHpIwMGO.rIZjqjBQHWE4rkH2yVJ6nB9Oc2EfNXNKuV6Iy6BYp7yQ4o6pV3Lqq2."
static const struct {
    const char *name, *yaml, *error; /* error NULL: taken */
} files[] = {
    {"one of each", "users:\n- {name: a, token: 0123456789abcdef, roles: [read]}\n- {name: b, password: \"" HASH "\", roles: [admin, metrics], tenants: [x]}\n", NULL},
    {"hash of a token", "users: [{name: a, token_sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08, roles: [write]}]", NULL},
    {"empty", "", "want \"users:\" with a list"},
    {"no users", "users: []", "want \"users:\" with a list"},
    {"another key", "people: [{name: a}]", "want \"users:\" with a list"},
    {"no name", "users:\n- {token: 0123456789abcdef, roles: [read]}", "f:2: a user needs a name, a password or a token, and roles"},
    {"no roles", "users:\n- {name: a, token: 0123456789abcdef}", "f:2: a user needs"},
    {"no secret", "users:\n- {name: a, roles: [read]}", "f:2: a user needs"},
    {"a plain password", "users:\n- name: a\n  password: secret\n", "f:3: password: want a hash of crypt(3)"},
    {"a short token", "users:\n- name: a\n  token: short\n", "f:3: token: want 16 to 1024 bytes"},
    {"a bad hash", "users:\n- name: a\n  token_sha256: zz\n", "f:3: token_sha256: want 64 hexadecimal digits"},
    {"an unknown role", "users:\n- name: a\n  roles: [reed]\n", "unknown role \"reed\""},
    {"open is no role", "users:\n- name: a\n  roles: [open]\n", "unknown role \"open\""},
    {"an unknown key", "users:\n- name: a\n  role: [read]\n", "f:3: unknown key or wrong form \"role\""},
    {"a bad tenant", "users:\n- name: a\n  tenants: [\"a/b\"]\n", "unsupported character"},
    {"no tenant at all", "users:\n- name: a\n  tenants: []\n", "f:3: tenants: want between 1 and 10000"},
    {"a colon in a name", "users:\n- name: \"a:b\"\n", "f:2: name: want 1 to 256 bytes without ':'"},
    {"a name twice", "users:\n- {name: a, token: 0123456789abcdef, roles: [read]}\n- {name: a, token: 0123456789abcdeX, roles: [read]}", "f:3: this name stands twice"},
    {"a token twice", "users:\n- {name: a, token: 0123456789abcdef, roles: [read]}\n- {name: b, token: 0123456789abcdef, roles: [read]}", "f:3: this token stands twice"},
};

TEST(files_of_users_are_judged_line_by_line)
{
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        struct users *u = NULL;
        struct err err = {0};
        int rc = users_parse("f", str_of(files[i].yaml), &u, &err);

        if ((rc == 0) != !files[i].error || (files[i].error && !strstr(err_text(&err), files[i].error)))
            fail_msg("%s: %d %s", files[i].name, rc, rc ? err_text(&err) : "taken");
        users_free(rc == 0 ? u : NULL);
    }
}

TEST(tokens_and_tenants)
{
    static const char yaml[] = "users:\n- {name: a, token: 0123456789abcdef, roles: [read, write], tenants: [b, a, a-b]}\n- {name: all, token: fedcba9876543210, roles: [rules]}\n";
    const struct user *a, *all;
    struct str tenant = {0};
    struct users *u;
    struct err err;

    CHECK(users_parse("f", str_of(yaml), &u, &err) == 0);
    a = users_by_token(u, STR("0123456789abcdef"));
    all = users_by_token(u, STR("fedcba9876543210"));
    CHECK(a && strcmp(a->name, "a") == 0 && all && !users_by_token(u, STR("0123456789abcdeF")) && !users_by_token(u, STR("")));
    const struct {
        const struct user *user;
        enum http_role role;
        const char *tenant;
        bool may;
    } cases[] = {
        {a, HTTP_ROLE_READ, "a", true},      {a, HTTP_ROLE_READ, "b", true},     {a, HTTP_ROLE_READ, "a-b", true}, {a, HTTP_ROLE_WRITE, "a", true},
        {a, HTTP_ROLE_READ, "a-", false},    {a, HTTP_ROLE_READ, "c", false},    {a, HTTP_ROLE_READ, "", false},   {a, HTTP_ROLE_READ, "a|b", true},
        {a, HTTP_ROLE_READ, "a|c", false},   {a, HTTP_ROLE_READ, "|", false},    {a, HTTP_ROLE_READ, "a|", true},  {a, HTTP_ROLE_RULES, "a", false},
        {a, HTTP_ROLE_ADMIN, "", false},     {a, HTTP_ROLE_METRICS, "", false},  {a, HTTP_ROLE_OPEN, "", true},    {all, HTTP_ROLE_RULES, "whatever", true},
        {all, HTTP_ROLE_RULES, "", true},    {all, HTTP_ROLE_READ, "a", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        if (!auth_refusal(cases[i].user, cases[i].role, str_of(cases[i].tenant), &tenant) != cases[i].may)
            fail_msg("case %zu: %s", i, cases[i].tenant);
    users_free(u);
}

TEST(what_nobody_opened_is_for_administrators)
{
    static const struct {
        const char *pattern;
        unsigned methods, flags;
        enum http_role want;
    } cases[] = {
        {"/ready", HTTP_M_GET, 0, HTTP_ROLE_OPEN},
        {"/metrics", HTTP_M_GET, 0, HTTP_ROLE_METRICS},
        {"/api/v1/push", HTTP_M_POST, 0, HTTP_ROLE_WRITE},
        {"/workspaces/{id}/api/v1/remote_write", HTTP_M_POST, 0, HTTP_ROLE_WRITE},
        {"/otlp/v1/metrics", HTTP_M_POST, 0, HTTP_ROLE_WRITE},
        {"/prometheus/api/v1/query", HTTP_M_GET | HTTP_M_POST, 0, HTTP_ROLE_READ},
        {"/api/v1/read", HTTP_M_POST, 0, HTTP_ROLE_READ},
        {"/api/v1/rules", HTTP_M_GET, 0, HTTP_ROLE_READ},
        {"/api/v1/rules/{namespace}", HTTP_M_POST | HTTP_M_DELETE, 0, HTTP_ROLE_RULES},
        {"/prometheus/config/v1/rules", HTTP_M_GET, 0, HTTP_ROLE_RULES},
        {"/api/v1/status/config", HTTP_M_GET, 0, HTTP_ROLE_ADMIN},
        {"/api/v1/something", HTTP_M_POST, 0, HTTP_ROLE_ADMIN},
        {"/api/v1/something", HTTP_M_GET | HTTP_M_DELETE, 0, HTTP_ROLE_ADMIN},
        {"/api/v1/query", HTTP_M_GET, HTTP_CONFIRM, HTTP_ROLE_ADMIN},
        {"/prometheus/api/v1/admin/tsdb/delete_series", HTTP_M_GET | HTTP_M_POST, 0, HTTP_ROLE_ADMIN},
        {"/config", HTTP_M_GET, 0, HTTP_ROLE_ADMIN},
        {"/", HTTP_M_GET, 0, HTTP_ROLE_ADMIN},
        {"/ready/x", HTTP_M_GET, 0, HTTP_ROLE_ADMIN},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        if (http_role_of(cases[i].pattern, cases[i].methods, cases[i].flags) != cases[i].want)
            fail_msg("%s: %s", cases[i].pattern, http_role_name(http_role_of(cases[i].pattern, cases[i].methods, cases[i].flags)));
}
