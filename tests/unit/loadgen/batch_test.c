/* What goes over the wire, read by other decoders than ours where there are any: libsnappy, zlib, libzstd, protobuf-c. Remote Write 1.0 by the distributor's own
 * decoder, which is fuzzed against protobuf-c. */
#include "common/base/rng.h"
#include "common/model/sample.h"
#include "distributor/write_request.h"
#include "loadgen/image.h"
#include "otlp.pb-c.h"
#include "remote_write2.pb-c.h"
#include "tests/test.h"

#include <snappy-c.h>
#include <zlib.h>
#include <zstd.h>

static const int64_t T0 = 1800000000000;

/* 1000 plain series of one generation a minute, 100 native histograms. */
static void model_of(struct model *m, bool special)
{
    model_init(m, &(struct model_cfg){.seed = 7, .series = 1000, .natives = 100, .tenants = 2, .labels = MODEL_LABELS, .churn = 100, .special = special, .epoch_ms = T0});
}

static void unpack(enum codec codec, struct str in, struct buf *out)
{
    z_stream z = {.next_in = (Bytef *)(uintptr_t)in.p, .avail_in = (uInt)in.n};
    size_t n = 64 << 20;

    buf_init(out, n);
    CHECK(buf_space(out, n));
    switch (codec) {
    case CODEC_SNAPPY:
        CHECK(snappy_uncompress(in.p, in.n, out->p, &n) == SNAPPY_OK);
        break;
    case CODEC_GZIP:
        z.next_out = (Bytef *)out->p;
        z.avail_out = (uInt)n;
        CHECK(inflateInit2(&z, 16 + MAX_WBITS) == Z_OK && inflate(&z, Z_FINISH) == Z_STREAM_END && z.avail_in == 0);
        n = z.total_out;
        inflateEnd(&z);
        break;
    case CODEC_ZSTD:
        n = ZSTD_decompress(out->p, n, in.p, in.n);
        CHECK(!ZSTD_isError(n));
        break;
    default:
        CHECK(in.n <= n);
        n = in.n;
        memcpy(out->p, in.p, n);
    }
    out->n = n;
}

/* --- snappy_pack --- */

/* Text that repeats itself now and then, with marks strewn in. */
static void random_skeleton(struct rng *r, struct skeleton *s)
{
    static const uint8_t kinds[] = {MARK_VALUE, MARK_TIME_MS, MARK_TIME_MS, MARK_TRACE_HEX, MARK_TIME_NS};
    uint32_t values = 0;
    size_t pieces = rng_below(r, 300);

    skeleton_clear(s);
    for (size_t i = 0; i < pieces; i++) {
        uint64_t kind = rng_below(r, 8);
        size_t n = rng_below(r, rng_below(r, 10) ? 40 : 5000), from = s->body.n ? rng_below(r, s->body.n) : 0;

        if (kind < ARRAY_LEN(kinds)) {
            skeleton_mark(s, kinds[kind], kinds[kind] == MARK_VALUE ? values++ : 0);
        } else if (kind == 5) {
            for (size_t k = 0; k < n; k++)
                buf_u8(&s->body, (uint8_t)rng_u64(r));
        } else {
            n = MIN(n, s->body.n - from);
            buf_reserve(&s->body, n);
            buf_add(&s->body, s->body.p + from, n);
        }
    }
}

static void fill(struct rng *r, const struct mark *m, const uint8_t *time, uint8_t *out)
{
    for (size_t i = 0; i < mark_size(m->kind); i++)
        out[i] = m->kind == MARK_TIME_MS || m->kind == MARK_TIME_NS ? (uint8_t)(time[i] + m->kind) : (uint8_t)rng_u64(r);
}

