#include "common/sys/fs.h"
#include "common/base/fault.h"
#include "common/base/hash.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

int fs_mkdirs(const char *path, struct err *err)
{
    char part[PATH_MAX];
    size_t n = strlen(path);

    if (n >= sizeof part)
        return err_set(err, RC_INVALID, "path longer than %d bytes: %.64s...", PATH_MAX, path);
    for (size_t i = 1; i <= n; i++) {
        if (i < n && path[i] != '/')
            continue;
        memcpy(part, path, i);
        part[i] = '\0';
        if (mkdir(part, 0777) != 0 && errno != EEXIST)
            return err_sys(err, RC_IO, "mkdir %s", part);
    }
    return 0;
}

int fs_write_all(int fd, const void *p, size_t n, struct err *err)
{
    const char *at = p;

    FAULT(FAULT_IO, return err_set(err, RC_IO, "fault: write"));
    while (n > 0) {
        ssize_t did = write(fd, at, n);

        if (did < 0 && errno == EINTR)
            continue;
        if (did <= 0)
            return err_sys(err, RC_IO, "write");
        at += did;
        n -= (size_t)did;
    }
    return 0;
}

int fs_pread_all(int fd, void *p, size_t n, uint64_t offset, struct err *err)
{
    char *at = p;

    FAULT(FAULT_IO, return err_set(err, RC_IO, "fault: read"));
    while (n > 0) {
        ssize_t did = pread(fd, at, n, (off_t)offset);

        if (did < 0 && errno == EINTR)
            continue;
        if (did < 0)
            return err_sys(err, RC_IO, "read");
        if (did == 0)
            return err_set(err, RC_CORRUPT, "file ends %zu bytes early", n);
        at += did;
        offset += (uint64_t)did;
        n -= (size_t)did;
    }
    return 0;
}

static int read_fd(int fd, const char *path, struct buf *out, struct err *err)
{
    for (;;) {
        ssize_t got;

        if (!buf_reserve(out, 1)) {
            /* Full to the maximum: fine if the file ends just here. */
            char c;

            out->failed = false;
            got = read(fd, &c, 1);
            if (got == 0)
                return 0;
            return err_set(err, RC_LIMIT, "%s is larger than %zu bytes", path, out->max);
        }
        got = read(fd, out->p + out->n, out->cap - out->n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return err_sys(err, RC_IO, "read %s", path);
        if (got == 0)
            return 0;
        out->n += (size_t)got;
    }
}

int fs_read(const char *path, struct buf *out, struct err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    int rc;

    if (fd < 0)
        return err_sys(err, errno == ENOENT ? RC_NOT_FOUND : RC_IO, "open %s", path);
    FAULT(FAULT_IO, (close(fd), fd = -1));
    if (fd < 0)
        return err_set(err, RC_IO, "fault: read %s", path);
    rc = read_fd(fd, path, out, err);
    close(fd);
    return rc;
}

static int parent_of(const char *path, char out[PATH_MAX])
{
    const char *slash = strrchr(path, '/');
    size_t n = slash ? (size_t)(slash - path) : 0;

    if (n >= PATH_MAX)
        return -1;
    if (!slash)
        memcpy(out, ".", 2);
    else if (n == 0)
        memcpy(out, "/", 2);
    else {
        memcpy(out, path, n);
        out[n] = '\0';
    }
    return 0;
}

int fs_sync_dir(const char *path, struct err *err)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = 0;

    if (fd < 0)
        return err_sys(err, RC_IO, "open directory %s", path);
    FAULT(FAULT_IO, rc = err_set(err, RC_IO, "fault: fsync directory %s", path));
    if (rc == 0 && fsync(fd) != 0)
        rc = err_sys(err, RC_IO, "fsync directory %s", path);
    close(fd);
    return rc;
}

static int sync_parent(const char *path, struct err *err)
{
    char dir[PATH_MAX];

    if (parent_of(path, dir) < 0)
        return err_set(err, RC_INVALID, "path too long");
    return fs_sync_dir(dir, err);
}

