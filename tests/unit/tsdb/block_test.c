#include "common/base/fault.h"
#include "common/sys/fs.h"
#include "tests/unit/tsdb/block_test_util.h"

#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

static struct bucket *bucket_at(const char *sub)
{
    char dir[256];
    struct bucket *b = NULL;

    snprintf(dir, sizeof dir, "%s/%s", test_tmpdir(), sub);
    CHECK(bucket_open(dir, &b, NULL) == 0);
    return b;
}

struct fixture {
    struct arena arena;
    struct rng rng;
    model m;
    struct bucket *b;
    struct block_meta meta;
    struct block_reader *r;
};

static void fixture_init(struct fixture *f, const char *name, size_t series)
{
    struct err err = {0};

    *f = (struct fixture){0};
    arena_init(&f->arena, 1 << 30);
    rng_init(&f->rng, test_seed());
    model_fill(&f->m, &f->arena, &f->rng, series, 1700000000000, 12);
    f->b = bucket_at(name);
    if (model_ship(&f->m, NULL, f->b, &f->meta, &err) < 0)
        fail_msg("%s", err_log(&err));
    CHECK(block_open(f->b, &f->meta.id, &f->r, &err) == 0);
}

static void fixture_fini(struct fixture *f)
{
    block_unref(f->r);
    block_meta_fini(&f->meta);
    bucket_free(f->b);
    vec_fini(&f->m);
    arena_fini(&f->arena);
}

/* --- ULIDs and meta.json --- */

TEST(ulids_are_valid_sortable_and_carry_their_time)
{
    struct ulid a, b, c;

    ulid_new(&a, 1700000000000);
    ulid_new(&b, 1700000000001);
    ulid_new(&c, 1700000000001);
    CHECK(ulid_valid(str_of(a.text)) && ulid_valid(str_of(b.text)));
    CHECK(strcmp(a.text, b.text) < 0 && strcmp(b.text, c.text) != 0);
    CHECK(ulid_time_ms(&b) == 1700000000001);
    CHECK(ulid_valid(STR("01ARZ3NDEKTSV4RRFFQ69G5FAV")));
    CHECK(!ulid_valid(STR("81ARZ3NDEKTSV4RRFFQ69G5FAV")));
    CHECK(!ulid_valid(STR("01ARZ3NDEKTSV4RRFFQ69G5FA")));
    CHECK(!ulid_valid(STR("01ARZ3NDEKTSV4RRFFQ69G5FAI")));
    CHECK(!ulid_valid(STR("01ARZ3NDEKTSV4RRFFQ69G5FA\0")));
}

TEST(meta_reads_back_and_every_flipped_bit_is_found)
{
    struct ulid sources[2];
    struct block_meta m = {.version = 1, .mint_ms = -5, .maxt_ms = 7, .range_end_ms = 10, .level = 1, .sources = sources,
                           .source_count = 2, .series = 3, .samples = 4, .chunks = 5, .bytes = 6, .tenants = 1};
    struct block_meta back;
    struct buf text;
    struct err err;

    ulid_new(&m.id, 1);
    ulid_new(&sources[0], 2);
    ulid_new(&sources[1], 3);
    strcpy(m.tenant, "acme");
    m.files[2] = (struct block_file){100, 0xdeadbeef, 0xffffffff};
    buf_init(&text, 1 << 20);
    CHECK(block_meta_encode(&m, &text, &err) == 0);
    CHECK(block_meta_decode(buf_view(&text), &back, &err) == 0);
    CHECK(back.mint_ms == -5 && back.maxt_ms == 7 && back.source_count == 2 && back.samples == 4);
    CHECK(strcmp(back.sources[1].text, sources[1].text) == 0 && back.files[2].crc32c == 0xdeadbeef);
    block_meta_fini(&back);
    memset(&back, 0x5a, sizeof back);
    for (size_t bit = 0; bit < text.n * 8; bit++) {
        text.p[bit / 8] ^= (char)(1 << bit % 8);
        CHECK(block_meta_decode(buf_view(&text), &back, &err) == RC_CORRUPT);
        CHECK(back.series == 0x5a5a5a5a5a5a5a5a);
        text.p[bit / 8] ^= (char)(1 << bit % 8);
    }
    buf_fini(&text);
    buf_init(&text, 1 << 20);
    m.version = 99;
    CHECK(block_meta_encode(&m, &text, &err) == 0);
    CHECK(block_meta_decode(buf_view(&text), &back, &err) == RC_VERSION);
    buf_fini(&text);
}

