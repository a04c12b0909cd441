#include "common/base/hash.h"
#include "common/base/rng.h"
#include "ring/ring_file.h"
#include "ring/ring_msg.h"
#include "tests/test.h"

#include <sys/stat.h>

static struct member random_member(struct rng *rng)
{
    static const char *const zones[] = {"a", "b"};
    struct member m                  = {
                         .roles         = RING_INGESTER,
                         .flags         = (uint32_t)rng_below(rng, 4),
                         .state         = (enum ring_state)rng_below(rng, RING_STATES),
                         .health        = (enum ring_health)rng_below(rng, RING_HEALTHS),
                         .incarnation   = rng_below(rng, 3),
                         .version       = rng_below(rng, 3),
                         .changes       = rng_below(rng, 4),
                         .left_ms       = (int64_t)rng_below(rng, 2),
                         .registered_ms = 7,
    };

    snprintf(m.id, sizeof m.id, "x");
    snprintf(m.addr, sizeof m.addr, "h:1");
    snprintf(m.zone, sizeof m.zone, "%s", zones[rng_below(rng, 2)]);
    return m;
}

/* One writer: the body follows from the version. */
static void body_of_version(struct member *m)
{
    uint64_t h = mix64(m->incarnation * 100 + m->version * 10 + (uint64_t)m->left_ms + 1);

    m->state = (enum ring_state)(h % RING_STATES);
    m->flags = (uint32_t)(h >> 8) & RING_FLAGS;
    snprintf(m->zone, sizeof m->zone, "%c", (char)('a' + (h >> 16) % 5));
}

static bool same(const struct member *a, const struct member *b)
{
    return a->incarnation == b->incarnation && a->version == b->version && a->changes == b->changes && a->health == b->health &&
           a->state == b->state && a->flags == b->flags && strcmp(a->zone, b->zone) == 0 && a->left_ms == b->left_ms;
}

TEST(merging_is_the_same_in_any_order)
{
    struct rng rng;

    rng_init(&rng, test_seed());
    for (int i = 0; i < 20000; i++) {
        struct member v[3], ab_c, c_ba, twice;

        for (int k = 0; k < 3; k++) {
            v[k] = random_member(&rng);
            body_of_version(&v[k]);
        }
        ab_c = v[0];
        member_merge(&ab_c, &v[1]);
        member_merge(&ab_c, &v[2]);
        c_ba = v[2];
        member_merge(&c_ba, &v[1]);
        member_merge(&c_ba, &v[0]);
        CHECK(same(&ab_c, &c_ba));
        twice = ab_c;
        CHECK_INT(member_merge(&twice, &v[1]), MERGE_NOTHING);
        CHECK(ab_c.changes >= v[0].changes && member_cmp_version(&ab_c, &v[0]) >= 0);
    }
}

static struct member full_member(void)
{
    struct member m = {.roles = RING_INGESTER | RING_QUERIER, .flags = RING_READ_ONLY, .state = RING_LEAVING,
                       .health = RING_SUSPECT, .incarnation = 5, .version = 9, .changes = 12, .registered_ms = 1700000000000,
                       .left_ms = -3};

    snprintf(m.id, sizeof m.id, "ingester-a-1");
    snprintf(m.zone, sizeof m.zone, "eu-1a");
    snprintf(m.addr, sizeof m.addr, "10.0.0.1:9095");
    snprintf(m.http_addr, sizeof m.http_addr, "10.0.0.1:8080");
    m.tokens   = xcalloc(RING_TOKENS, sizeof *m.tokens);
    m.tokens_n = RING_TOKENS;
    tokens_of_ordinal(1, RING_TOKENS, m.tokens);
    return m;
}

static struct ring_msg full_msg(struct member *record)
{
    struct ring_msg m = {.type = RING_MSG_DELTA, .sender = STR("me"), .sender_addr = STR("me:1"), .target = STR("you"),
                         .seq = 77, .borrowed_records = true};

    *(struct member *)vec_push(&m.records)         = *record;
    *(struct ring_note *)vec_push(&m.notes)        = (struct ring_note){STR("n1"), 3, RING_DEAD};
    *(struct ring_digest *)vec_push(&m.digests)    = (struct ring_digest){STR("d1"), 1, 2, 3, -4, RING_SUSPECT};
    *(struct ring_digest *)vec_push(&m.digests)    = (struct ring_digest){STR("d2"), 5, 6, 7, 8, RING_ALIVE};
    *(struct ring_want *)vec_push(&m.wants)        = (struct ring_want){STR("w1")};
    return m;
}

TEST(messages_read_back_as_written)
{
    struct member record = full_member();
    struct ring_msg in = full_msg(&record), out;
    struct buf a, b;

    buf_init(&a, RING_MSG_BYTES_MAX);
    buf_init(&b, RING_MSG_BYTES_MAX);
    ring_msg_encode(&in, &a);
    CHECK_INT(ring_msg_decode(buf_view(&a), &out, NULL), 0);
    CHECK(out.type == RING_MSG_DELTA && out.seq == 77 && out.records.n == 1 && out.digests.n == 2);
    CHECK(memcmp(out.records.v[0].tokens, record.tokens, RING_TOKENS * 4) == 0);
    CHECK_STR(out.records.v[0].http_addr, record.http_addr);
    ring_msg_encode(&out, &b);
    CHECK(str_eq(buf_view(&a), buf_view(&b)));
    print_message("a record with %d tokens: about %zu bytes\n", RING_TOKENS, a.n);
    ring_msg_fini(&in);
    ring_msg_fini(&out);
    member_fini(&record);
    buf_fini(&a);
    buf_fini(&b);
}

