/* Any bytes as a stream of frames: a frame that is accepted encodes back to the same bytes. The first byte says whether
 * checksums are repaired, so that the fuzzer gets past them. */
#include "common/rpc/frame.h"
#include "common/base/bytes.h"
#include "common/base/hash.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    const uint32_t cluster = frame_cluster_hash(STR("fuzz"));
    uint8_t *bytes;
    size_t at   = 0;
    bool repair = n > 0 && (data[0] & 1);

    if (n < 1)
        return 0;
    data++, n--;
    bytes = malloc(n + 1);
    memcpy(bytes, data, n);
    while (n - at >= FRAME_HEADER_BYTES) {
        uint8_t again[FRAME_HEADER_BYTES];
        enum frame_refusal why = FRAME_REFUSALS;
        struct err err         = {0};
        struct str payload;
        struct frame f;

        if (repair) {
            le_put32(bytes + at + 12, cluster);
            le_put32(bytes + at + 36, crc32c(0, bytes + at, 36));
        }
        if (frame_decode(bytes + at, cluster, &f, &why, &err) < 0) {
            ASSERT(why < FRAME_REFUSALS && err.text[0]);
            break;
        }
        at += FRAME_HEADER_BYTES;
        ASSERT(f.payload_len <= RPC_MESSAGE_BYTES_MAX);
        if (f.payload_len > n - at)
            break;
        payload = str_n(bytes + at, f.payload_len);
        if (frame_check(&f, payload, &err) == 0) {
            frame_encode(&f, payload, again);
            ASSERT(memcmp(again, bytes + at - FRAME_HEADER_BYTES, sizeof again) == 0);
        }
        at += f.payload_len;
    }
    free(bytes);
    return 0;
}
