#include "common/base/fault.h"
#include "compactor/compactor.h"
#include "tests/unit/tsdb/samples_util.h"

#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

#define H (3600 * 1000LL)
#define DAY (24 * H)
#define T0 (1700000000000LL / DAY * DAY)

static const char *const tenants[] = {"a", "b-1", NULL};
static _Thread_local int64_t retention_a;

static int64_t retention(UNUSED void *arg, const char *tenant)
{
    return strcmp(tenant, "a") == 0 ? retention_a : 0;
}

/* Memory where there is some: these tests sync tens of thousands of times, and a child's exit is no power cut. */
static char root[64];

static void root_remove(void)
{
    fs_remove_tree(root, NULL);
}

static const char *root_dir(void)
{
    if (!root[0]) {
        snprintf(root, sizeof root, "/dev/shm/torc-test-XXXXXX");
        if (mkdtemp(root))
            atexit(root_remove);
        else
            snprintf(root, sizeof root, "%s", test_tmpdir());
    }
    return root;
}

/* A bucket, what was put into it, and a compactor over it. */
struct world {
    char dir[256], scratch[256];
    struct arena arena;
    struct rng rng;
    sample_set set;
    truth put;
    struct bucket *b;
    struct clock_manual clock;
    struct log *log;
    struct metrics *metrics;
    struct compactor *c;
    int devnull;
};

static void world_compactor(struct world *w)
{
    struct compactor_cfg cfg = {.scratch_dir = w->scratch, .interval_ms = 1000, .settle_ms = 25 * 60 * 1000,
                                .delete_delay_ms = 30 * 60 * 1000, .orphan_age_ms = 3 * DAY};
    struct compactor_deps deps = {.bucket = w->b, .clock = &w->clock.clock, .log = w->log, .metrics = w->metrics,
                                  .retention_ms = retention};

    CHECK(compactor_new(&cfg, &deps, &w->c, NULL) == 0);
}

static void world_init(struct world *w, const char *name, size_t series, int64_t from_ms, int64_t to_ms)
{
    *w = (struct world){0};
    retention_a = 0;
    snprintf(w->dir, sizeof w->dir, "%s/%s", root_dir(), name);
    snprintf(w->scratch, sizeof w->scratch, "%s/%s-scratch", root_dir(), name);
    arena_init(&w->arena, 1 << 28);
    rng_init(&w->rng, test_seed());
    sample_set_fill(&w->set, &w->arena, &w->rng, tenants, series, from_ms, to_ms, 60000);
    CHECK(bucket_open(w->dir, &w->b, NULL) == 0);
    clock_manual_init(&w->clock, to_ms + H);
    w->devnull = open("/dev/null", O_WRONLY);
    w->log = log_new(getenv("TEST_LOG") ? 2 : w->devnull, LOG_DEBUG, LOG_LOGFMT);
    w->metrics = metrics_new();
    world_compactor(w);
}

static void clock_to(struct world *w, int64_t t)
{
    clock_manual_advance_ms(&w->clock, t - w->clock.wall);
}

static void world_fini(struct world *w)
{
    compactor_free(w->c);
    metrics_free(w->metrics);
    log_free(w->log);
    close(w->devnull);
    bucket_free(w->b);
    vec_fini(&w->put);
    sample_set_fini(&w->set);
    arena_fini(&w->arena);
}

/* Replicas of each 2 h from from_ms to to_ms, each with losses of its own. */
static void put_some_replicas(struct world *w, int replicas, int64_t from_ms, int64_t to_ms, double loss)
{
    static const char *const ingesters[] = {"i-0", "i-1", "i-2"};
    char scratch[300];

    snprintf(scratch, sizeof scratch, "%s-put", w->scratch);
    for (int64_t t = from_ms; t < to_ms; t += 2 * H)
        for (int i = 0; i < replicas; i++)
            ship_level0(w->b, scratch, &w->set, ingesters[i], t, t + 2 * H, &w->rng, loss, t, &w->put);
}

static void put_replicas(struct world *w, int64_t from_ms, int64_t to_ms, double loss)
{
    put_some_replicas(w, 3, from_ms, to_ms, loss);
}

static void run(struct world *w)
{
    struct err err = {0};

    if (compactor_run_once(w->c, false, &err) < 0)
        fail_msg("%s", err_log(&err));
}

