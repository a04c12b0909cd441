#include "ring/ring_page.h"

#include <stdio.h>

enum { ROLES_BYTES = 64 };

static const char *roles_text(uint32_t roles, char buf[ROLES_BYTES])
{
    static const char *const names[] = {"ingester", "distributor", "querier", "compactor", "loadgen"};
    size_t n                         = 0;

    buf[0] = 0;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (roles & 1u << i)
            n += (size_t)snprintf(buf + n, ROLES_BYTES - n, "%s%s", n ? "," : "", names[i]);
    }
    return buf;
}

/* What an operator looks for first: lost members read as UNHEALTHY whatever state they were in. */
static const char *state_text(const struct ring_instance *in)
{
    return in->healthy ? ring_state_name(in->state) : "UNHEALTHY";
}

void ring_page_json(const struct ring *r, const int64_t *ages_ms, struct buf *out)
{
    char roles[ROLES_BYTES];

    buf_printf(out, "{\"epoch\":\"%llx\",\"replication_factor\":%d,\"zones\":%zu,\"instances\":[",
               (unsigned long long)ring_epoch(r), ring_rf(r), ring_zones_n(r));
    for (size_t i = 0; i < ring_instances_n(r); i++) {
        const struct ring_instance *in = ring_instance(r, (uint16_t)i);

        buf_printf(out,
                   "%s{\"id\":\"%s\",\"state\":\"%s\",\"lifecycle\":\"%s\",\"health\":\"%s\",\"read_only\":%s,\"rebuilding\":%s,"
                   "\"zone\":\"%s\",\"address\":\"%s\",\"http_address\":\"%s\",\"roles\":\"%s\",\"heartbeat_age_ms\":%lld,"
                   "\"registered_ms\":%lld,\"incarnation\":%llu,\"tokens\":%u,\"ownership\":%.6f}",
                   i ? "," : "", in->id, state_text(in), ring_state_name(in->state), ring_health_name(in->health),
                   in->flags & RING_READ_ONLY ? "true" : "false", in->flags & RING_REBUILDING ? "true" : "false",
                   in->zone, in->addr, in->http_addr, roles_text(in->roles, roles), (long long)ages_ms[i],
                   (long long)in->registered_ms, (unsigned long long)in->incarnation, in->tokens_n, in->ownership);
    }
    buf_z(out, "]}\n");
}

void ring_page_html(const struct ring *r, const int64_t *ages_ms, struct buf *out)
{
    char roles[ROLES_BYTES], age[32];

    buf_printf(out, "<p>Epoch %llx, replication factor %d, %zu zones, %zu members.</p>\n",
               (unsigned long long)ring_epoch(r), ring_rf(r), ring_zones_n(r), ring_instances_n(r));
    buf_z(out, "<table><thead><tr><th>Instance</th><th>State</th><th>Zone</th><th>Roles</th><th>Address</th>"
               "<th>Last heartbeat</th><th>Tokens</th><th>Ownership</th></tr></thead><tbody>\n");
    for (size_t i = 0; i < ring_instances_n(r); i++) {
        const struct ring_instance *in = ring_instance(r, (uint16_t)i);

        if (ages_ms[i] < 0)
            snprintf(age, sizeof age, "never");
        else
            snprintf(age, sizeof age, "%.1f s ago", (double)ages_ms[i] / 1000);
        buf_printf(out,
                   "<tr><td>%s</td><td>%s%s%s</td><td>%s</td><td>%s</td><td>%s</td><td>%s</td><td>%u</td><td>%.2f %%</td></tr>\n",
                   in->id, state_text(in), in->flags & RING_READ_ONLY ? " (read-only)" : "",
                   in->flags & RING_REBUILDING ? " (rebuilding)" : "", in->zone, roles_text(in->roles, roles), in->addr, age,
                   in->tokens_n, in->ownership * 100);
    }
    buf_z(out, "</tbody></table>\n");
}
