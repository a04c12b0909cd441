#include "distributor/quorum.h"

#include "common/base/planted.h"

enum row_state { ROW_OPEN, ROW_WRITTEN, ROW_REFUSED, ROW_FAILED };

static enum row_state row_state(const struct quorum *q, uint32_t row)
{
    unsigned votes = q->votes[row] + q->full_votes;
    unsigned asked = q->owners[row], need = q->need[row];
    unsigned open = asked - MIN(asked, votes + q->refusals[row] + q->lost[row]);

    if (votes >= need)
        return ROW_WRITTEN;
    if (q->refusals[row] >= need)
        return ROW_REFUSED;
    return votes + open < need && q->refusals[row] + open < need ? ROW_FAILED : ROW_OPEN;
}

static void count(struct quorum *q, enum row_state s, int by)
{
    if (s == ROW_WRITTEN)
        q->written += (uint32_t)by;
    else if (s == ROW_REFUSED)
        q->refused += (uint32_t)by;
    else if (s == ROW_FAILED)
        q->failed += (uint32_t)by;
}

static void recount(struct quorum *q)
{
    q->written = q->refused = q->failed = 0;
    if (q->uniform && q->rows > 0) {
        count(q, row_state(q, 0), (int)q->rows);
        return;
    }
    for (uint32_t i = 0; i < q->rows; i++)
        count(q, row_state(q, i), 1);
}

bool quorum_init(struct quorum *q, struct arena *a, uint32_t rows, uint8_t owners_all, uint8_t need_all)
{
    uint8_t *block = arena_zalloc(a, (size_t)rows * 6);

    if (!block)
        return false;
    *q = (struct quorum){.rows = rows, .uniform = true};
    q->owners = block;
    q->need = block + rows;
    q->votes = block + (size_t)rows * 2;
    q->refusals = block + (size_t)rows * 3;
    q->lost = block + (size_t)rows * 4;
    q->reason = block + (size_t)rows * 5;
    memset(q->owners, owners_all, rows);
    if (PLANTED("quorum-of-one"))
        need_all = 1;
    memset(q->need, need_all, rows);
    recount(q);
    return true;
}

void quorum_row(struct quorum *q, uint32_t row, uint8_t owners, uint8_t need)
{
    ASSERT(row < q->rows);
    if (PLANTED("quorum-of-one"))
        need = 1;
    if (q->owners[row] == owners && q->need[row] == need)
        return;
    q->uniform = false;
    count(q, row_state(q, row), -1);
    q->owners[row] = owners;
    q->need[row] = need;
    count(q, row_state(q, row), 1);
}

void quorum_answer(struct quorum *q, const uint32_t *row_map, uint32_t n, const uint8_t *verdicts)
{
    if (!verdicts && !row_map && n == q->rows) {
        q->full_votes++;
        recount(q);
        return;
    }
    q->uniform = false;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t row = row_map ? row_map[i] : i;
        uint8_t v = verdicts ? verdicts[i] : PUSH_ACCEPTED;

        ASSERT(row < q->rows);
        count(q, row_state(q, row), -1);
        if (push_is_vote(v))
            q->votes[row]++;
        else if (v >= PUSH_REFUSED) {
            q->refusals[row]++;
            if (!q->reason[row])
                q->reason[row] = (uint8_t)push_reason(v);
        } else
            q->lost[row]++;
        count(q, row_state(q, row), 1);
    }
}

void quorum_lost(struct quorum *q, const uint32_t *row_map, uint32_t n)
{
    q->uniform = false;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t row = row_map ? row_map[i] : i;

        ASSERT(row < q->rows);
        count(q, row_state(q, row), -1);
        q->lost[row]++;
        count(q, row_state(q, row), 1);
    }
}

enum quorum_state quorum_state(const struct quorum *q)
{
    if (q->failed)
        return QUORUM_FAILED;
    if (q->written == q->rows)
        return QUORUM_WRITTEN;
    return q->written + q->refused == q->rows ? QUORUM_REFUSED : QUORUM_OPEN;
}

bool quorum_row_written(const struct quorum *q, uint32_t row)
{
    ASSERT(row < q->rows);
    return row_state(q, row) == ROW_WRITTEN;
}
