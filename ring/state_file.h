/* state_file.h - the frame of this room's small files (ring.state, kv.state) and their place.
 *   0 magic u32 | 4 version u16 | 6 zero u16 | 8 length u32 | 12 crc32c u32 of the payload | 16 payload
 * Whole iff the length is the rest of the file and the checksum fits. */
#pragma once
#include "common/base/buf.h"
#include "common/base/bytes.h"
#include "common/base/err.h"

enum { STATE_FILE_PATH_BYTES = 4096 };

/* DATA_DIR/name. RC_LIMIT. */
int state_file_path(const char *data_dir, const char *name, char ret[STATE_FILE_PATH_BYTES], struct err *err);
/* Into an empty buffer: the frame, then the caller's payload, then what the frame says of it (nothing, when out has failed). */
void state_file_begin(struct buf *out, uint32_t magic, uint16_t version);
void state_file_end(struct buf *out);
/* *ret: the payload. RC_CORRUPT; RC_VERSION names the file. */
int state_file_open(struct str bytes, uint32_t magic, uint16_t version, const char *name, struct rd *ret, struct err *err);
