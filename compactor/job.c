#include "compactor/job.h"
#include "common/base/fault.h"

#include <stdlib.h>
#include <unistd.h>

struct input {
    const struct ulid *id;
    struct block_reader *reader;
    struct block_iter *iter;
    const struct stored_series *series; /* at hand; NULL at the end */
};

struct job {
    const struct job_env *env;
    const struct plan_job *plan;
    struct input *inputs;
    struct block_writer **writers; /* one, or one for each shard */
    uint64_t *written;             /* series */
    uint32_t writer_count;
    const struct stored_series **same; /* those of the series being merged */
    struct arena arena;                /* of that series */
    struct ulid bad;
};

/* The input is to blame for what is wrong with its bytes, not for what is wrong with the disk or the bucket. */
static int blame(struct job *j, const struct input *in, int rc)
{
    if (rc == RC_CORRUPT || rc == RC_NOT_FOUND)
        j->bad = *in->id;
    return rc;
}

static int input_step(struct job *j, struct input *in, struct err *err)
{
    int rc = block_iter_next(in->iter, &in->series, err);

    if (rc <= 0)
        in->series = NULL;
    return rc < 0 ? blame(j, in, rc) : 0;
}

static int input_open(struct job *j, struct input *in, struct err *err)
{
    int rc = block_open(j->env->bucket, in->id, &in->reader, err);

    if (rc == 0)
        rc = block_iter_new(in->reader, str_of(j->plan->tenant), &in->iter, err);
    return rc < 0 ? blame(j, in, rc) : input_step(j, in, err);
}

static int writer_open(struct job *j, uint32_t shard, struct err *err)
{
    struct block_meta meta = {
        .level = j->plan->level, .range_start_ms = j->plan->range_start_ms, .range_end_ms = j->plan->range_end_ms,
        .sources = j->plan->sources, .source_count = j->plan->source_count,
        .shard = j->plan->split > 1 ? (struct block_shard){.i = shard, .n = j->plan->split} : j->plan->shard,
    };

    ulid_new(&meta.id, j->env->now_ms);
    ASSERT(strlen(j->plan->tenant) < sizeof meta.tenant);
    memcpy(meta.tenant, j->plan->tenant, strlen(j->plan->tenant) + 1);
    return block_writer_new(j->env->scratch, &meta, &j->writers[shard], err);
}

static int writers_open(struct job *j, struct err *err)
{
    int rc = 0;

    j->writer_count = MAX(j->plan->split, 1u);
    j->writers = xcalloc(j->writer_count, sizeof *j->writers);
    j->written = xcalloc(j->writer_count, sizeof *j->written);
    for (uint32_t i = 0; rc == 0 && i < j->writer_count; i++)
        rc = writer_open(j, i, err);
    return rc;
}

static int writer_add(struct job *j, const struct stored_series *s, struct err *err)
{
    uint32_t shard = j->writer_count > 1 ? fingerprint_mod(s->fp, j->writer_count) : 0;

    j->written[shard]++;
    return block_writer_add(j->writers[shard], str_of(j->plan->tenant), s, err);
}

/* Those that have got something; of the others it is noted that there is nothing. */
static int writers_ship(struct job *j, struct job_result *ret, struct err *err)
{
    uint64_t empty = 0;
    int rc = 0;

    ret->metas = xcalloc(j->writer_count, sizeof *ret->metas);
    for (uint32_t i = 0; j->writer_count > 1 && i < j->writer_count; i++)
        empty |= j->written[i] ? 0 : (uint64_t)1 << i;
    for (uint32_t i = 0; rc == 0 && i < j->writer_count; i++) {
        if (j->written[i] == 0)
            continue;
        rc = block_writer_ship(j->writers[i], j->env->bucket, &ret->metas[ret->n], err);
        if (rc == 0 && j->writer_count > 1)
            ret->metas[ret->n].shard.empty = empty; /* the index says it; it is nothing of the block's own */
        ret->n += rc == 0;
    }
    return rc;
}

void job_result_fini(struct job_result *r)
{
    for (size_t i = 0; i < r->n; i++)
        block_meta_fini(&r->metas[i]);
    free(r->metas);
    *r = (struct job_result){0};
}