TEST(a_packed_skeleton_unpacks_to_its_patched_bytes_whatever_they_are)
{
    struct rng r;
    struct skeleton s;
    struct patches patches = {0};
    struct buf packed, got;
    size_t raw = 0, wire = 0;

    rng_init(&r, test_seed());
    skeleton_init(&s);
    buf_init(&packed, 64 << 20);
    for (int round = 0; round < 60; round++) {
        random_skeleton(&r, &s);
        snappy_pack(&s, &packed, &patches);
        for (int again = 0; again < 3; again++) {
            uint8_t time[8];

            le_put64(time, rng_u64(&r));
            for (size_t i = 0; i < s.marks.n; i++) {
                uint8_t bytes[MARK_BYTES_MAX];

                fill(&r, &s.marks.v[i], time, bytes);
                memcpy(s.body.p + s.marks.v[i].at, bytes, mark_size(s.marks.v[i].kind));
            }
            /* Patches are in the order of the marks, but a mark of the time may have none, or several. */
            for (size_t i = 0, k = 0; i < patches.v.n; i++) {
                const struct patch *p = &patches.v.v[i];
                uint8_t bytes[MARK_BYTES_MAX];

                if (p->kind == MARK_TIME_MS || p->kind == MARK_TIME_NS) {
                    fill(&r, &(struct mark){.kind = p->kind}, time, bytes);
                    memcpy(packed.p + p->at, bytes + p->from, p->n);
                    continue;
                }
                while (s.marks.v[k].kind == MARK_TIME_MS || s.marks.v[k].kind == MARK_TIME_NS)
                    k++;
                CHECK(p->kind == s.marks.v[k].kind && p->series == s.marks.v[k].series && p->from == 0 && p->n == mark_size(p->kind));
                memcpy(packed.p + p->at, s.body.p + s.marks.v[k++].at, p->n);
            }
            unpack(CODEC_SNAPPY, buf_view(&packed), &got);
            CHECK(str_eq(buf_view(&got), buf_view(&s.body)));
            buf_fini(&got);
        }
        raw += s.body.n;
        wire += packed.n;
    }
    CHECK(wire < raw); /* it does compress */
    vec_fini(&patches.v);
    skeleton_fini(&s);
    buf_fini(&packed);
}

/* --- one batch, in every protocol and codec --- */

struct world {
    struct model m;
    struct image_cfg cfg;
    struct image_tools tools;
    struct image im;
    struct buf out, body;
};

static void world_init(struct world *w, enum protocol protocol, enum codec codec, uint32_t first, uint32_t count, uint8_t replica)
{
    model_of(&w->m, protocol != PROTOCOL_OTLP);
    w->cfg = (struct image_cfg){&w->m, protocol, codec, 30};
    image_tools_init(&w->tools, codec);
    image_init(&w->im, &w->cfg, &w->tools, 1, first, count, replica);
    buf_init(&w->out, IMAGE_BYTES_MAX);
    buf_init(&w->body, 0);
}

static void world_at(struct world *w, int64_t t_ms)
{
    size_t raw;
    struct str wire = image_at(&w->im, t_ms, &w->out, &raw);

    buf_fini(&w->body);
    unpack(w->cfg.codec, wire, &w->body);
    CHECK_INT(w->body.n, raw);
}

static void world_fini(struct world *w)
{
    image_fini(&w->im);
    image_tools_fini(&w->tools);
    buf_fini(&w->out);
    buf_fini(&w->body);
}

static struct series_id id_at(const struct world *w, uint32_t k, int64_t t_ms)
{
    uint32_t index = w->im.batch.first + k;

    return (struct series_id){1, index, model_generation(&w->m, 1, model_target(&w->m, index), t_ms)};
}

static void want_labels(const struct world *w, struct series_id id, struct model_labels *ret)
{
    model_labels(&w->m, id, ret);
    if (w->im.batch.replica)
        model_labels_add(ret, STR("__replica__"), STR("replica-b"));
}

static void want_exemplar(const struct world *w, struct series_id id, int64_t t_ms, uint8_t trace[16], char hex[33], double *value)
{
    struct model_seed seed = model_seed(&w->m, id);

    model_exemplar(&seed, t_ms, trace, value);
    hex_put(hex, trace, 16);
}

static void check_rw1(const struct world *w, int64_t t_ms)
{
    struct rd r = rd_of(buf_view(&w->body)), in;
    struct arena arena;
    struct err err;
    struct wr_series s;
    struct str metadata;

    arena_init(&arena, 64 << 20);
    for (uint32_t k = 0; k < w->im.batch.count; k++) {
        struct series_id id = id_at(w, k, t_ms);
        struct model_labels want;
        struct labels labels;
        struct label label;
        uint64_t bits;
        int64_t t;

        CHECK_INT(wr_next(&r, &s, &metadata, &err), 1);
        want_labels(w, id, &want);
        CHECK_INT(s.label_count, want.n);
        in = rd_of(s.message);
        for (size_t i = 0; i < want.n; i++) {
            CHECK_INT(wr_label_next(&in, &label, &err), 1);
            CHECK(str_eq(label.name, want.name[i]) && str_eq(label.value, want.value[i]));
        }
        in = rd_of(s.message);
        if (model_is_native(&w->m, id.index)) {
            struct model_native native;
            struct histogram h;

            CHECK(s.sample_count == 0 && s.histogram_count == 1);
            CHECK_INT(wr_histogram_next(&in, &arena, &t, &h, &err), 1);
            model_native(&w->m, id, t_ms, &native);
            CHECK(t == t_ms && histogram_eq(&h, &native.h));
        } else {
            CHECK(s.sample_count == 1 && s.histogram_count == 0);
            CHECK_INT(wr_sample_next(&in, &t, &bits, &err), 1);
            CHECK(t == t_ms && bits == model_value(&w->m, id, t_ms));
        }
        CHECK_INT(s.exemplar_count, model_has_exemplar(&w->m, id, 30));
        if (s.exemplar_count) {
            uint8_t trace[16];
            char hex[33];
            double value, v;

            in = rd_of(s.message);
            want_exemplar(w, id, t_ms, trace, hex, &value);
            CHECK_INT(wr_exemplar_next(&in, &arena, &t, &v, &labels, &err), 1);
            CHECK(t == t_ms && v == value && labels.n == 1 && str_eqz(labels.v[0].name, "trace_id") && str_eqz(labels.v[0].value, hex));
        }
    }
    CHECK_INT(wr_next(&r, &s, &metadata, &err), 0);
    arena_fini(&arena);
}