/* Everything of all tenants, as a reader finds it; NULL err: must work. */
static void read_all(struct bucket *b, truth *ret)
{
    *ret = (truth){0};
    for (const char *const *t = tenants; *t; t++) {
        struct err err = {0};
        truth one;

        if (truth_read(b, *t, &one, &err) < 0)
            fail_msg("%s", err_log(&err));
        for (size_t i = 0; i < one.n; i++)
            *vec_push(ret) = one.v[i];
        vec_fini(&one);
    }
    truth_settle(ret);
}

static void check_content(struct bucket *b, truth *want)
{
    truth got;

    truth_settle(want);
    read_all(b, &got);
    CHECK_INT(got.n, want->n);
    CHECK(truth_equal(&got, want));
    vec_fini(&got);
}

static void index_of(struct world *w, const char *tenant, struct index *ret)
{
    CHECK(index_load(w->b, tenant, ret, NULL) == 0);
}

static size_t live(const struct index *ix, uint32_t level)
{
    size_t n = 0;

    for (size_t i = 0; i < ix->blocks.n; i++)
        n += !ix->blocks.v[i].deleted_ms && ix->blocks.v[i].level == level;
    return n;
}

static void verify_tenant_blocks(struct world *w, const char *tenant)
{
    struct index ix;

    index_of(w, tenant, &ix);
    for (size_t i = 0; i < ix.blocks.n; i++) {
        struct block_reader *r = NULL;
        struct err err = {0};

        if (ix.blocks.v[i].deleted_ms)
            continue;
        CHECK(block_open(w->b, &ix.blocks.v[i].id, &r, &err) == 0);
        if (block_verify(r, &err) < 0)
            fail_msg("%s", err_log(&err));
        block_unref(r);
    }
    index_fini(&ix);
}

static double metric_text(struct world *w, const char *line)
{
    struct buf out;
    double v = -1;
    const char *at;

    buf_init(&out, 1 << 20);
    metrics_write(w->metrics, false, &out);
    buf_u8(&out, 0);
    at = strstr(out.p, line);
    if (at)
        v = strtod(at + strlen(line), NULL);
    buf_fini(&out);
    return v;
}

/* --- merging --- */

TEST(replicas_become_one_block_per_tenant_and_nothing_is_lost)
{
    struct world w;
    struct index l0, a;
    bucket_list files;

    world_init(&w, "merge", 8, T0, T0 + 4 * H);
    put_replicas(&w, T0, T0 + 4 * H, 0.1);
    run(&w);
    check_content(w.b, &w.put);
    index_of(&w, NULL, &l0);
    index_of(&w, "a", &a);
    CHECK(live(&l0, 0) == 0 && l0.blocks.n == 6);
    CHECK(live(&a, 1) == 2 && a.blocks.v[0].source_count == 3);
    index_fini(&l0);
    index_fini(&a);
    verify_tenant_blocks(&w, "a");
    verify_tenant_blocks(&w, "b-1");
    CHECK(metric_text(&w, "torc_compactor_lag_seconds{tenant=\"a\"} ") == 0);
    CHECK(metric_text(&w, "torc_compactor_jobs_total{kind=\"merge\",result=\"success\"} ") == 4);
    clock_manual_advance_ms(&w.clock, 31 * 60 * 1000);
    run(&w);
    index_of(&w, NULL, &l0);
    CHECK(l0.blocks.n == 0);
    index_fini(&l0);
    CHECK(w.b->ops->list(w.b, "blocks/", &files, NULL) == 0);
    CHECK_INT(files.n, 4 * 5); /* two tenants, two ranges, five files */
    bucket_list_free(&files);
    check_content(w.b, &w.put);
    world_fini(&w);
}

