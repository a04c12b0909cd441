/* quorum.h - when is a push acknowledged? Pure core: answers and failures in, a verdict out.
 * Only owners vote (design D4.4). A row is *written* with W votes; *refused* when that many owners refused it for good; *failed* when neither can happen
 * any more. The push succeeds when every row is written, is 400 when every row is written or refused, and 5xx as soon as one row failed.
 * Not for threads: the caller holds the request's lock. */
#pragma once
#include "common/base/arena.h"
#include "common/wire/push.h"

enum { QUORUM_TARGETS_MAX = 1024 };

enum quorum_state {
    QUORUM_OPEN,
    QUORUM_WRITTEN, /* every row has its quorum of votes */
    QUORUM_REFUSED, /* every row is decided, some refused by a quorum */
    QUORUM_FAILED,  /* some row can reach neither: retry */
};
struct quorum {
    uint32_t rows;
    uint8_t *owners;  /* per row: how many owners were asked */
    uint8_t *need;    /* per row: votes needed */
    uint8_t *votes, *refusals, *lost;
    uint8_t *reason;  /* first refusal's reason */
    uint32_t written, refused, failed;
    bool uniform;        /* all rows are in one state: nothing was counted row by row */
    uint32_t full_votes; /* targets that hold every row and accepted all: counted once, not row by row */
};
/* owners_of_row may be NULL when every row has owners_all owners. need = owners / 2 + 1 of the replication factor, given per row by the ring. */
bool quorum_init(struct quorum *q, struct arena *a, uint32_t rows, uint8_t owners_all, uint8_t need_all);
void quorum_row(struct quorum *q, uint32_t row, uint8_t owners, uint8_t need);
/* Target answered: its row i is row_map[i] of the request (NULL: i itself, all rows). verdicts NULL: all accepted. */
void quorum_answer(struct quorum *q, const uint32_t *row_map, uint32_t n, const uint8_t *verdicts);
/* Target will never answer (error, timeout): its rows lose a possible vote. */
void quorum_lost(struct quorum *q, const uint32_t *row_map, uint32_t n);
enum quorum_state quorum_state(const struct quorum *q);
/* This row has its quorum of votes. */
bool quorum_row_written(const struct quorum *q, uint32_t row);
