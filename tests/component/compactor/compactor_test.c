#include "common/base/fault.h"
#include "compactor/compactor.h"
#include "tests/unit/tsdb/samples_util.h"
#include "tsdb/snapshot.h"

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
static _Thread_local uint32_t split_a; /* shards of tenant a */
static _Thread_local int64_t rule_period; /* of series i="0" of tenant a */

static int64_t retention(UNUSED void *arg, const char *tenant)
{
    return strcmp(tenant, "a") == 0 ? retention_a : 0;
}

static struct tombstone stone_of(const char *name, const char *value, int64_t mint, int64_t maxt)
{
    struct matcher m;
    struct tombstone t = {0};

    CHECK(matcher_init(&m, MATCH_EQ, str_of(name), str_of(value), NULL) == 0);
    CHECK(tombstone_init(&t, &m, 1, (struct time_span){mint, maxt}, NULL) == 0);
    matcher_fini(&m);
    return t;
}

static int rules(UNUSED void *arg, const char *tenant, int64_t now_ms, tombstones *ret, UNUSED struct err *err)
{
    struct tombstone t;

    if (strcmp(tenant, "a") != 0 || rule_period == 0)
        return 0;
    t = stone_of("i", "0", TIMESTAMP_MIN_MS, now_ms - rule_period - 1);
    t.seq = (uint64_t)rule_period;
    *vec_push(ret) = t;
    return 0;
}

static uint32_t split(UNUSED void *arg, const char *tenant)
{
    return strcmp(tenant, "a") == 0 ? split_a : 1;
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
                                .delete_delay_ms = 30 * 60 * 1000, .rewrite_after_ms = 15 * 60 * 1000, .tombstone_keep_ms = DAY,
                                .orphan_age_ms = 3 * DAY};
    struct compactor_deps deps = {.bucket = w->b, .clock = &w->clock.clock, .log = w->log, .metrics = w->metrics,
                                  .retention_ms = retention, .rules = rules, .split = split};

    CHECK(compactor_new(&cfg, &deps, &w->c, NULL) == 0);
}

static void world_init(struct world *w, const char *name, size_t series, int64_t from_ms, int64_t to_ms)
{
    *w = (struct world){0};
    retention_a = rule_period = 0;
    split_a = 1;
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

/* A life from `now` on that ends at crash point n, on a copy of the bucket in dir, which is w->b then. True: it came to its own end. */
static bool life_until(struct world *w, const char *dir, int64_t now, int n)
{
    int status;
    pid_t pid;

    copy_bucket(w->dir, dir, &w->b);
    compactor_free(w->c);
    clock_manual_init(&w->clock, now);
    world_compactor(w);
    pid = fork();
    if (pid == 0) {
        fault_at(FAULT_CRASH, n);
        _exit(whole_life(w) == 0 ? 0 : 1);
    }
    CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 99);
    return WEXITSTATUS(status) == 0;
}

/* --- deletion --- */

static bool is_of(const struct world *w, fingerprint fp, const char *tenant, const char *i)
{
    for (size_t k = 0; k < w->set.n; k++)
        if (u128_eq(w->set.v[k].fp, fp))
            return strcmp(w->set.v[k].tenant, tenant) == 0 && (!i || str_eqz(labels_get(&w->set.v[k].labels, STR("i")), i));
    return false;
}

/* What was put but samples of the tenant's series i (NULL: all) in the span. */
static void expect_without(struct world *w, const char *tenant, const char *i, int64_t mint, int64_t maxt)
{
    size_t n = 0;

    for (size_t k = 0; k < w->put.n; k++)
        if (w->put.v[k].t < mint || w->put.v[k].t > maxt || !is_of(w, w->put.v[k].fp, tenant, i))
            w->put.v[n++] = w->put.v[k];
    CHECK(n < w->put.n);
    w->put.n = n;
}

static void delete_series(struct world *w, const char *i, int64_t mint, int64_t maxt)
{
    struct tombstone t = stone_of("i", i, mint, maxt);

    CHECK(index_delete_series(w->b, "a", &t, 1, w->clock.wall, NULL, NULL) == 0);
    tombstone_fini(&t);
}

