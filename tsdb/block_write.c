#include "common/base/fault.h"
#include "common/model/tenant.h"
#include "common/sys/fs.h"
#include "tsdb/block_build.h"
#include "tsdb/block_format.h"

#include <fcntl.h>
#include <limits.h>
#include <rocksdb/c.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    TABLE_BLOCK_BYTES = 16 << 10,
    CHUNKS_BLOCK_BYTES = 32 << 10,
    ZSTD_LEVEL = 3,
    CHECKSUM_XXH3 = 4, /* rocksdb::kXXH3 */
    VALUE_BYTES_MAX = 1 << 30,
    READ_BYTES = 1 << 20,
};

struct table {
    rocksdb_sstfilewriter_t *writer;
    rocksdb_options_t *options;
    bool open;
    char path[PATH_MAX];
};

struct block_writer {
    struct block_meta meta;
    char dir[PATH_MAX];
    bool failed;
    rocksdb_envoptions_t *env;
    struct table tables[BLOCK_FILES];
    /* --- the tenant at hand --- */
    char tenant[TENANT_ID_BYTES_MAX + 1];
    struct block_build *build; /* NULL before the first series */
    uint32_t ordinal;
    uint32_t (*last)[2]; /* labels of the series before, as symbols */
    size_t last_n;
    /* --- scratch --- */
    struct arena arena; /* of one series */
    struct buf key, value;
};

/* --- table files --- */

static int table_error(const struct table *t, char *text, struct err *err)
{
    int rc = err_set(err, RC_IO, "%s: %s", t->path, text);

    rocksdb_free(text);
    return rc;
}

static rocksdb_options_t *table_options(int file)
{
    rocksdb_options_t *o = rocksdb_options_create();
    rocksdb_block_based_table_options_t *t = rocksdb_block_based_options_create();

    rocksdb_block_based_options_set_block_size(t, file == BLOCK_CHUNKS ? CHUNKS_BLOCK_BYTES : TABLE_BLOCK_BYTES);
    rocksdb_block_based_options_set_checksum(t, CHECKSUM_XXH3);
    rocksdb_block_based_options_set_format_version(t, 5);
    /* An index in pages, so that one series of a large block does not cost reading the whole index. */
    rocksdb_block_based_options_set_index_type(t, rocksdb_block_based_table_index_type_two_level_index_search);
    rocksdb_options_set_block_based_table_factory(o, t);
    rocksdb_options_set_compression(o, rocksdb_zstd_compression);
    rocksdb_options_set_compression_options(o, -14, ZSTD_LEVEL, 0, 0);
    rocksdb_block_based_options_destroy(t);
    return o;
}

static int table_open(struct block_writer *w, int file, struct err *err)
{
    struct table *t = &w->tables[file];
    char *why = NULL;

    if (snprintf(t->path, sizeof t->path, "%s/%s", w->dir, block_file_names[file]) >= (int)sizeof t->path)
        return err_set(err, RC_INVALID, "path too long: %.128s", w->dir);
    FAULT(FAULT_IO, return err_set(err, RC_IO, "fault: create %s", t->path));
    t->options = table_options(file);
    t->writer = rocksdb_sstfilewriter_create(w->env, t->options);
    rocksdb_sstfilewriter_open(t->writer, t->path, &why);
    t->open = why == NULL;
    return why ? table_error(t, why, err) : 0;
}

/* w->value is sealed under w->key and written. */
static int table_put(struct block_writer *w, int file, struct err *err)
{
    struct table *t = &w->tables[file];
    char *why = NULL;

    block_value_seal(&w->value, buf_view(&w->key));
    if (!buf_ok(&w->key) || !buf_ok(&w->value) || w->key.n > BLOCK_KEY_BYTES_MAX)
        return err_set(err, RC_LIMIT, "%s: a record is too large", t->path);
    FAULT(FAULT_IO, return err_set(err, RC_IO, "fault: write %s", t->path));
    rocksdb_sstfilewriter_put(t->writer, w->key.p, w->key.n, w->value.p, w->value.n, &why);
    return why ? table_error(t, why, err) : 0;
}

