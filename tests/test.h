/* test.h - the few words our C tests use, on top of cmocka.
 * TEST(claim) { ... } registers itself; one executable per *_test.c; CHECK stops the test it stands in.
 * TEST_SOURCE_DIR is the root of the tree, for reading tests/data. */
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void test_register(const char *name, void (*fn)(void **state));

#define TEST(name)                                                                                 \
    static void name(void **state);                                                                \
    __attribute__((constructor)) static void register_##name(void)                                 \
    {                                                                                              \
        test_register(#name, name);                                                                \
    }                                                                                              \
    static void name(__attribute__((unused)) void **state)

#define CHECK(cond) assert_true(cond)
#define CHECK_INT(got, want) assert_int_equal((got), (want))
/* NUL-terminated strings. */
#define CHECK_STR(got, want) assert_string_equal((got), (want))

/* A directory of this test's own, removed at exit; in memory where that is possible. */
const char *test_tmpdir(void);
/* TEST_SEED from the environment, else 1; printed when a test fails. */
uint64_t test_seed(void);
