/* base64.h - RFC 4648. Written with '+', '/' and padding; read in either alphabet, with or without padding. */
#pragma once
#include "common/base/buf.h"

/* How many bytes this text stands for, if it is well-formed. */
size_t base64_bytes(struct str text);
/* Appends them. False: not base64 (out may have some of it), or out is full. */
bool base64_get(struct str text, struct buf *out);
/* Appends the text of these bytes. */
void base64_put(struct buf *out, struct str bytes);
