#include "ring/ring_page.h"

#include "common/base/json.h"
#include "common/http/confirm.h"
#include "common/http/html.h"

#include <inttypes.h>
#include <stdio.h>

enum { ROLES_BYTES = 64, AGE_BYTES = 32 };

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

static bool shown(const struct ring_page *p, size_t i)
{
    return !p->roles || (ring_instance(p->ring, (uint16_t)i)->roles & p->roles);
}

static const char *truth(bool yes)
{
    return yes ? "true" : "false";
}

/* --- JSON --- */

static void json_tokens(const struct ring_instance *in, struct buf *out)
{
    buf_z(out, ",\"token_list\":[");
    for (uint32_t i = 0; i < in->tokens_n; i++)
        buf_printf(out, "%s%" PRIu32, i ? "," : "", in->tokens[i]);
    buf_char(out, ']');
}

static void json_instance(const struct ring_page *p, size_t i, struct buf *out)
{
    const struct ring_instance *in = ring_instance(p->ring, (uint16_t)i);
    char roles[ROLES_BYTES];

    buf_printf(out,
               "{\"id\":\"%s\",\"state\":\"%s\",\"lifecycle\":\"%s\",\"health\":\"%s\",\"read_only\":%s,\"rebuilding\":%s,"
               "\"zone\":\"%s\",\"address\":\"%s\",\"http_address\":\"%s\",\"roles\":\"%s\",\"heartbeat_age_ms\":%" PRId64 ","
               "\"registered_ms\":%" PRId64 ",\"incarnation\":%" PRIu64 ",\"version\":%" PRIu64 ",\"tokens\":%u,\"ownership\":%.6f",
               in->id, state_text(in), ring_state_name(in->state), ring_health_name(in->health),
               truth(in->flags & RING_READ_ONLY), truth(in->flags & RING_REBUILDING), in->zone, in->addr, in->http_addr,
               roles_text(in->roles, roles), p->ages_ms[i], in->registered_ms, in->incarnation, in->version, in->tokens_n,
               in->ownership);
    if (p->tokens)
        json_tokens(in, out);
    buf_char(out, '}');
}

static void json_store(const struct ring_store_status *s, struct buf *out)
{
    buf_printf(out, ",\"store\":{\"name\":\"%s\",\"reached\":%s,\"age_ms\":%" PRId64 ",\"failures\":%" PRIu64 ",\"last_failure\":", s->name,
               truth(s->reached), s->age_ms, s->failures);
    json_z(out, s->failure);
    buf_char(out, '}');
}

static void json_departed(const struct ring_page *p, struct buf *out)
{
    buf_z(out, ",\"departed\":[");
    for (size_t i = 0; i < p->departed_n; i++) {
        const struct member *m = &p->departed[i];

        buf_printf(out, "%s{\"id\":\"%s\",\"zone\":\"%s\",\"left_ms\":%" PRId64 ",\"incarnation\":%" PRIu64 ",\"version\":%" PRIu64 "}",
                   i ? "," : "", m->id, m->zone, m->left_ms, m->incarnation, m->version);
    }
    buf_char(out, ']');
}

void ring_page_json(const struct ring_page *p, struct buf *out)
{
    bool first = true;

    buf_printf(out, "{\"epoch\":\"%" PRIx64 "\",\"replication_factor\":%d,\"zones\":%zu,\"instances\":[", ring_epoch(p->ring),
               ring_rf(p->ring), ring_zones_n(p->ring));
    for (size_t i = 0; i < ring_instances_n(p->ring); i++) {
        if (!shown(p, i))
            continue;
        if (!first)
            buf_char(out, ',');
        json_instance(p, i, out);
        first = false;
    }
    buf_char(out, ']');
    if (p->store) {
        json_store(p->store, out);
        json_departed(p, out);
    }
    buf_z(out, "}\n");
}

/* --- HTML --- */

static const char *age_text(int64_t ms, char buf[AGE_BYTES])
{
    if (ms < 0)
        snprintf(buf, AGE_BYTES, "never");
    else
        snprintf(buf, AGE_BYTES, "%.1f s ago", (double)ms / 1000);
    return buf;
}

