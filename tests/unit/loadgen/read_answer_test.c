/* The answer to a remote read, made by hand: what is in it comes out, bit for bit; every truncation is refused or is a shorter answer. */
#include "common/base/bytes.h"
#include "common/sys/fs.h"
#include "loadgen/read_answer.h"
#include "loadgen/request_log.h"
#include "loadgen/verify_request.h"
#include "tests/test.h"

#include <snappy-c.h>

static void field(struct buf *out, unsigned number, const struct buf *b)
{
    buf_uvarint(out, number << 3 | 2);
    buf_lstr(out, buf_view(b));
}

static void put_label(struct buf *series, const char *name, const char *value)
{
    struct buf b;

    buf_init(&b, 1 << 10);
    buf_uvarint(&b, 1 << 3 | 2);
    buf_lstr(&b, str_of(name));
    buf_uvarint(&b, 2 << 3 | 2);
    buf_lstr(&b, str_of(value));
    field(series, 1, &b);
    buf_fini(&b);
}

static void put_sample(struct buf *series, int64_t t_ms, uint64_t bits)
{
    struct buf b;

    buf_init(&b, 1 << 10);
    buf_uvarint(&b, 1 << 3 | 1);
    buf_u64(&b, bits);
    buf_uvarint(&b, 2 << 3);
    buf_uvarint(&b, (uint64_t)t_ms);
    field(series, 2, &b);
    buf_fini(&b);
}

static void put_histogram(struct buf *series, int64_t t_ms)
{
    struct buf b;

    buf_init(&b, 1 << 10);
    buf_uvarint(&b, 1 << 3); /* count: passed over */
    buf_uvarint(&b, 7);
    buf_uvarint(&b, 15 << 3);
    buf_uvarint(&b, (uint64_t)t_ms);
    field(series, 4, &b);
    buf_fini(&b);
}

static void make(struct buf *out)
{
    struct buf series, result;

    buf_init(&series, 1 << 16);
    buf_init(&result, 1 << 16);
    put_label(&series, "__name__", "a");
    put_label(&series, "instance", "");
    put_sample(&series, 1000, 0x7ff8000000000123);
    put_sample(&series, -5, 0x7ff0000000000002);
    field(&result, 1, &series);
    buf_clear(&series);
    put_label(&series, "__name__", "h");
    put_histogram(&series, 77);
    field(&result, 1, &series);
    field(out, 1, &result);
    buf_fini(&series);
    buf_fini(&result);
}

struct seen {
    size_t series, samples, histograms;
    uint64_t bits;
    int64_t t_ms;
};

static int see(void *arg, struct read_series *s, UNUSED struct err *err)
{
    struct seen *seen = arg;

    if (seen->series++ == 0 && s->samples.n == 2) {
        seen->bits = s->samples.v[0].bits;
        seen->t_ms = s->samples.v[1].t_ms;
    }
    seen->samples += s->samples.n;
    seen->histograms += s->histogram_times.n;
    return 0;
}

TEST(series_samples_and_histograms_come_out)
{
    struct seen seen = {0};
    struct buf b;
    struct err err;

    buf_init(&b, 1 << 16);
    make(&b);
    CHECK_INT(read_answer_decode(buf_view(&b), see, &seen, &err), 0);
    CHECK_INT(seen.series, 2);
    CHECK_INT(seen.samples, 2);
    CHECK_INT(seen.histograms, 1);
    CHECK(seen.bits == 0x7ff8000000000123 && seen.t_ms == -5);
    buf_fini(&b);
}

TEST(a_cut_answer_is_refused)
{
    struct buf b;
    struct err err;

    buf_init(&b, 1 << 16);
    make(&b);
    for (size_t n = 1; n < b.n; n++) {
        struct seen seen = {0};

        CHECK_INT(read_answer_decode(str_n(b.p, n), see, &seen, &err), RC_CORRUPT);
    }
    buf_fini(&b);
}

TEST(what_is_not_snappy_is_refused)
{
    struct buf in, out;
    struct err err;
    size_t n = 100;

    buf_init(&in, 1 << 10);
    buf_init(&out, READ_ANSWER_BYTES_MAX);
    CHECK_INT(read_answer_inflate(STR("\xff\xff\xff\xff\xff\xff"), &out, &err), RC_CORRUPT);
    CHECK_INT(read_answer_inflate(STR("\xff\xff\xff\xff\x0f"), &out, &err), RC_LIMIT);
    buf_reserve(&in, n);
    CHECK(snappy_compress("hello", 5, in.p, &n) == SNAPPY_OK);
    in.n = n;
    CHECK_INT(read_answer_inflate(buf_view(&in), &out, &err), 0);
    CHECK(str_eqz(buf_view(&out), "hello"));
    buf_fini(&in);
    buf_fini(&out);
}

TEST(a_range_question_asks_for_whole_steps_and_a_read_for_both_ends)
{
    struct http_peer peer = {.host = "h", .path = STR("/p")};
    struct verify_question q = {VERIFY_RANGE, 1000, 3500, 1000, false, STR("x:1"), ""};
    struct buf head, body, plain;
    struct err err;

    buf_init(&head, 1 << 16);
    buf_init(&body, 1 << 20);
    buf_init(&plain, READ_ANSWER_BYTES_MAX);
    verify_request_make(&q, &peer, &head, &body);
    CHECK(memmem(head.p, head.n, "POST /p/api/v1/query_range HTTP/1.1", 35) && !memmem(head.p, head.n, "OrgID", 5));
    CHECK(memmem(body.p, body.n, "start=2.000&end=4.000&step=1.000&query=last_over_time", 53));
    q.path = VERIFY_REMOTE_READ;
    q.tenant = "acme";
    verify_request_make(&q, &peer, &head, &body);
    CHECK(memmem(head.p, head.n, "POST /p/api/v1/read HTTP/1.1", 28) && memmem(head.p, head.n, "X-Scope-OrgID: acme\r\n", 21));
    CHECK_INT(read_answer_inflate(buf_view(&body), &plain, &err), 0);
    /* query { start 1001, end 3500, matcher { EQ, instance, x:1 } }, SAMPLES */
    CHECK(plain.n == 29 && memcmp(plain.p, "\x0a\x19\x08\xe9\x07\x10\xac\x1b\x1a\x11\x08\x00\x12\x08instance\x1a\x03x:1\x10\x00", 29) == 0);
    buf_fini(&head);
    buf_fini(&body);
    buf_fini(&plain);
}

TEST(the_request_log_has_a_line_for_each_attempt)
{
    struct request_log *l;
    struct buf text;
    struct err err;
    char path[300];

    snprintf(path, sizeof path, "%s/requests", test_tmpdir());
    CHECK_INT(request_log_new("/nowhere/at/all", &l, &err), RC_IO);
    CHECK_INT(request_log_new(path, &l, &err), 0);
    request_log_add(l, &(struct request_line){1500000000, 1750000000, REQUEST_OK, 204, 1, 2, 250, 1234});
    request_log_add(l, &(struct request_line){2000000000, 2000001000, REQUEST_UNKNOWN, 0, 0, 1, 250, -1});
    request_log_free(l);
    request_log_add(NULL, &(struct request_line){0});
    buf_init(&text, 1 << 16);
    CHECK_INT(fs_read(path, &text, &err), 0);
    buf_char(&text, '\0');
    CHECK(strstr(text.p, "1.500000\t1.750000\tok\t204\t1\t2\t250\t1234\n2.000000\t2.000001\tunknown\t0\t0\t1\t250\t-1\n"));
    buf_fini(&text);
}
