#include "common/rpc/frame.h"
#include "common/base/bytes.h"
#include "common/base/hash.h"
#include "tests/test.h"

static const struct str payload = STR("forty-two samples");

static struct frame sample(void)
{
    return (struct frame){.id = 0x1122334455667788, .cluster = frame_cluster_hash(STR("prod")), .method = 16,
                          .flags = FRAME_REPLY, .status = RC_RATE, .deadline_ms = 1500};
}

/* Recomputes the header's checksum after a test changed a field. */
static void reseal(uint8_t *h)
{
    le_put32(h + 36, crc32c(0, h, 36));
}

TEST(a_frame_reads_back_as_it_was_written)
{
    struct frame in = sample(), out = {0};
    uint8_t h[FRAME_HEADER_BYTES];

    frame_encode(&in, payload, h);
    CHECK(frame_decode(h, in.cluster, &out, NULL, NULL) == 0);
    CHECK(out.id == in.id && out.method == 16 && out.flags == FRAME_REPLY && out.status == RC_RATE);
    CHECK(out.deadline_ms == 1500 && out.payload_len == payload.n && out.version == FRAME_VERSION);
    CHECK(frame_check(&out, payload, NULL) == 0);
}

TEST(the_layout_is_the_documented_one)
{
    struct frame in = sample();
    uint8_t h[FRAME_HEADER_BYTES];

    frame_encode(&in, payload, h);
    CHECK(memcmp(h, "TRC1", 4) == 0);
    CHECK(le_get16(h + 4) == 1 && le_get16(h + 6) == 16 && le_get64(h + 16) == in.id);
    CHECK(le_get32(h + 28) == payload.n && le_get32(h + 32) == crc32c(0, payload.p, payload.n));
}

TEST(every_flipped_bit_is_refused)
{
    struct frame in = sample(), out;
    uint8_t h[FRAME_HEADER_BYTES];
    char body[32];

    frame_encode(&in, payload, h);
    for (size_t bit = 0; bit < 8 * sizeof h; bit++) {
        h[bit / 8] ^= (uint8_t)(1 << bit % 8);
        CHECK(frame_decode(h, in.cluster, &out, NULL, NULL) < 0);
        h[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    CHECK(frame_decode(h, in.cluster, &out, NULL, NULL) == 0);
    memcpy(body, payload.p, payload.n);
    for (size_t bit = 0; bit < 8 * payload.n; bit++) {
        body[bit / 8] ^= (char)(1 << bit % 8);
        CHECK(frame_check(&out, str_n(body, payload.n), NULL) == RC_CORRUPT);
        body[bit / 8] ^= (char)(1 << bit % 8);
    }
    CHECK(frame_check(&out, str_n(body, payload.n - 1), NULL) == RC_CORRUPT);
}

TEST(what_is_not_ours_is_refused_with_its_reason)
{
    static const struct {
        const char *name;
        size_t at, size;
        uint32_t value;
        int rc;
        enum frame_refusal why;
    } cases[] = {
        {"magic", 0, 4, 0x20544547, RC_CORRUPT, FRAME_DAMAGED},
        {"version 0", 4, 2, 0, RC_VERSION, FRAME_SKEWED},
        {"next version", 4, 2, FRAME_VERSION + 1, RC_VERSION, FRAME_SKEWED},
        {"unknown flag", 8, 2, 0x8000, RC_CORRUPT, FRAME_DAMAGED},
        {"positive status", 10, 2, 1, RC_CORRUPT, FRAME_DAMAGED},
        {"other cluster", 12, 4, 77, RC_INVALID, FRAME_FOREIGN},
        {"one byte too long", 28, 4, RPC_MESSAGE_BYTES_MAX + 1, RC_LIMIT, FRAME_TOO_LONG},
        {"4 GiB", 28, 4, UINT32_MAX, RC_LIMIT, FRAME_TOO_LONG},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct frame in = sample(), out = {.id = 5};
        enum frame_refusal why = FRAME_REFUSALS;
        uint8_t h[FRAME_HEADER_BYTES];
        struct err err = {0};

        frame_encode(&in, payload, h);
        memcpy(h + cases[i].at, &cases[i].value, cases[i].size);
        reseal(h);
        CHECK_INT(frame_decode(h, in.cluster, &out, &why, &err), cases[i].rc);
        CHECK_INT(why, cases[i].why);
        CHECK(err.rc == cases[i].rc && err.text[0] && out.id == 5);
    }
}

TEST(the_longest_payload_passes)
{
    struct frame in = sample(), out;
    uint8_t h[FRAME_HEADER_BYTES];
    char *big = calloc(1, RPC_MESSAGE_BYTES_MAX);

    frame_encode(&in, str_n(big, RPC_MESSAGE_BYTES_MAX), h);
    CHECK(frame_decode(h, in.cluster, &out, NULL, NULL) == 0);
    CHECK(frame_check(&out, str_n(big, RPC_MESSAGE_BYTES_MAX), NULL) == 0);
    free(big);
}
