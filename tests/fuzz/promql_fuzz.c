/* parse, print, parse again: the same print. Pretty text and JSON only must not crash; pretty text must mean the same query. */
#include "promql/ast.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { FUZZ_ARENA_BYTES = 64 << 20, FUZZ_TEXT_BYTES = 16 << 20 };

/* Text of a query, printed; false when it does not parse or its text is too long to be a query again. */
static bool printed(struct str query, struct buf *ret, bool pretty)
{
    struct promql_ast ast;
    struct arena arena;
    struct buf json;
    bool ok = false;

    arena_init(&arena, FUZZ_ARENA_BYTES);
    if (promql_parse(query, NULL, &arena, &ast, NULL) == 0) {
        buf_init(&json, FUZZ_TEXT_BYTES);
        promql_print_json(&json, ast.root);
        buf_fini(&json);
        (pretty ? promql_pretty : promql_print)(ret, ast.root);
        promql_resolve(&ast, 0, 3600000, 15000, NULL);
        promql_ast_fini(&ast);
        ok = buf_ok(ret) && ret->n <= PROMQL_TEXT_BYTES_MAX;
    }
    arena_fini(&arena);
    return ok;
}

/* Ways in which the text of Prometheus cannot be read back: numbers that get longer than any literal may be, nesting that
 * names and signs add. */
static void same_again(const struct buf *text, bool pretty)
{
    struct buf again;

    buf_init(&again, FUZZ_TEXT_BYTES);
    if (!printed(buf_view(text), &again, pretty) || !str_eq(buf_view(text), buf_view(&again)))
        abort();
    buf_fini(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct promql_ast ast;
    struct arena arena;
    struct buf text;

    buf_init(&text, FUZZ_TEXT_BYTES);
    if (printed(str_n(data, n), &text, false))
        same_again(&text, false);
    buf_clear(&text);
    printed(str_n(data, n), &text, true);
    buf_fini(&text);
    arena_init(&arena, FUZZ_ARENA_BYTES);
    if (promql_parse_selector(str_n(data, n), &arena, &ast, NULL) == 0)
        promql_ast_fini(&ast);
    arena_fini(&arena);
    return 0;
}
