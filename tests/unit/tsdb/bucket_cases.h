/* bucket_cases.h - what holds for every implementation of the bucket interface. The file that includes it first defines
 *   static struct bucket *open_bucket(const char *sub);    an empty bucket, or the one of this name */
#pragma once
#include "common/sys/fs.h"
#include "tests/test.h"
#include "tsdb/bucket.h"

#include <pthread.h>

static char *get(struct bucket *b, const char *name)
{
    struct buf out;

    buf_init(&out, 1 << 20);
    if (b->ops->get(b, name, &out, NULL) < 0) {
        buf_fini(&out);
        return NULL;
    }
    buf_u8(&out, 0);
    return buf_take(&out, &(size_t){0});
}

static void check_get(struct bucket *b, const char *name, const char *want)
{
    char *got = get(b, name);

    if (want)
        CHECK_STR(got, want);
    else
        CHECK(got == NULL);
    free(got);
}

TEST(names_outside_the_alphabet_or_leaving_the_bucket_are_refused)
{
    static const char *const bad[] = {
        "",      "/",       "/a",      "a/",        "a//b", "a/../b", ".",      "..",   "a/.",
        "a b",   "a\nb",    "a\\b",    "a:b",       "a~b",  "\xc3\xa4", "x.tmp-0123456789abcdef",
        "1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17",
    };
    static const char *const good[] = {"a", "index/l0/1.json", "A!._*'()-z", "...", "x.tmp-0123456789abcdeg"};
    char long_name[BUCKET_NAME_BYTES_MAX + 2];
    struct bucket *b = open_bucket("names");
    struct err err;

    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        CHECK(b->ops->put(b, bad[i], STR("x"), &err) == RC_INVALID);
        CHECK(b->ops->get_range(b, bad[i], 0, 0, NULL, &err) == RC_INVALID);
        CHECK(b->ops->remove(b, bad[i], &err) == RC_INVALID);
    }
    memset(long_name, 'a', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = '\0';
    CHECK(b->ops->put(b, long_name, STR("x"), &err) == RC_INVALID);
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        CHECK(b->ops->put(b, good[i], str_of(good[i]), &err) == 0);
        check_get(b, good[i], good[i]);
    }
    bucket_free(b);
}

TEST(create_lets_only_the_first_one_in)
{
    struct bucket *b = open_bucket("create");

    CHECK(b->ops->create(b, "i/1", STR("first"), NULL) == 0);
    CHECK(b->ops->create(b, "i/1", STR("second"), NULL) == RC_EXISTS);
    check_get(b, "i/1", "first");
    CHECK(b->ops->put(b, "i/1", STR("third"), NULL) == 0);
    check_get(b, "i/1", "third");
    bucket_free(b);
}

TEST(ranges_sizes_and_limits)
{
    struct bucket *b = open_bucket("ranges");
    struct buf out;
    uint64_t size = 7;
    char part[4];

    CHECK(b->ops->put(b, "o", STR("0123456789"), NULL) == 0);
    CHECK(b->ops->size(b, "o", &size, NULL) == 0 && size == 10);
    CHECK(b->ops->get_range(b, "o", 6, 4, part, NULL) == 0 && memcmp(part, "6789", 4) == 0);
    CHECK(b->ops->get_range(b, "o", 7, 4, part, NULL) == RC_CORRUPT);
    CHECK(b->ops->get_range(b, "p", 0, 4, part, NULL) == RC_NOT_FOUND);
    CHECK(b->ops->size(b, "p", &size, NULL) == RC_NOT_FOUND && size == 10);
    buf_init(&out, 9);
    CHECK(b->ops->get(b, "o", &out, NULL) == RC_LIMIT);
    buf_fini(&out);
    bucket_free(b);
}

