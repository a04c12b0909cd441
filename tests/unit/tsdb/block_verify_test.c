#include "tests/unit/tsdb/samples_util.h"

#include <limits.h>

static const char *const tenants[] = {"a", "b", NULL};

struct fixture {
    struct arena arena;
    struct rng rng;
    sample_set set;
    truth truth;
    struct bucket *b;
    struct ulid id;
    struct block_reader *r;
};

static void fixture_init(struct fixture *f, const char *name)
{
    char dir[256], scratch[256];

    *f = (struct fixture){0};
    arena_init(&f->arena, 1 << 28);
    rng_init(&f->rng, test_seed());
    sample_set_fill(&f->set, &f->arena, &f->rng, tenants, 30, 1700000000000, 1700000000000 + 4 * BLOCK_RANGE_MS, 15000);
    snprintf(dir, sizeof dir, "%s/%s", test_tmpdir(), name);
    snprintf(scratch, sizeof scratch, "%s/scratch", test_tmpdir());
    CHECK(bucket_open(dir, &f->b, NULL) == 0);
    f->id = ship_level0(f->b, scratch, &f->set, "i", 1700000000000, 1700000000000 + 4 * BLOCK_RANGE_MS, &f->rng, 0.1, 1, &f->truth);
    CHECK(block_open(f->b, &f->id, &f->r, NULL) == 0);
}

static void fixture_fini(struct fixture *f)
{
    block_unref(f->r);
    bucket_free(f->b);
    sample_set_fini(&f->set);
    vec_fini(&f->truth);
    arena_fini(&f->arena);
}

TEST(a_good_block_verifies_and_holds_the_samples)
{
    struct fixture f;
    struct err err = {0};
    truth a, b;

    fixture_init(&f, "good");
    if (block_verify(f.r, &err) < 0)
        fail_msg("%s", err_log(&err));
    CHECK(truth_read(f.b, "a", &a, &err) == 0 && truth_read(f.b, "b", &b, &err) == 0);
    for (size_t i = 0; i < b.n; i++)
        *vec_push(&a) = b.v[i];
    truth_settle(&a);
    truth_settle(&f.truth);
    CHECK(truth_equal(&a, &f.truth) && a.n > 10000);
    printf("%.3f bytes a sample in %llu samples, %llu series\n", (double)block_meta(f.r)->bytes / (double)block_meta(f.r)->samples,
           (unsigned long long)block_meta(f.r)->samples, (unsigned long long)block_meta(f.r)->series);
    vec_fini(&a);
    vec_fini(&b);
    fixture_fini(&f);
}

TEST(verify_finds_every_flipped_bit_of_the_tables)
{
    static const char *const leaves[] = {"symbols.sst", "series.sst", "postings.sst", "chunks.sst"};
    struct fixture f;

    fixture_init(&f, "flip");
    for (size_t i = 0; i < 4; i++) {
        char path[PATH_MAX];
        FILE *file;
        long size = 0;

        snprintf(path, sizeof path, "%s/flip/blocks/%s/%s", test_tmpdir(), f.id.text, leaves[i]);
        file = fopen(path, "r+b");
        CHECK(file && fseek(file, 0, SEEK_END) == 0 && (size = ftell(file)) > 0);
        for (int n = 0; n < 40; n++) {
            long at = (long)rng_below(&f.rng, (uint64_t)size);
            struct block_reader *r = NULL;
            int c, bit = 1 << rng_below(&f.rng, 8);

            fseek(file, at, SEEK_SET);
            c = fgetc(file);
            fseek(file, at, SEEK_SET);
            fputc(c ^ bit, file);
            fflush(file);
            CHECK(block_open(f.b, &f.id, &r, NULL) == 0);
            CHECK(block_verify(r, NULL) == RC_CORRUPT);
            block_unref(r);
            fseek(file, at, SEEK_SET);
            fputc(c, file);
            fflush(file);
        }
        fclose(file);
    }
    CHECK(block_verify(f.r, NULL) == 0);
    fixture_fini(&f);
}

/* What only verify can see: content that was wrong before it was written. */
TEST(verify_finds_content_that_does_not_hold_what_its_record_says)
{
    enum { GOOD, DIGEST, COUNT, MINT, WINDOW, FINGERPRINT, CASES };

    for (int wrong = GOOD; wrong < CASES; wrong++) {
        struct sample s[] = {{1700000000000, 1, 0}, {1700000001000, 2, 0}, {1700000002000, 3, 0}};
        struct label l = {STR("__name__"), STR("up")};
        struct stored_series out = {.labels = {&l, 1}};
        struct block_meta meta = {.range_end_ms = 1}, shipped;
        struct block_writer *w = NULL;
        struct block_reader *r = NULL;
        struct stored_window *win;
        struct bucket *b = NULL;
        struct arena a;
        char dir[256];

        arena_init(&a, 1 << 20);
        snprintf(dir, sizeof dir, "%s/content", test_tmpdir());
        CHECK(bucket_open(dir, &b, NULL) == 0);
        samples_to_windows(&a, labels_fingerprint(STR("t"), &out.labels), s, 3, false, &out);
        CHECK(out.window_count == 1);
        win = (struct stored_window *)out.windows;
        win->digest.lo += wrong == DIGEST;
        win->count += wrong == COUNT;
        win->mint_ms -= wrong == MINT;
        win->start_ms -= wrong == WINDOW;
        out.fp.hi += wrong == FINGERPRINT;
        ulid_new(&meta.id, 1);
        CHECK(block_writer_new(test_tmpdir(), &meta, &w, NULL) == 0);
        CHECK_INT(block_writer_add(w, STR("t"), &out, NULL), wrong == WINDOW ? RC_INVALID : 0);
        if (wrong != WINDOW) {
            CHECK(block_writer_ship(w, b, &shipped, NULL) == 0);
            CHECK(block_open(b, &meta.id, &r, NULL) == 0);
            CHECK_INT(block_verify(r, NULL), wrong == GOOD ? 0 : RC_CORRUPT);
            block_unref(r);
            block_meta_fini(&shipped);
        }
        block_writer_free(w);
        bucket_free(b);
        arena_fini(&a);
    }
}
