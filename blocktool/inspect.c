#include "blocktool/tool.h"

static const char *const families[BLOCK_FILES] = {"symbols", "series", "postings", "chunks"};

static int tenant_line(void *arg, struct str tenant)
{
    struct buf *out = arg;

    buf_printf(out, "tenant     %.*s\n", STR_FMT(tenant));
    return buf_ok(out) ? 0 : RC_LIMIT;
}

static void lines(const struct block_meta *m, struct buf *out)
{
    double samples = (double)MAX(m->samples, (uint64_t)1);

    buf_printf(out, "block      %s\nversion    %u\nlevel      %u%s\n", m->id.text, m->version, m->level, m->level ? "" : " (as an ingester wrote it)");
    if (*m->ingester)
        buf_printf(out, "ingester   %s\n", m->ingester);
    buf_printf(out, "samples    %llu from %lld to %lld ms\nseries     %llu\nchunks     %llu\nsources    %zu\n", (unsigned long long)m->samples, (long long)m->mint_ms,
               (long long)m->maxt_ms, (unsigned long long)m->series, (unsigned long long)m->chunks, m->source_count);
    buf_printf(out, "bytes      %llu, %.3f a sample\n", (unsigned long long)m->bytes, (double)m->bytes / samples);
    for (size_t i = 0; i < BLOCK_FILES; i++)
        buf_printf(out, "  %-8s %llu, %.3f a sample\n", families[i], (unsigned long long)m->files[i].size, (double)m->files[i].size / samples);
}

int tool_inspect(struct tool *t, struct err *err)
{
    struct block_reader *r = NULL;
    struct buf out;
    struct ulid id;
    int rc = tool_block(t, 0, &id, err);

    buf_init(&out, 64 << 20);
    if (rc == 0)
        rc = block_open(t->bucket, &id, &r, err);
    if (rc == 0 && t->o.json) {
        rc = block_meta_encode(block_meta(r), &out, err);
        buf_char(&out, '\n');
    } else if (rc == 0) {
        lines(block_meta(r), &out);
        rc = block_each_tenant(r, tenant_line, &out, err);
    }
    if (rc == 0)
        fwrite(out.p, 1, out.n, stdout);
    block_unref(r);
    buf_fini(&out);
    return rc;
}