static int table_finish(struct table *t, struct err *err)
{
    char *why = NULL;

    FAULT(FAULT_IO, return err_set(err, RC_IO, "fault: finish %s", t->path));
    rocksdb_sstfilewriter_finish(t->writer, &why); /* syncs */
    t->open = false;
    return why ? table_error(t, why, err) : 0;
}

/* --- life --- */

int block_writer_new(const char *scratch, const struct block_meta *meta, struct block_writer **ret, struct err *err)
{
    struct block_writer *w = xcalloc(1, sizeof *w);
    int rc = 0;

    ASSERT(ulid_valid(str_of(meta->id.text)));
    w->meta = *meta;
    w->meta.version = BLOCK_VERSION;
    w->meta.sources = meta->source_count ? xmemdup(meta->sources, meta->source_count * sizeof *meta->sources) : NULL;
    w->meta.series = w->meta.samples = w->meta.chunks = w->meta.bytes = w->meta.tenants = 0;
    w->meta.mint_ms = INT64_MAX;
    w->meta.maxt_ms = INT64_MIN;
    w->env = rocksdb_envoptions_create();
    arena_init(&w->arena, BLOCK_SERIES_BYTES_MAX);
    buf_init(&w->key, BLOCK_KEY_BYTES_MAX + 1);
    buf_init(&w->value, VALUE_BYTES_MAX);
    if (snprintf(w->dir, sizeof w->dir, "%s/%s", scratch, meta->id.text) >= (int)sizeof w->dir)
        rc = err_set(err, RC_INVALID, "path too long: %.128s", scratch);
    if (rc == 0)
        rc = fs_mkdirs(w->dir, err);
    for (int i = 0; rc == 0 && i < BLOCK_FILES; i++)
        rc = table_open(w, i, err);
    if (rc < 0) {
        block_writer_free(w);
        return rc;
    }
    *ret = w;
    return 0;
}

void block_writer_free(struct block_writer *w)
{
    if (!w)
        return;
    for (int i = 0; i < BLOCK_FILES; i++) {
        struct table *t = &w->tables[i];

        if (t->writer)
            rocksdb_sstfilewriter_destroy(t->writer);
        if (t->options)
            rocksdb_options_destroy(t->options);
    }
    rocksdb_envoptions_destroy(w->env);
    fs_remove_tree(w->dir, NULL);
    block_build_free(w->build);
    free(w->last);
    arena_fini(&w->arena);
    buf_fini(&w->key);
    buf_fini(&w->value);
    block_meta_fini(&w->meta);
    free(w);
}

/* --- the end of a tenant: its symbols and postings --- */

static int write_symbols(struct block_writer *w, struct err *err)
{
    uint32_t n = block_build_symbol_count(w->build);
    int rc = 0;

    for (uint32_t from = 0; rc == 0 && from < n; from += BLOCK_PAGE_SYMBOLS) {
        uint32_t count = MIN(n - from, (uint32_t)BLOCK_PAGE_SYMBOLS);

        block_key_number(&w->key, str_of(w->tenant), from / BLOCK_PAGE_SYMBOLS);
        buf_clear(&w->value);
        buf_uvarint(&w->value, count);
        for (uint32_t i = 0; i < count; i++)
            buf_lstr(&w->value, block_build_text(w->build, from + i));
        rc = table_put(w, BLOCK_SYMBOLS, err);
    }
    return rc;
}

static int write_list(struct block_writer *w, struct str name, struct str value, const uint32_t *ordinals, size_t n,
                      struct err *err)
{
    block_key_posting(&w->key, str_of(w->tenant), name, value);
    buf_clear(&w->value);
    block_postings_encode(&w->value, ordinals, n);
    return table_put(w, BLOCK_POSTINGS, err);
}