TEST(days_are_merged_by_levels_and_late_blocks_find_their_place)
{
    struct world w;
    struct index a;
    char scratch[300];

    world_init(&w, "levels", 3, T0, T0 + DAY);
    put_replicas(&w, T0, T0 + 12 * H, 0.2);
    clock_to(&w, T0 + 13 * H);
    run(&w);
    index_of(&w, "a", &a);
    CHECK(live(&a, 2) == 1 && live(&a, 1) == 0);
    index_fini(&a);
    check_content(w.b, &w.put);
    put_replicas(&w, T0 + 12 * H, T0 + DAY, 0.2);
    clock_to(&w, T0 + DAY + H);
    run(&w);
    index_of(&w, "a", &a);
    CHECK(live(&a, 3) == 1 && live(&a, 2) == 0 && live(&a, 1) == 0);
    index_fini(&a);
    check_content(w.b, &w.put);
    snprintf(scratch, sizeof scratch, "%s-put", w.scratch);
    ship_level0(w.b, scratch, &w.set, "late", T0 + 4 * H, T0 + 6 * H, &w.rng, 0, T0 + DAY, &w.put);
    run(&w);
    index_of(&w, "a", &a);
    CHECK(live(&a, 3) == 1 && live(&a, 1) == 0);
    index_fini(&a);
    check_content(w.b, &w.put);
    verify_tenant_blocks(&w, "a");
    world_fini(&w);
}

TEST(unsettled_ranges_wait_unless_forced)
{
    struct world w;
    struct index a;

    world_init(&w, "force", 2, T0, T0 + 2 * H);
    clock_to(&w, T0 + 2 * H + 60000);
    put_replicas(&w, T0, T0 + 2 * H, 0);
    run(&w);
    index_of(&w, "a", &a);
    CHECK(a.gen == 1 && a.blocks.n == 0); /* made for a tenant as soon as it is seen */
    index_fini(&a);
    CHECK(compactor_run_once(w.c, true, NULL) == 0);
    index_of(&w, "a", &a);
    CHECK(live(&a, 1) == 1);
    index_fini(&a);
    check_content(w.b, &w.put);
    world_fini(&w);
}

/* --- retention --- */

TEST(samples_past_retention_go_per_tenant_and_blocks_with_them)
{
    struct world w;
    struct index a;
    truth got, b_want = {0};

    world_init(&w, "retention", 3, T0, T0 + 8 * H);
    put_replicas(&w, T0, T0 + 8 * H, 0);
    truth_settle(&w.put);
    clock_to(&w, T0 + 9 * H);
    retention_a = 4 * H; /* of a: the first two ranges go unmerged, the third loses windows */
    run(&w);
    CHECK(truth_read(w.b, "a", &got, NULL) == 0);
    CHECK(got.n > 0);
    for (size_t i = 0; i < got.n; i++) /* whole windows of half an hour */
        CHECK(got.v[i].t >= T0 + 5 * H - WINDOW_MS);
    vec_fini(&got);
    CHECK(truth_read(w.b, "b-1", &got, NULL) == 0); /* keeps all */
    for (size_t i = 0; i < w.put.n; i++)
        for (size_t k = 0; k < w.set.n; k++)
            if (strcmp(w.set.v[k].tenant, "b-1") == 0 && u128_eq(w.set.v[k].fp, w.put.v[i].fp))
                *vec_push(&b_want) = w.put.v[i];
    truth_settle(&b_want);
    CHECK(truth_equal(&got, &b_want));
    vec_fini(&got);
    vec_fini(&b_want);
    clock_manual_advance_ms(&w.clock, 10 * H);
    run(&w); /* now all of a is past it */
    clock_manual_advance_ms(&w.clock, H);
    run(&w);
    index_of(&w, "a", &a);
    CHECK(a.blocks.n == 0);
    index_fini(&a);
    CHECK(truth_read(w.b, "a", &got, NULL) == 0 && got.n == 0);
    vec_fini(&got);
    world_fini(&w);
}

TEST(a_wall_clock_that_jumps_ahead_expires_nothing)
{
    struct world w;
    struct index a;

    world_init(&w, "jump", 2, T0, T0 + 4 * H);
    put_replicas(&w, T0, T0 + 4 * H, 0.1);
    retention_a = DAY;
    w.clock.wall += 400 * DAY;
    run(&w);
    check_content(w.b, &w.put);
    index_of(&w, "a", &a);
    CHECK(live(&a, 1) == 2);
    index_fini(&a);
    world_fini(&w);
}

/* --- damage --- */

