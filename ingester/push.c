#include "ingester/push.h"

#include <stdlib.h>

enum { PUSH_ARENA_MAX = 64 << 20, JOB_BYTES = 1024 /* of a job besides its rows */ };

struct push_call;

/* What one shard has to do. */
struct push_part {
    struct shard_job job;
    struct push_call *call;
    uint32_t *rows;      /* indices of float rows */
    uint32_t row_count;
    uint32_t *histograms;
    uint32_t histogram_count;
    uint64_t accepted;
    bool collided;       /* labels came along that are not those of a fingerprint's series */
    bool undone;         /* nobody waited for it any more, or the log has no room */
};

/* Series of one metric name: those in the heads when this push first looked, and those that it made since. */
struct metric_count {
    UT_hash_handle hh; /* by the name, which is borrowed from the request */
    uint64_t before, made;
};

struct push_series {
    fingerprint fp;
    struct labels labels;
    struct str row;       /* as it came, which is as it goes into the log */
    struct str refused;   /* text, when limits refuse it */
    struct metric_count *metric; /* of its name, when that is limited; else NULL */
    uint8_t verdict;
};
struct push_histogram {
    fingerprint fp;
    int64_t t, st;
    struct histogram h;
};

struct push_call {
    struct rpc_call *rpc;
    struct ingester *in;
    struct ingester_tenant *tenant;
    struct ingester_limits limits;
    struct arena arena;          /* RPC thread before the parts run; then under refusals_lock */
    struct push_view view;
    struct head_gap gap;         /* with PUSH_STANDBY */
    struct push_series *series;  /* in the order of the message */
    _Atomic(uint32_t *) by_fp;   /* series in the order of their fingerprints; NULL: nobody asked yet */
    struct push_histogram *histograms;
    uint8_t *verdicts;           /* each shard writes its own rows */
    _Atomic uint32_t pending;
    _Atomic uint64_t accepted;
    _Atomic bool failed;         /* some part's log did */
    int64_t began_ns;
    uint64_t judged_version;     /* of the ring that says which rows are ours */
    struct mutex refusals_lock;  /* --- guards all below, and the arena; taken inside a head's lock --- */
    struct metric_count *metrics;
    struct push_refusal refusals[PUSH_REFUSALS_MAX];
    size_t refusal_count;
    struct push_part parts[];
};

static uint32_t shard_of(const struct ingester *in, fingerprint fp)
{
    return ingester_shard_of(in, fp);
}

static void call_free(struct push_call *c)
{
    struct metric_count *m, *tmp;

    HASH_ITER(hh, c->metrics, m, tmp) {
        HASH_DEL(c->metrics, m);
        free(m);
    }
    mutex_fini(&c->refusals_lock);
    arena_fini(&c->arena);
    free(c);
}

static void answer(struct push_call *c)
{
    struct push_answer an = {
        .head_id = c->in->head_id,
        .ring_version = ingester_ring_version(c->in),
        .refusals = c->refusals,
        .refusal_count = c->refusal_count,
    };
    size_t n = c->view.rows + c->view.histogram_rows;
    struct buf out;
    struct err err;

    for (size_t i = 0; i < n; i++) {
        if (c->verdicts[i] != PUSH_ACCEPTED) {
            an.verdicts = c->verdicts;
            an.verdict_count = n;
            break;
        }
    }
    ingester_count_push(c->in, c->tenant, atomic_load(&c->accepted), c->verdicts, n);
    buf_init(&out, RPC_MESSAGE_BYTES_MAX);
    if (n == 0 && atomic_load(&c->failed)) {
        err_set(&err, RC_UNAVAILABLE, "metadata could not be logged in time");
        rpc_reply_err(c->rpc, &err);
    } else if (push_answer_encode(&an, &out, &err) == 0)
        rpc_reply_buf(c->rpc, RC_OK, &out);
    else
        rpc_reply_err(c->rpc, &err);
    buf_fini(&out);
    call_free(c);
}

static void finish_part(struct push_call *c)
{
    if (atomic_fetch_sub(&c->pending, 1) == 1)
        answer(c);
}

static void refuse_text(struct push_call *c, uint32_t row, const char *text)
{
    mutex_lock(&c->refusals_lock);
    if (c->refusal_count < PUSH_REFUSALS_MAX) {
        struct str kept = arena_str(&c->arena, str_of(text));

        if (kept.p)
            c->refusals[c->refusal_count++] = (struct push_refusal){row, kept};
    }
    mutex_unlock(&c->refusals_lock);
}

