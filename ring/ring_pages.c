/* ring_pages.c - the membership for people and programs. Everything that a member chose itself is escaped. */
#include "ring/ring_node.h"

static void json_text(struct buf *out, const char *s)
{
    buf_char(out, '"');
    for (; *s; s++) {
        if (*s == '"' || *s == '\\')
            buf_char(out, '\\');
        if ((unsigned char)*s < 0x20)
            buf_printf(out, "\\u%04x", (unsigned)*s);
        else
            buf_char(out, *s);
    }
    buf_char(out, '"');
}

static void html_text(struct buf *out, const char *s)
{
    for (; *s; s++) {
        if (strchr("<>&\"'", *s))
            buf_printf(out, "&#%d;", *s);
        else
            buf_char(out, *s);
    }
}

static bool wanted(const struct ring_instance *in, uint32_t roles)
{
    return roles == 0 || (in->roles & roles);
}

void ring_node_write_json(struct ring_node *n, uint32_t roles, struct buf *out)
{
    struct ring *r = ring_node_ring(n);
    bool first = true;

    buf_printf(out, "{\"epoch\":%llu,\"replication_factor\":%d,\"instances\":[", (unsigned long long)ring_epoch(r), ring_rf(r));
    for (size_t i = 0; i < ring_instances_n(r); i++) {
        const struct ring_instance *in = ring_instance(r, (uint16_t)i);

        if (!wanted(in, roles))
            continue;
        buf_z(out, first ? "{\"id\":" : ",{\"id\":");
        first = false;
        json_text(out, in->id);
        buf_z(out, ",\"state\":");
        json_text(out, ring_state_name(in->state));
        buf_z(out, ",\"health\":");
        json_text(out, ring_health_name(in->health));
        buf_z(out, ",\"zone\":");
        json_text(out, in->zone);
        buf_z(out, ",\"address\":");
        json_text(out, in->addr);
        buf_z(out, ",\"http_address\":");
        json_text(out, in->http_addr);
        buf_printf(out, ",\"registered_ms\":%lld,\"tokens\":%u,\"ownership\":%.4f,\"read_only\":%s}", (long long)in->registered_ms,
                   in->tokens_n, in->ownership, in->flags & RING_READ_ONLY ? "true" : "false");
    }
    buf_z(out, "]}\n");
    ring_unref(r);
}

void ring_node_write_html(struct ring_node *n, uint32_t roles, const char *title, struct buf *out)
{
    struct ring *r = ring_node_ring(n);

    buf_printf(out, "<!doctype html><meta charset=utf-8><title>%s</title><h1>%s</h1><p>Epoch %llu, replication factor %d.</p>"
               "<table border=1 cellpadding=4><tr><th>Instance<th>State<th>Health<th>Zone<th>RPC<th>HTTP<th>Tokens<th>Ownership</tr>",
               title, title, (unsigned long long)ring_epoch(r), ring_rf(r));
    for (size_t i = 0; i < ring_instances_n(r); i++) {
        const struct ring_instance *in = ring_instance(r, (uint16_t)i);
        const char *cells[] = {in->id, ring_state_name(in->state), ring_health_name(in->health), in->zone, in->addr, in->http_addr};

        if (!wanted(in, roles))
            continue;
        buf_z(out, "<tr>");
        for (size_t k = 0; k < ARRAY_LEN(cells); k++) {
            buf_z(out, "<td>");
            html_text(out, cells[k]);
        }
        buf_printf(out, "<td>%u<td>%.1f %%</tr>", in->tokens_n, in->ownership * 100);
    }
    buf_z(out, "</table>\n");
    ring_unref(r);
}
