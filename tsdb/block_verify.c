#include "tsdb/block_read.h"

#include <inttypes.h>
#include <stdlib.h>

/* Three looks at a block: whole files against meta.json; RocksDB's own checksums; then all content, family against family. */

enum { READ_BYTES = 1 << 20 };

static int verify_file(struct block_reader *r, int file, char *buf, struct err *err)
{
    const struct block_file *want = &r->meta.files[file];
    char name[128];
    uint64_t size = 0;
    uint32_t crc = 0;
    int rc;

    block_object_name(name, &r->meta.id, block_file_names[file]);
    rc = r->bucket->ops->size(r->bucket, name, &size, err);
    if (rc == 0 && size != want->size)
        rc = err_set(err, RC_CORRUPT, "%" PRIu64 " bytes, meta.json says %" PRIu64, size, want->size);
    for (uint64_t at = 0; rc == 0 && at < size;) {
        size_t n = (size_t)MIN(size - at, (uint64_t)READ_BYTES);

        rc = r->bucket->ops->get_range(r->bucket, name, at, n, buf, err);
        crc = crc32c(crc, buf, rc == 0 ? n : 0);
        at += n;
    }
    if (rc == 0 && crc != want->crc32c)
        rc = err_set(err, RC_CORRUPT, "the checksum of the file does not match");
    return rc < 0 ? err_wrap(err, rc, "block %s: %s", r->meta.id.text, block_file_names[file]) : 0;
}

static int verify_table(struct block_reader *r, int file, struct err *err)
{
    char why[SHIM_WHY_MAX];
    struct shim_table *t;
    int rc = block_table(r, file, &t, err);

    if (rc < 0)
        return rc;
    rc = shim_table_verify(t, why);
    return rc < 0 ? block_shim_error(r, file, rc, why, err) : 0;
}

struct verify {
    struct block_reader *reader;
    uint64_t series, samples, chunks, tenants;
    int64_t mint_ms, maxt_ms;
    struct err *err;
    /* --- of the tenant at hand --- */
    struct arena arena, decode;
    struct buf last; /* labels of the series before, encoded */
    VEC(uint64_t) sums; /* per ordinal: hashes of its label pairs, minus those of the lists that hold it */
};

static uint64_t pair_hash(struct str name, struct str value)
{
    return mix64(hash64(value.p, value.n, hash64(name.p, name.n, 1)));
}

static int wrong(struct err *err, const char *what)
{
    return err_set(err, RC_CORRUPT, "%s", what);
}

static int check_window(fingerprint fp, const struct stored_window *w, struct arena *a, struct err *err)
{
    struct chunk_columns *in = arena_array(a, w->chunk_count, sizeof *in), all;
    int rc = in ? 0 : err_set(err, RC_NOMEM, "verify: memory budget is spent");

    for (uint32_t i = 0; rc == 0 && i < w->chunk_count; i++)
        rc = chunk_decode(w->chunks[i], a, &in[i], err);
    if (rc == 0)
        rc = chunk_merge(in, w->chunk_count, a, &all, err);
    if (rc < 0)
        return rc;
    if (all.n != w->count || all.t[0] != w->mint_ms || all.t[all.n - 1] != w->maxt_ms)
        return wrong(err, "a window's samples are not those of its record");
    if (digest_known(w->digest) && !u128_eq(chunk_digest(&all), w->digest))
        return wrong(err, "the digest of a window does not match");
    if (window_start(fp, w->mint_ms, NULL) != w->start_ms || window_start(fp, w->maxt_ms, NULL) != w->start_ms)
        return wrong(err, "samples outside their window");
    return 0;
}

int block_series_check(const struct stored_series *s, struct arena *a, struct err *err)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < s->window_count; i++)
        rc = check_window(s->fp, &s->windows[i], a, err);
    return rc;
}

/* Labels in order after the series before, fingerprint theirs. */
static int verify_labels(struct verify *v, struct str tenant, const struct stored_series *s, struct err *err)
{
    struct rd rd = rd_of(buf_view(&v->last));
    struct labels before;
    int rc = 0;

    if (!u128_eq(labels_fingerprint(tenant, &s->labels), s->fp))
        return wrong(err, "the fingerprint is not that of the labels");
    if (v->sums.n > 0) {
        rc = labels_decode(&rd, &v->decode, &before, err);
        if (rc == 0 && labels_cmp(&before, &s->labels) >= 0)
            rc = wrong(err, "series out of order");
    }
    buf_clear(&v->last);
    labels_encode(&v->last, &s->labels);
    return rc;
}

static int verify_one(struct verify *v, struct str tenant, const struct stored_series *s, struct err *err)
{
    uint64_t sum = pair_hash(STR(""), STR(""));
    int rc;

    arena_reset(&v->decode);
    rc = verify_labels(v, tenant, s, err);
    if (rc == 0)
        rc = block_series_check(s, &v->decode, err);
    for (size_t i = 0; i < s->window_count; i++) {
        const struct stored_window *w = &s->windows[i];

        v->samples += w->count;
        v->chunks += w->chunk_count;
        v->mint_ms = MIN(v->mint_ms, w->mint_ms);
        v->maxt_ms = MAX(v->maxt_ms, w->maxt_ms);
    }
    for (size_t i = 0; i < s->labels.n; i++)
        sum += pair_hash(s->labels.v[i].name, s->labels.v[i].value);
    *vec_push(&v->sums) = sum;
    v->series++;
    return rc;
}

