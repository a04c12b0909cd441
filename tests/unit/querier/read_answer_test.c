#include "querier/read_answer.h"

#include "common/base/bytes.h"
#include "tests/test.h"

#define BOUND 1795824000000LL /* a multiple of two hours */

struct span {
    uint64_t first, last;
};

/* The next field of a message, which is a number or bytes. 0 at the end. */
static unsigned field_next(struct rd *r, uint64_t *ret_number, struct str *ret_bytes)
{
    uint64_t tag;

    if (rd_done(r))
        return 0;
    tag = rd_uvarint(r);
    if ((tag & 7) == 0)
        *ret_number = rd_uvarint(r);
    else
        *ret_bytes = rd_lstr(r);
    return (unsigned)(tag >> 3);
}

static struct span chunk_span(struct str chunk)
{
    struct rd r = rd_of(chunk);
    struct span got = {0};
    struct str bytes;
    uint64_t number = 0;
    unsigned field;

    while ((field = field_next(&r, &number, &bytes)) != 0) {
        if (field == 1)
            got.first = number;
        else if (field == 2)
            got.last = number;
    }
    CHECK(rd_ok(&r));
    return got;
}

/* The chunks of the first frame, up to max. */
static size_t chunk_spans(struct str frames, struct span *ret, size_t max)
{
    struct rd r = rd_of(frames);
    size_t n = 0, length = rd_uvarint(&r);
    struct str message, series, bytes;
    uint64_t number;

    rd_u32(&r);
    message = rd_str(&r, length);
    r = rd_of(message);
    CHECK(field_next(&r, &number, &series) == 1);
    r = rd_of(series);
    while (field_next(&r, &number, &bytes) == 2 && n < max)
        ret[n++] = chunk_span(bytes);
    CHECK(rd_ok(&r));
    return n;
}

static size_t spans_of(int64_t begin, size_t samples, struct span *ret, size_t max)
{
    struct columns c = {.n = samples};
    struct labels none = {0};
    struct buf out, scratch;
    int64_t t[300];
    double v[300];
    size_t n;

    CHECK(samples <= 300);
    for (size_t i = 0; i < samples; i++) {
        t[i] = begin + (int64_t)i * 15000;
        v[i] = (double)i;
    }
    c.t = t;
    c.v = v;
    buf_init(&out, READ_FRAME_BYTES);
    buf_init(&scratch, READ_FRAME_BYTES);
    read_put_frames(&out, &scratch, &none, &c, 0);
    CHECK(buf_ok(&out));
    n = chunk_spans(buf_view(&out), ret, max);
    buf_fini(&out);
    buf_fini(&scratch);
    return n;
}

TEST(chunks_end_at_120_samples)
{
    struct span got[4];

    CHECK(spans_of(BOUND, 250, got, 4) == 3);
    CHECK(got[0].last == BOUND + 119 * 15000 && got[1].first == BOUND + 120 * 15000 && got[2].last == BOUND + 249 * 15000);
}

TEST(no_chunk_crosses_a_block_bound)
{
    struct span got[4];

    CHECK(spans_of(BOUND - 80 * 15000, 100, got, 4) == 2);
    CHECK(got[0].first == BOUND - 80 * 15000 && got[0].last == BOUND - 15000);
    CHECK(got[1].first == BOUND && got[1].last == BOUND + 19 * 15000);
}
