#include "tests/unit/tsdb/head_util.h"

/* Four series of one metric and one of another; b is missing in two of them. */
static struct head *sample_head(void)
{
    static const char *const series[] = {"__name__=m,a=1,b=x", "__name__=m,a=2,b=xy",
                                         "__name__=m,a=3", "__name__=m,a=44,b=z", "__name__=n,c=1"};
    struct head *h = head_new();

    for (size_t i = 0; i < ARRAY_LEN(series); i++)
        CHECK(put(h, "t", series[i], T0 + (int64_t)i, (double)i) == APPEND_ACCEPTED);
    CHECK(put(h, "other", "__name__=m,a=1,b=x", T0, 9) == APPEND_ACCEPTED);
    return h;
}

#define M1 "m{a=\"1\", b=\"x\"}"
#define M2 "m{a=\"2\", b=\"xy\"}"
#define M3 "m{a=\"3\"}"
#define M4 "m{a=\"44\", b=\"z\"}"
#define N  "n{c=\"1\"}"

TEST(matchers_choose_series)
{
    static const struct {
        const char *matchers[16], *want;
    } cases[] = {
        {{NULL}, M1 "\n" M2 "\n" M3 "\n" M4 "\n" N},
        {{"__name__", "=", "m", NULL}, M1 "\n" M2 "\n" M3 "\n" M4},
        {{"__name__", "=", "absent", NULL}, ""},
        {{"absent", "=", "m", NULL}, ""},
        {{"b", "=", "x", NULL}, M1},
        {{"b", "=", "", NULL}, M3 "\n" N},
        {{"b", "!=", "", NULL}, M1 "\n" M2 "\n" M4},
        {{"b", "!=", "x", NULL}, M2 "\n" M3 "\n" M4 "\n" N},
        {{"b", "!=", "absent", NULL}, M1 "\n" M2 "\n" M3 "\n" M4 "\n" N},
        {{"b", "=~", "x|z", NULL}, M1 "\n" M4},
        {{"b", "!~", "x|z", NULL}, M2 "\n" M3 "\n" N},
        {{"b", "=~", "x|", NULL}, M1 "\n" M3 "\n" N},
        {{"b", "!~", "x|", NULL}, M2 "\n" M4},
        {{"b", "=~", "x.*", NULL}, M1 "\n" M2},
        {{"b", "!~", "x.*", NULL}, M3 "\n" M4 "\n" N},
        {{"b", "=~", "x.+", NULL}, M2},
        {{"b", "=~", ".*", NULL}, M1 "\n" M2 "\n" M3 "\n" M4 "\n" N},
        {{"b", "!~", ".*", NULL}, ""},
        {{"b", "=~", ".+", NULL}, M1 "\n" M2 "\n" M4},
        {{"b", "!~", ".+", NULL}, M3 "\n" N},
        {{"b", "=~", "(x)?", NULL}, M1 "\n" M3 "\n" N},
        {{"b", "!~", "(x)?", NULL}, M2 "\n" M4},
        {{"a", "=~", "[0-9]", NULL}, M1 "\n" M2 "\n" M3},
        {{"absent", "=", "", NULL}, M1 "\n" M2 "\n" M3 "\n" M4 "\n" N},
        {{"absent", "=~", ".*", "__name__", "=", "n", NULL}, N},
        {{"__name__", "=", "m", "b", "!=", "x", "a", "!~", "4.*", NULL}, M2 "\n" M3},
        {{"__name__", "=~", "m|n", "b", "=", "", "c", "=", "", NULL}, M3},
        {{"__name__", "=", "m", "__name__", "=", "n", NULL}, ""},
        {{"b", "=~", ".+", "a", "=~", ".+", "a", "!=", "1", NULL}, M2 "\n" M4},
    };
    struct head *h = sample_head();

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct matchers m;
        struct store_select q;
        char *got;

        matchers_of(&m, cases[i].matchers);
        q = query_of("t", &m, T0, T0 + HOUR, STORE_LABELS);
        got = select_text(h, &q, 0);
        if (strcmp(got, cases[i].want) != 0)
            fail_msg("case %zu: got\n%s\nwant\n%s", i, got, cases[i].want);
        free(got);
        matchers_fini(&m);
    }
    head_free(h);
}

