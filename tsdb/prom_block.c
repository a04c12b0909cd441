#include "tsdb/prom_block.h"
#include "common/sys/fs.h"
#include "tsdb/prom_chunk.h"

#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define INDEX_MAGIC      0xBAAAD700U
#define SEGMENT_MAGIC    0x85BD40DDU
#define TOMBSTONES_MAGIC 0x0130BA30U
enum {
    INDEX_VERSION = 2, INDEX_TOC_BYTES = 52, SEGMENT_VERSION = 1, SEGMENT_HEAD = 8, TOMBSTONES_VERSION = 1,
    META_BYTES_MAX = 16 << 20, SERIES_ALIGN = 16, CRC_BYTES = 4,
};

struct file {
    const uint8_t *p;
    size_t n;
};

struct tombstone {
    uint64_t series; /* its place in the index / SERIES_ALIGN */
    int64_t mint_ms, maxt_ms;
};

struct prom_block {
    char *dir;
    struct prom_block_meta meta;
    struct file index, *segments;
    size_t segment_count;
    struct str *symbols;
    size_t symbol_count;
    uint64_t series_at, series_end, at; /* offsets in the index */
    struct tombstone *tombstones;
    size_t tombstone_count;
};

/* --- files --- */

static int file_map(const char *path, struct file *ret, struct err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC), rc = 0;
    struct stat st;
    void *p = NULL;

    if (fd < 0)
        return err_sys(err, errno == ENOENT ? RC_NOT_FOUND : RC_IO, "open %s", path);
    if (fstat(fd, &st) < 0) {
        rc = err_sys(err, RC_IO, "stat %s", path);
    } else if (st.st_size > 0) {
        p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED)
            rc = err_sys(err, RC_IO, "map %s", path);
    }
    close(fd);
    if (rc == 0)
        *ret = (struct file){p, (size_t)st.st_size};
    return rc;
}

static void file_unmap(struct file *f)
{
    if (f->n)
        munmap((void *)f->p, f->n);
}

static struct rd file_rd(const struct file *f, uint64_t offset)
{
    return offset <= f->n ? rd_of(str_n(f->p + offset, f->n - offset)) : (struct rd){.failed = true};
}

static uint32_t rd_be32(struct rd *r)
{
    const uint8_t *p = rd_take(r, 4);

    return p ? be_get32(p) : 0;
}

/* Go's Varint and Uvarint are ours: zigzag and LEB128. */
static bool crc_matches(const uint8_t *p, size_t n, struct rd *r)
{
    uint32_t want = rd_be32(r);

    return rd_ok(r) && crc32c(0, p, n) == want;
}

/* --- meta.json --- */

static int meta_read(struct prom_block *b, const char *path, struct err *err)
{
    struct buf text;
    json_t *j = NULL;
    const char *ulid;
    int rc;

    buf_init(&text, META_BYTES_MAX);
    rc = fs_read(path, &text, err);
    if (rc == 0 && !(j = json_loadb(text.p ? text.p : "", text.n, 0, NULL)))
        rc = err_set(err, RC_CORRUPT, "%s is no JSON", path);
    if (rc == 0 && json_integer_value(json_object_get(j, "version")) != 1)
        rc = err_set(err, RC_VERSION, "%s: version of the block is not 1", path);
    if (rc == 0) {
        const json_t *stats = json_object_get(j, "stats");

        ulid = json_string_value(json_object_get(j, "ulid"));
        snprintf(b->meta.ulid, sizeof b->meta.ulid, "%s", ulid ? ulid : "");
        b->meta.mint_ms = json_integer_value(json_object_get(j, "minTime"));
        b->meta.maxt_ms = json_integer_value(json_object_get(j, "maxTime"));
        b->meta.series = (uint64_t)json_integer_value(json_object_get(stats, "numSeries"));
        b->meta.samples = (uint64_t)json_integer_value(json_object_get(stats, "numSamples"));
        if (strlen(b->meta.ulid) != 26)
            rc = err_set(err, RC_CORRUPT, "%s: no ulid", path);
    }
    json_decref(j);
    buf_fini(&text);
    return rc;
}

/* --- index --- */

static int symbols_read(struct prom_block *b, uint64_t offset, struct err *err)
{
    struct rd r = file_rd(&b->index, offset), body;
    uint32_t n = rd_be32(&r);
    const uint8_t *p = rd_take(&r, n);
    uint32_t count;

    CORRUPT_UNLESS(p && crc_matches(p, n, &r), err);
    body = rd_of(str_n(p, n));
    count = rd_be32(&body);
    CORRUPT_UNLESS(rd_ok(&body) && count <= rd_left(&body) && count <= PROM_SYMBOLS_MAX, err); /* each has a byte at least */
    b->symbols = xcalloc(MAX(count, 1U), sizeof *b->symbols);
    b->symbol_count = count;
    for (uint32_t i = 0; i < count; i++)
        b->symbols[i] = rd_lstr(&body);
    CORRUPT_UNLESS(rd_done(&body), err);
    return 0;
}

