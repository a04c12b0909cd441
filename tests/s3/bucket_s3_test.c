/* The S3 bucket against a real server (moto), through a proxy that breaks things; signatures and a server without If-None-Match: s3rver. */
#include "common/base/rng.h"
#include "common/sys/clock.h"
#include "common/sys/fs.h"
#include "tests/s3/s3_server.h"
#include "tests/unit/tsdb/block_test_util.h"

#include <jansson.h>

static struct s3_server server, rver;

/* The program's own: started by the first case that needs it, ended with the process. */
static void stop_servers(void)
{
    if (server.pid)
        s3_server_stop(&server);
    if (rver.pid)
        s3_server_stop(&rver);
}

static void server_need(struct s3_server *s, const char *option)
{
    if (s->pid)
        return;
    if (!server.pid && !rver.pid)
        atexit(stop_servers);
    s3_server_start(s, option);
}

/* --- buckets with settings --- */

struct setup {
    struct bucket_cfg cfg;
    struct metrics *metrics;
    struct bucket *b;
};

static void set(struct setup *u, const char *name, const char *value)
{
    const struct option *o = option_find(bucket_options, str_of(name));
    struct err err = {0};

    CHECK(o && option_set(o, &u->cfg, str_of(value), &err) == 0);
}

static void setup_init(struct setup *u, const struct s3_server *s, const char *prefix)
{
    char text[128];

    *u = (struct setup){.metrics = metrics_new()};
    options_default(bucket_options, &u->cfg);
    snprintf(text, sizeof text, "s3://test-bucket/%s", prefix);
    set(u, "bucket.url", text);
    snprintf(text, sizeof text, "http://127.0.0.1:%d", s->proxy);
    set(u, "bucket.s3.endpoint", text);
    set(u, "bucket.s3.access-key-id", "S3RVER");
    set(u, "bucket.s3.secret-access-key", "S3RVER");
    set(u, "bucket.s3.part-size", "5MiB");
    set(u, "bucket.s3.hedge-delay", "0");
    set(u, "bucket.s3.request-timeout", "5s");
}

static void setup_open(struct setup *u)
{
    struct err err = {0};

    if (bucket_open_configured(&u->cfg, u->metrics, &u->b, &err) < 0)
        print_error("%s\n", err_text(&err));
    CHECK(u->b);
}

static void setup_fini(struct setup *u)
{
    bucket_free(u->b);
    metrics_free(u->metrics);
    options_free(bucket_options, &u->cfg);
    if (server.pid)
        s3_no_faults(&server);
}

static struct setup shared[32]; /* those of open_bucket: freed with the process */
static size_t shared_count;

static struct bucket *open_bucket(const char *sub)
{
    struct setup *u = &shared[shared_count++];

    CHECK(shared_count <= ARRAY_LEN(shared));
    server_need(&server, NULL);
    setup_init(u, &server, sub);
    setup_open(u);
    return u->b;
}

#include "tests/unit/tsdb/bucket_cases.h"

static double metric_of(const struct setup *u, const char *line)
{
    struct buf out;
    char start[256];
    const char *at;
    double v = 0;

    buf_init(&out, 1 << 20);
    metrics_write(u->metrics, false, &out);
    buf_u8(&out, 0);
    snprintf(start, sizeof start, "\n%s", line);
    at = strstr(out.p, start);
    if (at)
        v = strtod(at + strlen(start), NULL);
    buf_fini(&out);
    return v;
}

static int64_t now_ms(void)
{
    return clock_mono_ms(clock_system());
}

/* --- large files --- */

static void random_file(const char *path, size_t n)
{
    char *p = malloc(n);
    struct rng r;

    rng_init(&r, test_seed());
    for (size_t i = 0; i < n; i++)
        p[i] = (char)rng_u64(&r);
    CHECK(fs_write_atomic(path, str_n(p, n), NULL) == 0);
    free(p);
}

