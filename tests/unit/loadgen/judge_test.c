/* The checker must find what is wrong: every kind of damage is planted, one at a time, and nothing else is reported. */
#include "common/base/bytes.h"
#include "common/model/sample.h"
#include "common/sys/fs.h"
#include "loadgen/judge.h"
#include "tests/test.h"

#include <math.h>

static const int64_t T0 = 1800000000000;
enum { ROUNDS = 20, STEP = 1000, SERIES = 300, BATCH = 100, INDEX = 106 /* its value changes in every round */ };

struct world {
    struct history h;
    struct model m;
    struct judge_sample got[64];
    size_t n;
    struct verdict v;
    struct judge_log log;
};

/* Every round was sent; round 7 was not acknowledged. Series INDEX is answered in full. */
static void world_init(struct world *w, const char *path, bool special)
{
    struct history_cfg cfg = {.model = {.seed = 3, .series = SERIES, .tenants = 2, .labels = MODEL_LABELS, .special = special, .epoch_ms = T0}, .batch = BATCH, .tenant = "x"};
    struct err err;

    memset(w, 0, sizeof *w);
    model_init(&w->m, &cfg.model);
    buf_init(&w->log.text, 1 << 16);
    CHECK(history_new(&cfg, path, &w->h, &err) == 0);
    for (int round = 0; round < ROUNDS; round++)
        for (uint32_t b = 0; b < history_batches(&w->h.cfg) * 2; b++) {
            size_t at;

            CHECK(history_sent(&w->h, b, T0 + round * STEP + b, &at, &err) == 0);
            if (round != 7)
                CHECK(history_acked(&w->h, at, &err) == 0);
        }
}

static struct series_id world_id(void)
{
    return (struct series_id){1, INDEX, 0};
}

static void world_answer(struct world *w)
{
    w->n = 0;
    history_sort(&w->h);
    for (int round = 0; round < ROUNDS; round++) {
        int64_t t = T0 + round * STEP + 3 + INDEX / BATCH; /* tenant 1: batches 3 to 5 */
        uint64_t bits = model_value(&w->m, world_id(), t);

        if (bits != STALE_NAN_BITS)
            w->got[w->n++] = (struct judge_sample){t, bits};
    }
}

static void world_judge(struct world *w)
{
    memset(&w->v, 0, sizeof w->v);
    buf_clear(&w->log.text);
    w->log.lines = 0;
    judge_series(&w->m, &w->h, &(struct judge_span){world_id(), T0 - 1, T0 + ROUNDS * STEP, false}, w->got, w->n, &w->v, &w->log);
}

static void world_fini(struct world *w)
{
    history_fini(&w->h);
    buf_fini(&w->log.text);
}

static void expect(const struct world *w, uint64_t right, uint64_t extra, uint64_t lost, uint64_t twice, uint64_t wrong, uint64_t phantom)
{
    CHECK_INT(w->v.right, right);
    CHECK_INT(w->v.extra, extra);
    CHECK_INT(w->v.lost, lost);
    CHECK_INT(w->v.twice, twice);
    CHECK_INT(w->v.wrong, wrong);
    CHECK_INT(w->v.phantom, phantom);
    CHECK(verdict_clean(&w->v) == (lost + twice + wrong + phantom == 0));
    CHECK_INT(w->log.lines, lost + twice + wrong + phantom);
}

static void remove_at(struct world *w, size_t at)
{
    memmove(&w->got[at], &w->got[at + 1], (--w->n - at) * sizeof w->got[0]);
}

TEST(a_full_answer_is_clean_and_a_request_of_unknown_fate_may_be_there_or_not)
{
    struct world w;

    world_init(&w, NULL, false);
    world_answer(&w);
    world_judge(&w);
    expect(&w, ROUNDS - 1, 1, 0, 0, 0, 0);
    remove_at(&w, 7);
    world_judge(&w);
    expect(&w, ROUNDS - 1, 0, 0, 0, 0, 0);
    world_fini(&w);
}