static int index_read(struct prom_block *b, struct err *err)
{
    struct rd r = file_rd(&b->index, 0);
    uint64_t toc[6];
    const uint8_t *at;

    CORRUPT_UNLESS(b->index.n >= 5 + INDEX_TOC_BYTES && rd_be32(&r) == INDEX_MAGIC, err);
    if (rd_u8(&r) != INDEX_VERSION)
        return err_set(err, RC_VERSION, "index of version %u; this program reads %d (Prometheus 2.3 and later)", b->index.p[4], INDEX_VERSION);
    at = b->index.p + b->index.n - INDEX_TOC_BYTES;
    for (size_t i = 0; i < ARRAY_LEN(toc); i++)
        toc[i] = be_get64(at + 8 * i);
    CORRUPT_UNLESS(crc32c(0, at, INDEX_TOC_BYTES - CRC_BYTES) == be_get32(at + INDEX_TOC_BYTES - CRC_BYTES), err);
    b->series_at = b->at = (toc[1] + SERIES_ALIGN - 1) / SERIES_ALIGN * SERIES_ALIGN;
    b->series_end = b->index.n - INDEX_TOC_BYTES;
    for (size_t i = 2; i < ARRAY_LEN(toc); i++) /* what stands behind the series first */
        if (toc[i] > toc[1])
            b->series_end = MIN(b->series_end, toc[i]);
    CORRUPT_UNLESS(toc[1] < b->index.n && b->series_at <= b->index.n, err);
    return symbols_read(b, toc[0], err);
}

/* --- chunks and tombstones --- */

static int segments_map(struct prom_block *b, struct err *err)
{
    char path[PATH_MAX];
    fs_names names = {0};
    int rc;

    snprintf(path, sizeof path, "%s/chunks", b->dir);
    rc = fs_list(path, &names, err);
    if (rc == 0 && names.n > PROM_SEGMENTS_MAX)
        rc = err_set(err, RC_LIMIT, "%s has %zu files, more than %d", path, names.n, PROM_SEGMENTS_MAX);
    if (rc == 0)
        b->segments = xcalloc(MAX(names.n, (size_t)1), sizeof *b->segments);
    for (size_t i = 0; rc == 0 && i < names.n; i++) {
        struct file *f = &b->segments[b->segment_count];
        char *end;

        if (strtoul(names.v[i], &end, 10) != b->segment_count + 1 || *end) /* 000001, 000002, ... */
            continue;
        snprintf(path, sizeof path, "%s/chunks/%s", b->dir, names.v[i]);
        rc = file_map(path, f, err);
        if (rc < 0)
            break;
        b->segment_count++;
        if (f->n < SEGMENT_HEAD || be_get32(f->p) != SEGMENT_MAGIC)
            rc = err_set(err, RC_CORRUPT, "%s is no chunk segment", path);
        else if (f->p[4] != SEGMENT_VERSION)
            rc = err_set(err, RC_VERSION, "%s: chunk segment of version %u; this program reads %d", path, f->p[4], SEGMENT_VERSION);
    }
    fs_names_free(&names);
    return rc;
}

static int tombstone_order(const void *x, const void *y)
{
    const struct tombstone *a = x, *b = y;

    return (a->series > b->series) - (a->series < b->series);
}

static int tombstones_parse(struct prom_block *b, struct str bytes, struct err *err)
{
    struct rd r = rd_of(bytes), crc;
    VEC(struct tombstone) all = {0};

    CORRUPT_UNLESS(bytes.n >= 5 + CRC_BYTES && rd_be32(&r) == TOMBSTONES_MAGIC, err);
    r.end -= CRC_BYTES;
    crc = rd_of(str_n(r.end, CRC_BYTES));
    CORRUPT_UNLESS(rd_u8(&r) == TOMBSTONES_VERSION, err);
    CORRUPT_UNLESS(crc_matches(r.p, rd_left(&r), &crc), err); /* not over the version */
    while (rd_ok(&r) && rd_left(&r) > 0 && all.n < PROM_TOMBSTONES_MAX) {
        struct tombstone *t = vec_push(&all);

        t->series = rd_uvarint(&r);
        t->mint_ms = rd_svarint(&r);
        t->maxt_ms = rd_svarint(&r);
    }
    if (!rd_done(&r))
        vec_fini(&all);
    CORRUPT_UNLESS(rd_done(&r), err);
    if (all.n)
        qsort(all.v, all.n, sizeof *all.v, tombstone_order);
    b->tombstones = all.v;
    b->tombstone_count = all.n;
    return 0;
}

