#include "tsdb/bucket_fs.h"
#include "common/base/fault.h"
#include "common/base/hash.h"
#include "common/sys/fs.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    PUT_RETRIES = 16, /* remove() takes empty directories away under a put */
    COPY_BYTES = 1 << 20,
};

struct bucket_fs {
    struct bucket bucket;
    char dir[PATH_MAX];
    size_t dir_n;
};

static struct bucket_fs *fs_of(struct bucket *b)
{
    return CONTAINER_OF(b, struct bucket_fs, bucket);
}

static int path_of(struct bucket *b, const char *name, char path[PATH_MAX], struct err *err)
{
    int rc = bucket_name_check(name, err);

    if (rc == 0 && snprintf(path, PATH_MAX, "%s/%s", fs_of(b)->dir, name) >= PATH_MAX)
        rc = err_set(err, RC_INVALID, "object name too long: %.128s", name);
    return rc;
}

static int sync_parents(struct bucket_fs *f, const char *path, struct err *err)
{
    char dir[PATH_MAX];
    int rc = 0;

    snprintf(dir, sizeof dir, "%s", path);
    while (rc == 0 && strlen(dir) > f->dir_n) {
        *strrchr(dir, '/') = '\0';
        rc = fs_sync_dir(dir, err);
    }
    return rc;
}

static int make_parent(const char *path, struct err *err)
{
    char dir[PATH_MAX];

    snprintf(dir, sizeof dir, "%s", path);
    *strrchr(dir, '/') = '\0';
    return fs_mkdirs(dir, err);
}

/* Runs one way of writing path, again when its directory vanished under it, then makes every directory entry durable. */
static int write_durably(struct bucket *b, const char *name, struct str arg,
                         int (*write_one)(const char *path, struct str arg, struct err *err), struct err *err)
{
    char path[PATH_MAX];
    struct err why = {0};
    int rc = path_of(b, name, path, &why);

    for (int i = 0; rc == 0 && i < PUT_RETRIES; i++) {
        rc = make_parent(path, &why);
        if (rc == 0)
            rc = write_one(path, arg, &why);
        if (rc != RC_IO || why.sys != ENOENT)
            break;
        if (i + 1 < PUT_RETRIES)
            rc = 0;
    }
    if (rc == 0)
        rc = sync_parents(fs_of(b), path, &why);
    if (rc < 0 && err)
        *err = why;
    return rc;
}

static int fs_put(struct bucket *b, const char *name, struct str bytes, struct err *err)
{
    return write_durably(b, name, bytes, fs_write_atomic, err);
}

static int fs_create(struct bucket *b, const char *name, struct str bytes, struct err *err)
{
    return write_durably(b, name, bytes, fs_create_once, err);
}

static int copy_bytes(int from, int to, struct err *err)
{
    char *buf = xmalloc(COPY_BYTES);
    int rc = 0;

    while (rc == 0) {
        ssize_t n = read(from, buf, COPY_BYTES);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            rc = err_sys(err, RC_IO, "read");
        if (n <= 0)
            break;
        rc = fs_write_all(to, buf, (size_t)n, err);
    }
    free(buf);
    return rc;
}

/* A hard link where the file system allows it (the local file is immutable), else a copy; synced either way. */
static int link_or_copy(const char *local, const char *tmp, struct err *err)
{
    int from = open(local, O_RDONLY | O_CLOEXEC), to = -1, rc = 0;

    if (from < 0)
        return err_sys(err, errno == ENOENT ? RC_NOT_FOUND : RC_IO, "open %s", local);
    if (link(local, tmp) != 0) {
        if (errno != EXDEV && errno != EPERM && errno != EMLINK && errno != EOPNOTSUPP)
            rc = err_sys(err, RC_IO, "link %s to %s", local, tmp);
        else if ((to = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666)) < 0)
            rc = err_sys(err, RC_IO, "create %s", tmp);
        else
            rc = copy_bytes(from, to, err);
    }
    FAULT(FAULT_IO, rc = err_set(err, RC_IO, "fault: fsync %s", tmp));
    if (rc == 0 && fsync(to >= 0 ? to : from) != 0)
        rc = err_sys(err, RC_IO, "fsync %s", tmp);
    if (to >= 0 && close(to) != 0 && rc == 0)
        rc = err_sys(err, RC_IO, "close %s", tmp);
    close(from);
    return rc;
}

static int ship_file(const char *path, struct str local, struct err *err)
{
    char tmp[PATH_MAX];
    uint64_t r;
    int rc;

    random_bytes(&r, sizeof r);
    if (snprintf(tmp, sizeof tmp, "%s.tmp-%016llx", path, (unsigned long long)r) >= (int)sizeof tmp)
        return err_set(err, RC_INVALID, "path too long: %.128s", path);
    rc = link_or_copy(local.p, tmp, err);
    if (rc == 0)
        rc = fs_rename(tmp, path, err);
    if (rc < 0)
        unlink(tmp);
    return rc;
}

static int fs_put_file(struct bucket *b, const char *name, const char *local_path, struct err *err)
{
    return write_durably(b, name, str_of(local_path), ship_file, err);
}

static int fs_get(struct bucket *b, const char *name, struct buf *out, struct err *err)
{
    char path[PATH_MAX];
    int rc = path_of(b, name, path, err);

    return rc < 0 ? rc : fs_read(path, out, err);
}

