/* write2_request.h - a zero-copy walk over a Remote Write 2.0 request (io.prometheus.write.v2.Request: field 4 symbols, 5 timeseries).
 * Strings stand once per request in a symbol table, series name them by number. The table is found first, wherever it stands; a series then gives its
 * references and cursors over samples, histograms and exemplars. Protobuf's rules are followed as in write_request.h: unknown fields (the reserved 1 to 3
 * among them) are skipped, packed and unpacked references are read, the last of a repeated scalar counts, metadata messages are merged.
 * What numbers mean is not judged here: a reference may lie outside the table, their count may be odd, a series may mix samples and histograms.
 * Differential-fuzzed against protobuf-c (tests/fuzz/write2_request_fuzz.c). */
#pragma once
#include "distributor/write_request.h"

enum {
    W2_SYMBOLS_MAX = 1 << 20,
    W2_REFS_MAX    = LABELS_MAX * 2, /* of a series; of more only the first are returned */
};

struct w2_symbols {
    const struct str *v;
    uint32_t n;
};
/* Borrows from the request; the array is the arena's. RC_INVALID on malformed bytes, RC_LIMIT over W2_SYMBOLS_MAX or the arena's budget. */
int w2_symbols_scan(struct str request, struct arena *a, struct w2_symbols *ret, struct err *err);

struct w2_refs {
    uint32_t v[W2_REFS_MAX];
    uint32_t n; /* as sent: may be more than there is room for */
};
struct w2_metadata {
    uint8_t type; /* of Remote Write, 0 to 7; unknown ones are 0 */
    uint32_t help_ref, unit_ref;
};
struct w2_series {
    struct str message; /* the TimeSeries message */
    uint32_t sample_count, histogram_count, exemplar_count;
    int64_t start;      /* of samples that have none: created_timestamp, as drafts of 2.0 have it and senders still send; 0: none */
    struct w2_metadata metadata;
};
/* 1 with a series and its references, 0 at the end, negative on malformed bytes. Start with rd_of(request). */
int w2_next(struct rd *r, struct w2_series *ret, struct w2_refs *ret_refs, struct err *err);
/* The references again, of a message that w2_next gave. */
void w2_series_refs(struct str message, struct w2_refs *ret);

/* Cursors inside a series, as in write_request.h; *ret_st is 0 when none is set. Start with rd_of(series->message). */
int w2_sample_next(struct rd *r, int64_t *ret_t, uint64_t *ret_vbits, int64_t *ret_st, struct err *err);
int w2_histogram_next(struct rd *r, struct arena *a, int64_t *ret_t, int64_t *ret_st, struct histogram *ret, struct err *err);
int w2_exemplar_next(struct rd *r, int64_t *ret_t, double *ret_v, struct w2_refs *ret_refs, struct err *err);

/* The first reference outside the table, or W2_REFS_MAX when all (that were kept) are inside. */
uint32_t w2_refs_outside(const struct w2_refs *refs, const struct w2_symbols *symbols);
/* Labels of the references up to the first pair that is outside the table or incomplete, in their order; v NULL over the arena's budget. */
struct labels w2_labels(const struct w2_refs *refs, const struct w2_symbols *symbols, struct arena *a);