static int tombstones_read(struct prom_block *b, const char *path, struct err *err)
{
    struct file f;
    int rc = file_map(path, &f, err);

    if (rc < 0)
        return rc == RC_NOT_FOUND ? 0 : rc;
    rc = tombstones_parse(b, str_n(f.p, f.n), err);
    file_unmap(&f);
    return rc;
}

/* --- the block --- */

int prom_block_open(const char *dir, struct prom_block **ret, struct err *err)
{
    struct prom_block *b = xcalloc(1, sizeof *b);
    char path[PATH_MAX];
    int rc;

    b->dir = xstrdup(dir);
    snprintf(path, sizeof path, "%s/meta.json", dir);
    rc = meta_read(b, path, err);
    if (rc == 0) {
        snprintf(path, sizeof path, "%s/tombstones", dir);
        rc = tombstones_read(b, path, err);
    }
    if (rc == 0)
        rc = segments_map(b, err);
    if (rc == 0) {
        snprintf(path, sizeof path, "%s/index", dir);
        rc = file_map(path, &b->index, err);
    }
    if (rc == 0)
        rc = index_read(b, err);
    if (rc < 0) {
        prom_block_free(b);
        return err_wrap(err, rc, "Prometheus block %s", dir);
    }
    *ret = b;
    return 0;
}

void prom_block_free(struct prom_block *b)
{
    if (!b)
        return;
    for (size_t i = 0; i < b->segment_count; i++)
        file_unmap(&b->segments[i]);
    file_unmap(&b->index);
    free(b->segments);
    free(b->symbols);
    free(b->tombstones);
    free(b->dir);
    free(b);
}

const struct prom_block_meta *prom_block_meta(const struct prom_block *b)
{
    return &b->meta;
}

void prom_block_rewind(struct prom_block *b)
{
    b->at = b->series_at;
}

/* ref: segment in its upper half, offset in its lower. A chunk: uvarint length | u8 encoding | bytes | CRC32C of the last two. */
static int chunk_read(struct prom_block *b, uint64_t ref, struct arena *a, struct chunk_columns *ret, struct err *err)
{
    uint64_t segment = ref >> 32, n;
    const uint8_t *p;
    struct rd r;

    CORRUPT_UNLESS(segment < b->segment_count, err);
    r = file_rd(&b->segments[segment], ref & UINT32_MAX);
    n = rd_uvarint(&r);
    CORRUPT_UNLESS(rd_ok(&r) && n < CHUNK_BYTES_MAX, err);
    p = rd_take(&r, (size_t)n + 1);
    CORRUPT_UNLESS(p && crc_matches(p, (size_t)n + 1, &r), err);
    return prom_chunk_decode(p[0], str_n(p + 1, (size_t)n), a, ret, err);
}

static int labels_read(struct prom_block *b, struct rd *r, struct arena *a, struct labels *ret, struct err *err)
{
    uint64_t n = rd_uvarint(r);

    CORRUPT_UNLESS(rd_ok(r) && n <= LABELS_MAX, err);
    *ret = (struct labels){arena_array(a, (size_t)n, sizeof *ret->v), 0};
    if (!ret->v)
        return err_set(err, RC_NOMEM, "a series: memory budget is spent");
    for (uint64_t i = 0; i < n; i++) {
        uint64_t name = rd_uvarint(r), value = rd_uvarint(r);

        CORRUPT_UNLESS(rd_ok(r) && name < b->symbol_count && value < b->symbol_count, err);
        if (b->symbols[value].n > 0) /* an empty value is no label */
            ret->v[ret->n++] = (struct label){b->symbols[name], b->symbols[value]};
    }
    CORRUPT_UNLESS(labels_sort(ret, NULL), err);
    return 0;
}

static int chunks_read(struct prom_block *b, struct rd *r, struct arena *a, struct chunk_columns **ret, size_t *ret_n, struct err *err)
{
    uint64_t n = rd_uvarint(r), ref = 0;
    int rc = 0;

    CORRUPT_UNLESS(rd_ok(r) && n <= rd_left(r), err);
    *ret = arena_array(a, (size_t)n, sizeof **ret);
    *ret_n = (size_t)n;
    if (!*ret)
        return err_set(err, RC_NOMEM, "a series: memory budget is spent");
    for (uint64_t i = 0; rc == 0 && i < n; i++) {
        rd_uvarint(r); /* first and last time: they are in the chunk too */
        rd_uvarint(r);
        ref = i ? ref + (uint64_t)rd_svarint(r) : rd_uvarint(r);
        CORRUPT_UNLESS(rd_ok(r), err);
        rc = chunk_read(b, ref, a, *ret + i, err);
    }
    return rc;
}

