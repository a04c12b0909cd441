/* recording.h - a recorded scrape, to be sent again: its series, and for each the values that it had.
 * A file is one scrape in Prometheus's text format 0.0.4 or OpenMetrics 1.0 (exposition.h reads it), or several in one file when each sample has a
 * timestamp: a series that occurs k times sends its k values in turn. Like a scraper, labels job and instance are added and what the file has under
 * these names becomes exported_job and exported_instance.
 * Immutable once read. */
#pragma once
#include "common/base/arena.h"
#include "common/model/labels.h"

enum { RECORDING_BYTES_MAX = 256 << 20, RECORDING_SERIES_MAX = 2000000, RECORDING_VALUES_MAX = 64 << 20 };
enum { LABELS_PER_SERIES_MAX = 64 }; /* those that are added included */

/* As metadata has it on the wire. */
enum metric_type_wire {
    TYPE_UNKNOWN,
    TYPE_COUNTER,
    TYPE_GAUGE,
    TYPE_HISTOGRAM,
    TYPE_GAUGEHISTOGRAM,
    TYPE_SUMMARY,
    TYPE_INFO,
    TYPE_STATESET,
};

struct recorded_series {
    struct labels labels; /* sorted, with __name__, without job and instance */
    uint8_t type;         /* enum metric_type_wire */
    uint64_t *values;     /* bits, oldest first */
    uint32_t value_n;
};

struct recording {
    struct arena arena;
    struct recorded_series *series;
    uint32_t series_n;
    uint64_t fingerprint; /* of the file's bytes */
};

/* RC_INVALID names the line. */
int recording_read(struct str text, struct recording *ret, struct err *err);
int recording_open(const char *path, struct recording *ret, struct err *err);
void recording_free(struct recording *r); /* a zeroed one is fine */
