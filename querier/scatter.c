#include "querier/scatter.h"

#include "common/wire/pb_arena.h"
#include "querier/mailbox.h"

#include <stdlib.h>

enum { POLL_MS = 20 };

static int no_memory(struct err *err)
{
    return err_set(err, RC_NOMEM, "query processing would load too many bytes into memory in fragments of the query");
}

/* --- fragments on their way --- */

struct part {
    bool here, asked; /* evaluated here; a peer was asked */
    uint16_t peer;
    uint32_t shard;
    int64_t start_ms, end_ms;
    struct trace_node *trace;
    struct query_result res;
};

/* --- asking --- */

struct scattering {
    struct scatter *s;
    const struct node *node; /* NULL: the whole query */
    uint32_t shard_count;
    struct part *parts;
    struct mail **replies; /* of the parts that were asked; NULL: still to come */
    size_t n, out;         /* how many parts, and of these still to come */
    struct mailbox *box;
};

static int64_t left_ms(const struct scatter *s)
{
    return (s->src->deadline_mono_ns - clock_mono_ns(s->src->env->clock)) / 1000000;
}

static bool request_pack(const struct scattering *sc, const struct part *p, struct buf *out)
{
    const struct scatter *s = sc->s;
    const struct fetch_limits *limits = &s->src->limits;
    Torc__Wire__FragmentRequest m = TORC__WIRE__FRAGMENT_REQUEST__INIT;
    ProtobufCBinaryData tenants[TENANT_FEDERATION_MAX];
    uint64_t days = MAX(limits->days, 1U);

    for (size_t i = 0; i < s->src->tenant_count; i++)
        tenants[i] = pb_bytes(s->src->tenants[i]);
    m.version = FRAGMENT_VERSION;
    m.text = pb_bytes(s->ast->text);
    m.node_start = sc->node ? sc->node->pos.start : 0;
    m.node_end = sc->node ? sc->node->pos.end : 0;
    m.start_ms = p->start_ms;
    m.end_ms = p->end_ms;
    m.step_ms = (uint64_t)s->opt->step_ms;
    m.lookback_ms = (uint64_t)s->opt->lookback_ms;
    m.shard = p->shard;
    m.shard_count = sc->shard_count;
    m.tenants = tenants;
    m.n_tenants = s->src->tenant_count;
    m.mint_floor_ms = s->src->mint_floor_ms;
    m.series_max = limits->series_max * days;
    m.chunks_max = limits->chunks_max;
    m.bytes_max = limits->bytes_max * days;
    m.samples_max = s->opt->samples_max;
    m.memory_max = s->opt->arena->budget;
    m.timeout_ms = (uint64_t)MAX(left_ms(s), 1);
    return pb_pack(&m.base, out);
}

static void part_ask(struct scattering *sc, size_t i)
{
    struct part *p = &sc->parts[i];
    const struct ring_instance *in = ring_instance(sc->s->ring, p->peer);
    struct buf out;

    buf_init(&out, RPC_MESSAGE_BYTES_MAX);
    if (!request_pack(sc, p, &out)) {
        buf_fini(&out);
        p->here = true;
        return;
    }
    p->asked = true;
    p->trace = trace_begin(sc->s->opt->trace, "fragment for querier %s: shard %u of %u, steps from %lld to %lld ms", in->id, p->shard, MAX(sc->shard_count, 1U),
                           (long long)p->start_ms, (long long)p->end_ms);
    sc->out++;
    mailbox_send(sc->box, sc->s->src->env->rpc, in->addr, RPC_FRAGMENT, &out, MAX(left_ms(sc->s), 1), (uint32_t)i, 0);
    buf_fini(&out);
}

/* --- evaluating here --- */

static int part_run(struct scattering *sc, struct part *p, struct err *err)
{
    struct scatter *s = sc->s;
    struct promql_ast ast = *s->ast;
    struct query_opt opt = *s->opt;
    struct source src = *s->src;
    struct trace_node *step = trace_begin(s->opt->trace, "fragment here: shard %u of %u", p->shard, MAX(sc->shard_count, 1U));
    int rc;

    if (sc->node)
        fragment_part(sc->node, &ast, &opt);
    opt.start_ms = p->start_ms;
    opt.end_ms = p->end_ms;
    opt.remote = NULL;
    opt.trace = step;
    src.shard = p->shard;
    src.shard_count = sc->shard_count;
    rc = query_run(&ast, &src.base, &opt, &p->res, err);
    s->src->used = src.used;
    trace_end(step, "%s", "");
    return rc;
}

/* --- collecting --- */

