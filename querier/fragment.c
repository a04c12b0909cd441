#include "querier/fragment.h"

#include "common/wire/pb_arena.h"

static int no_memory(struct err *err)
{
    return err_set(err, RC_NOMEM, "query processing would load too many bytes into memory in a fragment of the query");
}

/* --- series --- */

size_t fragment_steps(int64_t start_ms, int64_t end_ms, int64_t step_ms)
{
    return step_ms > 0 && end_ms >= start_ms ? (size_t)((uint64_t)(end_ms - start_ms) / (uint64_t)step_ms) + 1 : 1;
}

static size_t step_of(int64_t t, int64_t start_ms, int64_t step_ms)
{
    return step_ms > 0 ? (size_t)((t - start_ms) / step_ms) : 0;
}

static bool has_histograms(const struct result_series *s)
{
    for (size_t i = 0; i < s->n; i++)
        if (s->s[i].h)
            return true;
    return false;
}

static void set_bit(uint8_t *bits, size_t i)
{
    bits[i / 8] |= (uint8_t)(1U << (i % 8));
}

static bool get_bit(struct str bits, size_t i)
{
    return (uint8_t)bits.p[i / 8] >> (i % 8) & 1;
}

static void encode_one(struct buf *out, const struct result_series *s, int64_t start_ms, int64_t step_ms, size_t steps)
{
    bool hists = has_histograms(s);
    uint8_t *bits;

    labels_encode(out, &s->labels);
    buf_u8(out, (uint8_t)((s->drop_name ? FRAGMENT_DROP_NAME : 0) | (s->count ? FRAGMENT_COUNT : 0) | (hists ? FRAGMENT_HISTOGRAMS : 0)));
    buf_uvarint(out, s->n);
    if (s->n < steps) {
        bits = buf_space(out, (steps + 7) / 8);
        for (size_t i = 0; bits && i < s->n; i++)
            set_bit(bits, step_of(s->s[i].t, start_ms, step_ms));
    }
    if (hists) {
        bits = buf_space(out, (s->n + 7) / 8);
        for (size_t i = 0; bits && i < s->n; i++)
            if (s->s[i].h)
                set_bit(bits, i);
    }
    for (size_t i = 0; i < s->n && buf_ok(out); i++)
        if (s->s[i].h)
            histogram_encode(out, s->s[i].h);
        else
            buf_u64(out, double_bits(s->s[i].v));
}

void fragment_series_encode(struct buf *out, const struct query_result *res, int64_t start_ms, int64_t step_ms, size_t steps)
{
    buf_u8(out, FRAGMENT_VERSION);
    buf_uvarint(out, res->series_count);
    for (size_t i = 0; i < res->series_count && buf_ok(out); i++)
        encode_one(out, &res->series[i], start_ms, step_ms, steps);
}

static int decode_point(struct rd *r, bool hist, struct arena *a, struct result_sample *p, struct err *err)
{
    struct histogram *h;
    int rc;

    if (!hist) {
        p->v = bits_double(rd_u64(r));
        return 0;
    }
    h = arena_alloc(a, sizeof *h);
    if (!h)
        return no_memory(err);
    rc = histogram_decode(r, a, h, err);
    CORRUPT_UNLESS(rc < 0 || h->is_float, err);
    p->h = h;
    return rc;
}

static int decode_one(struct rd *r, int64_t start_ms, int64_t step_ms, size_t steps, struct arena *a, struct result_series *ret, struct err *err)
{
    struct result_series s = {0};
    struct str present = {0}, hists = {0};
    uint8_t flags;
    uint64_t n;
    int rc = labels_decode(r, a, &s.labels, err);

    if (rc < 0)
        return rc;
    flags = rd_u8(r);
    n = rd_uvarint(r);
    CORRUPT_UNLESS(rd_ok(r) && n >= 1 && n <= steps && n <= rd_left(r) && flags < 2 * FRAGMENT_HISTOGRAMS, err);
    if (n < steps)
        present = rd_str(r, (steps + 7) / 8);
    if (flags & FRAGMENT_HISTOGRAMS)
        hists = rd_str(r, (n + 7) / 8);
    CORRUPT_UNLESS(rd_ok(r) && n <= rd_left(r), err);
    s.drop_name = flags & FRAGMENT_DROP_NAME;
    s.count = flags & FRAGMENT_COUNT;
    s.s = arena_array(a, n, sizeof *s.s);
    if (!s.s)
        return no_memory(err);
    for (size_t i = 0; i < steps && s.n < n; i++) {
        if (n < steps && !get_bit(present, i))
            continue;
        s.s[s.n] = (struct result_sample){.t = start_ms + (int64_t)i * step_ms};
        rc = decode_point(r, hists.n && get_bit(hists, s.n), a, &s.s[s.n], err);
        if (rc < 0)
            return rc;
        s.n++;
    }
    CORRUPT_UNLESS(rd_ok(r) && s.n == n, err);
    *ret = s;
    return 0;
}

