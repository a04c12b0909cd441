/* sealed_json.h - JSON objects that carry their own checksum, for meta.json and index generations, and checked access to members.
 * Text: the object in compact form with a last member "crc32c":"xxxxxxxx" over all bytes before that member's comma, then a newline. Any flipped bit is
 * RC_CORRUPT: in the object by the sum, in the seal because it must be exactly the expected text. */
#pragma once
#include "common/base/buf.h"
#include "common/base/err.h"

#include <jansson.h>

/* Takes obj (also on failure). RC_NOMEM past out->max. */
int sealed_json_encode(json_t *obj, struct buf *out, struct err *err);
/* json_decref the result. */
int sealed_json_decode(struct str text, json_t **ret, struct err *err);

/* Members: RC_CORRUPT names the member when it is absent, of another type or out of range. */
int json_get_i64(const json_t *obj, const char *name, int64_t min, int64_t max, int64_t *ret, struct err *err);
int json_get_u64(const json_t *obj, const char *name, uint64_t max, uint64_t *ret, struct err *err);
int json_get_text(const json_t *obj, const char *name, char *ret, size_t size, struct err *err); /* NUL-terminated copy */
int json_get_array(const json_t *obj, const char *name, size_t max, const json_t **ret, struct err *err);

/* Block ids and shards (block_meta.c). */
struct ulid;
struct block_shard;
void block_shard_to_json(json_t *obj, struct block_shard s); /* nothing for a whole block */
int block_shard_from_json(const json_t *obj, struct block_shard *ret, struct err *err);
json_t *ulids_to_json(const struct ulid *v, size_t n);
int ulid_from_json(const json_t *obj, const char *name, struct ulid *ret, struct err *err);
int ulids_from_json(const json_t *obj, const char *name, struct ulid **ret, size_t *ret_n, struct err *err); /* free() */
