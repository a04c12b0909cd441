/* A whole ingester over RPC: what it acknowledged is there, bit for bit and once, through restarts, flushes, drops, crashes and failing disks. */
#include "tests/component/ingester/ingester_util.h"

/* --- push and select --- */

TEST(what_was_accepted_is_read_back_bit_for_bit)
{
    struct fixture f = {.shards = 2};
    truth t = {0};

    start(&f, "exact");
    push_mixture(&f, &t);
    check_memory(&f, &t, 0);
    finish(&f);
    vec_fini(&t);
}

TEST(verdicts_tell_accepted_duplicate_new_value_and_too_old_apart)
{
    struct fixture f = {.shards = 2};
    truth t = {0};
    struct sending s;
    struct item late = {.series = 1, .t = T0 - 700001, .bits = 1}, same = {.series = 1, .t = T0, .bits = 7};
    struct item other = {.series = 1, .t = T0, .bits = 8}, hist = {.series = 1, .t = T0, .bits = 7, .hist = true};

    start(&f, "verdicts");
    push_one(&f, &t, &same, WITH_LABELS, PUSH_ACCEPTED);
    sending_begin(&s);
    sending_add(&s, &same, NO_LABELS);
    sending_add(&s, &other, NO_LABELS);
    sending_add(&s, &late, NO_LABELS);
    sending_add(&s, &hist, NO_LABELS); /* histograms are judged behind the floats */
    CHECK_INT(send(&f, &s), RC_OK);
    CHECK_INT(s.answer.verdict_count, 4);
    CHECK_INT(s.answer.verdicts[0], PUSH_DUPLICATE);
    CHECK_INT(s.answer.verdicts[1], PUSH_REFUSED + DISCARD_NEW_VALUE_FOR_TIMESTAMP);
    CHECK_INT(s.answer.verdicts[2], PUSH_REFUSED + DISCARD_SAMPLE_OUT_OF_ORDER);
    CHECK_INT(s.answer.verdicts[3], PUSH_REFUSED + DISCARD_NEW_VALUE_FOR_TIMESTAMP);
    CHECK_INT(s.answer.refusal_count, 3);
    sending_end(&s);
    check_memory(&f, &t, 0);
    finish(&f);
    vec_fini(&t);
}

TEST(an_unknown_series_wants_labels)
{
    struct fixture f = {.shards = 2};
    truth t = {0};
    struct item it = {.series = 3, .t = T0, .bits = 1};

    start(&f, "unknown");
    push_one(&f, &t, &it, NO_LABELS, PUSH_UNKNOWN);
    check_memory(&f, &t, 0);
    push_one(&f, &t, &it, WITH_LABELS, PUSH_ACCEPTED);
    push_one(&f, &t, &it, NO_LABELS, PUSH_DUPLICATE);
    it.hist = true;
    it.series = 4;
    push_one(&f, &t, &it, NO_LABELS, PUSH_UNKNOWN);
    check_memory(&f, &t, 0);
    finish(&f);
    vec_fini(&t);
}

/* Two label sets under one fingerprint: the second is never mixed into the first. */
TEST(other_labels_for_a_known_fingerprint_are_refused)
{
    struct fixture f = {.shards = 2};
    truth t = {0};
    struct item it = {.series = 3, .t = T0, .bits = 1};
    struct sending s;

    start(&f, "collision");
    push_one(&f, &t, &it, WITH_LABELS, PUSH_ACCEPTED);
    for (int hist = 0; hist < 2; hist++) {
        it.t = T0 + 1000;
        it.hist = hist;
        sending_begin(&s);
        sending_add_as(&s, &it, 5);
        CHECK_INT(send(&f, &s), RC_OK);
        CHECK(s.answer.verdicts && s.answer.verdict_count == 1);
        CHECK_INT(s.answer.verdicts[0], PUSH_REFUSED + DISCARD_FINGERPRINT_COLLISION);
        CHECK(s.answer.refusal_count == 1 && text_has(s.answer.refusals[0].text, "fingerprint_collision"));
        sending_end(&s);
    }
    check_memory(&f, &t, 0);
    finish(&f);
    vec_fini(&t);
}