/* --- select against a naive one --- */

struct got {
    const struct fixture *f;
    const struct store_select *q;
    size_t at; /* in the model: series come in its order */
    size_t n;
};

static bool series_touches(const struct stored_series *s, const struct store_select *q)
{
    for (size_t i = 0; i < s->window_count; i++)
        if (s->windows[i].mint_ms <= q->maxt_ms && s->windows[i].maxt_ms >= q->mint_ms)
            return true;
    return false;
}

static bool naive_match(const struct model_series *m, const struct store_select *q)
{
    if (!str_eqz(q->tenant, m->tenant))
        return false;
    for (size_t i = 0; i < q->matcher_count; i++)
        if (!matcher_matches(&q->matchers[i], labels_get(&m->s.labels, q->matchers[i].name)))
            return false;
    return q->shard_count <= 1 || fingerprint_mod(m->s.fp, q->shard_count) == q->shard;
}

static int check_series(void *arg, const struct stored_series *s)
{
    struct got *g = arg;
    const model *m = &g->f->m;
    size_t k = 0;

    while (g->at < m->n && !(naive_match(&m->v[g->at], g->q) && series_touches(&m->v[g->at].s, g->q)))
        g->at++;
    CHECK(g->at < m->n);
    CHECK(labels_eq(&s->labels, &m->v[g->at].s.labels) && u128_eq(s->fp, m->v[g->at].s.fp));
    for (size_t i = 0; g->q->mode != STORE_LABELS && i < m->v[g->at].s.window_count; i++) {
        const struct stored_window *w = &m->v[g->at].s.windows[i];

        if (w->mint_ms <= g->q->maxt_ms && w->maxt_ms >= g->q->mint_ms)
            check_window(&s->windows[k++], w, g->q->mode == STORE_DATA);
    }
    CHECK(k == s->window_count);
    g->at++;
    g->n++;
    return 0;
}

static void check_select(const struct fixture *f, const struct store_select *q)
{
    struct got g = {f, q, 0, 0};
    struct err err = {0};
    struct arena a;
    size_t want = 0;

    arena_init(&a, 64 << 20);
    if (block_select(f->r, q, check_series, &g, &a, &err) < 0)
        fail_msg("%s", err_log(&err));
    for (size_t i = 0; i < f->m.n; i++)
        want += naive_match(&f->m.v[i], q) && series_touches(&f->m.v[i].s, q);
    CHECK_INT(g.n, want);
    arena_fini(&a);
    CHECK(a.used == 0);
}

static const struct {
    enum matcher_type type;
    const char *name, *value;
} matcher_table[] = {
    {MATCH_EQ, "__name__", "metric_1"},      {MATCH_EQ, "env", "prod"},         {MATCH_EQ, "env", ""},
    {MATCH_EQ, "env", "nowhere"},            {MATCH_EQ, "absent", ""},          {MATCH_EQ, "absent", "x"},
    {MATCH_EQ, "z", "\xc3\xa4"},             {MATCH_EQ, "", ""},                {MATCH_EQ, "", "x"},
    {MATCH_NEQ, "env", "prod"},              {MATCH_NEQ, "env", ""},            {MATCH_NEQ, "instance", "10.0.0.7:9100"},
    {MATCH_NEQ, "absent", ""},               {MATCH_NEQ, "", ""},               {MATCH_NEQ, "absent", "x"},
    {MATCH_RE, "__name__", "metric_1|metric_3|metric_9"}, {MATCH_RE, "env", "prod|"}, {MATCH_RE, "env", "|"},
    {MATCH_RE, "instance", "10.0.0.1.*"},    {MATCH_RE, "instance", ".*7:9100"}, {MATCH_RE, "instance", ".+"},
    {MATCH_RE, "instance", ".*"},            {MATCH_RE, "instance", "(10.*)?"}, {MATCH_RE, "serial", "1[0-9]+"},
    {MATCH_NRE, "__name__", "metric_1|metric_3"}, {MATCH_NRE, "env", "prod|"},  {MATCH_NRE, "env", ".*"},
    {MATCH_NRE, "env", ".+"},                {MATCH_NRE, "instance", "10.0.0.1.*"}, {MATCH_NRE, "absent", ".+"},
    {MATCH_NRE, "instance", "(10.*)?"},
};

