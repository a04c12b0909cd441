/* Blocks written by earlier versions of this program must be readable for ever: tests/data/block/<version>/blocks, the same samples in each. */
#include "common/sys/fs.h"
#include "tests/test.h"
#include "tsdb/block.h"

#define GOLDEN TEST_SOURCE_DIR "/tests/data/block"

enum { SERIES = 18, SAMPLES = 5364 };

static struct u128 read_all(const char *version)
{
    char path[512];
    struct bucket *b = NULL;
    struct block_reader *r = NULL;
    struct block_iter *it = NULL;
    const struct stored_series *s;
    struct u128 sum = {0};
    size_t series = 0, samples = 0;
    fs_names ids = {0};
    struct arena a;
    struct ulid id;

    snprintf(path, sizeof path, "%s/%s", GOLDEN, version);
    CHECK(bucket_open(path, &b, NULL) == 0);
    snprintf(path, sizeof path, "%s/%s/blocks", GOLDEN, version);
    CHECK(fs_list(path, &ids, NULL) == 0 && ids.n == 1 && ulid_valid(str_of(ids.v[0])));
    memcpy(id.text, ids.v[0], sizeof id.text);
    CHECK(block_open(b, &id, &r, NULL) == 0);
    CHECK(block_verify(r, NULL) == 0);
    CHECK(block_iter_new(r, STR("golden"), &it, NULL) == 0);
    arena_init(&a, 64 << 20);
    while (block_iter_next(it, &s, NULL) == 1) {
        struct chunk_columns c;

        CHECK(stored_series_columns(s, INT64_MIN, INT64_MAX, &a, &c, NULL) == 0);
        sum = u128_add(sum, u128_add(s->fp, chunk_digest(&c)));
        samples += c.n;
        series++;
    }
    CHECK(series == SERIES && samples == SAMPLES);
    arena_fini(&a);
    block_iter_free(it);
    block_unref(r);
    bucket_free(b);
    fs_names_free(&ids);
    return sum;
}

TEST(blocks_of_all_versions_are_read)
{
    const struct u128 want = {0x64acfd40c7f6eb60ULL, 0xf03ec8150abb5af9ULL};

    CHECK(u128_eq(read_all("v1"), want));
    CHECK(u128_eq(read_all("v2"), want));
}
