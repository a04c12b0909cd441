/* body.h - from the bytes of a request to the message that they carry: which encoding, how large, inflated.
 * Ceilings come before memory: a length that the bytes claim (snappy's front, the size in a zstd frame, gzip's trailer) is judged before anything is
 * allocated, and what claims none is inflated as a stream that stops at the ceiling. All memory is asked for first (body_budget).
 * Sources: snappy format_description.txt (block format), RFC 1952 (gzip, several members too), RFC 8878 (zstd, several frames too). */
#pragma once
#include "common/base/buf.h"
#include "common/base/err.h"

enum body_encoding {
    BODY_IDENTITY = 1,
    BODY_SNAPPY   = 2, /* block format, never framed */
    BODY_GZIP     = 4,
    BODY_ZSTD     = 8,
};
enum { BODY_ZSTD_WINDOW_LOG_MAX = 23 /* 8 MiB, what RFC 8878 asks of every decoder */ };

struct body_budget {
    size_t inflated_max; /* max_request_inflated_size; 0: off */
    /* Called before each allocation with the bytes it takes; what it returns is the answer of body_inflate. May be NULL. */
    int (*charge)(void *arg, size_t bytes, struct err *err);
    void *arg;
};

/* The value of Content-Encoding (.p NULL: absent, which means `absent`). allowed: body_encodings or-ed. RC_UNSUPPORTED names them. */
int body_encoding_parse(struct str header, unsigned allowed, enum body_encoding absent, enum body_encoding *ret, struct err *err);
/* Initializes ret; fini it in any case. RC_INVALID: not of this encoding; RC_LIMIT: larger than inflated_max; RC_NOMEM. */
int body_inflate(enum body_encoding e, struct str in, const struct body_budget *budget, struct buf *ret, struct err *err);
