#include "compactor/plan.h"
#include "tests/test.h"

#define H (3600 * 1000LL)
#define DAY (24 * H)
#define T0 (1700006400000LL / DAY * DAY) /* a midnight */

/* A small world: level-0 blocks with their tenants, one index per tenant. */
struct world {
    struct index l0;
    const char *l0_tenants[64][4];
    size_t l0_tenant_count[64];
    struct plan_l0 l0s[64];
    struct index index[2];
    struct plan_tenant tenants[2];
    struct plan_input in;
};
static const char *const tenant_names[] = {"a", "b"};

static void world_init(struct world *w, int64_t now_ms)
{
    *w = (struct world){.in.now_ms = now_ms};
}

static struct ulid put(struct index *ix, uint32_t level, int64_t start, int64_t end, const struct ulid *sources, size_t n)
{
    struct block_meta m = {.level = level, .range_start_ms = start, .range_end_ms = end, .mint_ms = start, .maxt_ms = end - 1,
                           .sources = (struct ulid *)sources, .source_count = n};

    ulid_new(&m.id, end);
    index_put_meta(ix, &m);
    return m.id;
}

/* tenants: letters, sorted */
static struct ulid put_l0(struct world *w, int64_t start, int64_t end, const char *tenants)
{
    size_t i = w->l0.blocks.n;

    for (; *tenants; tenants++)
        w->l0_tenants[i][w->l0_tenant_count[i]++] = tenant_names[*tenants - 'a'];
    return put(&w->l0, 0, start, end, NULL, 0);
}

static void make(struct world *w, plan_jobs *jobs)
{
    for (size_t i = 0; i < w->l0.blocks.n; i++)
        w->l0s[i] = (struct plan_l0){&w->l0.blocks.v[i], w->l0_tenants[i], w->l0_tenant_count[i], w->l0_tenant_count[i] > 0};
    for (size_t i = 0; i < 2; i++) {
        w->tenants[i].name = tenant_names[i];
        w->tenants[i].index = &w->index[i];
    }
    w->in.l0 = w->l0s;
    w->in.l0_count = w->l0.blocks.n;
    w->in.tenants = w->tenants;
    w->in.tenant_count = 2;
    plan_make(&plan_cfg_default, &w->in, jobs);
}

static void world_fini(struct world *w)
{
    index_fini(&w->l0);
    index_fini(&w->index[0]);
    index_fini(&w->index[1]);
}

static const struct plan_job *find(const plan_jobs *jobs, enum plan_kind kind, const char *tenant)
{
    const struct plan_job *found = NULL;

    for (size_t i = 0; i < jobs->n; i++) {
        const struct plan_job *j = &jobs->v[i];

        if (j->kind != kind || (tenant == NULL) != (j->tenant == NULL) || (tenant && strcmp(tenant, j->tenant) != 0))
            continue;
        CHECK(!found); /* tests look for one */
        found = j;
    }
    return found;
}

static bool has(const struct plan_job *j, struct ulid id)
{
    for (size_t i = 0; i < j->block_count; i++)
        if (strcmp(j->blocks[i].text, id.text) == 0)
            return true;
    return false;
}

TEST(replicas_of_a_settled_range_are_one_job_per_tenant)
{
    struct world w;
    struct ulid x, y, late;
    const struct plan_job *j;
    plan_jobs jobs;

    world_init(&w, T0 + 2 * H + plan_cfg_default.settle_ms);
    x = put_l0(&w, T0, T0 + 2 * H, "ab");
    y = put_l0(&w, T0, T0 + 2 * H, "a");
    late = put_l0(&w, T0 + H, T0 + 2 * H, "a"); /* cut by force in the middle: the same 2 h */
    put_l0(&w, T0 + 2 * H, T0 + 4 * H, "ab");   /* not settled */
    make(&w, &jobs);
    CHECK(jobs.n == 2);
    j = find(&jobs, PLAN_MERGE, "a");
    CHECK(j && j->level == 1 && j->block_count == 3 && j->source_count == 3);
    CHECK(has(j, x) && has(j, y) && has(j, late));
    CHECK(j->range_start_ms == T0 && j->range_end_ms == T0 + 2 * H);
    j = find(&jobs, PLAN_MERGE, "b");
    CHECK(j && j->block_count == 1 && has(j, x));
    plan_jobs_free(&jobs);
    w.in.now_ms--;
    make(&w, &jobs);
    CHECK(jobs.n == 0);
    plan_jobs_free(&jobs);
    w.in.forced = true;
    make(&w, &jobs);
    CHECK(jobs.n == 4);
    plan_jobs_free(&jobs);
    world_fini(&w);
}