static int write_temp(const char *path, struct str bytes, char tmp[PATH_MAX], struct err *err)
{
    uint64_t r;
    int fd, rc;

    random_bytes(&r, sizeof r);
    if (snprintf(tmp, PATH_MAX, "%s.tmp-%016llx", path, (unsigned long long)r) >= PATH_MAX)
        return err_set(err, RC_INVALID, "path too long: %.64s...", path);
    fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0)
        return err_sys(err, RC_IO, "create %s", tmp);
    rc = fs_write_all(fd, bytes.p, bytes.n, err);
    if (rc == 0 && fsync(fd) != 0)
        rc = err_sys(err, RC_IO, "fsync");
    if (close(fd) != 0 && rc == 0)
        rc = err_sys(err, RC_IO, "close");
    if (rc < 0) {
        unlink(tmp);
        return err_wrap(err, rc, "%s", tmp);
    }
    return 0;
}

int fs_write_atomic(const char *path, struct str bytes, struct err *err)
{
    char tmp[PATH_MAX];
    int rc = write_temp(path, bytes, tmp, err);

    if (rc < 0)
        return rc;
    FAULT(FAULT_IO, (unlink(tmp), rc = err_set(err, RC_IO, "fault: rename %s", path)));
    if (rc < 0)
        return rc;
    if (rename(tmp, path) != 0) {
        rc = err_sys(err, RC_IO, "rename %s to %s", tmp, path);
        unlink(tmp);
        return rc;
    }
    return sync_parent(path, err);
}

int fs_create_once(const char *path, struct str bytes, struct err *err)
{
    char tmp[PATH_MAX];
    int rc = write_temp(path, bytes, tmp, err);

    if (rc < 0)
        return rc;
    if (link(tmp, path) != 0)
        rc = err_sys(err, errno == EEXIST ? RC_EXISTS : RC_IO, "create %s", path);
    unlink(tmp);
    return rc < 0 ? rc : sync_parent(path, err);
}

int fs_remove(const char *path, struct err *err)
{
    FAULT(FAULT_IO, return err_set(err, RC_IO, "fault: remove %s", path));
    if (unlink(path) != 0 && errno != ENOENT)
        return err_sys(err, RC_IO, "remove %s", path);
    return 0;
}

static int remove_one(const char *path, UNUSED const struct stat *st, UNUSED int type, UNUSED struct FTW *ftw)
{
    return remove(path);
}

int fs_remove_tree(const char *path, struct err *err)
{
    if (nftw(path, remove_one, 32, FTW_DEPTH | FTW_PHYS) != 0 && errno != ENOENT)
        return err_sys(err, RC_IO, "remove %s", path);
    return 0;
}

int fs_rename(const char *from, const char *to, struct err *err)
{
    FAULT(FAULT_IO, return err_set(err, RC_IO, "fault: rename %s", from));
    if (rename(from, to) != 0)
        return err_sys(err, RC_IO, "rename %s to %s", from, to);
    return sync_parent(to, err);
}

bool fs_exists(const char *path)
{
    return access(path, F_OK) == 0;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

int fs_list(const char *path, fs_names *ret, struct err *err)
{
    DIR *dir = opendir(path);
    fs_names names = {0};
    struct dirent *e;

    if (!dir)
        return err_sys(err, errno == ENOENT ? RC_NOT_FOUND : RC_IO, "open directory %s", path);
    while ((e = readdir(dir)))
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            *vec_push(&names) = xstrdup(e->d_name);
    closedir(dir);
    if (names.n)
        qsort(names.v, names.n, sizeof *names.v, by_text);
    *ret = names;
    return 0;
}

void fs_names_free(fs_names *names)
{
    for (size_t i = 0; i < names->n; i++)
        free(names->v[i]);
    vec_fini(names);
}

int fs_lock_dir(const char *path, int *ret_fd, struct err *err)
{
    char file[PATH_MAX];
    int fd;

    if (snprintf(file, sizeof file, "%s/LOCK", path) >= (int)sizeof file)
        return err_set(err, RC_INVALID, "path too long");
    fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0)
        return err_sys(err, RC_IO, "open %s", file);
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        int rc = errno == EWOULDBLOCK
                     ? err_set(err, RC_EXISTS, "%s is in use by another process", path)
                     : err_sys(err, RC_IO, "lock %s", file);

        close(fd);
        return rc;
    }
    *ret_fd = fd;
    return 0;
}
