#include "common/base/fault.h"
#include "common/base/rng.h"
#include "tests/test.h"
#include "tsdb/index.h"

#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

static struct bucket *bucket_at(const char *sub)
{
    char dir[256];
    struct bucket *b = NULL;

    snprintf(dir, sizeof dir, "%s/%s", test_tmpdir(), sub);
    CHECK(bucket_open(dir, &b, NULL) == 0);
    return b;
}

static struct block_meta meta_of(int64_t t)
{
    struct block_meta m = {.mint_ms = t, .maxt_ms = t + 5, .range_start_ms = t, .range_end_ms = t + 10, .series = 3, .samples = 4, .bytes = 5};

    ulid_new(&m.id, t);
    strcpy(m.ingester, "ingester-1");
    return m;
}

static uint64_t add(struct bucket *b, const char *tenant, const struct block_meta *m)
{
    struct err err = {0};
    uint64_t gen = 0;

    if (index_add_block(b, tenant, m, &gen, &err) < 0)
        fail_msg("%s", err_log(&err));
    return gen;
}

TEST(an_index_that_does_not_exist_is_empty_at_generation_0)
{
    struct bucket *b = bucket_at("none");
    struct index ix;

    CHECK(index_load(b, NULL, &ix, NULL) == 0);
    CHECK(ix.gen == 0 && ix.blocks.n == 0);
    CHECK(index_load(b, "acme", &ix, NULL) == 0 && ix.gen == 0);
    CHECK(index_load(b, "a/b", &ix, NULL) == RC_INVALID);
    bucket_free(b);
}

TEST(each_block_added_is_a_generation_and_adding_it_again_is_none)
{
    struct bucket *b = bucket_at("add");
    struct block_meta one = meta_of(100), two = meta_of(200);
    struct index ix, copy;

    CHECK(add(b, NULL, &one) == 1);
    CHECK(add(b, NULL, &two) == 2);
    CHECK(add(b, NULL, &one) == 2);
    CHECK(add(b, "acme", &one) == 1);
    CHECK(index_load(b, NULL, &ix, NULL) == 0);
    CHECK(ix.gen == 2 && ix.blocks.n == 2);
    CHECK_STR(ix.blocks.v[0].id.text, one.id.text);
    CHECK(ix.blocks.v[1].range_end_ms == 210 && ix.blocks.v[1].samples == 4 && ix.blocks.v[1].deleted_ms == 0);
    CHECK_STR(ix.blocks.v[1].ingester, "ingester-1");
    CHECK(index_block_mark_done(&ix.blocks.v[0], "acme") && !index_block_mark_done(&ix.blocks.v[0], "acme"));
    CHECK(index_copy(&ix, &copy, NULL) == 0 && index_block_done(&copy.blocks.v[0], "acme"));
    CHECK(index_block_unmark_done(&copy.blocks.v[0], "acme") && index_block_done(&ix.blocks.v[0], "acme"));
    index_fini(&copy);
    index_fini(&ix);
    bucket_free(b);
}

TEST(everything_in_a_generation_reads_back_and_flipped_bits_are_found)
{
    struct index ix = {.gen = 7}, back;
    struct block_meta m = meta_of(-50), bad = meta_of(60);
    struct ulid sources[2];
    struct buf text;
    struct err err;

    ulid_new(&sources[0], 1);
    ulid_new(&sources[1], 2);
    m.level = 1;
    m.sources = sources;
    m.source_count = 2;
    index_put_meta(&ix, &m);
    index_block_mark_done(&ix.blocks.v[0], "a");
    index_block_mark_done(&ix.blocks.v[0], "b");
    ix.blocks.v[0].deleted_ms = 99;
    index_put_meta(&ix, &bad);
    CHECK(index_quarantine(&ix, &bad.id, "checksum \"x\"", 123) && !index_quarantine(&ix, &bad.id, "", 0));
    buf_init(&text, 1 << 20);
    CHECK(index_encode(&ix, "self", "parent", &text, &err) == 0);
    CHECK(index_decode(buf_view(&text), &back, &err) == 0);
    CHECK(back.gen == 7 && back.blocks.n == 1 && back.quarantined.n == 1);
    CHECK(back.blocks.v[0].mint_ms == -50 && back.blocks.v[0].deleted_ms == 99 && back.blocks.v[0].done_count == 2);
    CHECK(index_block_has_source(&back.blocks.v[0], &sources[1]));
    CHECK_STR(back.quarantined.v[0].reason, "checksum \"x\"");
    CHECK(back.quarantined.v[0].since_ms == 123);
    index_fini(&back);
    memset(&back, 0x77, sizeof back);
    for (size_t bit = 0; bit < text.n * 8; bit++) {
        text.p[bit / 8] ^= (char)(1 << bit % 8);
        CHECK(index_decode(buf_view(&text), &back, &err) == RC_CORRUPT);
        text.p[bit / 8] ^= (char)(1 << bit % 8);
    }
    CHECK(back.gen == 0x7777777777777777);
    buf_fini(&text);
    index_fini(&ix);
}

