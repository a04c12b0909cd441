/* ring_page.h - a snapshot as JSON or as an HTML table (no page around it). Names cannot hold markup or quotes: member.c refuses them.
 * ages_ms[instance]: since the last message of that member, -1: never heard. */
#pragma once
#include "common/base/buf.h"
#include "ring/ring.h"

void ring_page_json(const struct ring *r, const int64_t *ages_ms, struct buf *out);
void ring_page_html(const struct ring *r, const int64_t *ages_ms, struct buf *out);