static void flip_byte(struct world *w, const struct ulid *id, const char *leaf, double where)
{
    char path[PATH_MAX];
    FILE *f;
    long size = 0, at;
    int c;

    snprintf(path, sizeof path, "%s/blocks/%s/%s", w->dir, id->text, leaf);
    f = fopen(path, "r+b");
    CHECK(f && fseek(f, 0, SEEK_END) == 0 && (size = ftell(f)) > 0);
    at = (long)((double)size * where);
    fseek(f, at, SEEK_SET);
    c = fgetc(f);
    fseek(f, at, SEEK_SET);
    fputc(c ^ 0x10, f);
    fclose(f);
}

TEST(a_damaged_replica_is_moved_aside_and_the_others_are_merged)
{
    static const char *const leaves[] = {"chunks.sst", "series.sst", "meta.json", "postings.sst"};

    for (size_t i = 0; i < ARRAY_LEN(leaves); i++) {
        struct world w;
        struct index l0;
        char name[32];

        snprintf(name, sizeof name, "damage-%zu", i);
        world_init(&w, name, 8, T0, T0 + 2 * H);
        put_replicas(&w, T0, T0 + 2 * H, 0); /* no losses: two replicas have everything */
        index_of(&w, NULL, &l0);
        flip_byte(&w, &l0.blocks.v[1].id, leaves[i], 0.3);
        index_fini(&l0);
        block_cache_resize(0);
        run(&w);
        block_cache_resize(BLOCK_CACHE_BYTES);
        index_of(&w, NULL, &l0);
        CHECK(l0.quarantined.n == 1 && l0.quarantined.v[0].reason[0] && live(&l0, 0) == 0);
        index_fini(&l0);
        CHECK(metric_text(&w, "\ntorc_compactor_blocks_quarantined_total ") == 1);
        check_content(w.b, &w.put);
        world_fini(&w);
    }
}

TEST(a_damaged_merged_block_is_made_again_from_level_0_while_that_is_there)
{
    struct world w;
    struct index a, l0;

    world_init(&w, "again", 4, T0, T0 + 12 * H);
    clock_to(&w, T0 + 12 * H + 20 * 60 * 1000); /* too early for level 2 */
    put_replicas(&w, T0, T0 + 12 * H, 0.1);
    CHECK(compactor_run_once(w.c, true, NULL) == 0);
    index_of(&w, "a", &a);
    CHECK(live(&a, 1) == 6);
    flip_byte(&w, &a.blocks.v[2].id, "chunks.sst", 0.4);
    index_fini(&a);
    block_cache_resize(0);
    clock_manual_advance_ms(&w.clock, 10 * 60 * 1000);
    run(&w);
    block_cache_resize(BLOCK_CACHE_BYTES);
    index_of(&w, "a", &a);
    index_of(&w, NULL, &l0);
    CHECK(a.quarantined.n == 1 && live(&a, 2) == 1 && live(&a, 1) == 0 && live(&l0, 0) == 0);
    index_fini(&a);
    index_fini(&l0);
    check_content(w.b, &w.put);
    world_fini(&w);
}

TEST(a_bucket_that_cannot_be_read_is_no_reason_to_move_blocks_aside)
{
    struct world w;
    struct index l0;
    bool fired = true;

    world_init(&w, "io", 2, T0, T0 + 2 * H);
    put_replicas(&w, T0, T0 + 2 * H, 0.1);
    for (int n = 1; fired; n += 1 + n / 12) {
        fault_at(FAULT_IO, n);
        (void)compactor_run_once(w.c, true, NULL);
        fired = fault_fired();
        fault_at(0, 0);
        check_content(w.b, &w.put);
        index_of(&w, NULL, &l0);
        CHECK(l0.quarantined.n == 0);
        index_fini(&l0);
        if (n % 3 == 0) /* more to do, so that later faults meet all kinds of jobs */
            put_replicas(&w, T0, T0 + 2 * H, 0.1);
        clock_manual_advance_ms(&w.clock, 20 * 60 * 1000);
    }
    run(&w);
    check_content(w.b, &w.put);
    world_fini(&w);
}

/* --- crashes --- */

/* Files only, nothing synced: the copy has to survive a child's exit, not a power cut. */
static void copy_bucket(const char *from, const char *to, struct bucket **ret)
{
    char command[700];

    snprintf(command, sizeof command, "cp -r '%s' '%s'", from, to);
    CHECK(system(command) == 0);
    CHECK(bucket_open(to, ret, NULL) == 0);
}