TEST(a_metric_limit_counts_the_series_of_one_push_in_all_shards)
{
    struct fixture f = {.shards = 3, .metric_series = 4};
    struct sending s;
    unsigned accepted = 0;

    start(&f, "metric");
    sending_begin(&s);
    for (uint16_t i = 0; i < 30; i += 3) /* ten series of one name */
        sending_add(&s, &(struct item){.series = i, .t = T0, .bits = i}, WITH_LABELS);
    CHECK_INT(send(&f, &s), RC_OK);
    for (size_t i = 0; i < s.answer.verdict_count; i++) {
        CHECK(s.answer.verdicts[i] == PUSH_ACCEPTED || s.answer.verdicts[i] == PUSH_REFUSED + DISCARD_PER_METRIC_SERIES_LIMIT);
        accepted += s.answer.verdicts[i] == PUSH_ACCEPTED;
    }
    CHECK_INT(accepted, 4);
    sending_end(&s);
    finish(&f);
}

/* 30,000 series of a label whose values fill more than a page. */
enum { LONG_VALUES = 30000, LONG_BYTES = 400 };

static struct str long_value(unsigned i, char mem[LONG_BYTES])
{
    memset(mem, 'x', LONG_BYTES);
    memcpy(mem, (char[8]){(char)('0' + i / 10000), (char)('0' + i / 1000 % 10), (char)('0' + i / 100 % 10), (char)('0' + i / 10 % 10), (char)('0' + i % 10)}, 5);
    return str_n(mem, LONG_BYTES);
}

static void push_long_values(struct fixture *f)
{
    struct sending s;
    char mem[LONG_BYTES];

    sending_begin(&s);
    for (unsigned i = 0; i < LONG_VALUES; i++) {
        struct label v[2] = {{STR("__name__"), STR("m0")}, {STR("long"), long_value(i * 7919 % LONG_VALUES, mem)}};
        struct labels ls = {v, 2};
        fingerprint fp = labels_fingerprint(str_of(tenant_names[0]), &ls);

        push_batch_series(&s.batch, fp, &ls);
        push_batch_float(&s.batch, fp, T0, i, 0);
    }
    CHECK_INT(send(f, &s), RC_OK);
    CHECK(!s.answer.verdicts);
    sending_end(&s);
}

/* Asks for the page of values behind after; counts those that are the next ones from *at on. Returns whether there are more. */
static bool labels_page(struct fixture *f, uint64_t limit, unsigned *at, bool *ret_truncated)
{
    Torc__Wire__LabelsRequest m = TORC__WIRE__LABELS_REQUEST__INIT;
    Torc__Wire__LabelsResponse *answer;
    struct buf message, reply, matchers;
    char mem[LONG_BYTES];
    struct arena a;
    struct rd r;
    bool more;

    buf_init(&message, MESSAGE_MAX);
    buf_init(&reply, MESSAGE_MAX);
    buf_init(&matchers, 64);
    arena_init(&a, 64 << 20);
    matchers_encode(&matchers, NULL, 0);
    m.version  = SELECT_VERSION;
    m.tenant   = pb_bytes(str_of(tenant_names[0]));
    m.matchers = pb_bytes(buf_view(&matchers));
    m.mint_ms  = TIMESTAMP_MIN_MS;
    m.maxt_ms  = TIMESTAMP_MAX_MS;
    m.name     = pb_bytes(STR("long"));
    m.after    = pb_bytes(*at ? long_value(*at - 1, mem) : (struct str){0});
    m.limit    = limit;
    CHECK(pb_pack(&m.base, &message));
    CHECK_INT(rpc_call_sync(f->client, f->address, RPC_LABELS, buf_view(&message), CALL_MS, &reply, NULL), RC_OK);
    answer = torc__wire__labels_response__unpack(pb_arena_allocator(&a), reply.n, (const uint8_t *)reply.p);
    CHECK(answer);
    r = rd_of(pb_str(answer->values));
    for (uint64_t n = rd_uvarint(&r); n > 0; n--, (*at)++)
        CHECK(str_eq(rd_lstr(&r), long_value(*at, mem)));
    CHECK(rd_done(&r) && rd_ok(&r));
    more           = answer->more;
    *ret_truncated = answer->truncated;
    arena_fini(&a);
    buf_fini(&message);
    buf_fini(&reply);
    buf_fini(&matchers);
    return more;
}

TEST(label_values_come_in_pages_sorted_and_once)
{
    struct fixture f = {.shards = 3};
    unsigned at = 0, pages = 1;
    bool truncated;

    start(&f, "labels");
    push_long_values(&f);
    while (labels_page(&f, 0, &at, &truncated))
        pages++;
    CHECK_INT(at, LONG_VALUES);
    CHECK(pages == 2 && !truncated);
    at = 10;
    CHECK(!labels_page(&f, 25, &at, &truncated));
    CHECK(at == 35 && truncated);
    finish(&f);
}

