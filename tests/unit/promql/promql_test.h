/* promql_test.h - parsing and printing in a line, for the tests of the room. */
#pragma once
#include "promql/ast.h"
#include "tests/test.h"

struct parsed {
    struct arena arena;
    struct promql_ast ast;
    struct err err;
    int rc;
};

static inline void parse_n(struct parsed *p, struct str query)
{
    *p = (struct parsed){.rc = 0};
    arena_init(&p->arena, 64 << 20);
    p->rc = promql_parse(query, &promql_parse_all, &p->arena, &p->ast, &p->err);
}

static inline void parsed_fini(struct parsed *p)
{
    promql_ast_fini(&p->ast);
    arena_fini(&p->arena);
}

/* NUL-terminated, for the caller to free. */
static inline char *text_of(const struct node *n, void (*print)(struct buf *, const struct node *))
{
    struct buf b;
    size_t len;

    buf_init(&b, 64 << 20);
    print(&b, n);
    buf_char(&b, '\0');
    CHECK(buf_ok(&b));
    return buf_take(&b, &len);
}