TEST(every_cut_message_is_refused_and_flipped_ones_never_crash)
{
    struct member record = full_member();
    struct ring_msg in = full_msg(&record), out;
    struct buf a;

    buf_init(&a, RING_MSG_BYTES_MAX);
    ring_msg_encode(&in, &a);
    for (size_t n = 0; n < a.n; n++) {
        char *cut = xmemdup(a.p, n + 1); /* its own allocation: ASan sees the end */

        CHECK(ring_msg_decode(str_n(cut, n), &out, NULL) < 0);
        free(cut);
    }
    for (size_t bit = 0; bit < 8 * a.n; bit++) {
        a.p[bit / 8] ^= (char)(1 << bit % 8);
        if (ring_msg_decode(buf_view(&a), &out, NULL) == 0)
            ring_msg_fini(&out);
        a.p[bit / 8] ^= (char)(1 << bit % 8);
    }
    ring_msg_fini(&in);
    member_fini(&record);
    buf_fini(&a);
}

TEST(hostile_fields_are_refused)
{
    static const struct {
        const char *name;
        size_t id_len;
        char id_char;
        uint64_t roles, flags, state, health, incarnation, tokens;
    } cases[] = {
        {"empty id", 0, 'x', 1, 0, 0, 0, 1, 0},
        {"long id", RING_ID_MAX + 1, 'x', 1, 0, 0, 0, 1, 0},
        {"markup in id", 3, '<', 1, 0, 0, 0, 1, 0},
        {"newline in id", 3, '\n', 1, 0, 0, 0, 1, 0},
        {"byte over ASCII", 3, '\x80', 1, 0, 0, 0, 1, 0},
        {"unknown flag", 3, 'x', 1, 8, 0, 0, 1, 0},
        {"unknown state", 3, 'x', 1, 0, RING_STATES, 0, 1, 0},
        {"unknown health", 3, 'x', 1, 0, 0, RING_HEALTHS, 1, 0},
        {"incarnation at the end", 3, 'x', 1, 0, 0, 0, UINT64_MAX, 0},
        {"too many tokens", 3, 'x', 1, 0, 0, 0, 1, RING_TOKENS_MAX + 1},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct member m;
        struct buf b;
        struct rd r;
        char id[RING_ID_MAX + 2];

        memset(id, cases[i].id_char, sizeof id);
        buf_init(&b, 1 << 20);
        buf_lstr(&b, str_n(id, cases[i].id_len));
        buf_lstr(&b, STR("z"));
        buf_lstr(&b, STR("h:1"));
        buf_lstr(&b, STR(""));
        buf_uvarint(&b, cases[i].roles);
        buf_uvarint(&b, cases[i].flags);
        buf_uvarint(&b, cases[i].state);
        buf_uvarint(&b, cases[i].health);
        buf_uvarint(&b, cases[i].incarnation);
        buf_uvarint(&b, 0);
        buf_uvarint(&b, 0);
        buf_svarint(&b, 0);
        buf_svarint(&b, 0);
        buf_uvarint(&b, cases[i].tokens);
        for (uint64_t k = 0; k < cases[i].tokens; k++)
            buf_uvarint(&b, 1);
        r = rd_of(buf_view(&b));
        if (member_decode(&r, &m, NULL) != RC_CORRUPT)
            fail_msg("%s was accepted", cases[i].name);
        buf_fini(&b);
    }
}

TEST(another_version_says_so)
{
    struct ring_msg out;
    struct err err;

    CHECK_INT(ring_msg_decode(STR("\x02\x01\x01x\x01x"), &out, &err), RC_VERSION);
    CHECK(strstr(err.text, "version 2"));
}

TEST(the_identity_file_survives_and_every_flipped_bit_is_noticed)
{
    struct member m = full_member(), back;
    struct buf b;
    char path[256];
    FILE *f;

    CHECK_INT(ring_file_read(test_tmpdir(), &back, NULL), RC_NOT_FOUND);
    CHECK_INT(ring_file_write(test_tmpdir(), &m, NULL), 0);
    CHECK_INT(ring_file_read(test_tmpdir(), &back, NULL), 0);
    CHECK(same(&m, &back) && back.tokens_n == m.tokens_n);
    member_fini(&back);
    snprintf(path, sizeof path, "%s/ring.state", test_tmpdir());
    buf_init(&b, RING_FILE_BYTES_MAX);
    f = fopen(path, "rb");
    for (int c; (c = fgetc(f)) != EOF;)
        buf_char(&b, (char)c);
    fclose(f);
    for (size_t bit = 0; bit < 8 * b.n; bit++) {
        b.p[bit / 8] ^= (char)(1 << bit % 8);
        CHECK(ring_file_decode(buf_view(&b), &back, NULL) < 0);
        b.p[bit / 8] ^= (char)(1 << bit % 8);
    }
    for (size_t n = 0; n < b.n; n++)
        CHECK(ring_file_decode(str_n(b.p, n), &back, NULL) < 0);
    buf_fini(&b);
    member_fini(&m);
}
