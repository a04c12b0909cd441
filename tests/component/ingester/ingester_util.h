/* ingester_util.h - an ingester with its RPC server, a client, and the truth: what it acknowledged. Static functions, for ingester_test.c and image_test.c. */
#pragma once
#include "common/base/fault.h"
#include "common/wire/pb_arena.h"
#include "common/wire/push.h"
#include "common/wire/select.h"
#include "common/wire/torc.pb-c.h"
#include "ingester/ingester_impl.h"
#include "tests/test.h"
#include "tsdb/index.h"

#include <sched.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

#define T0 1700006400000LL /* a multiple of 2 h */
enum { TENANTS = 3, SERIES = 40, CALL_MS = 20000, MESSAGE_MAX = 16 << 20 };
static const char *const tenant_names[TENANTS] = {"one", "two", "t'h(r)ee"};

struct item {
    int64_t t;
    uint64_t bits;
    uint16_t series;
    uint8_t tenant;
    bool hist;
};
typedef VEC(struct item) truth;

struct fixture {
    uint32_t shards;         /* --- wishes --- */
    uint64_t metric_series;
    enum wal_sync sync;
    bool drops;              /* flushed samples leave memory at once */
    uint64_t push_queue_bytes; /* 0: the default */
    struct log *log;         /* --- made by start --- */
    struct metrics *metrics;
    struct overrides *overrides;
    struct bucket *bucket;
    struct ingester *in;
    struct rpc_server *server;
    struct rpc_client *client;
    char address[64], name[64];
    uint64_t head_id;        /* as last answered */
};

static const char *shared_tmpdir; /* of the parent, in a child */

static bool text_has(struct str text, const char *part)
{
    return memmem(text.p, text.n, part, strlen(part)) != NULL;
}

static void use_tmpdir(const char *dir)
{
    shared_tmpdir = dir;
}

static const char *dir_root(void)
{
    return shared_tmpdir ? shared_tmpdir : test_tmpdir();
}

/* --- life --- */

static void start(struct fixture *f, const char *name)
{
    struct ingester_cfg cfg = ingester_cfg_default;
    struct limits limits = {0};
    char data[256], bucket[256];

    snprintf(f->name, sizeof f->name, "%s", name);
    snprintf(data, sizeof data, "%s/%s/data", dir_root(), name);
    snprintf(bucket, sizeof bucket, "%s/%s/bucket", dir_root(), name);
    options_default(limits_options, &limits);
    limits.max_series_per_metric = (int64_t)f->metric_series;
    f->log = log_new(2, (enum log_level)(LOG_ERROR + 1), LOG_LOGFMT);
    f->metrics = metrics_new();
    CHECK_INT(overrides_new(&limits, "", 0, &(struct overrides_deps){0}, &f->overrides, NULL), 0);
    options_free(limits_options, &limits);
    CHECK_INT(bucket_open(bucket, &f->bucket, NULL), 0);
    cfg.data_dir = data;
    cfg.instance_id = "ingester-0";
    cfg.shards = f->shards;
    cfg.push_queue_bytes = f->push_queue_bytes ? f->push_queue_bytes : cfg.push_queue_bytes;
    cfg.wal_sync = f->sync;
    cfg.wal_sync_interval_ms = 60000; /* no sync at a bad moment for a counted fault */
    cfg.flush_delay_ms = 365LL * 24 * 3600 * 1000; /* flushes come on request only */
    cfg.flush_check_ms = f->drops ? 20 : 3600000;
    cfg.retain_ms = f->drops ? 0 : 3600000;
    CHECK_INT(ingester_new(&cfg, &(struct ingester_deps){.clock = clock_system(), .log = f->log, .metrics = f->metrics, .overrides = f->overrides, .bucket = f->bucket}, &f->in, NULL), 0);
    CHECK_INT(rpc_server_new(&(struct rpc_server_cfg){.listen = "127.0.0.1:0", .cluster = STR("test")}, &f->server, NULL), 0);
    ingester_handle(f->in, f->server);
    CHECK_INT(rpc_server_start(f->server, NULL), 0);
    CHECK_INT(rpc_client_new(&(struct rpc_client_cfg){.cluster = STR("test")}, &f->client, NULL), 0);
    snprintf(f->address, sizeof f->address, "127.0.0.1:%d", rpc_server_port(f->server));
    CHECK_INT(ingester_start(f->in, NULL), 0);
    while (ingester_ready(f->in, NULL) < 0) {
        CHECK(atomic_load(&f->in->state) != INGESTER_FAILED);
        sched_yield();
    }
}

