/* fs.h - files, the few ways we touch them. Every path that must survive a crash is written whole to a temporary
 * name, synced, renamed, and its directory synced. Errors name the path. */
#pragma once
#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/base/vec.h"

int fs_mkdirs(const char *path, struct err *err); /* like mkdir -p */
/* Appends the whole file to out (bounded by out->max: RC_LIMIT). RC_NOT_FOUND when it does not exist. */
int fs_read(const char *path, struct buf *out, struct err *err);
/* Atomically replaces path. */
int fs_write_atomic(const char *path, struct str bytes, struct err *err);
/* Creates path with these bytes, whole or not at all; RC_EXISTS if somebody was first (link(2) of a temporary). */
int fs_create_once(const char *path, struct str bytes, struct err *err);
int fs_sync_dir(const char *path, struct err *err);
int fs_remove(const char *path, struct err *err);      /* a missing file is success */
int fs_remove_tree(const char *path, struct err *err); /* the same, recursive */
int fs_rename(const char *from, const char *to, struct err *err);
bool fs_exists(const char *path);
/* Names (heap strings) in a directory without . and .., sorted; free with fs_names_free. */
typedef VEC(char *) fs_names;
int fs_list(const char *path, fs_names *ret, struct err *err);
void fs_names_free(fs_names *names);
/* Writes all n bytes, across short writes and EINTR. */
int fs_write_all(int fd, const void *p, size_t n, struct err *err);
int fs_pread_all(int fd, void *p, size_t n, uint64_t offset, struct err *err); /* short file: RC_CORRUPT */
/* Takes an exclusive lock on path/LOCK for the life of the process; RC_EXISTS when another process has it. */
int fs_lock_dir(const char *path, int *ret_fd, struct err *err);
