#include "querier/fetch.h"

static uint64_t over_days(uint64_t max, const struct fetch_limits *l)
{
    uint64_t out;

    return max == 0 || __builtin_mul_overflow(max, MAX(l->days, 1u), &out) ? UINT64_MAX : out;
}

static const char *each_day(const struct fetch_limits *l)
{
    return l->days > 1 ? " per 24 h" : "";
}

static int too_many_bytes(const struct fetch_limits *l, struct err *err)
{
    return err_set(err, RC_EXECUTION,
                   "the query hit the aggregated data size limit (limit: %llu bytes%s, max_query_bytes)",
                   (unsigned long long)l->bytes_max, each_day(l));
}

static int too_many_series(const struct fetch_limits *l, struct err *err)
{
    return err_set(err, RC_EXECUTION,
                   "the query hit the max number of series limit (limit: %llu series%s, max_query_series)",
                   (unsigned long long)l->series_max, each_day(l));
}

int fetch_count(struct fetch_used *used, const struct fetch_limits *limits, uint64_t chunks,
                uint64_t bytes, struct err *err)
{
    used->chunks += chunks;
    used->bytes += bytes;
    if (limits->chunks_max && used->chunks > limits->chunks_max)
        return err_set(err, RC_EXECUTION,
                       "the query hit the max number of chunks limit while fetching chunks from "
                       "ingesters (limit: %llu chunks, max_query_chunks)",
                       (unsigned long long)limits->chunks_max);
    return used->bytes > over_days(limits->bytes_max, limits) ? too_many_bytes(limits, err) : 0;
}

int fetch_count_series(struct fetch_used *used, const struct fetch_limits *limits, uint64_t series,
                       struct err *err)
{
    used->series += series;
    return used->series > over_days(limits->series_max, limits) ? too_many_series(limits, err) : 0;
}

/* --- days --- */

static uint32_t day_of(const struct fetch_limits *l, int64_t t)
{
    int64_t day = t < l->day0_ms ? 0 : (t - l->day0_ms) / FETCH_DAY_MS;

    return (uint32_t)MIN(day, (int64_t)l->days - 1);
}

/* Windows ascend in each input; the days that an earlier input has counted are known by seen[], which holds the
 * number of the series, from 1 on. */
static void count_entry(struct fetch_day *days, const struct fetch_limits *l, const struct series_entry *e,
                        uint32_t *seen, uint32_t number)
{
    for (const struct series_input *in = e->inputs; in; in = in->next) {
        for (size_t i = 0; i < in->window_count; i++) {
            const struct stored_window *w = &in->windows[i];
            uint32_t day = day_of(l, w->start_ms);

            days[day].series += seen[day] != number;
            seen[day] = number;
            for (uint32_t k = 0; k < w->chunk_count; k++)
                days[day].bytes += w->chunks[k].n;
        }
    }
}

int fetch_count_days(struct fetch_day *days, const struct fetch_limits *l, const struct series_set *set,
                     struct err *err)
{
    uint32_t *seen;

    if (l->days <= 1 || (l->series_max == 0 && l->bytes_max == 0))
        return 0;
    seen = arena_zalloc(set->arena, l->days * sizeof *seen);
    if (!seen)
        return err_set(err, RC_NOMEM, "select: memory budget is spent");
    for (size_t i = 0; i < set->n; i++)
        count_entry(days, l, &set->v[i], seen, (uint32_t)i + 1);
    for (uint32_t d = 0; d < l->days; d++) {
        if (l->series_max && days[d].series > l->series_max)
            return too_many_series(l, err);
        if (l->bytes_max && days[d].bytes > l->bytes_max)
            return too_many_bytes(l, err);
    }
    return 0;
}
