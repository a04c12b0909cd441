/* dump: everything of a series in a block. export: samples as OpenMetrics text. */
#include "blocktool/tool.h"
#include "blocktool/walk.h"
#include "common/model/duration.h"

#include <stdlib.h>

enum { LINES_BYTES_MAX = 1 << 30 };

struct writer {
    struct tool *t;
    struct promql_ast match;
    struct arena query, series;
    struct buf out;
    uint64_t samples, histograms, stale; /* export: those that the text cannot hold */
};

static int flush(struct writer *w, struct err *err)
{
    if (!buf_ok(&w->out))
        return err_set(err, RC_LIMIT, "a series takes more than %d MiB of text", LINES_BYTES_MAX >> 20);
    if (fwrite(w->out.p ? w->out.p : "", 1, w->out.n, stdout) != w->out.n)
        return err_sys(err, RC_IO, "writing");
    buf_clear(&w->out);
    return 0;
}

/* --- dump --- */

static int dump_series(struct writer *w, const struct stored_series *s, struct err *err)
{
    struct chunk_columns c;
    int rc = stored_series_columns(s, w->t->mint_ms, w->t->maxt_ms, &w->series, &c, err);

    if (rc < 0 || c.n == 0)
        return rc;
    labels_print(&w->out, &s->labels);
    buf_printf(&w->out, "  fingerprint %016llx%016llx\n", (unsigned long long)s->fp.hi, (unsigned long long)s->fp.lo);
    for (size_t i = 0; i < s->window_count; i++) {
        const struct stored_window *win = &s->windows[i];
        size_t bytes = 0;

        for (uint32_t k = 0; k < win->chunk_count; k++)
            bytes += win->chunks[k].n;
        buf_printf(&w->out, "  window %lld: %u samples, %u chunks, %zu bytes, digest %016llx%016llx\n", (long long)win->start_ms, win->count, win->chunk_count, bytes,
                   (unsigned long long)win->digest.hi, (unsigned long long)win->digest.lo);
    }
    for (size_t i = 0; i < c.n; i++) {
        buf_printf(&w->out, "  %lld ", (long long)c.t[i]);
        if (c.hist && c.hist[i])
            buf_printf(&w->out, "histogram of schema %d, sum %.17g", c.hist[i]->schema, c.hist[i]->sum);
        else if (is_stale_nan(c.v[i]))
            buf_z(&w->out, "stale");
        else
            float_print(&w->out, c.v[i]);
        if (c.st && c.st[i])
            buf_printf(&w->out, " since %lld", (long long)c.st[i]);
        buf_char(&w->out, '\n');
    }
    w->samples += c.n;
    return 0;
}

/* --- export --- */

static bool legacy(const struct labels *ls)
{
    bool good = metric_name_legacy_valid(labels_get(ls, STR(LABEL_METRIC_NAME)));

    for (size_t i = 0; i < ls->n; i++)
        good &= str_eqz(ls->v[i].name, LABEL_METRIC_NAME) || label_name_legacy_valid(ls->v[i].name);
    return good;
}

/* As OpenMetrics escapes: only these three. */
static void put_value(struct buf *out, struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '\n')
            buf_z(out, "\\n");
        else if (s.p[i] == '"' || s.p[i] == '\\')
            buf_printf(out, "\\%c", s.p[i]);
        else
            buf_char(out, s.p[i]);
    }
}

static void put_name(struct buf *out, const struct labels *ls)
{
    bool first = true;

    buf_str(out, labels_get(ls, STR(LABEL_METRIC_NAME)));
    for (size_t i = 0; i < ls->n; i++) {
        if (str_eqz(ls->v[i].name, LABEL_METRIC_NAME))
            continue;
        buf_char(out, first ? '{' : ',');
        first = false;
        buf_str(out, ls->v[i].name);
        buf_z(out, "=\"");
        put_value(out, ls->v[i].value);
        buf_char(out, '"');
    }
    if (!first)
        buf_char(out, '}');
}

