#include "querier/lookup.h"

#include "querier/hiding.h"

#include "common/wire/pb_arena.h"
#include "common/wire/push.h"
#include "common/wire/select.h"
#include "common/wire/torc.pb-c.h"

#include <stdlib.h>

static int no_memory(struct err *err)
{
    return err_set(err, RC_NOMEM, "labels: memory budget is spent");
}

/* --- sets of texts --- */

static void *grown(struct arena *a, void *v, size_t n, size_t *cap, size_t size)
{
    size_t want = *cap ? *cap * 2 : 64;
    void *out = n < *cap ? v : arena_array(a, want, size);

    if (!out || out == v)
        return out;
    if (n)
        memcpy(out, v, n * size);
    *cap = want;
    return out;
}

int value_set_add(struct value_set *s, struct str value, struct err *err)
{
    struct str copy = arena_str(s->arena, value),
               *v = grown(s->arena, s->v, s->n, &s->cap, sizeof *v);

    if (!copy.p || !v)
        return no_memory(err);
    s->v = v;
    s->v[s->n++] = copy;
    return 0;
}

static int by_text(const void *a, const void *b)
{
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

void value_set_finish(struct value_set *s, size_t limit)
{
    size_t n = 0;

    if (s->n)
        qsort(s->v, s->n, sizeof *s->v, by_text);
    for (size_t i = 0; i < s->n; i++)
        if (n == 0 || !str_eq(s->v[n - 1], s->v[i]))
            s->v[n++] = s->v[i];
    s->n = n;
    if (limit && s->n > limit) {
        s->n = limit;
        s->truncated = true;
    }
}

/* --- labels --- */

struct looking {
    struct source *s;
    const struct store_select *q;
    struct str name;
    size_t limit;
    struct buf matchers;
    struct value_set *values;
    struct str *after; /* per instance: where its next page begins */
    struct fan fan;
    struct err *err;
};

static int labels_request(void *arg, struct fan_peer *p, struct buf *out, struct err *err)
{
    struct looking *l = arg;
    Torc__Wire__LabelsRequest m = TORC__WIRE__LABELS_REQUEST__INIT;

    m.version = SELECT_VERSION;
    m.tenant = pb_bytes(l->q->tenant);
    m.ring_version = ring_epoch(l->fan.ring);
    m.matchers = pb_bytes(buf_view(&l->matchers));
    m.mint_ms = l->q->mint_ms;
    m.maxt_ms = l->q->maxt_ms;
    m.name = pb_bytes(l->name);
    m.after = pb_bytes(l->after[p->instance]);
    m.limit = l->limit ? l->limit - p->at : 0; /* p->at: how many it has given */
    return pb_pack(&m.base, out) ? 0
                                 : err_set(err, RC_LIMIT, "the selector does not fit a message");
}

static int labels_answer(void *arg, struct fan_peer *p, struct buf *bytes, struct err *err)
{
    struct str payload = buf_view(bytes);
    struct looking *l = arg;
    struct arena a;
    Torc__Wire__LabelsResponse *m;
    struct str last = l->after[p->instance];
    struct rd r;
    uint64_t n;
    int rc;

    arena_init(&a, payload.n * 2 + (64 << 10));
    m = torc__wire__labels_response__unpack(pb_arena_allocator(&a), payload.n,
                                            (const uint8_t *)payload.p);
    rc = m ? fan_ring_check(&l->fan, m->ring_version, err)
           : err_set(err, RC_CORRUPT, "the answer of %s does not decode", p->in->id);
    if (rc == 0) {
        r = rd_of(pb_str(m->values));
        n = rd_uvarint(&r);
        for (uint64_t i = 0; i < n && rd_ok(&r) && rc == 0; i++) {
            struct str v = rd_lstr(&r);

            if (rd_ok(&r) && str_cmp(v, last) <= 0 && last.n)
                rc = err_set(err, RC_CORRUPT, "the values of %s are not in order", p->in->id);
            if (rd_ok(&r) && rc == 0)
                rc = value_set_add(l->values, v, err);
            last = v;
        }
        if (rc == 0 && !rd_done(&r))
            rc = err_set(err, RC_CORRUPT, "the answer of %s does not decode", p->in->id);
        p->at += n;
        l->values->truncated |= m->truncated || (m->more && l->limit && p->at >= l->limit);
        if (rc == 0 && m->more && n > 0 && (l->limit == 0 || p->at < l->limit)) {
            l->after[p->instance] = l->values->v[l->values->n - 1];
            rc = 1;
        }
    }
    arena_fini(&a);
    return rc;
}

static int block_value(void *arg, struct str value)
{
    struct looking *l = arg;

    return value_set_add(l->values, value, l->err);
}

static int labels_once(void *arg, const struct ring *ring, const struct blocks_view *view,
                       struct err *err)
{
    static const struct fan_ops ops = {RPC_LABELS, labels_request, labels_answer};
    struct looking *l = arg;
    struct fan_cfg cfg;
    struct blocks_select bs = {
        .view = view, .q = l->q, .limits = &l->s->limits, .used = &l->s->used, .fan = &cfg};
    int rc;

    source_fan_cfg(l->s, &cfg);
    l->err = err;
    rc = fan_init(&l->fan, &cfg, ring, &ops, l, l->values->arena, err);
    if (rc < 0)
        return rc;
    l->after = arena_zalloc(l->values->arena, l->fan.n * sizeof *l->after);
    rc = l->after ? fan_run(&l->fan, fan_read_need(ring), err) : no_memory(err);
    fan_fini(&l->fan);
    return rc == 0 ? blocks_label_values(l->s->env->blocks, &bs, l->name, block_value, l, err) : rc;
}

/* --- label by label would tell what is deleted: series by series --- */

/* Moves the beginning of the question behind what is deleted for all series. */
static int whether_hidden(struct source *s, struct store_select *q, struct arena *a, bool *ret, struct err *err)
{
    struct blocks_view *view;
    struct hiding h;
    int rc = blocks_view(s->env->blocks, q->tenant, BLOCKS_VIEW_AGE_MS, &view, err);

    if (rc < 0)
        return rc;
    rc = hiding_init(&h, s->env, q->tenant, view, (struct time_span){q->mint_ms, q->maxt_ms}, true, a, err);
    if (rc == 0) {
        *ret = h.waiting;
        q->mint_ms = h.range.mint_ms;
        hiding_fini(&h);
    }
    blocks_view_unref(view);
    return rc;
}

static int add_labels(struct value_set *values, const struct labels *ls, struct str name, struct err *err)
{
    int rc = 0;

    for (size_t i = 0; i < ls->n && rc == 0; i++) {
        if (name.n == 0)
            rc = value_set_add(values, ls->v[i].name, err);
        else if (str_eq(ls->v[i].name, name))
            rc = value_set_add(values, ls->v[i].value, err);
    }
    return rc;
}

/* Finished on the way, or the texts of a million series would stand beside each other. */
static int lookup_by_series(struct source *s, const struct store_select *q, struct str name, struct value_set *values, struct err *err)
{
    struct value_set mine;
    struct series_set set;
    struct arena part, texts;
    int rc;

    arena_init_in(&part, values->arena);
    arena_init_in(&texts, values->arena);
    mine = (struct value_set){.arena = &texts};
    series_set_init(&set, &part);
    rc = source_gather(s, q, &set, err);
    for (size_t i = 0; i < set.n && rc == 0; i++)
        rc = add_labels(&mine, &set.v[i].labels, name, err);
    if (rc == 0)
        value_set_finish(&mine, 0);
    for (size_t i = 0; i < mine.n && rc == 0; i++)
        rc = value_set_add(values, mine.v[i], err);
    arena_fini(&texts);
    arena_fini(&part);
    return rc;
}

static bool too_large(int rc)
{
    return rc == RC_NOMEM || rc == RC_LIMIT || rc == RC_EXECUTION;
}

static int lookup_tenant(struct source *s, const struct store_select *q, struct str name,
                         size_t limit, struct value_set *values, struct err *err)
{
    struct store_select visible = *q;
    struct looking l = {.s = s, .q = &visible, .name = name, .limit = limit, .values = values};
    bool hidden = false;
    int rc = whether_hidden(s, &visible, values->arena, &hidden, err);

    if (rc == 0 && visible.mint_ms > visible.maxt_ms)
        return 0;
    if (rc == 0 && hidden) {
        rc = lookup_by_series(s, &visible, name, values, err);
        if (!too_large(rc))
            return rc;
        rc = 0; /* then with the texts of what is deleted */
    }
    if (rc < 0)
        return rc;
    buf_init(&l.matchers, RPC_MESSAGE_BYTES_MAX / 2);
    matchers_encode(&l.matchers, q->matchers, q->matcher_count);
    rc = buf_ok(&l.matchers) ? source_try(s, q->tenant, labels_once, &l, err)
                             : err_set(err, RC_LIMIT, "the selector does not fit a message");
    buf_fini(&l.matchers);
    return rc;
}

int lookup_labels(struct source *s, const struct store_select *q, struct str name, size_t limit,
                  struct value_set *values, struct err *err)
{
    bool federated = s->tenant_count > 1;
    struct matcher *m = arena_array(values->arena, q->matcher_count, sizeof *m);
    int rc = m ? 0 : no_memory(err);

    if (rc == 0 && federated && name.n == 0)
        rc = value_set_add(values, STR(LABEL_TENANT), err);
    for (size_t i = 0; i < s->tenant_count && rc == 0; i++) {
        struct store_select mine = *q;

        mine.tenant = s->tenants[i];
        if (federated) {
            if (!source_tenant_chosen(s->tenants[i], q->matchers, q->matcher_count, m,
                                      &mine.matcher_count))
                continue;
            mine.matchers = m;
        }
        if (federated && str_eqz(name, LABEL_TENANT))
            rc = value_set_add(values, s->tenants[i], err);
        else
            rc = lookup_tenant(s, &mine, name, limit, values, err);
    }
    return rc;
}

/* --- metadata --- */

struct describing {
    struct source *s;
    struct str tenant, metric;
    struct arena *arena;
    struct metadata_rows *rows;
};

static int metadata_request(void *arg, UNUSED struct fan_peer *p, struct buf *out, struct err *err)
{
    struct describing *d = arg;
    Torc__Wire__MetadataRequest m = TORC__WIRE__METADATA_REQUEST__INIT;

    m.version = SELECT_VERSION;
    m.tenant = pb_bytes(d->tenant);
    m.metric = pb_bytes(d->metric);
    return pb_pack(&m.base, out) ? 0
                                 : err_set(err, RC_LIMIT, "the metric name does not fit a message");
}

static int metadata_answer(void *arg, struct fan_peer *p, struct buf *bytes, struct err *err)
{
    struct str payload = buf_view(bytes);
    struct describing *d = arg;
    Torc__Wire__MetadataResponse *m;
    struct rd r;
    int rc = 1;

    if (!arena_charge(d->arena, payload.n + 4096))
        return no_memory(err);
    arena_uncharge(d->arena, payload.n + 4096);
    m = torc__wire__metadata_response__unpack(pb_arena_allocator(d->arena), payload.n,
                                              (const uint8_t *)payload.p);
    if (!m)
        return err_set(err, RC_CORRUPT, "the answer of %s does not decode", p->in->id);
    r = rd_of(pb_str(m->rows));
    while (rc > 0) {
        struct push_metadata row;

        rc = push_metadata_next(&r, &row, err);
        if (rc > 0) {
            struct metadata_row *v =
                grown(d->arena, d->rows->v, d->rows->n, &d->rows->cap, sizeof *v);

            if (!v)
                return no_memory(err);
            d->rows->v = v;
            v[d->rows->n++] = (struct metadata_row){row.metric, row.help, row.unit, row.type};
        }
    }
    return rc;
}

static int metadata_once(void *arg, const struct ring *ring, UNUSED const struct blocks_view *view,
                         struct err *err)
{
    static const struct fan_ops ops = {RPC_METADATA, metadata_request, metadata_answer};
    struct describing *d = arg;
    struct fan_cfg cfg;
    struct fan fan;
    int rc;

    source_fan_cfg(d->s, &cfg);
    rc = fan_init(&fan, &cfg, ring, &ops, d, d->arena, err);
    if (rc < 0)
        return rc;
    rc = fan_run(&fan, fan_read_need(ring), err);
    fan_fini(&fan);
    return rc;
}

static int row_cmp(const void *pa, const void *pb)
{
    const struct metadata_row *a = pa, *b = pb;
    int c = str_cmp(a->metric, b->metric);

    if (c == 0)
        c = (a->type > b->type) - (a->type < b->type);
    if (c == 0)
        c = str_cmp(a->help, b->help);
    return c ? c : str_cmp(a->unit, b->unit);
}

int lookup_metadata(struct source *s, struct str metric, struct arena *a, struct metadata_rows *ret,
                    struct err *err)
{
    struct metadata_rows rows = {0};
    struct describing d = {s, {0}, metric, a, &rows};
    size_t n = 0;
    int rc = 0;

    for (size_t i = 0; i < s->tenant_count && rc == 0; i++) {
        d.tenant = s->tenants[i];
        rc = source_try(s, d.tenant, metadata_once, &d, err);
    }
    if (rc < 0)
        return rc;
    if (rows.n)
        qsort(rows.v, rows.n, sizeof *rows.v, row_cmp);
    for (size_t i = 0; i < rows.n; i++)
        if (n == 0 || row_cmp(&rows.v[n - 1], &rows.v[i]) != 0)
            rows.v[n++] = rows.v[i];
    rows.n = n;
    *ret = rows;
    return 0;
}

/* Numbers as in remote write's MetricMetadata. */
const char *metadata_type_name(uint8_t type)
{
    static const char *const names[] = {"unknown",        "counter", "gauge", "histogram",
                                        "gaugehistogram", "summary", "info",  "stateset"};

    return type < ARRAY_LEN(names) ? names[type] : "unknown";
}
