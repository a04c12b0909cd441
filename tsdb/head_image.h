/* head_image.h - the state of a head on disk, so that a restart reads that and only the log behind it.
 *
 * An image is written beside the appending thread, in slices of 256 series under the head's lock. Each slice is the
 * exact state of its series at the log's end of that moment, which is written down with it: replay takes a record for
 * a series only when it stands behind that place, so every accepted row counts once, whatever was going on. What else
 * changes a head (seals, publications, drops, and with drops the removal of series) must not happen while an image is
 * being written; new series may come, the log has them.
 * An image costs what changes all the time (open chunks, some 200 B per series) and what is new: labels of new
 * series, windows that closed. The rest is in files of images before. Formats: head_image_format.h.
 *
 * Files first, then the manifest by rename: a crash or a full disk at any step leaves the image before and the log.
 * The image before the last one is kept too, for the day the last one cannot be read; log segments before the older of
 * them are not needed any more.
 * Threads: one imager at a time per head. Memory: some MB of buffers, 4 B per label pair while writing. */
#pragma once
#include "tsdb/head.h"
#include "tsdb/wal.h"

/* What the images on disk hold: kept from one image to the next. */
struct head_imager;
struct head_imager_cfg {
    const char *dir; /* of the shard's log; copied */
    uint32_t shard;
    uint64_t head_id;
};
/* No image there yet, or none that counts: files of images in dir are removed by the first that is written. */
struct head_imager *head_imager_new(const struct head_imager_cfg *cfg);
void head_imager_free(struct head_imager *im);
/* Where the log is read from after a restart: behind it, replay must go through everything. Segment 0: no image yet. */
struct wal_position head_imager_position(const struct head_imager *im);
/* Log segments below are needed by no image that is kept; 0: no image yet. */
uint64_t head_imager_log_needed(const struct head_imager *im);

struct head_image_source {
    /* Under the head's lock: where the log ends. False: the log has failed, the head may know what the log does not. */
    bool (*log_end)(void *arg, struct wal_position *ret);
    int (*log_sync)(void *arg, struct err *err); /* everything up to there on disk */
    /* Records that replay shall get besides, behind everything else: such as lose nothing when they are replayed twice. NULL: none. */
    int (*records)(void *arg, wal_emit_fn *emit, void *emit_arg, struct err *err);
    void *arg;
};
struct head_image_stats {
    uint64_t series, windows, bytes; /* windows: written now, current ones not counted */
    int64_t lock_ns_max;             /* the longest slice */
};
/* A failure leaves the images before as they are. RC_UNAVAILABLE: the log has failed. */
int head_image_write(struct head_imager *im, struct head *h, const struct head_image_source *src, struct head_image_stats *ret, struct err *err);

/* --- reading --- */
/* Of one slice: series with seq < below (and not of a slice before) are as the log had them at this place. */
struct head_image_cut {
    uint64_t below;
    struct wal_position at;
};
struct head_image_set {
    uint64_t id, gen;
    int64_t below_ms;
    bool published;
};
struct head_image {
    uint64_t number, head_id, set_max, bytes;
    struct wal_position from, to; /* the log is read from here; behind `to` no cut needs to be asked */
    VEC(struct head_image_cut) cuts;
    VEC(struct head_image_set) sets;
};
void head_image_fini(struct head_image *i);
/* A record that ends at `at` is in the state of that series already. */
bool head_image_has(const struct head_image *i, const struct head_series *s, struct wal_position at);

/* Numbers of the manifests in dir, newest first; n may be 0. */
typedef VEC(uint64_t) head_image_numbers;
int head_image_list(const char *dir, head_image_numbers *ret, struct err *err);

struct head_image_load_cfg {
    const char *dir;
    uint32_t shard;
    wal_record_fn *fn; /* gets the additional records and exemplars, when the series are there */
    void (*progress)(void *arg, uint64_t done, uint64_t total); /* bytes; may be NULL */
    void *arg;
};
/* Fills h, which must be new, and makes the imager that goes on from there. RC_CORRUPT, RC_IO: h is half filled, to
 * be freed; the image before may be good. RC_VERSION. */
int head_image_load(const struct head_image_load_cfg *cfg, uint64_t number, struct head *h, struct head_image *ret,
                    struct head_imager **ret_imager, struct err *err);
/* Every series with its samples, window by window, for other heads (the shard count has changed); a window's columns may come in parts. What is published is left
 * out: *ret_gen is the generation from which readers find all of it in blocks; head_image_leave() says so to a head. */
int head_image_pour(struct head *from,
                    int (*fn)(void *arg, struct str tenant, fingerprint fp, const struct labels *ls, const struct chunk_columns *c, struct err *err),
                    void *arg, uint64_t *ret_gen, struct err *err);
void head_image_leave(struct head *h, uint64_t gen);