/* --- whose rows they are --- */

static fingerprint row_fp(const struct push_call *c, uint32_t row)
{
    return push_fp(c->view.fps + (size_t)row * 16);
}

static fingerprint any_fp(const struct push_call *c, uint32_t row)
{
    return row < c->view.rows ? row_fp(c, row) : c->histograms[row - c->view.rows].fp;
}

static bool is_ours(const struct push_call *c, const struct ownership *own, fingerprint fp)
{
    return ownership_takes(own, fp, c->view.header.ring_version);
}

/* Rows of ranges that are not ours (any more, or yet) are answered `moved`, whatever the head holds. */
static void mark_moved(struct push_call *c, uint32_t rows)
{
    fingerprint last = {0, 0};
    struct ownership own;
    bool ours = true;

    ownership_take(c->in, &own);
    c->judged_version = own.ring ? ring_epoch(own.ring) : 0;
    for (uint32_t i = 0; i < rows && !own.all; i++) {
        fingerprint fp = any_fp(c, i);

        if (i == 0 || !u128_eq(fp, last))
            ours = is_ours(c, &own, fp);
        last = fp;
        if (!ours)
            c->verdicts[i] = PUSH_MOVED;
    }
    for (uint32_t i = 0; i < c->view.series_rows && !own.all; i++)
        if (!is_ours(c, &own, c->series[i].fp))
            c->series[i].verdict = PUSH_MOVED;
    ownership_drop(&own);
}

/* The ring has changed while the push waited. Head locked: whoever compares this head at the new version looks after this push, or this push is judged by
 * that version. */
static void mark_moved_since(struct push_part *p, const struct shard *s)
{
    struct push_call *c = p->call;
    struct ownership own;

    if (LIKELY(ingester_ring_version(c->in) == c->judged_version))
        return;
    ownership_take(c->in, &own);
    for (uint32_t i = 0; i < p->row_count && !own.all; i++)
        if (!is_ours(c, &own, row_fp(c, p->rows[i])))
            c->verdicts[p->rows[i]] = PUSH_MOVED;
    for (uint32_t i = 0; i < p->histogram_count && !own.all; i++)
        if (!is_ours(c, &own, c->histograms[p->histograms[i]].fp))
            c->verdicts[c->view.rows + p->histograms[i]] = PUSH_MOVED;
    for (uint32_t i = 0; i < c->view.series_rows && !own.all; i++)
        if (ingester_shard(c->in, shard_of(c->in, c->series[i].fp)) == s && !is_ours(c, &own, c->series[i].fp))
            c->series[i].verdict = PUSH_MOVED;
    ownership_drop(&own);
}

/* --- judging, on the shard's thread, head locked --- */

static int64_t row_t(const struct push_call *c, uint32_t row)
{
    return c->view.base_ms + le_get32(c->view.offsets + (size_t)row * 4);
}

static int by_fp(const void *a, const void *b, void *series)
{
    const struct push_series *v = series;

    return u128_cmp(v[*(const uint32_t *)a].fp, v[*(const uint32_t *)b].fp);
}

/* Only rows without a series ask. NULL: no memory. */
static const uint32_t *series_order(struct push_call *c)
{
    uint32_t *order = atomic_load(&c->by_fp);

    if (LIKELY(order))
        return order;
    mutex_lock(&c->refusals_lock);
    order = atomic_load(&c->by_fp);
    if (!order)
        order = arena_array(&c->arena, c->view.series_rows, sizeof *order);
    if (order && !atomic_load(&c->by_fp)) {
        for (uint32_t i = 0; i < c->view.series_rows; i++)
            order[i] = i;
        qsort_r(order, c->view.series_rows, sizeof *order, by_fp, c->series);
        atomic_store(&c->by_fp, order);
    }
    mutex_unlock(&c->refusals_lock);
    return order;
}

static struct push_series *series_given(struct push_call *c, fingerprint fp)
{
    const uint32_t *order = series_order(c);
    uint32_t lo = 0, hi = order ? c->view.series_rows : 0;

    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;

