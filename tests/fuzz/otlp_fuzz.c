/* OTLP requests: refused with a reason, or translated to a Remote Write request that its own walk reads to the end, with sorted labels and every row counted
 * to a data point. The first byte chooses the options. */
#include "distributor/otlp_translate.h"
#include "distributor/write_request.h"

static uint64_t refused;

static void refuse(UNUSED void *arg, enum discard_reason why, uint32_t points, const char *text)
{
    ASSERT(why != DISCARD_NONE && why < DISCARD_COUNT && points > 0 && text[0]);
    refused += points;
}

static void series_check(const struct wr_series *s)
{
    struct rd r = rd_of(s->message);
    struct label l, before = {STR(""), STR("")};
    uint32_t n = 0;

    ASSERT(s->labels.p && s->sample_count + s->histogram_count > 0);
    while (wr_label_next(&r, &l, NULL) > 0) {
        ASSERT(str_cmp(before.name, l.name) < 0);
        before = l;
        n++;
    }
    ASSERT(n == s->label_count);
}

static void body_check(const struct otlp_write *w)
{
    struct rd r = rd_of(buf_view(&w->body));
    struct wr_series s;
    struct wr_metadata m;
    struct str metadata;
    uint64_t rows = 0, counted = 0, points = 0;
    int rc;

    while ((rc = wr_next(&r, &s, &metadata, NULL)) > 0) {
        if (rc == 2) {
            ASSERT(wr_metadata_decode(metadata, &m, NULL) == 0 && m.metric.n > 0);
            continue;
        }
        series_check(&s);
        rows += s.sample_count + s.histogram_count;
    }
    ASSERT(rc == 0);
    for (size_t i = 0; i < w->point_count; i++) {
        ASSERT(w->points[i].offset <= w->body.n && (i == 0 || w->points[i].offset > w->points[i - 1].offset));
        counted += w->points[i].rows == OTLP_NOT_A_POINT ? 0 : w->points[i].rows;
        points += w->points[i].rows != OTLP_NOT_A_POINT;
    }
    ASSERT(counted <= rows && (counted > 0) == (points > 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    char *list[] = {"host.name", "service.name"};
    struct opt_list promoted = {list, 2};
    uint8_t how = n ? data[0] : 0;
    struct otlp_options o = {
        .labels = {.naming = {.utf8 = how & 1, .suffixes = how & 2}, .promoted = how & 4 ? &promoted : NULL, .scope = how & 8, .keep_identifying = how & 16},
        .nhcb = how & 32,
        .delta = how & 64 ? OTLP_DELTA_NATIVE : OTLP_DELTA_REFUSE,
        .body_max = 4 << 20,
        .refuse = refuse,
    };
    struct otlp_write w;
    struct arena a;
    struct err err = {0};
    int rc;

    arena_init(&a, 16 << 20);
    rc = otlp_translate(n ? str_n(data + 1, n - 1) : STR(""), &o, &a, &w, &err);
    if (rc == 0)
        body_check(&w);
    else
        ASSERT((rc == RC_INVALID || rc == RC_LIMIT) && err.text[0]);
    otlp_write_fini(&w);
    arena_fini(&a);
    return 0;
}
