/* read_request.h - a remote-read request, decoded (common/wire/remote.proto; at most READ_QUERIES_MAX queries). */
#pragma once
#include "common/base/arena.h"
#include "common/model/matcher.h"

enum { READ_QUERIES_MAX = 1000 };
enum read_type { READ_SAMPLES = 0, READ_STREAMED_CHUNKS = 1 };
struct read_query {
    int64_t start_ms, end_ms; /* both included */
    struct matcher *matchers;
    size_t matcher_count;
};
struct read_request {
    struct read_query *queries;
    size_t n;
    enum read_type type; /* the first accepted one that is known */
};

/* bytes: not compressed. Memory from the arena, but for what read_request_fini frees. RC_INVALID names what is wrong; then there is nothing to free. */
int read_request_decode(struct str bytes, struct arena *a, struct read_request *ret, struct err *err);
void read_request_fini(struct read_request *r);