/* Each chunk begins behind the end of the one before. */
static bool joins(const struct chunk_columns *in, size_t n)
{
    for (size_t i = 1; i < n; i++)
        if (in[i].t[0] <= in[i - 1].t[in[i - 1].n - 1])
            return false;
    return true;
}

static int columns_join(const struct chunk_columns *in, size_t n, struct arena *a, struct chunk_columns *ret, struct err *err)
{
    struct chunk_columns c = {0};
    bool hists = false;
    size_t all = 0;

    for (size_t i = 0; i < n; i++) {
        all += in[i].n;
        hists |= in[i].hist != NULL;
    }
    c.t = arena_array(a, all, sizeof *c.t);
    c.v = arena_array(a, all, sizeof *c.v);
    c.hist = hists ? arena_zalloc(a, all * sizeof *c.hist) : NULL;
    if (!c.t || !c.v || (hists && !c.hist))
        return err_set(err, RC_NOMEM, "a series of %zu samples: memory budget is spent", all);
    for (size_t i = 0; i < n; i++) {
        memcpy(c.t + c.n, in[i].t, in[i].n * sizeof *c.t);
        memcpy(c.v + c.n, in[i].v, in[i].n * sizeof *c.v);
        if (in[i].hist)
            memcpy(c.hist + c.n, in[i].hist, in[i].n * sizeof *c.hist);
        c.n += in[i].n;
    }
    *ret = c;
    return 0;
}

/* Takes deleted samples out, in place. */
static void bury(const struct prom_block *b, uint64_t series, struct chunk_columns *c)
{
    struct tombstone key = {.series = series};
    const struct tombstone *t = b->tombstone_count ? bsearch(&key, b->tombstones, b->tombstone_count, sizeof key, tombstone_order) : NULL;

    if (!t)
        return;
    while (t > b->tombstones && t[-1].series == series)
        t--;
    for (; t < b->tombstones + b->tombstone_count && t->series == series; t++) {
        size_t n = 0;

        for (size_t i = 0; i < c->n; i++) {
            if (c->t[i] >= t->mint_ms && c->t[i] <= t->maxt_ms)
                continue;
            c->t[n] = c->t[i];
            c->v[n] = c->v[i];
            if (c->hist)
                c->hist[n] = c->hist[i];
            n++;
        }
        c->n = n;
    }
}

static int series_read(struct prom_block *b, uint64_t place, struct rd *r, struct arena *a, struct labels *ret, struct chunk_columns *ret_samples,
                       struct err *err)
{
    struct chunk_columns *in = NULL;
    size_t n = 0;
    int rc = labels_read(b, r, a, ret, err);

    if (rc == 0)
        rc = chunks_read(b, r, a, &in, &n, err);
    if (rc < 0)
        return rc;
    CORRUPT_UNLESS(rd_done(r), err);
    rc = joins(in, n) ? columns_join(in, n, a, ret_samples, err) : chunk_merge(in, n, a, ret_samples, err);
    if (rc == 0)
        bury(b, place, ret_samples);
    return rc;
}

int prom_block_next(struct prom_block *b, struct arena *a, struct labels *ret, struct chunk_columns *ret_samples, struct err *err)
{
    uint64_t place = b->at / SERIES_ALIGN, n;
    struct rd r, body;
    const uint8_t *p;
    int rc;

    if (b->at >= b->series_end || b->series_end - b->at < 2)
        return 0;
    r = file_rd(&b->index, b->at);
    n = rd_uvarint(&r);
    if (rd_ok(&r) && n == 0) /* what fills up to the next section */
        return 0;
    p = rd_ok(&r) && n < rd_left(&r) ? rd_take(&r, (size_t)n) : NULL;
    if (!p || !crc_matches(p, (size_t)n, &r))
        return err_set(err, RC_CORRUPT, "Prometheus block %s: the series at %llu of its index is damaged", b->dir, (unsigned long long)b->at);
    body = rd_of(str_n(p, (size_t)n));
    rc = series_read(b, place, &body, a, ret, ret_samples, err);
    if (rc < 0)
        return err_wrap(err, rc, "Prometheus block %s: the series at %llu of its index", b->dir, (unsigned long long)b->at);
    b->at = (uint64_t)(r.p - b->index.p + SERIES_ALIGN - 1) / SERIES_ALIGN * SERIES_ALIGN;
    return 1;
}
