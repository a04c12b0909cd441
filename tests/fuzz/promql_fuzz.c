/* parse, print, parse again: the same print. Pretty text must parse, too; JSON and resolving must only not crash. */
#include "promql/ast.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { FUZZ_ARENA_BYTES = 64 << 20, FUZZ_TEXT_BYTES = 16 << 20 };

/* The query as text and as pretty text. rc of the parser. */
static int print_query(struct str query, struct buf *text, struct buf *pretty)
{
    struct promql_ast ast;
    struct arena arena;
    struct buf json;
    int rc;

    arena_init(&arena, FUZZ_ARENA_BYTES);
    rc = promql_parse(query, NULL, &arena, &ast, NULL);
    if (rc == 0) {
        buf_init(&json, FUZZ_TEXT_BYTES);
        promql_print_json(&json, ast.root);
        buf_fini(&json);
        promql_print(text, ast.root);
        promql_pretty(pretty, ast.root);
        promql_resolve(&ast, 0, 3600000, 15000, NULL);
        promql_ast_fini(&ast);
    }
    arena_fini(&arena);
    return rc;
}

/* A printed query may only be refused for its size: printing adds blanks, digits and parentheses. */
static void check_again(const struct buf *printed, const struct buf *want)
{
    struct buf text, pretty;
    int rc;

    buf_init(&text, FUZZ_TEXT_BYTES);
    buf_init(&pretty, FUZZ_TEXT_BYTES);
    rc = print_query(buf_view(printed), &text, &pretty);
    if (rc != RC_LIMIT && (rc != 0 || (want && !str_eq(buf_view(&text), buf_view(want)))))
        abort();
    buf_fini(&text);
    buf_fini(&pretty);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct promql_ast ast;
    struct arena arena;
    struct buf text, pretty;

    buf_init(&text, FUZZ_TEXT_BYTES);
    buf_init(&pretty, FUZZ_TEXT_BYTES);
    if (print_query(str_n(data, n), &text, &pretty) == 0 && buf_ok(&text) && buf_ok(&pretty)) {
        check_again(&text, &text);
        check_again(&pretty, NULL);
    }
    buf_fini(&text);
    buf_fini(&pretty);
    arena_init(&arena, FUZZ_ARENA_BYTES);
    if (promql_parse_selector(str_n(data, n), &arena, &ast, NULL) == 0)
        promql_ast_fini(&ast);
    arena_fini(&arena);
    return 0;
}