static int fs_get_range(struct bucket *b, const char *name, uint64_t offset, size_t n, void *out, struct err *err)
{
    char path[PATH_MAX];
    int rc = path_of(b, name, path, err), fd;

    if (rc < 0)
        return rc;
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_sys(err, errno == ENOENT ? RC_NOT_FOUND : RC_IO, "open %s", path);
    rc = fs_pread_all(fd, out, n, offset, err);
    close(fd);
    return rc < 0 ? err_wrap(err, rc, "%s", path) : 0;
}

static int fs_size(struct bucket *b, const char *name, uint64_t *ret, struct err *err)
{
    char path[PATH_MAX];
    struct stat st;
    int rc = path_of(b, name, path, err);

    if (rc < 0)
        return rc;
    if (stat(path, &st) != 0)
        return err_sys(err, errno == ENOENT ? RC_NOT_FOUND : RC_IO, "stat %s", path);
    if (!S_ISREG(st.st_mode))
        return err_set(err, RC_NOT_FOUND, "%s is not a file", path);
    *ret = (uint64_t)st.st_size;
    return 0;
}

struct walk {
    struct bucket_fs *fs;
    struct str prefix;
    bucket_list *out;
    char path[PATH_MAX];
};

static int walk_dir(struct walk *w, int depth, struct err *err);

static int walk_entry(struct walk *w, const char *leaf, int depth, struct err *err)
{
    struct str name;
    struct stat st;

    name = str_skip(str_of(w->path), w->fs->dir_n + 1);
    /* Either may be the longer one: "a/b" lies below prefix "a/", and prefix "a/b/c" lies below directory "a". */
    if (memcmp(name.p, w->prefix.p, MIN(name.n, w->prefix.n)) != 0)
        return 0;
    if (lstat(w->path, &st) != 0)
        return errno == ENOENT ? 0 : err_sys(err, RC_IO, "stat %s", w->path);
    if (S_ISDIR(st.st_mode))
        return depth + 1 < BUCKET_DEPTH_MAX ? walk_dir(w, depth + 1, err) : 0;
    if (!S_ISREG(st.st_mode))
        return 0;
    if (bucket_temp_name(str_of(leaf))) {
        if (time(NULL) - st.st_mtime > BUCKET_TEMP_AGE_S)
            unlink(w->path);
    } else if (name.n >= w->prefix.n) {
        *vec_push(w->out) = (struct bucket_object){xstrdup(name.p), (uint64_t)st.st_size};
    }
    return 0;
}

static int walk_dir(struct walk *w, int depth, struct err *err)
{
    size_t n = strlen(w->path);
    DIR *dir = opendir(w->path);
    struct dirent *e;
    int rc = 0;

    if (!dir)
        return errno == ENOENT ? 0 : err_sys(err, RC_IO, "open directory %s", w->path);
    while (rc == 0 && (e = readdir(dir))) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        if (snprintf(w->path + n, sizeof w->path - n, "/%s", e->d_name) < (int)(sizeof w->path - n))
            rc = walk_entry(w, e->d_name, depth, err);
        w->path[n] = '\0';
    }
    closedir(dir);
    return rc;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct bucket_object *)a)->name, ((const struct bucket_object *)b)->name);
}

static int fs_list_objects(struct bucket *b, const char *prefix, bucket_list *ret, struct err *err)
{
    bucket_list out = {0};
    struct walk w = {.fs = fs_of(b), .prefix = str_of(prefix), .out = &out};
    int rc;

    FAULT(FAULT_IO, return err_set(err, RC_IO, "fault: list %s", prefix));
    snprintf(w.path, sizeof w.path, "%s", w.fs->dir);
    rc = walk_dir(&w, 0, err);
    if (rc < 0) {
        bucket_list_free(&out);
        return rc;
    }
    if (out.n)
        qsort(out.v, out.n, sizeof *out.v, by_name);
    *ret = out;
    return 0;
}

static int fs_remove_object(struct bucket *b, const char *name, struct err *err)
{
    char path[PATH_MAX];
    struct bucket_fs *f = fs_of(b);
    int rc = path_of(b, name, path, err);

    if (rc == 0)
        rc = fs_remove(path, err);
    if (rc < 0)
        return rc;
    /* Empty directories go as well, but never the top one. Not synced: a name that comes back after a power cut is removed again. */
    do
        *strrchr(path, '/') = '\0';
    while (strlen(path) > f->dir_n && rmdir(path) == 0);
    return 0;
}

static void fs_free(struct bucket *b)
{
    free(fs_of(b));
}

static const struct bucket_ops fs_ops = {
    .put_file = fs_put_file,
    .put = fs_put,
    .create = fs_create,
    .get = fs_get,
    .get_range = fs_get_range,
    .size = fs_size,
    .list = fs_list_objects,
    .remove = fs_remove_object,
    .free = fs_free,
};

int bucket_fs_new(const char *dir, struct bucket **ret, struct err *err)
{
    struct bucket_fs *f;
    size_t n = strlen(dir);
    int rc;

    while (n > 1 && dir[n - 1] == '/')
        n--;
    if (n == 0 || n >= PATH_MAX - BUCKET_NAME_BYTES_MAX)
        return err_set(err, RC_INVALID, "bucket directory '%.128s' is empty or too long", dir);
    f = xcalloc(1, sizeof *f);
    f->bucket.ops = &fs_ops;
    memcpy(f->dir, dir, n);
    f->dir_n = n;
    rc = fs_mkdirs(f->dir, err);
    if (rc < 0) {
        free(f);
        return rc;
    }
    *ret = &f->bucket;
    return 0;
}
