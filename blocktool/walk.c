#include "blocktool/walk.h"

#include <stdlib.h>

struct input {
    struct block_reader *reader;
    struct block_iter *iter;
    const struct stored_series *series; /* at hand; NULL at the end */
    bool used;                          /* it went into what was returned last */
};

struct walk {
    struct input *inputs;
    size_t n;
    const struct stored_series **same;
    struct arena arena; /* of the series returned */
};

int walk_blocks(struct bucket *b, const char *tenant, struct ulid **ret, size_t *ret_n, struct err *err)
{
    struct index l0 = {0}, own = {0};
    int rc = index_load(b, NULL, &l0, err); /* before the tenant's: index.h */

    if (rc == 0)
        rc = index_load(b, tenant, &own, err);
    *ret = xcalloc(l0.blocks.n + own.blocks.n + 1, sizeof **ret);
    *ret_n = 0;
    for (size_t i = 0; rc == 0 && i < own.blocks.n; i++)
        if (!own.blocks.v[i].deleted_ms)
            (*ret)[(*ret_n)++] = own.blocks.v[i].id;
    for (size_t i = 0; rc == 0 && i < l0.blocks.n; i++)
        if (!l0.blocks.v[i].deleted_ms && !index_covers(&own, &l0.blocks.v[i].id) && !index_block_done(&l0.blocks.v[i], tenant))
            (*ret)[(*ret_n)++] = l0.blocks.v[i].id;
    index_fini(&l0);
    index_fini(&own);
    if (rc < 0) {
        free(*ret);
        *ret = NULL;
    }
    return rc;
}

static int step(struct input *in, struct err *err)
{
    int rc = block_iter_next(in->iter, &in->series, err);

    if (rc <= 0)
        in->series = NULL;
    return MIN(rc, 0);
}

int walk_new(struct bucket *b, const char *tenant, const struct ulid *blocks, size_t n, struct walk **ret, struct err *err)
{
    struct walk *w = xcalloc(1, sizeof *w);
    int rc = 0;

    w->inputs = xcalloc(MAX(n, (size_t)1), sizeof *w->inputs);
    w->same = xcalloc(MAX(n, (size_t)1), sizeof *w->same);
    arena_init(&w->arena, BLOCK_SERIES_BYTES_MAX);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        struct input *in = &w->inputs[w->n++];

        rc = block_open(b, &blocks[i], &in->reader, err);
        if (rc == 0)
            rc = block_iter_new(in->reader, str_of(tenant), &in->iter, err);
        if (rc == 0)
            rc = step(in, err);
        if (rc < 0)
            err_wrap(err, rc, "block %s", blocks[i].text);
    }
    if (rc < 0) {
        walk_free(w);
        return rc;
    }
    *ret = w;
    return 0;
}

void walk_free(struct walk *w)
{
    if (!w)
        return;
    for (size_t i = 0; i < w->n; i++) {
        block_iter_free(w->inputs[i].iter);
        block_unref(w->inputs[i].reader);
    }
    arena_fini(&w->arena);
    free(w->inputs);
    free(w->same);
    free(w);
}

/* The smallest labels at hand; all inputs that have them are used. */
static size_t pick(struct walk *w)
{
    const struct labels *least = NULL;
    size_t n = 0;

    for (size_t i = 0; i < w->n; i++)
        if (w->inputs[i].series && (!least || labels_cmp(&w->inputs[i].series->labels, least) < 0))
            least = &w->inputs[i].series->labels;
    for (size_t i = 0; least && i < w->n; i++) {
        struct input *in = &w->inputs[i];

        in->used = in->series && labels_eq(&in->series->labels, least);
        if (in->used)
            w->same[n++] = in->series;
    }
    return n;
}

int walk_next(struct walk *w, struct stored_series *ret, struct err *err)
{
    size_t n;
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < w->n; i++)
        if (w->inputs[i].used) {
            rc = step(&w->inputs[i], err);
            w->inputs[i].used = false;
        }
    if (rc < 0)
        return rc;
    arena_reset(&w->arena);
    n = pick(w);
    if (n == 0)
        return 0;
    *ret = *w->same[0];
    rc = n > 1 ? stored_series_merge(w->same, NULL, n, &w->arena, ret, err) : 0;
    return rc < 0 ? rc : 1;
}
