/* image.h - the bytes of one batch as they go over the wire. Labels are written, and with snappy also compressed, once; a round only patches values and
 * times (snappy_pack.h) and the connection sends the image's own bytes. With gzip and zstd the patched body is compressed anew. Native histograms are
 * written anew. Memory of a plain series: about 80 bytes with Remote Write 1.0 and snappy; without compression or with gzip or zstd its whole message besides.
 * Figures: tests/bench/loadgen_bench. */
#pragma once
#include "loadgen/batch.h"
#include "loadgen/compress.h"
#include "loadgen/snappy_pack.h"

struct image_cfg {
    const struct model *model; /* borrowed */
    enum protocol protocol;
    enum codec codec;
    double exemplars; /* percent, see model_has_exemplar() */
};

/* What the images of a run share. One user at a time. */
struct image_tools {
    struct skeleton skeleton;
    struct compressor *compressor;
};
void image_tools_init(struct image_tools *t, enum codec codec);
void image_tools_fini(struct image_tools *t);

/* Does not move once it is made. */
struct image {
    const struct image_cfg *cfg; /* borrowed */
    struct image_tools *tools;   /* borrowed */
    struct batch batch;
    struct pieces labels;        /* native histograms */
    struct model_seed *seeds;    /* plain series: of each */
    uint32_t *value_at;          /* and where its value stands in body */
    struct patches patches;      /* all but values */
    struct buf body;             /* with snappy a block, else a message */
    size_t raw_n;                /* of the message */
};

enum { IMAGE_BYTES_MAX = SKELETON_BYTES_MAX };

/* replica: see struct batch. */
void image_init(struct image *im, const struct image_cfg *cfg, struct image_tools *tools, uint32_t tenant, uint32_t first, uint32_t count, uint8_t replica);
void image_fini(struct image *im);
/* The request of time t_ms: in out, or in the image itself; borrowed until either is used again. *ret_raw: bytes before compression. */
struct str image_at(struct image *im, int64_t t_ms, struct buf *out, size_t *ret_raw);
