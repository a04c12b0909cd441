/* Bodies of requests: every encoding gives the bytes back, and no lie about a length costs memory. */
#include "distributor/body.h"
#include "common/base/rng.h"
#include "tests/test.h"

#define ZLIB_CONST
#include <snappy-c.h>
#include <zlib.h>
#include <zstd.h>

enum { CEILING = 1 << 20 };

/* --- deflating --- */

static void snappy_add(struct buf *out, struct str in)
{
    size_t n = snappy_max_compressed_length(in.n);

    CHECK(buf_reserve(out, n));
    CHECK(snappy_compress(in.p, in.n, out->p + out->n, &n) == SNAPPY_OK);
    out->n += n;
}

static void gzip_add(struct buf *out, struct str in)
{
    z_stream z = {.next_in = (const Bytef *)in.p, .avail_in = (uInt)in.n};
    size_t n;

    CHECK(deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK);
    n = deflateBound(&z, in.n);
    CHECK(buf_reserve(out, n));
    z.next_out = (Bytef *)out->p + out->n;
    z.avail_out = (uInt)n;
    CHECK(deflate(&z, Z_FINISH) == Z_STREAM_END);
    out->n += n - z.avail_out;
    deflateEnd(&z);
}

static void zstd_add_window(struct buf *out, struct str in, bool with_size, int window_log)
{
    ZSTD_CCtx *c = ZSTD_createCCtx();
    ZSTD_inBuffer from = {in.p, in.n, 0};
    ZSTD_outBuffer to = {NULL, ZSTD_compressBound(in.n) + 64, 0};

    CHECK(buf_reserve(out, to.size));
    to.dst = out->p + out->n;
    CHECK(!ZSTD_isError(ZSTD_CCtx_setParameter(c, ZSTD_c_contentSizeFlag, with_size)));
    if (window_log)
        CHECK(!ZSTD_isError(ZSTD_CCtx_setParameter(c, ZSTD_c_windowLog, window_log)));
    if (with_size)
        CHECK(!ZSTD_isError(ZSTD_CCtx_setPledgedSrcSize(c, in.n)));
    else
        CHECK(!ZSTD_isError(ZSTD_compressStream2(c, &to, &from, ZSTD_e_continue)));
    CHECK(ZSTD_compressStream2(c, &to, &from, ZSTD_e_end) == 0);
    out->n += to.pos;
    ZSTD_freeCCtx(c);
}

static void zstd_add(struct buf *out, struct str in)
{
    zstd_add_window(out, in, true, 0);
}

static void zstd_stream_add(struct buf *out, struct str in)
{
    zstd_add_window(out, in, false, 0);
}

static void identity_add(struct buf *out, struct str in)
{
    buf_str(out, in);
}

static const struct way {
    const char *name;
    enum body_encoding e;
    void (*add)(struct buf *out, struct str in);
    bool joins; /* two bodies one behind the other are one body */
} ways[] = {
    {"identity", BODY_IDENTITY, identity_add, true},
    {"snappy", BODY_SNAPPY, snappy_add, false},
    {"gzip", BODY_GZIP, gzip_add, true},
    {"zstd, size known", BODY_ZSTD, zstd_add, true},
    {"zstd, streamed", BODY_ZSTD, zstd_stream_add, true},
};

/* --- inflating --- */

static int charge_all(void *arg, size_t bytes, struct err *err)
{
    size_t *left = arg;

    if (bytes > *left)
        return err_set(err, RC_UNAVAILABLE, "no budget");
    *left -= bytes;
    return 0;
}

/* *ret_left: what of the budget was not asked for. */
static int inflate_within(enum body_encoding e, struct str in, size_t ceiling, size_t *left, struct buf *ret, struct err *err)
{
    struct body_budget b = {.inflated_max = ceiling, .charge = charge_all, .arg = left};

    return body_inflate(e, in, &b, ret, err);
}

static int inflate_rc(enum body_encoding e, struct str in, struct err *err)
{
    size_t left = CEILING * 4;
    struct buf out;
    int rc = inflate_within(e, in, CEILING, &left, &out, err);

    buf_fini(&out);
    return rc;
}

/* Half of it repeats, half is noise. */
static void message_make(struct buf *b, size_t n)
{
    struct rng r;

    rng_init(&r, n + 1);
    buf_init(b, n + 1);
    for (size_t i = 0; i < n; i++)
        buf_char(b, i % 64 < 32 ? (char)('a' + i % 7) : (char)rng_u64(&r));
}

