/* frame.h - the header in front of every message between processes. Pure: bytes in, bytes out, no socket.
 * Layout, little-endian, FRAME_HEADER_BYTES, then the payload:
 *    0 magic u32       "TRC1"                 16 request id u64   the answer carries the asker's
 *    4 version u16     FRAME_VERSION          24 deadline u32     ms the asker still waits; 0 in answers
 *    6 method u16      common/wire/methods.h    28 payload length u32, <= RPC_MESSAGE_BYTES_MAX
 *    8 flags u16       enum frame_flag        32 CRC32C of the payload u32
 *   10 status i16      answer: enum rc, else 0   36 CRC32C of bytes [0, 36) u32
 *   12 cluster u32     hash of the cluster's name
 * The header has its own checksum (which covers the payload's), so that a damaged length is seen at once instead of
 * after waiting for bytes that never come.
 * Versions: reads FRAME_VERSION_MIN..FRAME_VERSION, writes FRAME_VERSION.
 * Threads: any; nothing is shared. */
#pragma once
#include "common/base/err.h"
#include "common/base/str.h"

enum {
    FRAME_HEADER_BYTES    = 40,
    FRAME_MAGIC           = 0x31435254, /* "TRC1" */
    FRAME_VERSION         = 1,
    FRAME_VERSION_MIN     = 1,
    RPC_MESSAGE_BYTES_MAX = 16 << 20, /* payload of one message */
    FRAME_CANCEL_BYTES    = 8,        /* payload of RPC_CANCEL: the id of a request of the same connection, u64 */
};

enum frame_flag {
    FRAME_REPLY = 1 << 0,
    FRAME_PING  = 1 << 1, /* answered by the connection itself; no method */
    FRAME_FLAGS = FRAME_REPLY | FRAME_PING,
};

struct frame {
    uint64_t id;
    uint32_t cluster;
    uint32_t deadline_ms;
    uint32_t payload_len;
    uint32_t payload_crc;
    uint16_t version;
    uint16_t method;
    uint16_t flags;
    int16_t status;
};

/* Why a frame was refused: label values of torc_rpc_frames_refused_total. */
enum frame_refusal {
    FRAME_DAMAGED, /* magic, checksum, flags or an impossible status */
    FRAME_FOREIGN, /* another cluster's */
    FRAME_SKEWED,  /* a version this binary does not read */
    FRAME_TOO_LONG,
    FRAME_REFUSALS,
};
const char *frame_refusal_name(enum frame_refusal why);

/* The number that stands for a cluster's name in frames. */
uint32_t frame_cluster_hash(struct str name);

/* Writes the header for this payload; f's version, payload_len and payload_crc are not read but computed. */
void frame_encode(const struct frame *f, struct str payload, uint8_t out[FRAME_HEADER_BYTES]);

/* Checks and reads FRAME_HEADER_BYTES. RC_CORRUPT (damaged), RC_INVALID (foreign cluster), RC_VERSION, RC_LIMIT; then
 * *ret_why (may be NULL) is set and *ret is untouched. After any error the stream has no trustworthy continuation. */
int frame_decode(const uint8_t *in, uint32_t cluster, struct frame *ret, enum frame_refusal *ret_why,
                 struct err *err);
/* RC_CORRUPT when the payload's length or checksum is not the header's. */
int frame_check(const struct frame *f, struct str payload, struct err *err);