/* The smallest labels at hand; all inputs that have them go into same. NULL at the end of all. */
static const struct stored_series *pick(struct job *j, size_t *ret_n)
{
    const struct stored_series *least = NULL;
    size_t n = 0;

    for (size_t i = 0; i < j->plan->block_count; i++) {
        const struct stored_series *s = j->inputs[i].series;
        int c = !s ? 1 : least ? labels_cmp(&s->labels, &least->labels) : -1;

        if (c > 0)
            continue;
        if (c < 0)
            n = 0;
        least = s;
        j->same[n++] = s;
    }
    *ret_n = n;
    return least;
}

/* Decodes the series of each input that has it, to find the one whose content does not hold what it says. */
static void find_guilty(struct job *j, const struct stored_series *least)
{
    for (size_t i = 0; i < j->plan->block_count; i++) {
        struct input *in = &j->inputs[i];

        arena_reset(&j->arena);
        if (in->series && labels_eq(&in->series->labels, &least->labels) &&
            (!u128_eq(in->series->fp, labels_fingerprint(str_of(j->plan->tenant), &in->series->labels)) ||
             block_series_check(in->series, &j->arena, NULL) == RC_CORRUPT)) {
            j->bad = *in->id;
            return;
        }
    }
}

static int merge_same(struct job *j, size_t n, struct stored_series *ret, struct err *err)
{
    for (size_t i = 1; i < n; i++)
        if (!u128_eq(j->same[i]->fp, j->same[0]->fp))
            return err_set(err, RC_CORRUPT, "two fingerprints for the same labels");
    if (n > 1)
        return stored_series_merge(j->same, NULL, n, &j->arena, ret, err);
    *ret = *j->same[0];
    return 0;
}

/* Leaves out windows past retention; they are the oldest, but late samples may stand anywhere. */
static int keep_young(struct job *j, struct stored_series *s, struct err *err)
{
    struct stored_window *kept;
    size_t n = 0;

    for (size_t i = 0; i < s->window_count; i++)
        n += s->windows[i].maxt_ms >= j->env->cutoff_ms;
    if (n == s->window_count)
        return 0;
    kept = arena_array(&j->arena, n, sizeof *kept);
    if (!kept)
        return err_set(err, RC_NOMEM, "merge: memory budget is spent");
    n = 0;
    for (size_t i = 0; i < s->window_count; i++)
        if (s->windows[i].maxt_ms >= j->env->cutoff_ms)
            kept[n++] = s->windows[i];
    s->windows = kept;
    s->window_count = n;
    return 0;
}

static int drop_hidden(struct job *j, struct stored_series *s, struct err *err)
{
    struct time_spans spans = {0};
    struct time_span all;
    int rc;

    if (j->env->hidden_count == 0 || s->window_count == 0)
        return 0;
    all = (struct time_span){INT64_MAX, INT64_MIN};
    for (size_t i = 0; i < s->window_count; i++) {
        all.mint_ms = MIN(all.mint_ms, s->windows[i].mint_ms);
        all.maxt_ms = MAX(all.maxt_ms, s->windows[i].maxt_ms);
    }
    rc = tombstones_spans(j->env->hidden, j->env->hidden_count, &s->labels, all, &j->arena, &spans, err);
    return rc == 0 && spans.n ? stored_series_cut(s, &spans, &j->arena, s, err) : rc;
}

/* One series into the new block, inputs stepped past it. 1; 0 at the end. */
static int merge_step(struct job *j, struct err *err)
{
    const struct stored_series *least;
    struct stored_series merged;
    size_t n;
    int rc;

    arena_reset(&j->arena);
    least = pick(j, &n);
    if (!least)
        return 0;
    rc = merge_same(j, n, &merged, err);
    if (rc == 0)
        rc = keep_young(j, &merged, err);
    if (rc == 0)
        rc = drop_hidden(j, &merged, err);
    if (rc == RC_CORRUPT)
        find_guilty(j, least);
    if (rc == 0 && merged.window_count > 0)
        rc = writer_add(j, &merged, err);
    for (size_t i = 0, k = 0; rc == 0 && i < j->plan->block_count && k < n; i++) {
        if (j->inputs[i].series != j->same[k])
            continue;
        k++;
        rc = input_step(j, &j->inputs[i], err);
    }
    if (j->env->series_done)
        atomic_fetch_add_explicit(j->env->series_done, 1, memory_order_relaxed);
    return rc < 0 ? rc : 1;
}

