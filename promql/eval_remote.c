/* eval_remote.c - an aggregation of parts that others have evaluated. */
#include "promql/eval.h"

static int row_of(struct ev *ev, const struct result_series *s, struct row *ret)
{
    int rc = row_init(ev, ret, false);

    for (size_t i = 0; rc == 0 && i < s->n; i++) {
        const struct result_sample *p = &s->s[i];
        int64_t at = p->t - ev->start;

        if (at < 0 || at % ev->step != 0 || (size_t)(at / ev->step) >= ev->steps)
            return err_set(ev->q->err, RC_INTERNAL, "a fragment has a point at %lld ms, which is no step", (long long)p->t);
        if (p->h && !ret->h)
            rc = row_need_hist(ev, ret);
        if (rc == 0)
            row_set(ret, (size_t)(at / ev->step), &(struct point){p->h ? POINT_HIST : POINT_FLOAT, p->v, p->h});
    }
    ret->labels = s->labels;
    ret->drop_name = s->drop_name;
    ret->count = s->count;
    ret->stable = true;
    return rc;
}

static void take_notes(struct query *q, const struct query_result *res)
{
    struct query_stats *st = q->stats;

    for (size_t i = 0; i < res->warning_count; i++)
        annotate_text(q, res->warnings[i]);
    for (size_t i = 0; i < res->info_count; i++)
        annotate_text(q, res->infos[i]);
    st->samples_total += res->stats.samples_total;
    st->samples_read += res->stats.samples_read;
    st->peak_samples = MAX(st->peak_samples, res->stats.peak_samples);
    q->series += res->stats.series;
}

int eval_remote(struct ev *ev, const struct node *n, struct stream **ret)
{
    const struct query_remote *remote = ev->q->opt->remote;
    struct query_result res = {0};
    struct matrix rows = {0}, counts = {0};
    int rc;

    if (ev->outer || ev->q->opt->stats_per_step || !promql_shardable(n))
        return 0;
    rc = remote->eval(remote->arg, n, ev->q->arena, &res, ev->q->err);
    if (rc <= 0)
        return rc;
    for (size_t i = 0; i < res.series_count && rc > 0; i++) {
        struct row r;

        rc = row_of(ev, &res.series[i], &r);
        if (rc == 0)
            rc = matrix_add(ev, r.count ? &counts : &rows, &r);
        rc = rc < 0 ? rc : 1;
    }
    if (rc > 0)
        rc = eval_aggregate_parts(ev, n, &rows, &counts, ret);
    if (rc <= 0)
        return rc;
    take_notes(ev->q, &res);
    rc = query_processed(ev->q);
    return rc < 0 ? rc : 1;
}