TEST(deleted_samples_leave_the_blocks_and_nothing_else_does)
{
    struct world w;
    struct index a;

    world_init(&w, "delete", 4, T0, T0 + 6 * H);
    clock_to(&w, T0 + 5 * H);
    put_replicas(&w, T0, T0 + 4 * H, 0.1);
    run(&w);
    check_content(w.b, &w.put);
    delete_series(&w, "1", T0 + H + 1234, T0 + 5 * H);
    run(&w); /* too early to rewrite for it */
    check_content(w.b, &w.put);
    CHECK(metric_text(&w, "torc_compactor_tombstones_waiting{tenant=\"a\"} ") == 1);
    put_replicas(&w, T0 + 4 * H, T0 + 6 * H, 0.1); /* what waits in level 0 goes on its way */
    clock_to(&w, T0 + 8 * H);
    expect_without(&w, "a", "1", T0 + H + 1234, T0 + 5 * H);
    run(&w);
    check_content(w.b, &w.put);
    verify_tenant_blocks(&w, "a");
    index_of(&w, "a", &a);
    CHECK(a.tombstones.n == 1 && a.tombstones.v[0].applied_ms > 0 && live(&a, 1) == 3);
    index_fini(&a);
    clock_to(&w, T0 + 8 * H + DAY + H); /* no longer remembered, no longer needed */
    run(&w);
    index_of(&w, "a", &a);
    CHECK(a.tombstones.n == 0 && a.tombstone_seq == 1);
    CHECK(metric_text(&w, "torc_compactor_tombstones_waiting{tenant=\"a\"} ") == 0);
    index_fini(&a);
    check_content(w.b, &w.put);
    world_fini(&w);
}

TEST(blocks_that_a_deletion_does_not_touch_are_not_rewritten)
{
    struct world w;
    struct index a, b;

    world_init(&w, "untouched", 2, T0, T0 + 4 * H);
    put_replicas(&w, T0, T0 + 4 * H, 0);
    run(&w);
    index_of(&w, "a", &a);
    delete_series(&w, "no such", T0, T0 + 4 * H);
    delete_series(&w, "1", T0 + 2 * H, T0 + 3 * H);
    expect_without(&w, "a", "1", T0 + 2 * H, T0 + 3 * H);
    CHECK(index_hurry(w.b, "a", NULL) == 0);
    run(&w);
    index_of(&w, "a", &b);
    CHECK(index_find(&b, &a.blocks.v[0].id)->deleted_ms == 0 && index_find(&b, &a.blocks.v[1].id)->deleted_ms != 0);
    for (size_t i = 0; i < b.blocks.n; i++)
        CHECK(b.blocks.v[i].deleted_ms || b.blocks.v[i].applied == 2);
    index_fini(&a);
    index_fini(&b);
    check_content(w.b, &w.put);
    CHECK(metric_text(&w, "torc_compactor_jobs_total{kind=\"rewrite\",result=\"success\"} ") == 2);
    world_fini(&w);
}

TEST(a_rule_of_retention_removes_its_series_and_leaves_the_rest)
{
    struct world w;
    struct index a;
    uint64_t retained = 0;

    world_init(&w, "rule", 3, T0, T0 + 12 * H);
    put_replicas(&w, T0, T0 + 12 * H, 0.1);
    clock_to(&w, T0 + 13 * H);
    rule_period = 6 * H;
    expect_without(&w, "a", "0", T0, T0 + 7 * H - 1);
    run(&w);
    check_content(w.b, &w.put); /* the merge to level 2 has applied it */
    clock_to(&w, T0 + 20 * H);
    expect_without(&w, "a", "0", T0, T0 + 12 * H);
    run(&w); /* and the whole block is past it now */
    check_content(w.b, &w.put);
    index_of(&w, "a", &a);
    for (size_t i = 0; i < a.blocks.n; i++)
        retained |= a.blocks.v[i].deleted_ms ? 0 : a.blocks.v[i].retained;
    CHECK(retained == (uint64_t)(6 * H));
    index_fini(&a);
    run(&w);
    CHECK(metric_text(&w, "torc_compactor_jobs_total{kind=\"rewrite\",result=\"success\"} ") == 1); /* once is enough */
    world_fini(&w);
}

static bool status_has(struct world *w, const char *text)
{
    struct buf out;
    bool has;

    buf_init(&out, 4096);
    CHECK(compactor_delete_status(w->c, "a", &out, NULL) == 0);
    buf_u8(&out, 0);
    has = strstr(out.p, text) != NULL;
    if (!has)
        printf("%s", out.p);
    buf_fini(&out);
    return has;
}

