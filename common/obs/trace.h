/* trace.h - where the time of one request went: a tree of steps, each with a text and a duration.
 * Every function takes a NULL node and then does nothing, so that code which may be traced costs one test when it is not. A trace holds at most
 * TRACE_NODES_MAX steps, their texts cut at TRACE_TEXT_MAX bytes; what comes later is counted and left out. A step whose children all came before it ended has
 * a duration that covers theirs, unless they overlapped.
 * Wire: u8 version, then per step in depth-first order: uvarint depth (0 first, each at most one more than that of the step before), uvarint duration [ns], lstr text.
 * Threads: none of its own; one request, one thread at a time. */
#pragma once
#include "common/base/buf.h"
#include "common/base/bytes.h"
#include "common/base/err.h"

enum { TRACE_VERSION = 1, TRACE_NODES_MAX = 2000, TRACE_TEXT_MAX = 400, TRACE_DEPTH_MAX = 200 };

struct trace;
struct trace_node;

/* The root begins now. */
struct trace *trace_new(const char *text);
void trace_free(struct trace *t); /* NULL is fine */
struct trace_node *trace_root(struct trace *t); /* NULL of NULL */
/* A step below parent that begins now; NULL of a NULL parent, and when there is no more room. */
struct trace_node *trace_begin(struct trace_node *parent, const char *fmt, ...) PRINTF(2, 3);
/* It ends now; the text, if not empty, is appended to what it began with. */
void trace_end(struct trace_node *n, const char *fmt, ...) PRINTF(2, 3);
/* A step whose duration was measured elsewhere. */
struct trace_node *trace_add(struct trace_node *parent, int64_t ns, const char *fmt, ...) PRINTF(3, 4);
void trace_set(struct trace_node *n, int64_t ns);

/* {"duration_msec":1.234,"message":"...","children":[..]} (VictoriaMetrics' shape); steps that have not ended count until now. */
void trace_print(struct buf *out, const struct trace *t);
/* Everything below (and with) the root. */
void trace_encode(struct buf *out, const struct trace *t);
/* Adds what another process encoded below parent. RC_CORRUPT, RC_VERSION. */
int trace_decode(struct str bytes, struct trace_node *parent, struct err *err);
