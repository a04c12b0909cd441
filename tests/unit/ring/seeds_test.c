#include "ring/seeds.h"
#include "tests/test.h"

static struct seed_addr addr(const char *text)
{
    struct seed_addr a;

    snprintf(a.text, sizeof a.text, "%s", text);
    return a;
}

TEST(seeds_are_read_and_what_is_wrong_is_named)
{
    static const struct { const char *text; int rc; enum seed_kind kind; const char *name, *port; } cases[] = {
        {"10.0.0.7:9095", 0, SEED_FIXED, "10.0.0.7", "9095"},
        {"[fd00::7]:9095", 0, SEED_FIXED, "fd00::7", "9095"},
        {"torc-gossip.default.svc:9095", 0, SEED_HOST, "torc-gossip.default.svc", "9095"},
        {"dns+torc-gossip:1", 0, SEED_HOST, "torc-gossip", "1"},
        {"dnssrv+_rpc._tcp.torc", 0, SEED_SRV, "_rpc._tcp.torc", ""},
        {"", RC_INVALID, SEED_FIXED, "", ""}, {"torc", RC_INVALID, SEED_FIXED, "", ""}, {":9095", RC_INVALID, SEED_FIXED, "", ""}, {"torc:", RC_INVALID, SEED_FIXED, "", ""}, {"torc:65536", RC_INVALID, SEED_FIXED, "", ""},
        {"torc:9x", RC_INVALID, SEED_FIXED, "", ""}, {"dnssrv+", RC_INVALID, SEED_FIXED, "", ""}, {"to rc:1", RC_INVALID, SEED_FIXED, "", ""}, {"<b>:1", RC_INVALID, SEED_FIXED, "", ""},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err err = {0};
        struct seeds s;

        CHECK_INT(seeds_init(&s, &cases[i].text, 1, &err), cases[i].rc);
        if (cases[i].rc < 0) {
            CHECK(strstr(err.text, "ring.seeds") && strstr(err.text, cases[i].text));
            continue;
        }
        CHECK(s.list.v[0].kind == cases[i].kind && seeds_have_names(&s) == (cases[i].kind != SEED_FIXED));
        CHECK_STR(s.list.v[0].name, cases[i].name);
        CHECK_STR(s.list.v[0].port, cases[i].port);
        seeds_fini(&s);
    }
}

TEST(the_last_good_answer_stays_and_addresses_are_distinct)
{
    const char *texts[]     = {"a:1", "10.0.0.1:1", "dnssrv+b"};
    struct seed_addr two[]  = {addr("10.0.0.1:1"), addr("10.0.0.2:1")};
    struct seeds s;
    seed_addrs all = {0};

    CHECK_INT(seeds_init(&s, texts, 3, NULL), 0);
    seeds_addrs(&s, &all);
    CHECK(all.n == 2 && strcmp(all.v[0].text, "a:1") == 0); /* never found: as it stands */
    CHECK(!seeds_answer(&s, 0, NULL, 0));
    CHECK(seeds_answer(&s, 0, two, 2));
    CHECK(!seeds_answer(&s, 0, two, 2) && !seeds_answer(&s, 0, NULL, 0));
    CHECK(seeds_answer(&s, 2, two + 1, 1));
    seeds_addrs(&s, &all);
    CHECK_INT(all.n, 2);
    CHECK_STR(all.v[0].text, "10.0.0.1:1");
    CHECK_STR(all.v[1].text, "10.0.0.2:1");
    CHECK(seeds_answer(&s, 0, two, 1));
    vec_fini(&all);
    seeds_fini(&s);
}
