#include "common/http/role.h"
#include "common/http/http.h"

const char *http_role_name(enum http_role role)
{
    static const char *const names[HTTP_ROLES] = {"open", "metrics", "write", "read", "rules", "admin"};

    return names[role];
}

static bool is_one_of(struct str s, const char *const *list)
{
    for (; *list; list++)
        if (str_eqz(s, *list))
            return true;
    return false;
}

/* What comes behind an API prefix; .p NULL: the pattern has none. */
static struct str below_api(struct str pattern)
{
    static const char *const prefixes[] = {"/prometheus/api/v1/", "/api/v1/", "/workspaces/{id}/api/v1/"};

    for (size_t i = 0; i < ARRAY_LEN(prefixes); i++)
        if (str_has_prefix(pattern, str_of(prefixes[i])))
            return str_skip(pattern, strlen(prefixes[i]));
    return (struct str){0};
}

static bool is_rules(struct str pattern, struct str rest)
{
    static const char *const prefixes[] = {"/prometheus/config/v1/rules", "/config/v1/rules", "/multitenant_alertmanager/", "/alertmanager/"};

    for (size_t i = 0; i < ARRAY_LEN(prefixes); i++)
        if (str_has_prefix(pattern, str_of(prefixes[i])))
            return true;
    return str_has_prefix(rest, STR("rules")) || str_has_prefix(rest, STR("alerts"));
}

enum http_role http_role_of(const char *text, unsigned methods, unsigned flags)
{
    static const char *const open[] = {"/ready", "/-/ready", "/-/healthy", "/favicon.ico", NULL};
    static const char *const writes[] = {"push", "write", "remote_write", "otlp/v1/metrics", NULL};
    static const char *const asks[] = {"read", NULL};
    static const char *const of_the_process[] = {"status/config", "status/flags", NULL};
    struct str pattern = str_of(text), rest = below_api(pattern);
    bool get = methods & HTTP_M_GET;

    if (flags & HTTP_CONFIRM)
        return HTTP_ROLE_ADMIN;
    if (is_one_of(pattern, open))
        return HTTP_ROLE_OPEN;
    if (str_eqz(pattern, "/metrics"))
        return HTTP_ROLE_METRICS;
    if (str_eqz(pattern, "/otlp/v1/metrics") || (rest.p && is_one_of(rest, writes)))
        return HTTP_ROLE_WRITE;
    if (is_rules(pattern, rest))
        return get && rest.p ? HTTP_ROLE_READ : HTTP_ROLE_RULES;
    if (!rest.p || str_has_prefix(rest, STR("admin/")) || is_one_of(rest, of_the_process))
        return HTTP_ROLE_ADMIN;
    /* A tenant may end its own queries. */
    if (get || is_one_of(rest, asks) || str_eqz(rest, "status/active_queries/cancel"))
        return methods & ~(unsigned)(HTTP_M_GET | HTTP_M_POST | 1u << HTTP_HEAD) ? HTTP_ROLE_ADMIN : HTTP_ROLE_READ;
    return HTTP_ROLE_ADMIN;
}
