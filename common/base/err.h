/* err.h - an error explains, the returned rc decides.
 * Functions that can fail return 0 or a negative enum rc, and fill *err when err is not NULL. struct err has
 * a fixed size and never allocates. The origin sets words, file and line; callers prepend what only they know
 * with err_wrap and keep the rc. */
#pragma once
#include "common/base/base.h"

#include <errno.h>

enum rc {
    RC_OK           = 0,
    RC_IO           = -1,  /* a system call failed; err->sys has errno */
    RC_CORRUPT      = -2,  /* bytes from disk or network that break their format */
    RC_LIMIT        = -3,  /* a configured or built-in ceiling */
    RC_INVALID      = -4,  /* the caller's (a client's) input is wrong and always will be */
    RC_NOT_FOUND    = -5,
    RC_EXISTS       = -6,
    RC_UNAVAILABLE  = -7,  /* may work later: not ready, shutting down, no quorum, peer gone */
    RC_TIMEOUT      = -8,
    RC_CANCELED     = -9,
    RC_RATE         = -10, /* rate limit: 429 */
    RC_NOMEM        = -11, /* an arena or buffer budget is spent */
    RC_MOVED        = -12, /* not the owner of this range at this ring version */
    RC_UNKNOWN      = -13, /* the series is not known to this head: send labels */
    RC_VERSION      = -14, /* format or protocol version that this binary does not read */
    RC_STALE        = -15, /* the caller's view (index generation, ring version) is too old */
    RC_EXECUTION    = -16, /* a query failed while running: 422 */
    RC_UNSUPPORTED  = -17,
    RC_INTERNAL     = -18,
};

enum { ERR_TEXT_MAX = 1024 };

struct err {
    int rc;
    int sys;          /* errno or 0 */
    const char *file; /* where it was first set */
    int line;
    char text[ERR_TEXT_MAX];
};

/* All return rc, so that `return err_set(err, RC_INVALID, "...")` reads well. err may be NULL. */
int err_set_at(struct err *err, int rc, int sys, const char *file, int line, const char *fmt, ...)
    PRINTF(6, 7);
int err_wrap(struct err *err, int rc, const char *fmt, ...) PRINTF(3, 4);
#define err_set(err, rc, ...) err_set_at(err, rc, 0, __FILE__, __LINE__, __VA_ARGS__)
/* Appends the text of errno. */
#define err_sys(err, rc, ...) err_set_at(err, rc, errno, __FILE__, __LINE__, __VA_ARGS__)
static inline void err_clear(struct err *err)
{
    if (err)
        *err = (struct err){0};
}
/* Text with the place of first detection, for logs: "open 00012: No such file (wal.c:88)". Static per thread. */
const char *err_log(const struct err *err);
/* Text without places, for clients. Never NULL. */
const char *err_text(const struct err *err);
const char *rc_name(int rc);

/* Checks of bytes from outside; the text names the condition and the line. */
#define CORRUPT_UNLESS(cond, err)                                                                  \
    do {                                                                                           \
        if (UNLIKELY(!(cond)))                                                                     \
            return err_set(err, RC_CORRUPT, "corrupt: not (%s)", #cond);                           \
    } while (0)
