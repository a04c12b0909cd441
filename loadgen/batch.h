/* batch.h - a run of one tenant's series that are always sent together, and the three ways to write it down.
 * Plain series are written with their bytes left open (skeleton.h); native histograms, whose size changes, with what they hold at t_ms. A batch has one kind only. */
#pragma once
#include "loadgen/model.h"
#include "loadgen/skeleton.h"

enum protocol {
    PROTOCOL_RW1,  /* Remote Write 1.0: prometheus.WriteRequest */
    PROTOCOL_RW2,  /* Remote Write 2.0: io.prometheus.write.v2.Request */
    PROTOCOL_OTLP, /* OTLP/HTTP: ExportMetricsServiceRequest */
    PROTOCOL_COUNT
};
enum { BATCH_SERIES_MAX = 100000 };

/* Bytes that an encoder would write again and again: its labels, by number. */
struct pieces {
    struct buf bytes;
    VEC(uint32_t) ends; /* of each in bytes */
};

struct batch {
    const struct model *model; /* borrowed */
    uint32_t tenant, first, count; /* series [first, first + count) */
    uint32_t *generations;     /* of the targets that it touches, in their order */
    uint8_t replica;           /* of an HA pair: 'a', 'b'; 0: none */
    double exemplars;          /* percent, see model_has_exemplar() */
    struct pieces *labels;     /* native histograms: kept from one encoding to the next; empty it when a generation changes. NULL: nothing is kept */
};

struct series_id batch_id(const struct batch *b, uint32_t k);
/* With __replica__, when there is one. */
void batch_labels(const struct batch *b, uint32_t k, struct model_labels *ret);
static inline bool batch_is_native(const struct batch *b)
{
    return model_is_native(b->model, b->first);
}

/* Into the cleared out. */
void batch_encode(const struct batch *b, enum protocol protocol, int64_t t_ms, struct skeleton *out);
