/* replicate.c - from rows to one batch per ingester, out at once, and what comes back.
 * When every instance owns every series (as many instances as copies), all share one batch. Labels go along only for series that the instance's head has not
 * acknowledged to this distributor; an `unknown` answer sends those rows again with their labels, once. Answers after the client's are still taken: they
 * teach the cache who has which labels. */
#include "distributor/distributor_impl.h"

#include <stdio.h>
#include <stdlib.h>

enum { BATCH_BYTES_MAX = 15 << 20, ANSWER_ARENA_MAX = 16 << 20 };

static uint32_t owner_bit(uint32_t instance)
{
    return 1u << (instance & 31);
}

/* Quorum rows: floats, then histograms, then metadata. */
static uint32_t rows_all(const struct push *p)
{
    return p->row_count + p->hist_count + p->metadata_count;
}

static fingerprint metadata_fp(const struct push *p, const struct wr_metadata *m)
{
    struct label name = {STR(LABEL_METRIC_NAME), m->metric};

    return labels_fingerprint(str_n(p->tenant->id, p->tenant->id_len), &(struct labels){&name, 1});
}

static int add_series(struct push *p, struct push_batch *b, uint32_t series, struct err *err)
{
    struct push_series *s = &p->series[series];
    struct labels ls;
    struct arena a;
    int rc;

    arena_init(&a, 1 << 20);
    rc = push_series_labels(p, s, &a, &ls, err);
    if (rc == 0) {
        push_batch_series(b, s->fp, &ls);
        metric_inc(p->d->m_labels_sent);
    }
    arena_fini(&a);
    return rc;
}

static void add_row(struct push *p, struct push_batch *b, uint32_t row)
{
    if (row < p->row_count) {
        const struct push_row *r = &p->rows[row];

        push_batch_float(b, p->series[r->series].fp, r->t, r->vbits, p->starts ? p->starts[row] : 0);
    } else if (row < p->row_count + p->hist_count) {
        const struct push_hist *h = &p->hists[row - p->row_count];

        push_batch_histogram(b, p->series[h->series].fp, h->t, h->st, &h->h);
    } else {
        const struct wr_metadata *m = &p->metadata[row - p->row_count - p->hist_count];

        push_batch_metadata(b, m->metric, m->type, m->help, m->unit);
    }
}

/* Times further apart than a batch can hold: answered as the client's error, with the way out. */
static int spread_check(struct push *p, struct err *err)
{
    int64_t lo = INT64_MAX, hi = INT64_MIN;

    for (uint32_t i = 0; i < p->row_count; i++) {
        lo = MIN(lo, p->rows[i].t);
        hi = MAX(hi, p->rows[i].t);
    }
    if (p->row_count && hi - lo > (int64_t)UINT32_MAX)
        return err_set(err, RC_INVALID, "samples of one request are more than 49 days apart: send them in separate requests");
    p->oldest_ms = p->row_count ? lo : 0;
    return 0;
}

static void batch_begin(const struct push *p, struct push_batch *b)
{
    push_batch_init(b, BATCH_BYTES_MAX);
    push_batch_oldest(b, p->oldest_ms);
}

/* What no message can carry would fail each time it is sent again. */
static int sizes_check(const struct push *p, struct err *err)
{
    for (uint32_t i = 0; i < p->target_count; i++) {
        const struct push_batch *b = p->targets[i].batch;

        if (b && push_batch_bytes(b) > BATCH_BYTES_MAX)
            return err_set(err, RC_LIMIT, "a request of %u samples is larger than %d bytes on its way to the ingesters: send smaller requests",
                           p->row_count + p->hist_count, BATCH_BYTES_MAX);
    }
    return 0;
}

/* --- who gets what --- */

static bool is_owner(const struct ring_instance *in)
{
    return (in->roles & RING_INGESTER) && (in->state == RING_ACTIVE || in->state == RING_LEAVING);
}

static bool is_moving(const struct ring_instance *in)
{
    return (in->roles & RING_INGESTER) && (in->state == RING_JOINING || in->state == RING_LEAVING || (in->flags & RING_READ_ONLY));
}

static struct push_target *target_of(struct push *p, uint16_t instance)
{
    struct push_target *t = &p->targets[instance];
    const struct ring_instance *in;

