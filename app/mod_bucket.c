#include "app/cluster.h"
#include "common/obs/memory.h"
#include "tsdb/block.h"
#include "tsdb/bucket_s3.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

struct mod_bucket {
    struct app *app;
    struct bucket *bucket;
};

static int init(struct app *app, const void *cfg, void **ret_self, struct err *err)
{
    const struct bucket_cfg *c = cfg;
    struct mod_bucket *m = xcalloc(1, sizeof *m);
    char path[PATH_MAX];

    *ret_self = m;
    m->app = app;
    snprintf(path, sizeof path, "%s/blocks", app->cfg.data_dir);
    return c->url[0] ? bucket_open_configured(c, app->metrics, &m->bucket, err) : bucket_open(path, &m->bucket, err);
}

static bool writes(struct app *app)
{
    for (size_t i = 0; i < app->order_count; i++) {
        const char *name = app->order[i]->module->name;

        if (strcmp(name, "ingester") == 0 || strcmp(name, "compactor") == 0)
            return true;
    }
    return false;
}

/* What a setting must mend ends the process. A store that does not answer does not: an ingester that starts while it is away can take pushes. */
static int start(void *self, struct err *err)
{
    struct mod_bucket *m = self;
    struct err why = {0};
    int rc = bucket_check(m->bucket, writes(m->app), &why);

    if (rc == RC_TIMEOUT || rc == RC_UNAVAILABLE) {
        log_warn(m->app->log, "the object store does not answer; starting without it", "err", err_log(&why));
        return 0;
    }
    if (rc < 0 && err)
        *err = why;
    return rc;
}

static void free_bucket(void *self)
{
    struct mod_bucket *m = self;

    if (m)
        bucket_free(m->bucket);
    free(m);
}

static void memory(UNUSED void *self, struct memory_account *a)
{
    memory_add(a, (struct str){0}, MEMORY_INDEX_CACHE, block_cache_used());
}

struct bucket *app_bucket(struct app *app)
{
    return ((struct mod_bucket *)app_module_self(app, "bucket"))->bucket;
}

const struct module module_bucket = {
    .name = "bucket",
    .options = bucket_options,
    .cfg_size = sizeof(struct bucket_cfg),
    .init = init,
    .start = start,
    .free = free_bucket,
    .memory = memory,
};
