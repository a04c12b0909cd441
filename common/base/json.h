/* json.h - JSON text out. Answers are written straight into a buffer; reading JSON is jansson's
 * work. */
#pragma once
#include "common/base/buf.h"

/* s in quotes, escaped (RFC 8259). Bytes that are not UTF-8 become U+FFFD, one for each byte. */
void json_str(struct buf *out, struct str s);
/* Byte for byte as Go's encoding/json, for answers that must equal Prometheus's: < > & U+2028 U+2029 as \u003c and so on, DEL bare. */
void json_str_html(struct buf *out, struct str s);
static inline void json_z(struct buf *out, const char *z)
{
    json_str(out, str_of(z));
}
/* "key": */
static inline void json_key(struct buf *out, const char *key)
{
    json_z(out, key);
    buf_char(out, ':');
}
