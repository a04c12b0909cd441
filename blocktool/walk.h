/* walk.h - the series of a tenant over several blocks, in label order, each merged into one. */
#pragma once
#include "tsdb/index.h"

struct walk;
/* Blocks that the indexes name for the tenant and that no other block makes superfluous. Free with free(). */
int walk_blocks(struct bucket *b, const char *tenant, struct ulid **ret, size_t *ret_n, struct err *err);
int walk_new(struct bucket *b, const char *tenant, const struct ulid *blocks, size_t n, struct walk **ret, struct err *err);
void walk_free(struct walk *w);
/* 1: *ret is valid until the next call; 0: the end. */
int walk_next(struct walk *w, struct stored_series *ret, struct err *err);
