/* Remote Write 2.0. Request: 4 symbols, 5 timeseries. TimeSeries: 1 labels_refs (packed), 2 samples, 3 histograms, 4 exemplars, 5 metadata.
 * Piece 0 are the symbols, piece k + 1 the references of series k.
 * Exemplar: 1 labels_refs, 2 value, 3 timestamp. Metadata: 1 type, 3 help_ref, 4 unit_ref. A trace is different each time: it is a symbol
 * of its own, behind all others, whose bytes are left open. */
#include "loadgen/batch_encode.h"
#include "loadgen/symbols.h"

static const struct str trace_name = {"trace_id", 8};

static void put_symbols(const struct batch *b, struct symbols *symbols, struct skeleton *out)
{
    struct model_labels labels;

    if (piece_copy(b, 0, out))
        return;
    for (uint32_t k = 0; k < b->count; k++) {
        batch_labels(b, k, &labels);
        for (size_t i = 0; i < labels.n; i++) {
            symbols_ref(symbols, labels.name[i]);
            symbols_ref(symbols, labels.value[i]);
        }
    }
    if (b->exemplars > 0)
        symbols_ref(symbols, trace_name);
    for (uint32_t i = 0; i < symbols->v.n; i++)
        pb_str(out, 4, symbols_text(symbols, i));
    piece_keep(b, 0, out, 0);
    for (uint32_t k = 0; k < b->count; k++)
        if (model_has_exemplar(b->model, batch_id(b, k), b->exemplars)) {
            size_t at = pb_begin(out, 4);

            skeleton_mark(out, MARK_TRACE_HEX, k);
            pb_end(out, at);
        }
}

static void put_exemplar(struct skeleton *out, uint32_t k, uint32_t name, uint32_t value)
{
    size_t exemplar = pb_begin(out, 4), refs = pb_begin(out, 1);

    buf_uvarint(&out->body, name);
    buf_uvarint(&out->body, value);
    pb_end(out, refs);
    pb_tag(out, 2, PB_FIXED64);
    skeleton_mark(out, MARK_EXEMPLAR_VALUE, k);
    pb_tag(out, 3, PB_VARINT);
    skeleton_mark(out, MARK_TIME_MS, k);
    pb_end(out, exemplar);
}

static void put_labels(const struct batch *b, uint32_t k, struct symbols *symbols, struct skeleton *out)
{
    struct model_labels labels;
    size_t begin = out->body.n, refs;

    if (piece_copy(b, k + 1, out))
        return;
    refs = pb_begin(out, 1);
    batch_labels(b, k, &labels);
    for (size_t i = 0; i < labels.n; i++) {
        buf_uvarint(&out->body, symbols_ref(symbols, labels.name[i]));
        buf_uvarint(&out->body, symbols_ref(symbols, labels.value[i]));
    }
    pb_end(out, refs);
    piece_keep(b, k + 1, out, begin);
}

void batch_encode_rw2(const struct batch *b, int64_t t_ms, struct skeleton *out)
{
    struct model_native native;
    struct symbols symbols;
    uint32_t trace;

    symbols_init(&symbols);
    put_symbols(b, &symbols, out);
    trace = (uint32_t)symbols.v.n;
    for (uint32_t k = 0; k < b->count; k++) {
        size_t series = pb_begin(out, 5), metadata;

        put_labels(b, k, &symbols, out);
        if (batch_is_native(b)) {
            model_native(b->model, batch_id(b, k), t_ms, &native);
            put_native(out, 3, &native.h, t_ms);
        } else {
            put_sample(out, 2, k);
        }
        if (model_has_exemplar(b->model, batch_id(b, k), b->exemplars))
            put_exemplar(out, k, symbols_ref(&symbols, trace_name), trace++);
        metadata = pb_begin(out, 5);
        pb_uint(out, 1, model_type(b->model, b->first + k));
        pb_end(out, metadata);
        pb_end(out, series);
    }
    symbols_fini(&symbols);
}
