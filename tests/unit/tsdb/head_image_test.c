/* Head images: what an image costs, what it leaves to the log, and that damage is found. That a head comes back as it was: head_model_test.c. */
#include "common/base/fault.h"
#include "common/sys/fs.h"
#include "tests/unit/tsdb/head_image_util.h"
#include "tsdb/head_image_format.h"

enum { SERIES = 600 }; /* three slices */

static void labels_text(char out[64], int i)
{
    snprintf(out, 64, "__name__=m,i=%04d", i);
}

static void put_round(struct head *h, int64_t t, int series)
{
    char labels[64];

    for (int i = 0; i < series; i++) {
        labels_text(labels, i);
        CHECK_INT(put(h, "t", labels, t, (double)i), APPEND_ACCEPTED);
    }
}

static int digest_sum(void *arg, const struct stored_series *s)
{
    struct u128 *sum = arg;

    for (size_t i = 0; i < s->window_count; i++)
        *sum = u128_add(*sum, s->windows[i].digest);
    *sum = u128_add(*sum, labels_fingerprint(STR("t"), &s->labels));
    return 0;
}

static struct u128 digests(struct head *h)
{
    struct store_select q = query_of("t", NULL, INT64_MIN, INT64_MAX, STORE_DATA);
    struct u128 sum = {0, 0};
    uint64_t cursor = 0;

    CHECK_INT(head_select(h, &q, 0, SIZE_MAX, &cursor, digest_sum, &sum, NULL), 0);
    return sum;
}

static size_t files_of(const struct imaged *im, const char *suffix)
{
    fs_names names;
    size_t n = 0;

    CHECK_INT(fs_list(im->dir, &names, NULL), 0);
    for (size_t i = 0; i < names.n; i++)
        n += strstr(names.v[i], suffix) != NULL;
    fs_names_free(&names);
    return n;
}

static void begin(struct imaged *im, const char *name)
{
    *im = (struct imaged){.log = {1, 48}};
    snprintf(im->dir, sizeof im->dir, "%s/%s", test_tmpdir(), name);
    CHECK_INT(fs_mkdirs(im->dir, NULL), 0);
}

TEST(an_image_writes_what_is_new_and_what_is_open)
{
    struct head *h = head_new();
    struct imaged im;

    begin(&im, "cost");
    put_round(h, T0, SERIES);
    put_round(h, T0 + 40 * MINUTE, SERIES); /* the first window is closed */
    imaged_write(&im, h);
    CHECK_INT(im.last.series, SERIES);
    CHECK_INT(im.last.windows, SERIES);
    imaged_write(&im, h);
    CHECK_INT(im.last.windows, 0);
    CHECK(files_of(&im, ".series") == 1 && files_of(&im, ".chunks") == 1 && files_of(&im, ".state") == 2 && files_of(&im, ".image") == 2);
    imaged_reload(&im, &h);
    put_round(h, T0 + 80 * MINUTE, SERIES + 5);
    imaged_write(&im, h);
    CHECK_INT(im.last.windows, SERIES);
    CHECK(files_of(&im, ".series") == 2 && files_of(&im, ".chunks") == 2 && files_of(&im, ".state") == 2);
    imaged_fini(&im);
    head_free(h);
}

TEST(files_go_when_nothing_in_them_lives)
{
    struct head *h = head_new();
    struct imaged im;

    begin(&im, "garbage");
    for (uint64_t set = 1; set <= 12; set++) {
        put_round(h, T0 + (int64_t)set * 2 * HOUR, 50);
        put_round(h, T0 + (int64_t)set * 2 * HOUR + 70 * MINUTE, 50);
        imaged_write(&im, h);
        seal(h, T0 + (int64_t)set * 2 * HOUR + 60 * MINUTE, set);
        head_published(h, set, set);
        head_drop(h, set, INT64_MIN);
    }
    imaged_write(&im, h);
    imaged_write(&im, h);
    CHECK(files_of(&im, ".chunks") <= 3 && files_of(&im, ".series") == 1);
    imaged_reload(&im, &h);
    CHECK_INT(head_max_ms(h), T0 + 24 * HOUR + 70 * MINUTE);
    imaged_fini(&im);
    head_free(h);
}

TEST(series_that_left_the_head_do_not_come_back)
{
    struct head *h = head_new();
    struct store_select q = query_of("t", NULL, INT64_MIN, INT64_MAX, STORE_LABELS);
    struct imaged im;
    uint64_t n;

    begin(&im, "gone");
    put_round(h, T0, 100);
    imaged_write(&im, h);
    put(h, "t", "__name__=stays", T0 + 10 * HOUR, 1);
    seal(h, T0 + 2 * HOUR, 1);
    head_published(h, 1, 1);
    head_drop(h, 1, T0 + 5 * HOUR);
    imaged_write(&im, h);
    imaged_reload(&im, &h);
    CHECK_INT(head_count(h, &q, &n, NULL), 0);
    CHECK_INT(n, 1);
    put_round(h, T0 + 11 * HOUR, 3);
    imaged_write(&im, h);
    imaged_reload(&im, &h);
    CHECK_INT(head_count(h, &q, &n, NULL), 0);
    CHECK_INT(n, 4);
    imaged_fini(&im);
    head_free(h);
}

TEST(exemplars_come_back_as_records)
{
    struct labels_text lt;
    struct head *h = head_new();
    struct imaged im;

    begin(&im, "exemplars");
    put_round(h, T0, 2);
    labels_of(&lt, "trace=1");
    head_lock(h);
    head_exemplar_add(h, STR("t"), fp_of("t", "__name__=m,i=0001"), T0, 0.5, &lt.ls, 10);
    head_unlock(h);
    imaged_write(&im, h);
    imaged_reload(&im, &h);
    CHECK_INT(im.exemplars, 1);
    imaged_fini(&im);
    head_free(h);
}