static void check_same(struct bucket *b, const char *name, const char *path)
{
    struct buf want, got;
    char tail[1000];

    buf_init(&want, 64 << 20);
    buf_init(&got, 64 << 20);
    CHECK(fs_read(path, &want, NULL) == 0);
    CHECK(b->ops->get(b, name, &got, NULL) == 0);
    CHECK(str_eq(buf_view(&want), buf_view(&got)));
    CHECK(b->ops->get_range(b, name, want.n - sizeof tail, sizeof tail, tail, NULL) == 0);
    CHECK(memcmp(tail, want.p + want.n - sizeof tail, sizeof tail) == 0);
    buf_fini(&want);
    buf_fini(&got);
}

static size_t uploads_left(void)
{
    char *xml = s3_server_ask(&server, "-H 'Authorization: AWS4-HMAC-SHA256 Credential=S3RVER/20240101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0'", "/test-bucket?uploads");
    size_t n = 0;

    for (const char *at = xml; (at = strstr(at, "<UploadId>")); at++)
        n++;
    free(xml);
    return n;
}

TEST(a_large_file_goes_up_in_parts_through_faults)
{
    char path[512];
    struct setup u;

    server_need(&server, NULL);
    setup_init(&u, &server, "large");
    setup_open(&u);
    snprintf(path, sizeof path, "%s/large", test_tmpdir());
    random_file(path, (12 << 20) + 5);
    CHECK(u.b->ops->put_file(u.b, "blocks/large", path, NULL) == 0);
    check_same(u.b, "blocks/large", path);
    CHECK(metric_of(&u, "torc_bucket_requests_total{operation=\"put_part\",result=\"200\"} ") == 3);
    s3_fault(&server, "{\"method\":\"PUT\",\"path\":\"partNumber=2\",\"kind\":\"status\",\"status\":503,\"code\":\"SlowDown\",\"times\":2}");
    s3_fault(&server, "{\"method\":\"PUT\",\"path\":\"partNumber=1\",\"kind\":\"etag\",\"times\":1}");
    s3_fault(&server, "{\"method\":\"PUT\",\"path\":\"partNumber=3\",\"kind\":\"lost\",\"times\":1}");
    s3_fault(&server, "{\"method\":\"POST\",\"path\":\"uploads\",\"kind\":\"reset\",\"times\":1}");
    s3_fault(&server, "{\"method\":\"POST\",\"path\":\"uploadId\",\"kind\":\"body\",\"text\":\"<Error><Code>InternalError</Code></Error>\",\"times\":1}");
    CHECK(u.b->ops->put_file(u.b, "blocks/faulty", path, NULL) == 0);
    check_same(u.b, "blocks/faulty", path);
    CHECK(uploads_left() == 0);
    setup_fini(&u);
}

TEST(an_upload_that_fails_is_aborted_and_names_what_to_look_at)
{
    char path[512];
    struct setup u;
    struct err err = {0};
    uint64_t size;

    server_need(&server, NULL);
    setup_init(&u, &server, "failing");
    set(&u, "bucket.s3.retries", "1");
    setup_open(&u);
    snprintf(path, sizeof path, "%s/large", test_tmpdir());
    random_file(path, 6 << 20);
    s3_fault(&server, "{\"method\":\"PUT\",\"path\":\"partNumber=2\",\"kind\":\"status\",\"status\":500,\"code\":\"InternalError\",\"times\":-1}");
    CHECK(u.b->ops->put_file(u.b, "blocks/x", path, &err) == RC_UNAVAILABLE);
    CHECK(strstr(err_text(&err), "after 2 attempts: s3: PUT test-bucket/failing/blocks/x: 500 InternalError (request fault-1): a fault of the test"));
    CHECK(uploads_left() == 0);
    CHECK(u.b->ops->size(u.b, "blocks/x", &size, NULL) == RC_NOT_FOUND);
    setup_fini(&u);
}

/* --- faults --- */