static void put_seconds(struct buf *out, int64_t ms)
{
    uint64_t abs = (uint64_t)(ms < 0 ? -ms : ms);

    buf_printf(out, "%s%llu.%03llu", ms < 0 ? "-" : "", (unsigned long long)(abs / 1000), (unsigned long long)(abs % 1000));
}

static int export_series(struct writer *w, const struct stored_series *s, struct err *err)
{
    struct chunk_columns c;
    struct buf name;
    int rc = stored_series_columns(s, w->t->mint_ms, w->t->maxt_ms, &w->series, &c, err);

    if (rc < 0 || c.n == 0)
        return rc;
    if (!legacy(&s->labels)) {
        buf_init(&name, 1 << 20);
        labels_print(&name, &s->labels);
        rc = err_set(err, RC_UNSUPPORTED, "OpenMetrics 1.0 cannot name %.*s; leave it out by --match", (int)MIN(name.n, (size_t)256), name.p);
        buf_fini(&name);
        return rc;
    }
    buf_init(&name, 1 << 20);
    put_name(&name, &s->labels);
    for (size_t i = 0; i < c.n; i++) {
        if (c.hist && c.hist[i]) {
            w->histograms++;
            continue;
        }
        if (is_stale_nan(c.v[i])) {
            w->stale++;
            continue;
        }
        buf_str(&w->out, buf_view(&name));
        buf_char(&w->out, ' ');
        float_print(&w->out, c.v[i]);
        buf_char(&w->out, ' ');
        put_seconds(&w->out, c.t[i]);
        buf_char(&w->out, '\n');
        w->samples++;
    }
    buf_fini(&name);
    return 0;
}

/* --- both --- */

static int walk_all(struct writer *w, const struct ulid *blocks, size_t n, int (*put)(struct writer *w, const struct stored_series *s, struct err *err), struct err *err)
{
    struct stored_series s;
    struct walk *walk = NULL;
    int rc;

    arena_init(&w->query, 64 << 20);
    arena_init(&w->series, BLOCK_SERIES_BYTES_MAX);
    buf_init(&w->out, LINES_BYTES_MAX);
    rc = tool_match(w->t, &w->query, &w->match, err);
    if (rc == 0)
        rc = walk_new(w->t->bucket, w->t->o.tenant, blocks, n, &walk, err);
    while (rc == 0 && (rc = walk_next(walk, &s, err)) == 1) {
        arena_reset(&w->series);
        rc = tool_matches(&w->match, &s.labels) ? put(w, &s, err) : 0;
        if (rc == 0)
            rc = flush(w, err);
    }
    walk_free(walk);
    promql_ast_fini(&w->match);
    buf_fini(&w->out);
    arena_fini(&w->series);
    arena_fini(&w->query);
    return rc;
}

int tool_dump(struct tool *t, struct err *err)
{
    struct writer w = {.t = t};
    struct block_reader *r = NULL;
    struct ulid id;
    int rc = tool_block(t, 0, &id, err);

    if (rc == 0)
        rc = block_open(t->bucket, &id, &r, err);
    if (rc == 0)
        rc = tool_tenant(t, block_meta(r), err);
    block_unref(r);
    return rc == 0 ? walk_all(&w, &id, 1, dump_series, err) : rc;
}

int tool_export(struct tool *t, struct err *err)
{
    struct writer w = {.t = t};
    struct ulid *blocks = NULL;
    size_t n = 0;
    int rc = tool_tenant(t, NULL, err);

    if (rc == 0)
        rc = walk_blocks(t->bucket, t->o.tenant, &blocks, &n, err);
    if (rc == 0)
        rc = walk_all(&w, blocks, n, export_series, err);
    free(blocks);
    if (rc < 0)
        return rc;
    printf("# EOF\n");
    if (!t->o.quiet)
        fprintf(stderr, "%llu samples of %zu blocks; left out, since OpenMetrics has no form for them: %llu native histograms, %llu staleness markers. What is younger than the "
                "last flush is in the ingesters only.\n", (unsigned long long)w.samples, n, (unsigned long long)w.histograms, (unsigned long long)w.stale);
    return 0;
}
