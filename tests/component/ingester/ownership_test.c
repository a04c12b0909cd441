/* Ownership epochs: an ingester takes no sample of a range that is not its own, whatever the sender believes (design section 5). */
#include "common/base/rng.h"
#include "common/wire/push.h"
#include "ingester/ingester_impl.h"
#include "tests/test.h"

#include <sched.h>
#include <stdio.h>

enum { MEMBERS = 4 };

static struct member members[MEMBERS];

/* Four ingesters in four zones with three copies: each owns three quarters. */
static struct ring *ring_of_four(uint64_t epoch)
{
    const struct member *list[MEMBERS];

    for (unsigned i = 0; i < MEMBERS; i++) {
        struct member *m = &members[i];

        member_fini(m);
        *m = (struct member){.roles = RING_INGESTER, .state = RING_ACTIVE, .health = RING_ALIVE, .incarnation = 1, .version = 1};
        snprintf(m->id, sizeof m->id, "ingester-%u", i);
        snprintf(m->zone, sizeof m->zone, "zone-%u", i);
        m->tokens = xmalloc(RING_TOKENS * sizeof *m->tokens);
        m->tokens_n = RING_TOKENS;
        tokens_of_name(str_of(m->id), RING_TOKENS, m->tokens);
        list[i] = m;
    }
    return ring_new(list, MEMBERS, 3, epoch, "ingester-0");
}

static struct ring *current(void *arg)
{
    return ring_ref(arg);
}

struct fixture {
    struct ring *ring;
    struct log *log;
    struct metrics *metrics;
    struct overrides *overrides;
    struct bucket *bucket;
    struct ingester *in;
    struct rpc_server *server;
    struct rpc_client *client;
    char address[64];
};

static void start(struct fixture *f)
{
    struct ingester_cfg cfg = ingester_cfg_default;
    struct limits limits = {0};
    char data[256], bucket[256];

    snprintf(data, sizeof data, "%s/data", test_tmpdir());
    snprintf(bucket, sizeof bucket, "%s/bucket", test_tmpdir());
    options_default(limits_options, &limits);
    f->ring = ring_of_four(7);
    f->log = log_new(2, LOG_ERROR, LOG_LOGFMT);
    f->metrics = metrics_new();
    CHECK_INT(overrides_new(&limits, "", 0, &(struct overrides_deps){0}, &f->overrides, NULL), 0);
    options_free(limits_options, &limits);
    CHECK_INT(bucket_open(bucket, &f->bucket, NULL), 0);
    cfg.data_dir = data;
    cfg.instance_id = "ingester-0";
    cfg.shards = 2;
    CHECK_INT(ingester_new(&cfg, &(struct ingester_deps){.clock = clock_system(), .log = f->log, .metrics = f->metrics, .overrides = f->overrides, .bucket = f->bucket, .ring = current, .ring_arg = f->ring}, &f->in, NULL), 0);
    CHECK_INT(rpc_server_new(&(struct rpc_server_cfg){.listen = "127.0.0.1:0", .cluster = STR("test")}, &f->server, NULL), 0);
    ingester_handle(f->in, f->server);
    CHECK_INT(rpc_server_start(f->server, NULL), 0);
    CHECK_INT(rpc_client_new(&(struct rpc_client_cfg){.cluster = STR("test")}, &f->client, NULL), 0);
    snprintf(f->address, sizeof f->address, "127.0.0.1:%d", rpc_server_port(f->server));
    CHECK_INT(ingester_start(f->in, NULL), 0);
    while (ingester_ready(f->in, NULL) < 0)
        sched_yield();
}

static void finish(struct fixture *f)
{
    rpc_client_free(f->client);
    rpc_server_free(f->server);
    ingester_free(f->in);
    bucket_free(f->bucket);
    overrides_free(f->overrides);
    metrics_free(f->metrics);
    log_free(f->log);
    ring_unref(f->ring);
    for (unsigned i = 0; i < MEMBERS; i++)
        member_fini(&members[i]);
}

