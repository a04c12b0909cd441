/* index_impl.h - what index.c (generations in the bucket) and index_text.c (the structure and its text) share. */
#pragma once
#include "tsdb/index.h"

enum { INDEX_ID = 32 }; /* hex digits of a generation's random id */
struct index_head {
    uint64_t gen;
    char self[INDEX_ID + 1], parent[INDEX_ID + 1];
};
int index_decode_head(struct str text, struct index_head *h, struct index *ret, struct err *err);
