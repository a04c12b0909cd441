/* A Prometheus block. First byte 1..3: the rest is a chunk of that encoding. Else the rest is the record of a series in the index of a block that is otherwise whole, and
 * at the same time the bytes of its chunks: checksums are right, so that what is behind them is reached. */
#include "common/base/hash.h"
#include "common/sys/fs.h"
#include "tsdb/prom_block.h"
#include "tsdb/prom_chunk.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void fuzz_chunk(unsigned encoding, struct str in)
{
    struct chunk_columns c;
    struct arena a;

    arena_init(&a, 64 << 20);
    if (prom_chunk_decode(encoding, in, &a, &c, NULL) == 0)
        for (size_t i = 0; i < c.n; i++)
            ASSERT(i == 0 || c.t[i] > c.t[i - 1]);
    arena_fini(&a);
}

static void put_be32(struct buf *out, uint32_t v)
{
    char p[4];

    be_put32(p, v);
    buf_add(out, p, sizeof p);
}

static void put_be64(struct buf *out, uint64_t v)
{
    put_be32(out, (uint32_t)(v >> 32));
    put_be32(out, (uint32_t)v);
}

static void put_crc(struct buf *out, size_t from)
{
    put_be32(out, crc32c(0, out->p + from, out->n - from));
}

static void put_index(struct buf *out, struct str series)
{
    size_t at, series_at;

    put_be32(out, 0xBAAAD700U);
    buf_u8(out, 2);
    put_be32(out, 4 + 9 + 3 + 3);
    at = out->n;
    put_be32(out, 3);
    buf_lstr(out, STR("__name__"));
    buf_lstr(out, STR("up"));
    buf_lstr(out, STR("x1"));
    put_crc(out, at);
    while (out->n % 16)
        buf_u8(out, 0);
    series_at = out->n;
    buf_uvarint(out, series.n);
    at = out->n;
    buf_str(out, series);
    put_crc(out, at);
    at = out->n;
    put_be64(out, 5);
    put_be64(out, series_at);
    for (int i = 0; i < 4; i++)
        put_be64(out, 0);
    put_crc(out, at);
}

static void put_segment(struct buf *out, struct str bytes)
{
    size_t at;

    put_be32(out, 0x85BD40DDU);
    put_be32(out, 1 << 24);
    for (uint8_t encoding = 1; encoding <= 3; encoding++) {
        buf_uvarint(out, bytes.n);
        at = out->n;
        buf_u8(out, encoding);
        buf_str(out, bytes);
        put_crc(out, at);
    }
}

static void write_file(const char *dir, const char *name, struct str bytes)
{
    char path[256];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", dir, name);
    f = fopen(path, "w");
    ASSERT(f && fwrite(bytes.p, 1, bytes.n, f) == bytes.n);
    fclose(f);
}

static void fuzz_block(struct str in)
{
    char dir[] = "/dev/shm/prom_block_fuzz.XXXXXX", chunks[64];
    struct prom_block *b;
    struct chunk_columns c;
    struct labels ls;
    struct arena a;
    struct buf out;

    ASSERT(mkdtemp(dir));
    snprintf(chunks, sizeof chunks, "%s/chunks", dir);
    ASSERT(fs_mkdirs(chunks, NULL) == 0);
    write_file(dir, "meta.json", STR("{\"version\":1,\"ulid\":\"01M8Q5VEVYDNEVE5MJ1KQ472G2\"}"));
    buf_init(&out, 1 << 22);
    put_index(&out, in);
    write_file(dir, "index", buf_view(&out));
    buf_clear(&out);
    put_segment(&out, in);
    write_file(dir, "chunks/000001", buf_view(&out));
    arena_init(&a, 64 << 20);
    if (prom_block_open(dir, &b, NULL) == 0) {
        while (prom_block_next(b, &a, &ls, &c, NULL) == 1)
            for (size_t i = 0; i < ls.n; i++)
                ASSERT(ls.v[i].name.n > 0 && ls.v[i].value.n > 0);
        prom_block_free(b);
    }
    arena_fini(&a);
    buf_fini(&out);
    ASSERT(fs_remove_tree(dir, NULL) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n == 0 || n > 1 << 16)
        return 0;
    if (data[0] >= 1 && data[0] <= 3)
        fuzz_chunk(data[0], str_n(data + 1, n - 1));
    else
        fuzz_block(str_n(data + 1, n - 1));
    return 0;
}