    if (t->push)
        return t;
    in = ring_instance(p->ring, instance);
    *t = (struct push_target){
        .push = p,
        .address = xstrdup(in->addr),
        .instance = xstrdup(in->id),
        .index = instance,
        .head_id = dist_head_id(p->d, in->id),
    };
    return t;
}

/* Every owner owns every series: as many as copies, and nothing moves. */
static bool all_own_all(const struct push *p)
{
    size_t owners = 0;

    for (uint32_t i = 0; i < p->target_count; i++) {
        const struct ring_instance *in = ring_instance(p->ring, (uint16_t)i);

        if (is_moving(in))
            return false;
        owners += is_owner(in);
    }
    return owners <= (size_t)ring_rf(p->ring);
}

/* --- one batch for all --- */

static int build_shared(struct push *p, struct err *err)
{
    const struct ring_replicas *set = ring_replicas(p->ring, 0);
    struct push_batch *b = &p->shared;
    uint32_t all = 0, rows = rows_all(p);
    int rc = 0;

    for (uint32_t i = 0; i < set->owners_n; i++)
        all |= owner_bit(set->owners[i]);
    for (uint32_t i = 0; i < p->series_count && rc == 0; i++)
        if ((p->series[i].acked & all) != all)
            rc = add_series(p, b, i, err);
    push_batch_reserve(b, p->row_count);
    for (uint32_t i = 0; i < p->row_count; i++)
        push_batch_float(b, p->series[p->rows[i].series].fp, p->rows[i].t, p->rows[i].vbits, p->starts ? p->starts[i] : 0);
    for (uint32_t i = p->row_count; i < rows; i++)
        add_row(p, b, i);
    for (uint32_t i = 0; i < p->exemplar_count; i++) {
        const struct push_exemplar *e = &p->exemplars[i];

        push_batch_exemplar(b, p->series[e->series].fp, e->t, e->v, &e->labels);
    }
    for (uint32_t i = 0; i < set->owners_n; i++) {
        struct push_target *t = target_of(p, set->owners[i]);

        t->batch = b;
        t->rows = rows;
    }
    return rc;
}

/* --- a batch of its own for each --- */

static fingerprint row_fp(const struct push *p, uint32_t row)
{
    if (row < p->row_count)
        return p->series[p->rows[row].series].fp;
    if (row < p->row_count + p->hist_count)
        return p->series[p->hists[row - p->row_count].series].fp;
    return metadata_fp(p, &p->metadata[row - p->row_count - p->hist_count]);
}

static struct push_target *routed_target(struct push *p, uint16_t instance)
{
    struct push_target *t = target_of(p, instance);

    if (!t->batch) {
        t->batch = xmalloc(sizeof *t->batch);
        batch_begin(p, t->batch);
        t->row_map = xmalloc((size_t)rows_all(p) * sizeof *t->row_map);
        t->series_sent = xcalloc((size_t)p->series_count / 8 + 1, 1);
    }
    return t;
}

static int row_to_target(struct push *p, uint32_t row, struct push_target *t, struct err *err)
{
    bool has_series = row < p->row_count + p->hist_count;
    uint32_t series = !has_series ? 0 : row < p->row_count ? p->rows[row].series : p->hists[row - p->row_count].series;
    uint8_t bit = (uint8_t)(1u << (series & 7)), *sent = &t->series_sent[series / 8];

    if (t->rows > 0 && t->row_map[t->rows - 1] == row)
        return 0; /* owner now and later */
    t->row_map[t->rows++] = row;
    add_row(p, t->batch, row);
    if (!has_series || (p->series[series].acked & owner_bit(t->index)) || (*sent & bit))
        return 0;
    *sent |= bit;
    return add_series(p, t->batch, series, err);
}

