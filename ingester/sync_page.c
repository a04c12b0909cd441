/* sync_page.c - what was compared with whom: /ingester/sync. */
#include "common/base/json.h"
#include "common/http/html.h"
#include "ingester/sync_impl.h"

#include <stdlib.h>

static const char *state_now(const struct sync *s)
{
    struct ring *r = s->in->deps.ring ? s->in->deps.ring(s->in->deps.ring_arg) : NULL;
    uint16_t self = r ? ring_self(r) : RING_NOBODY;
    const char *name = self == RING_NOBODY ? "unknown" : ring_state_name(ring_instance(r, self)->state);

    ring_unref(r);
    return name;
}

/* Lock held; NULL: never compared. */
static const struct sync_status *status_find(const struct sync *s, const char *id)
{
    for (size_t i = 0; i < s->status.n; i++)
        if (strcmp(s->status.v[i].id, id) == 0)
            return &s->status.v[i];
    return NULL;
}

static const struct sync_status *peer_status(const struct sync *s, size_t i)
{
    static const struct sync_status none;
    const struct sync_status *st = status_find(s, sync_core_peer(s->core, i)->id);

    return st ? st : &none;
}

static bool agrees(const struct sync_status *st)
{
    return st->ok && !st->running && st->result.windows_differed == 0;
}

static bool all_agree(const struct sync *s)
{
    bool yes = sync_core_quiet(s->core);

    for (size_t i = 0; i < sync_core_peers_n(s->core); i++)
        yes &= !sync_core_peer(s->core, i)->gives || agrees(peer_status(s, i));
    return yes;
}

static void peer_json(const struct sync *s, size_t i, struct buf *out)
{
    const struct sync_peer *p = sync_core_peer(s->core, i);
    const struct sync_status *st = peer_status(s, i);

    buf_printf(out, "%s{\"ingester\":", i ? "," : "");
    json_z(out, p->id);
    buf_printf(out, ",\"gives\":%s,\"takes\":%s,\"running\":%s,\"pending\":%s,\"ok\":%s,\"agrees\":%s", p->gives ? "true" : "false", p->takes ? "true" : "false",
               st->running ? "true" : "false", sync_core_due(s->core, i) ? "true" : "false", st->ok ? "true" : "false", agrees(st) ? "true" : "false");
    buf_printf(out, ",\"ended_ms\":%lld,\"took_ms\":%lld,\"buckets_differed\":%llu,\"series_differed\":%llu,\"windows_differed\":%llu", (long long)st->ended_ms,
               (long long)st->took_ms, (unsigned long long)st->result.buckets_differed, (unsigned long long)st->result.series_differed,
               (unsigned long long)st->result.windows_differed);
    buf_printf(out, ",\"samples\":%llu,\"series\":%llu,\"conflicts\":%llu,\"bytes\":%llu,\"samples_total\":%llu,\"error\":", (unsigned long long)st->result.samples,
               (unsigned long long)st->result.series, (unsigned long long)st->result.conflicts, (unsigned long long)st->result.bytes,
               (unsigned long long)st->samples_total);
    json_z(out, st->error);
    buf_char(out, '}');
}

void ingester_write_sync_json(struct ingester *in, struct buf *out)
{
    struct sync *s = in->sync;

    if (!s) {
        buf_z(out, "{\"state\":\"none\",\"peers\":[]}\n");
        return;
    }
    mutex_lock(&s->lock);
    buf_printf(out, "{\"state\":\"%s\",\"why\":", state_now(s));
    json_z(out, sync_core_why(s->core));
    buf_printf(out, ",\"done\":%s,\"agree\":%s,\"taken_version\":%llu,\"peers\":[", sync_core_quiet(s->core) ? "true" : "false", all_agree(s) ? "true" : "false",
               (unsigned long long)atomic_load(&in->taken_version));
    for (size_t i = 0; i < sync_core_peers_n(s->core); i++)
        peer_json(s, i, out);
    mutex_unlock(&s->lock);
    buf_z(out, "]}\n");
}

static void peer_html(const struct sync *s, size_t i, struct buf *out)
{
    const struct sync_peer *p = sync_core_peer(s->core, i);
    const struct sync_status *st = peer_status(s, i);

    buf_z(out, "<tr><td>");
    html_str(out, str_of(p->id));
    buf_printf(out, "<td>%s%s%s<td>%s", p->gives ? "owner" : "", p->gives && p->takes ? ", " : "", p->takes ? "takes over" : "",
               st->running ? "compares" : sync_core_due(s->core, i) ? "due" : agrees(st) ? "agrees" : st->ok ? "taken over" : "failed");
    if (st->ended_ms)
        buf_printf(out, "<td>%.1f s", (double)st->took_ms / 1000);
    else
        buf_z(out, "<td>-");
    buf_printf(out, "<td>%llu<td>%llu<td>%llu<td>%llu<td>%llu<td>%.1f<td>", (unsigned long long)st->result.series_differed,
               (unsigned long long)st->result.windows_differed, (unsigned long long)st->result.samples, (unsigned long long)st->result.conflicts,
               (unsigned long long)st->samples_total, (double)st->result.bytes / 1e6);
    html_str(out, str_of(st->error));
}

void ingester_write_sync_html(struct ingester *in, struct buf *out)
{
    struct sync *s = in->sync;

    if (!s) {
        buf_z(out, "<p>This ingester is in no ring.");
        return;
    }
    mutex_lock(&s->lock);
    if (!sync_core_quiet(s->core))
        buf_z(out, "<meta http-equiv=\"refresh\" content=\"2\">");
    buf_printf(out, "<p>%s: ", state_now(s));
    html_str(out, str_of(sync_core_why(s->core)));
    buf_z(out, ".");
    buf_z(out, "<table><tr><th>Ingester<th>Is<th>Last comparison<th>Took<th>Series that differed<th>Windows<th>Samples taken over"
               "<th>Other values<th>Samples since the start<th>MB<th>Error");
    for (size_t i = 0; i < sync_core_peers_n(s->core); i++)
        peer_html(s, i, out);
    mutex_unlock(&s->lock);
    buf_z(out, "</table>");
}
