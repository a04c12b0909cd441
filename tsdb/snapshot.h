/* snapshot.h - what a tenant had at one moment: the blocks that its indexes named then. A snapshot is an object snapshots/<tenant>/<name>.json in the form of an index
 * generation (index.h) whose number is the time in ms. While it exists, the compactor forgets its blocks as ever but leaves their files (snapshot_pins); nothing is copied.
 * A block that is taken into a snapshot is not yet marked for deletion, and one that is marked stays for the delete delay: by then the snapshot is written. */
#pragma once
#include "tsdb/index.h"

enum { SNAPSHOT_NAME_BYTES = 34, SNAPSHOTS_MAX = 1000 /* of one tenant */ };
/* 20261130T213359Z-<16 hex digits>, as Prometheus names them. */
struct snapshot_name {
    char text[SNAPSHOT_NAME_BYTES];
};
bool snapshot_name_valid(struct str s);
/* RC_LIMIT past SNAPSHOTS_MAX; RC_UNAVAILABLE when a block went while it was made. */
int snapshot_create(struct bucket *b, const char *tenant, int64_t now_ms, struct snapshot_name *ret, struct err *err);
int snapshot_load(struct bucket *b, const char *tenant, const char *name, struct index *ret, struct err *err); /* RC_NOT_FOUND */
int snapshot_remove(struct bucket *b, const char *tenant, const char *name, struct err *err);                   /* RC_NOT_FOUND */
/* Names in order of time. */
int snapshot_list(struct bucket *b, const char *tenant, fs_names *ret, struct err *err);

typedef VEC(struct ulid) ulid_list;
/* The blocks of all snapshots of all tenants, sorted. */
int snapshot_pins(struct bucket *b, ulid_list *ret, struct err *err);
bool ulid_list_has(const ulid_list *l, const struct ulid *id);