static const struct {
    const char *name, *json;
} faults[] = {
    {"500", "\"kind\":\"status\",\"status\":500,\"code\":\"InternalError\""},
    {"503", "\"kind\":\"status\",\"status\":503,\"code\":\"SlowDown\""},
    {"429", "\"kind\":\"status\",\"status\":429,\"code\":\"TooManyRequests\""},
    {"400 that is a timeout", "\"kind\":\"status\",\"status\":400,\"code\":\"RequestTimeout\""},
    {"409", "\"kind\":\"status\",\"status\":409,\"code\":\"OperationAborted\""},
    {"reset", "\"kind\":\"reset\""},
    {"lost answer", "\"kind\":\"lost\""},
    {"cut body", "\"kind\":\"truncate\""},
    {"slow", "\"kind\":\"delay\",\"seconds\":0.3"},
};

static void all_operations(struct setup *u, int round)
{
    char name[32], part[5], path[512];
    bucket_list l;
    uint64_t size = 0;
    struct err err = {0};
    int rc;

    snprintf(name, sizeof name, "o/%d", round);
    rc = u->b->ops->put(u->b, name, STR("0123456789"), &err);
    if (rc < 0)
        print_error("%s: %s\n", faults[round].name, err_text(&err));
    CHECK(rc == 0);
    check_get(u->b, name, "0123456789");
    CHECK(u->b->ops->get_range(u->b, name, 3, 5, part, NULL) == 0 && memcmp(part, "34567", 5) == 0);
    CHECK(u->b->ops->size(u->b, name, &size, NULL) == 0 && size == 10);
    CHECK(u->b->ops->list(u->b, "o/", &l, NULL) == 0 && l.n == 1);
    CHECK_STR(l.v[0].name, name);
    bucket_list_free(&l);
    snprintf(path, sizeof path, "%s/small", test_tmpdir());
    CHECK(fs_write_atomic(path, STR("small"), NULL) == 0);
    CHECK(u->b->ops->put_file(u->b, "f", path, NULL) == 0);
    CHECK(u->b->ops->remove(u->b, name, NULL) == 0);
    check_get(u->b, name, NULL);
    snprintf(name, sizeof name, "c/%d", round);
    rc = u->b->ops->create(u->b, name, STR("mine"), &err);
    if (rc < 0)
        print_error("%s: %s\n", faults[round].name, err_text(&err));
    CHECK(rc == 0);
    CHECK(u->b->ops->create(u->b, name, STR("not"), NULL) == RC_EXISTS);
    check_get(u->b, name, "mine");
}

TEST(every_operation_survives_every_passing_fault)
{
    struct setup u;

    server_need(&server, NULL);
    setup_init(&u, &server, "passing");
    setup_open(&u);
    for (size_t i = 0; i < ARRAY_LEN(faults); i++) {
        char json[256];

        /* Each request of two fails, by a row of random numbers. */
        snprintf(json, sizeof json, "{\"times\":-1,\"chance\":0.4,\"seed\":%zu,%s}", i + test_seed(), faults[i].json);
        s3_fault(&server, json);
        all_operations(&u, (int)i);
        s3_no_faults(&server);
    }
    CHECK(metric_of(&u, "torc_bucket_retries_total ") > 10);
    setup_fini(&u);
}

TEST(what_does_not_pass_is_an_error_and_outputs_stay)
{
    struct setup u;

    server_need(&server, NULL);
    setup_init(&u, &server, "lasting");
    set(&u, "bucket.s3.retries", "1");
    set(&u, "bucket.s3.request-timeout", "1s");
    setup_open(&u);
    CHECK(u.b->ops->put(u.b, "o", STR("0123456789"), NULL) == 0);
    for (size_t i = 0; i < 8; i++) {
        char json[256], part[5] = "....";
        struct buf out;
        bucket_list l = {.n = 77};
        struct err err = {0};
        int rc;

        snprintf(json, sizeof json, "{\"times\":-1,%s}", faults[i].json);
        s3_fault(&server, json);
        buf_init(&out, 100);
        buf_z(&out, "kept");
        rc = u.b->ops->get(u.b, "o", &out, &err);
        CHECK(rc == RC_UNAVAILABLE && str_eqz(buf_view(&out), "kept"));
        CHECK(strstr(err_text(&err), "test-bucket/lasting/o") && strstr(err_text(&err), "after 2 attempts"));
        CHECK(u.b->ops->get_range(u.b, "o", 0, 4, part, &err) == RC_UNAVAILABLE);
        CHECK(u.b->ops->list(u.b, "", &l, &err) == RC_UNAVAILABLE && l.n == 77);
        if (strcmp(faults[i].name, "cut body") != 0)
            CHECK(u.b->ops->put(u.b, "o", STR("x"), &err) == RC_UNAVAILABLE);
        buf_fini(&out);
        s3_no_faults(&server);
    }
    setup_fini(&u);
}