static void html_forget(const struct ring_page *p, const struct ring_instance *in, struct buf *out)
{
    if (!p->req || in->healthy)
        return;
    html_form_begin(out, p->req, p->path);
    html_form_hidden(out, "forget", in->id);
    html_form_end(out, "Forget");
}

static void html_instance(const struct ring_page *p, size_t i, struct buf *out)
{
    const struct ring_instance *in = ring_instance(p->ring, (uint16_t)i);
    char roles[ROLES_BYTES], age[AGE_BYTES];

    buf_printf(out,
               "<tr><td>%s</td><td>%s%s%s</td><td>%s</td><td>%s</td><td>%s</td><td>%s</td><td>%u</td><td>%.2f %%</td>"
               "<td>%" PRIu64 ".%" PRIu64 "</td><td>",
               in->id, state_text(in), in->flags & RING_READ_ONLY ? " (read-only)" : "",
               in->flags & RING_REBUILDING ? " (rebuilding)" : "", in->zone, roles_text(in->roles, roles), in->addr,
               age_text(p->ages_ms[i], age), in->tokens_n, in->ownership * 100, in->incarnation, in->version);
    html_forget(p, in, out);
    buf_z(out, "</td></tr>\n");
}

static void html_instances(const struct ring_page *p, struct buf *out)
{
    buf_z(out, "<table><thead><tr><th>Instance</th><th>State</th><th>Zone</th><th>Roles</th><th>Address</th>"
               "<th>Last heartbeat</th><th>Tokens</th><th>Ownership</th><th>Version</th><th></th></tr></thead><tbody>\n");
    for (size_t i = 0; i < ring_instances_n(p->ring); i++) {
        if (shown(p, i))
            html_instance(p, i, out);
    }
    buf_z(out, "</tbody></table>\n");
}

static void html_tokens(const struct ring_page *p, struct buf *out)
{
    if (!p->tokens) {
        buf_printf(out, "<p><a href=\"%s?tokens=true\">Show tokens</a></p>\n", p->path);
        return;
    }
    buf_printf(out, "<p><a href=\"%s\">Hide tokens</a></p>\n", p->path);
    for (size_t i = 0; i < ring_instances_n(p->ring); i++) {
        const struct ring_instance *in = ring_instance(p->ring, (uint16_t)i);

        if (!shown(p, i) || in->tokens_n == 0)
            continue;
        buf_printf(out, "<h2>Tokens of %s</h2>\n<p>", in->id);
        for (uint32_t k = 0; k < in->tokens_n; k++)
            buf_printf(out, "%" PRIu32 " ", in->tokens[k]);
        buf_z(out, "</p>\n");
    }
}

static void html_store(const struct ring_page *p, struct buf *out)
{
    const struct ring_store_status *s = p->store;
    char age[AGE_BYTES];

    buf_printf(out, "<h2>Store</h2>\n<p>%s, %s; heard %s; failures: %" PRIu64, s->name, s->reached ? "reached" : "not reached",
               age_text(s->age_ms, age), s->failures);
    if (s->failure[0]) {
        buf_z(out, "; the latest: ");
        html_str(out, str_of(s->failure));
    }
    buf_z(out, "</p>\n");
    if (p->departed_n == 0)
        return;
    buf_z(out, "<h2>Departed</h2>\n<p>");
    for (size_t i = 0; i < p->departed_n; i++)
        buf_printf(out, "%s%s", i ? ", " : "", p->departed[i].id);
    buf_z(out, "</p>\n");
}

void ring_page_html(const struct ring_page *p, struct buf *out)
{
    size_t n = 0;

    for (size_t i = 0; i < ring_instances_n(p->ring); i++)
        n += shown(p, i);
    buf_printf(out, "<p>Epoch %" PRIx64 ", replication factor %d, %zu zones with owners, %zu members here. Ownership is the share of all "
                    "copies of all series.</p>\n",
               ring_epoch(p->ring), ring_rf(p->ring), ring_zones_n(p->ring), n);
    html_instances(p, out);
    html_tokens(p, out);
    if (p->store)
        html_store(p, out);
}
