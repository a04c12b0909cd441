/* wal_dirs.c - where the logs are: DIR/wal/GGGG-NN/SSSS. */
#include "ingester/ingester_impl.h"

#include <limits.h>
#include <stdlib.h>

enum { GENERATION_MAX = 9999 };

static bool generation_parse(const char *name, unsigned *ret_gen, unsigned *ret_count)
{
    int end = 0;

    return sscanf(name, "%4u-%2u%n", ret_gen, ret_count, &end) == 2 && name[end] == '\0' && *ret_count >= 1 && *ret_count <= SHARDS_MAX;
}

static void dir_add(struct ingester *in, const char *generation, unsigned shard, bool foreign)
{
    char path[PATH_MAX];
    struct wal_dir *d = vec_push(&in->wal_dirs);

    snprintf(path, sizeof path, "%s/wal/%s/%04u", in->data_dir, generation, shard);
    *d = (struct wal_dir){.path = xstrdup(path), .shard = shard, .foreign = foreign};
    in->foreign |= foreign;
}

int ingester_wal_dirs(struct ingester *in, struct err *err)
{
    char root[PATH_MAX], newest[32] = "";
    unsigned gen, count, top = 0, top_count = 0;
    fs_names names;
    int rc;

    snprintf(root, sizeof root, "%s/wal", in->data_dir);
    rc = fs_mkdirs(root, err);
    if (rc == 0)
        rc = fs_list(root, &names, err);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < names.n; i++)
        if (generation_parse(names.v[i], &gen, &count) && gen >= top) {
            top = gen;
            top_count = count;
        }
    if (top_count != in->shard_count)
        top++;
    if (top > GENERATION_MAX)
        rc = err_set(err, RC_LIMIT, "%s: more than %d changes of the shard count", root, GENERATION_MAX);
    snprintf(newest, sizeof newest, "%04u-%02u", top % (GENERATION_MAX + 1), in->shard_count % 100);
    for (size_t i = 0; i < names.n && rc == 0; i++)
        if (generation_parse(names.v[i], &gen, &count) && strcmp(names.v[i], newest) != 0)
            for (unsigned s = 0; s < count; s++)
                dir_add(in, names.v[i], s, true);
    for (unsigned s = 0; s < in->shard_count && rc == 0; s++)
        dir_add(in, newest, s, false);
    fs_names_free(&names);
    return rc;
}

int ingester_wal_dirs_remove_foreign(struct ingester *in, struct err *err)
{
    for (size_t i = 0; i < in->wal_dirs.n; i++) {
        char *path = in->wal_dirs.v[i].path, *slash;
        int rc;

        if (!in->wal_dirs.v[i].foreign)
            continue;
        /* The last shard's directory goes with its generation. */
        slash = strrchr(path, '/');
        *slash = '\0';
        rc = fs_remove_tree(path, err);
        *slash = '/';
        if (rc < 0)
            return rc;
    }
    in->foreign = false;
    return 0;
}

void ingester_wal_dirs_free(struct ingester *in)
{
    for (size_t i = 0; i < in->wal_dirs.n; i++)
        free(in->wal_dirs.v[i].path);
    vec_fini(&in->wal_dirs);
}
