/* fetch.h - what one query may fetch, and what it has fetched.
 * Series and bytes are limited for each 24 h of a range query, counted from its start: a window of samples belongs to
 * the day that it begins in, earlier ones to the first, later ones to the last. While answers arrive, the sum over
 * all days is held against limit times days, so that work stops early; what has been gathered is then counted day by
 * day. Chunks are limited for the whole query. Each error is RC_EXECUTION, names its limit and is final. Not for
 * threads. */
#pragma once
#include "querier/series_set.h"

#define FETCH_DAY_MS (24 * 3600 * 1000LL)
enum { FETCH_DAYS_MAX = 4096 }; /* further ones count as the last */

struct fetch_limits {
    uint64_t series_max, bytes_max; /* of each day; 0: off */
    uint64_t chunks_max;            /* of the query; 0: off */
    int64_t day0_ms;                /* when the first day begins */
    uint32_t days;                  /* 0 and 1: all is one day */
};
struct fetch_day {
    uint64_t series, bytes;
};
struct fetch_used {
    uint64_t series, chunks, bytes;
    uint64_t windows_fetched,
        conflicts; /* windows whose digests differed; timestamps with two values */
};

int fetch_count(struct fetch_used *used, const struct fetch_limits *limits, uint64_t chunks,
                uint64_t bytes, struct err *err);
int fetch_count_series(struct fetch_used *used, const struct fetch_limits *limits, uint64_t series,
                       struct err *err);
/* Adds what one select has gathered. days: limits->days of them, of the whole query; not used when all is one day. */
int fetch_count_days(struct fetch_day *days, const struct fetch_limits *limits, const struct series_set *set,
                     struct err *err);