/* While a range moves, a row needs a quorum of the owners of today and one of the owners to be (design section 5): it stands twice in the quorum. */
static int route_rows(struct push *p, struct err *err)
{
    uint8_t need = (uint8_t)ring_quorum(ring_rf(p->ring));
    uint32_t rows = rows_all(p), last_series = UINT32_MAX;
    const struct ring_replicas *set = NULL;
    int rc = 0;

    for (uint32_t row = 0; row < rows && rc == 0; row++) {
        uint32_t series = row < p->row_count ? p->rows[row].series : UINT32_MAX;

        /* Samples of a series stand together. */
        if (!set || series == UINT32_MAX || series != last_series)
            set = ring_replicas(p->ring, fingerprint_token(row_fp(p, row)));
        last_series = series;
        for (uint32_t k = 0; k < set->owners_n && rc == 0; k++)
            rc = row_to_target(p, row, routed_target(p, set->owners[k]), err);
        for (uint32_t k = 0; k < set->next_n && set->moving && rc == 0; k++)
            rc = row_to_target(p, row, routed_target(p, set->next[k]), err);
        quorum_row(&p->quorum, row, set->owners_n, need);
        if (p->moving)
            quorum_row(&p->quorum, rows + row, set->moving ? set->next_n : set->owners_n, need);
    }
    return rc;
}

static void route_exemplars(struct push *p)
{
    for (uint32_t i = 0; i < p->exemplar_count; i++) {
        const struct push_exemplar *e = &p->exemplars[i];
        const struct ring_replicas *set = ring_replicas(p->ring, fingerprint_token(p->series[e->series].fp));

        for (uint32_t k = 0; k < set->owners_n; k++)
            push_batch_exemplar(routed_target(p, set->owners[k])->batch, p->series[e->series].fp, e->t, e->v, &e->labels);
    }
}

/* Row `row` was answered by t with v: counted in the quorums that t belongs to. Lock held. */
static void count_row(struct push_target *t, uint32_t row, const uint8_t *v)
{
    struct push *p = t->push;
    uint32_t token, second = rows_all(p) + row;

    if (!p->moving) {
        v ? quorum_answer(&p->quorum, &row, 1, v) : quorum_lost(&p->quorum, &row, 1);
        return;
    }
    token = fingerprint_token(row_fp(p, row));
    if (ring_owner_index(p->ring, token, (uint16_t)t->index) >= 0)
        v ? quorum_answer(&p->quorum, &row, 1, v) : quorum_lost(&p->quorum, &row, 1);
    if (ring_next_index(p->ring, token, (uint16_t)t->index) >= 0)
        v ? quorum_answer(&p->quorum, &second, 1, v) : quorum_lost(&p->quorum, &second, 1);
}

static void count_rows(struct push_target *t, const uint32_t *row_map, uint32_t n, const uint8_t *verdicts, bool lost)
{
    static const uint8_t accepted = PUSH_ACCEPTED;

    for (uint32_t i = 0; i < n; i++)
        count_row(t, row_map ? row_map[i] : i, lost ? NULL : verdicts ? &verdicts[i] : &accepted);
}

/* --- sending and answers --- */

static void resend(struct push_target *t, const uint8_t *verdicts, uint32_t verdict_count);

static void target_send(struct push_target *t, const struct push_batch *b, rpc_done_fn *done, void *arg);

enum { LEARN_AHEAD = 16 };

static void learn_prefetch(struct push *p, uint32_t row)
{
    if (row < p->row_count)
        series_cache_prefetch(p->tenant->cache, p->series[p->rows[row].series].hash);
}

/* Series whose labels this target now holds. Lock held. */
static void learn(struct push_target *t, const uint8_t *verdicts)
{
    struct push *p = t->push;
    uint32_t votes = p->row_count + p->hist_count;

    if (p->acked_all & owner_bit(t->index))
        return;
    for (uint32_t i = 0; i < t->rows; i++) {
        uint32_t row = t->row_map ? t->row_map[i] : i, series, ahead = i + LEARN_AHEAD;

        if (ahead < t->rows)
            learn_prefetch(p, t->row_map ? t->row_map[ahead] : ahead);

        if (row >= votes || (verdicts && !push_is_vote(verdicts[i]) && verdicts[i] < PUSH_REFUSED))
            continue;
        series = row < p->row_count ? p->rows[row].series : p->hists[row - p->row_count].series;
        if (!(p->series[series].acked & owner_bit(t->index)) && (!verdicts || push_is_vote(verdicts[i]))) {
            p->series[series].acked |= owner_bit(t->index);
            series_cache_ack(p->tenant->cache, p->series[series].hash, owner_bit(t->index), p->ack_epoch);
        }
    }
}

