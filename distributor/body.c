#include "distributor/body.h"
#include "common/base/bytes.h"

#define ZLIB_CONST
#include <snappy-c.h>
#include <zlib.h>
#include <zstd.h>

enum {
    STREAM_BYTES_MIN = 64 << 10,
    SNAPPY_RATIO_MAX = 22,   /* three bytes copy 64 at most */
    DEFLATE_RATIO_MAX = 1032, /* zlib's technical notes */
    GZIP_BYTES_MIN = 18,
    SLICE_BYTES_MAX = 1 << 30, /* zlib counts in 32 bits */
};

/* --- which --- */

static const struct {
    enum body_encoding e;
    const char *name, *says;
} encodings[] = {
    {BODY_SNAPPY, "snappy", "snappy (block format)"}, {BODY_GZIP, "gzip", "gzip"},     {BODY_ZSTD, "zstd", "zstd"},
    {BODY_IDENTITY, "identity", "identity"},          {BODY_GZIP, "x-gzip", NULL},
};

static int encoding_refuse(struct str header, unsigned allowed, struct err *err)
{
    struct buf list;

    buf_init(&list, 256);
    for (size_t i = 0; i < ARRAY_LEN(encodings); i++)
        if (encodings[i].says && (allowed & encodings[i].e))
            buf_printf(&list, "%s%s", list.n ? ", " : "", encodings[i].says);
    err_set(err, RC_UNSUPPORTED, "Content-Encoding '%.*s' is not supported, send one of: %.*s", (int)MIN(header.n, (size_t)64), header.p, STR_FMT(list));
    buf_fini(&list);
    return RC_UNSUPPORTED;
}

int body_encoding_parse(struct str header, unsigned allowed, enum body_encoding absent, enum body_encoding *ret, struct err *err)
{
    if (!header.p) {
        *ret = absent;
        return 0;
    }
    for (size_t i = 0; i < ARRAY_LEN(encodings); i++) {
        if ((allowed & encodings[i].e) && str_ieq(str_trim(header), str_of(encodings[i].name))) {
            *ret = encodings[i].e;
            return 0;
        }
    }
    return encoding_refuse(header, allowed, err);
}

/* --- how large --- */

static int size_judge(const struct body_budget *b, uint64_t size, struct err *err)
{
    if (b->inflated_max && size > b->inflated_max)
        return err_set(err, RC_LIMIT, "the request inflates to %llu bytes, limit %zu (max_request_inflated_size)", (unsigned long long)size, b->inflated_max);
    return 0;
}

/* Room for bytes more in all, asked for first. */
static int room_make(const struct body_budget *b, struct buf *out, size_t bytes, struct err *err)
{
    int rc = b->charge ? b->charge(b->arg, bytes, err) : 0;

    if (rc < 0)
        return rc;
    if (!buf_reserve(out, out->cap - out->n + MAX(bytes, (size_t)1))) /* nothing has a place too */
        return err_set(err, RC_NOMEM, "no memory for a body of %zu bytes", out->cap + bytes);
    return 0;
}

/* A stream's next room, twice what it has; a stream that fills one byte past the ceiling is over it. */
static int room_more(const struct body_budget *b, struct buf *out, size_t hint, struct err *err)
{
    size_t want = MAX(MAX(out->cap, hint), (size_t)STREAM_BYTES_MIN), left = out->max - out->cap;

    if (out->n < out->cap)
        return 0;
    if (left == 0)
        return err_set(err, RC_LIMIT, "the request inflates to more than %zu bytes, the limit (max_request_inflated_size)", b->inflated_max);
    return room_make(b, out, MIN(want, left), err);
}

static int size_end(const struct body_budget *b, const struct buf *out, struct err *err)
{
    return size_judge(b, out->n, err);
}

/* --- snappy --- */

static int snappy_body(struct str in, const struct body_budget *b, struct buf *out, struct err *err)
{
    size_t size;
    int rc;

    if (snappy_uncompressed_length(in.p, in.n, &size) != SNAPPY_OK)
        return err_set(err, RC_INVALID, "the body is not valid snappy (block format)");
    rc = size_judge(b, size, err);
    if (rc < 0)
        return rc;
    if (size / SNAPPY_RATIO_MAX > in.n)
        return err_set(err, RC_INVALID, "the body is not valid snappy (block format): %zu bytes cannot hold the %zu that they claim", in.n, size);
    rc = room_make(b, out, size, err);
    if (rc < 0)
        return rc;
    if (snappy_uncompress(in.p, in.n, out->p, &size) != SNAPPY_OK)
        return err_set(err, RC_INVALID, "the body is not valid snappy (block format)");
    out->n = size;
    return 0;
}

/* --- gzip --- */

/* One call of inflate. 1: go on, 0: the last member is complete, negative: error. */
static int gzip_step(z_stream *z, const uint8_t *end, struct buf *out, struct err *err)
{
    size_t in = MIN((size_t)(end - z->next_in), (size_t)SLICE_BYTES_MAX), space = MIN(out->cap - out->n, (size_t)SLICE_BYTES_MAX);
    int rc;

    z->avail_in = (uInt)in;
    z->next_out = (Bytef *)out->p + out->n;
    z->avail_out = (uInt)space;
    rc = inflate(z, Z_NO_FLUSH);
    out->n += space - z->avail_out;
    if (rc == Z_STREAM_END && z->next_in == end)
        return 0;
    if (rc == Z_STREAM_END)
        return inflateReset(z) == Z_OK ? 1 : err_set(err, RC_NOMEM, "no memory to inflate gzip");
    if (rc != Z_OK && rc != Z_BUF_ERROR)
        return err_set(err, RC_INVALID, "the body is not valid gzip: %s", z->msg ? z->msg : "bad data");
    if (z->next_in == end && z->avail_out > 0)
        return err_set(err, RC_INVALID, "the body is not valid gzip: it ends early");
    return 1;
}

