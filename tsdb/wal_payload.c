/* Layouts: wal_payload.h. */
#include "tsdb/wal_payload.h"

static int version_check(struct rd *r, struct err *err)
{
    uint8_t version = rd_u8(r);

    CORRUPT_UNLESS(rd_ok(r), err);
    if (version != WAL_PAYLOAD_VERSION)
        return err_set(err, RC_VERSION, "log record of version %d, this program reads %d", version,
                       WAL_PAYLOAD_VERSION);
    return 0;
}

/* --- samples --- */
size_t wal_samples_parts(const struct wal_samples *s, uint8_t head[WAL_SAMPLES_HEAD],
                         struct str parts[WAL_SAMPLES_PARTS])
{
    static const uint8_t has_starts[2] = {0, 1};
    size_t n = 0, at = 0;

    ASSERT(s->tenant.n <= WAL_TENANT_MAX && s->n >= 1 && s->n <= WAL_ROWS_MAX);
    head[at++] = WAL_PAYLOAD_VERSION;
    at += uvarint_put((char *)head + at, s->tenant.n);
    if (s->tenant.n)
        memcpy(head + at, s->tenant.p, s->tenant.n);
    at += s->tenant.n;
    le_put32(head + at, s->n);
    at += 4;
    parts[n++] = str_n(head, at);
    parts[n++] = str_n(s->fps, 16 * (size_t)s->n);
    le_put64(head + at, (uint64_t)s->base_ms);
    parts[n++] = str_n(head + at, 8);
    parts[n++] = str_n(s->offsets, 4 * (size_t)s->n);
    parts[n++] = str_n(s->values, 8 * (size_t)s->n);
    parts[n++] = str_n(&has_starts[s->starts != NULL], 1);
    if (s->starts)
        parts[n++] = str_n(s->starts, 8 * (size_t)s->n);
    parts[n++] = str_n(s->accepted, (s->n + 7) / 8);
    ASSERT(at + 8 <= WAL_SAMPLES_HEAD && n <= WAL_SAMPLES_PARTS);
    return n;
}
_Static_assert(1 + UVARINT_MAX + WAL_TENANT_MAX + 4 + 8 <= WAL_SAMPLES_HEAD,
               "the scratch buffer holds the longest tenant");
_Static_assert((int)WAL_SAMPLES_PARTS <= (int)WAL_PARTS_MAX, "wal_append takes them all");

int wal_samples_decode(struct str payload, struct wal_samples *ret, struct err *err)
{
    struct rd r = rd_of(payload);
    struct wal_samples s = {0};
    uint8_t has_starts;
    int rc = version_check(&r, err);

    if (rc < 0)
        return rc;
    s.tenant = rd_lstr(&r);
    s.n = rd_u32(&r);
    CORRUPT_UNLESS(rd_ok(&r) && s.tenant.n <= WAL_TENANT_MAX && s.n >= 1 && s.n <= WAL_ROWS_MAX,
                   err);
    s.fps = rd_take(&r, 16 * (size_t)s.n);
    s.base_ms = (int64_t)rd_u64(&r);
    s.offsets = rd_take(&r, 4 * (size_t)s.n);
    s.values = rd_take(&r, 8 * (size_t)s.n);
    has_starts = rd_u8(&r);
    if (has_starts)
        s.starts = rd_take(&r, 8 * (size_t)s.n);
    s.accepted = rd_take(&r, (s.n + 7) / 8);
    CORRUPT_UNLESS(rd_done(&r) && has_starts <= 1, err);
    CORRUPT_UNLESS(s.base_ms <= INT64_MAX - UINT32_MAX, err);
    CORRUPT_UNLESS(s.n % 8 == 0 || s.accepted[s.n / 8] >> s.n % 8 == 0, err);
    *ret = s;
    return 0;
}

int64_t wal_samples_t_max(const struct wal_samples *s)
{
    int64_t newest = INT64_MIN;

    for (uint32_t i = 0; i < s->n; i++)
        if (wal_samples_accepted(s, i))
            newest = MAX(newest, wal_samples_t(s, i));
    return newest;
}

/* --- lists --- */
void wal_list_begin(struct buf *out, struct str tenant, size_t n)
{
    ASSERT(n <= WAL_ROWS_MAX && tenant.n <= WAL_TENANT_MAX);
    buf_u8(out, WAL_PAYLOAD_VERSION);
    buf_lstr(out, tenant);
    buf_uvarint(out, n);
}

