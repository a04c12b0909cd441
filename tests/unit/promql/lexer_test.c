#include "promql/lexer.h"
#include "tests/test.h"

static const struct {
    const char *text;
    struct {
        enum token_type type;
        uint32_t pos;
        const char *text;
    } want[12]; /* up to TOK_EOF */
} cases[] = {
    {"", {{TOK_EOF, 0, ""}}},
    {" # only this", {{TOK_EOF, 12, ""}}},
    {"a:b + c_1 #x\n-.5",
     {{TOK_METRIC_IDENT, 0, "a:b"}, {TOK_ADD, 4, "+"}, {TOK_IDENT, 6, "c_1"}, {TOK_SUB, 13, "-"}, {TOK_NUMBER, 14, ".5"},
      {TOK_EOF, 16, ""}}},
    {"== != < <= > >= </ >/",
     {{TOK_EQLC, 0, "=="}, {TOK_NEQ, 3, "!="}, {TOK_LSS, 6, "<"}, {TOK_LTE, 8, "<="}, {TOK_GTR, 11, ">"},
      {TOK_GTE, 13, ">="}, {TOK_TRIM_UPPER, 16, "</"}, {TOK_TRIM_LOWER, 19, ">/"}, {TOK_EOF, 21, ""}}},
    {"5m 1h30m 1e5 0x1F iNf NaN",
     {{TOK_DURATION, 0, "5m"}, {TOK_DURATION, 3, "1h30m"}, {TOK_NUMBER, 9, "1e5"}, {TOK_NUMBER, 13, "0x1F"},
      {TOK_NUMBER, 18, "iNf"}, {TOK_NUMBER, 22, "NaN"}, {TOK_EOF, 25, ""}}},
    {"{sum=~\"a\",b!~'c',d!=`e`}",
     {{TOK_LBRACE, 0, "{"}, {TOK_IDENT, 1, "sum"}, {TOK_EQL_REGEX, 4, "=~"}, {TOK_STRING, 6, "\"a\""}, {TOK_COMMA, 9, ","},
      {TOK_IDENT, 10, "b"}, {TOK_NEQ_REGEX, 11, "!~"}, {TOK_STRING, 13, "'c'"}, {TOK_COMMA, 16, ","}, {TOK_IDENT, 17, "d"},
      {TOK_NEQ, 18, "!="}, {TOK_STRING, 20, "`e`"}}},
    {"[step()+1m:30]",
     {{TOK_LBRACKET, 0, "["}, {TOK_STEP, 1, "step"}, {TOK_LPAREN, 5, "("}, {TOK_RPAREN, 6, ")"}, {TOK_ADD, 7, "+"},
      {TOK_DURATION, 8, "1m"}, {TOK_COLON, 10, ":"}, {TOK_NUMBER, 11, "30"}, {TOK_RBRACKET, 13, "]"}, {TOK_EOF, 14, ""}}},
    {"SUM By fill fill (Min_Of",
     {{TOK_SUM, 0, "SUM"}, {TOK_BY, 4, "By"}, {TOK_IDENT, 7, "fill"}, {TOK_FILL, 12, "fill"}, {TOK_LPAREN, 17, "("},
      {TOK_MIN_OF, 18, "Min_Of"}, {TOK_ERROR, 24, "unclosed left parenthesis"}, {TOK_ERROR, 24, "unclosed left parenthesis"}}},
    {"[a", {{TOK_LBRACKET, 0, "["}, {TOK_ERROR, 1, "unexpected character in duration expression: 'a'"}}},
    {"a }", {{TOK_IDENT, 0, "a"}, {TOK_ERROR, 2, "unexpected character: '}'"}}},
    {"{a=\"\\q\"}", {{TOK_LBRACE, 0, "{"}, {TOK_IDENT, 1, "a"}, {TOK_EQL, 2, "="}, {TOK_ERROR, 3, "unknown escape sequence U+0071 'q'"}}},
};

TEST(text_is_split_where_prometheus_splits_it)
{
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct lexer l;

        lexer_init(&l, str_of(cases[i].text));
        for (size_t k = 0; k < ARRAY_LEN(cases[i].want) && cases[i].want[k].text; k++) {
            struct token t = lexer_next(&l);

            CHECK_INT(t.type, cases[i].want[k].type);
            CHECK_INT(t.pos, cases[i].want[k].pos);
            CHECK(str_eqz(t.text, cases[i].want[k].text));
        }
    }
}

TEST(a_token_is_described_by_its_kind)
{
    static const struct {
        const char *text, *want;
    } tokens[] = {
        {"foo", "identifier \"foo\""},   {"a:b", "metric identifier \"a:b\""}, {"1", "number \"1\""},
        {"5m", "duration \"5m\""},       {"'a'", "string \"'a'\""},            {"+", "<op:+>"},
        {"AND", "<op:AND>"},             {"@", "<op:@>"},                      {"Sum", "<aggr:Sum>"},
        {"by", "<by>"},                  {",", "\",\""},                       {"start", "\"start\""},
        {"=", "\"=\""},                  {"", "end of input"},                 {"123456789012", "number \"1234567890\"..."},
        {"'\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9'",
         "string \"'\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\"..."},
    };

    for (size_t i = 0; i < ARRAY_LEN(tokens); i++) {
        struct lexer l;
        struct token t;
        struct buf b;

        lexer_init(&l, str_of(tokens[i].text));
        t = lexer_next(&l);
        buf_init(&b, 1000);
        token_describe(&b, &t);
        buf_char(&b, '\0');
        CHECK_STR(b.p, tokens[i].want);
        buf_fini(&b);
    }
}
