/* read_answer.h - the answer to a remote read: series with labels and samples. Bytes from outside. Pure.
 * Snappy (block format) around a protobuf, as prometheus/prompb/remote.proto and types.proto number it: ReadResponse { 1 results { 1 timeseries { 1 labels { 1 name,
 * 2 value }, 2 samples { 1 value f64, 2 timestamp }, 4 histograms { 15 timestamp } } } }. Of histograms only the time is read. Fields that are not known are skipped. */
#pragma once
#include "common/base/buf.h"
#include "common/base/vec.h"
#include "common/model/labels.h"
#include "loadgen/judge.h"

enum { READ_ANSWER_BYTES_MAX = 512 << 20, READ_ANSWER_LABELS_MAX = 64 };

struct read_series {
    struct label pairs[READ_ANSWER_LABELS_MAX]; /* borrowed from the bytes */
    size_t labels;
    VEC(struct judge_sample) samples;
    VEC(int64_t) histogram_times;
};
/* Calls fn for each series; what it returns below 0 ends the reading and is passed on. RC_CORRUPT, RC_LIMIT. */
int read_answer_decode(struct str bytes, int (*fn)(void *arg, struct read_series *s, struct err *err), void *arg, struct err *err);
/* The protobuf from the block. */
int read_answer_inflate(struct str block, struct buf *ret, struct err *err);
