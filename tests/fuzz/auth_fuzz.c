/* Authorization headers, and files of users: a header that is taken stays within its bounds; a file that is taken has users who can be asked. */
#include "common/auth/auth.h"

static void header(struct str text)
{
    struct auth_given g;

    auth_header_parse(text, &g);
    ASSERT(g.name.n <= USER_NAME_BYTES_MAX && g.secret.n <= USER_SECRET_BYTES_MAX);
    ASSERT(g.scheme == AUTH_BASIC || g.scheme == AUTH_BEARER || (g.name.n == 0 && g.secret.n == 0));
    ASSERT(str_find(g.name, ':') == g.name.n);
}

static void file(struct str text)
{
    struct users *u;

    if (users_parse("f", text, &u, NULL) < 0)
        return;
    ASSERT(users_count(u) > 0 && users_count(u) <= USERS_MAX);
    ASSERT(!users_by_token(u, STR("")));
    ASSERT(!users_remembered(u, STR("a"), STR("b")));
    users_free(u);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    header(str_n(data, n));
    file(str_n(data, n));
    return 0;
}