TEST(what_the_tenants_index_covers_is_marked_done_not_merged_again)
{
    struct world w;
    struct ulid x, y;
    plan_jobs jobs;

    world_init(&w, T0 + 3 * H);
    x = put_l0(&w, T0, T0 + 2 * H, "a");
    y = put_l0(&w, T0, T0 + 2 * H, "a");
    put(&w.index[0], 1, T0, T0 + 2 * H, &x, 1);
    make(&w, &jobs);
    CHECK(jobs.n == 2);
    CHECK(find(&jobs, PLAN_MARK_DONE, "a")->block_count == 1 && has(find(&jobs, PLAN_MARK_DONE, "a"), x));
    CHECK(find(&jobs, PLAN_MERGE, "a")->block_count == 1 && has(find(&jobs, PLAN_MERGE, "a"), y)); /* late: a block of its own */
    CHECK(jobs.v[0].kind == PLAN_MARK_DONE);
    plan_jobs_free(&jobs);
    world_fini(&w);
}

TEST(a_level_0_block_goes_when_every_tenant_is_done)
{
    struct world w;
    struct ulid x;
    plan_jobs jobs;

    world_init(&w, T0 + 3 * H);
    x = put_l0(&w, T0, T0 + 2 * H, "ab");
    CHECK(index_block_mark_done(&w.l0.blocks.v[0], "a"));
    make(&w, &jobs);
    CHECK(!find(&jobs, PLAN_DELETE_L0, NULL) && find(&jobs, PLAN_MERGE, "b"));
    plan_jobs_free(&jobs);
    CHECK(index_block_mark_done(&w.l0.blocks.v[0], "b"));
    make(&w, &jobs);
    CHECK(jobs.n == 1 && has(find(&jobs, PLAN_DELETE_L0, NULL), x));
    plan_jobs_free(&jobs);
    w.l0.blocks.v[0].deleted_ms = w.in.now_ms - plan_cfg_default.delete_delay_ms + 1;
    make(&w, &jobs);
    CHECK(jobs.n == 0);
    plan_jobs_free(&jobs);
    w.in.now_ms++;
    make(&w, &jobs);
    CHECK(jobs.n == 1 && has(find(&jobs, PLAN_REMOVE, NULL), x));
    plan_jobs_free(&jobs);
    world_fini(&w);
}

TEST(a_block_whose_tenants_are_not_known_stays_and_holds_up_higher_levels)
{
    struct world w;
    plan_jobs jobs;

    world_init(&w, T0 + 2 * DAY);
    put_l0(&w, T0, T0 + 2 * H, "");
    put(&w.index[0], 1, T0, T0 + 2 * H, NULL, 0);
    put(&w.index[0], 1, T0 + 2 * H, T0 + 4 * H, NULL, 0);
    make(&w, &jobs);
    CHECK(jobs.n == 0);
    plan_jobs_free(&jobs);
    world_fini(&w);
}

TEST(levels_follow_complete_ranges_and_a_complete_day_is_merged_at_once)
{
    struct world w;
    const struct plan_job *j;
    struct ulid sources[2];
    plan_jobs jobs;

    world_init(&w, T0 + 12 * H + plan_cfg_default.settle_ms - 1);
    ulid_new(&sources[0], 1);
    ulid_new(&sources[1], 2);
    for (int i = 0; i < 6; i++)
        put(&w.index[0], 1, T0 + i * 2 * H, T0 + (i + 1) * 2 * H, sources, 2);
    make(&w, &jobs);
    CHECK(jobs.n == 0);
    plan_jobs_free(&jobs);
    w.in.now_ms++;
    make(&w, &jobs);
    j = find(&jobs, PLAN_MERGE, "a");
    CHECK(jobs.n == 1 && j->level == 2 && j->block_count == 6 && j->source_count == 2);
    CHECK(j->range_start_ms == T0 && j->range_end_ms == T0 + 12 * H);
    plan_jobs_free(&jobs);
    w.in.now_ms = T0 + DAY + plan_cfg_default.settle_ms;
    put(&w.index[0], 2, T0 + 12 * H, T0 + DAY, NULL, 0);
    make(&w, &jobs);
    j = find(&jobs, PLAN_MERGE, "a");
    CHECK(jobs.n == 1 && j->level == 3 && j->block_count == 7);
    plan_jobs_free(&jobs);
    put_l0(&w, T0 + 4 * H, T0 + 6 * H, "a"); /* a late one comes first */
    make(&w, &jobs);
    CHECK(jobs.n == 1 && find(&jobs, PLAN_MERGE, "a")->level == 1);
    plan_jobs_free(&jobs);
    world_fini(&w);
}

TEST(a_single_block_and_a_deleted_one_are_left_alone)
{
    struct world w;
    plan_jobs jobs;

    world_init(&w, T0 + 2 * DAY);
    put(&w.index[0], 1, T0, T0 + 2 * H, NULL, 0);
    put(&w.index[0], 1, T0 + 2 * H, T0 + 4 * H, NULL, 0);
    w.index[0].blocks.v[1].deleted_ms = w.in.now_ms;
    put(&w.index[0], 1, T0 + DAY, T0 + DAY + 2 * H, NULL, 0); /* next day */
    make(&w, &jobs);
    CHECK(jobs.n == 0);
    plan_jobs_free(&jobs);
    world_fini(&w);
}