TEST(a_server_that_hangs_is_a_timeout_and_a_body_that_drips_is_too)
{
    struct setup u;
    struct err err = {0};
    struct buf out;
    char *large = calloc(1, 100 << 10);
    int64_t begun;

    server_need(&server, NULL);
    setup_init(&u, &server, "hanging");
    set(&u, "bucket.s3.retries", "0");
    set(&u, "bucket.s3.request-timeout", "1s");
    setup_open(&u);
    CHECK(u.b->ops->put(u.b, "o", str_n(large, 100 << 10), NULL) == 0);
    buf_init(&out, 100 << 10);
    begun = now_ms();
    s3_fault(&server, "{\"kind\":\"delay\",\"seconds\":6,\"times\":1}");
    CHECK(u.b->ops->put(u.b, "p", STR("1"), &err) == RC_TIMEOUT);
    CHECK(strstr(err_text(&err), "bucket.s3.request-timeout"));
    s3_fault(&server, "{\"kind\":\"drip\",\"seconds\":0.5,\"times\":1}");
    CHECK(u.b->ops->get(u.b, "o", &out, &err) == RC_TIMEOUT);
    CHECK(now_ms() - begun < 8000);
    buf_fini(&out);
    free(large);
    setup_fini(&u);
}

TEST(a_wrong_etag_is_a_failed_upload)
{
    struct setup u;
    struct err err = {0};

    server_need(&server, NULL);
    setup_init(&u, &server, "etag");
    set(&u, "bucket.s3.retries", "1");
    setup_open(&u);
    s3_fault(&server, "{\"method\":\"PUT\",\"kind\":\"etag\",\"times\":-1}");
    CHECK(u.b->ops->put(u.b, "o", STR("x"), &err) == RC_UNAVAILABLE);
    CHECK(strstr(err_text(&err), "bucket.s3.verify-etag"));
    setup_fini(&u);
}

TEST(lists_that_repeat_or_lag_give_each_name_once)
{
    struct setup u;
    bucket_list l;

    server_need(&server, NULL);
    setup_init(&u, &server, "lists");
    setup_open(&u);
    for (int i = 0; i < 1010; i++) {
        char name[16];

        snprintf(name, sizeof name, "n/%04d", i);
        CHECK(u.b->ops->put(u.b, name, STR(""), NULL) == 0);
    }
    for (int i = 0; i < 2; i++) {
        CHECK(u.b->ops->list(u.b, "n/", &l, NULL) == 0);
        CHECK(l.n == 1010);
        CHECK_STR(l.v[1009].name, "n/1009");
        bucket_list_free(&l);
        s3_fault(&server, "{\"method\":\"GET\",\"path\":\"list-type\",\"kind\":\"duplicate\",\"times\":-1}");
    }
    CHECK(metric_of(&u, "torc_bucket_requests_total{operation=\"list\",result=\"200\"} ") == 4);
    s3_no_faults(&server);
    s3_fault(&server, "{\"method\":\"GET\",\"path\":\"list-type\",\"kind\":\"body\",\"text\":\"<!DOCTYPE a [<!ENTITY b \\\"cc\\\">]><ListBucketResult>&b;</ListBucketResult>\",\"times\":-1}");
    CHECK(u.b->ops->list(u.b, "n/", &l, NULL) == RC_UNAVAILABLE);
    setup_fini(&u);
}

/* --- creating --- */

