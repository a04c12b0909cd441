/* percent.h - percent-encoding as AWS wants it: all but A-Z a-z 0-9 - . _ ~ becomes %XX, upper case (RFC 3986, 2.3). */
#pragma once
#include "common/base/buf.h"

/* slash: '/' stays, for paths. */
void percent_encode(struct buf *out, struct str s, bool slash);
/* percent_decode, then percent_encode without slash: one spelling of many. '+' is no blank. */
void percent_normalise(struct buf *out, struct str s);
/* Decodes every well-formed %XX; the rest stays as it is. */
void percent_decode(struct buf *out, struct str s);
