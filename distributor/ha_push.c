/* ha_push.c - what a push has to do with HA pairs: which of its series are taken, what is held of it, and pushes that fill gaps.
 * The decision is per series: a request may mix clusters, replicas, and series without either label. A pair is asked about once per push; a series that is known
 * brings its pair along from the cache, so nothing is parsed, locked or allocated for it. */
#include "distributor/distributor_impl.h"

#include <snappy-c.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

void push_ha_begin(struct push *p)
{
    p->ha.last = 0;
    p->ha.last_taken = !p->ha.fill;
}

/* --- names --- */

static struct label *label_find(const struct labels *ls, const char *name)
{
    for (size_t i = 0; i < ls->n; i++)
        if (str_eqz(ls->v[i].name, name))
            return &ls->v[i];
    return NULL;
}

static int refuse_name(struct push *p, const struct labels *ls, const struct label *l, uint32_t samples)
{
    char text[ERR_TEXT_MAX];
    struct err line;

    snprintf(text, sizeof text, "label '%.*s' names an HA cluster or replica and has %zu bytes, the limit is %d", STR_FMT(l->name), l->value.n, HA_NAME_MAX);
    series_explain(DISCARD_LABEL_VALUE_TOO_LONG, text, ls, &line);
    push_refuse(p, DISCARD_LABEL_VALUE_TOO_LONG, samples, line.text);
    return 0;
}

static void refuse_many(struct push *p, uint32_t samples)
{
    char text[ERR_TEXT_MAX];

    snprintf(text, sizeof text,
             "the write request has been rejected because the maximum number of high-availability (HA) clusters has been reached for this tenant "
             "(limit: %lld, ha_max_clusters) (%s)",
             (long long)p->limits->ha_max_clusters, discard_text(DISCARD_TOO_MANY_HA_CLUSTERS));
    push_refuse(p, DISCARD_TOO_MANY_HA_CLUSTERS, samples, text);
}

int push_ha_split(struct push *p, struct labels *ls, uint32_t samples, uint16_t *ret_pair)
{
    struct label *replica = label_find(ls, p->limits->ha_replica_label), *cluster = label_find(ls, p->limits->ha_cluster_label);
    uint16_t pair;

    if (LIKELY(!replica) || !cluster || replica == cluster || !replica->value.n || !cluster->value.n)
        return 1;
    if (replica->value.n > HA_NAME_MAX || cluster->value.n > HA_NAME_MAX)
        return refuse_name(p, ls, replica->value.n > HA_NAME_MAX ? replica : cluster, samples);
    if (!p->tenant->ha)
        p->tenant->ha = ha_tracker_tenant(p->d->ha, str_n(p->tenant->id, p->tenant->id_len));
    pair = ha_tenant_pair(p->tenant->ha, cluster->value, replica->value);
    if (!pair) {
        refuse_many(p, samples);
        return 0;
    }
    memmove(replica, replica + 1, (size_t)(ls->v + ls->n - replica - 1) * sizeof *replica);
    ls->n--;
    *ret_pair = pair;
    return 1;
}

/* --- verdicts --- */

static void pair_leave(struct push *p, struct push_ha_pair *x)
{
    if (x->left_out)
        ha_tenant_deduped(p->tenant->ha, x->pair, x->left_out);
    *x = (struct push_ha_pair){0};
}

/* More than PUSH_HA_PAIRS in one request push each other out, and are asked about again; for those that went the request is not held. */
static struct push_ha_pair *pair_of(struct push *p, uint16_t pair)
{
    struct push_ha_pair *x = &p->ha.pairs[pair % PUSH_HA_PAIRS];

    if (x->pair == pair)
        return x;
    pair_leave(p, x);
    x->pair = pair;
    x->verdict = (uint8_t)ha_tenant_heard(p->tenant->ha, pair, p->limits);
    return x;
}