        if (u128_cmp(c->series[order[mid]].fp, fp) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return order && lo < c->view.series_rows && u128_eq(c->series[order[lo]].fp, fp) ? &c->series[order[lo]] : NULL;
}

/* Before the head is locked: counting takes the locks of all heads. The name's count is taken before this push makes a series of that name anywhere. */
static struct metric_count *metric_of(struct push_call *c, const struct push_series *ps)
{
    struct str name = labels_get(&ps->labels, STR(LABEL_METRIC_NAME));
    struct metric_count *found, *m;

    if (!name.p)
        return NULL;
    mutex_lock(&c->refusals_lock);
    HASH_FIND(hh, c->metrics, name.p, name.n, found);
    mutex_unlock(&c->refusals_lock);
    if (found)
        return found;
    m = xcalloc(1, sizeof *m);
    m->before = ingester_metric_series(c->in, c->tenant, &ps->labels);
    mutex_lock(&c->refusals_lock);
    HASH_FIND(hh, c->metrics, name.p, name.n, found);
    if (found) {
        free(m);
        m = found;
    } else {
        HASH_ADD_KEYPTR(hh, c->metrics, name.p, name.n, m);
    }
    mutex_unlock(&c->refusals_lock);
    return m;
}

static void count_metrics(struct push_call *c, const struct shard *s)
{
    for (uint32_t i = 0; i < c->view.series_rows; i++)
        if (ingester_shard(c->in, shard_of(c->in, c->series[i].fp)) == s)
            c->series[i].metric = metric_of(c, &c->series[i]);
}

static uint64_t metric_take(struct push_call *c, struct metric_count *m)
{
    uint64_t n = 0;

    if (!m)
        return 0;
    mutex_lock(&c->refusals_lock);
    n = m->before + m->made++;
    mutex_unlock(&c->refusals_lock);
    return n;
}

static void metric_give_back(struct push_call *c, struct metric_count *m)
{
    if (!m)
        return;
    mutex_lock(&c->refusals_lock);
    m->made--;
    mutex_unlock(&c->refusals_lock);
}

/* A series whose labels came along; true when the head has it since now. */
static bool create_one(struct push_part *p, struct head *h, struct push_series *ps)
{
    struct push_call *c = p->call;
    struct str tenant = c->view.header.tenant;
    struct head_series *hs = head_find(h, tenant, ps->fp);
    struct err err;

    if (hs && head_labels_equal(h, hs, &ps->labels))
        return false;
    if (hs) {
        ps->verdict = PUSH_REFUSED + DISCARD_FINGERPRINT_COLLISION;
        ps->refused = STR("another series with the same fingerprint is stored (fingerprint_collision)");
        p->collided = true;
        return false;
    }
    ps->verdict = ingester_judge_series(c->tenant, &c->limits, &ps->labels, metric_take(c, ps->metric), &err);
    if (ps->verdict != PUSH_ACCEPTED) {
        metric_give_back(c, ps->metric);
        mutex_lock(&c->refusals_lock);
        ps->refused = arena_str(&c->arena, str_of(err.text));
        mutex_unlock(&c->refusals_lock);
        return false;
    }
    if (head_create(h, tenant, ps->fp, &ps->labels, &hs, &err) < 0) {
        ps->verdict = PUSH_RETRY;
        metric_give_back(c, ps->metric);
        ingester_series_undo(c->tenant);
        return false;
    }
    return true;
}

/* Series of this shard whose labels came along and that the head does not have. */
static void create_series(struct push_part *p, struct shard *s, struct buf *new_series, uint32_t *ret_new)
{
    struct head_series *known[HEAD_FIND_GROUP];
    struct push_series *group[HEAD_FIND_GROUP];
    fingerprint fps[HEAD_FIND_GROUP];
    struct push_call *c = p->call;
    struct head *h = shard_head(s);

    for (uint32_t i = 0; i < c->view.series_rows;) {
        uint32_t n = 0;

        for (; i < c->view.series_rows && n < HEAD_FIND_GROUP; i++) {
            struct push_series *ps = &c->series[i];

            if (ingester_shard(c->in, shard_of(c->in, ps->fp)) != s || ps->verdict == PUSH_MOVED)
                continue;
            fps[n] = ps->fp;
            group[n++] = ps;
        }
        head_find_many(h, c->view.header.tenant, fps, n, known); /* for the cache */
        for (uint32_t k = 0; k < n; k++) {
            if (create_one(p, h, group[k])) {
                buf_str(new_series, group[k]->row);
                ++*ret_new;
            }
        }
    }
}

/* The head has another series in this one's place. */
static bool collides(const struct push_part *p, fingerprint fp)
{
    const struct push_series *ps = UNLIKELY(p->collided) ? series_given(p->call, fp) : NULL;

    return ps && ps->verdict == PUSH_REFUSED + DISCARD_FINGERPRINT_COLLISION;
}

/* NULL when the head does not have it, or has another one in its place. */
static struct head_series *find_series(const struct push_part *p, struct head *h, fingerprint fp)
{
    return collides(p, fp) ? NULL : head_find(h, p->call->view.header.tenant, fp);
}

/* Verdict for a row whose series the head does not have. */
static uint8_t unknown_verdict(struct push_call *c, fingerprint fp, uint32_t row)
{
    struct push_series *ps = c->view.series_rows ? series_given(c, fp) : NULL;
    char text[ERR_TEXT_MAX];

    if (!ps || ps->verdict == PUSH_ACCEPTED)
        return PUSH_UNKNOWN;
    if (ps->verdict >= PUSH_REFUSED && ps->refused.p) {
        snprintf(text, sizeof text, "%.*s", STR_FMT(ps->refused));
        refuse_text(c, row, text);
    }
    return ps->verdict;
}

static uint8_t verdict_of(enum append_verdict v)
{
    switch (v) {
    case APPEND_ACCEPTED:
        return PUSH_ACCEPTED;
    case APPEND_DUPLICATE:
        return PUSH_DUPLICATE;
    case APPEND_NEW_VALUE:
        return PUSH_REFUSED + DISCARD_NEW_VALUE_FOR_TIMESTAMP;
    case APPEND_TOO_MANY_LATE:
        return PUSH_REFUSED + DISCARD_RATE_LIMITED;
    default:
        return PUSH_REFUSED + DISCARD_SAMPLE_OUT_OF_ORDER;
    }
}

static bool refusals_full(struct push_call *c)
{
    bool full;

    mutex_lock(&c->refusals_lock);
    full = c->refusal_count >= PUSH_REFUSALS_MAX;
    mutex_unlock(&c->refusals_lock);
    return full;
}

static void explain(struct push_call *c, struct head *h, struct head_series *hs, uint32_t row, int64_t t, uint64_t vbits,
                    enum append_verdict v)
{
    char text[ERR_TEXT_MAX];