/* Merge to level 2, delete, remove: all kinds of jobs in one life. */
static int whole_life(struct world *w)
{
    int rc = 0;

    for (int i = 0; rc == 0 && i < 3; i++) {
        rc = compactor_run_once(w->c, false, NULL);
        clock_manual_advance_ms(&w->clock, 31 * 60 * 1000);
    }
    return rc;
}

TEST(a_crash_at_any_step_leaves_every_sample_readable_once_and_the_next_run_finishes)
{
    struct world w;
    struct bucket *original;
    int crashes = 0;

    world_init(&w, "crash", 1, T0, T0 + 12 * H);
    put_some_replicas(&w, 2, T0, T0 + 4 * H, 0.2);
    original = w.b;
    for (int n = 1;; n++) {
        struct index l0, a;
        char dir[300];
        int status;
        pid_t pid;

        snprintf(dir, sizeof dir, "%s/crash-%d", root_dir(), n);
        copy_bucket(w.dir, dir, &w.b);
        compactor_free(w.c);
        clock_manual_init(&w.clock, T0 + 13 * H);
        world_compactor(&w);
        pid = fork();
        if (pid == 0) {
            fault_at(FAULT_CRASH, n);
            _exit(whole_life(&w) == 0 ? 0 : 1);
        }
        CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
        CHECK(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 99);
        check_content(w.b, &w.put); /* at the moment of the crash */
        clock_to(&w, T0 + 13 * H + 93 * 60 * 1000);
        CHECK(whole_life(&w) == 0);
        check_content(w.b, &w.put);
        index_of(&w, NULL, &l0);
        index_of(&w, "a", &a);
        CHECK(l0.blocks.n == 0 && l0.quarantined.n == 0 && a.quarantined.n == 0);
        CHECK(a.blocks.n == 1 && a.blocks.v[0].level == 2 && a.blocks.v[0].source_count == 4);
        index_fini(&l0);
        index_fini(&a);
        bucket_free(w.b);
        CHECK(fs_remove_tree(dir, NULL) == 0);
        if (WEXITSTATUS(status) == 0)
            break;
        crashes++;
    }
    printf("%d crash points\n", crashes);
    CHECK(crashes > 60);
    w.b = original;
    world_fini(&w);
}

/* --- at the same time --- */

struct reader {
    struct world *w;
    atomic_bool stop;
    size_t rounds, wrong;
    bool failed;
};

static void *read_on(void *arg)
{
    struct reader *r = arg;

    while (!atomic_load(&r->stop) || r->rounds == 0) {
        truth got = {0}, one;

        for (const char *const *t = tenants; *t; t++) {
            if (truth_read(r->w->b, *t, &one, NULL) < 0) {
                r->failed = true;
                return NULL;
            }
            for (size_t i = 0; i < one.n; i++)
                *vec_push(&got) = one.v[i];
            vec_fini(&one);
        }
        truth_settle(&got);
        r->wrong += !truth_equal(&got, &r->w->put);
        r->rounds++;
        vec_fini(&got);
    }
    return NULL;
}

static void *compact_on(void *arg)
{
    struct world *w = arg;
    int rc = 0;

    for (int i = 0; i < 3 && rc == 0; i++)
        rc = compactor_run_once(w->c, false, NULL);
    return rc == 0 ? NULL : (void *)1;
}

TEST(readers_see_the_same_before_during_and_after_with_two_compactors_at_work)
{
    struct world w, other;
    struct reader r;
    struct index a;
    pthread_t readers, compactors[2];
    void *failed[2];

    world_init(&w, "during", 3, T0, T0 + 12 * H);
    clock_to(&w, T0 + 13 * H);
    put_replicas(&w, T0, T0 + 12 * H, 0.2);
    truth_settle(&w.put);
    other = w; /* the same bucket, a compactor of its own */
    snprintf(other.scratch, sizeof other.scratch, "%s/during-other", root_dir());
    other.metrics = metrics_new();
    world_compactor(&other);
    r = (struct reader){.w = &w};
    CHECK(pthread_create(&readers, NULL, read_on, &r) == 0);
    CHECK(pthread_create(&compactors[0], NULL, compact_on, &w) == 0);
    CHECK(pthread_create(&compactors[1], NULL, compact_on, &other) == 0);
    for (int i = 0; i < 2; i++)
        pthread_join(compactors[i], &failed[i]);
    atomic_store(&r.stop, true);
    pthread_join(readers, NULL);
    CHECK(!failed[0] && !failed[1]);
    CHECK(!r.failed && r.wrong == 0);
    printf("%zu rounds of reading\n", r.rounds);
    index_of(&w, "a", &a);
    CHECK(live(&a, 2) == 1 && live(&a, 1) == 0);
    for (size_t i = 0; i < a.blocks.n; i++)
        if (!a.blocks.v[i].deleted_ms)
            CHECK_INT(a.blocks.v[i].source_count, 18);
    index_fini(&a);
    check_content(w.b, &w.put);
    compactor_free(other.c);
    metrics_free(other.metrics);
    world_fini(&w);
}