static int verify_series(struct verify *v, struct str tenant, struct err *err)
{
    struct stored_series series;
    struct block_series rec;
    struct block_scan scan;
    int rc = block_scan_init(&scan, v->reader, tenant, &v->arena, true, err);

    for (uint32_t ordinal = 0; rc >= 0; ordinal++) {
        rc = block_scan_record(&scan, ordinal, true, &rec, err);
        if (rc <= 0)
            break;
        rc = block_scan_series(&scan, ordinal, &rec, STORE_DATA, INT64_MIN, INT64_MAX, &series, err);
        if (rc <= 0)
            continue;
        rc = verify_one(v, tenant, &series, err);
        if (rc < 0)
            rc = block_cursor_wrap(&scan.series, block_cursor_key(&scan.series), rc, err);
    }
    block_scan_fini(&scan);
    return rc;
}

/* The list at the cursor, taken off the sums. */
static int verify_list(struct verify *v, struct block_cursor *c, struct str tenant, struct buf *name, struct err *err)
{
    roaring_uint32_iterator_t it;
    roaring_bitmap_t *set;
    struct str payload, value;
    uint64_t hash;
    int rc = block_cursor_payload(c, &payload, err);

    if (rc < 0)
        return rc;
    rc = block_key_split(block_cursor_key(c), tenant, name, &value, err);
    if (rc == 0)
        rc = block_postings_decode(payload, &set, err);
    if (rc < 0)
        return block_cursor_wrap(c, block_cursor_key(c), rc, err);
    hash = pair_hash(buf_view(name), value);
    for (roaring_init_iterator(set, &it); rc == 0 && it.has_value; roaring_advance_uint32_iterator(&it)) {
        if (it.current_value >= v->sums.n)
            rc = block_cursor_wrap(c, block_cursor_key(c), wrong(err, "a posting of no series"), err);
        else
            v->sums.v[it.current_value] -= hash;
    }
    roaring_bitmap_free(set);
    return rc;
}

static int verify_postings(struct verify *v, struct str tenant, struct err *err)
{
    struct block_cursor c;
    struct buf key, name;
    int rc = block_cursor_init(&c, v->reader, BLOCK_POSTINGS, true, err);

    if (rc < 0)
        return rc;
    buf_init(&key, BLOCK_KEY_BYTES_MAX);
    buf_init(&name, BLOCK_KEY_BYTES_MAX);
    block_key_name(&key, tenant, STR(""));
    rc = block_cursor_seek(&c, buf_view(&key), err);
    while (rc > 0 && str_has_prefix(block_cursor_key(&c), str_sub(buf_view(&key), 0, tenant.n + 1))) {
        rc = verify_list(v, &c, tenant, &name, err);
        if (rc == 0)
            rc = block_cursor_next(&c, err);
    }
    for (size_t i = 0; rc >= 0 && i < v->sums.n; i++)
        if (v->sums.v[i] != 0)
            rc = block_cursor_wrap(&c, buf_view(&key), wrong(err, "postings and labels of a series differ"), err);
    buf_fini(&key);
    buf_fini(&name);
    block_cursor_fini(&c);
    return MIN(rc, 0);
}

static int verify_tenant(void *arg, struct str tenant)
{
    struct verify *v = arg;
    int rc;

    arena_init(&v->arena, BLOCK_TENANT_BYTES_MAX);
    vec_clear(&v->sums);
    v->tenants++;
    rc = verify_series(v, tenant, v->err);
    if (rc == 0)
        rc = verify_postings(v, tenant, v->err);
    arena_fini(&v->arena);
    return rc;
}

static int verify_totals(const struct verify *v, struct err *err)
{
    const struct block_meta *m = &v->reader->meta;
    bool same = v->series == m->series && v->samples == m->samples && v->chunks == m->chunks && v->tenants == m->tenants &&
                v->mint_ms == m->mint_ms && v->maxt_ms == m->maxt_ms;

    return same ? 0 : err_set(err, RC_CORRUPT, "block %s: meta.json: counts or times are not those of the content", m->id.text);
}

int block_verify(struct block_reader *r, struct err *err)
{
    struct verify v = {.reader = r, .mint_ms = INT64_MAX, .maxt_ms = INT64_MIN, .err = err};
    char *buf = xmalloc(READ_BYTES);
    int rc = 0;

    for (int file = 0; rc == 0 && file < BLOCK_FILES; file++) {
        rc = verify_file(r, file, buf, err);
        if (rc == 0)
            rc = verify_table(r, file, err);
    }
    free(buf);
    arena_init(&v.decode, BLOCK_SERIES_BYTES_MAX);
    buf_init(&v.last, BLOCK_KEY_BYTES_MAX);
    if (rc == 0)
        rc = block_each_tenant(r, verify_tenant, &v, err);
    if (rc == 0)
        rc = verify_totals(&v, err);
    arena_fini(&v.decode);
    buf_fini(&v.last);
    vec_fini(&v.sums);
    return rc;
}