TEST(rows_of_ranges_of_others_are_moved_and_nothing_of_them_is_stored)
{
    enum { ROWS = 400 };
    struct fixture f;
    struct push_batch b;
    struct push_answer an;
    struct buf message, reply;
    struct arena a;
    struct ingester_stats st;
    unsigned moved = 0, owned = 0;
    bool mine[ROWS];
    int64_t now = clock_wall_ms(clock_system());

    start(&f);
    push_batch_init(&b, 1 << 20);
    for (unsigned i = 0; i < ROWS; i++) {
        char value[16];
        struct label ls[] = {{STR("__name__"), STR("m")}, {STR("i"), {value, 0}}};
        struct labels labels = {ls, 2};
        fingerprint fp;

        ls[1].value = str_n(value, (size_t)snprintf(value, sizeof value, "%u", i));
        fp = labels_fingerprint(STR("t"), &labels);
        mine[i] = ring_owner_index(f.ring, fingerprint_token(fp), ring_find(f.ring, "ingester-0")) >= 0;
        owned += mine[i];
        push_batch_series(&b, fp, &labels);
        push_batch_float(&b, fp, now, double_bits(i), 0);
    }
    CHECK(owned > ROWS / 2 && owned < ROWS - ROWS / 10);
    buf_init(&message, 1 << 20);
    buf_init(&reply, 1 << 20);
    arena_init(&a, 1 << 20);
    /* The sender believes in another epoch; what counts is the ingester's own view. */
    CHECK_INT(push_batch_encode(&b, &(struct push_header){.tenant = STR("t"), .ring_version = 99}, &message, NULL), 0);
    CHECK_INT(rpc_call_sync(f.client, f.address, RPC_PUSH, buf_view(&message), 5000, &reply, NULL), 0);
    CHECK_INT(push_answer_decode(buf_view(&reply), &a, &an, NULL), 0);
    CHECK(an.ring_version == 7);
    CHECK_INT(an.verdict_count, ROWS);
    for (unsigned i = 0; i < ROWS; i++) {
        CHECK_INT(an.verdicts[i], mine[i] ? PUSH_ACCEPTED : PUSH_MOVED);
        moved += !mine[i];
    }
    CHECK(moved > 0);
    ingester_stats(f.in, &st);
    CHECK_INT(st.series, owned);
    arena_fini(&a);
    buf_fini(&message);
    buf_fini(&reply);
    push_batch_fini(&b);
    finish(&f);
}

/* Who sends with another picture of the ring than who gives a range away cannot know whether the owners to be hear of it. */
TEST(a_range_that_goes_away_is_written_to_by_those_only_that_know_it)
{
    unsigned goes = 0, stays = 0, comes = 0, others = 0;
    struct ring *r;

    ring_unref(ring_of_four(1));
    members[3].state = RING_JOINING;
    r = ring_new((const struct member *const[]){&members[0], &members[1], &members[2], &members[3]}, MEMBERS, 3, 9, NULL);
    for (uint64_t k = 0; k < 4000; k++) {
        uint32_t token = (uint32_t)mix64(k);
        uint16_t self = (uint16_t)(k % MEMBERS);
        struct ownership own = {.ring = r, .self = self};
        fingerprint fp = {(uint64_t)token << 32, k};
        bool now = ring_owner_index(r, token, self) >= 0, then = ring_next_index(r, token, self) >= 0;

        CHECK(ownership_takes(&own, fp, 9) == (now || then));
        CHECK(ownership_takes(&own, fp, 8) == then);
        CHECK(ownership_has(&own, fp) == (now || then));
        own.read_only = true;
        CHECK(!ownership_takes(&own, fp, 9) && !ownership_takes(&own, fp, 8));
        goes += now && !then;
        stays += now && then;
        comes += !now && then;
        others += !now && !then;
    }
    CHECK(goes > 100 && stays > 100 && comes > 100 && others > 100);
    ring_unref(r);
    for (unsigned i = 0; i < MEMBERS; i++)
        member_fini(&members[i]);
}