bool push_ha_judge(struct push *p, uint16_t pair, uint32_t samples, uint32_t histograms)
{
    struct push_ha_pair *x;

    p->ha.last = pair;
    p->ha.last_taken = p->ha.fill ? pair == p->ha.fill : pair == 0;
    if (p->ha.fill || pair == 0)
        return p->ha.last_taken;
    x = pair_of(p, pair);
    p->ha.last_taken = x->verdict == HA_FOLLOWED;
    if (x->verdict == HA_STANDBY) {
        x->left_out += samples + histograms;
        p->ha.samples += samples;
        p->ha.histograms += histograms;
    } else if (x->verdict == HA_TOO_MANY) {
        refuse_many(p, samples + histograms);
    }
    return p->ha.last_taken;
}

/* --- holding --- */

/* As it came; what OTLP became is packed first. */
static struct ha_body *body_of(const struct push *p)
{
    struct push_content content = {.encoding = BODY_SNAPPY};
    struct ha_body *b;
    size_t n;
    char *packed;

    if (!p->otlp)
        return ha_body_new(http_body(p->http), &p->content, false);
    n = snappy_max_compressed_length(p->body.n);
    packed = xmalloc(n);
    ASSERT(snappy_compress(p->body.p, p->body.n, packed, &n) == SNAPPY_OK);
    b = ha_body_new(str_n(packed, n), &content, p->started);
    free(packed);
    return b;
}

static uint64_t non_ha_samples(const struct push *p)
{
    uint64_t n = 0;

    for (uint32_t i = 0; i < p->row_count; i++)
        n += p->series[p->rows[i].series].ha == 0;
    for (uint32_t i = 0; i < p->hist_count; i++)
        n += p->series[p->hists[i].series].ha == 0;
    return n;
}

static void fill_end(struct push *p)
{
    /* Both came with the followed replica's, or will with the next one's. */
    p->metadata_count = p->exemplar_count = 0;
}

void push_ha_end(struct push *p)
{
    struct ha_body *body = NULL;
    bool any = false;

    if (p->ha.fill) {
        fill_end(p);
        return;
    }
    for (int i = 0; i < PUSH_HA_PAIRS; i++) {
        struct push_ha_pair *x = &p->ha.pairs[i];

        any |= x->pair != 0;
        if (x->verdict == HA_STANDBY && x->left_out && p->limits->ha_standby_bytes) {
            body = body ? body : body_of(p);
            ha_tenant_hold(p->tenant->ha, x->pair, body, p->limits);
        }
        pair_leave(p, x);
    }
    if (body)
        ha_body_unref(body);
    if (p->limits->accept_ha_samples)
        metric_add(p->tenant->m_non_ha, any ? non_ha_samples(p) : p->row_count + p->hist_count);
}

/* --- filling --- */

/* Clients come first: waits while requests in flight take more than half of what they may, for a while. */
static void wait_for_room(const struct distributor *d)
{
    enum { WAIT_MS = 5000, STEP_MS = 5 };

    for (int ms = 0; ms < WAIT_MS && atomic_load(&d->in_flight_bytes) > d->cfg.in_flight_bytes / 2; ms += STEP_MS)
        nanosleep(&(struct timespec){.tv_nsec = STEP_MS * 1000000}, NULL);
}

static int fill_run(struct push *p, const struct ha_fill *f, struct err *err)
{
    struct body_budget budget = {.inflated_max = (size_t)p->limits->max_request_inflated_size, .charge = push_charge, .arg = p};
    int rc;

    if (f->body->started)
        budget.inflated_max = 0; /* what a request of the right size became */
    rc = body_inflate(p->content.encoding, str_n(f->body->bytes, f->body->n), &budget, &p->body, err);
    return rc < 0 ? rc : push_store(p, err);
}

void push_ha_fill(void *arg, const struct ha_fill *f)
{
    struct distributor *d = arg;
    struct dist_tenant *tenant;
    struct push *p;
    struct err err = {0};

    if (dist_tenant_get(d, f->tenant, &tenant, &err) < 0)
        return;
    wait_for_room(d);
    p = push_new(d, tenant, NULL);
    p->content = f->body->content;
    p->started = f->body->started;
    p->ha.fill = f->pair;
    p->ha.fill_until_ms = f->until_ms;
    if (fill_run(p, f, &err) < 0)
        log_limited(d->deps.log, LOG_WARN, "standby's request not sent to fill a gap", "tenant", tenant->id, "err", err_log(&err));
    push_unref(p);
}