    if (refusals_full(c))
        return;
    ingester_explain_sample(h, hs, t, vbits, v, &c->limits, text, sizeof text);
    refuse_text(c, row, text);
}

struct judged {
    int64_t t_max;
    uint32_t accepted;
};

/* Rows in a group are looked up together, which hides the cache misses (head_find_many). Samples of one series stand together: one look-up for the run. */
struct lookup {
    fingerprint fps[HEAD_FIND_GROUP];
    struct head_series *series[HEAD_FIND_GROUP];
    uint32_t first[HEAD_FIND_GROUP + 1]; /* run k is rows [first[k], first[k + 1]) of the part */
    uint32_t runs;
};

static uint32_t lookup_fill(struct push_part *p, struct head *h, uint32_t from, struct lookup *l)
{
    struct push_call *c = p->call;
    uint32_t i = from;

    l->runs = 0;
    while (i < p->row_count && l->runs < HEAD_FIND_GROUP) {
        fingerprint fp = row_fp(c, p->rows[i]);

        l->fps[l->runs] = fp;
        l->first[l->runs++] = i;
        while (i < p->row_count && u128_eq(row_fp(c, p->rows[i]), fp))
            i++;
    }
    l->first[l->runs] = i;
    head_find_many(h, c->view.header.tenant, l->fps, l->runs, l->series);
    for (uint32_t k = 0; k < l->runs; k++)
        if (collides(p, l->fps[k]))
            l->series[k] = NULL;
    return i;
}

static bool late_ok(void *arg)
{
    struct push_call *c = arg;

    return ingester_late_take(c->in, c->tenant, &c->limits);
}

static struct append_rules rules_of(struct push_call *c)
{
    return (struct append_rules){
        .ooo_window_ms = c->limits.ooo_window_ms,
        .late = late_ok,
        .late_arg = c,
        .gap = c->view.header.flags & PUSH_STANDBY ? &c->gap : NULL,
    };
}

static void judge_row(struct push_call *c, struct head *h, struct head_series *hs, fingerprint fp, uint32_t row, struct judged *j)
{
    struct append_rules rules = rules_of(c);
    int64_t t = row_t(c, row);
    uint64_t vbits = le_get64(c->view.values + (size_t)row * 8);
    int64_t st = c->view.starts ? (int64_t)le_get64(c->view.starts + (size_t)row * 8) : 0;
    enum append_verdict v;

    if (UNLIKELY(c->verdicts[row] == PUSH_MOVED))
        return;
    if (UNLIKELY(!hs)) {
        c->verdicts[row] = unknown_verdict(c, fp, row);
        return;
    }
    v = head_append(h, hs, t, vbits, st, &rules);
    c->verdicts[row] = verdict_of(v);
    if (LIKELY(v == APPEND_ACCEPTED)) {
        j->accepted++;
        j->t_max = MAX(j->t_max, t);
    } else if (v != APPEND_DUPLICATE) {
        explain(c, h, hs, row, t, vbits, v);
    }
}

static void judge_floats(struct push_part *p, struct head *h, struct judged *j)
{
    struct lookup l;
    uint32_t at = 0;

    while (at < p->row_count) {
        at = lookup_fill(p, h, at, &l);
        for (uint32_t k = 0; k < l.runs; k++)
            for (uint32_t i = l.first[k]; i < l.first[k + 1]; i++)
                judge_row(p->call, h, l.series[k], l.fps[k], p->rows[i], j);
    }
}

static void judge_histograms(struct push_part *p, struct head *h, struct buf *log, uint32_t *ret_logged, struct judged *j)
{
    struct push_call *c = p->call;
    struct append_rules rules = rules_of(c);

    for (uint32_t i = 0; i < p->histogram_count; i++) {
        struct push_histogram *ph = &c->histograms[p->histograms[i]];
        uint32_t row = c->view.rows + p->histograms[i];
        struct head_series *hs = find_series(p, h, ph->fp);
        enum append_verdict v;

        if (c->verdicts[row] == PUSH_MOVED)
            continue;
        if (!hs) {
            c->verdicts[row] = unknown_verdict(c, ph->fp, row);
            continue;
        }
        v = head_append_histogram(h, hs, ph->t, &ph->h, ph->st, &rules);
        c->verdicts[row] = verdict_of(v);
        if (v == APPEND_ACCEPTED) {
            j->accepted++;
            j->t_max = MAX(j->t_max, ph->t);
            wal_histogram_add(log, ph->fp, ph->t, ph->st, &ph->h);
            ++*ret_logged;
        } else if (v != APPEND_DUPLICATE) {
            explain(c, h, hs, row, ph->t, 0, v);
        }
    }
}

/* --- logging --- */

/* The shard's rows as columns of their own; the request's columns themselves when they are all this shard's. */
static bool samples_columns(struct push_part *p, struct buf *scratch, struct wal_samples *ret)
{
    struct push_call *c = p->call;
    size_t n = p->row_count;
    uint8_t *fps, *offsets, *values, *starts, *accepted;

    buf_clear(scratch);
    fps = buf_space(scratch, n * (16 + 4 + 8 + (c->view.starts ? 8 : 0)) + (n + 7) / 8);
    if (!fps)
        return false;
    offsets = fps + n * 16;
    values = offsets + n * 4;
    starts = values + n * 8;
    accepted = c->view.starts ? starts + n * 8 : starts;
    for (size_t i = 0; i < n; i++) {
        size_t row = p->rows[i];

        memcpy(fps + i * 16, c->view.fps + row * 16, 16);
        memcpy(offsets + i * 4, c->view.offsets + row * 4, 4);
        memcpy(values + i * 8, c->view.values + row * 8, 8);
        if (c->view.starts)
            memcpy(starts + i * 8, c->view.starts + row * 8, 8);
        if (c->verdicts[row] == PUSH_ACCEPTED)
            accepted[i / 8] |= (uint8_t)(1u << (i % 8));
    }
    *ret = (struct wal_samples){
        .tenant = c->view.header.tenant,
        .n = (uint32_t)n,
        .fps = fps,
        .offsets = offsets,
        .values = values,
        .starts = c->view.starts ? starts : NULL,
        .accepted = accepted,
        .base_ms = c->view.base_ms,
    };
    return true;
}

static void log_samples(struct push_part *p, struct shard *s, int64_t t_max)
{
    struct str parts[WAL_SAMPLES_PARTS];
    uint8_t front[WAL_SAMPLES_HEAD];
    struct wal_samples ws;

    if (!samples_columns(p, shard_scratch(s), &ws)) {
        struct err err;

        err_set(&err, RC_NOMEM, "no memory for a log record of %u rows", p->row_count);
        shard_kill(s, &err);
        return;
    }
    shard_log(s, WAL_SAMPLES, parts, wal_samples_parts(&ws, front, parts), t_max);
}

/* Exemplars of this shard's series: no votes, no verdicts; what is malformed was refused by the distributor. */
static void take_exemplars(struct push_part *p, struct shard *s, struct buf *log, uint32_t *ret_logged)
{
    struct push_call *c = p->call;
    struct rd r = rd_of(c->view.exemplars);
    struct arena a;
    struct labels ls;
    fingerprint fp;
    int64_t t;
    double v;

    arena_init(&a, 1 << 20);
    while (push_exemplar_next(&r, &a, &fp, &t, &v, &ls, NULL) > 0) {
        if (ingester_shard(c->in, shard_of(c->in, fp)) == s && find_series(p, shard_head(s), fp)) {
            head_exemplar_add(shard_head(s), c->view.header.tenant, fp, t, v, &ls, c->limits.exemplars_max);
            wal_exemplar_add(log, fp, t, v, &ls);
            ++*ret_logged;
        }
        arena_reset(&a);
    }
    arena_fini(&a);
}

static void take_metadata(struct push_call *c, struct shard *s)
{
    struct buf rows;

    ingester_metadata_add(c->in, c->tenant, c->view.metadata, &c->limits);
    buf_init(&rows, c->view.metadata.n);
    buf_str(&rows, c->view.metadata);
    shard_log_list(s, WAL_METADATA, c->view.header.tenant, c->view.metadata_rows, &rows, INT64_MIN);
    buf_fini(&rows);
}

/* Its records are less than twice the message: labels and columns as received, bitmaps, headers. */
static bool disk_full(struct push_part *p, struct shard *s)
{
    p->undone = !shard_reserve(s, rpc_call_payload(p->call->rpc).n * 2 + JOB_BYTES);
    if (p->undone)
        metric_inc(metric_with(p->call->in->m_push_refused, "disk_full", NULL));
    return p->undone;
}

/* Work that the caller has given up makes others wait for nothing. */
static bool too_late(struct push_part *p)
{
    struct push_call *c = p->call;

    metric_observe(c->in->m_push_wait, (double)(clock_mono_ns(c->in->deps.clock) - c->began_ns) * 1e-9);
    p->undone = rpc_call_left_ms(c->rpc) == 0;
    if (p->undone)
        metric_inc(metric_with(c->in->m_push_refused, "late", NULL));
    return p->undone;
}

static void part_run(struct shard_job *job, struct shard *s)
{
    struct push_part *p = CONTAINER_OF(job, struct push_part, job);
    struct push_call *c = p->call;
    struct judged floats = {INT64_MIN, 0}, hists = {INT64_MIN, 0};
    struct buf series, histograms, exemplars;
    struct str tenant = c->view.header.tenant;
    uint32_t new_series = 0, logged = 0, exemplars_logged = 0;

    if (too_late(p) || disk_full(p, s))
        return;
    buf_init(&series, WAL_RECORD_BYTES_MAX / 2);
    buf_init(&histograms, WAL_RECORD_BYTES_MAX / 2);
    buf_init(&exemplars, WAL_RECORD_BYTES_MAX / 2);
    if (c->limits.metric_series_max)
        count_metrics(c, s);
    head_lock(shard_head(s));
    mark_moved_since(p, s);
    if (c->view.series_rows)
        create_series(p, s, &series, &new_series);
    judge_floats(p, shard_head(s), &floats);
    if (p->histogram_count)
        judge_histograms(p, shard_head(s), &histograms, &logged, &hists);
    if (new_series)
        shard_log_list(s, WAL_SERIES, tenant, new_series, &series, INT64_MIN);
    if (floats.accepted)
        log_samples(p, s, floats.t_max);
    if (logged)
        shard_log_list(s, WAL_HISTOGRAMS, tenant, logged, &histograms, hists.t_max);
    if (c->view.exemplar_rows && c->limits.exemplars_max)
        take_exemplars(p, s, &exemplars, &exemplars_logged);
    if (exemplars_logged)
        shard_log_list(s, WAL_EXEMPLARS, tenant, exemplars_logged, &exemplars, INT64_MIN);
    if (c->view.metadata_rows && p == &c->parts[0])
        take_metadata(c, s);
    head_unlock(shard_head(s));
    p->accepted = floats.accepted + hists.accepted;
    buf_fini(&series);
    buf_fini(&histograms);
    buf_fini(&exemplars);
}

static void part_done(struct shard_job *job, bool dead)
{
    struct push_part *p = CONTAINER_OF(job, struct push_part, job);
    struct push_call *c = p->call;

    if (dead || p->undone) {
        for (uint32_t i = 0; i < p->row_count; i++)
            c->verdicts[p->rows[i]] = PUSH_RETRY;
        for (uint32_t i = 0; i < p->histogram_count; i++)
            c->verdicts[c->view.rows + p->histograms[i]] = PUSH_RETRY;
        atomic_store(&c->failed, true);
    } else {
        atomic_fetch_add(&c->accepted, p->accepted);
    }
    finish_part(c);
}

/* --- on the RPC thread --- */

static int decode_series(struct push_call *c, struct err *err)
{
    struct rd r = rd_of(c->view.series);
    int rc = 0;

    /* A series takes 17 bytes at least. */
    CORRUPT_UNLESS((size_t)c->view.series_rows * 17 <= c->view.series.n, err);
    c->series = arena_array(&c->arena, c->view.series_rows, sizeof *c->series);
    if (!c->series)
        return err_set(err, RC_NOMEM, "push: memory budget is spent");
    for (uint32_t i = 0; i < c->view.series_rows; i++) {
        struct push_series *ps = &c->series[i];
        const uint8_t *start = r.p;

        rc = push_series_next(&r, &c->arena, &ps->fp, &ps->labels, err);
        if (rc < 0)
            return rc;
        CORRUPT_UNLESS(rc == 1, err);
        ps->row = str_n(start, (size_t)(r.p - start));
        ps->verdict = PUSH_ACCEPTED;
        ps->refused = (struct str){0};
        ps->metric = NULL;
    }
    CORRUPT_UNLESS(rd_done(&r), err);
    return 0;
}

static int decode_histograms(struct push_call *c, struct err *err)
{
    struct rd r = rd_of(c->view.histograms);
    int rc;

    CORRUPT_UNLESS((size_t)c->view.histogram_rows * 18 <= c->view.histograms.n, err);
    c->histograms = arena_array(&c->arena, c->view.histogram_rows, sizeof *c->histograms);
    if (!c->histograms)
        return err_set(err, RC_NOMEM, "push: memory budget is spent");
    for (uint32_t i = 0; i < c->view.histogram_rows; i++) {
        struct push_histogram *ph = &c->histograms[i];

        rc = push_histogram_next(&r, &c->arena, &ph->fp, &ph->t, &ph->st, &ph->h, err);
        if (rc < 0)
            return rc;
        CORRUPT_UNLESS(rc == 1, err);
    }
    CORRUPT_UNLESS(rd_done(&r), err);
    return 0;
}

/* Metadata goes into the log as it came: replay must be able to read it. */
static int check_metadata(const struct push_call *c, struct err *err)
{
    struct rd r = rd_of(c->view.metadata);
    struct push_metadata md;
    int rc = 1;

    for (uint32_t i = 0; i < c->view.metadata_rows && rc > 0; i++)
        rc = push_metadata_next(&r, &md, err);
    if (rc < 0)
        return rc;
    CORRUPT_UNLESS(rc == 1 && rd_done(&r) && c->view.metadata_rows <= WAL_ROWS_MAX, err);
    return 0;
}

static int divide(struct push_call *c, struct err *err)
{
    uint32_t shards = c->in->shard_count, rows = c->view.rows + c->view.histogram_rows;
    uint32_t *lists;

    c->verdicts = arena_zalloc(&c->arena, rows);
    lists = arena_array(&c->arena, rows, sizeof *lists);
    if (!c->verdicts || !lists)
        return err_set(err, RC_NOMEM, "push: memory budget is spent");
    mark_moved(c, rows);
    for (uint32_t i = 0; i < rows; i++) {
        struct push_part *p = &c->parts[shard_of(c->in, any_fp(c, i))];

        if (i < c->view.rows)
            p->row_count++;
        else
            p->histogram_count++;
    }
    for (uint32_t s = 0; s < shards; s++) {
        struct push_part *p = &c->parts[s];

        p->rows = lists;
        p->histograms = lists + p->row_count;
        lists = p->histograms + p->histogram_count;
        p->row_count = p->histogram_count = 0;
    }
    for (uint32_t i = 0; i < rows; i++) {
        struct push_part *p = &c->parts[shard_of(c->in, any_fp(c, i))];

        if (i < c->view.rows)
            p->rows[p->row_count++] = i;
        else
            p->histograms[p->histogram_count++] = i - c->view.rows;
    }
    return 0;
}

/* Metadata goes through the first shard, exemplars through all. */
static bool part_empty(const struct push_call *c, uint32_t s)
{
    return c->parts[s].row_count == 0 && c->parts[s].histogram_count == 0 && c->view.exemplar_rows == 0 &&
           (s != 0 || c->view.metadata_rows == 0);
}

static void submit(struct push_call *c)
{
    uint32_t shards = c->in->shard_count;

    /* One for ourselves, so that no part can answer before all are submitted. */
    atomic_store(&c->pending, 1);
    for (uint32_t s = 0; s < shards; s++) {
        struct push_part *p = &c->parts[s];

        if (part_empty(c, s))
            continue;
        p->call = c;
        p->job = (struct shard_job){.run = part_run, .done = part_done, .bytes = rpc_call_payload(c->rpc).n / shards + JOB_BYTES};
        atomic_fetch_add(&c->pending, 1);
        if (!shard_submit(ingester_shard(c->in, s), &p->job))
            part_done(&p->job, true);
    }
    finish_part(c);
}

/* Before any work. */
static int room_check(struct ingester *in, struct rpc_call *rpc, struct err *err)
{
    size_t each = rpc_call_payload(rpc).n / in->shard_count + JOB_BYTES;

    for (uint32_t i = 0; i < in->shard_count; i++) {
        if (shard_disk_full(ingester_shard(in, i))) {
            metric_inc(metric_with(in->m_push_refused, "disk_full", NULL));
            return err_set(err, RC_UNAVAILABLE, "disk_full: there is no space for the log of shard %u", i);
        }
        if (!shard_full(ingester_shard(in, i), each))
            continue;
        metric_inc(metric_with(in->m_push_refused, "overloaded", NULL));
        return err_set(err, RC_UNAVAILABLE, "overloaded: %zu bytes in %zu pushes wait for shard %u, limit %llu (ingester.push-queue-bytes)",
                       shard_queued_bytes(ingester_shard(in, i)), shard_queued(ingester_shard(in, i)), i, (unsigned long long)in->cfg.push_queue_bytes);
    }
    return 0;
}

void ingester_on_push(void *arg, struct rpc_call *rpc)
{
    struct ingester *in = arg;
    struct push_call *c = xcalloc(1, sizeof *c + in->shard_count * sizeof c->parts[0]);
    struct err err;
    int rc;

    c->rpc = rpc;
    c->in = in;
    c->began_ns = clock_mono_ns(in->deps.clock);
    arena_init(&c->arena, PUSH_ARENA_MAX);
    mutex_init(&c->refusals_lock);
    rc = ingester_ready(in, &err);
    atomic_store_explicit(&in->last_push_ms, clock_wall_ms(in->deps.clock), memory_order_relaxed);
    if (rc == 0)
        rc = room_check(in, rpc, &err);
    if (rc == 0)
        rc = push_view_decode(rpc_call_payload(rpc), &c->arena, &c->view, &err);
    if (rc == 0)
        rc = ingester_tenant_get(in, c->view.header.tenant, &c->tenant, &err);
    if (rc == 0)
        rc = decode_series(c, &err);
    if (rc == 0)
        rc = decode_histograms(c, &err);
    if (rc == 0)
        rc = check_metadata(c, &err);
    if (rc == 0)
        rc = divide(c, &err);
    if (rc < 0) {
        rpc_reply_err(rpc, &err);
        call_free(c);
        return;
    }
    c->gap.until_ms = c->view.header.gap_until_ms;
    ingester_limits_of(in, c->view.header.tenant, &c->limits);
    submit(c);
}
