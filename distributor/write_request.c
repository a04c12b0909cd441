#include "distributor/write_request.h"
#include "distributor/pb_scan.h"

enum {
    REQUEST_TIMESERIES = 1, REQUEST_METADATA = 3,
    SERIES_LABELS = 1, SERIES_SAMPLES = 2, SERIES_EXEMPLARS = 3, SERIES_HISTOGRAMS = 4,
    SAMPLE_VALUE = 1, SAMPLE_TIMESTAMP = 2, LABEL_NAME = 1, LABEL_VALUE = 2,
    TAG_LABELS = SERIES_LABELS << 3 | PB_BYTES, TAG_SAMPLES = SERIES_SAMPLES << 3 | PB_BYTES,
    TAG_NAME = LABEL_NAME << 3 | PB_BYTES, TAG_TEXT = LABEL_VALUE << 3 | PB_BYTES,
    TAG_VALUE = SAMPLE_VALUE << 3 | PB_FIXED64, TAG_TIMESTAMP = SAMPLE_TIMESTAMP << 3 | PB_VARINT,
};

/* The way all senders write a series: labels, then samples, every field with tag and length of one byte. False: take the long way; message and points are
 * set all the same. */
static bool series_scan_usual(struct str message, struct wr_series *ret)
{
    const uint8_t *p = (const uint8_t *)message.p, *end = p + message.n;
    struct wr_series s = {.message = message};

    while (end - p >= 2 && p[0] == TAG_LABELS && p[1] < 0x80 && p[1] <= end - p - 2) {
        p += 2 + p[1];
        s.label_count++;
    }
    s.labels = str_n(message.p, message.n - (size_t)(end - p));
    s.points = str_n(p, (size_t)(end - p));
    while (end - p >= 2 && p[0] == TAG_SAMPLES && p[1] < 0x80 && p[1] <= end - p - 2) {
        p += 2 + p[1];
        s.sample_count++;
    }
    *ret = s;
    return p == end && s.label_count > 0;
}

/* Counts the parts of a series and finds its label span. */
static int series_scan(struct str message, struct wr_series *ret, struct err *err)
{
    struct rd r = rd_of(message);
    struct wr_series usual, s;
    struct pb_field f;
    bool apart = false;
    int rc;

    if (LIKELY(series_scan_usual(message, &usual))) {
        *ret = usual;
        return 0;
    }
    s = (struct wr_series){.message = message, .points = usual.points};
    while ((rc = pb_next(&r, &f, err)) > 0) {
        if (f.wire != PB_BYTES)
            continue;
        switch (f.number) {
        case SERIES_LABELS:
            if (s.label_count == 0)
                s.labels = f.raw;
            else if (s.labels.p + s.labels.n == f.raw.p)
                s.labels.n += f.raw.n;
            else
                apart = true;
            s.label_count++;
            break;
        case SERIES_SAMPLES:
            s.sample_count++;
            break;
        case SERIES_EXEMPLARS:
            s.exemplar_count++;
            break;
        case SERIES_HISTOGRAMS:
            s.histogram_count++;
            break;
        default:
            break;
        }
    }
    if (rc < 0)
        return rc;
    if (apart)
        s.labels = (struct str){0};
    else if (s.label_count == 0)
        s.labels = STR("");
    *ret = s;
    return 0;
}

int wr_next(struct rd *r, struct wr_series *ret_series, struct str *ret_metadata, struct err *err)
{
    struct pb_field f;
    int rc;

    while ((rc = pb_next(r, &f, err)) > 0) {
        if (pb_is(&f, REQUEST_TIMESERIES, PB_BYTES)) {
            rc = series_scan(f.bytes, ret_series, err);
            return rc < 0 ? rc : 1;
        }
        if (pb_is(&f, REQUEST_METADATA, PB_BYTES)) {
            *ret_metadata = f.bytes;
            return 2;
        }
    }
    return rc;
}

/* A sample of value (left out when 0) and time, in this order, alone in a field with a length of one byte. False: nothing was read. */
static bool sample_usual(struct rd *r, int64_t *ret_t, uint64_t *ret_vbits)
{
    const uint8_t *p = r->p, *end;
    uint64_t vbits = 0, t = 0;

    if (r->failed || rd_left(r) < 2 || p[0] != TAG_SAMPLES || p[1] >= 0x80 || p[1] > rd_left(r) - 2)
        return false;
    end = p + 2 + p[1];
    p += 2;
    if (end - p >= 9 && *p == TAG_VALUE) {
        vbits = le_get64(p + 1);
        p += 9;
    }
    /* Nine bytes of a varint hold no bit past 64. */
    if (end - p < 2 || end - p > 10 || *p++ != TAG_TIMESTAMP || end[-1] >= 0x80)
        return false;
    for (unsigned shift = 0; p < end; p++, shift += 7) {
        if (*p < 0x80 && p + 1 < end)
            return false;
        t |= (uint64_t)(*p & 0x7f) << shift;
    }
    r->p = end;
    *ret_t = (int64_t)t;
    *ret_vbits = vbits;
    return true;
}

