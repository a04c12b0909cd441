/* compress.h - a whole body at once, for what cannot be patched (snappy_pack.h): other codecs, and bodies that change their size. */
#pragma once
#include "common/base/buf.h"

enum codec { CODEC_NONE, CODEC_SNAPPY, CODEC_GZIP, CODEC_ZSTD, CODEC_COUNT };
extern const char *const codec_names[CODEC_COUNT + 1];

struct compressor;

/* Its state is kept from body to body. One owner at a time. */
struct compressor *compressor_new(enum codec codec);
void compressor_free(struct compressor *c);
/* Into the cleared out, which must be able to hold the worst case. */
void compressor_run(struct compressor *c, struct str in, struct buf *out);