static void random_query(struct rng *r, struct store_select *q, struct matcher *ms)
{
    static const char *const tenants[] = {"acme", "acme-2", "zeta", "0", "acme-", "nobody"};

    *q = (struct store_select){.tenant = str_of(tenants[rng_below(r, 6)]), .matchers = ms,
                               .matcher_count = rng_below(r, 4), .mint_ms = INT64_MIN, .maxt_ms = INT64_MAX,
                               .mode = (enum store_mode)rng_below(r, 3)};
    for (size_t i = 0; i < q->matcher_count; i++) {
        size_t k = rng_below(r, ARRAY_LEN(matcher_table));

        CHECK(matcher_init(&ms[i], matcher_table[k].type, str_of(matcher_table[k].name), str_of(matcher_table[k].value),
                           NULL) == 0);
    }
    if (rng_chance(r, 0.5)) {
        q->mint_ms = 1700000000000 + (int64_t)rng_below(r, 12 * WINDOW_MS);
        q->maxt_ms = q->mint_ms + (int64_t)rng_below(r, 4 * WINDOW_MS);
    }
    if (rng_chance(r, 0.3)) {
        q->shard_count = 1 + (uint32_t)rng_below(r, 5);
        q->shard = (uint32_t)rng_below(r, q->shard_count);
    }
}

TEST(select_gives_what_a_naive_scan_gives)
{
    struct fixture f;

    fixture_init(&f, "select", 700);
    for (int i = 0; i < 600; i++) {
        struct matcher ms[4];
        struct store_select q;

        random_query(&f.rng, &q, ms);
        check_select(&f, &q);
        for (size_t k = 0; k < q.matcher_count; k++)
            matcher_fini(&ms[k]);
    }
    for (size_t k = 0; k < ARRAY_LEN(matcher_table); k++) { /* each matcher alone, on everything */
        struct matcher m;
        struct store_select q = {.tenant = STR("acme"), .matchers = &m, .matcher_count = 1, .mint_ms = INT64_MIN,
                                 .maxt_ms = INT64_MAX, .mode = STORE_DATA};

        CHECK(matcher_init(&m, matcher_table[k].type, str_of(matcher_table[k].name), str_of(matcher_table[k].value), NULL) == 0);
        check_select(&f, &q);
        matcher_fini(&m);
    }
    fixture_fini(&f);
}

static int count_series(void *arg, UNUSED const struct stored_series *s)
{
    ++*(size_t *)arg;
    return 0;
}

TEST(select_stops_at_its_limits_and_at_the_callers_word)
{
    struct fixture f;
    struct store_select q = {.tenant = STR("acme"), .mint_ms = INT64_MIN, .maxt_ms = INT64_MAX, .mode = STORE_DATA};
    struct err err;
    struct arena a;
    size_t n = 0, all = 0;

    fixture_init(&f, "limits", 300);
    arena_init(&a, 64 << 20);
    CHECK(block_select(f.r, &q, count_series, &all, &a, &err) == 0 && all > 10);
    arena_reset(&a);
    q.series_max = 5;
    CHECK(block_select(f.r, &q, count_series, &n, &a, &err) == RC_LIMIT);
    CHECK(n == 5);
    n = 0;
    q.series_max = all;
    CHECK(block_select(f.r, &q, count_series, &n, &a, &err) == 0 && n == all);
    arena_fini(&a);
    arena_init(&a, 3000);
    CHECK(block_select(f.r, &q, count_series, &n, &a, &err) == RC_NOMEM);
    arena_fini(&a);
    fixture_fini(&f);
}

/* --- labels --- */

static int add_text(void *arg, struct str s)
{
    struct buf *b = arg;

    buf_str(b, s);
    buf_char(b, '\n');
    return 0;
}