TEST(each_planted_damage_is_found)
{
    struct world w;

    world_init(&w, NULL, false);
    for (size_t at = 0; at < ROUNDS; at++) {
        uint64_t extra = at != 7;

        world_answer(&w);
        remove_at(&w, at);
        world_judge(&w);
        expect(&w, ROUNDS - 1 - (at != 7), extra, at != 7, 0, 0, 0);

        world_answer(&w);
        w.got[at].bits ^= 1;
        world_judge(&w);
        expect(&w, ROUNDS - 1 - (at != 7), extra, 0, 0, 1, 0);

        world_answer(&w);
        memmove(&w.got[at + 1], &w.got[at], (w.n++ - at) * sizeof w.got[0]);
        world_judge(&w);
        expect(&w, ROUNDS - 1, 1, 0, 1, 0, 0);

        world_answer(&w);
        memmove(&w.got[at + 1], &w.got[at], (w.n++ - at) * sizeof w.got[0]);
        w.got[at].t_ms -= 1;
        world_judge(&w);
        expect(&w, ROUNDS - 1, 1, 0, 0, 0, 1);
    }
    w.n = 0;
    world_judge(&w);
    expect(&w, 0, 0, ROUNDS - 1, 0, 0, 0);
    world_fini(&w);
}

TEST(samples_out_of_order_are_wrong)
{
    struct world w;
    struct judge_sample first;

    world_init(&w, NULL, false);
    world_answer(&w);
    first = w.got[2];
    memmove(&w.got[2], &w.got[3], (w.n - 3) * sizeof w.got[0]);
    w.got[w.n - 1] = first;
    world_judge(&w);
    expect(&w, ROUNDS - 2, 1, 1, 0, 1, 0);
    world_fini(&w);
}

TEST(the_window_is_open_on_the_left)
{
    struct world w;
    struct verdict v = {0};

    world_init(&w, NULL, false);
    world_answer(&w);
    judge_series(&w.m, &w.h, &(struct judge_span){world_id(), w.got[4].t_ms, w.got[9].t_ms, false}, &w.got[5], 5, &v, &w.log);
    CHECK_INT(v.right, 4);
    CHECK_INT(v.extra, 1);
    CHECK(verdict_clean(&v));
    judge_series(&w.m, &w.h, &(struct judge_span){world_id(), w.got[4].t_ms, w.got[9].t_ms, false}, &w.got[4], 6, &v, &w.log);
    CHECK_INT(v.phantom, 1);
    world_fini(&w);
}

TEST(what_another_tenant_sent_is_a_leak)
{
    struct series_id other = {0, INDEX, 0};
    struct world w;

    world_init(&w, NULL, false);
    world_answer(&w);
    /* Tenant 0 sent its own value three milliseconds earlier: a sample too many. */
    memmove(&w.got[1], &w.got[0], w.n++ * sizeof w.got[0]);
    w.got[0].t_ms -= 3;
    w.got[0].bits = model_value(&w.m, other, w.got[0].t_ms);
    world_judge(&w);
    CHECK_INT(w.v.leak, 1);
    CHECK_INT(w.v.phantom, 0);
    CHECK(!verdict_clean(&w.v));
    w.got[0].bits ^= 1;
    world_judge(&w);
    CHECK_INT(w.v.leak, 0);
    CHECK_INT(w.v.phantom, 1);
    world_fini(&w);
}

static void judge_by_steps(struct world *w)
{
    memset(&w->v, 0, sizeof w->v);
    w->log.lines = 0;
    buf_clear(&w->log.text);
    /* Two samples in a step. */
    judge_steps(&w->m, &w->h, &(struct judge_span){world_id(), T0 - 1, T0 + ROUNDS * STEP, false}, 2 * STEP, w->got, w->n, &w->v, &w->log);
}

