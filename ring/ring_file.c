#include "ring/ring_file.h"

#include "common/base/hash.h"
#include "common/sys/fs.h"

#include <stdio.h>

enum { HEADER_BYTES = 16, MAGIC = 0x474e5254 /* "TRNG" */, PATH_BYTES = 4096 };

static int path_of(const char *data_dir, char ret[PATH_BYTES], struct err *err)
{
    int n = snprintf(ret, PATH_BYTES, "%s/ring.state", data_dir);

    return n < PATH_BYTES ? 0 : err_set(err, RC_LIMIT, "path too long: %.100s...", data_dir);
}

int ring_file_write(const char *data_dir, const struct member *m, struct err *err)
{
    char path[PATH_BYTES];
    struct buf b;
    int rc = path_of(data_dir, path, err);

    if (rc < 0)
        return rc;
    buf_init(&b, RING_FILE_BYTES_MAX);
    buf_u32(&b, MAGIC);
    buf_u16(&b, RING_FILE_VERSION);
    buf_u16(&b, 0);
    buf_u64(&b, 0); /* length and checksum, below */
    member_encode(m, &b);
    ASSERT(buf_ok(&b)); /* names and tokens have ceilings */
    le_put32(b.p + 8, (uint32_t)(b.n - HEADER_BYTES));
    le_put32(b.p + 12, crc32c(0, b.p + HEADER_BYTES, b.n - HEADER_BYTES));
    rc = fs_write_atomic(path, buf_view(&b), err);
    buf_fini(&b);
    return rc;
}

int ring_file_decode(struct str bytes, struct member *ret, struct err *err)
{
    struct rd r = rd_of(bytes);
    struct member m;
    uint32_t magic = rd_u32(&r), length, crc;
    uint16_t version = rd_u16(&r), zero = rd_u16(&r);
    int rc;

    length = rd_u32(&r);
    crc    = rd_u32(&r);
    CORRUPT_UNLESS(rd_ok(&r) && magic == MAGIC, err);
    if (version != RING_FILE_VERSION)
        return err_set(err, RC_VERSION, "ring.state of version %u, this binary reads %d", version, RING_FILE_VERSION);
    CORRUPT_UNLESS(zero == 0 && length == rd_left(&r), err);
    CORRUPT_UNLESS(crc32c(0, r.p, length) == crc, err);
    rc = member_decode(&r, &m, err);
    if (rc < 0)
        return rc;
    if (!rd_done(&r)) {
        member_fini(&m);
        return err_set(err, RC_CORRUPT, "ring.state has bytes after its record");
    }
    *ret = m;
    return 0;
}

int ring_file_read(const char *data_dir, struct member *ret, struct err *err)
{
    char path[PATH_BYTES];
    struct buf b;
    int rc = path_of(data_dir, path, err);

    if (rc < 0)
        return rc;
    buf_init(&b, RING_FILE_BYTES_MAX);
    rc = fs_read(path, &b, err);
    if (rc == 0) {
        rc = ring_file_decode(buf_view(&b), ret, err);
        if (rc < 0)
            rc = err_wrap(err, rc, "%s", path);
    }
    buf_fini(&b);
    return rc;
}