static struct str symbol(const Remote2__Request *q, uint32_t ref)
{
    CHECK(ref < q->n_symbols);
    return str_n(q->symbols[ref].data, q->symbols[ref].len);
}

static void check_rw2_native(const struct world *w, const Remote2__Histogram *h, struct series_id id, int64_t t_ms)
{
    struct model_native n;
    int64_t sum = 0;
    size_t at = 0;

    model_native(&w->m, id, t_ms, &n);
    CHECK(h->count_case == REMOTE2__HISTOGRAM__COUNT_COUNT_INT && h->count_int == n.h.count.i && h->zero_count_int == n.h.zero_count.i);
    CHECK(h->sum == n.h.sum && h->schema == n.h.schema && h->zero_threshold == n.h.zero_threshold && h->timestamp == t_ms);
    CHECK(h->n_positive_spans == n.h.pos.span_count && h->n_negative_spans == 0 && h->n_positive_deltas == NATIVE_BUCKETS);
    for (size_t i = 0; i < h->n_positive_spans; i++)
        CHECK(h->positive_spans[i]->offset == n.spans[i].offset && h->positive_spans[i]->length == n.spans[i].length);
    for (; at < h->n_positive_deltas; at++) {
        sum += h->positive_deltas[at];
        CHECK((uint64_t)sum == n.counts[at]);
    }
}

static void check_rw2(const struct world *w, int64_t t_ms)
{
    Remote2__Request *q = remote2__request__unpack(NULL, w->body.n, (const uint8_t *)w->body.p);

    CHECK(q && q->n_timeseries == w->im.batch.count && q->symbols[0].len == 0);
    for (uint32_t k = 0; k < w->im.batch.count; k++) {
        const Remote2__TimeSeries *s = q->timeseries[k];
        struct series_id id = id_at(w, k, t_ms);
        bool native = model_is_native(&w->m, id.index);
        struct model_labels want;

        want_labels(w, id, &want);
        CHECK_INT(s->n_labels_refs, want.n * 2);
        for (size_t i = 0; i < want.n; i++)
            CHECK(str_eq(symbol(q, s->labels_refs[2 * i]), want.name[i]) && str_eq(symbol(q, s->labels_refs[2 * i + 1]), want.value[i]));
        CHECK(s->n_samples == !native && s->n_histograms == native && s->metadata->type == model_type(&w->m, id.index));
        if (native)
            check_rw2_native(w, s->histograms[0], id, t_ms);
        else
            CHECK(s->samples[0]->timestamp == t_ms && double_bits(s->samples[0]->value) == model_value(&w->m, id, t_ms));
        CHECK_INT(s->n_exemplars, model_has_exemplar(&w->m, id, 30));
        if (s->n_exemplars) {
            uint8_t trace[16];
            char hex[33];
            double value;

            want_exemplar(w, id, t_ms, trace, hex, &value);
            CHECK(s->exemplars[0]->timestamp == t_ms && s->exemplars[0]->value == value && s->exemplars[0]->n_labels_refs == 2);
            CHECK(str_eqz(symbol(q, s->exemplars[0]->labels_refs[0]), "trace_id") && str_eqz(symbol(q, s->exemplars[0]->labels_refs[1]), hex));
        }
    }
    /* Each text once, but for the traces, which differ anyway. */
    for (size_t i = 0; i < q->n_symbols; i++)
        for (size_t k = 0; k < i; k++)
            CHECK(!str_eq(symbol(q, (uint32_t)i), symbol(q, (uint32_t)k)));
    remote2__request__free_unpacked(q, NULL);
}