/* The series of a row, as the ingester's text leaves it out. */
static void series_of_row(struct push *p, uint32_t row, char out[SERIES_TEXT_MAX + 4])
{
    uint32_t series = row < p->row_count ? p->rows[row].series : p->hists[row - p->row_count].series;
    struct labels ls = {0};
    struct arena a;

    arena_init(&a, 1 << 20);
    if (push_series_labels(p, &p->series[series], &a, &ls, NULL) < 0)
        ls = (struct labels){0};
    series_text(&ls, out);
    arena_fini(&a);
}

/* Texts of refusals, for the client; what another replica said before is left out. Lock held. */
static void take_texts(struct push *p, const struct push_answer *an, const uint32_t *row_map)
{
    for (size_t i = 0; i < an->refusal_count && p->error_lines < PUSH_ERROR_LINES_MAX; i++) {
        uint32_t row = row_map ? row_map[an->refusals[i].row] : an->refusals[i].row;
        char series[SERIES_TEXT_MAX + 4], line[ERR_TEXT_MAX + SERIES_TEXT_MAX];

        if (row >= p->row_count + p->hist_count)
            continue;
        series_of_row(p, row, series);
        snprintf(line, sizeof line, "%.*s series: '%s'", STR_FMT(an->refusals[i].text), series);
        if (p->errors.n && memmem(p->errors.p, p->errors.n, line, strlen(line)))
            continue;
        if (p->errors.n)
            buf_char(&p->errors, '\n');
        buf_z(&p->errors, line);
        p->error_lines++;
    }
}

/* Rows that an ingester names must be rows it was sent. */
static bool refusals_valid(const struct push_answer *an, uint32_t rows)
{
    for (size_t i = 0; i < an->refusal_count; i++)
        if (an->refusals[i].row >= rows)
            return false;
    return true;
}

static uint32_t rows_with_verdicts(const struct push_target *t)
{
    return t->batch->rows + t->batch->histogram_rows;
}

/* Lock held. Rows beyond the verdicts are metadata: taken when the rest was. */
static void count_answer(struct push_target *t, const struct push_answer *an)
{
    struct push *p = t->push;
    uint32_t with = rows_with_verdicts(t);

    if (!an->verdicts && !t->row_map) {
        quorum_answer(&p->quorum, NULL, t->rows, NULL);
        return;
    }
    count_rows(t, t->row_map, with, an->verdicts, false);
    for (uint32_t i = with; i < t->rows; i++)
        count_rows(t, t->row_map ? &t->row_map[i] : &i, 1, NULL, false);
}

static bool has_unknown(const struct push_answer *an)
{
    return an->verdicts && memchr(an->verdicts, PUSH_UNKNOWN, an->verdict_count);
}

/* --- targets that are slower than the quorum: what waits for them is bounded (dist_linger_fits) --- */

/* Lock held. From the client's answer on a target that still owes its own lingers. */
static void answer(struct push *p)
{
    bool open = p->http;

    push_answer(p);
    for (uint32_t i = 0; i < p->target_count && open && !p->http; i++) {
        struct push_target *t = &p->targets[i];

        if (t->calls == 0)
            continue;
        t->lingering = p->charged + push_batch_bytes(t->batch);
        dist_linger_add(p->d, t->instance, (int64_t)t->lingering);
    }
}

/* Lock held. */
static void target_rest(struct push_target *t)
{
    if (t->calls > 0 || t->lingering == 0)
        return;
    dist_linger_add(t->push->d, t->instance, -(int64_t)t->lingering);
    t->lingering = 0;
}

/* Lock held. Not asked: a vote less. */
static void target_skip(struct push_target *t)
{
    struct push *p = t->push;

    metric_inc(metric_with(p->d->m_acks, "skipped", NULL));
    log_limited(p->d->deps.log, LOG_WARN, "ingester left out of a push: too many bytes of answered pushes wait for it (distributor.max-lingering-bytes)",
                "ingester", t->instance, "limit", log_i64((int64_t)p->d->cfg.lingering_bytes));
    count_rows(t, t->row_map, t->rows, NULL, true);
}

