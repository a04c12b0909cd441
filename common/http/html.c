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

static const char style[] =
    ":root{color-scheme:light dark}"
    "body{font:14px/1.45 system-ui,sans-serif;margin:1.5em 2em;color:#222;background:#fff}"
    "table{border-collapse:collapse;margin:.7em 0}td,th{border:1px solid #ccc;padding:.3em .7em;text-align:left;"
    "vertical-align:top;overflow-wrap:anywhere}th{background:#f2f2f2}"
    "a{color:#0550ae}nav{font-weight:600}.danger{color:#b00020}.bad{color:#b00020}.good{color:#0a6b2d}"
    "pre{background:#f6f6f6;padding:1em;overflow:auto}form{margin:.7em 0}label{margin-right:1em}"
    "@media(prefers-color-scheme:dark){body{color:#ddd;background:#16181c}td,th{border-color:#444}th,pre{background:#24272d}"
    "a{color:#79b8ff}.danger,.bad{color:#ff8a8a}.good{color:#7fd99a}}";

void html_begin(struct buf *out, const char *title)
{
    buf_z(out, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>");
    html_str(out, str_of(title));
    buf_z(out, " - torc</title><link rel=\"icon\" href=\"data:,\"><meta name=\"viewport\" "
               "content=\"width=device-width\"><style>");
    buf_z(out, style);
    buf_z(out, "</style></head><body>\n<nav><a href=\"/\">torc</a></nav>\n<h1>");
    html_str(out, str_of(title));
    buf_z(out, "</h1>\n");
}

void html_end(struct buf *out)
{
    buf_z(out, "</body></html>\n");
}

void html_pre(struct buf *out, struct str text)
{
    buf_z(out, "<pre>");
    html_str(out, text);
    buf_z(out, "</pre>\n");
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
