/* Any bytes as the frames of an image: refused, or a head whose own image loads again and is the same size. The input is three parts, each a u32 length and a
 * payload: SERIES, CHUNKS, STATE. Headers, checksums, counts and the manifest are made to fit, so that no mutation stops there. What is inside chunks is not
 * decoded by loading, so it is not looked at here either (chunk_fuzz.c). */
#include "common/sys/fs.h"
#include "tsdb/head_image.h"
#include "tsdb/head_image_format.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { SHARD = 1, HEAD = 7, FRAME_MAX = 1 << 16 };

static char dir[64];

static void clean(void)
{
    (void)fs_remove_tree(dir, NULL);
}

static void dir_make(void)
{
    if (dir[0]) {
        clean();
        ASSERT(fs_mkdirs(dir, NULL) == 0);
        return;
    }
    snprintf(dir, sizeof dir, "%s/torc-image-fuzz-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    ASSERT(mkdtemp(dir));
    atexit(clean);
}

static struct str part(struct rd *r)
{
    uint32_t n = rd_u32(r);

    return rd_str(r, MIN(MIN(n, (uint32_t)FRAME_MAX), (uint32_t)rd_left(r)));
}

/* Entries are not counted: a file that ends with another number of them is refused at its end only, which series and chunks files need not reach. */
static struct image_file file_make(enum image_kind kind, enum image_frame type, struct str payload, uint64_t entries)
{
    struct image_writer w = {.fd = -1};

    buf_init(&w.frame, FRAME_MAX + 64);
    ASSERT(image_writer_open(&w, dir, SHARD, HEAD, 1, kind, NULL) == 0);
    buf_str(&w.frame, payload);
    ASSERT(image_writer_frame(&w, type, NULL) == 0);
    w.entries = entries;
    ASSERT(image_writer_finish(&w, NULL) == 0);
    image_writer_fini(&w);
    return (struct image_file){1, w.bytes, entries, INT64_MAX};
}

static void manifest_make(const struct image_manifest *m)
{
    char path[PATH_MAX];
    struct buf bytes;

    ASSERT(image_path(dir, 1, IMAGE_MANIFEST, path, sizeof path, NULL) == 0);
    buf_init(&bytes, IMAGE_MANIFEST_MAX);
    image_manifest_encode(m, SHARD, &bytes);
    ASSERT(fs_write_atomic(path, buf_view(&bytes), NULL) == 0);
    buf_fini(&bytes);
}

static bool log_end(UNUSED void *arg, struct wal_position *ret)
{
    *ret = (struct wal_position){1, 48};
    return true;
}

static int log_sync(UNUSED void *arg, UNUSED struct err *err)
{
    return 0;
}

static int record(UNUSED void *arg, UNUSED enum wal_type type, UNUSED struct str payload, UNUSED int64_t *t, UNUSED struct err *err)
{
    return 0;
}

static bool load(uint64_t number, struct head *h, struct head_imager **ret, size_t *ret_cuts)
{
    struct head_image image;
    struct err err;
    bool good = head_image_load(&(struct head_image_load_cfg){dir, SHARD, record, NULL, NULL}, number, h, &image, ret, &err) == 0;

    if (!good && number == 2)
        fprintf(stderr, "%s\n", err_log(&err));

    if (good) {
        *ret_cuts = image.cuts.n;
        head_image_fini(&image);
    }
    return good;
}

static void write_again(struct head *h, struct head_imager *imager)
{
    struct head *second = head_new();
    struct head_imager *after = NULL;
    struct head_image_stats st;
    uint64_t want = 0, got = 0;
    size_t cuts;

    ASSERT(head_image_write(imager, h, &(struct head_image_source){log_end, log_sync, NULL, NULL}, &st, NULL) == 0);
    ASSERT(load(2, second, &after, &cuts));
    want = st.series;
    ASSERT(head_image_write(after, second, &(struct head_image_source){log_end, log_sync, NULL, NULL}, &st, NULL) == 0);
    got = st.series;
    ASSERT(want == got && st.windows == 0);
    head_imager_free(after);
    head_free(second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct rd r = rd_of(str_n(data, n));
    struct image_manifest m = {.number = 1, .head_id = HEAD, .from = {1, 0}, .to = {UINT64_MAX, 0}, .next_seq = 1 << 20, .max_ms = 0, .set_max = 9};
    struct str series = part(&r), chunks = part(&r), state = part(&r);
    struct head_imager *imager = NULL;
    struct head *h;
    size_t cuts;

    if (!rd_ok(&r))
        return 0;
    dir_make();
    *vec_push(&m.sets) = (struct image_set){1, 0, 0, false};
    *vec_push(&m.series) = file_make(IMAGE_SERIES, FRAME_SERIES, series, 1);
    *vec_push(&m.chunks) = file_make(IMAGE_CHUNKS, FRAME_CHUNKS, chunks, 1);
    /* The state is read to its end: as many entries as it has. */
    for (uint64_t entries = 0; entries < 4 && !imager; entries++) {
        h = head_new();
        m.state = file_make(IMAGE_STATE, FRAME_STATE, state, entries);
        manifest_make(&m);
        if (load(1, h, &imager, &cuts))
            write_again(h, imager);
        head_free(h);
    }
    head_imager_free(imager);
    image_manifest_fini(&m);
    return 0;
}