TEST(a_deleted_tenant_goes_from_the_bucket_and_can_be_written_again)
{
    struct world w;
    struct index a;
    struct rng again;
    sample_set set = {0};
    char scratch[300];

    world_init(&w, "tenant", 3, T0, T0 + 12 * H);
    clock_to(&w, T0 + 3 * H);
    put_replicas(&w, T0, T0 + 2 * H, 0.1);
    run(&w);
    put_replicas(&w, T0 + 2 * H, T0 + 4 * H, 0.1); /* not merged yet */
    CHECK(status_has(&w, "\"state\":\"none\""));
    clock_to(&w, T0 + 4 * H + 60000);
    CHECK(compactor_delete_tenant(w.c, "a", NULL) == 0);
    CHECK(status_has(&w, "\"state\":\"hidden\"") && status_has(&w, "\"blocks_deleted\":false"));
    clock_to(&w, T0 + 5 * H);
    run(&w);
    expect_without(&w, "a", NULL, 0, INT64_MAX);
    check_content(w.b, &w.put); /* the other tenant has everything */
    clock_manual_advance_ms(&w.clock, H); /* files go */
    run(&w);
    clock_manual_advance_ms(&w.clock, 2 * H); /* and what heads had is past */
    run(&w);
    CHECK(status_has(&w, "\"state\":\"done\"") && status_has(&w, "\"blocks_deleted\":true,"));
    index_of(&w, "a", &a);
    CHECK(a.blocks.n == 0);
    index_fini(&a);
    rng_init(&again, 5);
    sample_set_fill(&set, &w.arena, &again, (const char *const[]){"a", NULL}, 2, T0 + 8 * H, T0 + 10 * H, 60000);
    snprintf(scratch, sizeof scratch, "%s-put", w.scratch);
    ship_level0(w.b, scratch, &set, "i-0", T0 + 8 * H, T0 + 10 * H, &again, 0, T0 + 10 * H, &w.put);
    clock_to(&w, T0 + 11 * H);
    run(&w);
    check_content(w.b, &w.put);
    sample_set_fini(&set);
    world_fini(&w);
}

TEST(a_crash_at_any_step_of_a_deletion_brings_nothing_back_and_takes_nothing_else)
{
    struct world w;
    struct bucket *original;
    int crashes = 0;

    world_init(&w, "delete-crash", 2, T0, T0 + 12 * H);
    put_some_replicas(&w, 2, T0, T0 + 2 * H, 0.2);
    run(&w);
    put_some_replicas(&w, 2, T0 + 2 * H, T0 + 4 * H, 0.2);
    delete_series(&w, "1", T0 + H, T0 + 3 * H);
    CHECK(index_hurry(w.b, "a", NULL) == 0);
    truth_settle(&w.put);
    expect_without(&w, "a", "1", T0 + H, T0 + 3 * H);
    original = w.b;
    for (int n = 1;; n++) {
        truth visible;
        char dir[300];
        size_t kept = 0;
        bool whole;

        snprintf(dir, sizeof dir, "%s/delete-crash-%d", root_dir(), n);
        whole = life_until(&w, dir, T0 + 5 * H, n);
        read_all(w.b, &visible); /* at the moment of the crash, as a reader that hides what the index says */
        for (size_t i = 0; i < visible.n; i++)
            if (visible.v[i].t < T0 + H || visible.v[i].t > T0 + 3 * H || !is_of(&w, visible.v[i].fp, "a", "1"))
                visible.v[kept++] = visible.v[i];
        visible.n = kept;
        CHECK(truth_equal(&visible, &w.put));
        vec_fini(&visible);
        clock_to(&w, T0 + 5 * H + 93 * 60 * 1000);
        CHECK(whole_life(&w) == 0);
        check_content(w.b, &w.put); /* now without hiding */
        bucket_free(w.b);
        CHECK(fs_remove_tree(dir, NULL) == 0);
        if (whole)
            break;
        crashes++;
    }
    printf("%d crash points\n", crashes);
    CHECK(crashes > 30);
    w.b = original;
    world_fini(&w);
}

/* --- snapshots --- */

