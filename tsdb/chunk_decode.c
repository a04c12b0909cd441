#include "tsdb/chunk_format.h"

static int front_check(struct str bytes, enum chunk_encoding *ret, struct err *err)
{
    uint8_t first;

    CORRUPT_UNLESS(bytes.n >= 2 && bytes.n <= CHUNK_BYTES_MAX, err);
    first = (uint8_t)bytes.p[0];
    if (first >> 4 != CHUNK_VERSION)
        return err_set(err, RC_VERSION, "chunk of version %d, this program reads %d", first >> 4, CHUNK_VERSION);
    CORRUPT_UNLESS((first & 15) <= ENC_STREAM_ST, err);
    *ret = first & 15;
    return 0;
}

int chunk_info(struct str bytes, struct chunk_info *ret, struct err *err)
{
    enum chunk_encoding e;
    int rc = front_check(bytes, &e, err);

    return rc < 0 ? rc : chunk_stream_info(bytes, ret, err);
}

int chunk_decode(struct str bytes, struct arena *a, struct chunk_columns *ret, struct err *err)
{
    enum chunk_encoding e;
    int rc = front_check(bytes, &e, err);

    return rc < 0 ? rc : chunk_stream_decode(bytes, a, ret, err);
}