TEST(a_lost_stale_or_senseless_hint_does_not_hide_the_newest)
{
    static const char *const hints[] = {"", "1\n", "0\n", "-1\n", "5\n", "999\n", "99999999999999999999999999\n", "x", "7", "1\n1\n"};
    struct bucket *b = bucket_at("hint");
    struct index ix;

    for (int i = 0; i < 5; i++) {
        struct block_meta m = meta_of(i);

        add(b, NULL, &m);
    }
    for (size_t i = 0; i < ARRAY_LEN(hints); i++) {
        CHECK(b->ops->put(b, "index/l0/HINT", str_of(hints[i]), NULL) == 0);
        CHECK(index_load(b, NULL, &ix, NULL) == 0);
        CHECK(ix.gen == 5 && ix.blocks.n == 5);
        index_fini(&ix);
    }
    CHECK(b->ops->remove(b, "index/l0/HINT", NULL) == 0);
    CHECK(index_load(b, NULL, &ix, NULL) == 0 && ix.gen == 5);
    index_fini(&ix);
    bucket_free(b);
}

TEST(trim_keeps_the_newest_and_readers_find_it_from_an_old_hint)
{
    struct bucket *b = bucket_at("trim");
    struct index ix;
    bucket_list l;

    for (int i = 0; i < INDEX_KEEP + 20; i++) {
        struct block_meta m = meta_of(i);

        add(b, "t", &m);
    }
    CHECK(b->ops->put(b, "tenants/t/index/HINT", STR("3\n"), NULL) == 0);
    CHECK(index_trim(b, "t", NULL) == 0);
    CHECK(b->ops->list(b, "tenants/t/index/0", &l, NULL) == 0 && l.n == INDEX_KEEP);
    bucket_list_free(&l);
    CHECK(index_load(b, "t", &ix, NULL) == 0);
    CHECK(ix.gen == INDEX_KEEP + 20 && ix.blocks.n == INDEX_KEEP + 20);
    index_fini(&ix);
    bucket_free(b);
}

struct slow {
    struct bucket *b;
    struct block_meta meta;
    int runs;
};

/* The first run of this edit sleeps through 70 generations of others and a trim: what it then creates fills a hole. */
static int slow_edit(void *arg, struct index *ix, UNUSED struct err *err)
{
    struct slow *s = arg;

    if (s->runs++ == 0) {
        for (int i = 0; i < INDEX_KEEP + 6; i++) {
            struct block_meta m = meta_of(1000 + i);

            add(s->b, NULL, &m);
        }
        CHECK(index_trim(s->b, NULL, NULL) == 0);
    }
    if (index_find(ix, &s->meta.id))
        return 1;
    index_put_meta(ix, &s->meta);
    return 0;
}