static void finish(struct fixture *f)
{
    rpc_client_free(f->client);
    ingester_stop(f->in);
    rpc_server_free(f->server);
    ingester_free(f->in);
    bucket_free(f->bucket);
    overrides_free(f->overrides);
    metrics_free(f->metrics);
    log_free(f->log);
}

static void restart(struct fixture *f)
{
    char name[64];

    snprintf(name, sizeof name, "%s", f->name);
    finish(f);
    start(f, name);
}

/* --- series and samples --- */

struct series_text {
    char name[16], number[16];
    struct label v[2];
};

static struct labels labels_make(uint16_t series, struct series_text *mem)
{
    int name = snprintf(mem->name, sizeof mem->name, "m%u", series % 3), number = snprintf(mem->number, sizeof mem->number, "%u", series);

    mem->v[0] = (struct label){STR("__name__"), str_n(mem->name, (size_t)name)};
    mem->v[1] = (struct label){STR("i"), str_n(mem->number, (size_t)number)};
    return (struct labels){mem->v, 2};
}

static fingerprint fp_make(uint8_t tenant, uint16_t series)
{
    struct series_text mem;
    struct labels ls = labels_make(series, &mem);

    return labels_fingerprint(str_of(tenant_names[tenant]), &ls);
}

static struct histogram histogram_make(uint64_t bits)
{
    return (struct histogram){.schema = 3, .sum = (double)(bits % 1000) / 4, .zero_threshold = 1e-128, .count.i = bits, .zero_count.i = bits};
}

/* What stands for the value in comparisons, as in sample_hash(). */
static uint64_t word_of(const struct item *it)
{
    struct histogram h = histogram_make(it->bits);

    return it->hist ? histogram_hash(&h).hi : it->bits;
}

/* --- pushing --- */

enum labels_how { NO_LABELS, WITH_LABELS, ANY_LABELS /* with, if it asks for them */ };

struct sending {
    uint8_t tenant;
    struct push_batch batch;
    struct push_answer answer;
    struct arena arena;
    struct buf reply;
};

static void sending_begin(struct sending *s)
{
    *s = (struct sending){0};
    push_batch_init(&s->batch, MESSAGE_MAX);
    push_batch_oldest(&s->batch, T0 - 1000000000);
    arena_init(&s->arena, 64 << 20);
    buf_init(&s->reply, MESSAGE_MAX);
}

static void sending_end(struct sending *s)
{
    push_batch_fini(&s->batch);
    arena_fini(&s->arena);
    buf_fini(&s->reply);
}

static void sending_row(struct sending *s, const struct item *it)
{
    struct histogram h = histogram_make(it->bits);
    fingerprint fp = fp_make(it->tenant, it->series);

    s->tenant = it->tenant;
    if (it->hist)
        push_batch_histogram(&s->batch, fp, it->t, 0, &h);
    else
        push_batch_float(&s->batch, fp, it->t, it->bits, 0);
}

static void sending_add(struct sending *s, const struct item *it, enum labels_how how)
{
    struct series_text mem;
    struct labels ls = labels_make(it->series, &mem);

    if (how == WITH_LABELS)
        push_batch_series(&s->batch, fp_make(it->tenant, it->series), &ls);
    sending_row(s, it);
}

