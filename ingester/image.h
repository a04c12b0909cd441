/* image.h - head images of an ingester (tsdb/head_image.h): when they are written, which one a restart uses, and the page that shows a replay.
 * Each shard has images of its own. A thread writes that of the shard with the longest log behind its image as soon as all together have grown enough, so that
 * there are never more than cfg.image_log_bytes to replay (what comes in while an image is written counts); and all are written when samples were dropped, and at
 * a clean stop. Behind the older of two images the log is removed.
 * Flush marks and images keep out of each other's way by ingester.marks_lock. */
#pragma once
#include "ingester/ingester_impl.h"
#include "tsdb/head_image.h"

void *ingester_image_main(void *ingester);
/* Now, of every shard whose log has so many bytes behind its image. A failure is logged, counted and tried again later; the log stays. */
void ingester_images_write(struct ingester *in, uint64_t tail_min);
enum { IMAGE_STOP_BYTES = 1 << 20 /* so much log is replayed as fast as an image is written and read */ };

/* Loads the newest image that can be read into the shard's head (foreign: into the heads of today's shards). 1; 0: there is none. fn gets what the image has
 * besides series and samples. The imager goes to the shard (not when foreign). */
struct image_load {
    struct wal_dir *from;
    wal_record_fn *fn;
    void *fn_arg;
};
int ingester_image_load(struct ingester *in, const struct image_load *load, struct head_image *ret, struct err *err);

/* Bytes of all logs and images to read at a restart. */
struct replay_sum {
    uint64_t done, total;
    double seconds, seconds_left; /* left: by what was read so far; < 0: not known yet */
};
struct replay_sum ingester_replay_sum(struct ingester *in);
