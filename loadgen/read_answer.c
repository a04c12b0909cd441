#include "loadgen/read_answer.h"

#include "common/base/bytes.h"

#include <snappy-c.h>

enum wire { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

struct field {
    uint64_t number;
    uint64_t value; /* of a number */
    struct str bytes;
};

/* 1 and a field, 0 at the end, RC_CORRUPT. */
static int next_field(struct rd *r, struct field *f, struct err *err)
{
    uint64_t tag;

    if (rd_left(r) == 0)
        return 0;
    tag = rd_uvarint(r);
    *f = (struct field){.number = tag >> 3};
    switch ((enum wire)(tag & 7)) {
    case WIRE_VARINT:
        f->value = rd_uvarint(r);
        break;
    case WIRE_64:
        f->value = rd_u64(r);
        break;
    case WIRE_BYTES:
        f->bytes = rd_lstr(r);
        break;
    case WIRE_32:
        f->value = rd_u32(r);
        break;
    default:
        return err_set(err, RC_CORRUPT, "remote read: wire type %d", (int)(tag & 7));
    }
    CORRUPT_UNLESS(rd_ok(r), err);
    return 1;
}

static int read_label(struct str bytes, struct read_series *s, struct err *err)
{
    struct rd r = rd_of(bytes);
    struct field f;
    int rc;

    CORRUPT_UNLESS(s->labels < READ_ANSWER_LABELS_MAX, err);
    s->pairs[s->labels] = (struct label){STR(""), STR("")};
    while ((rc = next_field(&r, &f, err)) == 1) {
        if (f.number == 1)
            s->pairs[s->labels].name = f.bytes.p ? f.bytes : STR("");
        else if (f.number == 2)
            s->pairs[s->labels].value = f.bytes.p ? f.bytes : STR("");
    }
    s->labels++;
    return rc;
}

static int read_sample(struct str bytes, struct read_series *s, struct err *err)
{
    struct rd r = rd_of(bytes);
    struct judge_sample sample = {0};
    struct field f;
    int rc;

    while ((rc = next_field(&r, &f, err)) == 1) {
        if (f.number == 1)
            sample.bits = f.value;
        else if (f.number == 2)
            sample.t_ms = (int64_t)f.value;
    }
    if (rc == 0)
        *vec_push(&s->samples) = sample;
    return rc;
}

static int read_histogram_time(struct str bytes, struct read_series *s, struct err *err)
{
    enum { TIMESTAMP = 15 };
    struct rd r = rd_of(bytes);
    int64_t t_ms = 0;
    struct field f;
    int rc;

    while ((rc = next_field(&r, &f, err)) == 1)
        if (f.number == TIMESTAMP)
            t_ms = (int64_t)f.value;
    if (rc == 0)
        *vec_push(&s->histogram_times) = t_ms;
    return rc;
}

static int read_series(struct str bytes, struct read_series *s, struct err *err)
{
    struct rd r = rd_of(bytes);
    struct field f;
    int rc;

    s->labels = 0;
    vec_clear(&s->samples);
    vec_clear(&s->histogram_times);
    while ((rc = next_field(&r, &f, err)) == 1) {
        if (f.number == 1)
            rc = read_label(f.bytes, s, err);
        else if (f.number == 2)
            rc = read_sample(f.bytes, s, err);
        else if (f.number == 4)
            rc = read_histogram_time(f.bytes, s, err);
        if (rc < 0)
            break;
    }
    return rc;
}

struct answer_reader {
    struct read_series series;
    int (*fn)(void *arg, struct read_series *s, struct err *err);
    void *arg;
};

static int read_result(struct str bytes, struct answer_reader *a, struct err *err)
{
    struct rd r = rd_of(bytes);
    struct field f;
    int rc;

    while ((rc = next_field(&r, &f, err)) == 1) {
        if (f.number != 1)
            continue;
        rc = read_series(f.bytes, &a->series, err);
        if (rc == 0)
            rc = a->fn(a->arg, &a->series, err);
        if (rc < 0)
            break;
    }
    return rc;
}

int read_answer_decode(struct str bytes, int (*fn)(void *arg, struct read_series *s, struct err *err), void *arg, struct err *err)
{
    struct answer_reader a = {.fn = fn, .arg = arg};
    struct rd r = rd_of(bytes);
    struct field f;
    int rc;

    while ((rc = next_field(&r, &f, err)) == 1) {
        if (f.number == 1)
            rc = read_result(f.bytes, &a, err);
        if (rc < 0)
            break;
    }
    vec_fini(&a.series.samples);
    vec_fini(&a.series.histogram_times);
    return rc;
}

int read_answer_inflate(struct str block, struct buf *ret, struct err *err)
{
    size_t n;

    buf_clear(ret);
    if (snappy_uncompressed_length(block.p, block.n, &n) != SNAPPY_OK)
        return err_set(err, RC_CORRUPT, "remote read: the answer is not snappy");
    if (n > READ_ANSWER_BYTES_MAX || !buf_reserve(ret, n))
        return err_set(err, RC_LIMIT, "remote read: the answer inflates to %zu bytes, limit %d", n, READ_ANSWER_BYTES_MAX);
    if (snappy_uncompress(block.p, block.n, ret->p, &n) != SNAPPY_OK)
        return err_set(err, RC_CORRUPT, "remote read: the answer is not snappy");
    ret->n = n;
    return 0;
}
