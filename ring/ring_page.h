/* ring_page.h - a snapshot as a JSON object, or as HTML without the page's frame. Names cannot hold markup or quotes: member.c refuses them. */
#pragma once
#include "common/base/buf.h"
#include "ring/ring.h"
#include "ring/ring_store.h"

struct http_req;

struct ring_page {
    const struct ring *ring;
    const int64_t *ages_ms; /* [instance] since its last heartbeat, -1: never */
    uint32_t roles;         /* instances with any of these; 0: all */
    bool tokens;            /* each one, not just how many */
    const struct ring_store_status *store; /* NULL: not shown */
    const struct member *departed;         /* members that are LEFT, which only the epoch still needs */
    size_t departed_n;
    const char *path;           /* of this page */
    const struct http_req *req; /* forms to forget what is dead carry its token; NULL: no forms */
};

void ring_page_json(const struct ring_page *p, struct buf *out);
void ring_page_html(const struct ring_page *p, struct buf *out);