TEST(a_create_whose_answer_was_lost_is_known_for_ones_own)
{
    struct setup u;

    server_need(&server, NULL);
    setup_init(&u, &server, "lost");
    setup_open(&u);
    CHECK(bucket_check(u.b, true, NULL) == 0);
    s3_fault(&server, "{\"method\":\"PUT\",\"kind\":\"lost\",\"times\":2}");
    CHECK(u.b->ops->create(u.b, "i/1", STR("mine"), NULL) == 0);
    check_get(u.b, "i/1", "mine");
    s3_fault(&server, "{\"method\":\"PUT\",\"kind\":\"reset\",\"times\":1}");
    CHECK(u.b->ops->create(u.b, "i/1", STR("mine"), NULL) == RC_EXISTS); /* the same bytes, but somebody else's */
    setup_fini(&u);
}

TEST(a_server_that_lets_two_creators_in_is_refused)
{
    struct setup u;
    struct err err = {0};

    server_need(&rver, "--s3rver");
    setup_init(&u, &rver, "twice");
    setup_open(&u);
    if (bucket_check(u.b, false, &err) < 0)
        print_error("%s\n", err_text(&err));
    CHECK(bucket_check(u.b, true, &err) == RC_UNSUPPORTED);
    CHECK(strstr(err_text(&err), "If-None-Match") && strstr(err_text(&err), "bucket.s3.endpoint"));
    CHECK(u.b->ops->create(u.b, "i/1", STR("x"), &err) == RC_UNSUPPORTED);
    setup_fini(&u);
}

/* --- a server that checks signatures --- */

TEST(a_server_that_checks_signatures_takes_every_request)
{
    struct setup u;
    char path[512], part[2];
    bucket_list l = {0};
    struct err err = {0};

    server_need(&rver, "--s3rver");
    setup_init(&u, &rver, "signed");
    setup_open(&u);
    CHECK(u.b->ops->put(u.b, "a'b*(c)!/_-.", STR("xyz"), NULL) == 0);
    check_get(u.b, "a'b*(c)!/_-.", "xyz");
    CHECK(u.b->ops->get_range(u.b, "a'b*(c)!/_-.", 1, 2, part, NULL) == 0);
    /* What is signed is taken; which of these names s3rver lists is its own affair. */
    CHECK(u.b->ops->list(u.b, "a", &l, &err) == 0);
    bucket_list_free(&l);
    snprintf(path, sizeof path, "%s/signed", test_tmpdir());
    random_file(path, 6 << 20);
    CHECK(u.b->ops->put_file(u.b, "large", path, NULL) == 0);
    check_same(u.b, "large", path);
    CHECK(u.b->ops->remove(u.b, "large", NULL) == 0);
    setup_fini(&u);
}

TEST(wrong_keys_and_buckets_name_the_setting)
{
    static const struct {
        const char *option, *value, *word;
    } cases[] = {
        {"bucket.s3.secret-access-key", "wrong-secret-value", "bucket.s3.secret-access-key"},
        {"bucket.s3.access-key-id", "nobody", "bucket.s3.access-key-id"},
        {"bucket.url", "s3://another-bucket", "bucket.url"},
    };

    server_need(&rver, "--s3rver");
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct setup u;
        struct err err = {0};
        struct buf out;

        setup_init(&u, &rver, "wrong");
        set(&u, cases[i].option, cases[i].value);
        setup_open(&u);
        buf_init(&out, 100);
        CHECK(u.b->ops->get(u.b, "o", &out, &err) == RC_UNAVAILABLE);
        if (!strstr(err_text(&err), cases[i].word))
            print_error("%s\n", err_text(&err));
        CHECK(strstr(err_text(&err), cases[i].word));
        CHECK(!strstr(err_text(&err), "wrong-secret-value"));
        CHECK(bucket_check(u.b, true, &err) == RC_INVALID);
        buf_fini(&out);
        setup_fini(&u);
    }
}

/* --- pace, hedges --- */

struct getter {
    struct bucket *b;
};

