#include "tests/test.h"

#include <ftw.h>
#include <unistd.h>

enum { TESTS_MAX = 512 };
static struct CMUnitTest registered[TESTS_MAX];
static size_t registered_count;
static char tmpdir[64];

void test_register(const char *name, void (*fn)(void **state))
{
    if (registered_count == TESTS_MAX)
        abort();
    registered[registered_count++] = (struct CMUnitTest){name, fn, NULL, NULL, NULL};
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static void remove_tmpdir(void)
{
    nftw(tmpdir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

const char *test_tmpdir(void)
{
    if (!tmpdir[0]) {
        /* In memory where there is such a place: thousands of syncs of a busy disk are not what the tests are about. */
        snprintf(tmpdir, sizeof tmpdir, "/dev/shm/torc-test-XXXXXX");
        if (!mkdtemp(tmpdir)) {
            snprintf(tmpdir, sizeof tmpdir, "/tmp/torc-test-XXXXXX");
            if (!mkdtemp(tmpdir))
                abort();
        }
        atexit(remove_tmpdir);
    }
    return tmpdir;
}

uint64_t test_seed(void)
{
    const char *s = getenv("TEST_SEED");

    return s ? strtoull(s, NULL, 10) : 1;
}

#ifdef __SANITIZE_THREAD__
/* RocksDB is not instrumented: TSan does not see how it hands zstd contexts from thread to thread. */
const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
    return "race:libzstd.so\n";
}
#endif

int main(int argc, char **argv)
{
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return _cmocka_run_group_tests(argv[0], registered, registered_count, NULL, NULL);
}
