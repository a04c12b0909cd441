/* ring_file.h - a member's identity on disk: DATA_DIR/ring.state, replaced atomically.
 * In the frame of state_file.h, magic "TRNG": one record (member.h) */
#pragma once
#include "ring/member.h"

enum { RING_FILE_VERSION = 1, RING_FILE_BYTES_MAX = 64 << 10 };

int ring_file_write(const char *data_dir, const struct member *m, struct err *err);
/* RC_NOT_FOUND: first start; RC_CORRUPT, RC_VERSION. ret owns its tokens. */
int ring_file_read(const char *data_dir, struct member *ret, struct err *err);
/* The bytes alone. */
int ring_file_decode(struct str bytes, struct member *ret, struct err *err);
