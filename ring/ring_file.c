#include "ring/ring_file.h"

#include "common/sys/fs.h"
#include "ring/state_file.h"

enum { MAGIC = 0x474e5254 /* "TRNG" */ };
static const char file_name[] = "ring.state";

int ring_file_write(const char *data_dir, const struct member *m, struct err *err)
{
    char path[STATE_FILE_PATH_BYTES];
    struct buf b;
    int rc = state_file_path(data_dir, file_name, path, err);

    if (rc < 0)
        return rc;
    buf_init(&b, RING_FILE_BYTES_MAX);
    state_file_begin(&b, MAGIC, RING_FILE_VERSION);
    member_encode(m, &b);
    ASSERT(buf_ok(&b)); /* names and tokens have ceilings */
    state_file_end(&b);
    rc = fs_write_atomic(path, buf_view(&b), err);
    buf_fini(&b);
    return rc;
}

int ring_file_decode(struct str bytes, struct member *ret, struct err *err)
{
    struct member m;
    struct rd r;
    int rc = state_file_open(bytes, MAGIC, RING_FILE_VERSION, file_name, &r, err);

    if (rc == 0)
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
    char path[STATE_FILE_PATH_BYTES];
    struct buf b;
    int rc = state_file_path(data_dir, file_name, path, err);

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