/* Under it's fingerprint, the labels of another series. */
UNUSED static void sending_add_as(struct sending *s, const struct item *it, uint16_t other)
{
    struct series_text mem;
    struct labels ls = labels_make(other, &mem);

    push_batch_series(&s->batch, fp_make(it->tenant, it->series), &ls);
    sending_row(s, it);
}

static int send(struct fixture *f, struct sending *s)
{
    struct push_header h = {.tenant = str_of(tenant_names[s->tenant])};
    struct buf message;
    int rc;

    buf_init(&message, MESSAGE_MAX);
    buf_clear(&s->reply);
    CHECK_INT(push_batch_encode(&s->batch, &h, &message, NULL), 0);
    rc = rpc_call_sync(f->client, f->address, RPC_PUSH, buf_view(&message), CALL_MS, &s->reply, NULL);
    buf_fini(&message);
    if (rc == RC_OK) {
        CHECK_INT(push_answer_decode(buf_view(&s->reply), &s->arena, &s->answer, NULL), 0);
        f->head_id = s->answer.head_id;
    }
    return rc;
}

static void push_one(struct fixture *f, truth *t, const struct item *it, enum labels_how how, uint8_t want)
{
    struct sending s;
    uint8_t got;

    sending_begin(&s);
    sending_add(&s, it, how);
    CHECK_INT(send(f, &s), RC_OK);
    got = s.answer.verdicts ? s.answer.verdicts[0] : PUSH_ACCEPTED;
    sending_end(&s);
    if (how == ANY_LABELS && got == PUSH_UNKNOWN) {
        push_one(f, t, it, WITH_LABELS, want);
        return;
    }
    CHECK_INT(got, want);
    if (got == PUSH_ACCEPTED)
        *vec_push(t) = *it;
}

/* Rows that are refused stand between others; only what was accepted becomes truth. */
static void push_rows(struct fixture *f, truth *t, const struct item *floats, size_t n, const struct item *hists, size_t m, bool labels)
{
    struct series_text mem;
    struct labels ls = labels_make(7, &mem);
    struct sending s;

    sending_begin(&s);
    for (size_t i = 0; i < n; i++)
        sending_add(&s, &floats[i], labels ? WITH_LABELS : NO_LABELS);
    for (size_t i = 0; i < m; i++)
        sending_add(&s, &hists[i], labels ? WITH_LABELS : NO_LABELS);
    push_batch_exemplar(&s.batch, fp_make(s.tenant, floats[0].series), floats[0].t, 0.5, &ls);
    if (s.tenant == 0) {
        push_batch_metadata(&s.batch, STR("m0"), 1, STR("first"), STR(""));
        push_batch_metadata(&s.batch, STR("m1"), 2, STR("second"), STR("s"));
    }
    CHECK_INT(send(f, &s), RC_OK);
    for (size_t i = 0; i < n + m; i++)
        if (!s.answer.verdicts || s.answer.verdicts[i] == PUSH_ACCEPTED)
            *vec_push(t) = i < n ? floats[i] : hists[i - n];
    sending_end(&s);
}