static int write_postings(struct block_writer *w, struct err *err)
{
    uint32_t *ordinals = xmalloc(w->ordinal * sizeof *ordinals);
    const struct block_list *lists;
    size_t n;
    int rc;

    for (uint32_t i = 0; i < w->ordinal; i++)
        ordinals[i] = i;
    rc = write_list(w, STR(""), STR(""), ordinals, w->ordinal, err);
    lists = block_build_sorted(w->build, &n);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        block_list_ordinals(&lists[i], ordinals);
        rc = write_list(w, block_build_text(w->build, lists[i].name), block_build_text(w->build, lists[i].value),
                        ordinals, lists[i].count, err);
    }
    free(ordinals);
    return rc;
}

static int tenant_finish(struct block_writer *w, struct err *err)
{
    int rc = 0;

    if (w->build) {
        rc = write_symbols(w, err);
        if (rc == 0)
            rc = write_postings(w, err);
    }
    block_build_free(w->build);
    w->build = NULL;
    return rc;
}

static int tenant_begin(struct block_writer *w, struct str tenant, struct err *err)
{
    int rc = tenant_id_check(tenant, err);

    if (rc == 0 && w->meta.tenants > 0 && str_cmp(str_of(w->tenant), tenant) > 0)
        rc = err_set(err, RC_INVALID, "tenant '%.*s' after '%s': out of order", STR_FMT(tenant), w->tenant);
    if (rc == 0 && w->meta.level > 0 && !str_eqz(tenant, w->meta.tenant))
        rc = err_set(err, RC_INVALID, "tenant '%.*s' in a block of '%s'", STR_FMT(tenant), w->meta.tenant);
    if (rc == 0)
        rc = tenant_finish(w, err);
    if (rc < 0)
        return rc;
    memcpy(w->tenant, tenant.p, tenant.n);
    w->tenant[tenant.n] = '\0';
    w->build = block_build_new(BLOCK_TENANT_BYTES_MAX);
    w->ordinal = 0;
    w->last_n = 0;
    w->meta.tenants++;
    return 0;
}

/* --- one series --- */

static int series_check(const struct stored_series *s, struct err *err)
{
    if (s->labels.n == 0 || s->labels.n > LABELS_MAX || s->window_count == 0 || s->window_count > BLOCK_WINDOWS_MAX)
        return err_set(err, RC_INVALID, "a series of %zu labels and %zu windows", s->labels.n, s->window_count);
    for (size_t i = 0; i < s->window_count; i++) {
        const struct stored_window *w = &s->windows[i];
        bool ok = w->count > 0 && w->chunk_count > 0 && w->mint_ms <= w->maxt_ms &&
                  (i == 0 || w->start_ms > s->windows[i - 1].start_ms) && w->start_ms == window_start(s->fp, w->mint_ms, NULL);

        if (!ok)
            return err_set(err, RC_INVALID, "window %zu of a series is empty, out of order or not where its samples are", i);
    }
    return 0;
}

static int labels_to_symbols(struct block_writer *w, const struct labels *ls, uint32_t (**ret)[2], struct err *err)
{
    uint32_t(*out)[2] = arena_array(&w->arena, ls->n, sizeof *out);
    int rc = 0;

    if (!out)
        return err_set(err, RC_NOMEM, "labels: memory budget is spent");
    for (size_t i = 0; rc == 0 && i < ls->n; i++) {
        bool ok = ls->v[i].name.n > 0 && ls->v[i].value.n > 0 && (i == 0 || str_cmp(ls->v[i - 1].name, ls->v[i].name) < 0);

        rc = ok ? block_build_symbol(w->build, ls->v[i].name, &out[i][0], err)
                : err_set(err, RC_INVALID, "labels are empty or out of order");
        if (rc == 0)
            rc = block_build_symbol(w->build, ls->v[i].value, &out[i][1], err);
    }
    *ret = out;
    return rc;
}

static int cmp_with_last(const struct block_writer *w, uint32_t (*now)[2], size_t n)
{
    size_t common = MIN(n, w->last_n);

    for (size_t i = 0; i < common; i++)
        for (int half = 0; half < 2; half++) {
            uint32_t a = w->last[i][half], b = now[i][half];

            if (a != b)
                return str_cmp(block_build_text(w->build, a), block_build_text(w->build, b));
        }
    return (w->last_n > n) - (w->last_n < n);
}

