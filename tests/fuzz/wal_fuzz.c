/* Any bytes as a segment: refused, or records up to a place from where on a second reading finds
 * the same, whole. First byte: how the segment is read;
 * with bit 0 set the rest is put behind a right header, so that records are reached without a
 * checksum to guess. */
#include "tsdb/wal_format.h"
#include "tsdb/wal_payload.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

struct seen {
    uint64_t records;
    struct u128 sum;
};

static void list(enum wal_type type, struct str payload, struct arena *a)
{
    struct wal_metadata metadata;
    struct wal_histogram hist;
    struct wal_exemplar exemplar;
    struct wal_list l;
    struct labels ls;
    fingerprint fp;
    int rc = wal_list_open(payload, &l, NULL);

    for (rc = rc < 0 ? rc : 1; rc == 1;)
        rc = type == WAL_SERIES       ? wal_series_next(&l, a, &fp, &ls, NULL)
             : type == WAL_HISTOGRAMS ? wal_histogram_next(&l, a, &hist, NULL)
             : type == WAL_EXEMPLARS  ? wal_exemplar_next(&l, a, &exemplar, NULL)
                                      : wal_metadata_next(&l, &metadata, NULL);
}

static int see(void *arg, enum wal_type type, struct str payload, int64_t *ret_t_max_ms,
               UNUSED struct err *err)
{
    struct seen *s = arg;
    struct wal_samples samples;
    struct wal_mark mark;
    struct arena a;

    arena_init(&a, 16 << 20);
    s->records++;
    s->sum = u128_add(s->sum, hash128(payload.p, payload.n, s->records));
    if (wal_samples_decode(payload, &samples, NULL) == 0)
        *ret_t_max_ms = wal_samples_t_max(&samples);
    list(type, payload, &a);
    (void)wal_mark_decode(payload, &mark, NULL);
    arena_fini(&a);
    return 0;
}

/* A record's checksum is put right where its length fits: else no mutation would pass. */
static void mend(uint8_t *p, size_t n)
{
    for (size_t at = WAL_HEADER_BYTES; n - at >= WAL_RECORD_HEADER_BYTES;) {
        uint32_t length = le_get32(p + at + 4);

        if (length > n - at - WAL_RECORD_HEADER_BYTES)
            break;
        le_put32(p + at, crc32c(0, p + at + 4, 8 + (size_t)length));
        at += WAL_RECORD_HEADER_BYTES + (size_t)length;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct wal_header want = {WAL_KIND_SEGMENT, 1, 1, 7, 0};
    uint64_t valid = 0, again = 0;
    struct seen first = {0}, second = {0};
    uint8_t *bytes;
    bool last;

    if (n < 1)
        return 0;
    last = data[0] & 2;
    want.kind = data[0] & 4 ? WAL_KIND_CHECKPOINT : WAL_KIND_SEGMENT;
    bytes = malloc(n + WAL_HEADER_BYTES);
    if (data[0] & 1) {
        wal_header_encode(&want, bytes);
        memcpy(bytes + WAL_HEADER_BYTES, data + 1, n - 1);
        n += WAL_HEADER_BYTES - 1;
    } else {
        memcpy(bytes, data + 1, --n);
    }
    if ((data[0] & 9) == 9)
        mend(bytes, n);
    if (wal_segment_scan(str_n(bytes, n), &want, last, see, &first, &valid, NULL) == 0) {
        ASSERT(valid <= n && (last || valid == n));
        ASSERT(valid == 0 || wal_segment_scan(str_n(bytes, valid), &want, false, see, &second,
                                              &again, NULL) == 0);
        ASSERT(again == valid &&
               (valid == 0 || (first.records == second.records && u128_eq(first.sum, second.sum))));
    }
    free(bytes);
    return 0;
}