static void check_label_query(const struct fixture *f, const struct store_select *q, struct str name)
{
    VEC(struct str) want = {0};
    struct buf got, expect;
    struct err err = {0};

    buf_init(&got, 1 << 20);
    buf_init(&expect, 1 << 20);
    for (size_t i = 0; i < f->m.n; i++) {
        const struct labels *ls = &f->m.v[i].s.labels;

        if (!naive_match(&f->m.v[i], q))
            continue;
        for (size_t k = 0; k < ls->n; k++)
            if (name.n == 0 || str_eq(name, ls->v[k].name))
                *vec_push(&want) = name.n ? ls->v[k].value : ls->v[k].name;
    }
    for (size_t round = 0; round < want.n; round++) { /* selection sort, dropping repeats */
        size_t least = want.n;

        for (size_t i = 0; i < want.n; i++)
            if (want.v[i].p && (least == want.n || str_cmp(want.v[i], want.v[least]) < 0))
                least = i;
        if (least == want.n)
            break;
        add_text(&expect, want.v[least]);
        for (size_t i = 0; i < want.n; i++)
            if (i != least && want.v[i].p && str_eq(want.v[i], want.v[least]))
                want.v[i].p = NULL;
        want.v[least].p = NULL;
    }
    if (block_label_values(f->r, q, name, add_text, &got, &err) < 0)
        fail_msg("%s", err_log(&err));
    CHECK(str_eq(buf_view(&got), buf_view(&expect)));
    vec_fini(&want);
    buf_fini(&got);
    buf_fini(&expect);
}

TEST(label_names_and_values_are_those_of_the_matching_series)
{
    static const struct str names[] = {STR(""), STR("__name__"), STR("env"), STR("z"), STR("z\0y"), STR("absent"), STR("instance")};
    struct fixture f;

    fixture_init(&f, "labels", 200);
    for (int i = 0; i < 150; i++) {
        struct matcher ms[4];
        struct store_select q;

        random_query(&f.rng, &q, ms);
        q.mint_ms = INT64_MIN;
        q.maxt_ms = INT64_MAX;
        check_label_query(&f, &q, names[rng_below(&f.rng, ARRAY_LEN(names))]);
        for (size_t k = 0; k < q.matcher_count; k++)
            matcher_fini(&ms[k]);
    }
    fixture_fini(&f);
}

TEST(tenants_are_listed_once_in_order)
{
    struct fixture f;
    struct buf got;

    fixture_init(&f, "tenants", 100);
    buf_init(&got, 1000);
    CHECK(block_each_tenant(f.r, add_text, &got, NULL) == 0);
    CHECK(str_eqz(buf_view(&got), "0\nacme\nacme-2\nzeta\n"));
    CHECK(f.meta.tenants == 4 && f.meta.series == 100);
    buf_fini(&got);
    fixture_fini(&f);
}

TEST(iteration_gives_every_series_of_a_tenant_whole_and_in_order)
{
    static const char *const tenants[] = {"0", "acme", "acme-2", "zeta", "nobody"};
    struct fixture f;
    size_t n = 0;

    fixture_init(&f, "iter", 300);
    for (size_t t = 0; t < ARRAY_LEN(tenants); t++) {
        const struct stored_series *s;
        struct block_iter *it = NULL;
        int rc;

        CHECK(block_iter_new(f.r, str_of(tenants[t]), &it, NULL) == 0);
        while ((rc = block_iter_next(it, &s, NULL)) == 1) {
            const struct model_series *m = &f.m.v[n++];

            CHECK_STR(m->tenant, tenants[t]);
            CHECK(labels_eq(&s->labels, &m->s.labels) && s->window_count == m->s.window_count);
            for (size_t i = 0; i < s->window_count; i++)
                check_window(&s->windows[i], &m->s.windows[i], true);
        }
        CHECK(rc == 0);
        block_iter_free(it);
    }
    CHECK_INT(n, f.m.n);
    fixture_fini(&f);
}

/* --- what the writer refuses --- */