/* --- OTLP: as a receiver makes labels of it --- */

static struct str attribute(LoadgenOtlp__KeyValue *const *v, size_t n, struct str name)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq(str_of(v[i]->key), name))
            return str_of(v[i]->value->string_value);
    return (struct str){0};
}

static void check_otlp_labels(const LoadgenOtlp__Resource *resource, const char *name, LoadgenOtlp__KeyValue *const *v, size_t n, const struct model_labels *want)
{
    char job[128];

    snprintf(job, sizeof job, "%s/%s", attribute(resource->attributes, resource->n_attributes, STR("service.namespace")).p,
             attribute(resource->attributes, resource->n_attributes, STR("service.name")).p);
    CHECK_INT(n + 3, want->n);
    for (size_t i = 0; i < want->n; i++) {
        if (str_eqz(want->name[i], "__name__"))
            CHECK(str_eqz(want->value[i], name));
        else if (str_eqz(want->name[i], "job"))
            CHECK(str_eqz(want->value[i], job));
        else if (str_eqz(want->name[i], "instance"))
            CHECK(str_eq(want->value[i], attribute(resource->attributes, resource->n_attributes, STR("service.instance.id"))));
        else
            CHECK(str_eq(want->value[i], attribute(v, n, want->name[i])));
    }
}

static void check_otlp_number(const struct world *w, const LoadgenOtlp__Resource *r, const char *name, const LoadgenOtlp__NumberDataPoint *p, uint32_t k, int64_t t_ms)
{
    struct series_id id = id_at(w, k, t_ms);
    struct model_labels want;

    want_labels(w, id, &want);
    check_otlp_labels(r, name, p->attributes, p->n_attributes, &want);
    CHECK(p->time_unix_nano == (uint64_t)t_ms * 1000000 && double_bits(p->as_double) == model_value(&w->m, id, t_ms));
    CHECK_INT(p->n_exemplars, model_has_exemplar(&w->m, id, 30));
    if (p->n_exemplars) {
        uint8_t trace[16];
        char hex[33];
        double value;

        want_exemplar(w, id, t_ms, trace, hex, &value);
        CHECK(p->exemplars[0]->as_double == value && p->exemplars[0]->time_unix_nano == (uint64_t)t_ms * 1000000);
        CHECK(p->exemplars[0]->trace_id.len == 16 && memcmp(p->exemplars[0]->trace_id.data, trace, 16) == 0);
    }
}

static void check_otlp_native(const struct world *w, const LoadgenOtlp__Resource *r, const char *name, const LoadgenOtlp__ExponentialHistogramDataPoint *p, uint32_t k,
                              int64_t t_ms)
{
    struct series_id id = id_at(w, k, t_ms);
    struct model_labels want;
    struct model_native n;
    struct hist_walk walk;
    uint64_t inside = 0, all = 0;

    want_labels(w, id, &want);
    check_otlp_labels(r, name, p->attributes, p->n_attributes, &want);
    model_native(&w->m, id, t_ms, &n);
    CHECK(p->count == n.h.count.i && p->sum == n.h.sum && p->scale == n.h.schema && p->zero_count == n.h.zero_count.i && p->time_unix_nano == (uint64_t)t_ms * 1000000);
    hist_walk_init(&walk, &n.h.pos);
    while (hist_walk_next(&walk)) {
        int64_t at = walk.index - 1 - p->positive->offset;

        CHECK(at >= 0 && (size_t)at < p->positive->n_bucket_counts && p->positive->bucket_counts[at] == n.counts[walk.at]);
        inside += n.counts[walk.at];
    }
    for (size_t i = 0; i < p->positive->n_bucket_counts; i++)
        all += p->positive->bucket_counts[i];
    CHECK(inside == all && inside + p->zero_count == p->count);
}