static void *get_once(void *arg)
{
    struct getter *g = arg;
    char p[1];

    g->b->ops->get_range(g->b, "o", 0, 1, p, NULL);
    return NULL;
}

TEST(an_object_that_fails_is_asked_for_at_most_once_a_second)
{
    struct setup u;
    struct getter g;
    pthread_t t[4];
    json_t *log, *line;
    size_t i, n = 0;
    double first = 0, last = 0;
    char *text;

    server_need(&server, NULL);
    setup_init(&u, &server, "pace");
    set(&u, "bucket.s3.retries", "4");
    setup_open(&u);
    s3_fault(&server, "{\"method\":\"GET\",\"path\":\"pace/o\",\"kind\":\"status\",\"status\":503,\"code\":\"SlowDown\",\"times\":12}");
    g.b = u.b;
    for (i = 0; i < ARRAY_LEN(t); i++)
        CHECK(pthread_create(&t[i], NULL, get_once, &g) == 0);
    for (i = 0; i < ARRAY_LEN(t); i++)
        pthread_join(t[i], NULL);
    text = s3_server_ask(&server, "", "/__log");
    log = json_loads(text, 0, NULL);
    json_array_foreach(log, i, line)
    {
        double at = json_real_value(json_array_get(line, 0));

        if (json_integer_value(json_array_get(line, 3)) != 503)
            continue;
        first = n == 0 ? at : first;
        last = at;
        n++;
    }
    /* The first ones came together; each of the rest had a second of its own. */
    CHECK(n == 12);
    CHECK(last - first > 6.0);
    json_decref(log);
    free(text);
    setup_fini(&u);
}

TEST(retry_after_is_kept_to)
{
    struct setup u;
    int64_t begun;

    server_need(&server, NULL);
    setup_init(&u, &server, "after");
    setup_open(&u);
    s3_fault(&server, "{\"kind\":\"status\",\"status\":503,\"code\":\"SlowDown\",\"retry_after\":2,\"times\":1}");
    begun = now_ms();
    CHECK(u.b->ops->put(u.b, "o", STR("x"), NULL) == 0);
    CHECK(now_ms() - begun >= 1950);
    setup_fini(&u);
}

TEST(a_slow_read_is_hedged_and_the_quick_answer_counts)
{
    struct setup u;
    char part[4];
    int64_t begun;

    server_need(&server, NULL);
    setup_init(&u, &server, "hedge");
    set(&u, "bucket.s3.hedge-delay", "200ms");
    setup_open(&u);
    CHECK(u.b->ops->put(u.b, "o", STR("0123456789"), NULL) == 0);
    for (int i = 0; i < 3; i++) {
        s3_fault(&server, "{\"method\":\"GET\",\"kind\":\"delay\",\"seconds\":4,\"times\":1}");
        begun = now_ms();
        CHECK(u.b->ops->get_range(u.b, "o", 2, 4, part, NULL) == 0 && memcmp(part, "2345", 4) == 0);
        CHECK(now_ms() - begun >= 200 && now_ms() - begun < 3000);
    }
    CHECK(metric_of(&u, "torc_bucket_hedged_reads_total ") == 3);
    CHECK(metric_of(&u, "torc_bucket_hedged_reads_won_total ") == 3);
    setup_fini(&u);
}

/* --- keys --- */

static void write_text(const char *path, const char *text)
{
    CHECK(fs_write_atomic(path, str_of(text), NULL) == 0);
}

