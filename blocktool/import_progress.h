/* import_progress.h - one line on stderr each second of long work. */
#pragma once
#include "common/base/base.h"

struct import_progress {
    const char *what;
    bool quiet;
    uint64_t all;       /* samples to come, as far as known */
    int64_t began_ns, last_ns;
};
void import_progress_init(struct import_progress *p, const char *what, uint64_t all, bool quiet);
void import_progress_tick(struct import_progress *p, uint64_t done);
/* The same and the rate, once, as the last line. */
void import_progress_end(struct import_progress *p, uint64_t done);