/* Few candidates and long lists: the lists are not read then. */
TEST(matchers_agree_when_one_list_is_long_and_the_other_short)
{
    static const struct {
        const char *matchers[16], *want;
    } cases[] = {
        {{"id", "=", "7", "job", "=", "b", NULL}, "{id=\"7\", job=\"b\"}"},
        {{"id", "=", "7", "job", "=", "a", NULL}, ""},
        {{"id", "=", "7", "job", "!=", "a", NULL}, "{id=\"7\", job=\"b\"}"},
        {{"id", "=", "7", "job", "!=", "b", NULL}, ""},
        {{"id", "=", "7", "rare", "=", "", NULL}, "{id=\"7\", job=\"b\"}"},
        {{"id", "=~", "7|8|9", "job", "=~", "b|c", NULL},
         "{id=\"7\", job=\"b\"}\n{id=\"9\", job=\"b\"}"},
        {{"id", "=~", "1999|8", "job", "!~", "b.*", NULL}, "{id=\"8\", job=\"a\"}"},
        {{"rare", "=", "1", "id", "!~", "1.*", NULL}, "{id=\"500\", job=\"a\", rare=\"1\"}"},
    };
    struct head *h = head_new();

    for (int i = 0; i < 2000; i++) {
        char text[64];

        snprintf(text, sizeof text, "id=%d,job=%s%s", i, i % 2 ? "b" : "a",
                 i % 500    ? ""
                 : i == 500 ? ",rare=1"
                            : ",rare=2");
        put(h, "t", text, T0, i);
    }
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct matchers m;
        struct store_select q;

        matchers_of(&m, cases[i].matchers);
        q = query_of("t", &m, T0, T0, STORE_LABELS);
        CHECK_SELECT(h, &q, 0, cases[i].want);
        matchers_fini(&m);
    }
    head_free(h);
}

TEST(only_series_with_samples_in_the_range_are_given)
{
    struct head *h = head_new();
    struct store_select q = query_of("t", NULL, T0 + 50 * HOUR, T0 + 60 * HOUR, STORE_LABELS);

    put(h, "t", "a=old", T0, 1);
    put(h, "t", "a=new", T0 + 55 * HOUR, 1);
    put(h, "t", "a=both", T0, 1);
    put(h, "t", "a=both", T0 + 55 * HOUR, 1);
    put(h, "t", "a=around", T0 + 40 * HOUR, 1);
    put(h, "t", "a=around", T0 + 70 * HOUR, 1);
    CHECK_SELECT(h, &q, 0, "{a=\"both\"}\n{a=\"new\"}");
    q.mode = STORE_DATA;
    CHECK_SELECT(h, &q, 0, "{a=\"both\"} 198000000:1\n{a=\"new\"} 198000000:1");
    head_free(h);
}

TEST(pages_by_bytes_and_by_choice_give_everything_once)
{
    enum { N_SERIES = 1000 };
    struct head *h = head_new();
    struct store_select q = query_of("t", NULL, INT64_MIN, INT64_MAX, STORE_DATA);
    char *whole, *paged;

    for (int i = 0; i < N_SERIES; i++) {
        char text[64];

        snprintf(text, sizeof text, "__name__=m,i=%04d", i);
        put(h, i % 3 ? "t" : "u", text, T0 + i, i);
    }
    whole = select_text(h, &q, 0);
    for (int stop = 0; stop < 2; stop++) {
        struct dump *d = calloc(1, sizeof *d);
        uint64_t cursor = 0;
        int pages = 0;

        d->samples = true;
        d->stop_after = stop ? 7 : 0;
        do {
            CHECK(head_select(h, &q, 0, stop ? SIZE_MAX : 1000, &cursor, dump_series, d, NULL) ==
                  0);
            pages++;
        } while (cursor);
        CHECK(pages > 20);
        paged = dump_take(d);
        CHECK_STR(paged, whole);
        free(paged);
        free(d);
    }
    free(whole);
    head_free(h);
}

static int refuse(void *arg, const struct stored_series *s)
{
    (void)arg;
    (void)s;
    return RC_CANCELED;
}
static int count_series(void *arg, const struct stored_series *s)
{
    CHECK(s->window_count > 0);
    ++*(size_t *)arg;
    return 0;
}

TEST(errors_pass_through_and_ceilings_hold)
{
    struct head *h = sample_head();
    struct store_select q = query_of("t", NULL, INT64_MIN, INT64_MAX, STORE_DATA);
    uint64_t cursor = 0;
    size_t n = 0;

    CHECK_INT(head_select(h, &q, 0, SIZE_MAX, &cursor, refuse, NULL, NULL), RC_CANCELED);
    q.series_max = 4;
    CHECK_INT(head_select(h, &q, 0, SIZE_MAX, &cursor, count_series, &n, NULL), RC_LIMIT);
    CHECK_INT(n, 4);
    q.series_max = 5;
    n = 0;
    CHECK_INT(head_select(h, &q, 0, SIZE_MAX, &cursor, count_series, &n, NULL), 0);
    CHECK_INT(n, 5);
    head_free(h);
}