TEST(a_writer_that_slept_through_a_trim_does_not_publish_into_the_hole)
{
    struct slow s = {.b = bucket_at("hole"), .meta = meta_of(5)};
    struct block_meta first = meta_of(1);
    struct index ix;
    bucket_list l;

    add(s.b, NULL, &first);
    CHECK(index_update(s.b, NULL, slow_edit, &s, &ix, NULL) == 0);
    CHECK(s.runs == 2);
    CHECK(ix.gen == INDEX_KEEP + 8 && ix.blocks.n == INDEX_KEEP + 8);
    index_fini(&ix);
    CHECK(index_load(s.b, NULL, &ix, NULL) == 0);
    CHECK(index_find(&ix, &s.meta.id) && index_find(&ix, &first.id));
    index_fini(&ix);
    CHECK(s.b->ops->list(s.b, "index/l0/000000000002.json", &l, NULL) == 0 && l.n == 0);
    bucket_list_free(&l);
    bucket_free(s.b);
}

static int give_up(UNUSED void *arg, UNUSED struct index *ix, struct err *err)
{
    return err_set(err, RC_STALE, "not any more");
}

TEST(an_edit_may_give_up)
{
    struct bucket *b = bucket_at("giveup");
    struct index ix = {.gen = 42};

    CHECK(index_update(b, NULL, give_up, NULL, &ix, NULL) == RC_STALE);
    CHECK(ix.gen == 42);
    CHECK(index_load(b, NULL, &ix, NULL) == 0 && ix.gen == 0);
    bucket_free(b);
}

TEST(tenants_with_an_index_are_listed)
{
    struct bucket *b = bucket_at("tenants");
    struct block_meta m = meta_of(1);
    fs_names names;

    add(b, "b", &m);
    add(b, "a", &m);
    add(b, "a-1", &m);
    add(b, NULL, &m);
    CHECK(index_tenants(b, &names, NULL) == 0 && names.n == 3);
    CHECK_STR(names.v[0], "a");
    CHECK_STR(names.v[1], "a-1");
    CHECK_STR(names.v[2], "b");
    fs_names_free(&names);
    bucket_free(b);
}

TEST(a_failed_update_loses_nothing)
{
    struct bucket *b = bucket_at("fault");
    size_t published = 0;
    bool fired = true;

    for (int n = 1; fired; n++) {
        struct block_meta m = meta_of(n);
        struct index ix;
        uint64_t gen;
        int rc;

        fault_at(FAULT_IO, n);
        rc = index_add_block(b, NULL, &m, &gen, NULL);
        fired = fault_fired();
        fault_at(0, 0);
        CHECK(index_load(b, NULL, &ix, NULL) == 0);
        if (rc == 0)
            CHECK(index_find(&ix, &m.id));
        CHECK(ix.blocks.n >= published && ix.blocks.n <= published + 1);
        published = ix.blocks.n;
        index_fini(&ix);
    }
    bucket_free(b);
}

enum { RACERS = 2, THREADS = 3, EACH = 12 };

static void *race_thread(void *arg)
{
    struct bucket *b = arg;

    for (int i = 0; i < EACH; i++) {
        struct block_meta m = meta_of(i);
        uint64_t gen;

        if (index_add_block(b, NULL, &m, &gen, NULL) < 0)
            return (void *)1;
    }
    return NULL;
}

static int race_process(struct bucket *b)
{
    pthread_t t[THREADS];
    int failed = 0;

    for (int i = 0; i < THREADS; i++)
        if (pthread_create(&t[i], NULL, race_thread, b) != 0)
            return 1;
    for (int i = 0; i < THREADS; i++) {
        void *got;

        pthread_join(t[i], &got);
        failed |= got != NULL;
    }
    return failed;
}

TEST(no_update_is_lost_between_two_processes_of_three_threads)
{
    struct bucket *b = bucket_at("race");
    struct index ix;
    pid_t pids[RACERS];
    int status;

    for (int i = 0; i < RACERS; i++) {
        pids[i] = fork();
        if (pids[i] == 0)
            _exit(race_process(b));
    }
    for (int i = 0; i < RACERS; i++)
        CHECK(waitpid(pids[i], &status, 0) == pids[i] && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK(index_load(b, NULL, &ix, NULL) == 0);
    CHECK_INT(ix.blocks.n, RACERS * THREADS * EACH);
    CHECK(ix.gen == RACERS * THREADS * EACH);
    index_fini(&ix);
    bucket_free(b);
}
