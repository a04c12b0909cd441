#include "common/base/buf.h"
#include "common/http/url.h"
#include "tests/test.h"

static struct arena a;

static const struct {
    const char *name, *in;
    bool plus;
    int rc;
    const char *want;
} cases[] = {
    {"plain", "up", true, 0, "up"},
    {"escape", "a%2Fb%c3%A4", false, 0, "a/b\xc3\xa4"},
    {"once only", "%2525", true, 0, "%25"},
    {"plus in forms", "a+b%2B", true, 0, "a b+"},
    {"plus in paths", "a+b", false, 0, "a+b"},
    {"cut", "a%2", false, RC_INVALID, NULL},
    {"bare percent", "%", false, RC_INVALID, NULL},
    {"not hex", "%zz", false, RC_INVALID, NULL},
    {"sign is no digit", "%+1", false, RC_INVALID, NULL},
};

TEST(percent_decoding_is_strict_and_happens_once)
{
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct str got = STR("untouched");
        struct err err = {0};

        arena_init(&a, 1 << 20);
        if (url_decode(&a, str_of(cases[i].in), cases[i].plus, &got, &err) != cases[i].rc ||
            !str_eqz(got, cases[i].want ? cases[i].want : "untouched"))
            fail_msg("%s: %.*s (%s)", cases[i].name, STR_FMT(got), err_text(&err));
        arena_fini(&a);
    }
}

TEST(parameters_keep_their_order_and_the_first_value_wins)
{
    struct url_params p = {0};

    arena_init(&a, 1 << 20);
    CHECK(url_params_parse(&a, STR("match[]=a%26b&&query=&x&match%5B%5D=c=d"), &p, NULL) == 0);
    CHECK(url_params_parse(&a, STR("query=late"), &p, NULL) == 0);
    CHECK(p.n == 5);
    CHECK(str_eqz(p.v[0].value, "a&b") && str_eqz(p.v[3].name, "match[]") &&
          str_eqz(p.v[3].value, "c=d"));
    CHECK(url_params_get(&p, STR("query")).p != NULL && url_params_get(&p, STR("query")).n == 0);
    CHECK(url_params_get(&p, STR("x")).p != NULL);
    CHECK(url_params_get(&p, STR("y")).p == NULL);
    arena_fini(&a);
}

TEST(ambiguous_or_excessive_parameters_are_refused)
{
    struct url_params p = {0};
    struct buf many;
    struct err err;

    arena_init(&a, 16 << 20);
    buf_init(&many, 1 << 20);
    CHECK(url_params_parse(&a, STR("a=1;b=2"), &p, &err) == RC_INVALID);
    for (int i = 0; i <= URL_PARAMS_MAX; i++)
        buf_z(&many, "a&");
    CHECK(url_params_parse(&a, buf_view(&many), &p, &err) == RC_LIMIT);
    CHECK(p.n == URL_PARAMS_MAX);
    buf_clear(&many);
    for (int i = 0; i <= URL_PARAM_NAME_BYTES_MAX; i++)
        buf_char(&many, 'n');
    p = (struct url_params){0};
    CHECK(url_params_parse(&a, buf_view(&many), &p, &err) == RC_LIMIT);
    arena_fini(&a);
    arena_init(&a, 100);
    CHECK(url_params_parse(&a, STR("a=1"), &p, &err) == RC_NOMEM);
    arena_fini(&a);
    buf_fini(&many);
}
