/* head_image_util.h - a head, its images, and a log that is nothing but a position. */
#pragma once
#include "tests/unit/tsdb/head_util.h"
#include "tsdb/head_image.h"

#include <stdio.h>

enum { IMAGE_SHARD = 3, IMAGE_HEAD = 77 };

struct imaged {
    char dir[256];
    struct head_imager *imager;
    struct wal_position log; /* the tests move it on */
    bool log_dead;
    uint64_t exemplars, records; /* handed to replay by the last load */
    size_t written, loaded;
    struct head_image_stats last;
};

static inline const char *imaged_dir(struct imaged *im)
{
    if (!im->dir[0]) {
        snprintf(im->dir, sizeof im->dir, "%s/image", test_tmpdir());
        CHECK_INT(fs_mkdirs(im->dir, NULL), 0);
        im->log = (struct wal_position){1, 48};
    }
    return im->dir;
}

static inline bool imaged_log_end(void *arg, struct wal_position *ret)
{
    struct imaged *im = arg;

    *ret = im->log;
    return !im->log_dead;
}

static inline int imaged_log_sync(void *arg, struct err *err)
{
    (void)arg;
    (void)err;
    return 0;
}

static inline int imaged_try(struct imaged *im, struct head *h, struct err *err)
{
    const struct head_image_source src = {imaged_log_end, imaged_log_sync, NULL, im};

    if (!im->imager)
        im->imager = head_imager_new(&(struct head_imager_cfg){imaged_dir(im), IMAGE_SHARD, IMAGE_HEAD});
    return head_image_write(im->imager, h, &src, &im->last, err);
}

static inline void imaged_write(struct imaged *im, struct head *h)
{
    struct err err;

    if (imaged_try(im, h, &err) < 0)
        fail_msg("%s", err_log(&err));
    im->log.offset += 1000;
    im->written++;
}

static inline int imaged_record(void *arg, enum wal_type type, struct str payload, int64_t *ret_t_max, struct err *err)
{
    struct imaged *im = arg;

    (void)payload;
    (void)ret_t_max;
    (void)err;
    im->exemplars += type == WAL_EXEMPLARS;
    im->records++;
    return 0;
}

/* The newest image of the directory into a new head. */
static inline int imaged_load(struct imaged *im, struct head *h, struct head_image *ret, struct head_imager **ret_imager, struct err *err)
{
    const struct head_image_load_cfg cfg = {imaged_dir(im), IMAGE_SHARD, imaged_record, NULL, im};
    head_image_numbers numbers;
    int rc;

    im->exemplars = im->records = 0;
    CHECK_INT(head_image_list(cfg.dir, &numbers, NULL), 0);
    CHECK(numbers.n > 0);
    rc = head_image_load(&cfg, numbers.v[0], h, ret, ret_imager, err);
    vec_fini(&numbers);
    return rc;
}

/* The head is thrown away and made again from its newest image. */
static inline void imaged_reload(struct imaged *im, struct head **h)
{
    struct head_imager *imager;
    struct head_image image;
    struct err err;

    head_free(*h);
    *h = head_new();
    if (imaged_load(im, *h, &image, &imager, &err) < 0)
        fail_msg("%s", err_log(&err));
    head_image_fini(&image);
    head_imager_free(im->imager);
    im->imager = imager;
    im->loaded++;
}

static inline void imaged_fini(struct imaged *im)
{
    head_imager_free(im->imager);
}