static int order_check(struct block_writer *w, uint32_t (*now)[2], size_t n, struct err *err)
{
    if (w->ordinal > 0 && cmp_with_last(w, now, n) >= 0)
        return err_set(err, RC_INVALID, "series out of order in tenant '%s'", w->tenant);
    if (w->ordinal == UINT32_MAX)
        return err_set(err, RC_LIMIT, "more than 2^32 series in tenant '%s'", w->tenant);
    w->last = xrealloc(w->last, n * sizeof *w->last);
    memcpy(w->last, now, n * sizeof *w->last);
    w->last_n = n;
    return 0;
}

static size_t window_bytes(const struct stored_window *w)
{
    size_t n = 0;

    for (uint32_t i = 0; i < w->chunk_count; i++)
        n += w->chunks[i].n;
    return n;
}

/* Writes the windows [from, to) as one group. */
static int write_group(struct block_writer *w, const struct stored_series *s, const struct block_window *windows, size_t from, size_t to, struct err *err)
{
    struct block_chunks *chunks = arena_array(&w->arena, to - from, sizeof *chunks);

    if (!chunks)
        return err_set(err, RC_NOMEM, "windows: memory budget is spent");
    for (size_t i = from; i < to; i++)
        chunks[i - from] = (struct block_chunks){s->windows[i].chunks, s->windows[i].chunk_count};
    block_key_chunks(&w->key, str_of(w->tenant), w->ordinal, s->windows[from].start_ms);
    buf_clear(&w->value);
    block_group_encode(&w->value, windows + from, chunks, to - from);
    return table_put(w, BLOCK_CHUNKS, err);
}

/* Writes all chunks and notes in windows which of them start a group. */
static int write_chunks(struct block_writer *w, const struct stored_series *s, struct block_window *windows, struct err *err)
{
    size_t from = 0, bytes = 0;
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < s->window_count; i++) {
        windows[i].first = i == from;
        bytes += window_bytes(&s->windows[i]);
        if (bytes < BLOCK_GROUP_BYTES && i + 1 < s->window_count)
            continue;
        rc = write_group(w, s, windows, from, i + 1, err);
        from = i + 1;
        bytes = 0;
    }
    return rc;
}

static void count_windows(struct block_writer *w, const struct stored_series *s, struct block_window *out)
{
    struct block_meta *m = &w->meta;

    for (size_t i = 0; i < s->window_count; i++) {
        const struct stored_window *win = &s->windows[i];

        out[i] = (struct block_window){.start_ms = win->start_ms, .mint_ms = win->mint_ms, .maxt_ms = win->maxt_ms,
                                       .digest = win->digest, .count = win->count, .chunk_count = win->chunk_count};
        m->mint_ms = MIN(m->mint_ms, win->mint_ms);
        m->maxt_ms = MAX(m->maxt_ms, win->maxt_ms);
        m->samples += win->count;
        m->chunks += win->chunk_count;
    }
    m->series++;
}

static int write_series(struct block_writer *w, const struct stored_series *s, struct err *err)
{
    struct block_series out = {.fp = s->fp, .digests = w->meta.level == 0, .label_count = s->labels.n, .window_count = s->window_count};
    int rc = labels_to_symbols(w, &s->labels, &out.symbols, err);

    if (rc == 0)
        rc = order_check(w, out.symbols, out.label_count, err);
    if (rc == 0 && !(out.windows = arena_array(&w->arena, s->window_count, sizeof *out.windows)))
        rc = err_set(err, RC_NOMEM, "windows: memory budget is spent");
    if (rc < 0)
        return rc;
    count_windows(w, s, out.windows);
    rc = write_chunks(w, s, out.windows, err);
    for (size_t i = 0; rc == 0 && i < out.label_count; i++)
        rc = block_build_post(w->build, out.symbols[i][0], out.symbols[i][1], w->ordinal, err);
    if (rc < 0)
        return rc;
    block_key_number(&w->key, str_of(w->tenant), w->ordinal++);
    buf_clear(&w->value);
    block_series_encode(&w->value, &out);
    return table_put(w, BLOCK_SERIES, err);
}