static void check_otlp(const struct world *w, int64_t t_ms)
{
    LoadgenOtlp__ExportMetricsServiceRequest *q = loadgen_otlp__export_metrics_service_request__unpack(NULL, w->body.n, (const uint8_t *)w->body.p);
    uint32_t k = 0;

    CHECK(q);
    for (size_t i = 0; i < q->n_resource_metrics; i++) {
        const LoadgenOtlp__ResourceMetrics *r = q->resource_metrics[i];

        CHECK(r->n_scope_metrics == 1);
        for (size_t j = 0; j < r->scope_metrics[0]->n_metrics; j++) {
            const LoadgenOtlp__Metric *m = r->scope_metrics[0]->metrics[j];

            switch (m->data_case) {
            case LOADGEN_OTLP__METRIC__DATA_SUM:
                CHECK(m->sum->is_monotonic && m->sum->aggregation_temporality == 2 && str_has_suffix(str_of(m->name), STR("_total")));
                for (size_t p = 0; p < m->sum->n_data_points; p++)
                    check_otlp_number(w, r->resource, m->name, m->sum->data_points[p], k++, t_ms);
                break;
            case LOADGEN_OTLP__METRIC__DATA_GAUGE:
                CHECK(!str_has_suffix(str_of(m->name), STR("_total")));
                for (size_t p = 0; p < m->gauge->n_data_points; p++)
                    check_otlp_number(w, r->resource, m->name, m->gauge->data_points[p], k++, t_ms);
                break;
            default:
                CHECK(m->data_case == LOADGEN_OTLP__METRIC__DATA_EXPONENTIAL_HISTOGRAM && m->exponential_histogram->aggregation_temporality == 2);
                for (size_t p = 0; p < m->exponential_histogram->n_data_points; p++)
                    check_otlp_native(w, r->resource, m->name, m->exponential_histogram->data_points[p], k++, t_ms);
            }
        }
    }
    CHECK_INT(k, w->im.batch.count);
    loadgen_otlp__export_metrics_service_request__free_unpacked(q, NULL);
}

TEST(every_protocol_and_codec_carries_the_samples_of_its_time)
{
    static const struct {
        enum protocol protocol;
        enum codec codec;
        void (*check)(const struct world *w, int64_t t_ms);
    } cases[] = {
        {PROTOCOL_RW1, CODEC_SNAPPY, check_rw1}, {PROTOCOL_RW1, CODEC_ZSTD, check_rw1}, {PROTOCOL_RW1, CODEC_GZIP, check_rw1},   {PROTOCOL_RW2, CODEC_SNAPPY, check_rw2},
        {PROTOCOL_RW2, CODEC_ZSTD, check_rw2},   {PROTOCOL_OTLP, CODEC_NONE, check_otlp}, {PROTOCOL_OTLP, CODEC_GZIP, check_otlp}, {PROTOCOL_OTLP, CODEC_ZSTD, check_otlp},
    };
    /* Runs that begin and end inside a target; native histograms; a replica's. Through changes of generation and back in time. */
    static const struct {
        uint32_t first, count;
        uint8_t replica;
    } runs[] = {{200, 613, 0}, {1003, 50, 0}, {0, 300, 'b'}, {999, 1, 0}};

    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        for (size_t k = 0; k < ARRAY_LEN(runs); k++) {
            struct world *w = xcalloc(1, sizeof *w);

            world_init(w, cases[i].protocol, cases[i].codec, runs[k].first, runs[k].count, runs[k].replica);
            for (int64_t t = T0; t < T0 + 120000; t += 29999) {
                world_at(w, t);
                cases[i].check(w, t);
            }
            world_at(w, T0);
            cases[i].check(w, T0);
            world_fini(w);
            free(w);
        }
}

TEST(the_same_time_gives_the_same_bytes)
{
    struct world *w = xcalloc(1, sizeof *w);
    struct buf first;
    size_t raw;

    world_init(w, PROTOCOL_RW1, CODEC_SNAPPY, 0, 300, 0);
    buf_init(&first, IMAGE_BYTES_MAX);
    buf_str(&first, image_at(&w->im, T0, &w->out, &raw));
    CHECK(!str_eq(buf_view(&first), image_at(&w->im, T0 + 1, &w->out, &raw)));
    CHECK(str_eq(buf_view(&first), image_at(&w->im, T0, &w->out, &raw)));
    buf_fini(&first);
    world_fini(w);
    free(w);
}

/* The point of snappy_pack.h: nearly as small as libsnappy makes it. */
TEST(packing_once_costs_few_bytes)
{
    struct world *w = xcalloc(1, sizeof *w);
    struct buf again;
    struct str wire;
    size_t raw, n;

    world_init(w, PROTOCOL_RW1, CODEC_SNAPPY, 0, 1000, 0);
    wire = image_at(&w->im, T0, &w->out, &raw);
    unpack(CODEC_SNAPPY, wire, &w->body);
    n = snappy_max_compressed_length(raw);
    buf_init(&again, n);
    CHECK(buf_space(&again, n) && snappy_compress(w->body.p, raw, again.p, &n) == SNAPPY_OK);
    CHECK(wire.n < n * 5 / 4);
    buf_fini(&again);
    world_fini(w);
    free(w);
}
