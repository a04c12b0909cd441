/* fault.h - named places where a test makes an operation fail. Empty in release builds.
 *   FAULT(FAULT_IO, return err_set(err, RC_IO, "fault: write %s", path));
 * fault_at(mask, n): the nth passage (from 1) of a point in mask fires, once; 0 switches off. Per process. */
#pragma once
#include "common/base/base.h"

enum fault_kind {
    FAULT_ALLOC = 1 << 0,
    FAULT_IO    = 1 << 1, /* write, fsync, rename, read */
    FAULT_CRASH = 1 << 2, /* _exit(99) at the point: crash tests run the step in a child */
};

#ifdef TORC_DEBUG
bool fault_hit(unsigned kind);
#define FAULT(kind, stmt)                                                                          \
    do {                                                                                           \
        if (fault_hit(kind)) {                                                                     \
            stmt;                                                                                  \
        }                                                                                          \
    } while (0)
#else
#define FAULT(kind, stmt) ((void)0)
#endif
void fault_at(unsigned mask, long n);
bool fault_fired(void);
