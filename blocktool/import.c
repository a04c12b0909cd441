/* Blocks of a Prometheus. */
#include "blocktool/import_progress.h"
#include "blocktool/sink.h"
#include "blocktool/tool.h"
#include "tsdb/prom_block.h"

#include <limits.h>
#include <stdlib.h>

struct import {
    struct tool *t;
    struct import_progress progress;
    struct arena arena; /* of the series at hand */
    uint64_t read, blocks, blocks_there;
    struct sink_totals totals;
};

typedef VEC(struct prom_block *) prom_blocks;

static int by_time(const void *x, const void *y)
{
    const struct prom_block_meta *a = prom_block_meta(*(struct prom_block *const *)x), *b = prom_block_meta(*(struct prom_block *const *)y);

    return a->mint_ms != b->mint_ms ? (a->mint_ms > b->mint_ms) - (a->mint_ms < b->mint_ms) : strcmp(a->ulid, b->ulid);
}

static bool is_block(const char *dir)
{
    char path[PATH_MAX];

    snprintf(path, sizeof path, "%s/meta.json", dir);
    return fs_exists(path);
}

static int open_one(prom_blocks *all, const char *dir, struct err *err)
{
    struct prom_block *b;
    int rc = prom_block_open(dir, &b, err);

    if (rc == 0)
        *(struct prom_block **)vec_push(all) = b;
    return rc;
}

/* dir is a block, or has some. */
static int open_all(prom_blocks *all, const char *dir, struct err *err)
{
    char path[PATH_MAX];
    fs_names names = {0};
    int rc;

    if (is_block(dir))
        return open_one(all, dir, err);
    rc = fs_list(dir, &names, err);
    for (size_t i = 0; rc == 0 && i < names.n; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, names.v[i]);
        if (ulid_valid(str_of(names.v[i])) && is_block(path))
            rc = open_one(all, path, err);
    }
    fs_names_free(&names);
    if (rc == 0 && all->n == 0)
        rc = err_set(err, RC_NOT_FOUND, "%s is no Prometheus block and holds none", dir);
    if (rc == 0)
        qsort(all->v, all->n, sizeof *all->v, by_time);
    return rc;
}

/* All series of the block into the ranges that the sink is at. */
static int send(struct import *im, struct prom_block *b, struct sink *sink, struct err *err)
{
    struct chunk_columns c;
    struct labels ls;
    int rc;

    prom_block_rewind(b);
    for (;;) {
        arena_reset(&im->arena);
        rc = prom_block_next(b, &im->arena, &ls, &c, err);
        if (rc <= 0)
            return rc;
        rc = sink_add(sink, &ls, &c, err);
        if (rc < 0)
            return rc;
        im->read += c.n;
        import_progress_tick(&im->progress, im->read);
    }
}

static int import_block(struct import *im, struct prom_block *b, struct err *err)
{
    const struct prom_block_meta *m = prom_block_meta(b);
    struct sink_cfg cfg = {
        .bucket = im->t->bucket, .scratch = im->t->o.scratch, .tenant = im->t->o.tenant, .source = str_of(m->ulid), .mint_ms = m->mint_ms, .maxt_ms = m->maxt_ms,
    };
    struct sink_totals totals = {0};
    struct sink *sink;
    int rc = sink_new(&cfg, &sink, err);

    if (rc < 0)
        return err_wrap(err, rc, "block %s", m->ulid);
    while (rc == 0 && sink_next(sink, SINK_RANGES_MAX)) {
        rc = send(im, b, sink, err);
        if (rc == 0)
            rc = sink_finish(sink, err);
    }
    totals = sink_totals(sink);
    sink_free(sink);
    if (rc < 0)
        return err_wrap(err, rc, "block %s", m->ulid);
    im->blocks++;
    im->blocks_there += totals.blocks == 0;
    im->totals.samples += totals.samples;
    im->totals.blocks += totals.blocks;
    im->totals.bytes += totals.bytes;
    return 0;
}

int tool_import(struct tool *t, struct err *err)
{
    struct import im = {.t = t};
    prom_blocks all = {0};
    uint64_t samples = 0;
    char dir[PATH_MAX];
    int rc = tool_tenant(t, NULL, err);

    snprintf(dir, sizeof dir, "%.*s", STR_FMT(t->args[0]));
    arena_init(&im.arena, BLOCK_SERIES_BYTES_MAX);
    if (rc == 0)
        rc = open_all(&all, dir, err);
    for (size_t i = 0; rc == 0 && i < all.n; i++)
        samples += prom_block_meta(all.v[i])->samples;
    import_progress_init(&im.progress, "import", samples, t->o.quiet);
    for (size_t i = 0; rc == 0 && i < all.n; i++)
        rc = import_block(&im, all.v[i], err);
    import_progress_end(&im.progress, im.read);
    if (rc == 0)
        printf("%llu of %llu blocks imported for tenant %s (%llu were there): %llu samples in %llu blocks, %llu bytes\n",
               (unsigned long long)(im.blocks - im.blocks_there), (unsigned long long)im.blocks, t->o.tenant, (unsigned long long)im.blocks_there,
               (unsigned long long)im.totals.samples, (unsigned long long)im.totals.blocks, (unsigned long long)im.totals.bytes);
    for (size_t i = 0; i < all.n; i++)
        prom_block_free(all.v[i]);
    vec_fini(&all);
    arena_fini(&im.arena);
    return rc;
}
