/* verify_request.h - the questions by which a run is read back. Pure. Each asks for the samples of one slice (lo, hi] of series that a regular expression or a name of
 * instance picks, by another way through the server:
 *   instant      a range selector in an instant query: every sample, but staleness markers, and every NaN alike
 *   range        a range query of last_over_time, one step as long as the pace of the load: the newest sample of each step
 *   remote-read  the remote-read protocol, samples in snappy: every sample bit for bit, staleness markers too; of native histograms only when they are */
#pragma once
#include "common/base/buf.h"
#include "loadgen/http_client.h"

enum verify_path { VERIFY_INSTANT, VERIFY_RANGE, VERIFY_REMOTE_READ, VERIFY_PATH_COUNT };
extern const char *const verify_path_names[VERIFY_PATH_COUNT + 1];
enum { VERIFY_STEPS_MAX = 10000 };

struct verify_question {
    enum verify_path path;
    int64_t lo_ms, hi_ms; /* (lo, hi] */
    int64_t step_ms;      /* of VERIFY_RANGE */
    bool several;         /* instance is a regular expression */
    struct str instance;
    const char *tenant;   /* "": no header */
};
/* head and body: cleared, then filled. */
void verify_request_make(const struct verify_question *q, const struct http_peer *peer, struct buf *head, struct buf *body);
/* End of the k-th step, from 0. */
static inline int64_t verify_step_end(int64_t lo_ms, int64_t step_ms, size_t k)
{
    return lo_ms + step_ms * (int64_t)(k + 1);
}