int wr_sample_next(struct rd *r, int64_t *ret_t, uint64_t *ret_vbits, struct err *err)
{
    struct str message;
    struct pb_field f;
    struct rd in;
    int rc;

    if (LIKELY(sample_usual(r, ret_t, ret_vbits)))
        return 1;
    rc = pb_next_bytes(r, SERIES_SAMPLES, &message, err);
    if (rc <= 0)
        return rc;
    *ret_t = 0;
    *ret_vbits = 0;
    in = rd_of(message);
    while ((rc = pb_next(&in, &f, err)) > 0) {
        if (pb_is(&f, SAMPLE_VALUE, PB_FIXED64))
            *ret_vbits = f.value;
        else if (pb_is(&f, SAMPLE_TIMESTAMP, PB_VARINT))
            *ret_t = (int64_t)f.value;
    }
    return rc < 0 ? rc : 1;
}

static int label_decode(struct str message, struct label *ret, struct err *err)
{
    struct rd in = rd_of(message);
    struct pb_field f;
    int rc;

    *ret = (struct label){STR(""), STR("")};
    while ((rc = pb_next(&in, &f, err)) > 0) {
        if (pb_is(&f, LABEL_NAME, PB_BYTES))
            ret->name = f.bytes;
        else if (pb_is(&f, LABEL_VALUE, PB_BYTES))
            ret->value = f.bytes;
    }
    return rc;
}

/* A field of this tag with a length of one byte at p; NULL when it is not. */
static const uint8_t *short_field(const uint8_t *p, const uint8_t *end, uint8_t tag, struct str *ret)
{
    if (end - p < 2 || p[0] != tag || p[1] >= 0x80 || p[1] > end - p - 2)
        return NULL;
    *ret = str_n(p + 2, p[1]);
    return p + 2 + p[1];
}

/* A label of name and value, in this order, all lengths of one byte. False: nothing was read. */
static bool label_usual(struct rd *r, struct label *ret)
{
    const uint8_t *next, *p, *end;
    struct str message;

    next = r->failed ? NULL : short_field(r->p, r->end, TAG_LABELS, &message);
    if (!next)
        return false;
    p = (const uint8_t *)message.p;
    end = p + message.n;
    p = short_field(p, end, TAG_NAME, &ret->name);
    if (p)
        p = short_field(p, end, TAG_TEXT, &ret->value);
    if (p != end)
        return false;
    r->p = next;
    return true;
}

int wr_label_next(struct rd *r, struct label *ret, struct err *err)
{
    struct str message;
    int rc;

    if (LIKELY(label_usual(r, ret)))
        return 1;
    rc = pb_next_bytes(r, SERIES_LABELS, &message, err);
    if (rc <= 0)
        return rc;
    rc = label_decode(message, ret, err);
    return rc < 0 ? rc : 1;
}

static int label_push(struct arena *a, struct label **list, size_t *n, size_t *cap, const struct label *l, struct err *err)
{
    if (*n == *cap) {
        size_t want = *cap ? *cap * 2 : 4;
        struct label *more = arena_array(a, want, sizeof *more);

        if (!more)
            return err_set(err, RC_LIMIT, "exemplars: the request's memory budget is spent");
        if (*n)
            memcpy(more, *list, *n * sizeof *more);
        *list = more;
        *cap = want;
    }
    (*list)[(*n)++] = *l;
    return 0;
}

int wr_exemplar_next(struct rd *r, struct arena *a, int64_t *ret_t, double *ret_v, struct labels *ret, struct err *err)
{
    struct label *list = NULL;
    size_t n = 0, cap = 0;
    struct str message;
    struct pb_field f;
    struct rd in;
    int rc = pb_next_bytes(r, SERIES_EXEMPLARS, &message, err);

    if (rc <= 0)
        return rc;
    *ret_t = 0;
    *ret_v = 0;
    in = rd_of(message);
    while ((rc = pb_next(&in, &f, err)) > 0) {
        if (pb_is(&f, 2, PB_FIXED64))
            *ret_v = bits_double(f.value);
        else if (pb_is(&f, 3, PB_VARINT))
            *ret_t = (int64_t)f.value;
        else if (pb_is(&f, 1, PB_BYTES)) {
            struct label l;

            rc = label_decode(f.bytes, &l, err);
            if (rc == 0 && n < EXEMPLAR_LABELS_MAX)
                rc = label_push(a, &list, &n, &cap, &l, err);
            if (rc < 0)
                return rc;
        }
    }
    if (rc < 0)
        return rc;
    *ret = (struct labels){list, n};
    return 1;
}

int wr_metadata_decode(struct str message, struct wr_metadata *ret, struct err *err)
{
    struct wr_metadata m = {.metric = STR(""), .help = STR(""), .unit = STR("")};
    struct rd in = rd_of(message);
    struct pb_field f;
    int rc;

    while ((rc = pb_next(&in, &f, err)) > 0) {
        if (pb_is(&f, 1, PB_VARINT))
            m.type = f.value <= 7 ? (uint8_t)f.value : 0;
        else if (pb_is(&f, 2, PB_BYTES))
            m.metric = f.bytes;
        else if (pb_is(&f, 4, PB_BYTES))
            m.help = f.bytes;
        else if (pb_is(&f, 5, PB_BYTES))
            m.unit = f.bytes;
    }
    if (rc < 0)
        return rc;
    *ret = m;
    return 0;
}
