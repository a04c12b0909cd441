#include "blocktool/tool.h"
#include "common/base/json.h"
#include "common/model/duration.h"

enum { OUT_BYTES_MAX = 256 << 20 };

static const char *state_of(const struct index_block *b)
{
    return b->reason ? "quarantined" : b->deleted_ms ? "deleted" : "live";
}

static void put_json(struct buf *out, const char *tenant, const struct index_block *b)
{
    buf_z(out, out->n > 1 ? ",\n{" : "\n{");
    json_key(out, "block");
    json_z(out, b->id.text);
    buf_char(out, ',');
    json_key(out, "tenant");
    json_z(out, tenant);
    buf_printf(out, ",\"level\":%u,\"minTime\":%lld,\"maxTime\":%lld,\"series\":%llu,\"samples\":%llu,\"bytes\":%llu,\"state\":\"%s\",", b->level, (long long)b->mint_ms,
               (long long)b->maxt_ms, (unsigned long long)b->series, (unsigned long long)b->samples, (unsigned long long)b->bytes, state_of(b));
    json_key(out, "reason");
    json_z(out, b->reason ? b->reason : "");
    buf_char(out, '}');
}

static void put_line(struct buf *out, const char *tenant, const struct index_block *b)
{
    buf_printf(out, "%s  %5u  %-20s  ", b->id.text, b->level, *tenant ? tenant : b->ingester);
    time_print_rfc3339(out, b->range_start_ms);
    buf_printf(out, "  %6.1f h  %9llu  %11llu  %12llu  %6.2f  %s%s%s\n", (double)(b->range_end_ms - b->range_start_ms) / 3600000, (unsigned long long)b->series,
               (unsigned long long)b->samples, (unsigned long long)b->bytes, b->samples ? (double)b->bytes / (double)b->samples : 0, state_of(b), b->reason ? ": " : "",
               b->reason ? b->reason : "");
}

static int put_index(struct tool *t, const char *tenant, struct buf *out, struct err *err)
{
    struct index ix = {0};
    int rc = index_load(t->bucket, tenant, &ix, err);

    for (size_t i = 0; rc == 0 && i < ix.blocks.n + ix.quarantined.n; i++) {
        const struct index_block *b = i < ix.blocks.n ? &ix.blocks.v[i] : &ix.quarantined.v[i - ix.blocks.n];

        (t->o.json ? put_json : put_line)(out, tenant ? tenant : "", b);
    }
    index_fini(&ix);
    return rc;
}

int tool_list(struct tool *t, struct err *err)
{
    fs_names tenants = {0};
    struct buf out;
    int rc = 0;

    buf_init(&out, OUT_BYTES_MAX);
    if (t->o.json)
        buf_char(&out, '[');
    else
        buf_printf(&out, "%-26s  %5s  %-20s  %-20s  %8s  %9s  %11s  %12s  %6s  %s\n", "BLOCK", "LEVEL", "TENANT OR INGESTER", "FROM", "SPAN", "SERIES", "SAMPLES", "BYTES",
                   "B/SAMP", "STATE");
    if (*t->o.tenant) {
        rc = put_index(t, t->o.tenant, &out, err);
    } else {
        rc = put_index(t, NULL, &out, err);
        if (rc == 0)
            rc = index_tenants(t->bucket, &tenants, err);
        for (size_t i = 0; rc == 0 && i < tenants.n; i++)
            rc = put_index(t, tenants.v[i], &out, err);
    }
    if (t->o.json)
        buf_z(&out, "\n]\n");
    if (rc == 0 && !buf_ok(&out))
        rc = err_set(err, RC_LIMIT, "more than %d MiB of text: say --tenant", OUT_BYTES_MAX >> 20);
    if (rc == 0)
        fwrite(out.p, 1, out.n, stdout);
    fs_names_free(&tenants);
    buf_fini(&out);
    return rc;
}
