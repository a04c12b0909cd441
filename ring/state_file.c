#include "ring/state_file.h"

#include "common/base/hash.h"

#include <stdio.h>

enum { HEADER_BYTES = 16, LENGTH_AT = 8, CRC_AT = 12 };

int state_file_path(const char *data_dir, const char *name, char ret[STATE_FILE_PATH_BYTES], struct err *err)
{
    int n = snprintf(ret, STATE_FILE_PATH_BYTES, "%s/%s", data_dir, name);

    return n < STATE_FILE_PATH_BYTES ? 0 : err_set(err, RC_LIMIT, "path too long: %.100s...", data_dir);
}

void state_file_begin(struct buf *out, uint32_t magic, uint16_t version)
{
    buf_u32(out, magic);
    buf_u16(out, version);
    buf_u16(out, 0);
    buf_u64(out, 0); /* length and checksum: state_file_end */
}

void state_file_end(struct buf *out)
{
    if (!buf_ok(out))
        return;
    le_put32(out->p + LENGTH_AT, (uint32_t)(out->n - HEADER_BYTES));
    le_put32(out->p + CRC_AT, crc32c(0, out->p + HEADER_BYTES, out->n - HEADER_BYTES));
}

int state_file_open(struct str bytes, uint32_t want_magic, uint16_t want_version, const char *name, struct rd *ret, struct err *err)
{
    struct rd r      = rd_of(bytes);
    uint32_t magic   = rd_u32(&r), length, crc;
    uint16_t version = rd_u16(&r), zero = rd_u16(&r);

    length = rd_u32(&r);
    crc    = rd_u32(&r);
    CORRUPT_UNLESS(rd_ok(&r) && magic == want_magic, err);
    if (version != want_version)
        return err_set(err, RC_VERSION, "%s of version %u, this binary reads %u", name, version, want_version);
    CORRUPT_UNLESS(zero == 0 && length == rd_left(&r), err);
    CORRUPT_UNLESS(crc32c(0, r.p, length) == crc, err);
    *ret = r;
    return 0;
}