TEST(metadata_that_does_not_decode_is_not_logged)
{
    struct fixture f = {.shards = 2};
    truth t = {0};
    struct sending s;

    start(&f, "metadata");
    push_mixture(&f, &t);
    sending_begin(&s);
    push_batch_metadata(&s.batch, STR("up"), 1, STR("help"), STR(""));
    s.batch.metadata_rows++;
    CHECK_INT(send(&f, &s), RC_CORRUPT);
    s.batch.metadata_rows -= 2;
    CHECK_INT(send(&f, &s), RC_CORRUPT);
    s.batch.metadata_rows++;
    CHECK_INT(send(&f, &s), RC_OK);
    CHECK_INT(metadata_rows(&f), 3);
    sending_end(&s);
    restart(&f);
    CHECK_INT(metadata_rows(&f), 3);
    check_memory(&f, &t, 0);
    finish(&f);
    vec_fini(&t);
}

/* --- restarts --- */

TEST(a_restart_replays_exactly_what_was_accepted)
{
    struct fixture f = {.shards = 2};
    truth t = {0};
    uint64_t head_id;

    start(&f, "restart");
    push_mixture(&f, &t);
    head_id = f.head_id;
    for (int i = 0; i < 3; i++) {
        struct item next = {.series = 1, .t = T0 + 9600000 + i, .bits = (uint64_t)i};

        restart(&f);
        check_memory(&f, &t, 0);
        push_one(&f, &t, &next, NO_LABELS, PUSH_ACCEPTED);
        CHECK(f.head_id == head_id);
    }
    CHECK_INT(metadata_rows(&f), 2);
    restart(&f);
    check_memory(&f, &t, 0);
    finish(&f);
    vec_fini(&t);
}

TEST(a_changed_shard_count_loses_and_doubles_nothing)
{
    static const uint32_t counts[] = {2, 3, 1, 4};
    struct fixture f = {.shards = 2};
    truth t = {0};

    start(&f, "shards");
    push_mixture(&f, &t);
    for (size_t i = 1; i < ARRAY_LEN(counts); i++) {
        struct item next = {.series = 1, .t = T0 + 9600000 + (int64_t)i, .bits = i};

        f.shards = counts[i];
        restart(&f);
        check_all(&f, &t);
        /* The head is the same: labels sent once are known still, also after the next restart. */
        push_one(&f, &t, &next, NO_LABELS, PUSH_ACCEPTED);
        CHECK_INT(metadata_rows(&f), 2);
        check_all(&f, &t);
        restart(&f);
        check_all(&f, &t);
    }
    finish(&f);
    vec_fini(&t);
}

/* --- flush --- */

TEST(a_flush_moves_samples_from_memory_to_blocks)
{
    struct fixture f = {.shards = 2};
    struct item late = {.series = 1, .t = T0 + 9400001, .bits = 99};
    truth t = {0}, before = {0};
    got_list got = {0};
    uint64_t gen = 0, blocks = 0;
    struct index ix;

    start(&f, "flush");
    push_mixture(&f, &t);
    CHECK_INT(ingester_flush_all(f.in, &gen, &blocks, NULL), 0);
    CHECK(gen >= 2 && blocks == gen); /* more than one range */
    CHECK_INT(index_load(f.bucket, NULL, &ix, NULL), 0);
    CHECK(ix.gen == gen && ix.blocks.n == blocks);
    read_blocks(&f, &ix, &got);
    check_got(&got, &t);
    index_fini(&ix);
    check_memory(&f, &t, 0);     /* a reader without the blocks still finds all in memory */
    check_memory(&f, &before, gen); /* one with them nothing */
    push_one(&f, &t, &late, NO_LABELS, PUSH_ACCEPTED);
    *vec_push(&before) = late;
    check_memory(&f, &before, gen); /* but what came since */
    check_all(&f, &t);
    restart(&f);
    check_memory(&f, &t, 0);
    check_memory(&f, &before, gen);
    CHECK_INT(ingester_flush_all(f.in, &gen, &blocks, NULL), 0);
    CHECK_INT(blocks, 1);
    check_all(&f, &t);
    finish(&f);
    vec_fini(&t);
    vec_fini(&before);
}

