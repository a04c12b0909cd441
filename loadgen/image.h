/* image.h - the bytes of one batch: a WriteRequest whose labels are encoded once; a round only patches values and timestamps in place and compresses.
 * A batch is a run of one tenant's series that are always sent together. Costs about 265 bytes of memory a series. */
#pragma once
#include "common/base/buf.h"
#include "loadgen/model.h"

struct image {
    const struct model *model; /* borrowed */
    uint32_t tenant, first, count; /* series [first, first + count) */
    uint32_t *generations;     /* of the targets that it touches */
    uint32_t *value_at;        /* offset of each series' value */
    struct buf body;
};

enum { IMAGE_SERIES_MAX = 100000, IMAGE_BYTES_MAX = 128 << 20 };

void image_init(struct image *im, const struct model *m, uint32_t tenant, uint32_t first, uint32_t count);
void image_fini(struct image *im);
/* Makes the request of time t_ms and appends it, compressed (snappy block), to the cleared out. *ret_raw: bytes before compression. */
void image_at(struct image *im, int64_t t_ms, struct buf *out, size_t *ret_raw);