TEST(shards_are_disjoint_and_complete)
{
    struct head *h = head_new();
    struct store_select q = query_of("t", NULL, INT64_MIN, INT64_MAX, STORE_DIGESTS);
    size_t sum = 0;

    for (int i = 0; i < 600; i++) {
        char text[64];

        snprintf(text, sizeof text, "i=%d", i);
        put(h, "t", text, T0, i);
    }
    q.shard_count = 7;
    for (q.shard = 0; q.shard < 7; q.shard++) {
        uint64_t cursor = 0;
        size_t n = 0;

        CHECK(head_select(h, &q, 0, SIZE_MAX, &cursor, count_series, &n, NULL) == 0);
        CHECK(n > 40 && n < 140);
        sum += n;
    }
    CHECK_INT(sum, 600);
    head_free(h);
}

TEST(digests_come_without_chunks)
{
    struct head *h = sample_head();
    struct store_select q = query_of("t", NULL, INT64_MIN, INT64_MAX, STORE_DIGESTS);
    struct dump d = {0};
    uint64_t cursor = 0;

    CHECK(head_select(h, &q, 0, SIZE_MAX, &cursor, dump_series, &d, NULL) == 0);
    CHECK_INT(d.n, 5);
    free(dump_take(&d));
    head_free(h);
}

TEST(fetch_gives_the_windows_asked_for)
{
    struct head *h = head_new();
    fingerprint a = fp_of("t", "s=a"), b = fp_of("t", "s=b"), none = {3, 4};
    fingerprint fps[4];
    int64_t starts[4];
    struct dump *d = calloc(1, sizeof *d);
    char *got;

    for (int64_t t = 0; t < 3 * HOUR; t += HOUR) {
        put(h, "t", "s=a", T0 + t, (double)(t / HOUR));
        put(h, "t", "s=b", T0 + t, (double)(10 + t / HOUR));
    }
    fps[0] = fps[1] = a;
    starts[0] = window_start(a, T0, NULL);
    starts[1] = window_start(a, T0 + 2 * HOUR, NULL);
    fps[2] = none;
    starts[2] = T0;
    fps[3] = b;
    starts[3] = window_start(b, T0 + HOUR, NULL);
    d->samples = true;
    CHECK(head_fetch(h, STR("t"), fps, starts, 4, 0, NULL, dump_series, d, NULL) == 0);
    got = dump_take(d);
    CHECK_STR(got, "{s=\"a\"} 0:0 7200000:2\n{s=\"b\"} 3600000:11");
    free(got);
    CHECK(head_fetch(h, STR("u"), fps, starts, 4, 0, NULL, dump_series, d, NULL) == 0);
    CHECK_INT(d->n, 0);
    CHECK_INT(head_fetch(h, STR("t"), fps, starts, 4, 0, NULL, refuse, NULL, NULL), RC_CANCELED);
    free(d);
    head_free(h);
}

/* --- answers that nobody wants any more --- */

struct leaving {
    atomic_bool gone;
    size_t seen;
};

static int see_and_leave(void *arg, UNUSED const struct stored_series *s)
{
    struct leaving *l = arg;

    l->seen++;
    atomic_store(&l->gone, true);
    return 0;
}

static int no_series(UNUSED void *arg, UNUSED const struct stored_series *s)
{
    return 0;
}
static int no_value(UNUSED void *arg, UNUSED struct str value)
{
    return 0;
}
static int no_pair(UNUSED void *arg, UNUSED struct str name, UNUSED struct str value, UNUSED uint64_t series)
{
    return 0;
}
static int no_exemplar(UNUSED void *arg, UNUSED const struct head_exemplar *e)
{
    return 0;
}

enum { MANY = 4 * HEAD_SELECT_SLICE };

static struct head *head_of_many(void)
{
    struct head *h = head_new();
    char text[64];

    for (int i = 0; i < MANY; i++) {
        snprintf(text, sizeof text, "__name__=m,i=%d", i);
        CHECK(put(h, "t", text, T0, i) == APPEND_ACCEPTED);
    }
    head_lock(h);
    head_exemplar_add(h, STR("t"), fp_of("t", "__name__=m,i=7"), T0, 1, &(struct labels){0}, 10);
    head_unlock(h);
    return h;
}

