#include "common/base/fault.h"
#include "common/sys/fs.h"
#include "tests/test.h"
#include "tsdb/bucket.h"

#include <limits.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

static struct bucket *open_bucket(const char *sub)
{
    char dir[256];
    struct bucket *b = NULL;

    snprintf(dir, sizeof dir, "%s/%s", test_tmpdir(), sub);
    CHECK(bucket_open(dir, &b, NULL) == 0);
    return b;
}

#include "tests/unit/tsdb/bucket_cases.h"

TEST(list_is_recursive_sorted_by_prefix_and_without_temporary_files)
{
    struct bucket *b = open_bucket("list");
    char path[PATH_MAX];
    bucket_list l;

    CHECK(b->ops->put(b, "a/c/2", STR("22"), NULL) == 0);
    CHECK(b->ops->put(b, "a/b", STR("1"), NULL) == 0);
    CHECK(b->ops->put(b, "a/c/10", STR(""), NULL) == 0);
    CHECK(b->ops->put(b, "ab", STR("3"), NULL) == 0);
    snprintf(path, sizeof path, "%s/list/a/x.tmp-0123456789abcdef", test_tmpdir());
    CHECK(fs_write_atomic(path, STR("left over"), NULL) == 0);
    CHECK(b->ops->list(b, "a/", &l, NULL) == 0);
    CHECK(l.n == 3);
    CHECK_STR(l.v[0].name, "a/b");
    CHECK_STR(l.v[1].name, "a/c/10");
    CHECK_STR(l.v[2].name, "a/c/2");
    CHECK(l.v[2].size == 2);
    bucket_list_free(&l);
    CHECK(b->ops->list(b, "a/c/1", &l, NULL) == 0);
    CHECK(l.n == 1);
    bucket_list_free(&l);
    CHECK(b->ops->list(b, "a", &l, NULL) == 0);
    CHECK(l.n == 4);
    bucket_list_free(&l);
    CHECK(b->ops->list(b, "nothing/here", &l, NULL) == 0);
    CHECK(l.n == 0);
    bucket_list_free(&l);
    bucket_free(b);
}

TEST(remove_takes_empty_directories_along_and_absent_is_success)
{
    struct bucket *b = open_bucket("remove");
    char path[PATH_MAX];

    CHECK(b->ops->put(b, "d/e/f", STR("x"), NULL) == 0);
    CHECK(b->ops->remove(b, "d/e/f", NULL) == 0);
    CHECK(b->ops->remove(b, "d/e/f", NULL) == 0);
    snprintf(path, sizeof path, "%s/remove/d", test_tmpdir());
    CHECK(!fs_exists(path));
    snprintf(path, sizeof path, "%s/remove", test_tmpdir());
    CHECK(fs_exists(path));
    bucket_free(b);
}

/* Whatever IO operation of a put fails: the object is the old one or the new one, whole. */
TEST(a_failed_put_leaves_the_old_or_the_new_object)
{
    struct bucket *b = open_bucket("fault");
    char local[PATH_MAX];
    bool fired = true;

    snprintf(local, sizeof local, "%s/local", test_tmpdir());
    CHECK(fs_write_atomic(local, STR("file"), NULL) == 0);
    for (int n = 1; fired; n++) {
        char *got;
        int rc;

        CHECK(b->ops->put(b, "d/o", STR("old"), NULL) == 0);
        fault_at(FAULT_IO, n);
        rc = n % 2 ? b->ops->put(b, "d/o", STR("file"), NULL) : b->ops->put_file(b, "d/o", local, NULL);
        fired = fault_fired();
        fault_at(0, 0);
        CHECK((rc < 0) == fired);
        got = get(b, "d/o");
        CHECK(got && (strcmp(got, "file") == 0 || (rc < 0 && strcmp(got, "old") == 0)));
        free(got);
    }
    bucket_free(b);
}

TEST(other_schemes_are_refused_in_words)
{
    struct bucket *b = NULL;
    struct err err;

    CHECK(bucket_open("gs://b/p", &b, &err) == RC_UNSUPPORTED);
    CHECK(strstr(err_text(&err), "gs://b/p"));
    CHECK(bucket_open("filesystem://", &b, &err) == RC_INVALID);
    CHECK(b == NULL);
}