/* Three tenants, floats of all kinds, histograms, over three ranges of 2 h; duplicates, other values and rows that are too old among them. */
static void push_mixture(struct fixture *f, truth *t)
{
    static const uint64_t odd[] = {0, 0x7ff0000000000002, 0x7ff8000000000001, 0xfff0000000000000, 0x8000000000000000, 1, 0xffffffffffffffff};
    size_t before = t->n;

    for (uint8_t tenant = 0; tenant < TENANTS; tenant++) {
        for (int round = 0; round < 5; round++) {
            struct item floats[SERIES * 4], hists[SERIES / 4];
            size_t n = 0, m = 0;
            int64_t at = T0 - 5400000 + round * 3600000;

            for (uint16_t i = 0; i < SERIES; i++) {
                floats[n++] = (struct item){at + i * 1000, odd[(i + (unsigned)round) % ARRAY_LEN(odd)], i, tenant, false};
                floats[n++] = (struct item){at + i * 1000 + 500000, (uint64_t)i << 52, i, tenant, false};
                if (i % 5 == 0)
                    floats[n++] = (struct item){at + i * 1000 + 250000, i, i, tenant, false}; /* out of order */
                if (i % 5 == 1)
                    floats[n++] = (struct item){at - 3000000, i, i, tenant, false}; /* too old, but in the first round */
                if (i % 5 == 2)
                    floats[n] = floats[n - 1], n++; /* twice */
                if (i % 5 == 3)
                    floats[n++] = (struct item){at + i * 1000, 12345, i, tenant, false}; /* another value */
                if (i % 4 == 0)
                    hists[m++] = (struct item){at + 600000, (uint64_t)i * 3 + 1, (uint16_t)(SERIES + i), tenant, true};
            }
            push_rows(f, t, floats, n, hists, m, round == 0);
        }
    }
    CHECK(t->n - before > TENANTS * SERIES * 5 * 2 && t->n - before < TENANTS * SERIES * 5 * 3);
}

static void push_ballast(struct fixture *f, truth *t, int pushes)
{
    for (int p = 0; p < pushes; p++) {
        struct item floats[SERIES];

        for (uint16_t i = 0; i < SERIES; i++)
            floats[i] = (struct item){T0 + 9800000 + p * 100, (uint64_t)p * i, i, 0, false};
        push_rows(f, t, floats, SERIES, NULL, 0, false);
    }
}

/* --- reading --- */

struct got {
    uint64_t word;
    int64_t t;
    fingerprint fp;
    uint8_t tenant;
};
struct seen {
    fingerprint fp;
    struct u128 digest;
    int64_t start;
};
typedef struct {
    VEC(struct got) samples;
    VEC(struct seen) windows; /* equal windows are one: as readers do (tsdb/store.h) */
} got_list;

static bool window_known(got_list *got, fingerprint fp, const struct stored_window *w)
{
    for (size_t i = 0; i < got->windows.n; i++) {
        const struct seen *s = &got->windows.v[i];

        if (u128_eq(s->fp, fp) && s->start == w->start_ms && u128_eq(s->digest, w->digest))
            return true;
    }
    *vec_push(&got->windows) = (struct seen){fp, w->digest, w->start_ms};
    return false;
}

static void take_series(got_list *got, uint8_t tenant, const struct stored_series *s)
{
    struct arena a;

    arena_init(&a, 64 << 20);
    for (size_t i = 0; i < s->window_count; i++) {
        const struct stored_window *w = &s->windows[i];
        struct u128 digest = {0, 0};
        uint32_t count = 0;

        if (window_known(got, s->fp, w))
            continue;
        for (uint32_t k = 0; k < w->chunk_count; k++) {
            struct chunk_columns c;

            CHECK_INT(chunk_decode(w->chunks[k], &a, &c, NULL), 0);
            digest = u128_add(digest, chunk_digest(&c));
            count += (uint32_t)c.n;
            for (size_t j = 0; j < c.n; j++) {
                bool hist = c.hist && c.hist[j];

                CHECK(c.t[j] >= w->mint_ms && c.t[j] <= w->maxt_ms);
                *vec_push(&got->samples) =
                    (struct got){hist ? histogram_hash(c.hist[j]).hi : double_bits(c.v[j]), c.t[j], s->fp, tenant};
            }
        }
        CHECK(count == w->count && u128_eq(digest, w->digest));
    }
    arena_fini(&a);
}

