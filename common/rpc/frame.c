#include "common/rpc/frame.h"

#include "common/base/bytes.h"
#include "common/base/hash.h"

enum {
    AT_MAGIC       = 0,
    AT_VERSION     = 4,
    AT_METHOD      = 6,
    AT_FLAGS       = 8,
    AT_STATUS      = 10,
    AT_CLUSTER     = 12,
    AT_ID          = 16,
    AT_DEADLINE    = 24,
    AT_LENGTH      = 28,
    AT_PAYLOAD_CRC = 32,
    AT_HEADER_CRC  = 36,
};
_Static_assert(AT_HEADER_CRC + 4 == FRAME_HEADER_BYTES, "the header's checksum is its last field");

const char *frame_refusal_name(enum frame_refusal why)
{
    static const char *const names[FRAME_REFUSALS] = {"damaged", "foreign_cluster", "version", "too_long"};

    ASSERT((unsigned)why < FRAME_REFUSALS);
    return names[why];
}

uint32_t frame_cluster_hash(struct str name)
{
    return (uint32_t)hash64(name.p, name.n, 0x746f7263);
}

void frame_encode(const struct frame *f, struct str payload, uint8_t out[FRAME_HEADER_BYTES])
{
    ASSERT(payload.n <= RPC_MESSAGE_BYTES_MAX);
    ASSERT((f->flags & ~FRAME_FLAGS) == 0 && f->status <= 0);
    le_put32(out + AT_MAGIC, FRAME_MAGIC);
    le_put16(out + AT_VERSION, FRAME_VERSION);
    le_put16(out + AT_METHOD, f->method);
    le_put16(out + AT_FLAGS, f->flags);
    le_put16(out + AT_STATUS, (uint16_t)f->status);
    le_put32(out + AT_CLUSTER, f->cluster);
    le_put64(out + AT_ID, f->id);
    le_put32(out + AT_DEADLINE, f->deadline_ms);
    le_put32(out + AT_LENGTH, (uint32_t)payload.n);
    le_put32(out + AT_PAYLOAD_CRC, crc32c(0, payload.p, payload.n));
    le_put32(out + AT_HEADER_CRC, crc32c(0, out, AT_HEADER_CRC));
}

static int refuse(enum frame_refusal why, enum frame_refusal *ret_why, int rc)
{
    if (ret_why)
        *ret_why = why;
    return rc;
}

/* A foreign peer may speak a version whose checksum we do not know, so the version is judged before it. */
static int check_header(const uint8_t *in, uint32_t cluster, enum frame_refusal *ret_why, struct err *err)
{
    uint16_t version = le_get16(in + AT_VERSION);

    if (le_get32(in + AT_MAGIC) != FRAME_MAGIC)
        return refuse(FRAME_DAMAGED, ret_why,
                      err_set(err, RC_CORRUPT, "not a frame of ours (magic %08x)", le_get32(in + AT_MAGIC)));
    if (version < FRAME_VERSION_MIN || version > FRAME_VERSION)
        return refuse(FRAME_SKEWED, ret_why,
                      err_set(err, RC_VERSION, "frame of version %u, this binary reads %d to %d", version,
                              FRAME_VERSION_MIN, FRAME_VERSION));
    if (le_get32(in + AT_HEADER_CRC) != crc32c(0, in, AT_HEADER_CRC))
        return refuse(FRAME_DAMAGED, ret_why, err_set(err, RC_CORRUPT, "frame header damaged: checksum differs"));
    if (le_get32(in + AT_CLUSTER) != cluster)
        return refuse(FRAME_FOREIGN, ret_why,
                      err_set(err, RC_INVALID, "frame of another cluster (%08x, ours is %08x)",
                              le_get32(in + AT_CLUSTER), cluster));
    if (le_get32(in + AT_LENGTH) > RPC_MESSAGE_BYTES_MAX)
        return refuse(FRAME_TOO_LONG, ret_why,
                      err_set(err, RC_LIMIT, "frame of %u bytes, at most %d are accepted",
                              le_get32(in + AT_LENGTH), RPC_MESSAGE_BYTES_MAX));
    if ((le_get16(in + AT_FLAGS) & ~FRAME_FLAGS) || (int16_t)le_get16(in + AT_STATUS) > 0)
        return refuse(FRAME_DAMAGED, ret_why, err_set(err, RC_CORRUPT, "frame with unknown flags or status"));
    return 0;
}

int frame_decode(const uint8_t *in, uint32_t cluster, struct frame *ret, enum frame_refusal *ret_why,
                 struct err *err)
{
    int rc = check_header(in, cluster, ret_why, err);

    if (rc < 0)
        return rc;
    *ret = (struct frame){
        .id          = le_get64(in + AT_ID),
        .cluster     = le_get32(in + AT_CLUSTER),
        .deadline_ms = le_get32(in + AT_DEADLINE),
        .payload_len = le_get32(in + AT_LENGTH),
        .payload_crc = le_get32(in + AT_PAYLOAD_CRC),
        .version     = le_get16(in + AT_VERSION),
        .method      = le_get16(in + AT_METHOD),
        .flags       = le_get16(in + AT_FLAGS),
        .status      = (int16_t)le_get16(in + AT_STATUS),
    };
    return 0;
}

int frame_check(const struct frame *f, struct str payload, struct err *err)
{
    if (payload.n != f->payload_len || crc32c(0, payload.p, payload.n) != f->payload_crc)
        return err_set(err, RC_CORRUPT, "frame payload damaged: checksum differs");
    return 0;
}
