/* join.c - results of parts of a range query as one result. */
#include "promql/engine.h"

#include <string.h>

struct joining {
    const struct query_result *const *parts;
    size_t n;
    size_t *at; /* per part: the next series */
    struct arena *a;
};

bool result_sample_dup(struct arena *a, const struct result_sample *from, struct result_sample *ret)
{
    struct histogram *h;

    *ret = *from;
    if (!from->h)
        return true;
    h = arena_alloc(a, sizeof *h);
    ret->h = h;
    return h && histogram_dup(a, from->h, h);
}

static int no_memory(struct err *err)
{
    return err_set(err, RC_NOMEM, "query processing would load too many bytes into memory in joining results");
}

/* The smallest label set that is left; NULL at the end. */
static const struct labels *next_labels(const struct joining *j)
{
    const struct labels *min = NULL;

    for (size_t p = 0; p < j->n; p++) {
        const struct labels *ls;

        if (j->at[p] == j->parts[p]->series_count)
            continue;
        ls = &j->parts[p]->series[j->at[p]].labels;
        if (!min || labels_cmp(ls, min) < 0)
            min = ls;
    }
    return min;
}

static bool has_next(const struct joining *j, size_t p, const struct labels *ls)
{
    return j->at[p] < j->parts[p]->series_count && labels_eq(&j->parts[p]->series[j->at[p]].labels, ls);
}

/* One series out of all parts that have it, in the order of time. */
static bool join_series(struct joining *j, const struct labels *ls, struct result_series *ret)
{
    size_t total = 0;

    for (size_t p = 0; p < j->n; p++)
        if (has_next(j, p, ls))
            total += j->parts[p]->series[j->at[p]].n;
    *ret = (struct result_series){.labels = *ls, .s = arena_array(j->a, total, sizeof *ret->s)};
    if (!ret->s)
        return false;
    for (size_t p = 0; p < j->n; p++) {
        const struct result_series *s;

        if (!has_next(j, p, ls))
            continue;
        s = &j->parts[p]->series[j->at[p]++];
        if (s->n)
            memcpy(ret->s + ret->n, s->s, s->n * sizeof *s->s);
        ret->n += s->n;
    }
    return true;
}

/* Each text once, at most so many as one result has. */
static bool join_texts(struct arena *a, const char *const *from, size_t from_n, const char ***v, size_t *n)
{
    if (!*v)
        *v = arena_array(a, ANNOTATIONS_MAX + 1, sizeof **v);
    for (size_t i = 0; *v && i < from_n; i++) {
        size_t k = 0;

        while (k < *n && strcmp((*v)[k], from[i]) != 0)
            k++;
        if (k == *n && *n < ANNOTATIONS_MAX + 1)
            (*v)[(*n)++] = from[i];
    }
    return *v != NULL;
}

bool query_texts_dup(struct arena *a, const char *const *from, size_t n, const char ***ret)
{
    const char **v = arena_array(a, n, sizeof *v);

    for (size_t i = 0; v && i < n; i++)
        if (!(v[i] = arena_strz(a, str_of(from[i]))))
            return false;
    *ret = v;
    return v != NULL;
}

static void join_stats(struct query_stats *to, const struct query_stats *from)
{
    to->samples_total += from->samples_total;
    to->samples_read += from->samples_read;
    to->peak_samples = MAX(to->peak_samples, from->peak_samples);
    to->seconds_prepare += from->seconds_prepare;
    to->seconds_eval += from->seconds_eval;
    to->seconds_sort += from->seconds_sort;
    to->series = MAX(to->series, from->series);
}

int query_results_join(const struct query_result *const *parts, size_t n, struct arena *a, struct query_result *ret, struct err *err)
{
    struct joining j = {.parts = parts, .n = n, .at = arena_zalloc(a, n * sizeof *j.at), .a = a};
    struct query_result out = {.type = VALUE_MATRIX};
    const struct labels *ls;
    size_t most = 0;

    for (size_t p = 0; p < n; p++) {
        most += parts[p]->series_count;
        join_stats(&out.stats, &parts[p]->stats);
        if (!join_texts(a, parts[p]->warnings, parts[p]->warning_count, &out.warnings, &out.warning_count) ||
            !join_texts(a, parts[p]->infos, parts[p]->info_count, &out.infos, &out.info_count))
            return no_memory(err);
    }
    out.series = arena_array(a, most, sizeof *out.series);
    if (!j.at || !out.series)
        return no_memory(err);
    while ((ls = next_labels(&j)))
        if (!join_series(&j, ls, &out.series[out.series_count++]))
            return no_memory(err);
    *ret = out;
    return 0;
}
