#include "common/model/tenant.h"
#include "tsdb/block_format.h"
#include "tsdb/sealed_json.h"

#include <stdlib.h>

void block_meta_fini(struct block_meta *m)
{
    free(m->sources);
    m->sources = NULL;
    m->source_count = 0;
}

json_t *ulids_to_json(const struct ulid *v, size_t n)
{
    json_t *out = json_array();

    for (size_t i = 0; i < n; i++)
        json_array_append_new(out, json_string(v[i].text));
    return out;
}

int ulid_from_json(const json_t *obj, const char *name, struct ulid *ret, struct err *err)
{
    struct ulid u;
    int rc = json_get_text(obj, name, u.text, sizeof u.text, err);

    if (rc < 0)
        return rc;
    if (!ulid_valid(str_of(u.text)))
        return err_set(err, RC_CORRUPT, "'%s' is no ULID: '%s'", name, u.text);
    *ret = u;
    return 0;
}

int ulids_from_json(const json_t *obj, const char *name, struct ulid **ret, size_t *ret_n, struct err *err)
{
    const json_t *array;
    int rc = json_get_array(obj, name, BLOCK_SOURCES_MAX, &array, err);
    struct ulid *out;

    if (rc < 0)
        return rc;
    out = xcalloc(json_array_size(array), sizeof *out);
    for (size_t i = 0; i < json_array_size(array); i++) {
        const char *text = json_string_value(json_array_get(array, i));

        if (!text || !ulid_valid(str_of(text))) {
            free(out);
            return err_set(err, RC_CORRUPT, "'%s': member %zu is no ULID", name, i);
        }
        memcpy(out[i].text, text, sizeof out[i].text);
    }
    *ret = out;
    *ret_n = json_array_size(array);
    return 0;
}

static json_t *files_to_json(const struct block_meta *m)
{
    json_t *out = json_object();

    for (int i = 0; i < BLOCK_FILES; i++)
        json_object_set_new(out, block_file_names[i],
                            json_pack("{s:I, s:I, s:I}", "size", (json_int_t)m->files[i].size, "crc32c",
                                      (json_int_t)m->files[i].crc32c, "tail", (json_int_t)m->files[i].tail));
    return out;
}

void block_shard_to_json(json_t *obj, struct block_shard s)
{
    if (!obj || s.n == 0)
        return;
    json_object_set_new(obj, "shard", json_integer(s.i));
    json_object_set_new(obj, "shards", json_integer(s.n));
    json_object_set_new(obj, "shards_empty", json_integer((json_int_t)s.empty));
}

int block_shard_from_json(const json_t *obj, struct block_shard *ret, struct err *err)
{
    uint64_t i = 0, n = 0, empty = 0;
    int64_t bits = 0;
    int rc;

    if (!json_object_get(obj, "shards"))
        return 0;
    rc = json_get_u64(obj, "shards", BLOCK_SHARDS_MAX, &n, err);
    if (rc == 0 && n == 0)
        rc = err_set(err, RC_CORRUPT, "'shards' is 0");
    if (rc == 0)
        rc = json_get_u64(obj, "shard", n - 1, &i, err);
    if (rc == 0)
        rc = json_get_i64(obj, "shards_empty", INT64_MIN, INT64_MAX, &bits, err);
    empty = (uint64_t)bits;
    if (rc == 0)
        *ret = (struct block_shard){(uint32_t)i, (uint32_t)n, empty};
    return rc;
}

bool block_shard_may_have(struct block_shard b, uint32_t shard, uint32_t count)
{
    uint32_t x = b.n, y = count;

    if (b.n == 0 || count <= 1)
        return true;
    while (y) { /* the greatest common divisor */
        uint32_t r = x % y;

        x = y;
        y = r;
    }
    return b.i % x == shard % x;
}

int block_meta_encode(const struct block_meta *m, struct buf *out, struct err *err)
{
    json_t *obj = json_pack(
        "{s:i, s:s, s:I, s:I, s:I, s:I, s:i, s:s, s:s, s:o, s:I, s:I, s:I, s:I, s:I, s:o}", "version", (int)m->version, "id",
        m->id.text, "mint_ms", (json_int_t)m->mint_ms, "maxt_ms", (json_int_t)m->maxt_ms, "range_start_ms",
        (json_int_t)m->range_start_ms, "range_end_ms", (json_int_t)m->range_end_ms, "level", (int)m->level, "tenant",
        m->tenant, "ingester", m->ingester, "sources", ulids_to_json(m->sources, m->source_count), "series",
        (json_int_t)m->series, "samples", (json_int_t)m->samples, "chunks", (json_int_t)m->chunks, "bytes",
        (json_int_t)m->bytes, "tenants", (json_int_t)m->tenants, "files", files_to_json(m));

    block_shard_to_json(obj, m->shard);
    return sealed_json_encode(obj, out, err);
}