static bool take_texts(struct arena *a, const ProtobufCBinaryData *v, size_t n, const char ***ret, size_t *ret_n)
{
    const char **out = arena_array(a, n, sizeof *out);

    for (size_t i = 0; out && i < n; i++)
        if (!(out[i] = arena_strz(a, pb_str(v[i]))))
            return false;
    *ret = out;
    *ret_n = n;
    return out != NULL;
}

static int part_take(struct scattering *sc, struct part *p, struct str payload, struct err *err)
{
    struct scatter *s = sc->s;
    struct arena *a = s->opt->arena, scratch;
    Torc__Wire__FragmentResponse *m;
    struct str series;
    int rc = 0;

    arena_init(&scratch, RPC_MESSAGE_BYTES_MAX * 4UL);
    m = torc__wire__fragment_response__unpack(pb_arena_allocator(&scratch), payload.n, (const uint8_t *)payload.p);
    series = m ? arena_str(a, pb_str(m->series)) : (struct str){0}; /* labels borrow from it */
    if (!m)
        rc = err_set(err, RC_CORRUPT, "the answer to a fragment does not decode");
    else if (m->series.len && !series.p)
        rc = no_memory(err);
    if (rc == 0)
        rc = fragment_series_decode(series, p->start_ms, s->opt->step_ms, fragment_steps(p->start_ms, p->end_ms, s->opt->step_ms), a, &p->res, err);
    if (rc == 0 && (!take_texts(a, m->warnings, m->n_warnings, &p->res.warnings, &p->res.warning_count) ||
                    !take_texts(a, m->infos, m->n_infos, &p->res.infos, &p->res.info_count)))
        rc = no_memory(err);
    if (rc == 0) {
        p->res.stats = (struct query_stats){.samples_total = m->samples_total, .samples_read = m->samples_read, .peak_samples = m->samples_peak, .series = m->selected};
        s->src->used.series += m->fetched_series;
        s->src->used.chunks += m->fetched_chunks;
        s->src->used.bytes += m->fetched_bytes;
    }
    arena_fini(&scratch);
    return rc;
}

static int wait_all(struct scattering *sc, struct err *err)
{
    const atomic_bool *cancel = sc->s->opt->cancel;
    int rc = 0;

    while (sc->out > 0 && rc == 0) {
        for (struct mail *m = mailbox_take(sc->box, POLL_MS); m; m = m->next) {
            sc->replies[m->tag] = m;
            sc->out--;
        }
        if (cancel && atomic_load_explicit(cancel, memory_order_relaxed))
            rc = err_set(err, RC_CANCELED, "query was canceled in expression evaluation");
        else if (left_ms(sc->s) <= 0)
            rc = err_set(err, RC_TIMEOUT, "query timed out in expression evaluation");
    }
    return rc;
}

static int collect(struct scattering *sc, struct err *err)
{
    int rc = 0;

    for (size_t i = 0; i < sc->n && rc == 0; i++)
        if (sc->parts[i].here)
            rc = part_run(sc, &sc->parts[i], err);
    if (rc == 0)
        rc = wait_all(sc, err);
    for (size_t i = 0; i < sc->n && rc == 0; i++) {
        struct part *p = &sc->parts[i];
        struct mail *r = sc->replies[i];
        int why;

        if (!p->asked)
            continue;
        why = r->rc == RC_OK ? part_take(sc, p, buf_view(&r->payload), err) : r->rc;
        trace_end(p->trace, ": %s, %zu bytes", rc_name(why), r->payload.n);
        if (r->rc == RC_OK && why == RC_NOMEM)
            rc = why;
        else if (why < 0) /* whatever it was: here it ends as the query ends */
            rc = part_run(sc, p, err);
    }
    return rc;
}

/* Runs all parts. Those of peer 0 here. */
static int scatter_parts(struct scattering *sc, struct err *err)
{
    int rc;

    sc->replies = arena_zalloc(sc->s->opt->arena, sc->n * sizeof *sc->replies);
    if (!sc->replies)
        return no_memory(err);
    sc->box = mailbox_new();
    for (size_t i = 0; i < sc->n; i++)
        if (!sc->parts[i].here)
            part_ask(sc, i);
    rc = collect(sc, err);
    mailbox_close(sc->box); /* peers that are still at it stop */
    for (size_t i = 0; i < sc->n; i++)
        if (sc->replies[i])
            mail_free(sc->replies[i]);
    return rc;
}

/* --- shards of an aggregation --- */

struct placed {
    const struct result_series *s;
    fingerprint fp; /* where the order of the source matters */
};

