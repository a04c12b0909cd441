/* What an answer to a 2.0 request says was written: what a quorum has, no more and no less. */
#include "distributor/distributor_impl.h"
#include "tests/test.h"

enum { A = PUSH_ACCEPTED, D = PUSH_DUPLICATE, OLD = PUSH_REFUSED + DISCARD_SAMPLE_OUT_OF_ORDER, LIMIT = PUSH_REFUSED + DISCARD_PER_USER_SERIES_LIMIT, LOST = PUSH_RETRY };

/* Two series with two samples each, one of one histogram; an exemplar of each series. */
enum { SAMPLES = 4, HISTOGRAMS = 1, SERIES = 3, ROWS = SAMPLES + HISTOGRAMS };

struct world {
    struct push p;
    struct push_series series[SERIES];
    struct push_row rows[SAMPLES];
    struct push_hist hists[HISTOGRAMS];
    struct push_exemplar exemplars[SERIES];
};

static void world_init(struct world *w, bool moving)
{
    memset(w, 0, sizeof *w);
    for (uint32_t i = 0; i < SAMPLES; i++)
        w->rows[i].series = i / 2;
    w->hists[0].series = 2;
    for (uint32_t i = 0; i < SERIES; i++)
        w->exemplars[i].series = i;
    w->p.series = w->series;
    w->p.series_count = SERIES;
    w->p.rows = w->rows;
    w->p.row_count = SAMPLES;
    w->p.hists = w->hists;
    w->p.hist_count = HISTOGRAMS;
    w->p.exemplars = w->exemplars;
    w->p.exemplar_count = SERIES;
    w->p.moving = moving;
    arena_init(&w->p.arena, 1 << 20);
    CHECK(quorum_init(&w->p.quorum, &w->p.arena, moving ? ROWS * 2 : ROWS, 3, 2));
}

static void expect(struct world *w, uint64_t samples, uint64_t histograms, uint64_t exemplars)
{
    struct push_written got;

    push_written(&w->p, &got);
    CHECK_INT(got.samples, samples);
    CHECK_INT(got.histograms, histograms);
    CHECK_INT(got.exemplars, exemplars);
    arena_fini(&w->p.arena);
}

TEST(written_counts_rows_with_a_quorum)
{
    static const struct {
        const char *name;
        uint8_t verdicts[3][ROWS];
        uint64_t samples, histograms, exemplars;
    } cases[] = {
        {"all by all", {{A, A, A, A, A}, {A, A, A, A, A}, {A, A, A, A, A}}, 4, 1, 3},
        {"all by two", {{A, A, A, A, A}, {LOST, LOST, LOST, LOST, LOST}, {A, A, A, A, A}}, 4, 1, 3},
        {"what was there before counts", {{D, D, D, D, D}, {D, D, D, D, D}, {A, A, A, A, A}}, 4, 1, 3},
        {"one too old: its series is there", {{OLD, A, A, A, A}, {OLD, A, A, A, A}, {A, A, A, A, A}}, 3, 1, 3},
        {"a series too old in all", {{OLD, OLD, A, A, A}, {OLD, OLD, A, A, A}, {OLD, OLD, A, A, A}}, 2, 1, 3},
        {"a series over the limit", {{LIMIT, LIMIT, A, A, A}, {LIMIT, LIMIT, A, A, A}, {LIMIT, LIMIT, A, A, A}}, 2, 1, 2},
        {"a histogram over the limit", {{A, A, A, A, LIMIT}, {A, A, A, A, LIMIT}, {A, A, A, A, A}}, 4, 0, 2},
        {"two dead", {{LOST, LOST, LOST, LOST, LOST}, {LOST, LOST, LOST, LOST, LOST}, {A, A, A, A, A}}, 0, 0, 0},
        {"half dead", {{A, A, LOST, LOST, LOST}, {A, A, LOST, LOST, LOST}, {A, A, A, A, A}}, 2, 0, 1},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct world w;

        world_init(&w, false);
        for (size_t k = 0; k < 3; k++)
            quorum_answer(&w.p.quorum, NULL, ROWS, cases[i].verdicts[k]);
        expect(&w, cases[i].samples, cases[i].histograms, cases[i].exemplars);
    }
}

TEST(written_is_nothing_before_a_quorum_answered)
{
    struct world w;

    world_init(&w, false);
    quorum_answer(&w.p.quorum, NULL, ROWS, NULL);
    expect(&w, 0, 0, 0);
}

TEST(written_while_a_range_moves_takes_both_quorums)
{
    uint32_t today[ROWS] = {0, 1, 2, 3, 4}, then[2] = {ROWS + 0, ROWS + 4};
    struct world w;

    world_init(&w, true);
    for (int k = 0; k < 2; k++) {
        quorum_answer(&w.p.quorum, today, ROWS, NULL);
        quorum_answer(&w.p.quorum, then, ARRAY_LEN(then), NULL);
    }
    expect(&w, 1, 1, 2);
}

TEST(written_of_a_request_that_never_went_out_is_nothing)
{
    struct push p = {.row_count = 5, .hist_count = 2, .exemplar_count = 3};
    struct push_written got = {9, 9, 9};

    push_written(&p, &got);
    CHECK(got.samples == 0 && got.histograms == 0 && got.exemplars == 0);
}
