/* active.h - the queries that this process runs, and what those that ended of late took.
 * A running query is linked while its handler works (active_begin, active_end) and can be cancelled by its
 * id: it then stops at its next poll, as if its client had gone. Ended ones are remembered in a ring of
 * ACTIVE_DONE_MAX, their texts cut at ACTIVE_TEXT_MAX, so that memory is bounded by about 9 MB whatever
 * is asked. Everything is shown to the tenant that asked, and to no other.
 * Threads: any. */
#pragma once
#include "common/base/arena.h"
#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/http/http.h"

enum { ACTIVE_DONE_MAX = 8192, ACTIVE_TEXT_MAX = 1024, ACTIVE_TOP_MAX = 1000 };

struct active;
struct active_query {
    struct active_query *prev, *next;
    uint64_t id;
    struct str tenant, text; /* borrowed until active_end */
    int64_t start_ms, end_ms, step_ms;
    int64_t begun_mono_ns;
    struct http_req *http;
    const struct arena *arena; /* what it holds */
};

struct active *active_new(void);
/* No query runs any more. NULL is fine. */
void active_free(struct active *a);
/* All fields but id and links are set. */
void active_begin(struct active *a, struct active_query *q);
/* Before the request is answered. now_wall_ms: when it ended; took_ns: since it was received. */
void active_end(struct active *a, struct active_query *q, int64_t now_wall_ms, int64_t took_ns);
/* The arenas of running queries, by tenant; and what is remembered of others. */
struct memory_account;
void active_memory(struct active *a, struct memory_account *account);
/* RC_NOT_FOUND when none of this tenant has the id. */
int active_cancel(struct active *a, struct str tenant, uint64_t id, struct err *err);

/* JSON arrays, longest running first. */
void active_print(struct active *a, struct buf *out, struct str tenant, int64_t now_mono_ns);
/* ,"topByCount":[..],"topByAvgDuration":[..],"topBySumDuration":[..] of queries that ended at since_wall_ms or
 * later, at most top rows each (1..ACTIVE_TOP_MAX), in VictoriaMetrics' shape. */
void active_print_top(struct active *a, struct buf *out, struct str tenant, size_t top,
                      int64_t since_wall_ms);