TEST(readers_with_an_index_older_than_what_was_dropped_are_told)
{
    struct fixture f = {.shards = 2, .drops = true};
    truth t = {0}, none = {0};
    uint64_t gen = 0;

    start(&f, "drop");
    push_mixture(&f, &t);
    CHECK_INT(ingester_flush_all(f.in, &gen, NULL, NULL), 0);
    wait_dropped(&f);
    CHECK_INT(select_rc(&f, 0, 0), RC_STALE);
    CHECK_INT(select_rc(&f, 0, gen - 1), RC_STALE);
    check_memory(&f, &none, gen);
    check_all(&f, &t);
    restart(&f);
    check_all(&f, &t);
    finish(&f);
    vec_fini(&t);
}

TEST(the_log_is_cut_behind_what_was_dropped)
{
    struct fixture f = {.shards = 2};
    struct ingester_stats big, small;
    truth t = {0};

    start(&f, "cut");
    push_mixture(&f, &t);
    push_ballast(&f, &t, 200);
    rotate_logs(&f);
    ingester_stats(f.in, &big);
    CHECK_INT(ingester_flush_all(f.in, NULL, NULL, NULL), 0);
    f.drops = true;
    restart(&f);
    wait_dropped(&f);
    ingester_stats(f.in, &small);
    CHECK(small.wal_bytes < big.wal_bytes / 2);
    check_all(&f, &t);
    push_one(&f, &t, &(struct item){.series = 1, .t = T0 + 34000000, .bits = 3}, ANY_LABELS, PUSH_ACCEPTED);
    restart(&f);
    CHECK_INT(metadata_rows(&f), 2);
    check_all(&f, &t);
    finish(&f);
    vec_fini(&t);
}

/* --- crashes and failing disks --- */

/* Runs in the child: a flush and the drop of what it published, up to the crash. */
static void crash_child(const char *name, long at)
{
    struct fixture f = {.shards = 2, .drops = true};

    start(&f, name);
    fault_at(FAULT_CRASH, at);
    CHECK_INT(ingester_flush_all(f.in, NULL, NULL, NULL), 0);
    wait_dropped(&f);
    finish(&f);
}

/* The same program again: no fork of a process with threads. */
__attribute__((constructor)) static void be_child(void)
{
    const char *name = getenv("INGESTER_TEST_CRASH");

    if (!name)
        return;
    unsetenv("INGESTER_TEST_CRASH");
    use_tmpdir(getenv("INGESTER_TEST_DIR"));
    crash_child(name, atol(getenv("INGESTER_TEST_AT")));
    _exit(0);
}

TEST(a_crash_at_any_step_of_a_flush_leaves_every_sample_readable_once)
{
    unsigned crashed = 0;
    int code;

    for (long at = 1;; at++) {
        struct fixture f = {.shards = 2};
        truth t = {0};
        char name[32];

        snprintf(name, sizeof name, "crash-%ld", at);
        start(&f, name);
        push_mixture(&f, &t);
        finish(&f);
        code = spawn_child(name, at);
        CHECK(code == 0 || code == 99);
        crashed += code == 99;
        f.drops = false;
        start(&f, name);
        check_all(&f, &t);
        CHECK_INT(ingester_flush_all(f.in, NULL, NULL, NULL), 0);
        check_all(&f, &t);
        restart(&f);
        check_all(&f, &t);
        finish(&f);
        vec_fini(&t);
        if (code == 0)
            break;
    }
    CHECK(crashed >= 6);
}

static void check_refused_while_dead(struct fixture *f)
{
    Torc__Wire__CardinalityRequest cardinality = TORC__WIRE__CARDINALITY_REQUEST__INIT;
    Torc__Wire__ExemplarsRequest exemplars = TORC__WIRE__EXEMPLARS_REQUEST__INIT;
    Torc__Wire__LabelsRequest labels = TORC__WIRE__LABELS_REQUEST__INIT;
    const struct {
        enum rpc_method method;
        const ProtobufCMessage *m;
    } questions[] = {{RPC_CARDINALITY, &cardinality.base}, {RPC_EXEMPLARS, &exemplars.base}, {RPC_LABELS, &labels.base}};

    cardinality.version = exemplars.version = labels.version = SELECT_VERSION;
    cardinality.tenant = exemplars.tenant = labels.tenant = pb_bytes(str_of(tenant_names[0]));
    cardinality.matchers = labels.matchers = pb_bytes(STR("\0"));
    exemplars.selectors = pb_bytes(STR("\1\1\0"));
    exemplars.maxt_ms = labels.maxt_ms = INT64_MAX;
    for (size_t i = 0; i < ARRAY_LEN(questions); i++) {
        struct buf message;
        struct err err = {0};

        buf_init(&message, 1000);
        CHECK(pb_pack(questions[i].m, &message));
        CHECK_INT(rpc_call_sync(f->client, f->address, questions[i].method, buf_view(&message), CALL_MS, NULL, &err), RC_UNAVAILABLE);
        CHECK(text_has(str_of(err_text(&err)), "the log of shard 0 has failed"));
        buf_fini(&message);
    }
}

