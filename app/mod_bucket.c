#include "app/cluster.h"
#include "common/obs/memory.h"
#include "tsdb/block.h"

#include <limits.h>
#include <stdio.h>

struct bucket_cfg {
    char *url;
};

static const struct option options[] = {
    {"bucket.url", OPT_STRING, offsetof(struct bucket_cfg, url),
     .doc = "Object store of blocks: filesystem:///path. Every process of a cluster needs the same one. Empty: blocks/ below data-dir."},
    {0},
};

static int init(struct app *app, const void *cfg, void **ret_self, struct err *err)
{
    const struct bucket_cfg *c = cfg;
    struct bucket *b = NULL;
    char path[PATH_MAX];
    int rc;

    snprintf(path, sizeof path, "%s/blocks", app->cfg.data_dir);
    rc = bucket_open(c->url[0] ? c->url : path, &b, err);
    *ret_self = b;
    return rc;
}

static void free_bucket(void *self)
{
    bucket_free(self);
}

static void memory(UNUSED void *self, struct memory_account *a)
{
    memory_add(a, (struct str){0}, MEMORY_INDEX_CACHE, block_cache_used());
}

struct bucket *app_bucket(struct app *app)
{
    return app_module_self(app, "bucket");
}

const struct module module_bucket = {
    .name = "bucket",
    .options = options,
    .cfg_size = sizeof(struct bucket_cfg),
    .init = init,
    .free = free_bucket,
    .memory = memory,
};