TEST(the_writer_refuses_disorder_and_empty_things)
{
    struct label lb = {STR("b"), STR("1")}, la = {STR("a"), STR("1")}, none = {STR("a"), STR("")};
    struct str chunk = STR("c");
    struct stored_window w = {.count = 1, .chunk_count = 1, .chunks = &chunk}, no_chunk = {.count = 1}, two[2] = {w, w};
    struct stored_series first = {.labels = {&lb, 1}, .window_count = 1, .windows = &w};
    struct stored_series bad[] = {
        {.labels = {&lb, 1}, .window_count = 1, .windows = &w}, /* again */
        {.labels = {&la, 1}, .window_count = 1, .windows = &w}, /* before */
        {.labels = {&none, 1}, .window_count = 1, .windows = &w},
        {.labels = {NULL, 0}, .window_count = 1, .windows = &w},
        {.labels = {&lb, 1}, .window_count = 0, .windows = &w},
        {.labels = {&lb, 1}, .window_count = 1, .windows = &no_chunk},
        {.labels = {&lb, 1}, .window_count = 2, .windows = two},
    };

    for (size_t i = 0; i <= ARRAY_LEN(bad); i++) {
        struct block_meta meta = {.range_end_ms = 1};
        struct block_writer *bw = NULL;
        struct err err;

        ulid_new(&meta.id, 0);
        CHECK(block_writer_new(test_tmpdir(), &meta, &bw, &err) == 0);
        CHECK(block_writer_add(bw, STR("t"), &first, &err) == 0);
        if (i < ARRAY_LEN(bad))
            CHECK(block_writer_add(bw, STR("t"), &bad[i], &err) == RC_INVALID);
        else
            CHECK(block_writer_add(bw, STR("s"), &first, &err) == RC_INVALID);
        block_writer_free(bw);
    }
}

TEST(a_block_of_nothing_is_not_shipped)
{
    struct block_meta meta = {.range_end_ms = 1};
    struct bucket *b = bucket_at("nothing");
    struct block_writer *w = NULL;
    bucket_list l;

    ulid_new(&meta.id, 0);
    CHECK(block_writer_new(test_tmpdir(), &meta, &w, NULL) == 0);
    CHECK(block_writer_ship(w, b, NULL, NULL) == RC_NOT_FOUND);
    block_writer_free(w);
    CHECK(b->ops->list(b, "", &l, NULL) == 0 && l.n == 0);
    bucket_list_free(&l);
    bucket_free(b);
}

/* --- faults --- */

static int check_tenants(void *arg, UNUSED struct str tenant)
{
    ++*(int *)arg;
    return 0;
}

/* Reads a visible block to the last chunk. */
static void check_whole(struct bucket *b, const struct ulid *id)
{
    struct store_select q = {.tenant = STR("acme"), .mint_ms = INT64_MIN, .maxt_ms = INT64_MAX, .mode = STORE_DATA};
    struct block_reader *r = NULL;
    struct arena a;
    size_t series = 0;
    int tenants = 0;

    arena_init(&a, 1 << 24);
    CHECK(block_open(b, id, &r, NULL) == 0);
    CHECK(block_each_tenant(r, check_tenants, &tenants, NULL) == 0 && tenants == (int)block_meta(r)->tenants);
    CHECK(block_select(r, &q, count_series, &series, &a, NULL) == 0);
    block_unref(r);
    arena_fini(&a);
}

/* Blocks that a listing shows, each of them whole. */
static size_t visible_blocks(struct bucket *b)
{
    bucket_list l;
    size_t n = 0;

    CHECK(b->ops->list(b, "blocks/", &l, NULL) == 0);
    for (size_t i = 0; i < l.n; i++) {
        const char *leaf = strrchr(l.v[i].name, '/');
        struct ulid id;

        if (strcmp(leaf, "/meta.json") != 0)
            continue;
        memcpy(id.text, leaf - ULID_TEXT, ULID_TEXT);
        id.text[ULID_TEXT] = '\0';
        check_whole(b, &id);
        n++;
    }
    bucket_list_free(&l);
    return n;
}

/* Fails each IO operation of writing and shipping in turn: no block, or (past meta.json's rename) a whole one. */
TEST(a_write_that_fails_anywhere_leaves_no_half_block)
{
    struct fixture f;
    struct bucket *b = bucket_at("fault");
    size_t before = 0;
    bool fired = true;
    char scratch[300];
    fs_names left;

    fixture_init(&f, "fault-model", 3);
    for (int n = 1; fired; n++) {
        struct block_meta meta = {0};
        size_t now;
        int rc;

        fault_at(FAULT_IO, n);
        rc = model_ship(&f.m, NULL, b, &meta, NULL);
        fired = fault_fired();
        fault_at(0, 0);
        CHECK((rc < 0) == fired);
        now = visible_blocks(b);
        CHECK(now == before + 1 || (rc < 0 && now == before));
        before = now;
        block_meta_fini(&meta);
    }
    snprintf(scratch, sizeof scratch, "%s/scratch", test_tmpdir());
    CHECK(fs_list(scratch, &left, NULL) == 0 && left.n == 0);
    fs_names_free(&left);
    bucket_free(b);
    fixture_fini(&f);
}