TEST(a_shard_whose_log_failed_answers_nothing_any_more)
{
    for (int sync = 0; sync < 2; sync++) {
        struct fixture f = {.shards = 1, .sync = sync ? WAL_ALWAYS : WAL_INTERVAL};
        struct item lost = {.series = 1, .t = T0 + 9600000, .bits = 5};
        struct sending s;
        truth t = {0};

        start(&f, sync ? "failing-always" : "failing-interval");
        push_mixture(&f, &t);
        sending_begin(&s);
        sending_add(&s, &lost, NO_LABELS);
        fault_at(FAULT_IO, 1);
        CHECK_INT(send(&f, &s), RC_OK);
        CHECK(fault_fired());
        fault_at(0, 0);
        CHECK(s.answer.verdicts && s.answer.verdict_count == 1);
        CHECK_INT(s.answer.verdicts[0], PUSH_RETRY);
        CHECK_INT(send(&f, &s), RC_UNAVAILABLE);
        CHECK_INT(select_rc(&f, 0, 0), RC_UNAVAILABLE);
        check_refused_while_dead(&f);
        CHECK_INT(ingester_ready(f.in, NULL), RC_UNAVAILABLE);
        CHECK(ingester_flush_all(f.in, NULL, NULL, NULL) < 0);
        sending_end(&s);
        restart(&f);
        check_memory(&f, &t, 0);
        push_one(&f, &t, &lost, NO_LABELS, PUSH_ACCEPTED);
        check_memory(&f, &t, 0);
        finish(&f);
        vec_fini(&t);
    }
}

/* Without room for its log an ingester changes nothing and stays alive; with room again it goes on by itself. */
TEST(a_full_disk_refuses_pushes_until_there_is_room)
{
    struct fixture f = {.shards = 1};
    struct item first = {.series = 1, .t = T0 + 9600000, .bits = 5};
    struct sending s;
    truth t = {0};

    start(&f, "full-disk");
    sending_begin(&s);
    sending_add(&s, &first, WITH_LABELS);
    fault_at(FAULT_IO, 1);
    CHECK_INT(send(&f, &s), RC_OK);
    CHECK(fault_fired());
    fault_at(0, 0);
    CHECK(s.answer.verdicts && s.answer.verdict_count == 1);
    CHECK_INT(s.answer.verdicts[0], PUSH_RETRY);
    check_memory(&f, &t, 0);
    CHECK_INT(send(&f, &s), RC_UNAVAILABLE); /* at once, without asking the disk again */
    CHECK_INT(ingester_ready(f.in, NULL), 0);
    while (send(&f, &s) != RC_OK)
        usleep(20000);
    CHECK(!s.answer.verdicts);
    sending_end(&s);
    *vec_push(&t) = first;
    check_memory(&f, &t, 0);
    restart(&f);
    check_memory(&f, &t, 0);
    finish(&f);
    vec_fini(&t);
}

/* A flush whose disk or bucket fails is tried again; nothing is lost or doubled on the way. Every place at first, then some of the many. */
TEST(a_flush_that_fails_at_any_place_can_be_repeated)
{
    struct fixture f = {.shards = 2};
    unsigned failed = 0;
    truth t = {0};

    for (long at = 1;; at += 1 + at / 5) {
        char name[32];
        bool fired;
        int rc;

        snprintf(name, sizeof name, "flush-%ld", at);
        vec_clear(&t);
        start(&f, name);
        push_mixture(&f, &t);
        fault_at(FAULT_IO, at);
        rc = ingester_flush_all(f.in, NULL, NULL, NULL);
        fired = fault_fired();
        fault_at(0, 0);
        failed += rc < 0;
        if (ingester_ready(f.in, NULL) < 0)
            restart(&f); /* the fault was the log's */
        check_all(&f, &t);
        CHECK_INT(ingester_flush_all(f.in, NULL, NULL, NULL), 0);
        check_all(&f, &t);
        finish(&f);
        if (!fired)
            break;
    }
    CHECK(failed >= 5);
    vec_fini(&t);
}
