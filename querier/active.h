/* active.h - the queries that this process runs, and what those that ended of late took.
 * A running query is linked while its handler works (active_begin, active_end) and can be cancelled by its
 * id: it then stops at its next poll, as if its client had gone. Ids begin at a random number, so that no two queriers
 * give the same. Ended ones are remembered in a ring of ACTIVE_DONE_MAX, their texts cut at ACTIVE_TEXT_MAX, so that
 * memory is bounded by about 9 MB whatever is asked. Everything is shown to the tenant that asked, and to no other.
 * Threads: any. */
#pragma once
#include "common/base/arena.h"
#include "common/base/err.h"
#include "common/http/http.h"

enum { ACTIVE_DONE_MAX = 8192, ACTIVE_TEXT_MAX = 1024 };

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
struct active_ended {
    struct str text;
    int64_t range_ms, took_ns;
};

struct active *active_new(void);
/* No query runs any more. NULL is fine. */
void active_free(struct active *a);
/* All fields but id and links are set. */
void active_begin(struct active *a, struct active_query *q);
/* Before the request is answered. now_wall_ms: when it ended; took_ns: since it was received. */
void active_end(struct active *a, struct active_query *q, int64_t now_wall_ms, int64_t took_ns);
/* False when none of this tenant has the id. */
bool active_cancel(struct active *a, struct str tenant, uint64_t id);
/* The arenas of running queries, by tenant; and what is remembered of others. */
struct memory_account;
void active_memory(struct active *a, struct memory_account *account);

/* Called under the lock: copies what it wants. Running ones in the order of their beginning, ended ones in any. */
void active_each(struct active *a, struct str tenant, void (*fn)(void *arg, const struct active_query *q), void *arg);
void active_each_ended(struct active *a, struct str tenant, int64_t since_wall_ms, void (*fn)(void *arg, const struct active_ended *e), void *arg);