TEST(of_steps_the_newest_acknowledged_sample_or_a_newer_one_must_be_there)
{
    struct world w;

    world_init(&w, NULL, false);
    world_answer(&w);
    for (size_t k = 0; k < ROUNDS / 2; k++)
        w.got[k] = (struct judge_sample){T0 - 1 + (int64_t)(k + 1) * 2 * STEP, w.got[2 * k + 1].bits};
    w.n = ROUNDS / 2;
    judge_by_steps(&w);
    expect(&w, ROUNDS / 2 - 1, 1, 0, 0, 0, 0); /* round 7 was not acknowledged */
    w.got[3].bits = model_value(&w.m, world_id(), T0 + 6 * STEP + 4);
    judge_by_steps(&w);
    expect(&w, ROUNDS / 2, 0, 0, 0, 0, 0); /* the one before it will do */
    w.got[4].bits = model_value(&w.m, world_id(), T0 + 8 * STEP + 4);
    judge_by_steps(&w);
    CHECK(w.v.wrong == 1 && w.v.right == ROUNDS / 2 - 1); /* round 9 was: the one before it will not */
    remove_at(&w, 4);
    judge_by_steps(&w);
    expect(&w, ROUNDS / 2 - 1, 0, 1, 0, 0, 0);
    w.got[4].t_ms -= 1;
    judge_by_steps(&w);
    CHECK(w.v.phantom == 1 && w.v.lost == 2); /* told at no step's end */
    world_fini(&w);
}

TEST(another_nan_passes_a_staleness_marker_must_be_hidden)
{
    struct model m;
    struct history h;
    struct history_cfg cfg = {.model = {.seed = 3, .series = 50, .tenants = 1, .labels = MODEL_LABELS, .special = true, .epoch_ms = T0}, .batch = 50};
    struct series_id id = {0, 49, 0};
    struct judge_sample got[200];
    struct judge_log log = {0};
    struct verdict v = {0};
    size_t n = 0, nans = 0, stale = 0, at;
    struct err err;

    buf_init(&log.text, 1 << 16);
    model_init(&m, &cfg.model);
    CHECK(history_new(&cfg, NULL, &h, &err) == 0);
    for (int64_t t = T0; t < T0 + 200; t++) {
        uint64_t bits = model_value(&m, id, t);

        CHECK(history_sent(&h, 0, t, &at, &err) == 0 && history_acked(&h, at, &err) == 0);
        nans += isnan(bits_double(bits)) && bits != STALE_NAN_BITS;
        stale += bits == STALE_NAN_BITS;
        if (bits != STALE_NAN_BITS)
            got[n++] = (struct judge_sample){t, isnan(bits_double(bits)) ? NORMAL_NAN_BITS : bits};
    }
    CHECK(nans > 2 && stale > 2);
    history_sort(&h);
    judge_series(&m, &h, &(struct judge_span){id, T0 - 1, T0 + 200, false}, got, n, &v, &log);
    CHECK(verdict_clean(&v));
    CHECK_INT(v.right, n);
    CHECK_INT(v.hidden, stale);
    /* A marker that comes back as a number or as any NaN. */
    for (n = 0; n < 200; n++)
        got[n] = (struct judge_sample){T0 + (int64_t)n, model_value(&m, id, T0 + (int64_t)n)};
    memset(&v, 0, sizeof v);
    judge_series(&m, &h, &(struct judge_span){id, T0 - 1, T0 + 200, false}, got, n, &v, &log);
    CHECK_INT(v.wrong, stale);
    history_fini(&h);
    buf_fini(&log.text);
}

/* --- the file --- */

