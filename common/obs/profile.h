/* profile.h - where the CPU goes: stacks of whichever thread runs, taken PROFILE_HZ times per second of CPU time of the process (ITIMER_PROF).
 * One profile at a time in a process: signals have no other owner than the process, so the state is the process's too.
 * What a sample costs: one backtrace() in a signal handler, some 10 us; unwinding takes no lock (glibc 2.35+, GCC 12+).
 * Names come from the symbol table of the program's file, and from dladdr for libraries; without a symbol it is the file and the offset.
 * Output: folded stacks (one line each, outermost first, for flamegraph.pl and speedscope), or a pprof protobuf (profile.proto). */
#pragma once
#include "common/base/buf.h"
#include "common/base/err.h"

#include <stdatomic.h>

enum {
    PROFILE_HZ = 100,
    PROFILE_SECONDS_MAX = 60,
    PROFILE_DEPTH_MAX = 64,      /* further frames are left out */
    PROFILE_SAMPLES_MAX = 40000, /* further samples are counted as lost */
};

struct profile;
/* Blocks for ms, or until *cancel. RC_UNAVAILABLE: another one is being taken. */
int profile_cpu(int64_t ms, const _Atomic bool *cancel, struct profile **ret, struct err *err);
void profile_free(struct profile *p); /* NULL is fine */
size_t profile_samples(const struct profile *p);
size_t profile_lost(const struct profile *p);
void profile_folded(struct profile *p, struct buf *out);
void profile_pprof(struct profile *p, struct buf *out);

/* The heap profile of jemalloc (its own text, for jeprof). RC_UNSUPPORTED says what is missing: jemalloc, or the start with MALLOC_CONF=prof:true. */
int profile_heap(struct buf *out, struct err *err);
