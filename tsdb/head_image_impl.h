/* head_image_impl.h - the imager's fields, shared by head_image_write.c and head_image_load.c; nobody else includes it. */
#pragma once
#include "tsdb/head_image.h"
#include "tsdb/head_image_format.h"

enum { IMAGES_KEPT = 2 };

struct head_imager {
    char *dir;
    uint32_t shard;
    uint64_t head_id;
    uint64_t number;                           /* of the last one that was tried */
    struct image_manifest kept[IMAGES_KEPT];   /* newest first; number 0: none */
    uint64_t series, windows;                  /* live ones in the last image, current windows not counted */
    bool series_all, chunks_all;               /* the next image must not rely on files of images before */
};

/* Removes files of images in the directory that nothing in kept[] names. */
int head_imager_sweep(const struct head_imager *im, struct err *err);
