/* chunk.h - one run of samples of one series inside one window, encoded. Timestamps strictly
 * increase inside a chunk. A chunk is floats or histograms, never both. A window holds one or more
 * chunks, which may interleave in time (out-of-order samples are a chunk of their own); chunk_merge
 * brings them into one order. Bytes are self-describing: u8 format version and encoding, uvarint
 * count, payload (each encoding is documented in the file that writes it, with golden files in
 * tests/data/chunk). Bit-exact for every float64, start timestamps included. Threads: none of its
 * own. */
#pragma once
#include "common/base/arena.h"
#include "common/base/buf.h"
#include "common/model/histogram.h"
#include "common/model/sample.h"

enum { CHUNK_SAMPLES_MAX = 4096, CHUNK_BYTES_MAX = 4 << 20 };
enum chunk_kind { CHUNK_FLOATS = 0, CHUNK_HISTOGRAMS = 1 };

/* --- an open float chunk in the head: appended sample by sample, readable at any time --- */
/* About 40 bytes plus its bytes; grows by steps; its encoding is chosen for appending, not for size. */
struct chunk_open;
struct chunk_open *chunk_open_new(void);
void chunk_open_free(struct chunk_open *c);
/* t must be greater than the last t. False (and nothing changed) when CHUNK_SAMPLES_MAX is reached
 * or t is 2^32 ms or more after the first: seal and start another. */
bool chunk_open_append(struct chunk_open *c, int64_t t, uint64_t vbits, int64_t st);
uint32_t chunk_open_count(const struct chunk_open *c);
int64_t chunk_open_first_ms(const struct chunk_open *c);
int64_t chunk_open_last_ms(const struct chunk_open *c);
uint64_t chunk_open_last_bits(const struct chunk_open *c);
/* The chunk's bytes so far, as a complete chunk; borrowed until the next append. */
struct str chunk_open_view(struct chunk_open *c);
/* Brings what an append touches behind *c into the cache. */
void chunk_open_prefetch(const struct chunk_open *c);
size_t chunk_open_memory(const struct chunk_open *c); /* bytes allocated */
/* A chunk of at least one sample in full, to be appended to after chunk_open_load() as if nothing had happened. The bytes
 * behind are left; what is inside the stream is not looked at (RC_CORRUPT). */
void chunk_open_save(struct chunk_open *c, struct buf *out);
struct rd;
int chunk_open_load(struct rd *r, struct chunk_open **ret, struct err *err);

/* --- sealed chunks --- */
/* Encodes n floats with the smallest codec (constant, integer delta, delta-of-delta bit packing,
 * scaled decimal, XOR; timestamps and values apart). st may be NULL. n in 1..CHUNK_SAMPLES_MAX. */
void chunk_encode_floats(struct buf *out, size_t n, const int64_t *t, const double *v,
                         const int64_t *st);
/* out fails when its maximum is passed; chunk_decode reads no more than CHUNK_BYTES_MAX: many large
 * histograms are cut into several chunks. */
void chunk_encode_histograms(struct buf *out, size_t n, const int64_t *t,
                             const struct histogram *const *h, const int64_t *st);

struct chunk_info {
    enum chunk_kind kind;
    uint32_t count;
    int64_t mint_ms, maxt_ms;
};
/* Cheap look at the front, without decoding the samples. RC_CORRUPT, RC_VERSION. */
int chunk_info(struct str bytes, struct chunk_info *ret, struct err *err);

/* What stands behind the first byte of a sealed chunk: count and times, which a block knows anyhow and leaves out. Returns the bytes. */
enum { CHUNK_FRONT_MAX = 30 };
size_t chunk_front(char out[CHUNK_FRONT_MAX], uint32_t count, int64_t mint_ms, int64_t maxt_ms);

/* The form of an open chunk: worth encoding again. */
bool chunk_is_stream(struct str bytes);

/* Decoded columns in time order; v[i] is 0 where hist[i] != NULL; hist NULL when there are only
 * floats; st NULL when no start timestamp is set. */
struct chunk_columns {
    size_t n;
    int64_t *t;
    double *v;
    int64_t *st;
    const struct histogram **hist;
};
/* Appends nothing on failure. Memory from the arena (RC_NOMEM). Every length is checked against the
 * input and CHUNK_SAMPLES_MAX. */
int chunk_decode(struct str bytes, struct arena *a, struct chunk_columns *ret, struct err *err);
/* Merges any number of decoded chunks into time order. Equal (t, value bits, st) once. Where values
 * differ for a timestamp, votes decide: the value that most inputs hold, else the smaller bits (a
 * float before a histogram). Deterministic whatever the order of inputs. */
int chunk_merge(const struct chunk_columns *in, size_t n, struct arena *a,
                struct chunk_columns *ret, struct err *err);
/* The same with votes[i] replicas behind input i (NULL: 1 each). Inputs of one replica are merged
 * first, so that it votes once. Costs one pass over the samples when few inputs overlap at a time,
 * samples times overlapping inputs otherwise. */
int chunk_merge_votes(const struct chunk_columns *in, const uint32_t *votes, size_t n,
                      struct arena *a, struct chunk_columns *ret, struct err *err);
/* Sum of sample_hash over the columns. */
struct u128 chunk_digest(const struct chunk_columns *c);
/* Value word of sample i for sample_hash: float bits, or the upper half of histogram_hash. */
uint64_t chunk_value_word(const struct chunk_columns *c, size_t i);