TEST(keys_come_from_each_source_in_order)
{
    char file[512], token[512], endpoint[64];
    struct setup u;
    struct err err = {0};

    server_need(&rver, "--s3rver");
    server_need(&server, NULL);
    snprintf(file, sizeof file, "%s/credentials", test_tmpdir());
    snprintf(token, sizeof token, "%s/token", test_tmpdir());
    setenv("HOME", test_tmpdir(), 1);
    unsetenv("AWS_ACCESS_KEY_ID");

    setup_init(&u, &rver, "keys"); /* nothing anywhere */
    set(&u, "bucket.s3.access-key-id", "");
    set(&u, "bucket.s3.secret-access-key", "");
    setup_open(&u);
    CHECK(u.b->ops->put(u.b, "o", STR("x"), &err) == RC_UNAVAILABLE && strstr(err_text(&err), "AWS_WEB_IDENTITY_TOKEN_FILE"));
    CHECK(bucket_check(u.b, true, &err) == RC_INVALID);
    setup_fini(&u);

    setup_init(&u, &rver, "keys"); /* the shared file */
    set(&u, "bucket.s3.access-key-id", "");
    set(&u, "bucket.s3.secret-access-key", "");
    set(&u, "bucket.s3.shared-credentials-file", file);
    set(&u, "bucket.s3.profile", "torc");
    write_text(file, "[default]\naws_access_key_id = nobody\naws_secret_access_key = x\n\n[torc]\n# ours\naws_access_key_id=S3RVER\naws_secret_access_key = S3RVER\n");
    setup_open(&u);
    CHECK(u.b->ops->put(u.b, "o", STR("x"), NULL) == 0);
    setup_fini(&u);

    setenv("AWS_ACCESS_KEY_ID", "S3RVER", 1); /* the environment, before a file that is wrong */
    setenv("AWS_SECRET_ACCESS_KEY", "S3RVER", 1);
    setup_init(&u, &rver, "keys");
    set(&u, "bucket.s3.access-key-id", "");
    set(&u, "bucket.s3.secret-access-key", "");
    set(&u, "bucket.s3.shared-credentials-file", "/nowhere");
    setup_open(&u);
    CHECK(u.b->ops->put(u.b, "o", STR("x"), NULL) == 0);
    setup_fini(&u);
    unsetenv("AWS_ACCESS_KEY_ID");
    unsetenv("AWS_SECRET_ACCESS_KEY");

    write_text(token, "a.web.identity\n"); /* a role, by STS */
    setup_init(&u, &server, "keys");
    set(&u, "bucket.s3.access-key-id", "");
    set(&u, "bucket.s3.secret-access-key", "");
    set(&u, "bucket.s3.role-arn", "arn:aws:iam::123456789012:role/torc");
    set(&u, "bucket.s3.web-identity-token-file", token);
    snprintf(endpoint, sizeof endpoint, "http://127.0.0.1:%d", server.port);
    set(&u, "bucket.s3.sts-endpoint", endpoint);
    setup_open(&u);
    CHECK(u.b->ops->put(u.b, "o", STR("x"), &err) == 0);
    setup_fini(&u);
}

TEST(encryption_is_asked_for)
{
    struct setup u;
    char *headers;

    server_need(&server, NULL);
    setup_init(&u, &server, "sse");
    set(&u, "bucket.s3.sse", "SSE-KMS");
    set(&u, "bucket.s3.sse-kms-key-id", "a-key");
    setup_open(&u);
    CHECK(u.b->ops->put(u.b, "o", STR("x"), NULL) == 0);
    headers = s3_server_ask(&server, "-I -H 'Authorization: AWS4-HMAC-SHA256 Credential=S3RVER/20240101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0'",
                            "/test-bucket/sse/o");
    CHECK(strstr(headers, "x-amz-server-side-encryption: aws:kms"));
    CHECK(strstr(headers, "a-key"));
    free(headers);
    setup_fini(&u);
}

TEST(settings_that_cannot_be_are_refused_by_name)
{
    static const struct {
        const char *option, *value, *word;
    } cases[] = {
        {"bucket.url", "s3://", "bucket.url"},
        {"bucket.url", "s3://Upper", "bucket.url"},
        {"bucket.url", "s3://ok-name/../x", "bucket.url"},
        {"bucket.s3.endpoint", "ftp://x", "bucket.s3.endpoint"},
        {"bucket.s3.endpoint", "http://", "bucket.s3.endpoint"},
        {"bucket.s3.endpoint", "http://h/path", "bucket.s3.endpoint"},
        {"bucket.s3.sse", "SSE-C", "bucket.s3.endpoint"},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct setup u;
        struct err err = {0};

        server_need(&server, NULL);
        setup_init(&u, &server, "x");
        set(&u, cases[i].option, cases[i].value);
        CHECK(bucket_open_configured(&u.cfg, NULL, &u.b, &err) == RC_INVALID && !u.b);
        CHECK(strstr(err_text(&err), cases[i].word));
        setup_fini(&u);
    }
}

