#include "loadgen/compress.h"

#include <isa-l/igzip_lib.h>
#include <snappy-c.h>
#include <stdlib.h>
#include <zstd.h>

/* As fast as they get: the load, not the size, is what counts. */
enum { ZSTD_LEVEL = 1, GZIP_LEVEL = 1, GZIP_ROOM = 1024 };

const char *const codec_names[CODEC_COUNT + 1] = {"none", "snappy", "gzip", "zstd", NULL};

struct compressor {
    enum codec codec;
    ZSTD_CCtx *zstd;
    struct isal_zstream gzip;
    uint8_t *gzip_level;
};

struct compressor *compressor_new(enum codec codec)
{
    struct compressor *c = xcalloc(1, sizeof *c);

    c->codec = codec;
    if (codec == CODEC_ZSTD) {
        c->zstd = ZSTD_createCCtx();
        ASSERT(c->zstd);
    }
    if (codec == CODEC_GZIP)
        c->gzip_level = xmalloc(ISAL_DEF_LVL1_DEFAULT);
    return c;
}

void compressor_free(struct compressor *c)
{
    if (!c)
        return;
    ZSTD_freeCCtx(c->zstd);
    free(c->gzip_level);
    free(c);
}

static size_t run_gzip(struct compressor *c, struct str in, struct buf *out)
{
    struct isal_zstream *z = &c->gzip;
    int rc;

    ASSERT(in.n < UINT32_MAX && out->cap < UINT32_MAX);
    isal_deflate_init(z);
    z->gzip_flag = IGZIP_GZIP;
    z->level = GZIP_LEVEL;
    z->level_buf = c->gzip_level;
    z->level_buf_size = ISAL_DEF_LVL1_DEFAULT;
    z->end_of_stream = 1;
    z->next_in = (uint8_t *)(uintptr_t)in.p;
    z->avail_in = (uint32_t)in.n;
    z->next_out = (uint8_t *)out->p;
    z->avail_out = (uint32_t)out->cap;
    rc = isal_deflate(z);
    ASSERT(rc == COMP_OK && z->internal_state.state == ZSTATE_END);
    return z->total_out;
}

static size_t worst(enum codec codec, size_t n)
{
    switch (codec) {
    case CODEC_SNAPPY:
        return snappy_max_compressed_length(n);
    case CODEC_ZSTD:
        return ZSTD_compressBound(n);
    case CODEC_GZIP:
        return n + n / 8 + GZIP_ROOM;
    default:
        return n;
    }
}

void compressor_run(struct compressor *c, struct str in, struct buf *out)
{
    size_t n = worst(c->codec, in.n);
    bool done = buf_reserve((buf_clear(out), out), n);

    ASSERT(done);
    switch (c->codec) {
    case CODEC_SNAPPY:
        n = out->cap;
        done = snappy_compress(in.p, in.n, out->p, &n) == SNAPPY_OK;
        break;
    case CODEC_ZSTD:
        n = ZSTD_compressCCtx(c->zstd, out->p, out->cap, in.p, in.n, ZSTD_LEVEL);
        done = !ZSTD_isError(n);
        break;
    case CODEC_GZIP:
        n = run_gzip(c, in, out);
        break;
    default:
        memcpy(out->p, in.p, in.n);
    }
    ASSERT(done);
    out->n = n;
}
