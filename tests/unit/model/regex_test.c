/* Label matchers take and refuse the regular expressions that Prometheus takes and refuses, and match what they match there. */
#include "common/model/matcher.h"
#include "tests/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* Those of tests/data/regex/verdicts.go, in its order. */
static const char *const texts[] = {"",      "a",  "b",   "ab",  "abc", "aa", "aaa",    "A",      "AB", "é", "É", "a\nb", "\n",
                                    "a.b",   "a-b", "5",  "_",   "日本", "foobar", "x2", " ",  "[",  "}", "{2}", "Ω"};

static double cpu_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* What we say of the pattern, in the form of the file. */
static void verdict(struct str pattern, char *out)
{
    struct matcher m;
    struct err err;

    if (matcher_init(&m, MATCH_RE, STR("x"), pattern, &err) < 0) {
        CHECK(strstr(err_text(&err), "error parsing regexp: "));
        snprintf(out, ARRAY_LEN(texts) + 1, "refused");
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        out[i] = matcher_matches(&m, str_of(texts[i])) ? '1' : '0';
    out[ARRAY_LEN(texts)] = '\0';
    matcher_fini(&m);
}

TEST(verdicts_and_matches_are_those_of_go)
{
    char path[512], got[64], *line = NULL;
    size_t cap = 0, n = 0, wrong = 0;
    double worst = 0;
    ssize_t len;
    FILE *f;

    snprintf(path, sizeof path, "%s/tests/data/regex/go.txt", TEST_SOURCE_DIR);
    f = fopen(path, "r");
    CHECK(f);
    while ((len = getline(&line, &cap, f)) > 0) {
        struct str all = str_n(line, (size_t)len - 1);
        size_t blank = str_find(all, ' ');
        struct str want = str_sub(all, 0, blank), pattern = str_skip(all, blank + 1);
        double start = cpu_ms();

        verdict(pattern, got);
        worst = MAX(worst, cpu_ms() - start);
        if (!str_eqz(want, got)) {
            print_message("%.*s\n  Go: %.*s\n  we: %s\n", STR_FMT(str_sub(pattern, 0, MIN(pattern.n, (size_t)100))), STR_FMT(want), got);
            wrong++;
        }
        n++;
    }
    fclose(f);
    free(line);
    print_message("%zu patterns, the slowest took %.1f ms\n", n, worst);
    CHECK(n >= 900);
    CHECK_INT(wrong, 0);
    CHECK(worst < 1000); /* the claim is 50 ms, without a sanitizer */
}