/* --- blocks --- */

static int count_series(void *arg, UNUSED const struct stored_series *s)
{
    ++*(size_t *)arg;
    return 0;
}

static size_t select_all(struct block_reader *r, const struct matcher *matchers, size_t n)
{
    struct store_select q = {.tenant = STR("acme"), .matchers = matchers, .matcher_count = n, .mint_ms = INT64_MIN, .maxt_ms = INT64_MAX, .mode = STORE_DATA};
    struct arena a;
    struct err err = {0};
    size_t count = 0;

    arena_init(&a, 256 << 20);
    if (block_select(r, &q, count_series, &count, &a, &err) < 0)
        print_error("%s\n", err_text(&err));
    arena_fini(&a);
    return count;
}

static double ranges_of(const struct setup *u)
{
    return metric_of(u, "torc_bucket_requests_total{operation=\"get_range\",result=\"206\"} ");
}

TEST(a_block_is_opened_by_its_meta_and_read_by_few_ranges)
{
    enum { OPENED = 1000 };
    struct block_reader **r = calloc(OPENED, sizeof *r);
    struct block_meta meta;
    struct matcher one = {0};
    struct setup u;
    struct arena a;
    struct rng rng;
    model m = {0};
    double before, ranges;
    size_t found, all = 0;

    server_need(&server, NULL);
    setup_init(&u, &server, "blocks");
    setup_open(&u);
    arena_init(&a, 256 << 20);
    rng_init(&rng, test_seed());
    model_fill(&m, &a, &rng, 12000, 1700000000000, 8);
    CHECK(model_ship(&m, NULL, u.b, &meta, NULL) == 0);
    for (size_t i = 0; i < m.n; i++)
        all += strcmp(m.v[i].tenant, "acme") == 0;

    before = metric_of(&u, "torc_bucket_received_bytes_total ");
    for (int i = 0; i < OPENED; i++)
        CHECK(block_open(u.b, &meta.id, &r[i], NULL) == 0);
    CHECK(metric_of(&u, "torc_bucket_requests_total{operation=\"get\",result=\"200\"} ") == OPENED);
    CHECK(ranges_of(&u) == 0);
    CHECK(metric_of(&u, "torc_bucket_received_bytes_total ") - before < OPENED * 2000);

    before = metric_of(&u, "torc_bucket_received_bytes_total ");
    CHECK(matcher_init(&one, MATCH_EQ, STR("serial"), STR("77"), NULL) == 0);
    found = select_all(r[0], &one, 1);
    ranges = ranges_of(&u);
    print_message("one of %zu series, block of %.1f MiB: %zu found, %.0f ranges, %.0f KiB\n", m.n, (double)meta.bytes / 1048576, found, ranges,
                  (metric_of(&u, "torc_bucket_received_bytes_total ") - before) / 1024);
    CHECK(metric_of(&u, "torc_bucket_received_bytes_total ") - before < (double)meta.bytes / 2);

    before = metric_of(&u, "torc_bucket_received_bytes_total ");
    CHECK(select_all(r[0], NULL, 0) == all);
    print_message("%zu series: %.0f ranges, %.0f KiB\n", all, ranges_of(&u) - ranges, (metric_of(&u, "torc_bucket_received_bytes_total ") - before) / 1024);
    ranges = ranges_of(&u);
    CHECK(select_all(r[0], NULL, 0) == all);
    print_message("again: %.0f ranges\n", ranges_of(&u) - ranges);
    for (int i = 0; i < OPENED; i++)
        block_unref(r[i]);
    matcher_fini(&one);
    block_meta_fini(&meta);
    vec_fini(&m);
    arena_fini(&a);
    free(r);
    setup_fini(&u);
}
