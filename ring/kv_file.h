/* kv_file.h - the shared state on disk: DATA_DIR/kv.state, read at the start, replaced as a whole.
 * In the frame of state_file.h, magic "TRKV": count varint | entries (kv_msg.h) */
#pragma once
#include "ring/kv_core.h"

enum { KV_FILE_VERSION = 1, KV_FILE_BYTES_MAX = 256 << 20 };

void kv_file_encode(const struct kv_core *c, struct buf *out);
int kv_file_write(const char *data_dir, struct str bytes, struct err *err);
/* fn is called for each entry once all are known to be whole. RC_CORRUPT, RC_VERSION. */
int kv_file_decode(struct str bytes, ring_kv_fn *fn, void *arg, struct err *err);
/* RC_NOT_FOUND. */
int kv_file_read(const char *data_dir, ring_kv_fn *fn, void *arg, struct err *err);