TEST(a_select_stops_within_a_slice)
{
    struct head *h = head_of_many();

    for (int mode = STORE_LABELS; mode <= STORE_DATA; mode++) {
        struct leaving l = {0};
        struct store_stop stop = {.canceled = &l.gone};
        struct store_select q = {.tenant = STR("t"), .mint_ms = INT64_MIN, .maxt_ms = INT64_MAX, .mode = (enum store_mode)mode, .stop = &stop};
        uint64_t cursor = 0;
        struct err err;

        CHECK_INT(head_select(h, &q, 0, SIZE_MAX, &cursor, see_and_leave, &l, &err), RC_CANCELED);
        CHECK(l.seen > 0 && l.seen <= HEAD_SELECT_SLICE);
        CHECK_STR(err_text(&err), "canceled");
    }
    head_free(h);
}

/* Every question, asked when nobody waits any more: canceled, or with a deadline that has passed. */
TEST(questions_without_an_asker_are_not_answered)
{
    struct head *h = head_of_many();
    atomic_bool gone = true;
    struct store_stop stops[] = {{.canceled = &gone}, {.deadline_mono_ns = 1}};

    for (size_t i = 0; i < ARRAY_LEN(stops); i++) {
        const struct store_stop *stop = &stops[i];
        int want = i == 0 ? RC_CANCELED : RC_TIMEOUT;
        const char *const regex[] = {"i", "=~", ".*1.*", NULL};
        struct store_select q = {.tenant = STR("t"), .mint_ms = INT64_MIN, .maxt_ms = INT64_MAX, .mode = STORE_LABELS, .stop = stop};
        fingerprint fp = fp_of("t", "__name__=m,i=7");
        int64_t start = window_start(fp, T0, NULL);
        struct head_extent extent;
        struct matchers m;
        uint64_t n;

        CHECK_INT(head_label_values(h, &q, STR(""), no_value, NULL, NULL), want);
        CHECK_INT(head_label_values(h, &q, STR("i"), no_value, NULL, NULL), want);
        CHECK_INT(head_exemplar_select(h, &q, no_exemplar, NULL, NULL), want);
        CHECK_INT(head_fetch(h, STR("t"), &fp, &start, 1, 0, stop, no_series, NULL, NULL), want);
        CHECK_INT(head_each_pair(h, STR("t"), stop, no_pair, NULL, NULL), want);
        CHECK_INT(head_extent(h, STR("t"), stop, &extent, NULL), want);
        matchers_of(&m, regex);
        q.matchers = m.v;
        q.matcher_count = m.n;
        CHECK_INT(head_count(h, &q, &n, NULL), want);
        CHECK_INT(head_label_values(h, &q, STR("i"), no_value, NULL, NULL), want);
        matchers_fini(&m);
    }
    head_free(h);
}

static int add_value(void *arg, struct str value)
{
    struct buf *b = arg;

    buf_str(b, value);
    buf_char(b, ' ');
    return 0;
}

static void check_values(struct head *h, const char *const *matchers, const char *name,
                         int64_t mint, int64_t maxt, const char *want)
{
    struct matchers m;
    struct store_select q;
    struct buf b;

    matchers_of(&m, matchers);
    q = query_of("t", &m, mint, maxt, STORE_LABELS);
    buf_init(&b, 1 << 20);
    CHECK(head_label_values(h, &q, str_of(name), add_value, &b, NULL) == 0);
    buf_char(&b, '\0');
    CHECK_STR(b.p, want);
    buf_fini(&b);
    matchers_fini(&m);
}

TEST(label_names_and_values_are_sorted_and_follow_matchers_and_range)
{
    static const char *const none[] = {NULL}, *const b_set[] = {"b", "!=", "", NULL},
                             *const odd[] = {"a", "=~", "[13]", NULL};
    struct head *h = sample_head();

    put(h, "t", "__name__=late,d=1", T0 + 50 * HOUR, 1);
    check_values(h, none, "", T0, T0 + HOUR, "__name__ a b c ");
    check_values(h, none, "", T0, T0 + 99 * HOUR, "__name__ a b c d ");
    check_values(h, none, "a", T0, T0 + HOUR, "1 2 3 44 ");
    check_values(h, none, "__name__", T0, T0 + HOUR, "m n ");
    check_values(h, none, "__name__", T0 + 40 * HOUR, T0 + 99 * HOUR, "late ");
    check_values(h, none, "absent", T0, T0 + HOUR, "");
    check_values(h, b_set, "a", T0, T0 + HOUR, "1 2 44 ");
    check_values(h, b_set, "", T0, T0 + HOUR, "__name__ a b ");
    check_values(h, odd, "b", T0, T0 + HOUR, "x ");
    check_values(h, odd, "c", T0, T0 + HOUR, "");
    check_values(h, odd, "b", T0 + 40 * HOUR, T0 + HOUR * 99, "");
    head_free(h);
}
