/* Every query of the conformance scripts parses, and its canonical text prints itself. The scripts are not part of the tree:
 * TORC_CONFORMANCE_DIR, else ../shared/conformance/promql; without them the test is skipped. */
#include "tests/unit/promql/promql_test.h"

#include <dirent.h>

enum { LINE_BYTES_MAX = 65536 };

static bool word_take(struct str *s, const char *word)
{
    struct str rest = str_trim(*s);
    size_t n = strlen(word);

    if (rest.n <= n || memcmp(rest.p, word, n) != 0 || (rest.p[n] != ' ' && rest.p[n] != '\t'))
        return false;
    *s = str_trim(str_skip(rest, n));
    return true;
}

static void word_skip(struct str *s)
{
    size_t n = 0;

    while (n < s->n && s->p[n] != ' ' && s->p[n] != '\t')
        n++;
    *s = str_trim(str_skip(*s, n));
}

/* The query of an eval line, or n == 0. */
static struct str eval_query(struct str line)
{
    static const char *const steps[] = {"from", "to", "step"};

    line = str_trim(line);
    if (!str_has_prefix(line, STR("eval")))
        return (struct str){0};
    word_skip(&line);
    if (word_take(&line, "instant")) {
        if (word_take(&line, "at"))
            word_skip(&line);
        return line;
    }
    if (!word_take(&line, "range"))
        return (struct str){0};
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        CHECK(word_take(&line, steps[i]));
        word_skip(&line);
    }
    return line;
}

static void check_query(struct str query, const char *path, size_t line)
{
    struct parsed first, again;
    char *text, *text2;

    parse_n(&first, query);
    if (first.rc != 0)
        fail_msg("%s:%zu: %.*s: %s", path, line, STR_FMT(query), err_text(&first.err));
    text = text_of(first.ast.root, promql_print);
    parse_n(&again, str_of(text));
    if (again.rc != 0)
        fail_msg("%s:%zu: printed as %s: %s", path, line, text, err_text(&again.err));
    text2 = text_of(again.ast.root, promql_print);
    CHECK_STR(text2, text);
    free(text_of(first.ast.root, promql_pretty));
    free(text_of(first.ast.root, promql_print_json));
    free(text);
    free(text2);
    parsed_fini(&again);
    parsed_fini(&first);
}

static size_t check_script(const char *path)
{
    FILE *f = fopen(path, "r");
    char *line = malloc(LINE_BYTES_MAX);
    size_t queries = 0;

    CHECK(f && line);
    for (size_t n = 1; fgets(line, LINE_BYTES_MAX, f); n++) {
        struct str query = eval_query(str_of(line));

        if (query.n == 0)
            continue;
        check_query(query, path, n);
        queries++;
    }
    free(line);
    fclose(f);
    return queries;
}

TEST(every_query_of_the_conformance_scripts_parses)
{
    const char *dir = getenv("TORC_CONFORMANCE_DIR");
    size_t queries = 0;
    struct dirent *e;
    char path[4096];
    DIR *d = opendir(dir ? dir : TEST_SOURCE_DIR "/../shared/conformance/promql");

    if (!d)
        skip();
    while ((e = readdir(d))) {
        if (!str_has_suffix(str_of(e->d_name), STR(".test")))
            continue;
        snprintf(path, sizeof path, "%s/%s", dir ? dir : TEST_SOURCE_DIR "/../shared/conformance/promql", e->d_name);
        queries += check_script(path);
    }
    closedir(d);
    print_message("%zu queries\n", queries);
    CHECK(queries > 0);
}