TEST(a_crash_while_shipping_leaves_no_block)
{
    struct fixture f;
    struct bucket *b = bucket_at("crash");
    int status = 0, crashes = 0;

    fixture_init(&f, "crash-model", 3);
    for (int n = 1;; n++) {
        pid_t pid = fork();

        if (pid == 0) {
            fault_at(FAULT_CRASH, n);
            _exit(model_ship(&f.m, NULL, b, NULL, NULL) == 0 ? 0 : 1);
        }
        CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
        if (WEXITSTATUS(status) == 0)
            break;
        CHECK_INT(WEXITSTATUS(status), 99);
        CHECK(visible_blocks(b) == 0);
        crashes++;
    }
    CHECK(crashes == BLOCK_FILES + 1 && visible_blocks(b) == 1);
    bucket_free(b);
    fixture_fini(&f);
}

TEST(a_read_that_fails_anywhere_is_an_io_error_and_nothing_else)
{
    struct fixture f;
    struct store_select q = {.tenant = STR("acme"), .mint_ms = INT64_MIN, .maxt_ms = INT64_MAX, .mode = STORE_DATA};
    bool fired = true;

    fixture_init(&f, "read-fault", 60);
    block_cache_resize(0);
    for (int n = 1; fired; n++) {
        struct got g = {&f, &q, 0, 0};
        struct block_reader *r = NULL;
        struct err err = {0};
        struct arena a;
        int rc;

        arena_init(&a, 1 << 24);
        fault_at(FAULT_IO, n);
        rc = block_open(f.b, &f.meta.id, &r, &err);
        if (rc == 0)
            rc = block_select(r, &q, check_series, &g, &a, &err);
        fired = fault_fired();
        fault_at(0, 0);
        if (rc != (fired ? RC_IO : 0))
            fail_msg("n %d: %s %s", n, rc_name(rc), err_log(&err));
        block_unref(r);
        arena_fini(&a);
    }
    block_cache_resize(BLOCK_CACHE_BYTES);
    fixture_fini(&f);
}

/* --- flipped bits --- */

static void flip(const char *path, size_t bit)
{
    int fd = open(path, O_RDWR);
    char c = 0;

    CHECK(fd >= 0 && pread(fd, &c, 1, (off_t)(bit / 8)) == 1);
    c ^= (char)(1 << bit % 8);
    CHECK(pwrite(fd, &c, 1, (off_t)(bit / 8)) == 1);
    close(fd);
}

/* Reads everything; 0 when all of it is right, else the error. Wrong content fails the test in check_series. */
static int read_all(const struct fixture *f, struct err *err)
{
    static const char *const tenants[] = {"0", "acme", "acme-2", "zeta"};
    struct block_reader *r = NULL;
    int rc = block_open(f->b, &f->meta.id, &r, err), n = 0;
    struct arena a;

    arena_init(&a, 64 << 20);
    if (rc == 0)
        rc = block_each_tenant(r, check_tenants, &n, err);
    CHECK(rc < 0 || n == 4);
    for (size_t t = 0; rc == 0 && t < ARRAY_LEN(tenants); t++) {
        struct store_select q = {.tenant = str_of(tenants[t]), .mint_ms = INT64_MIN, .maxt_ms = INT64_MAX, .mode = STORE_DATA};
        struct got g = {f, &q, 0, 0};

        rc = block_select(r, &q, check_series, &g, &a, err);
        if (rc == 0)
            while (g.at < f->m.n)
                CHECK(strcmp(f->m.v[g.at++].tenant, tenants[t]) != 0); /* nothing missing */
    }
    block_unref(r);
    arena_fini(&a);
    return rc;
}

