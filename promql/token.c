/* How messages speak of a token. */
#include "common/model/labels.h"
#include "promql/lexer.h"

#include <unistr.h>

/* At most ten runes of it, in quotes. */
static void describe_text(struct buf *out, struct str s)
{
    size_t n = 0;

    if (s.n <= 10) {
        labels_quote(out, s);
        return;
    }
    for (int i = 0; i < 10 && n < s.n; i++) {
        int len = u8_mblen((const uint8_t *)s.p + n, s.n - n);

        n += len > 0 ? (size_t)len : 1;
    }
    labels_quote(out, str_sub(s, 0, n));
    buf_z(out, "...");
}

void token_describe(struct buf *out, const struct token *t)
{
    switch (t->type) {
    case TOK_EOF: buf_z(out, "end of input"); return;
    case TOK_IDENT:
    case TOK_METRIC_IDENT:
        buf_z(out, t->type == TOK_IDENT ? "identifier " : "metric identifier ");
        labels_quote(out, t->text);
        return;
    case TOK_STRING: buf_z(out, "string "); break;
    case TOK_NUMBER: buf_z(out, "number "); break;
    case TOK_DURATION: buf_z(out, "duration "); break;
    default: break;
    }
    if (token_is_keyword(t->type))
        buf_printf(out, "<%.*s>", STR_FMT(t->text));
    else if (token_is_operator(t->type))
        buf_printf(out, "<op:%.*s>", STR_FMT(t->text));
    else if (token_is_aggregation(t->type))
        buf_printf(out, "<aggr:%.*s>", STR_FMT(t->text));
    else
        describe_text(out, t->text);
}
