/* bucket.h - an object store: immutable objects under slash-separated names. A directory (bucket_fs) or S3 (bucket_s3.h).
 * Names: [A-Za-z0-9!._*'()/-], no empty part, no "." or ".."; refused otherwise. All calls may be made from any thread. */
#pragma once
#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/base/vec.h"

struct bucket;
struct bucket_object {
    char *name; /* full name */
    uint64_t size;
};
typedef VEC(struct bucket_object) bucket_list;
void bucket_list_free(bucket_list *l);

struct bucket_ops {
    int (*put_file)(struct bucket *b, const char *name, const char *local_path, struct err *err);  /* durable when it returns */
    int (*put)(struct bucket *b, const char *name, struct str bytes, struct err *err);
    int (*create)(struct bucket *b, const char *name, struct str bytes, struct err *err);          /* only if absent, else RC_EXISTS */
    int (*get)(struct bucket *b, const char *name, struct buf *out, struct err *err);              /* RC_NOT_FOUND; RC_LIMIT past out->max */
    int (*get_range)(struct bucket *b, const char *name, uint64_t offset, size_t n, void *out, struct err *err);
    int (*size)(struct bucket *b, const char *name, uint64_t *ret, struct err *err);
    int (*list)(struct bucket *b, const char *prefix, bucket_list *ret, struct err *err);          /* recursive, sorted by name */
    int (*remove)(struct bucket *b, const char *name, struct err *err);                            /* absent is success */
    /* NULL, or what a process asks at its start: whether the store is there and does what create() needs (writes).
     * RC_UNSUPPORTED: it does not; RC_INVALID: a setting or a policy must be mended; others: it does not answer now. */
    int (*check)(struct bucket *b, bool writes, struct err *err);
    void (*free)(struct bucket *b);
};
struct bucket {
    const struct bucket_ops *ops;
};
/* RC_INVALID names the name and the rule; also refuses names that look like a temporary file of bucket_fs. */
int bucket_name_check(const char *name, struct err *err);
enum { BUCKET_NAME_BYTES_MAX = 1024, BUCKET_DEPTH_MAX = 16, BUCKET_TEMP_AGE_S = 24 * 3600, BUCKET_LIST_MAX = 10000000 };
/* A directory. put, put_file and create write a temporary name beside the object (NAME.tmp-<16 hex>), sync it, then rename or link it and sync every
 * directory up to the top. Temporary files that a crash left are removed by list() once they are BUCKET_TEMP_AGE_S old. */
int bucket_fs_new(const char *dir, struct bucket **ret, struct err *err);
static inline void bucket_free(struct bucket *b)
{
    if (b)
        b->ops->free(b);
}
static inline int bucket_check(struct bucket *b, bool writes, struct err *err)
{
    return b->ops->check ? b->ops->check(b, writes, err) : 0;
}
/* "filesystem:///path" or a plain path. */
int bucket_open(const char *url, struct bucket **ret, struct err *err);
/* The same of cfg->url (not empty), which may be "s3://bucket[/prefix]" too: see bucket_s3.h. cfg is borrowed for the bucket's life; metrics may be NULL. */
struct bucket_cfg;
struct metrics;
int bucket_open_configured(const struct bucket_cfg *cfg, struct metrics *metrics, struct bucket **ret, struct err *err);
