#include "querier/fragment.h"

#include "common/wire/pb_arena.h"
#include "common/wire/torc.pb-c.h"

static uint64_t bits_of(double v)
{
    uint64_t u;

    memcpy(&u, &v, sizeof u);
    return u;
}

static double double_of(uint64_t u)
{
    double v;

    memcpy(&v, &u, sizeof v);
    return v;
}

static void write_series(struct buf *out, const struct query_result *res)
{
    buf_uvarint(out, res->series_count);
    for (size_t i = 0; i < res->series_count; i++) {
        const struct result_series *s = &res->series[i];

        labels_encode(out, &s->labels);
        buf_uvarint(out, s->n);
        for (size_t k = 0; k < s->n; k++)
            buf_u64(out, (uint64_t)s->s[k].t);
        for (size_t k = 0; k < s->n; k++)
            buf_u64(out, bits_of(s->s[k].v));
    }
}

void fragment_write(struct buf *out, const struct query_result *res, const struct fetch_used *used)
{
    Torc__Wire__FragmentResponse m = TORC__WIRE__FRAGMENT_RESPONSE__INIT;
    struct buf series, infos;

    ASSERT(shard_part_combines(res));
    buf_init(&series, out->max);
    buf_init(&infos, out->max);
    write_series(&series, res);
    buf_uvarint(&infos, res->info_count);
    for (size_t i = 0; i < res->info_count; i++)
        buf_lstr(&infos, str_of(res->infos[i]));
    m.version = FRAGMENT_VERSION;
    m.type = (uint32_t)res->type;
    m.series = pb_bytes(buf_view(&series));
    m.infos = pb_bytes(buf_view(&infos));
    m.samples_total = res->stats.samples_total;
    m.samples_read = res->stats.samples_read;
    m.peak_samples = res->stats.peak_samples;
    m.series_read = res->stats.series;
    m.fetched_series = used->series;
    m.fetched_chunks = used->chunks;
    m.fetched_bytes = used->bytes;
    if (buf_ok(&series) && buf_ok(&infos))
        pb_pack(&m.base, out);
    else
        out->failed = true;
    buf_fini(&series);
    buf_fini(&infos);
}

static int no_memory(struct err *err)
{
    return err_set(err, RC_NOMEM, "part of a query: memory budget is spent");
}

static int read_one(struct rd *r, struct arena *a, struct result_series *ret, struct err *err)
{
    struct labels ls;
    uint64_t n;
    int rc = labels_decode(r, a, &ls, err);

    if (rc < 0)
        return rc;
    n = rd_uvarint(r);
    CORRUPT_UNLESS(rd_ok(r) && n <= rd_left(r) / 16, err);
    *ret = (struct result_series){labels_dup(a, &ls), (size_t)n,
                                  arena_array(a, (size_t)n, sizeof *ret->s)};
    if ((ls.n && !ret->labels.v) || !ret->s)
        return no_memory(err);
    for (size_t k = 0; k < n; k++) {
        ret->s[k] = (struct result_sample){.t = (int64_t)rd_u64(r)};
        CORRUPT_UNLESS(k == 0 || ret->s[k - 1].t < ret->s[k].t, err);
    }
    for (size_t k = 0; k < n; k++)
        ret->s[k].v = double_of(rd_u64(r));
    return 0;
}

static int read_series(struct str in, struct arena *a, struct query_result *ret, struct err *err)
{
    struct rd r = rd_of(in);
    uint64_t n = rd_uvarint(&r);
    int rc = 0;

    CORRUPT_UNLESS(rd_ok(&r) && n <= rd_left(&r) / 2, err); /* each has two counts at least */
    ret->series = arena_array(a, (size_t)n, sizeof *ret->series);
    if (!ret->series)
        return no_memory(err);
    ret->series_count = (size_t)n;
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = read_one(&r, a, &ret->series[i], err);
    if (rc == 0)
        CORRUPT_UNLESS(rd_done(&r), err);
    return rc;
}

static int read_infos(struct str in, struct arena *a, struct query_result *ret, struct err *err)
{
    struct rd r = rd_of(in);
    uint64_t n = rd_uvarint(&r);

    CORRUPT_UNLESS(rd_ok(&r) && n < ANNOTATIONS_MAX, err);
    ret->infos = arena_array(a, (size_t)n, sizeof *ret->infos);
    if (!ret->infos)
        return no_memory(err);
    for (size_t i = 0; i < n; i++) {
        ret->infos[i] = arena_strz(a, rd_lstr(&r));
        if (!ret->infos[i])
            return no_memory(err);
    }
    CORRUPT_UNLESS(rd_done(&r), err);
    ret->info_count = (size_t)n;
    return 0;
}

int fragment_read(struct str in, struct arena *a, struct query_result *ret, struct fetch_used *used,
                  struct err *err)
{
    ProtobufCAllocator *pb = pb_arena_allocator(a);
    Torc__Wire__FragmentResponse *m =
        pb ? torc__wire__fragment_response__unpack(pb, in.n, (const uint8_t *)in.p) : NULL;
    struct query_result out = {0};
    int rc;

    CORRUPT_UNLESS(m, err);
    if (m->version != FRAGMENT_VERSION)
        return err_set(err, RC_VERSION, "answer version %u, this binary reads %d", m->version,
                       FRAGMENT_VERSION);
    CORRUPT_UNLESS(m->type == VALUE_VECTOR || m->type == VALUE_MATRIX, err);
    out.type = (enum value_type)m->type;
    out.stats.samples_total = m->samples_total;
    out.stats.samples_read = m->samples_read;
    out.stats.peak_samples = m->peak_samples;
    out.stats.series = m->series_read;
    rc = read_series(pb_str(m->series), a, &out, err);
    if (rc == 0)
        rc = read_infos(pb_str(m->infos), a, &out, err);
    if (rc < 0)
        return rc;
    used->series += m->fetched_series;
    used->chunks += m->fetched_chunks;
    used->bytes += m->fetched_bytes;
    *ret = out;
    return 0;
}
