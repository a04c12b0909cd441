/* traceparent.h - the identity of a request across processes, as the header traceparent carries it (W3C Trace Context, level 1):
 * "00-" 32 hex digits of the trace "-" 16 of the caller's span "-" 2 of flags; later versions may append "-...". Lower case; neither id is all zero.
 * Pure. */
#pragma once
#include "common/base/str.h"

struct traceparent {
    char trace_id[33], parent_id[17]; /* parent_id "": nobody called */
    bool sampled;
};
/* False: malformed; *ret is untouched. */
bool traceparent_parse(struct str text, struct traceparent *ret);
/* A trace that begins here, of 128 random bits. */
void traceparent_begin(uint64_t hi, uint64_t lo, struct traceparent *ret);