/* One page; the cursor goes on. */
static int select_page(struct fixture *f, uint8_t tenant, uint64_t gen, uint64_t *cursor, got_list *got)
{
    Torc__Wire__SelectRequest m = TORC__WIRE__SELECT_REQUEST__INIT;
    Torc__Wire__SelectResponse *answer;
    struct buf message, reply, matchers;
    struct wire_series ws;
    struct arena a;
    struct select_reader r;
    int rc;

    buf_init(&message, MESSAGE_MAX);
    buf_init(&reply, MESSAGE_MAX);
    buf_init(&matchers, 64);
    arena_init(&a, 256 << 20);
    matchers_encode(&matchers, NULL, 0);
    m.version = SELECT_VERSION;
    m.tenant = pb_bytes(str_of(tenant_names[tenant]));
    m.matchers = pb_bytes(buf_view(&matchers));
    m.mint_ms = TIMESTAMP_MIN_MS;
    m.maxt_ms = TIMESTAMP_MAX_MS;
    m.mode = STORE_DATA;
    m.index_gen = gen;
    m.cursor = *cursor;
    m.bytes_max = 5000; /* several pages */
    CHECK(pb_pack(&m.base, &message));
    rc = rpc_call_sync(f->client, f->address, RPC_SELECT, buf_view(&message), CALL_MS, &reply, NULL);
    if (rc == RC_OK) {
        answer = torc__wire__select_response__unpack(pb_arena_allocator(&a), reply.n, (const uint8_t *)reply.p);
        CHECK(answer);
        *cursor = answer->cursor;
        CHECK_INT(select_page_open(pb_str(answer->page), NULL, &a, &r, NULL), 0);
        while ((rc = select_page_next(&r, &ws, NULL)) > 0) {
            struct stored_window *w = arena_array(&a, ws.window_count, sizeof *w);

            for (size_t i = 0; i < ws.window_count; i++) {
                const struct wire_window *x = &ws.windows[i];

                w[i] = (struct stored_window){x->start_ms, x->mint_ms, x->maxt_ms, x->digest, x->count, x->chunk_count, x->chunks};
            }
            if (got)
                take_series(got, tenant, &(struct stored_series){.fp = ws.fp, .labels = ws.labels, .window_count = ws.window_count, .windows = w});
        }
        CHECK_INT(rc, 0);
    }
    buf_fini(&message);
    buf_fini(&reply);
    buf_fini(&matchers);
    arena_fini(&a);
    return rc;
}

UNUSED static int select_rc(struct fixture *f, uint8_t tenant, uint64_t gen)
{
    uint64_t cursor = 0;

    return select_page(f, tenant, gen, &cursor, NULL);
}

static void read_memory(struct fixture *f, uint64_t gen, got_list *got)
{
    for (uint8_t tenant = 0; tenant < TENANTS; tenant++) {
        uint64_t cursor = 0;

        do
            CHECK_INT(select_page(f, tenant, gen, &cursor, got), 0);
        while (cursor);
    }
}

struct block_read {
    got_list *got;
    uint8_t tenant;
};

static int block_series(void *arg, const struct stored_series *s)
{
    struct block_read *b = arg;

    take_series(b->got, b->tenant, s);
    return 0;
}

static void read_blocks(struct fixture *f, const struct index *ix, got_list *got)
{
    for (size_t i = 0; i < ix->blocks.n; i++) {
        struct block_reader *r;

        CHECK_INT(block_open(f->bucket, &ix->blocks.v[i].id, &r, NULL), 0);
        CHECK_INT(block_verify(r, NULL), 0);
        for (uint8_t tenant = 0; tenant < TENANTS; tenant++) {
            struct store_select q = {.tenant = str_of(tenant_names[tenant]), .mint_ms = TIMESTAMP_MIN_MS, .maxt_ms = TIMESTAMP_MAX_MS, .mode = STORE_DATA};
            struct block_read read = {got, tenant};
            struct arena a;

            arena_init(&a, 64 << 20);
            CHECK_INT(block_select(r, &q, block_series, &read, &a, NULL), 0);
            arena_fini(&a);
        }
        block_unref(r);
    }
}

static int by_place(const void *pa, const void *pb)
{
    const struct got *a = pa, *b = pb;
    int c = (a->tenant > b->tenant) - (a->tenant < b->tenant);

    c = c ? c : u128_cmp(a->fp, b->fp);
    c = c ? c : (a->t > b->t) - (a->t < b->t);
    return c ? c : (a->word > b->word) - (a->word < b->word);
}

