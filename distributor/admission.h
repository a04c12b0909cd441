/* admission.h - which pushes a distributor takes when more come than it can do. Pure core: times and events in, verdicts out; no clock, lock or thread.
 * Two queues can form, and each has its own sign and its own remedy:
 *   - behind us, at our workers or the ingesters: pushes that are taken and not answered. At most `window` of them are taken. The window follows the *service time* (taken
 *     to answered): when in two intervals in a row most pushes took longer than base + target a queue stands, and the window shrinks in proportion; else it
 *     grows by a tenth. base is the shortest service time of an interval in which at most ADMISSION_WINDOW_MIN were in flight, which is what distance and
 *     disks take and no window can shorten. Failures (no quorum) shrink it too.
 *   - before us, in sockets that no thread has read yet: `waited`, from the request's last byte until a thread comes to it. When most pushes of an interval waited
 *     longer than target a queue stands there, and until it is gone whatever waited longer than target is refused.
 * That is CoDel's idea (Nichols and Jacobson, ACM Queue 10(5), 2012): a queue is bad when it stands, not when it is long for a moment. Instead of the
 * shortest time of an interval the median decides: threads take what is ready in batches, so that somebody always comes just in time.
 * A queue of about target remains, so there is always work, and accepted work goes on at the peak's rate.
 * Times are monotonic nanoseconds. */
#pragma once
#include "common/base/base.h"
#include "common/base/rng.h"

enum {
    ADMISSION_WINDOW_MIN = 16,
    ADMISSION_INTERVAL_MS = 100,
    ADMISSION_SAMPLES_MIN = 8,        /* an interval with fewer answers goes on, for ADMISSION_INTERVAL_MAX_MS */
    ADMISSION_INTERVAL_MAX_MS = 1000,
    ADMISSION_RETRY_MAX_S = 10,
};

enum admission_verdict {
    ADMISSION_TAKEN,
    ADMISSION_REFUSED_REQUESTS, /* cfg.requests_max are in flight */
    ADMISSION_REFUSED_WINDOW,   /* the window is full */
    ADMISSION_REFUSED_WAITED,   /* it waited too long for us, as all did of late */
    ADMISSION_REFUSED_BYTES,    /* the edge's: too many bytes are in flight */
    ADMISSION_VERDICTS,
};

struct admission_cfg {
    uint32_t requests_max; /* in flight; the window's ceiling */
    int64_t target_ns;     /* delay that a queue may cause; 0: only requests_max counts */
};

struct admission {
    struct admission_cfg cfg;
    uint32_t in_flight, window;
    int64_t base_ns; /* service time without a queue */
    bool standing;   /* a queue stands in the sockets */
    bool delayed;    /* the interval before was too slow */
    struct admission_interval {
        int64_t began_ns, sum_ns, min_ns; /* of service times */
        uint32_t waits, long_waits;       /* longer than target */
        uint32_t served, long_served;     /* longer than base + target */
        uint32_t failed, refused, peak;   /* peak: most in flight */
    } now;
    struct admission_second { /* for Retry-After */
        int64_t began_ns;
        uint32_t taken, refused;
    } second;
    uint32_t spread_s; /* of the second before */
};

void admission_init(struct admission *a, const struct admission_cfg *cfg, int64_t now_ns);
/* What admission_take would say, without taking: asked before the body is read. A refusal counts. */
enum admission_verdict admission_judge(struct admission *a, int64_t now_ns, int64_t waited_ns);
/* ADMISSION_TAKEN: in flight until admission_answered. */
enum admission_verdict admission_take(struct admission *a, int64_t now_ns, int64_t waited_ns);
/* failed: no quorum of ingesters took it, which is what an overloaded one looks like from here. */
void admission_answered(struct admission *a, int64_t now_ns, int64_t taken_ns, bool failed);
/* Seconds after which what was refused may come again: at least 1, later the more are refused for each that is taken, spread so that they do not all come at
 * once. */
unsigned admission_retry_after_s(struct admission *a, int64_t now_ns, struct rng *rng);
