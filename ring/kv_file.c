#include "ring/kv_file.h"

#include "common/sys/fs.h"
#include "ring/state_file.h"

enum { MAGIC = 0x564b5254 /* "TRKV" */ };
static const char file_name[] = "kv.state";

static void add_entry(void *out, const struct ring_kv_entry *e)
{
    kv_entry_encode(e, out);
}

void kv_file_encode(const struct kv_core *c, struct buf *out)
{
    state_file_begin(out, MAGIC, KV_FILE_VERSION);
    buf_uvarint(out, kv_core_count(c));
    kv_core_each(c, add_entry, out);
    state_file_end(out);
}

int kv_file_write(const char *data_dir, struct str bytes, struct err *err)
{
    char path[STATE_FILE_PATH_BYTES];
    int rc = state_file_path(data_dir, file_name, path, err);

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
    struct rd r;
    int rc = state_file_open(bytes, MAGIC, KV_FILE_VERSION, file_name, &r, err);

    if (rc == 0)
        rc = entries_walk(r, NULL, NULL, err);
    return rc < 0 ? rc : entries_walk(r, fn, arg, err);
}

int kv_file_read(const char *data_dir, ring_kv_fn *fn, void *arg, struct err *err)
{
    char path[STATE_FILE_PATH_BYTES];
    struct buf b;
    int rc = state_file_path(data_dir, file_name, path, err);

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