static int gzip_body(struct str in, const struct body_budget *b, struct buf *out, struct err *err)
{
    z_stream z = {.next_in = (const Bytef *)in.p};
    const uint8_t *end = (const uint8_t *)in.p + in.n;
    uint32_t claimed; /* of the last member, so of the whole at least: more than the limit is refused at once */
    int rc;

    if (in.n < GZIP_BYTES_MIN)
        return err_set(err, RC_INVALID, "the body is not valid gzip: it ends early");
    claimed = le_get32(end - 4);
    if (claimed / DEFLATE_RATIO_MAX > in.n)
        return err_set(err, RC_INVALID, "the body is not valid gzip: %zu bytes cannot hold the %u that they claim", in.n, claimed);
    rc = size_judge(b, claimed, err);
    if (rc < 0)
        return rc;
    if (inflateInit2(&z, 15 + 16) != Z_OK) /* 16: gzip and nothing else */
        return err_set(err, RC_NOMEM, "no memory to inflate gzip");
    do {
        rc = room_more(b, out, (size_t)claimed + 1, err);
        if (rc == 0)
            rc = gzip_step(&z, end, out, err);
    } while (rc > 0);
    inflateEnd(&z);
    return rc;
}

/* --- zstd --- */

static int zstd_whole(ZSTD_DCtx *z, struct str in, size_t size, const struct body_budget *b, struct buf *out, struct err *err)
{
    size_t done;
    int rc = room_make(b, out, size, err);

    if (rc < 0)
        return rc;
    done = ZSTD_decompressDCtx(z, out->p, out->cap, in.p, in.n);
    if (ZSTD_isError(done))
        return err_set(err, RC_INVALID, "the body is not valid zstd: %s", ZSTD_getErrorName(done));
    out->n = done;
    return 0;
}

static int zstd_stream(ZSTD_DCtx *z, struct str body, const struct body_budget *b, struct buf *out, struct err *err)
{
    ZSTD_inBuffer in = {body.p, body.n, 0};
    int rc;

    for (;;) {
        ZSTD_outBuffer to;
        size_t left;

        rc = room_more(b, out, 0, err);
        if (rc < 0)
            return rc;
        to = (ZSTD_outBuffer){out->p, out->cap, out->n};
        left = ZSTD_decompressStream(z, &to, &in);
        out->n = to.pos;
        if (ZSTD_isError(left))
            return err_set(err, RC_INVALID, "the body is not valid zstd: %s", ZSTD_getErrorName(left));
        if (in.pos == in.size && left == 0)
            return 0;
        if (in.pos == in.size && out->n < out->cap)
            return err_set(err, RC_INVALID, "the body is not valid zstd: it ends early");
    }
}

static int zstd_body(struct str in, const struct body_budget *b, struct buf *out, struct err *err)
{
    unsigned long long size = ZSTD_getFrameContentSize(in.p, in.n);
    bool known = size != ZSTD_CONTENTSIZE_UNKNOWN && size != ZSTD_CONTENTSIZE_ERROR;
    ZSTD_DCtx *z;
    int rc = known ? size_judge(b, size, err) : 0;

    if (size == ZSTD_CONTENTSIZE_ERROR)
        return err_set(err, RC_INVALID, "the body is not valid zstd: no frame");
    if (rc < 0)
        return rc;
    z = ZSTD_createDCtx();
    if (!z || ZSTD_isError(ZSTD_DCtx_setParameter(z, ZSTD_d_windowLogMax, BODY_ZSTD_WINDOW_LOG_MAX)))
        rc = err_set(err, RC_NOMEM, "no memory to inflate zstd");
    else if (known && ZSTD_findFrameCompressedSize(in.p, in.n) == in.n)
        rc = zstd_whole(z, in, (size_t)size, b, out, err);
    else
        rc = zstd_stream(z, in, b, out, err);
    ZSTD_freeDCtx(z);
    return rc;
}

static int identity_body(struct str in, const struct body_budget *b, struct buf *out, struct err *err)
{
    int rc = size_judge(b, in.n, err);

    if (rc == 0)
        rc = room_make(b, out, in.n, err);
    if (rc == 0)
        buf_str(out, in);
    return rc;
}

int body_inflate(enum body_encoding e, struct str in, const struct body_budget *budget, struct buf *ret, struct err *err)
{
    int rc = RC_UNSUPPORTED;

    /* One more than the ceiling, so that a stream over it shows. */
    buf_init(ret, budget->inflated_max ? budget->inflated_max + 1 : SIZE_MAX / 4);
    if (in.n == 0 && e != BODY_IDENTITY)
        return err_set(err, RC_INVALID, "the body is empty: a compressed message is never");
    switch (e) {
    case BODY_SNAPPY:
        rc = snappy_body(in, budget, ret, err);
        break;
    case BODY_GZIP:
        rc = gzip_body(in, budget, ret, err);
        break;
    case BODY_ZSTD:
        rc = zstd_body(in, budget, ret, err);
        break;
    case BODY_IDENTITY:
        rc = identity_body(in, budget, ret, err);
        break;
    }
    return rc < 0 ? rc : size_end(budget, ret, err);
}