TEST(list_is_recursive_by_prefix_and_sorted)
{
    struct bucket *b = open_bucket("listed");
    bucket_list l;

    CHECK(b->ops->put(b, "a/c/2", STR("22"), NULL) == 0);
    CHECK(b->ops->put(b, "a/b", STR("1"), NULL) == 0);
    CHECK(b->ops->put(b, "a/c/10", STR(""), NULL) == 0);
    CHECK(b->ops->put(b, "a/c/(1)'*!", STR("x"), NULL) == 0);
    CHECK(b->ops->put(b, "ab", STR("3"), NULL) == 0);
    CHECK(b->ops->list(b, "a/c/", &l, NULL) == 0);
    CHECK(l.n == 3);
    CHECK_STR(l.v[0].name, "a/c/(1)'*!");
    CHECK_STR(l.v[1].name, "a/c/10");
    CHECK_STR(l.v[2].name, "a/c/2");
    CHECK(l.v[1].size == 0 && l.v[2].size == 2);
    bucket_list_free(&l);
    CHECK(b->ops->list(b, "a/c/1", &l, NULL) == 0);
    CHECK(l.n == 1);
    bucket_list_free(&l);
    CHECK(b->ops->list(b, "", &l, NULL) == 0);
    CHECK(l.n == 5);
    bucket_list_free(&l);
    CHECK(b->ops->list(b, "nothing/here", &l, NULL) == 0);
    CHECK(l.n == 0);
    bucket_list_free(&l);
    bucket_free(b);
}

TEST(removing_what_is_absent_is_success)
{
    struct bucket *b = open_bucket("removed");

    CHECK(b->ops->put(b, "d/e/f", STR("x"), NULL) == 0);
    CHECK(b->ops->remove(b, "d/e/f", NULL) == 0);
    check_get(b, "d/e/f", NULL);
    CHECK(b->ops->remove(b, "d/e/f", NULL) == 0);
    bucket_free(b);
}

TEST(a_file_goes_up_whole_and_a_missing_one_does_not)
{
    struct bucket *b = open_bucket("files");
    char local[512];
    uint64_t size = 7;

    snprintf(local, sizeof local, "%s/to-put", test_tmpdir());
    CHECK(fs_write_atomic(local, STR("of a file"), NULL) == 0);
    CHECK(b->ops->put_file(b, "f/1", local, NULL) == 0);
    check_get(b, "f/1", "of a file");
    CHECK(fs_remove(local, NULL) == 0);
    CHECK(b->ops->put_file(b, "f/2", local, NULL) == RC_NOT_FOUND);
    CHECK(b->ops->size(b, "f/2", &size, NULL) == RC_NOT_FOUND && size == 7);
    bucket_free(b);
}

struct creator {
    struct bucket *b;
    char bytes[16];
    int rc;
};

static void *create_one(void *arg)
{
    struct creator *c = arg;

    c->rc = c->b->ops->create(c->b, "c/1", str_of(c->bytes), NULL);
    return NULL;
}

TEST(of_many_that_create_at_once_one_wins)
{
    struct bucket *b = open_bucket("creators");
    struct creator creators[8];
    pthread_t t[8];
    const char *won = NULL;

    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        creators[i].b = b;
        snprintf(creators[i].bytes, sizeof creators[i].bytes, "creator %zu", i);
        CHECK(pthread_create(&t[i], NULL, create_one, &creators[i]) == 0);
    }
    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        pthread_join(t[i], NULL);
        CHECK(creators[i].rc == (creators[i].rc == 0 && !won ? 0 : RC_EXISTS));
        won = creators[i].rc == 0 ? creators[i].bytes : won;
    }
    check_get(b, "c/1", won);
    bucket_free(b);
}

struct racer {
    struct bucket *b;
    char name[16];
};

static void *put_and_remove(void *arg)
{
    struct racer *r = arg;
    struct bucket *b = r->b;

    for (int i = 0; i < 300; i++) {
        struct err err = {0};

        if (b->ops->put(b, r->name, STR("v"), &err) < 0 || b->ops->remove(b, r->name, &err) < 0)
            return (void *)1;
    }
    return NULL;
}

TEST(puts_and_removals_side_by_side_succeed)
{
    struct bucket *b = open_bucket("race");
    struct racer racers[3];
    pthread_t t[3];

    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        racers[i].b = b;
        snprintf(racers[i].name, sizeof racers[i].name, "x/y/%zu", i);
        CHECK(pthread_create(&t[i], NULL, put_and_remove, &racers[i]) == 0);
    }
    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        void *failed;

        pthread_join(t[i], &failed);
        CHECK(!failed);
    }
    bucket_free(b);
}
