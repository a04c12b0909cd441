/* Remote Write 1.0. WriteRequest: 1 timeseries. TimeSeries: 1 labels, 2 samples, 3 exemplars, 4 histograms. Label: 1 name, 2 value.
 * Exemplar: 1 labels, 2 value, 3 timestamp. */
#include "loadgen/batch_encode.h"

static void put_label(struct skeleton *out, struct str name, struct str value)
{
    size_t at = pb_begin(out, 1);

    pb_str(out, 1, name);
    pb_str(out, 2, value);
    pb_end(out, at);
}

static void put_exemplar(struct skeleton *out, uint32_t k)
{
    size_t exemplar = pb_begin(out, 3), label = pb_begin(out, 1), value;

    pb_str(out, 1, STR("trace_id"));
    value = pb_begin(out, 2);
    skeleton_mark(out, MARK_TRACE_HEX, k);
    pb_end(out, value);
    pb_end(out, label);
    pb_tag(out, 2, PB_FIXED64);
    skeleton_mark(out, MARK_EXEMPLAR_VALUE, k);
    pb_tag(out, 3, PB_VARINT);
    skeleton_mark(out, MARK_TIME_MS, k);
    pb_end(out, exemplar);
}

static void put_labels(const struct batch *b, uint32_t k, struct skeleton *out)
{
    size_t begin = out->body.n;
    struct model_labels labels;

    if (piece_copy(b, k, out))
        return;
    batch_labels(b, k, &labels);
    for (size_t i = 0; i < labels.n; i++)
        put_label(out, labels.name[i], labels.value[i]);
    piece_keep(b, k, out, begin);
}

void batch_encode_rw1(const struct batch *b, int64_t t_ms, struct skeleton *out)
{
    struct model_native native;

    for (uint32_t k = 0; k < b->count; k++) {
        size_t series = pb_begin(out, 1);

        put_labels(b, k, out);
        if (batch_is_native(b)) {
            model_native(b->model, batch_id(b, k), t_ms, &native);
            put_native(out, 4, &native.h, t_ms);
        } else {
            put_sample(out, 2, k);
        }
        if (model_has_exemplar(b->model, batch_id(b, k), b->exemplars))
            put_exemplar(out, k);
        pb_end(out, series);
    }
}