TEST(body_inflates_what_was_deflated)
{
    static const size_t sizes[] = {0, 1, 63, 64, 65, 4096, 65535, 65536, 65537, 300000, CEILING - 1, CEILING};

    for (size_t w = 0; w < ARRAY_LEN(ways); w++) {
        for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
            struct buf message, packed, out;
            size_t left = CEILING * 4;
            struct err err;

            message_make(&message, sizes[i]);
            buf_init(&packed, CEILING * 2);
            ways[w].add(&packed, buf_view(&message));
            if (inflate_within(ways[w].e, buf_view(&packed), CEILING, &left, &out, &err) < 0)
                fail_msg("%s, %zu bytes: %s", ways[w].name, sizes[i], err_text(&err));
            CHECK(str_eq(buf_view(&out), buf_view(&message)));
            CHECK(CEILING * 4 - left >= sizes[i]);
            buf_fini(&out);
            buf_fini(&packed);
            buf_fini(&message);
        }
    }
}

TEST(body_inflates_several_members_as_one)
{
    for (size_t w = 0; w < ARRAY_LEN(ways); w++) {
        struct buf message, packed, out;
        size_t left = CEILING * 4;
        int rc;

        message_make(&message, 100000);
        buf_init(&packed, CEILING);
        ways[w].add(&packed, buf_view(&message));
        ways[w].add(&packed, buf_view(&message));
        rc = inflate_within(ways[w].e, buf_view(&packed), CEILING, &left, &out, NULL);
        if (ways[w].joins) {
            CHECK(rc == 0 && out.n == message.n * 2);
            CHECK(memcmp(out.p, message.p, message.n) == 0 && memcmp(out.p + message.n, message.p, message.n) == 0);
        } else {
            CHECK(rc == RC_INVALID);
        }
        buf_fini(&out);
        buf_fini(&packed);
        buf_fini(&message);
    }
}

TEST(body_over_the_ceiling_is_refused_by_name)
{
    for (size_t w = 0; w < ARRAY_LEN(ways); w++) {
        struct buf message, packed, out;
        size_t left = CEILING * 4;
        struct err err;

        message_make(&message, 300000);
        buf_init(&packed, CEILING);
        ways[w].add(&packed, buf_view(&message));
        CHECK_INT(inflate_within(ways[w].e, buf_view(&packed), 299999, &left, &out, &err), RC_LIMIT);
        CHECK(strstr(err.text, "299999") && strstr(err.text, "max_request_inflated_size"));
        CHECK(CEILING * 4 - left <= 300000); /* never more memory than the ceiling and one byte */
        buf_fini(&out);
        left = CEILING * 4;
        CHECK_INT(inflate_within(ways[w].e, buf_view(&packed), 0, &left, &out, &err), 0); /* 0: off */
        buf_fini(&out);
        buf_fini(&packed);
        buf_fini(&message);
    }
}

TEST(body_asks_for_memory_before_it_takes_any)
{
    for (size_t w = 0; w < ARRAY_LEN(ways); w++) {
        struct buf message, packed, out;
        size_t left = 100;
        struct err err;

        message_make(&message, 5000);
        buf_init(&packed, CEILING);
        ways[w].add(&packed, buf_view(&message));
        CHECK_INT(inflate_within(ways[w].e, buf_view(&packed), CEILING, &left, &out, &err), RC_UNAVAILABLE);
        CHECK(out.cap == 0);
        buf_fini(&out);
        buf_fini(&packed);
        buf_fini(&message);
    }
}

TEST(body_cut_short_is_refused)
{
    for (size_t w = 0; w < ARRAY_LEN(ways); w++) {
        struct buf message, packed;
        struct err err;

        if (ways[w].e == BODY_IDENTITY)
            continue;
        message_make(&message, 3000);
        buf_init(&packed, CEILING);
        ways[w].add(&packed, buf_view(&message));
        for (size_t n = 0; n < packed.n; n++) {
            if (inflate_rc(ways[w].e, str_n(packed.p, n), &err) != RC_INVALID)
                fail_msg("%s: %zu of %zu bytes", ways[w].name, n, packed.n);
        }
        buf_fini(&packed);
        buf_fini(&message);
    }
}

TEST(body_with_a_flipped_bit_never_passes_a_checksum)
{
    struct buf message, packed;

    message_make(&message, 2000);
    buf_init(&packed, CEILING);
    gzip_add(&packed, buf_view(&message));
    for (size_t i = 0; i < packed.n; i++) {
        size_t left = CEILING * 4;
        struct buf out;
        int rc;

        packed.p[i] ^= 0x10;
        rc = inflate_within(BODY_GZIP, buf_view(&packed), CEILING, &left, &out, NULL);
        CHECK(rc < 0 || str_eq(buf_view(&out), buf_view(&message))); /* time, flags and system of the front do not matter */
        buf_fini(&out);
        packed.p[i] ^= 0x10;
    }
    buf_fini(&packed);
    buf_fini(&message);
}