static int merge_all(struct job *j, struct err *err)
{
    int rc = 1;

    while (rc > 0) {
        if (j->env->cancel && atomic_load_explicit(j->env->cancel, memory_order_relaxed))
            return err_set(err, RC_CANCELED, "stopping");
        rc = merge_step(j, err);
    }
    return rc;
}

static void job_fini(struct job *j)
{
    for (size_t i = 0; i < j->plan->block_count; i++) {
        block_iter_free(j->inputs[i].iter);
        block_unref(j->inputs[i].reader);
    }
    for (uint32_t i = 0; i < j->writer_count; i++)
        block_writer_free(j->writers[i]);
    free(j->writers);
    free(j->written);
    free(j->inputs);
    free(j->same);
    arena_fini(&j->arena);
}

static int stop_at_first(void *arg, UNUSED const struct stored_series *s)
{
    *(bool *)arg = true;
    return RC_EXISTS;
}

/* Whether the block has series of a tombstone within its span. */
static int block_touched(struct block_reader *r, const char *tenant, const struct tombstone *t, bool *ret, struct err *err)
{
    struct store_select q = {.tenant = str_of(tenant), .matchers = t->matchers, .matcher_count = t->matcher_count, .mint_ms = t->span.mint_ms,
                             .maxt_ms = t->span.maxt_ms, .mode = STORE_LABELS};
    struct arena a;
    int rc;

    if (!time_spans_meet(t->span, (struct time_span){block_meta(r)->mint_ms, block_meta(r)->maxt_ms}))
        return 0;
    arena_init(&a, BLOCK_SERIES_BYTES_MAX);
    rc = block_select(r, &q, stop_at_first, ret, &a, err);
    arena_fini(&a);
    return *ret ? 0 : rc;
}

int job_touches(const struct job_env *env, const struct plan_job *job, bool *ret, struct ulid *ret_bad, struct err *err)
{
    struct block_reader *r = NULL;
    bool any = false;
    int rc = block_open(env->bucket, &job->blocks[0], &r, err);

    for (size_t i = 0; i < env->hidden_count && rc == 0 && !any; i++)
        rc = block_touched(r, job->tenant, &env->hidden[i], &any, err);
    block_unref(r);
    if (rc == RC_CORRUPT || rc == RC_NOT_FOUND)
        *ret_bad = job->blocks[0];
    if (rc == 0)
        *ret = any;
    return rc;
}

int job_merge(const struct job_env *env, const struct plan_job *plan, struct job_result *ret, struct ulid *ret_bad, struct err *err)
{
    struct job j = {.env = env, .plan = plan};
    struct job_result out = {0};
    int rc = 0;

    ASSERT((plan->kind == PLAN_MERGE || plan->kind == PLAN_REWRITE) && plan->block_count > 0);
    j.inputs = xcalloc(plan->block_count, sizeof *j.inputs);
    j.same = xcalloc(plan->block_count, sizeof *j.same);
    arena_init(&j.arena, BLOCK_SERIES_BYTES_MAX);
    for (size_t i = 0; rc == 0 && i < plan->block_count; i++) {
        j.inputs[i].id = &plan->blocks[i];
        rc = input_open(&j, &j.inputs[i], err);
    }
    if (rc == 0)
        rc = writers_open(&j, err);
    if (rc == 0)
        rc = merge_all(&j, err);
    FAULT(FAULT_CRASH, _exit(99));
    if (rc == 0)
        rc = writers_ship(&j, &out, err);
    *ret_bad = j.bad;
    job_fini(&j);
    if (rc < 0)
        job_result_fini(&out);
    if (rc < 0)
        return err_wrap(err, rc, "merge for tenant %s", plan->tenant);
    *ret = out;
    return 0;
}
