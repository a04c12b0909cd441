#include "ring/kv_file.h"

#include "common/sys/fs.h"

#include <stdio.h>

enum { HEADER_BYTES = 16, MAGIC = 0x564b5254 /* "TRKV" */, PATH_BYTES = 4096 };

static int path_of(const char *data_dir, char ret[PATH_BYTES], struct err *err)
{
    int n = snprintf(ret, PATH_BYTES, "%s/kv.state", data_dir);

    return n < PATH_BYTES ? 0 : err_set(err, RC_LIMIT, "path too long: %.100s...", data_dir);
}

static void add_entry(void *out, const struct ring_kv_entry *e)
{
    kv_entry_encode(e, out);
}

void kv_file_encode(const struct kv_core *c, struct buf *out)
{
    buf_u32(out, MAGIC);
    buf_u16(out, KV_FILE_VERSION);
    buf_u16(out, 0);
    buf_u64(out, 0); /* length and checksum, below */
    buf_uvarint(out, kv_core_count(c));
    kv_core_each(c, add_entry, out);
    if (!buf_ok(out))
        return;
    le_put32(out->p + 8, (uint32_t)(out->n - HEADER_BYTES));
    le_put32(out->p + 12, crc32c(0, out->p + HEADER_BYTES, out->n - HEADER_BYTES));
}

int kv_file_write(const char *data_dir, struct str bytes, struct err *err)
{
    char path[PATH_BYTES];
    int rc = path_of(data_dir, path, err);

    return rc < 0 ? rc : fs_write_atomic(path, bytes, err);
}

static int entries_walk(struct rd r, ring_kv_fn *fn, void *arg, struct err *err)
{
    uint64_t n = rd_uvarint(&r);
    struct ring_kv_entry e;

    for (uint64_t i = 0; i < n && rd_ok(&r); i++) {
        int rc = kv_entry_decode(&r, &e, err);

        if (rc < 0)
            return rc;
        if (fn)
            fn(arg, &e);
    }
    CORRUPT_UNLESS(rd_done(&r), err);
    return 0;
}

int kv_file_decode(struct str bytes, ring_kv_fn *fn, void *arg, struct err *err)
{
    struct rd r      = rd_of(bytes);
    uint32_t magic   = rd_u32(&r), length, crc;
    uint16_t version = rd_u16(&r), zero = rd_u16(&r);
    int rc;

    length = rd_u32(&r);
    crc    = rd_u32(&r);
    CORRUPT_UNLESS(rd_ok(&r) && magic == MAGIC, err);
    if (version != KV_FILE_VERSION)
        return err_set(err, RC_VERSION, "kv.state of version %u, this binary reads %d", version, KV_FILE_VERSION);
    CORRUPT_UNLESS(zero == 0 && length == rd_left(&r), err);
    CORRUPT_UNLESS(crc32c(0, r.p, length) == crc, err);
    rc = entries_walk(r, NULL, NULL, err);
    return rc < 0 ? rc : entries_walk(r, fn, arg, err);
}

int kv_file_read(const char *data_dir, ring_kv_fn *fn, void *arg, struct err *err)
{
    char path[PATH_BYTES];
    struct buf b;
    int rc = path_of(data_dir, path, err);

    if (rc < 0)
        return rc;
    buf_init(&b, KV_FILE_BYTES_MAX);
    rc = fs_read(path, &b, err);
    if (rc == 0) {
        rc = kv_file_decode(buf_view(&b), fn, arg, err);
        if (rc < 0)
            rc = err_wrap(err, rc, "%s", path);
    }
    buf_fini(&b);
    return rc;
}