TEST(a_history_comes_back_from_its_file_even_cut_short)
{
    char path[512];
    struct world w, again = {0};
    struct err err;
    struct buf bytes;

    snprintf(path, sizeof path, "%s/history", test_tmpdir());
    world_init(&w, path, false);
    world_answer(&w);
    CHECK(history_open(path, &again.h, &err) == 0);
    CHECK_INT(again.h.sent.n, w.h.sent.n);
    for (size_t i = 0; i < w.h.sent.n; i++)
        CHECK(again.h.sent.v[i].t_ms == w.h.sent.v[i].t_ms && again.h.sent.v[i].batch == w.h.sent.v[i].batch && again.h.sent.v[i].acked == w.h.sent.v[i].acked);
    CHECK_STR(again.h.cfg.tenant, "x");
    CHECK_INT(again.h.cfg.model.seed, 3);
    history_fini(&again.h);

    buf_init(&bytes, 1 << 20);
    CHECK(fs_read(path, &bytes, &err) == 0);
    CHECK(fs_write_atomic(path, str_n(bytes.p, bytes.n - 5), &err) == 0);
    CHECK(history_open(path, &again.h, &err) == 0);
    /* The last record acknowledged the last batch. */
    CHECK(!again.h.sent.v[again.h.sent.n - 1].acked);
    history_fini(&again.h);
    for (size_t at = 0; at < 144; at++) { /* damage in the header is refused or harmless, never followed */
        bytes.p[at] ^= (char)0xff;
        CHECK(fs_write_atomic(path, buf_view(&bytes), &err) == 0);
        if (history_open(path, &again.h, &err) == 0)
            history_fini(&again.h);
        bytes.p[at] ^= (char)0xff;
    }
    bytes.p[0] = 'x';
    CHECK(fs_write_atomic(path, buf_view(&bytes), &err) == 0);
    CHECK_INT(history_open(path, &again.h, &err), RC_CORRUPT);
    CHECK(fs_write_atomic(path, STR("torcload"), &err) == 0);
    CHECK_INT(history_open(path, &again.h, &err), RC_CORRUPT);
    buf_fini(&bytes);
    world_fini(&w);
}

TEST(native_histograms_have_batches_of_their_own_behind_the_plain_ones)
{
    struct history_cfg cfg = {.model = {.series = 250, .natives = 130, .tenants = 2}, .batch = 100};
    uint32_t next = 0, count;

    CHECK_INT(history_batches(&cfg), 5);
    for (uint32_t b = 0; b < 5; b++) {
        CHECK_INT(history_batch_series(&cfg, b, &count), next);
        CHECK_INT(count, b == 2 ? 50 : b == 4 ? 30 : 100);
        for (uint32_t i = next; i < next + count; i++)
            CHECK_INT(history_batch_of(&cfg, i), b);
        next += count;
    }
    CHECK_INT(next, 380);
}

TEST(a_wrong_histogram_is_found)
{
    struct history_cfg cfg = {.model = {.seed = 3, .series = 10, .natives = 20, .tenants = 1, .labels = MODEL_LABELS, .epoch_ms = T0}, .batch = 10};
    struct series_id id = {0, 15, 0};
    struct judge_sample got;
    struct judge_log log = {0};
    struct verdict v = {0};
    struct history h;
    struct model m;
    struct err err;
    size_t at;

    buf_init(&log.text, 1 << 16);
    model_init(&m, &cfg.model);
    CHECK(history_new(&cfg, NULL, &h, &err) == 0);
    CHECK(history_sent(&h, 1, T0, &at, &err) == 0 && history_acked(&h, at, &err) == 0);
    history_sort(&h);
    got = (struct judge_sample){T0, model_word(&m, id, T0)};
    judge_series(&m, &h, &(struct judge_span){id, T0 - 1, T0, false}, &got, 1, &v, &log);
    CHECK(v.right == 1 && verdict_clean(&v));
    got.bits = model_word(&m, id, T0 + 60000);
    judge_series(&m, &h, &(struct judge_span){id, T0 - 1, T0, false}, &got, 1, &v, &log);
    CHECK_INT(v.wrong, 1);
    history_fini(&h);
    buf_fini(&log.text);
}

TEST(tenants_have_names)
{
    struct history_cfg one = {.model = {.tenants = 1}}, many = {.model = {.tenants = 3}}, named = {.model = {.tenants = 3}, .tenant = "acme"};
    char name[HISTORY_TENANT_MAX + 12];

    tenant_name(&one, 0, name);
    CHECK_STR(name, "");
    tenant_name(&many, 2, name);
    CHECK_STR(name, "load-3");
    tenant_name(&named, 0, name);
    CHECK_STR(name, "acme-1");
}