int wal_list_open(struct str payload, struct wal_list *ret, struct err *err)
{
    struct wal_list l = {.r = rd_of(payload)};
    int rc = version_check(&l.r, err);

    if (rc < 0)
        return rc;
    l.tenant = rd_lstr(&l.r);
    l.left = rd_uvarint(&l.r);
    CORRUPT_UNLESS(rd_ok(&l.r) && l.tenant.n <= WAL_TENANT_MAX && l.left <= WAL_ROWS_MAX &&
                       l.left <= rd_left(&l.r),
                   err);
    *ret = l;
    return 0;
}

/* 1 when there is a row to read; 0 at the end, where no byte may be left. */
static int list_more(struct wal_list *l, struct err *err)
{
    if (l->left) {
        l->left--;
        return 1;
    }
    CORRUPT_UNLESS(rd_done(&l->r), err);
    return 0;
}

static void put_fp(struct buf *out, fingerprint fp)
{
    buf_u64(out, fp.hi);
    buf_u64(out, fp.lo);
}

static fingerprint get_fp(struct rd *r)
{
    uint64_t hi = rd_u64(r);

    return (fingerprint){hi, rd_u64(r)};
}

void wal_series_add(struct buf *out, fingerprint fp, const struct labels *ls)
{
    put_fp(out, fp);
    labels_encode(out, ls);
}

int wal_series_next(struct wal_list *l, struct arena *a, fingerprint *ret_fp, struct labels *ret,
                    struct err *err)
{
    int rc = list_more(l, err);
    fingerprint fp;

    if (rc <= 0)
        return rc;
    fp = get_fp(&l->r);
    rc = labels_decode(&l->r, a, ret, err);
    if (rc < 0)
        return rc;
    *ret_fp = fp;
    return 1;
}

void wal_histogram_add(struct buf *out, fingerprint fp, int64_t t, int64_t st,
                       const struct histogram *h)
{
    put_fp(out, fp);
    buf_u64(out, (uint64_t)t);
    buf_u64(out, (uint64_t)st);
    histogram_encode(out, h);
}

int wal_histogram_next(struct wal_list *l, struct arena *a, struct wal_histogram *ret,
                       struct err *err)
{
    struct wal_histogram row;
    int rc = list_more(l, err);

    if (rc <= 0)
        return rc;
    row.fp = get_fp(&l->r);
    row.t = (int64_t)rd_u64(&l->r);
    row.st = (int64_t)rd_u64(&l->r);
    rc = histogram_decode(&l->r, a, &row.h, err);
    if (rc < 0)
        return rc;
    *ret = row;
    return 1;
}

void wal_exemplar_add(struct buf *out, fingerprint fp, int64_t t, double v, const struct labels *ls)
{
    put_fp(out, fp);
    buf_u64(out, (uint64_t)t);
    buf_u64(out, double_bits(v));
    labels_encode(out, ls);
}

int wal_exemplar_next(struct wal_list *l, struct arena *a, struct wal_exemplar *ret,
                      struct err *err)
{
    struct wal_exemplar row;
    int rc = list_more(l, err);

    if (rc <= 0)
        return rc;
    row.fp = get_fp(&l->r);
    row.t = (int64_t)rd_u64(&l->r);
    row.v = bits_double(rd_u64(&l->r));
    rc = labels_decode(&l->r, a, &row.labels, err);
    if (rc < 0)
        return rc;
    *ret = row;
    return 1;
}

void wal_metadata_add(struct buf *out, struct str metric, uint8_t type, struct str help,
                      struct str unit)
{
    buf_lstr(out, metric);
    buf_u8(out, type);
    buf_lstr(out, help);
    buf_lstr(out, unit);
}

int wal_metadata_next(struct wal_list *l, struct wal_metadata *ret, struct err *err)
{
    struct wal_metadata row;
    int rc = list_more(l, err);

    if (rc <= 0)
        return rc;
    row.metric = rd_lstr(&l->r);
    row.type = rd_u8(&l->r);
    row.help = rd_lstr(&l->r);
    row.unit = rd_lstr(&l->r);
    CORRUPT_UNLESS(rd_ok(&l->r), err);
    *ret = row;
    return 1;
}

/* --- marks --- */
struct str wal_mark_encode(const struct wal_mark *m, uint8_t out[WAL_MARK_BYTES])
{
    out[0] = WAL_PAYLOAD_VERSION;
    le_put64(out + 1, m->set_id);
    le_put64(out + 9, m->value);
    return str_n(out, WAL_MARK_BYTES);
}

int wal_mark_decode(struct str payload, struct wal_mark *ret, struct err *err)
{
    struct rd r = rd_of(payload);
    struct wal_mark m;
    int rc = version_check(&r, err);

    if (rc < 0)
        return rc;
    m.set_id = rd_u64(&r);
    m.value = rd_u64(&r);
    CORRUPT_UNLESS(rd_done(&r), err);
    *ret = m;
    return 0;
}