int fragment_series_decode(struct str bytes, int64_t start_ms, int64_t step_ms, size_t steps, struct arena *a, struct query_result *ret, struct err *err)
{
    struct query_result out = {.type = VALUE_MATRIX};
    struct rd r = rd_of(bytes);
    uint8_t version = rd_u8(&r);
    uint64_t n = rd_uvarint(&r);

    CORRUPT_UNLESS(rd_ok(&r), err);
    if (version != FRAGMENT_VERSION)
        return err_set(err, RC_VERSION, "fragment version %u, this binary reads %d", version, FRAGMENT_VERSION);
    CORRUPT_UNLESS(n <= rd_left(&r), err);
    out.series = arena_array(a, n, sizeof *out.series);
    if (!out.series)
        return no_memory(err);
    while (out.series_count < n) {
        int rc = decode_one(&r, start_ms, step_ms, steps, a, &out.series[out.series_count], err);

        if (rc < 0)
            return rc;
        out.series_count++;
    }
    CORRUPT_UNLESS(rd_done(&r), err);
    *ret = out;
    return 0;
}

/* --- evaluating --- */

enum { ANSWER_BYTES_MAX = RPC_MESSAGE_BYTES_MAX - (64 << 10), SERIES_BYTES = 100 /* labels, about */ };

void fragment_part(const struct node *n, struct promql_ast *ast, struct query_opt *opt)
{
    ast->root = (struct node *)(uintptr_t)promql_part(n);
    opt->partial = true;
}

/* The aggregation that stands there. */
static struct node *node_at(struct node *n, uint32_t start, uint32_t end)
{
    struct node *found = NULL;

    if (n->type == NODE_AGGREGATE && n->pos.start == start && n->pos.end == end)
        return n;
    switch (n->type) {
    case NODE_PAREN:
        return node_at(n->paren, start, end);
    case NODE_UNARY:
        return node_at(n->unary.expr, start, end);
    case NODE_BINARY:
        found = node_at(n->binary.lhs, start, end);
        return found ? found : node_at(n->binary.rhs, start, end);
    case NODE_AGGREGATE:
        return node_at(n->agg.expr, start, end);
    case NODE_CALL:
        for (size_t i = 0; i < n->call.arg_count && !found; i++)
            found = node_at(n->call.args[i], start, end);
        return found;
    default:
        return NULL;
    }
}

static int request_check(const Torc__Wire__FragmentRequest *m, struct err *err)
{
    if (m->version != FRAGMENT_VERSION)
        return err_set(err, RC_VERSION, "fragment version %u, this binary reads %d", m->version, FRAGMENT_VERSION);
    CORRUPT_UNLESS(m->n_tenants >= 1 && m->n_tenants <= TENANT_FEDERATION_MAX && m->start_ms <= m->end_ms && m->step_ms <= INT64_MAX &&
                       (m->step_ms > 0 || m->start_ms == m->end_ms) && m->shard_count <= 4096 && m->shard < MAX(m->shard_count, 1U) &&
                       (uint64_t)m->end_ms - (uint64_t)m->start_ms <= INT64_MAX,
                   err);
    CORRUPT_UNLESS(fragment_steps(m->start_ms, m->end_ms, (int64_t)m->step_ms) <= FRAGMENT_STEPS_MAX, err);
    return 0;
}

static int tenants_of(const Torc__Wire__FragmentRequest *m, struct str *ret, struct err *err)
{
    for (size_t i = 0; i < m->n_tenants; i++) {
        int rc = tenant_id_check(pb_str(m->tenants[i]), err);

        if (rc < 0)
            return rc;
        ret[i] = pb_str(m->tenants[i]);
    }
    return 0;
}

/* The query becomes the part of its aggregation that is asked for. */
static int take_part(struct promql_ast *ast, const Torc__Wire__FragmentRequest *m, struct query_opt *opt, struct err *err)
{
    struct node *n = node_at(ast->root, m->node_start, m->node_end);

    if (!n || !promql_shardable(n))
        return err_set(err, RC_CORRUPT, "the fragment names no aggregation of its query that has parts");
    fragment_part(n, ast, opt);
    if (promql_part_keeps_series(n)) /* what would not fit is not begun */
        opt->series_max = ANSWER_BYTES_MAX / (SERIES_BYTES + 8 * fragment_steps(m->start_ms, m->end_ms, (int64_t)m->step_ms)) + 1;
    return 0;
}