/* --- the rest --- */

TEST(files_that_no_index_names_are_swept_once_they_are_old)
{
    struct world w;
    bucket_list l;
    struct ulid old, young;
    char name[128];

    world_init(&w, "sweep", 2, T0, T0 + 2 * H);
    put_replicas(&w, T0, T0 + 2 * H, 0);
    ulid_new(&old, w.clock.wall - 4 * DAY);
    ulid_new(&young, w.clock.wall - 2 * DAY);
    snprintf(name, sizeof name, "blocks/%s/chunks.sst", old.text);
    CHECK(w.b->ops->put(w.b, name, STR("left by a crash"), NULL) == 0);
    snprintf(name, sizeof name, "blocks/%s/chunks.sst", young.text);
    CHECK(w.b->ops->put(w.b, name, STR("being written"), NULL) == 0);
    clock_manual_advance_ms(&w.clock, DAY / 2);
    run(&w);
    snprintf(name, sizeof name, "blocks/%s/", old.text);
    CHECK(w.b->ops->list(w.b, name, &l, NULL) == 0 && l.n == 0);
    bucket_list_free(&l);
    snprintf(name, sizeof name, "blocks/%s/", young.text);
    CHECK(w.b->ops->list(w.b, name, &l, NULL) == 0 && l.n == 1);
    bucket_list_free(&l);
    clock_manual_advance_ms(&w.clock, 40 * DAY);
    run(&w); /* named blocks are old now too */
    check_content(w.b, &w.put);
    world_fini(&w);
}

TEST(status_tells_tenants_and_lag_as_json_and_as_a_page)
{
    struct world w;
    struct buf out;
    json_t *obj, *a;

    world_init(&w, "status", 2, T0, T0 + 2 * H);
    put_replicas(&w, T0, T0 + 2 * H, 0);
    run(&w);
    buf_init(&out, 1 << 20);
    compactor_status(w.c, false, &out);
    obj = json_loadb(out.p, out.n, 0, NULL);
    CHECK(obj);
    a = json_array_get(json_object_get(obj, "tenants"), 0);
    CHECK_STR(json_string_value(json_object_get(a, "tenant")), "a");
    CHECK(json_integer_value(json_object_get(a, "blocks")) == 1);
    CHECK(json_integer_value(json_object_get(a, "lagSeconds")) == 0);
    CHECK(json_integer_value(json_object_get(a, "samples")) > 200);
    json_decref(obj);
    buf_clear(&out);
    compactor_status(w.c, true, &out);
    buf_u8(&out, 0);
    CHECK(strstr(out.p, "<td>b-1</td>"));
    buf_fini(&out);
    world_fini(&w);
}

TEST(the_thread_runs_by_itself_and_stops_when_told)
{
    struct world w;
    bool merged = false;

    world_init(&w, "thread", 2, T0, T0 + 2 * H);
    put_replicas(&w, T0, T0 + 2 * H, 0);
    compactor_start(w.c);
    for (int i = 0; i < 3000 && !merged; i++) {
        struct index a;

        index_of(&w, "a", &a);
        merged = live(&a, 1) == 1;
        index_fini(&a);
        usleep(10000); /* waits for the other thread's effect, bounded */
    }
    CHECK(merged);
    compactor_stop(w.c);
    compactor_start(w.c);
    compactor_wake(w.c, true);
    compactor_stop(w.c);
    check_content(w.b, &w.put);
    world_fini(&w);
}