TEST(a_snapshot_keeps_its_blocks_and_brings_back_what_was_deleted)
{
    struct world w;
    struct snapshot_name first, second;
    struct index a, snap;
    truth before = {0};
    fs_names names = {0};
    uint64_t samples = 0;
    bucket_list files;

    world_init(&w, "snapshot", 3, T0, T0 + 12 * H);
    clock_to(&w, T0 + 5 * H);
    put_replicas(&w, T0, T0 + 4 * H, 0.1);
    run(&w);
    put_replicas(&w, T0 + 4 * H, T0 + 6 * H, 0.1); /* a part of it is in level 0 */
    CHECK(snapshot_create(w.b, "a", w.clock.wall, &first, NULL) == 0);
    CHECK(snapshot_create(w.b, "a", w.clock.wall + 1000, &second, NULL) == 0);
    CHECK(snapshot_list(w.b, "a", &names, NULL) == 0 && names.n == 2);
    CHECK_STR(names.v[0], first.text);
    fs_names_free(&names);
    CHECK(snapshot_load(w.b, "a", first.text, &snap, NULL) == 0 && snap.blocks.n == 2 + 3 && snap.gen == (uint64_t)w.clock.wall);
    index_fini(&snap);
    truth_settle(&w.put);
    for (size_t i = 0; i < w.put.n; i++)
        *vec_push(&before) = w.put.v[i];
    delete_series(&w, "1", T0, T0 + 5 * H);
    CHECK(index_hurry(w.b, "a", NULL) == 0);
    CHECK(compactor_restore(w.c, "a", first.text, &samples, NULL) == RC_UNAVAILABLE); /* not before the deletion is applied */
    clock_to(&w, T0 + 7 * H);
    run(&w);
    clock_manual_advance_ms(&w.clock, 4 * DAY); /* sources and what was rewritten are removed, orphans swept */
    run(&w);
    run(&w);
    expect_without(&w, "a", "1", T0, T0 + 5 * H);
    check_content(w.b, &w.put);
    CHECK(compactor_restore(w.c, "a", "20261130T213359Z-0123456789abcdef", &samples, NULL) == RC_NOT_FOUND);
    CHECK(compactor_restore(w.c, "a", "../../index/l0/HINT", &samples, NULL) == RC_NOT_FOUND);
    CHECK(compactor_restore(w.c, "a", first.text, &samples, NULL) == 0 && samples > 0);
    check_content(w.b, &before);
    verify_tenant_blocks(&w, "a");
    index_of(&w, "a", &a);
    CHECK(a.tombstones.n == 0);
    index_fini(&a);
    run(&w); /* merged with what is there */
    check_content(w.b, &before);
    CHECK(snapshot_remove(w.b, "a", first.text, NULL) == 0 && snapshot_remove(w.b, "a", second.text, NULL) == 0);
    CHECK(snapshot_remove(w.b, "a", first.text, NULL) == RC_NOT_FOUND);
    clock_manual_advance_ms(&w.clock, 4 * DAY);
    run(&w);
    clock_manual_advance_ms(&w.clock, 4 * DAY);
    run(&w);
    check_content(w.b, &before);
    CHECK(w.b->ops->list(w.b, "blocks/", &files, NULL) == 0);
    CHECK_INT(files.n, 2 * 5); /* one block for each tenant, nothing of the snapshots */
    bucket_list_free(&files);
    vec_fini(&before);
    world_fini(&w);
}

/* --- shards --- */

/* Each live block of a has series of its shard alone; returns how many blocks there are. */
static size_t check_shards(struct world *w, uint32_t n)
{
    struct index a;
    size_t count = 0;

    index_of(w, "a", &a);
    for (size_t i = 0; i < a.blocks.n; i++) {
        const struct index_block *b = &a.blocks.v[i];
        truth got = {0};

        if (b->deleted_ms)
            continue;
        count++;
        CHECK_INT(b->shard.n, n);
        CHECK(truth_add_block(w->b, &b->id, "a", &got, NULL) >= 0 && got.n > 0);
        for (size_t k = 0; n && k < got.n; k++)
            CHECK(fingerprint_mod(got.v[k].fp, n) == b->shard.i);
        vec_fini(&got);
    }
    index_fini(&a);
    return count;
}

TEST(a_large_tenant_is_divided_by_fingerprint_on_all_levels)
{
    struct world w;
    struct index l0;

    world_init(&w, "split", 24, T0, T0 + DAY);
    split_a = 4;
    clock_to(&w, T0 + 5 * H);
    put_some_replicas(&w, 2, T0, T0 + 4 * H, 0.1);
    run(&w);
    check_content(w.b, &w.put);
    CHECK_INT(check_shards(&w, 4), 2 * 4);
    index_of(&w, NULL, &l0);
    CHECK(live(&l0, 0) == 0);
    index_fini(&l0);
    put_some_replicas(&w, 2, T0 + 4 * H, T0 + 12 * H, 0.1);
    clock_to(&w, T0 + 13 * H);
    run(&w);
    check_content(w.b, &w.put);
    CHECK_INT(check_shards(&w, 4), 4);
    verify_tenant_blocks(&w, "a");
    split_a = 3; /* other shards from now on; all of the day is divided again once it is merged */
    put_some_replicas(&w, 2, T0 + 12 * H, T0 + DAY, 0.1);
    clock_to(&w, T0 + DAY + H);
    run(&w);
    check_content(w.b, &w.put);
    CHECK_INT(check_shards(&w, 3), 3);
    delete_series(&w, "1", T0, T0 + 2 * H);
    CHECK(index_hurry(w.b, "a", NULL) == 0);
    truth_settle(&w.put);
    expect_without(&w, "a", "1", T0, T0 + 2 * H);
    run(&w);
    check_content(w.b, &w.put);
    CHECK_INT(check_shards(&w, 3), 3);
    CHECK(metric_text(&w, "torc_compactor_jobs_total{kind=\"rewrite\",result=\"success\"} ") == 3);
    world_fini(&w);
}