static void target_done(void *arg, int rc, struct buf *payload, const struct err *rpc_err)
{
    struct str reply = buf_view(payload);
    struct push_target *t = arg;
    struct push *p = t->push;
    struct distributor *d = p->d;
    struct push_answer an = {0};
    struct arena a;
    struct err err = {0};

    arena_init(&a, ANSWER_ARENA_MAX);
    if (rc == RC_OK)
        rc = push_answer_decode(reply, &a, &an, &err);
    else if (rpc_err)
        err = *rpc_err;
    if (rc == RC_OK && an.verdicts && an.verdict_count != rows_with_verdicts(t))
        rc = err_set(&err, RC_CORRUPT, "ingester %s answered %zu verdicts for %u rows", t->instance, an.verdict_count, rows_with_verdicts(t));
    if (rc == RC_OK && !refusals_valid(&an, rows_with_verdicts(t)))
        rc = err_set(&err, RC_CORRUPT, "ingester %s refused a row it was not sent", t->instance);
    metric_inc(metric_with(d->m_acks, rc_name(rc), NULL));
    if (rc == RC_OK)
        dist_head_seen(d, t->instance, an.head_id);
    else
        log_limited(d->deps.log, LOG_WARN, "push to ingester failed", "ingester", t->instance, "rc", rc_name(rc), "err", err_log(&err));
    mutex_lock(&p->lock);
    t->calls--;
    if (rc != RC_OK) {
        count_rows(t, t->row_map, t->rows, NULL, true);
    } else if (has_unknown(&an) && !t->has_resent) {
        /* The known rows count now, the unknown ones when their labels have arrived. */
        learn(t, an.verdicts);
        take_texts(p, &an, t->row_map);
        resend(t, an.verdicts, (uint32_t)an.verdict_count);
    } else {
        learn(t, an.verdicts);
        take_texts(p, &an, t->row_map);
        count_answer(t, &an);
    }
    answer(p);
    target_rest(t);
    mutex_unlock(&p->lock);
    arena_fini(&a);
    push_unref(p);
}

/* The rows an ingester did not know, on their way again with labels. */
struct second {
    struct push_target *t;
    uint32_t *row_map;
    uint32_t rows;
    struct push_batch batch;
};

static void second_done(void *arg, int rc, struct buf *payload, UNUSED const struct err *rpc_err)
{
    struct str reply = buf_view(payload);
    struct second *s = arg;
    struct push_target *t = s->t;
    struct push *p = t->push;
    struct push_answer an = {0};
    struct arena a;

    arena_init(&a, ANSWER_ARENA_MAX);
    if (rc == RC_OK)
        rc = push_answer_decode(reply, &a, &an, NULL);
    if (rc == RC_OK && ((an.verdicts && an.verdict_count != s->rows) || !refusals_valid(&an, s->rows)))
        rc = RC_CORRUPT;
    mutex_lock(&p->lock);
    t->calls--;
    if (rc == RC_OK) {
        take_texts(p, &an, s->row_map);
        count_rows(t, s->row_map, s->rows, an.verdicts, false);
        for (uint32_t i = 0; i < s->rows; i++) {
            uint32_t row = s->row_map[i];
            uint32_t series = row < p->row_count ? p->rows[row].series : p->hists[row - p->row_count].series;

            if (!an.verdicts || push_is_vote(an.verdicts[i]))
                series_cache_ack(p->tenant->cache, p->series[series].hash, owner_bit(t->index), p->ack_epoch);
        }
    } else {
        count_rows(t, s->row_map, s->rows, NULL, true);
    }
    answer(p);
    target_rest(t);
    mutex_unlock(&p->lock);
    arena_fini(&a);
    push_batch_fini(&s->batch);
    free(s->row_map);
    free(s);
    push_unref(p);
}

static uint32_t series_of(const struct push *p, uint32_t row)
{
    return row < p->row_count ? p->rows[row].series : p->hists[row - p->row_count].series;
}

/* Exemplars of the series that come again: the ingester had nothing to hang them on. */
static void exemplars_again(const struct push *p, struct second *s)
{
    uint8_t *again = p->exemplar_count ? xcalloc(p->series_count, 1) : NULL;

    for (uint32_t i = 0; again && i < s->rows; i++)
        again[series_of(p, s->row_map[i])] = 1;
    for (uint32_t i = 0; again && i < p->exemplar_count; i++) {
        const struct push_exemplar *e = &p->exemplars[i];

        if (again[e->series])
            push_batch_exemplar(&s->batch, p->series[e->series].fp, e->t, e->v, &e->labels);
    }
    free(again);
}

