/* Any bytes as a chunk: refused, or decoded to samples that come back the same from every
 * encoder. */
#include "tsdb/chunk.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void same(const struct chunk_columns *a, const struct chunk_columns *b)
{
    ASSERT(a->n == b->n && !a->hist == !b->hist);
    for (size_t i = 0; i < a->n; i++) {
        ASSERT(a->t[i] == b->t[i] && (a->st ? a->st[i] : 0) == (b->st ? b->st[i] : 0));
        if (a->hist)
            ASSERT(histogram_eq(a->hist[i], b->hist[i]));
        else
            ASSERT(double_bits(a->v[i]) == double_bits(b->v[i]));
    }
}

static void decodes_to(struct str bytes, const struct chunk_columns *want)
{
    struct chunk_columns got;
    struct chunk_info info;
    struct arena a;

    arena_init(&a, 256 << 20);
    ASSERT(chunk_info(bytes, &info, NULL) == 0 && info.count == want->n);
    ASSERT(chunk_decode(bytes, &a, &got, NULL) == 0);
    same(&got, want);
    arena_fini(&a);
}

static void through_open_chunk(const struct chunk_columns *c)
{
    struct chunk_open *open = chunk_open_new();
    size_t i = 0;

    for (; i < c->n && chunk_open_append(open, c->t[i], double_bits(c->v[i]), c->st ? c->st[i] : 0);
         i++)
        ;
    if (i == c->n)
        decodes_to(chunk_open_view(open), c);
    else
        ASSERT((uint64_t)c->t[i] - (uint64_t)c->t[0] > UINT32_MAX);
    chunk_open_free(open);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct chunk_columns c, merged;
    struct chunk_info info;
    struct arena a;
    struct buf b;
    int rc;

    arena_init(&a, 64 << 20);
    buf_init(&b, 256 << 20);
    rc = chunk_info(str_n(data, n), &info, NULL);
    if (chunk_decode(str_n(data, n), &a, &c, NULL) == 0) {
        ASSERT(rc == 0 && info.count == c.n && info.mint_ms == c.t[0] &&
               info.maxt_ms == c.t[c.n - 1]);
        ASSERT(info.kind == (c.hist ? CHUNK_HISTOGRAMS : CHUNK_FLOATS));
        for (size_t i = 1; i < c.n; i++)
            ASSERT(c.t[i] > c.t[i - 1]);
        if (c.hist) {
            chunk_encode_histograms(&b, c.n, c.t, c.hist, c.st);
        } else {
            chunk_encode_floats(&b, c.n, c.t, c.v, c.st);
            through_open_chunk(&c);
        }
        if (buf_ok(&b) && b.n <= CHUNK_BYTES_MAX)
            decodes_to(buf_view(&b), &c);
        if (chunk_merge((struct chunk_columns[]){c, c}, 2, &a, &merged, NULL) == 0)
            same(&c, &merged);
    }
    buf_fini(&b);
    arena_fini(&a);
    return 0;
}
