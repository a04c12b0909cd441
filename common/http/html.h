/* html.h - the frame of admin pages: plain HTML, no scripts, everything that is not ours escaped.
 */
#pragma once
#include "common/http/http.h"

/* s escaped for text and for quoted attributes. */
void html_str(struct buf *out, struct str s);
void html_begin(struct buf *out, const char *title);
void html_end(struct buf *out);
/* <th> or <td> cells; the texts are escaped. */
void html_row(struct buf *out, bool head, const char *const *cells, size_t n);
/* Text as it stands, escaped. */
void html_pre(struct buf *out, struct str text);
void html_table_begin(struct buf *out);
void html_table_end(struct buf *out);