TEST(a_flipped_bit_is_an_error_or_changes_nothing)
{
    static const char *const leaves[] = {"symbols.sst", "series.sst", "postings.sst", "chunks.sst", "meta.json"};
    struct fixture f;
    size_t found = 0, inert = 0;

    fixture_init(&f, "flip", 60);
    block_cache_resize(0); /* else blocks are served from memory */
    for (size_t i = 0; i < ARRAY_LEN(leaves); i++) {
        char path[PATH_MAX], name[128];
        uint64_t size = 0;

        snprintf(name, sizeof name, "blocks/%s/%s", f.meta.id.text, leaves[i]);
        snprintf(path, sizeof path, "%s/flip/%s", test_tmpdir(), name);
        CHECK(f.b->ops->size(f.b, name, &size, NULL) == 0);
        for (int n = 0; n < 250; n++) {
            size_t bit = rng_below(&f.rng, size * 8);
            struct err err = {0};
            int rc;

            flip(path, bit);
            rc = read_all(&f, &err);
            flip(path, bit);
            if (rc != 0 && rc != RC_CORRUPT)
                fail_msg("%s bit %zu: %s", leaves[i], bit, err_log(&err));
            if (rc < 0 && !(strstr(err.text, f.meta.id.text) && strstr(err.text, leaves[i])))
                fail_msg("names neither block nor file: %s", err_log(&err));
            rc < 0 ? found++ : inert++;
        }
    }
    printf("flipped bits: %zu found, %zu inert\n", found, inert);
    CHECK(found > inert * 10);
    CHECK(read_all(&f, NULL) == 0);
    block_cache_resize(BLOCK_CACHE_BYTES);
    fixture_fini(&f);
}

TEST(a_truncated_or_missing_file_is_an_error)
{
    static const char *const leaves[] = {"symbols.sst", "series.sst", "postings.sst", "chunks.sst"};
    struct fixture f;
    struct err err;

    fixture_init(&f, "cut", 30);
    block_cache_resize(0);
    for (size_t i = 0; i < ARRAY_LEN(leaves); i++) {
        char path[PATH_MAX], aside[PATH_MAX + 8];
        struct buf all;

        snprintf(path, sizeof path, "%s/cut/blocks/%s/%s", test_tmpdir(), f.meta.id.text, leaves[i]);
        snprintf(aside, sizeof aside, "%s.aside", path);
        buf_init(&all, 1 << 26);
        CHECK(fs_read(path, &all, NULL) == 0);
        CHECK(fs_rename(path, aside, NULL) == 0);
        CHECK(read_all(&f, &err) == RC_NOT_FOUND);
        CHECK(fs_write_atomic(path, str_n(all.p, all.n / 2), NULL) == 0);
        CHECK(read_all(&f, &err) == RC_CORRUPT);
        CHECK(fs_write_atomic(path, str_n(all.p, 0), NULL) == 0);
        CHECK(read_all(&f, &err) == RC_CORRUPT);
        CHECK(fs_rename(aside, path, NULL) == 0);
        buf_fini(&all);
    }
    CHECK(read_all(&f, &err) == 0);
    block_cache_resize(BLOCK_CACHE_BYTES);
    fixture_fini(&f);
}

/* --- many threads, one reader --- */

static void *select_all(void *arg)
{
    const struct fixture *f = arg;
    struct store_select q = {.tenant = STR("acme"), .mint_ms = INT64_MIN, .maxt_ms = INT64_MAX, .mode = STORE_DATA};

    for (int i = 0; i < 5; i++) {
        struct arena a;
        size_t n = 0;

        arena_init(&a, 64 << 20);
        if (block_select(f->r, &q, count_series, &n, &a, NULL) < 0 || n == 0)
            return (void *)1;
        arena_fini(&a);
    }
    return NULL;
}

TEST(one_reader_serves_many_threads)
{
    struct fixture f;
    pthread_t t[4];

    fixture_init(&f, "threads", 200);
    for (size_t i = 0; i < ARRAY_LEN(t); i++)
        CHECK(pthread_create(&t[i], NULL, select_all, &f) == 0);
    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        void *failed;

        pthread_join(t[i], &failed);
        CHECK(!failed);
    }
    CHECK(block_cache_used() <= BLOCK_CACHE_BYTES);
    fixture_fini(&f);
}
