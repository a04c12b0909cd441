/* eval_remote.c - rows of an aggregation that others have evaluated. */
#include "promql/eval.h"

static int row_of(struct ev *ev, const struct result_series *s, struct row *ret)
{
    int rc = row_init(ev, ret, false);

    if (rc < 0)
        return rc;
    memset(ret->v, 0, ev->steps * sizeof *ret->v);
    for (size_t i = 0; i < s->n; i++) {
        int64_t at = s->s[i].t - ev->start;

        if (at < 0 || at % ev->step != 0 || (size_t)(at / ev->step) >= ev->steps || s->s[i].h)
            return err_set(ev->q->err, RC_INTERNAL, "a fragment has a point at %lld ms, which is no step", (long long)s->s[i].t);
        ret->kind[at / ev->step] = POINT_FLOAT;
        ret->v[at / ev->step] = s->s[i].v;
    }
    ret->labels = s->labels;
    ret->stable = true;
    return 0;
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
    struct matrix m = {0};
    int rc;

    if (ev->outer || ev->q->opt->stats_per_step || !promql_shardable(n))
        return 0;
    rc = remote->eval(remote->arg, n, ev->q->arena, &res, ev->q->err);
    if (rc <= 0)
        return rc;
    take_notes(ev->q, &res);
    rc = query_processed(ev->q);
    for (size_t i = 0; i < res.series_count && rc == 0; i++) {
        struct row r;

        rc = row_of(ev, &res.series[i], &r);
        if (rc == 0)
            rc = matrix_add(ev, &m, &r);
    }
    if (rc == 0)
        rc = stream_of_matrix(ev, &m, ret);
    return rc < 0 ? rc : 1;
}