static int by_fingerprint(const void *a, const void *b)
{
    return u128_cmp(((const struct placed *)a)->fp, ((const struct placed *)b)->fp);
}

static int by_labels(const void *a, const void *b)
{
    return labels_cmp(&((const struct placed *)a)->s->labels, &((const struct placed *)b)->s->labels);
}

/* All rows of all parts, in one order whoever gave them: that of the source, or of the labels. */
static int gather_parts(struct scattering *sc, struct arena *a, struct query_result *ret, struct err *err)
{
    const struct query_result **parts = arena_array(a, sc->n, sizeof *parts);
    struct str tenant = sc->s->src->tenants[0];
    bool ordered = promql_part_keeps_series(sc->node);
    struct result_series *series;
    struct placed *v;
    size_t total = 0, n = 0;
    int rc;

    for (size_t i = 0; i < sc->n; i++)
        total += sc->parts[i].res.series_count;
    v = arena_array(a, total, sizeof *v);
    series = arena_array(a, total, sizeof *series);
    if (!parts || !v || !series)
        return no_memory(err);
    for (size_t i = 0; i < sc->n; i++) {
        struct query_result *res = &sc->parts[i].res;

        for (size_t k = 0; k < res->series_count; k++)
            v[n++] = (struct placed){&res->series[k], ordered ? labels_fingerprint(tenant, &res->series[k].labels) : (fingerprint){0}};
        parts[i] = res;
    }
    if (n > 1)
        qsort(v, n, sizeof *v, ordered ? by_fingerprint : by_labels);
    for (size_t i = 0; i < n; i++)
        series[i] = *v[i].s;
    for (size_t i = 0; i < sc->n; i++)
        sc->parts[i].res.series_count = 0;
    rc = query_results_join(parts, sc->n, a, ret, err); /* statistics and notes */
    if (rc < 0)
        return rc;
    ret->series = series;
    ret->series_count = n;
    ret->stats.series = 0;
    for (size_t i = 0; i < sc->n; i++)
        ret->stats.series += parts[i]->stats.series; /* each has its own; parts of a range have the same */
    return 0;
}

/* What the query has fetched, to be forgotten when parts of it turn out to be no use. */
struct spent {
    struct fetch_used used;
    struct fetch_day *days;
};

static size_t days_bytes(const struct source *src)
{
    return src->days ? MAX(src->limits.days, 1U) * sizeof *src->days : 0;
}

static bool spent_save(const struct source *src, struct arena *a, struct spent *ret)
{
    *ret = (struct spent){.used = src->used, .days = src->days ? arena_dup(a, src->days, days_bytes(src)) : NULL};
    return !src->days || ret->days;
}

static int give_up_parts(struct source *src, const struct spent *before)
{
    src->used = before->used;
    if (src->days)
        memcpy(src->days, before->days, days_bytes(src));
    return 0;
}

static int eval_shards(void *arg, const struct node *n, struct arena *a, struct query_result *ret, struct err *err)
{
    struct scatter *s = arg;
    struct scattering sc = {.s = s, .node = n, .shard_count = (uint32_t)s->peer_count, .n = s->peer_count};
    struct spent before = {0};
    int rc;

    if (promql_part_keeps_series(n) && s->src->tenant_count > 1)
        return 0; /* the order of the source is not that of one tenant's fingerprints */
    sc.parts = arena_zalloc(a, sc.n * sizeof *sc.parts);
    if (!sc.parts || !spent_save(s->src, a, &before))
        return no_memory(err);
    for (size_t i = 0; i < sc.n; i++)
        sc.parts[i] = (struct part){.here = i == 0, .peer = s->peers[i], .shard = (uint32_t)i, .start_ms = s->start_ms, .end_ms = s->end_ms};
    rc = scatter_parts(&sc, err);
    if (rc == RC_UNSUPPORTED)
        return give_up_parts(s->src, &before);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < sc.n; i++)
        if (n->agg.op == AGG_SUM && sc.parts[i].res.warning_count > 0)
            return give_up_parts(s->src, &before); /* a step where one part dropped a group of floats and histograms is not to be filled by another part's floats */
    rc = gather_parts(&sc, a, ret, err);
    return rc < 0 ? rc : 1;
}

/* --- parts of the range --- */

static size_t parts_of(const struct scatter *s, int64_t start_ms, int64_t end_ms)
{
    uint64_t length = (uint64_t)end_ms - (uint64_t)start_ms, split = (uint64_t)s->cfg->split_ms;

    if (s->cfg->split_ms <= 0 || s->opt->step_ms == 0 || s->opt->stats_per_step || length <= split || length / split >= SCATTER_PARTS_MAX)
        return 1;
    return (size_t)(length / split) + 1;
}