/* --- what the log still has to tell --- */
static bool moving_log_end(void *arg, struct wal_position *ret)
{
    struct imaged *im = arg;

    im->log.offset += 10; /* each slice sees a log that has gone on */
    *ret = im->log;
    return true;
}

TEST(each_slice_knows_how_far_the_log_was)
{
    const struct wal_position before = {1, 48}, after = {2, 48};
    struct head *h = head_new(), *again = head_new();
    struct head_image_stats st;
    struct head_imager *imager;
    struct head_image image;
    struct imaged im;

    begin(&im, "slices");
    put_round(h, T0, SERIES);
    im.imager = head_imager_new(&(struct head_imager_cfg){im.dir, IMAGE_SHARD, IMAGE_HEAD});
    CHECK_INT(head_image_write(im.imager, h, &(struct head_image_source){moving_log_end, imaged_log_sync, NULL, &im}, &st, NULL), 0);
    CHECK_INT(imaged_load(&im, again, &image, &imager, NULL), 0);
    CHECK(image.from.offset == 58 && image.to.offset >= 88 && image.cuts.n >= 3);
    head_lock(again);
    for (int i = 0; i < SERIES; i += SERIES - 1) {
        char labels[64];
        struct head_series *s;

        labels_text(labels, i);
        s = series_of(again, "t", labels);
        CHECK(head_image_has(&image, s, before) && !head_image_has(&image, s, after));
        CHECK(head_image_has(&image, s, (struct wal_position){1, 75}) == (i > 0));
    }
    CHECK(!head_image_has(&image, series_of(again, "t", "__name__=new"), before));
    head_unlock(again);
    head_image_fini(&image);
    head_imager_free(imager);
    imaged_fini(&im);
    head_free(again);
    head_free(h);
}

TEST(a_dead_log_makes_no_image)
{
    struct head *h = head_new();
    struct imaged im;

    begin(&im, "dead");
    put_round(h, T0, 1);
    im.log_dead = true;
    CHECK_INT(imaged_try(&im, h, NULL), RC_UNAVAILABLE);
    CHECK(files_of(&im, ".") == 0);
    imaged_fini(&im);
    head_free(h);
}

/* --- damage --- */
TEST(a_flipped_or_missing_byte_is_found_and_never_becomes_a_wrong_head)
{
    struct head *h = head_new();
    struct u128 want;
    struct imaged im;
    fs_names names;
    size_t refused = 0, tried = 0;

    begin(&im, "damage");
    put_round(h, T0, 3);
    put_round(h, T0 + 40 * MINUTE, 3);
    put_ooo(h, "t", "__name__=m,i=0001", T0 + 39 * MINUTE, 4, HOUR);
    put_ooo(h, "t", "__name__=m,i=0001", T0 + 5 * MINUTE, 4, HOUR);
    imaged_write(&im, h);
    want = digests(h);
    CHECK_INT(fs_list(im.dir, &names, NULL), 0);
    for (size_t f = 0; f < names.n; f++) {
        char path[600];
        struct buf b;

        snprintf(path, sizeof path, "%s/%s", im.dir, names.v[f]);
        buf_init(&b, 1 << 20);
        CHECK_INT(fs_read(path, &b, NULL), 0);
        for (size_t i = 0; i < 2 * b.n; i++) {
            struct head *again = head_new();
            struct head_imager *imager;
            struct head_image image;
            struct buf bad;

            buf_init(&bad, 1 << 20);
            buf_str(&bad, i < b.n ? buf_view(&b) : str_n(b.p, i - b.n));
            if (i < b.n)
                bad.p[i] ^= 8;
            CHECK_INT(fs_write_atomic(path, buf_view(&bad), NULL), 0);
            tried++;
            if (imaged_load(&im, again, &image, &imager, NULL) == 0) {
                /* The end of a file whose last series was read before it. */
                CHECK(u128_eq(digests(again), want));
                head_image_fini(&image);
                head_imager_free(imager);
            } else {
                refused++;
            }
            head_free(again);
            buf_fini(&bad);
        }
        CHECK_INT(fs_write_atomic(path, buf_view(&b), NULL), 0);
        buf_fini(&b);
    }
    CHECK(refused > tried * 8 / 10);
    fs_names_free(&names);
    imaged_fini(&im);
    head_free(h);
}

#ifdef TORC_DEBUG /* fault points are empty in release */
TEST(nth_failing_step_leaves_the_image_before_and_the_next_is_whole)
{
    for (int n = 1;; n++) {
        struct head *h = head_new();
        struct imaged im;
        bool fired;
        char name[32];
        int rc;

        snprintf(name, sizeof name, "nth-%d", n);
        begin(&im, name);
        put_round(h, T0, 300);
        imaged_write(&im, h);
        put_round(h, T0 + 40 * MINUTE, 310);
        fault_at(FAULT_IO, n);
        rc = imaged_try(&im, h, NULL);
        fired = fault_fired();
        fault_at(0, 0);
        CHECK(rc == 0 || fired);
        if (rc < 0) {
            struct head *again = head_new();
            struct head_imager *imager;
            struct head_image image;

            CHECK_INT(imaged_load(&im, again, &image, &imager, NULL), 0);
            head_image_fini(&image);
            head_imager_free(imager);
            head_free(again);
            imaged_write(&im, h);
        }
        {
            struct u128 want = digests(h);

            imaged_reload(&im, &h);
            CHECK(u128_eq(digests(h), want));
        }
        imaged_fini(&im);
        head_free(h);
        CHECK_INT(fs_remove_tree(im.dir, NULL), 0);
        if (!fired) {
            CHECK(n > 12);
            break;
        }
    }
}
#endif