TEST(shards_without_series_are_no_blocks_and_lack_nothing)
{
    struct world w;
    struct index l0;

    world_init(&w, "split-few", 2, T0, T0 + 12 * H);
    split_a = 16;
    put_some_replicas(&w, 2, T0, T0 + 12 * H, 0.1);
    clock_to(&w, T0 + 13 * H);
    run(&w);
    check_content(w.b, &w.put);
    CHECK(check_shards(&w, 16) <= 2);
    index_of(&w, NULL, &l0);
    CHECK(live(&l0, 0) == 0);
    index_fini(&l0);
    run(&w);
    check_content(w.b, &w.put);
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

TEST(one_damaged_shard_is_made_again_from_level_0)
{
    struct world w;
    struct index a;

    world_init(&w, "split-again", 24, T0, T0 + 12 * H);
    split_a = 3;
    clock_to(&w, T0 + 12 * H + 20 * 60 * 1000); /* too early for level 2 */
    put_some_replicas(&w, 2, T0, T0 + 12 * H, 0.1);
    CHECK(compactor_run_once(w.c, true, NULL) == 0);
    index_of(&w, "a", &a);
    CHECK(live(&a, 1) == 18);
    flip_byte(&w, &a.blocks.v[4].id, "chunks.sst", 0.4);
    index_fini(&a);
    block_cache_resize(0);
    clock_manual_advance_ms(&w.clock, 10 * 60 * 1000);
    run(&w);
    block_cache_resize(BLOCK_CACHE_BYTES);
    index_of(&w, "a", &a);
    CHECK(a.quarantined.n == 1 && live(&a, 2) == 3 && live(&a, 1) == 0);
    index_fini(&a);
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
        bool whole;

        snprintf(dir, sizeof dir, "%s/crash-%d", root_dir(), n);
        whole = life_until(&w, dir, T0 + 13 * H, n);
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
        if (whole)
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

/* Of two that share, each does its part and nobody's is done twice. */
static bool owns_part(void *arg, UNUSED const char *tenant, uint64_t key)
{
    return key == 0 || key % 2 == (uint64_t)(uintptr_t)arg;
}

TEST(two_compactors_share_the_jobs_of_a_tenant)
{
    struct world w;
    struct compactor *both[2];
    struct metrics *metrics[2] = {metrics_new(), metrics_new()};
    double merges[2];
    struct index a;

    world_init(&w, "share", 16, T0, T0 + 12 * H);
    clock_to(&w, T0 + 13 * H);
    split_a = 4;
    put_some_replicas(&w, 2, T0, T0 + 12 * H, 0.1);
    for (size_t i = 0; i < 2; i++) {
        char scratch[300];
        struct compactor_cfg cfg = {.scratch_dir = scratch, .interval_ms = 1000, .settle_ms = 25 * 60 * 1000, .delete_delay_ms = 30 * 60 * 1000};
        struct compactor_deps deps = {.bucket = w.b, .clock = &w.clock.clock, .log = w.log, .metrics = metrics[i], .split = split,
                                      .owns = owns_part, .arg = (void *)(uintptr_t)i};

        snprintf(scratch, sizeof scratch, "%s/share-%zu", root_dir(), i);
        CHECK(compactor_new(&cfg, &deps, &both[i], NULL) == 0);
    }
    for (int round = 0; round < 4; round++)
        for (size_t i = 0; i < 2; i++)
            CHECK(compactor_run_once(both[i], false, NULL) == 0);
    check_content(w.b, &w.put);
    CHECK_INT(check_shards(&w, 4), 4);
    index_of(&w, "a", &a);
    CHECK(live(&a, 2) == 4 && live(&a, 1) == 0);
    index_fini(&a);
    for (size_t i = 0; i < 2; i++) {
        struct world as = {.metrics = metrics[i]};

        merges[i] = metric_text(&as, "torc_compactor_jobs_total{kind=\"merge\",result=\"success\"} ");
        compactor_free(both[i]);
        metrics_free(metrics[i]);
    }
    printf("merges: %.0f and %.0f\n", merges[0], merges[1]);
    CHECK(merges[0] + merges[1] == 6 + 4 + 6 + 1 && merges[0] > 0 && merges[1] > 0);
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