/* Parts begin at the first step at or behind multiples of the interval, so that they are the same for queries of other ranges. */
static int run_split(struct scatter *s, size_t n, int64_t start_ms, int64_t end_ms, struct query_result *ret, struct err *err)
{
    const struct query_result **results;
    struct scattering sc = {.s = s, .parts = arena_zalloc(s->opt->arena, (n + 1) * sizeof *sc.parts)};
    int64_t step = s->opt->step_ms;
    int rc;

    if (!sc.parts)
        return no_memory(err);
    for (int64_t from = start_ms; from <= end_ms;) {
        int64_t bound = (from / s->cfg->split_ms + 1) * s->cfg->split_ms, to = MIN(bound - 1, end_ms);
        int64_t last = from + (to - from) / step * step;

        ASSERT(sc.n <= n);
        sc.parts[sc.n] = (struct part){.here = sc.n % s->peer_count == 0, .peer = s->peers[sc.n % s->peer_count], .start_ms = from, .end_ms = last};
        sc.n++;
        from = last + step;
    }
    rc = scatter_parts(&sc, err);
    results = arena_array(s->opt->arena, sc.n, sizeof *results);
    if (rc == 0 && !results)
        rc = no_memory(err);
    for (size_t i = 0; i < sc.n && rc == 0; i++)
        results[i] = &sc.parts[i].res;
    return rc < 0 ? rc : query_results_join(results, sc.n, s->opt->arena, ret, err);
}

/* --- deciding --- */

/* Samples of blocks that the query may touch, replicas counted once. */
static uint64_t block_samples(const struct scatter *s, int64_t mint_ms, int64_t maxt_ms)
{
    uint64_t merged = 0, level0 = 0;
    struct blocks_view *v;

    for (size_t t = 0; t < s->src->tenant_count; t++) {
        if (blocks_view(s->src->env->blocks, s->src->tenants[t], BLOCKS_VIEW_AGE_MS, &v, NULL) < 0)
            continue;
        for (size_t i = 0; i < v->n; i++)
            if (v->v[i].mint_ms <= maxt_ms && v->v[i].maxt_ms >= mint_ms)
                *(v->v[i].level ? &merged : &level0) += v->v[i].samples;
        blocks_view_unref(v);
    }
    return merged + level0 / (uint64_t)MAX(ring_rf(s->ring), 1);
}

static void find_peers(struct scatter *s)
{
    uint16_t self = ring_self(s->ring);
    size_t max = (size_t)MIN(s->cfg->shards_max, (int64_t)SCATTER_PEERS_MAX);

    if (self == RING_NOBODY)
        return;
    s->peers[0] = self;
    for (size_t i = 0; i < ring_instances_n(s->ring) && s->peer_count < max; i++) {
        const struct ring_instance *in = ring_instance(s->ring, (uint16_t)i);

        if (i != self && (in->roles & RING_QUERIER) && in->state == RING_ACTIVE && in->health == RING_ALIVE)
            s->peers[s->peer_count++] = (uint16_t)i;
    }
}

void scatter_init(struct scatter *s, const struct scatter_cfg *cfg, const struct query_opt *opt, struct source *src, struct promql_ast *ast)
{
    *s = (struct scatter){.cfg = cfg, .opt = opt, .src = src, .ast = ast, .peer_count = 1};
    s->remote = (struct query_remote){eval_shards, s};
    if (cfg->shards_max <= 1)
        return;
    s->ring = src->env->ring(src->env->ring_arg);
    if (s->ring)
        find_peers(s);
    if (s->peer_count > 1 && block_samples(s, opt->start_ms - FETCH_DAY_MS, opt->end_ms) < (uint64_t)cfg->samples_min)
        s->peer_count = 1;
}

void scatter_fini(struct scatter *s)
{
    ring_unref(s->ring);
    s->ring = NULL;
}

int scatter_run(void *scatter, int64_t start_ms, int64_t end_ms, struct query_result *ret, struct err *err)
{
    struct scatter *s = scatter;
    struct query_opt opt = *s->opt;
    size_t n = s->peer_count > 1 && promql_steps_independent(s->ast->root) ? parts_of(s, start_ms, end_ms) : 1;

    if (n > 1)
        return run_split(s, n, start_ms, end_ms, ret, err);
    s->start_ms = start_ms;
    s->end_ms = end_ms;
    opt.start_ms = start_ms;
    opt.end_ms = end_ms;
    opt.remote = s->peer_count > 1 ? &s->remote : NULL;
    return query_run(s->ast, &s->src->base, &opt, ret, err);
}