static int evaluate(const struct fragment_env *env, const Torc__Wire__FragmentRequest *m, struct arena *a, const atomic_bool *cancel,
                    struct query_result *ret, struct fetch_used *used, struct err *err)
{
    struct query_opt opt = {
        .start_ms = m->start_ms,
        .end_ms = m->end_ms,
        .step_ms = (int64_t)m->step_ms,
        .lookback_ms = (int64_t)m->lookback_ms,
        .samples_max = (size_t)m->samples_max,
        .read_max = m->samples_max,
        .samples_rule = "max_query_samples",
        .delayed_name_removal = true,
        .cancel = cancel,
        .arena = a,
        .helpers = env->helpers,
        .deadline_mono_ns = clock_mono_ns(env->source->clock) + (int64_t)MIN(m->timeout_ms, 86400000ull) * 1000000,
    };
    struct str tenants[TENANT_FEDERATION_MAX];
    struct promql_ast ast = {0};
    struct source src;
    int rc = tenants_of(m, tenants, err);

    if (rc == 0)
        rc = promql_parse(pb_str(m->text), &promql_parse_all, a, &ast, err);
    if (rc < 0)
        return rc;
    if (m->node_end > 0)
        rc = take_part(&ast, m, &opt, err);
    if (rc == 0) {
        source_init(&src, env->source, tenants, m->n_tenants, opt.deadline_mono_ns, cancel);
        src.mint_floor_ms = m->mint_floor_ms;
        src.limits = (struct fetch_limits){.series_max = m->series_max, .chunks_max = m->chunks_max, .bytes_max = m->bytes_max};
        src.shard = m->shard;
        src.shard_count = m->shard_count;
        rc = query_run(&ast, &src.base, &opt, ret, err);
        *used = src.used;
    }
    promql_ast_fini(&ast);
    return rc;
}

static ProtobufCBinaryData *texts(struct arena *a, const char *const *v, size_t n)
{
    ProtobufCBinaryData *out = arena_array(a, n, sizeof *out);

    for (size_t i = 0; out && i < n; i++)
        out[i] = pb_bytes(str_of(v[i]));
    return out;
}

static int answer(const Torc__Wire__FragmentRequest *m, const struct query_result *res, const struct fetch_used *used, struct arena *a, struct buf *out,
                  struct err *err)
{
    Torc__Wire__FragmentResponse r = TORC__WIRE__FRAGMENT_RESPONSE__INIT;
    struct buf series;
    bool fits;

    buf_init(&series, ANSWER_BYTES_MAX);
    fragment_series_encode(&series, res, m->start_ms, (int64_t)m->step_ms, fragment_steps(m->start_ms, m->end_ms, (int64_t)m->step_ms));
    r.version = FRAGMENT_VERSION;
    r.series = pb_bytes(buf_view(&series));
    r.warnings = texts(a, res->warnings, res->warning_count);
    r.n_warnings = r.warnings ? res->warning_count : 0;
    r.infos = texts(a, res->infos, res->info_count);
    r.n_infos = r.infos ? res->info_count : 0;
    r.samples_total = res->stats.samples_total;
    r.samples_read = res->stats.samples_read;
    r.samples_peak = res->stats.peak_samples;
    r.selected = res->stats.series;
    r.fetched_series = used->series;
    r.fetched_chunks = used->chunks;
    r.fetched_bytes = used->bytes;
    fits = buf_ok(&series) && pb_pack(&r.base, out);
    buf_fini(&series);
    return fits ? 0 : err_set(err, RC_LIMIT, "a fragment's answer is larger than %d bytes", RPC_MESSAGE_BYTES_MAX);
}

int fragment_answer(const struct fragment_env *env, struct str request, const atomic_bool *cancel, struct buf *out, struct fetch_used *ret_used, struct err *err)
{
    Torc__Wire__FragmentRequest *m;
    struct query_result res;
    struct arena head, a;
    int rc;

    *ret_used = (struct fetch_used){0};
    arena_init(&head, RPC_MESSAGE_BYTES_MAX * 4UL);
    m = torc__wire__fragment_request__unpack(pb_arena_allocator(&head), request.n, (const uint8_t *)request.p);
    rc = m ? request_check(m, err) : err_set(err, RC_CORRUPT, "the fragment request does not decode");
    if (rc == 0) {
        arena_init(&a, m->memory_max ? (size_t)m->memory_max : SIZE_MAX / 2);
        rc = evaluate(env, m, &a, cancel, &res, ret_used, err);
        if (rc == 0)
            rc = answer(m, &res, ret_used, &a, out, err);
        arena_fini(&a);
    }
    arena_fini(&head);
    return rc;
}