/* Exactly these samples, each once. Empties got. */
static void check_got(got_list *got, const truth *t)
{
    struct got *want = xcalloc(t->n + 1, sizeof *want);

    for (size_t i = 0; i < t->n; i++)
        want[i] = (struct got){word_of(&t->v[i]), t->v[i].t, fp_make(t->v[i].tenant, t->v[i].series), t->v[i].tenant};
    if (t->n)
        qsort(want, t->n, sizeof *want, by_place);
    if (got->samples.n)
        qsort(got->samples.v, got->samples.n, sizeof *want, by_place);
    CHECK_INT(got->samples.n, t->n);
    for (size_t i = 0; i < t->n; i++)
        CHECK_INT(by_place(&want[i], &got->samples.v[i]), 0);
    free(want);
    vec_fini(&got->samples);
    vec_fini(&got->windows);
}

static void check_memory(struct fixture *f, const truth *t, uint64_t gen)
{
    got_list got = {0};

    read_memory(f, gen, &got);
    check_got(&got, t);
}

/* As a querier reads: the index, its blocks, and from memory what they do not hold. */
static void check_all(struct fixture *f, const truth *t)
{
    got_list got = {0};
    struct index ix;

    CHECK_INT(index_load(f->bucket, NULL, &ix, NULL), 0);
    read_memory(f, ix.gen, &got);
    read_blocks(f, &ix, &got);
    index_fini(&ix);
    check_got(&got, t);
}

static uint32_t metadata_rows(struct fixture *f)
{
    Torc__Wire__MetadataRequest m = TORC__WIRE__METADATA_REQUEST__INIT;
    Torc__Wire__MetadataResponse *answer;
    struct buf message, reply;
    struct arena a;
    uint32_t n;

    buf_init(&message, 1 << 16);
    buf_init(&reply, MESSAGE_MAX);
    arena_init(&a, 64 << 20);
    m.version = SELECT_VERSION;
    m.tenant = pb_bytes(str_of(tenant_names[0]));
    CHECK(pb_pack(&m.base, &message));
    CHECK_INT(rpc_call_sync(f->client, f->address, RPC_METADATA, buf_view(&message), CALL_MS, &reply, NULL), RC_OK);
    answer = torc__wire__metadata_response__unpack(pb_arena_allocator(&a), reply.n, (const uint8_t *)reply.p);
    CHECK(answer);
    n = answer->count;
    buf_fini(&message);
    buf_fini(&reply);
    arena_fini(&a);
    return n;
}

/* --- machinery --- */

static void wait_dropped(struct fixture *f)
{
    for (;;) {
        size_t left;

        mutex_lock(&f->in->flush_lock);
        left = f->in->sets.n;
        mutex_unlock(&f->in->flush_lock);
        if (left == 0)
            return;
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    }
}

static void rotate_run(UNUSED void *arg, struct shard *s)
{
    CHECK_INT(wal_rotate(shard_wal(s), NULL), 0);
}

/* Ends the segments being written: what is in them can be cut. */
static void rotate_logs(struct fixture *f)
{
    for (uint32_t i = 0; i < f->in->shard_count; i++)
        CHECK_INT(shard_run_sync(f->in->shards[i], rotate_run, NULL, NULL), 0);
}

static int spawn_child(const char *name, long at)
{
    char number[24], *argv[] = {(char[]){"ingester_test"}, NULL};
    int status;
    pid_t pid;

    snprintf(number, sizeof number, "%ld", at);
    setenv("INGESTER_TEST_CRASH", name, 1);
    setenv("INGESTER_TEST_DIR", test_tmpdir(), 1);
    setenv("INGESTER_TEST_AT", number, 1);
    CHECK_INT(posix_spawn(&pid, "/proc/self/exe", NULL, NULL, argv, environ), 0);
    unsetenv("INGESTER_TEST_CRASH");
    CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
    return WEXITSTATUS(status);
}