/* Lock held. */
static void resend(struct push_target *t, const uint8_t *verdicts, uint32_t verdict_count)
{
    struct push *p = t->push;
    struct second *s = xcalloc(1, sizeof *s);
    uint32_t last_series = UINT32_MAX;

    t->has_resent = true;
    s->t = t;
    s->row_map = xmalloc(verdict_count * sizeof *s->row_map);
    batch_begin(p, &s->batch);
    for (uint32_t i = 0; i < t->rows; i++) {
        uint32_t row = t->row_map ? t->row_map[i] : i, series;
        uint8_t v = i < verdict_count ? verdicts[i] : PUSH_ACCEPTED;

        if (v != PUSH_UNKNOWN) {
            count_row(t, row, &v);
            continue;
        }
        metric_inc(p->d->m_unknown);
        s->row_map[s->rows++] = row;
        add_row(p, &s->batch, row);
        series = series_of(p, row);
        if (series != last_series)
            add_series(p, &s->batch, series, NULL);
        last_series = series;
    }
    exemplars_again(p, s);
    push_ref(p);
    target_send(t, &s->batch, second_done, s);
}

static void target_send(struct push_target *t, const struct push_batch *b, rpc_done_fn *done, void *arg)
{
    struct push *p = t->push;
    struct push_header h = {
        .tenant = str_n(p->tenant->id, p->tenant->id_len),
        .ring_version = ring_epoch(p->ring),
        .head_id = t->head_id,
        .flags = p->ha.fill ? PUSH_STANDBY : 0,
        .gap_until_ms = p->ha.fill_until_ms,
    };
    struct buf out;
    struct err err;

    buf_init(&out, RPC_MESSAGE_BYTES_MAX);
    /* An encoding that does not fit is sent as nothing, which the ingester refuses: the row counts stay right. */
    if (push_batch_encode(b, &h, &out, &err) < 0) {
        log_limited(p->d->deps.log, LOG_WARN, "push batch not sent", "ingester", t->instance, "err", err_log(&err));
        buf_clear(&out);
    }
    t->calls++;
    rpc_send_buf(p->d->deps.rpc, t->address, RPC_PUSH, &out, p->d->cfg.push_timeout_ms, done, arg);
    buf_fini(&out);
}

static int quorum_make(struct push *p, struct err *err)
{
    const struct ring_replicas *set = ring_replicas(p->ring, 0);
    uint32_t rows = rows_all(p), need = (uint32_t)ring_quorum(ring_rf(p->ring));

    if (!set || set->owners_n < need)
        return err_set(err, RC_UNAVAILABLE, "%u ingesters own series, a quorum of %d copies needs %u: wait until more have joined the ring",
                       set ? set->owners_n : 0u, ring_rf(p->ring), need);
    p->target_count = (uint32_t)ring_instances_n(p->ring);
    p->targets = xcalloc(p->target_count, sizeof *p->targets);
    for (uint32_t i = 0; i < p->target_count; i++)
        p->moving |= is_moving(ring_instance(p->ring, (uint16_t)i));
    if (!quorum_init(&p->quorum, &p->arena, p->moving ? rows * 2 : rows, set->owners_n, (uint8_t)need))
        return err_set(err, RC_NOMEM, "the request's memory budget is spent");
    return 0;
}

static uint32_t acked_all(const struct push *p)
{
    uint32_t bits = UINT32_MAX;

    for (uint32_t i = 0; i < p->series_count; i++)
        bits &= p->series[i].acked;
    return bits;
}

int push_replicate(struct push *p, struct err *err)
{
    int rc = spread_check(p, err);

    if (rc == 0)
        rc = quorum_make(p, err);
    if (rc < 0)
        return rc;
    p->acked_all = acked_all(p);
    batch_begin(p, &p->shared);
    if (all_own_all(p)) {
        rc = build_shared(p, err);
    } else {
        rc = route_rows(p, err);
        if (rc == 0)
            route_exemplars(p);
    }
    if (rc == 0)
        rc = sizes_check(p, err);
    if (rc < 0)
        return rc;
    mutex_lock(&p->lock);
    for (uint32_t i = 0; i < p->target_count; i++) {
        struct push_target *t = &p->targets[i];

        if (t->rows == 0)
            continue;
        if (!dist_linger_fits(p->d, t->instance)) {
            target_skip(t);
            continue;
        }
        push_ref(p);
        target_send(t, t->batch, target_done, t);
    }
    answer(p);
    mutex_unlock(&p->lock);
    return 0;
}