TEST(body_that_lies_about_its_length_gets_no_memory)
{
    static const struct {
        const char *name;
        enum body_encoding e;
        struct str bytes;
        int rc;
    } cases[] = {
        {"snappy, 4 GiB in six bytes", BODY_SNAPPY, {"\xff\xff\xff\xff\x0f\x00", 6}, RC_LIMIT},
        {"snappy, a million in four bytes", BODY_SNAPPY, {"\xc0\x84\x3d\x00", 4}, RC_INVALID},
        {"gzip, a million in its trailer", BODY_GZIP, {"\x1f\x8b\x08\0\0\0\0\0\0\3\3\0\0\0\0\0\x40\x42\x0f\0", 20}, RC_INVALID},
        {"gzip, 4 GiB in its trailer", BODY_GZIP, {"\x1f\x8b\x08\0\0\0\0\0\0\3\3\0\0\0\0\0\xff\xff\xff\xff", 20}, RC_INVALID},
        {"zstd, 2^60", BODY_ZSTD, {"\x28\xb5\x2f\xfd\xe0\0\0\0\0\0\0\0\x10\1\0\0", 16}, RC_LIMIT},
        {"zstd, skippable frame alone", BODY_ZSTD, {"\x50\x2a\x4d\x18\x01\0\0\0x", 9}, 0},
        {"zstd, no frame", BODY_ZSTD, {"hello", 5}, RC_INVALID},
        {"gzip, nothing", BODY_GZIP, {"", 0}, RC_INVALID},
        {"snappy, nothing", BODY_SNAPPY, {"", 0}, RC_INVALID},
        {"identity, nothing", BODY_IDENTITY, {"", 0}, 0},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        size_t left = CEILING * 4;
        struct buf out;
        struct err err = {0};
        int rc = inflate_within(cases[i].e, cases[i].bytes, CEILING, &left, &out, &err);

        if (rc != cases[i].rc)
            fail_msg("%s: %s (%s)", cases[i].name, rc_name(rc), err_text(&err));
        CHECK(rc == 0 || out.cap == 0);
        buf_fini(&out);
    }
}

TEST(body_zstd_window_has_a_ceiling)
{
    struct buf message, packed;
    struct err err;

    message_make(&message, 1000);
    buf_init(&packed, CEILING);
    zstd_add_window(&packed, buf_view(&message), false, BODY_ZSTD_WINDOW_LOG_MAX);
    CHECK_INT(inflate_rc(BODY_ZSTD, buf_view(&packed), &err), 0);
    buf_clear(&packed);
    zstd_add_window(&packed, buf_view(&message), false, BODY_ZSTD_WINDOW_LOG_MAX + 1);
    CHECK_INT(inflate_rc(BODY_ZSTD, buf_view(&packed), &err), RC_INVALID);
    CHECK(strstr(err.text, "too much memory"));
    buf_fini(&packed);
    buf_fini(&message);
}

TEST(body_encoding_header_says_which)
{
    static const struct {
        const char *header;
        unsigned allowed;
        int rc;
        enum body_encoding want;
    } cases[] = {
        {NULL, BODY_SNAPPY, 0, BODY_SNAPPY},
        {"snappy", BODY_SNAPPY | BODY_GZIP, 0, BODY_SNAPPY},
        {" GZip ", BODY_SNAPPY | BODY_GZIP, 0, BODY_GZIP},
        {"x-gzip", BODY_GZIP, 0, BODY_GZIP},
        {"zstd", BODY_ZSTD, 0, BODY_ZSTD},
        {"zstd", BODY_SNAPPY | BODY_GZIP, RC_UNSUPPORTED, 0},
        {"identity", BODY_SNAPPY, RC_UNSUPPORTED, 0},
        {"identity", BODY_IDENTITY, 0, BODY_IDENTITY},
        {"gzip, snappy", BODY_SNAPPY | BODY_GZIP, RC_UNSUPPORTED, 0},
        {"", BODY_SNAPPY, RC_UNSUPPORTED, 0},
        {"br", BODY_SNAPPY | BODY_GZIP | BODY_ZSTD, RC_UNSUPPORTED, 0},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct str header = cases[i].header ? str_of(cases[i].header) : (struct str){0};
        enum body_encoding e = 0;
        struct err err;

        CHECK_INT(body_encoding_parse(header, cases[i].allowed, BODY_SNAPPY, &e, &err), cases[i].rc);
        CHECK_INT(e, cases[i].want);
    }
}

TEST(body_encoding_refusal_names_what_is_taken)
{
    enum body_encoding e;
    struct err err;

    CHECK_INT(body_encoding_parse(STR("br"), BODY_SNAPPY | BODY_GZIP | BODY_ZSTD, BODY_SNAPPY, &e, &err), RC_UNSUPPORTED);
    CHECK_STR(err.text, "Content-Encoding 'br' is not supported, send one of: snappy (block format), gzip, zstd");
}