int block_writer_add(struct block_writer *w, struct str tenant, const struct stored_series *s, struct err *err)
{
    int rc = series_check(s, err);

    ASSERT(!w->failed);
    if (rc == 0 && !(w->build && str_eqz(tenant, w->tenant)))
        rc = tenant_begin(w, tenant, err);
    arena_reset(&w->arena);
    if (rc == 0)
        rc = write_series(w, s, err);
    w->failed = rc < 0;
    return rc < 0 ? err_wrap(err, rc, "block %s", w->meta.id.text) : 0;
}

/* --- shipping --- */

/* Size and checksums of a finished file, read back once. */
static int file_sum(const char *path, struct block_file *ret, struct err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    char *buf = xmalloc(READ_BYTES);
    struct block_file f = {0};
    struct stat st;
    int rc = fd < 0 || fstat(fd, &st) != 0 ? err_sys(err, RC_IO, "open %s", path) : 0;

    for (uint64_t size = rc == 0 ? (uint64_t)st.st_size : 0; rc == 0 && f.size < size;) {
        size_t n = (size_t)MIN(size - f.size, (uint64_t)READ_BYTES);

        rc = fs_pread_all(fd, buf, n, f.size, err);
        f.crc32c = crc32c(f.crc32c, buf, rc == 0 ? n : 0);
        f.size += n;
    }
    if (rc == 0 && f.size < BLOCK_TAIL_BYTES)
        rc = err_set(err, RC_CORRUPT, "%s has only %llu bytes", path, (unsigned long long)f.size);
    if (rc == 0)
        rc = fs_pread_all(fd, buf, BLOCK_TAIL_BYTES, f.size - BLOCK_TAIL_BYTES, err);
    if (rc == 0) {
        f.tail = crc32c(0, buf, BLOCK_TAIL_BYTES);
        *ret = f;
    }
    if (fd >= 0)
        close(fd);
    free(buf);
    return rc;
}

static int finish_tables(struct block_writer *w, struct err *err)
{
    int rc = tenant_finish(w, err);

    for (int i = 0; rc == 0 && i < BLOCK_FILES; i++) {
        rc = table_finish(&w->tables[i], err);
        if (rc == 0)
            rc = file_sum(w->tables[i].path, &w->meta.files[i], err);
        w->meta.bytes += w->meta.files[i].size;
    }
    return rc;
}

static int upload(struct block_writer *w, struct bucket *b, struct err *err)
{
    char name[128];
    struct buf meta;
    int rc = 0;

    for (int i = 0; rc == 0 && i < BLOCK_FILES; i++) {
        FAULT(FAULT_CRASH, _exit(99));
        block_object_name(name, &w->meta.id, block_file_names[i]);
        rc = b->ops->put_file(b, name, w->tables[i].path, err);
    }
    FAULT(FAULT_CRASH, _exit(99));
    buf_init(&meta, BLOCK_META_BYTES_MAX);
    if (rc == 0)
        rc = block_meta_encode(&w->meta, &meta, err);
    block_object_name(name, &w->meta.id, "meta.json");
    if (rc == 0)
        rc = b->ops->put(b, name, buf_view(&meta), err); /* last: without it there is no block */
    buf_fini(&meta);
    return rc;
}

int block_writer_ship(struct block_writer *w, struct bucket *b, struct block_meta *ret_meta, struct err *err)
{
    int rc;

    ASSERT(!w->failed);
    if (w->meta.series == 0)
        return err_set(err, RC_NOT_FOUND, "block %s: no series was added", w->meta.id.text);
    rc = finish_tables(w, err);
    if (rc == 0)
        rc = upload(w, b, err);
    w->failed = true; /* nothing more may be added */
    if (rc < 0)
        return err_wrap(err, rc, "block %s", w->meta.id.text);
    if (ret_meta) {
        *ret_meta = w->meta;
        w->meta.sources = NULL;
        w->meta.source_count = 0;
    }
    return 0;
}
