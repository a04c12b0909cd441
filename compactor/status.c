#include "common/http/html.h"
#include "common/base/json.h"
#include "compactor/compactor_impl.h"

#include <inttypes.h>

/* --- gathering --- */

static void tenant_status_of(const struct compactor *c, const struct view *v, const struct plan_tenant *t,
                             struct tenant_status *ret)
{
    struct tenant_status s = {.gen = t->index->gen, .quarantined = t->index->quarantined.n, .retention_ms = t->retention_ms,
                              .lag_ms = plan_lag_ms(&c->plan, &v->in, t)};

    for (size_t i = 0; i < t->index->blocks.n; i++) {
        const struct index_block *b = &t->index->blocks.v[i];

        if (b->deleted_ms) {
            s.deleted++;
            continue;
        }
        s.mint_ms = s.blocks ? MIN(s.mint_ms, b->mint_ms) : b->mint_ms;
        s.maxt_ms = s.blocks ? MAX(s.maxt_ms, b->maxt_ms) : b->maxt_ms;
        s.blocks++;
        s.bytes += b->bytes;
        s.series += b->series;
        s.samples += b->samples;
        s.level_blocks[MIN(b->level, (uint32_t)PLAN_LEVELS)]++;
    }
    for (size_t i = 0; i < t->index->tombstones.n; i++)
        s.tombstones += t->index->tombstones.v[i].applied_ms == 0;
    strncpy(s.name, t->name, sizeof s.name - 1);
    *ret = s;
}

static void gauges_remove(struct compactor *c, const struct str *tenant)
{
    metric_remove(c->m.lag, tenant, 1);
    metric_remove(c->m.tombstones, tenant, 1);
}

static void lag_drop_gone(struct compactor *c, const struct view *v)
{
    for (size_t i = 0; i < c->tenants.n; i++) {
        struct str name = str_of(c->tenants.v[i].name);
        bool there = false;

        for (size_t k = 0; k < v->in.tenant_count && !there; k++)
            there = str_eqz(name, v->in.tenants[k].name);
        if (!there)
            gauges_remove(c, &name);
    }
}

void status_refresh(struct compactor *c, const struct view *v)
{
    mutex_lock(&c->lock);
    lag_drop_gone(c, v);
    vec_clear(&c->tenants);
    for (size_t i = 0; i < v->in.tenant_count; i++) {
        struct tenant_status *s = vec_push(&c->tenants);

        tenant_status_of(c, v, &v->in.tenants[i], s);
        metric_set(metric_with(c->m.lag, s->name, NULL), (double)s->lag_ms / 1000);
        metric_set(metric_with(c->m.tombstones, s->name, NULL), (double)s->tombstones);
    }
    c->l0_blocks = c->l0_bytes = 0;
    c->l0_quarantined = v->l0.quarantined.n;
    for (size_t i = 0; i < v->l0.blocks.n; i++) {
        c->l0_blocks += v->l0.blocks.v[i].deleted_ms == 0;
        c->l0_bytes += v->l0.blocks.v[i].deleted_ms ? 0 : v->l0.blocks.v[i].bytes;
    }
    mutex_unlock(&c->lock);
}

/* --- telling --- */

static void tenant_json(struct buf *out, const struct tenant_status *s)
{
    buf_z(out, "{\"tenant\":");
    json_z(out, s->name);
    buf_printf(out, ",\"generation\":%" PRIu64 ",\"blocks\":%" PRIu64 ",\"blocksByLevel\":[%" PRIu64 ",%" PRIu64 ",%" PRIu64 "]",
               s->gen, s->blocks, s->level_blocks[1], s->level_blocks[2], s->level_blocks[3]);
    buf_printf(out, ",\"bytes\":%" PRIu64 ",\"series\":%" PRIu64 ",\"samples\":%" PRIu64 ",\"deleted\":%" PRIu64
                    ",\"quarantined\":%" PRIu64 ",\"tombstonesWaiting\":%" PRIu64,
               s->bytes, s->series, s->samples, s->deleted, s->quarantined, s->tombstones);
    buf_printf(out, ",\"minTime\":%" PRId64 ",\"maxTime\":%" PRId64 ",\"lagSeconds\":%" PRId64 ",\"retentionSeconds\":%" PRId64 "}",
               s->mint_ms, s->maxt_ms, s->lag_ms / 1000, s->retention_ms / 1000);
}

static void status_json(const struct compactor *c, uint64_t series_done, struct buf *out)
{
    buf_z(out, "{\"job\":");
    json_z(out, c->job);
    buf_printf(out, ",\"seriesDone\":%" PRIu64 ",\"seriesOfInputs\":%" PRIu64 ",\"lastRun\":%" PRId64 ",\"lastError\":", series_done, c->job_series,
               c->last_run_ms);
    json_z(out, c->last_error);
    buf_printf(out, ",\"level0\":{\"blocks\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"quarantined\":%" PRIu64 "},\"tenants\":[",
               c->l0_blocks, c->l0_bytes, c->l0_quarantined);
    for (size_t i = 0; i < c->tenants.n; i++) {
        if (i)
            buf_char(out, ',');
        tenant_json(out, &c->tenants.v[i]);
    }
    buf_z(out, "]}\n");
}

static void tenant_html(struct buf *out, const struct tenant_status *s)
{
    buf_z(out, "<tr><td>");
    html_str(out, str_of(s->name));
    buf_printf(out,
               "</td><td>%" PRIu64 "</td><td>%" PRIu64 " / %" PRIu64 " / %" PRIu64 "</td><td>%" PRIu64 "</td><td>%" PRIu64
               "</td><td>%" PRIu64 "</td><td>%" PRIu64 "</td><td>%" PRId64 "</td><td>%" PRId64 "</td></tr>\n",
               s->blocks, s->level_blocks[1], s->level_blocks[2], s->level_blocks[3], s->samples, s->bytes, s->deleted,
               s->quarantined, s->lag_ms / 1000, s->retention_ms / 1000);
}

static void status_html(const struct compactor *c, uint64_t series_done, struct buf *out)
{
    html_begin(out, "Compaction by tenant");
    buf_z(out, "<p>Level 0: ");
    buf_printf(out, "%" PRIu64 " blocks, %" PRIu64 " bytes, %" PRIu64 " quarantined.</p>\n<p>Job: ", c->l0_blocks, c->l0_bytes,
               c->l0_quarantined);
    html_str(out, str_of(c->job[0] ? c->job : "none"));
    buf_printf(out, " (%" PRIu64 " series done, at most %" PRIu64 "). Last error: ", series_done, c->job_series);
    html_str(out, str_of(c->last_error[0] ? c->last_error : "none"));
    buf_z(out, "</p>\n<table>\n<tr><th>Tenant</th><th>Blocks</th><th>2 h / 12 h / 24 h</th><th>Samples</th>"
               "<th>Bytes</th><th>Deleted</th><th>Quarantined</th><th>Lag, s</th><th>Retention, s</th></tr>\n");
    for (size_t i = 0; i < c->tenants.n; i++)
        tenant_html(out, &c->tenants.v[i]);
    html_table_end(out);
    html_end(out);
}

void compactor_status(struct compactor *c, bool html, struct buf *out)
{
    uint64_t series_done = atomic_load(&c->series_done);

    mutex_lock(&c->lock);
    if (html)
        status_html(c, series_done, out);
    else
        status_json(c, series_done, out);
    mutex_unlock(&c->lock);
}
