#include "common/http/html.h"

void html_str(struct buf *out, struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        switch (s.p[i]) {
        case '&':
            buf_z(out, "&amp;");
            break;
        case '<':
            buf_z(out, "&lt;");
            break;
        case '>':
            buf_z(out, "&gt;");
            break;
        case '"':
            buf_z(out, "&quot;");
            break;
        case '\'':
            buf_z(out, "&#39;");
            break;
        default:
            buf_char(out, s.p[i]);
        }
    }
}

void html_begin(struct buf *out, const char *title)
{
    buf_z(out, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>");
    html_str(out, str_of(title));
    buf_z(
        out,
        " - torc</title><style>body{font:14px "
        "system-ui,sans-serif;margin:2em;color:#222;background:#fff}"
        "table{border-collapse:collapse}td,th{border:1px solid #ccc;padding:.3em "
        ".7em;text-align:left}"
        "th{background:#f2f2f2}a{color:#0550ae}.danger{color:#b00020}</style></head><body>\n<h1>");
    html_str(out, str_of(title));
    buf_z(out, "</h1>\n");
}

void html_end(struct buf *out)
{
    buf_z(out, "</body></html>\n");
}

void html_table_begin(struct buf *out)
{
    buf_z(out, "<table>\n");
}

void html_table_end(struct buf *out)
{
    buf_z(out, "</table>\n");
}

void html_row(struct buf *out, bool head, const char *const *cells, size_t n)
{
    const char *tag = head ? "th" : "td";

    buf_z(out, "<tr>");
    for (size_t i = 0; i < n; i++) {
        buf_printf(out, "<%s>", tag);
        html_str(out, str_of(cells[i]));
        buf_printf(out, "</%s>", tag);
    }
    buf_z(out, "</tr>\n");
}