TEST(retention_expires_blocks_and_level_0_samples_per_tenant)
{
    struct world w;
    struct ulid old, l0;
    plan_jobs jobs;

    world_init(&w, T0 + 10 * DAY);
    w.tenants[0].retention_ms = 10 * DAY - 2 * H; /* the first block's last sample is 1 ms too old */
    w.tenants[1].retention_ms = 0;
    old = put(&w.index[0], 3, T0, T0 + 2 * H, NULL, 0);
    put(&w.index[0], 3, T0 + 2 * H, T0 + 4 * H, NULL, 0);
    put(&w.index[1], 3, T0, T0 + 2 * H, NULL, 0);
    l0 = put_l0(&w, T0, T0 + 2 * H, "ab");
    make(&w, &jobs);
    CHECK(has(find(&jobs, PLAN_EXPIRE, "a"), old) && find(&jobs, PLAN_EXPIRE, "a")->block_count == 1);
    CHECK(!find(&jobs, PLAN_EXPIRE, "b"));
    CHECK(has(find(&jobs, PLAN_MARK_DONE, "a"), l0));
    CHECK(find(&jobs, PLAN_MERGE, "b"));
    plan_jobs_free(&jobs);
    world_fini(&w);
}

TEST(lag_spans_the_settled_data_that_waits)
{
    struct world w;
    struct ulid x;
    plan_jobs jobs;

    world_init(&w, T0 + 8 * H + plan_cfg_default.settle_ms);
    x = put_l0(&w, T0, T0 + 2 * H, "ab");
    put_l0(&w, T0 + 2 * H, T0 + 4 * H, "a");
    put_l0(&w, T0 + 6 * H, T0 + 8 * H, "a");
    put_l0(&w, T0 + 8 * H, T0 + 10 * H, "ab"); /* not settled */
    make(&w, &jobs);
    CHECK(plan_lag_ms(&plan_cfg_default, &w.in, &w.tenants[0]) == 8 * H);
    CHECK(plan_lag_ms(&plan_cfg_default, &w.in, &w.tenants[1]) == 2 * H);
    put(&w.index[0], 1, T0, T0 + 2 * H, &x, 1);
    CHECK(plan_lag_ms(&plan_cfg_default, &w.in, &w.tenants[0]) == 6 * H);
    CHECK(index_block_mark_done(&w.l0.blocks.v[0], "b"));
    CHECK(plan_lag_ms(&plan_cfg_default, &w.in, &w.tenants[1]) == 0);
    plan_jobs_free(&jobs);
    world_fini(&w);
}

/* Whatever the blocks, carrying out plans as the indexes would show it comes to an end, and every source ends up in exactly one block. */
TEST(plans_come_to_an_end_and_lose_no_source)
{
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct world w;
        plan_jobs jobs;
        uint64_t r = mix64(seed);
        size_t n = 3 + r % 40;
        int rounds = 0;

        world_init(&w, T0 + 3 * DAY);
        for (size_t i = 0; i < n; i++) {
            int64_t start = T0 + (int64_t)(mix64(seed * 1000 + i) % 24) * H;

            put_l0(&w, start, start + 1 + (int64_t)(mix64(seed * 2000 + i) % (3 * H)), "a");
        }
        for (make(&w, &jobs); jobs.n > 0; make(&w, &jobs)) {
            CHECK(++rounds < 50);
            for (size_t k = 0; k < jobs.n; k++) {
                const struct plan_job *j = &jobs.v[k];

                for (size_t i = 0; i < j->block_count; i++) {
                    struct index_block *l0 = index_find(&w.l0, &j->blocks[i]);

                    if (j->kind == PLAN_MARK_DONE)
                        CHECK(index_block_mark_done(l0, "a"));
                    else if (j->kind == PLAN_DELETE_L0)
                        l0->deleted_ms = w.in.now_ms;
                    else if (j->kind == PLAN_MERGE && j->level > 1)
                        index_drop(&w.index[0], &j->blocks[i]);
                }
                if (j->kind == PLAN_MERGE)
                    put(&w.index[0], j->level, j->range_start_ms, j->range_end_ms, j->sources, j->source_count);
            }
            plan_jobs_free(&jobs);
        }
        plan_jobs_free(&jobs);
        for (size_t i = 0; i < n; i++) {
            size_t in = 0;

            for (size_t k = 0; k < w.index[0].blocks.n; k++)
                in += index_block_has_source(&w.index[0].blocks.v[k], &w.l0.blocks.v[i].id);
            CHECK_INT(in, 1);
            CHECK(w.l0.blocks.v[i].deleted_ms != 0);
        }
        world_fini(&w);
    }
}
