/* written.c - how much of a push a quorum of owners has: what Remote Write 2.0 wants to be told in each answer. */
#include "distributor/distributor_impl.h"

/* While something moves a row stands twice in the quorum: it is written when today's owners and those to be have it. */
static bool row_written(const struct push *p, uint32_t row)
{
    return quorum_row_written(&p->quorum, row) && (!p->moving || quorum_row_written(&p->quorum, p->quorum.rows / 2 + row));
}

/* The owners have the series of the row: it was written, or refused for itself alone. */
static bool series_there(const struct push *p, uint32_t row)
{
    const struct quorum *q = &p->quorum;

    if (row_written(p, row))
        return true;
    return q->refusals[row] >= q->need[row] && (q->reason[row] == DISCARD_SAMPLE_OUT_OF_ORDER || q->reason[row] == DISCARD_NEW_VALUE_FOR_TIMESTAMP ||
                                                q->reason[row] == DISCARD_RATE_LIMITED);
}

/* Exemplars go to the owners of their series, which keep them when they have the series. */
static uint64_t exemplars_written(struct push *p)
{
    uint8_t *there = arena_zalloc(&p->arena, p->series_count);
    uint64_t n = 0;

    for (uint32_t i = 0; there && i < p->row_count; i++)
        there[p->rows[i].series] |= series_there(p, i);
    for (uint32_t i = 0; there && i < p->hist_count; i++)
        there[p->hists[i].series] |= series_there(p, p->row_count + i);
    for (uint32_t i = 0; there && i < p->exemplar_count; i++)
        n += there[p->exemplars[i].series];
    return n;
}

void push_written(struct push *p, struct push_written *ret)
{
    /* What a standby sent counts: the followed replica's stands for it. */
    struct push_written w = {p->ha.samples, p->ha.histograms, 0};

    *ret = w;
    if (p->quorum.rows == 0)
        return;
    if (LIKELY(p->quorum.written == p->quorum.rows)) {
        *ret = (struct push_written){w.samples + p->row_count, w.histograms + p->hist_count, p->exemplar_count};
        return;
    }
    for (uint32_t i = 0; i < p->row_count; i++)
        w.samples += row_written(p, i);
    for (uint32_t i = 0; i < p->hist_count; i++)
        w.histograms += row_written(p, p->row_count + i);
    if (p->exemplar_count)
        w.exemplars = exemplars_written(p);
    *ret = w;
}