static int files_decode(const json_t *obj, struct block_meta *m, struct err *err)
{
    const json_t *files = json_object_get(obj, "files");
    uint64_t crc = 0, tail = 0;
    int rc = 0;

    for (int i = 0; rc == 0 && i < BLOCK_FILES; i++) {
        const json_t *f = json_object_get(files, block_file_names[i]);

        rc = json_get_u64(f, "size", INT64_MAX, &m->files[i].size, err);
        if (rc == 0)
            rc = json_get_u64(f, "crc32c", UINT32_MAX, &crc, err);
        if (rc == 0)
            rc = json_get_u64(f, "tail", UINT32_MAX, &tail, err);
        m->files[i].crc32c = (uint32_t)crc;
        m->files[i].tail = (uint32_t)tail;
    }
    return rc;
}

static int counts_decode(const json_t *obj, struct block_meta *m, struct err *err)
{
    const struct {
        const char *name;
        uint64_t *to;
    } counts[] = {
        {"series", &m->series}, {"samples", &m->samples}, {"chunks", &m->chunks}, {"bytes", &m->bytes}, {"tenants", &m->tenants},
    };
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(counts); i++)
        rc = json_get_u64(obj, counts[i].name, INT64_MAX, counts[i].to, err);
    return rc;
}

static int times_decode(const json_t *obj, struct block_meta *m, struct err *err)
{
    const int64_t lo = 2 * TIMESTAMP_MIN_MS, hi = 2 * TIMESTAMP_MAX_MS;
    int rc = json_get_i64(obj, "mint_ms", lo, hi, &m->mint_ms, err);

    if (rc == 0)
        rc = json_get_i64(obj, "maxt_ms", m->mint_ms, hi, &m->maxt_ms, err);
    if (rc == 0)
        rc = json_get_i64(obj, "range_start_ms", lo, hi, &m->range_start_ms, err);
    if (rc == 0)
        rc = json_get_i64(obj, "range_end_ms", m->range_start_ms, hi, &m->range_end_ms, err);
    return rc;
}

static int meta_decode(const json_t *obj, struct block_meta *m, struct err *err)
{
    int64_t version, level;
    int rc = json_get_i64(obj, "version", 1, UINT32_MAX, &version, err);

    if (rc < 0)
        return rc;
    if (version < BLOCK_VERSION_OLDEST || version > BLOCK_VERSION)
        return err_set(err, RC_VERSION, "block version %lld, this binary reads %d to %d", (long long)version, BLOCK_VERSION_OLDEST, BLOCK_VERSION);
    m->version = (uint32_t)version;
    rc = ulid_from_json(obj, "id", &m->id, err);
    if (rc == 0)
        rc = times_decode(obj, m, err);
    if (rc == 0)
        rc = json_get_i64(obj, "level", 0, 100, &level, err);
    if (rc < 0)
        return rc;
    m->level = (uint32_t)level;
    rc = json_get_text(obj, "tenant", m->tenant, sizeof m->tenant, err);
    if (rc == 0 && m->level > 0 && tenant_id_check(str_of(m->tenant), NULL) < 0)
        rc = err_set(err, RC_CORRUPT, "'%s' is no tenant", m->tenant);
    if (rc == 0)
        rc = json_get_text(obj, "ingester", m->ingester, sizeof m->ingester, err);
    if (rc == 0)
        rc = counts_decode(obj, m, err);
    if (rc == 0)
        rc = files_decode(obj, m, err);
    if (rc == 0)
        rc = block_shard_from_json(obj, &m->shard, err);
    return rc == 0 ? ulids_from_json(obj, "sources", &m->sources, &m->source_count, err) : rc;
}

int block_meta_decode(struct str json, struct block_meta *ret, struct err *err)
{
    struct block_meta m = {0};
    json_t *obj;
    int rc = sealed_json_decode(json, &obj, err);

    if (rc < 0)
        return rc;
    rc = meta_decode(obj, &m, err);
    json_decref(obj);
    if (rc == 0)
        *ret = m;
    return rc;
}
