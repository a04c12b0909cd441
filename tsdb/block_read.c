#include "tsdb/block_read.h"
#include "common/base/fault.h"
#include "common/obs/memory.h"

#include <stdio.h>
#include <stdlib.h>

enum { STREAM_READAHEAD = 1 << 20 };

/* --- the cache of the process --- */

static struct shim_cache *cache;
static pthread_once_t cache_once = PTHREAD_ONCE_INIT;

static void cache_init(void)
{
    cache = shim_cache_new(BLOCK_CACHE_BYTES);
}

static struct shim_cache *cache_get(void)
{
    ASSERT(pthread_once(&cache_once, cache_init) == 0);
    return cache;
}

void block_cache_resize(size_t bytes)
{
    shim_cache_resize(cache_get(), bytes);
}

size_t block_cache_used(void)
{
    return shim_cache_used(cache_get());
}

/* --- readers --- */

static int meta_load(struct bucket *b, const struct ulid *id, struct block_meta *ret, struct err *err)
{
    char name[128];
    struct block_meta m;
    struct buf text;
    int rc;

    buf_init(&text, BLOCK_META_BYTES_MAX);
    block_object_name(name, id, "meta.json");
    rc = b->ops->get(b, name, &text, err);
    if (rc == 0)
        rc = block_meta_decode(buf_view(&text), &m, err);
    buf_fini(&text);
    if (rc == 0 && strcmp(m.id.text, id->text) != 0) {
        rc = err_set(err, RC_CORRUPT, "meta.json is that of block %s", m.id.text);
        block_meta_fini(&m);
    }
    if (rc < 0)
        return err_wrap(err, rc, "block %s: meta.json", id->text);
    *ret = m;
    return 0;
}

int block_open(struct bucket *b, const struct ulid *id, struct block_reader **ret, struct err *err)
{
    struct block_meta m;
    struct block_reader *r;
    int rc = ulid_valid(str_of(id->text)) ? meta_load(b, id, &m, err)
                                          : err_set(err, RC_INVALID, "'%.64s' is no block id", id->text);

    if (rc < 0)
        return rc;
    r = xcalloc(1, sizeof *r);
    atomic_init(&r->refs, 1);
    r->bucket = b;
    r->meta = m;
    for (int i = 0; i < BLOCK_FILES; i++)
        r->sources[i] = (struct block_source){r, i};
    mutex_init(&r->lock);
    *ret = r;
    return 0;
}

struct block_reader *block_ref(struct block_reader *r)
{
    atomic_fetch_add(&r->refs, 1);
    return r;
}

void block_unref(struct block_reader *r)
{
    if (!r || atomic_fetch_sub(&r->refs, 1) != 1)
        return;
    for (int i = 0; i < BLOCK_FILES; i++)
        shim_table_close(r->tables[i]);
    mutex_fini(&r->lock);
    block_meta_fini(&r->meta);
    free(r);
}

const struct block_meta *block_meta(const struct block_reader *r)
{
    return &r->meta;
}

size_t block_reader_memory(const struct block_reader *r)
{
    return heap_bytes(r) + heap_bytes(r->meta.sources);
}

/* --- tables --- */

static int source_read(const struct block_source *s, uint64_t offset, size_t n, char *out, struct err *err)
{
    char name[128];

    FAULT(FAULT_IO, return err_set(err, RC_IO, "fault: read %s", block_file_names[s->file]));
    block_object_name(name, &s->reader->meta.id, block_file_names[s->file]);
    return s->reader->bucket->ops->get_range(s->reader->bucket, name, offset, n, out, err);
}

static int table_read(void *arg, uint64_t offset, size_t n, char *out, char why[SHIM_WHY_MAX])
{
    struct err err = {0};
    int rc = source_read(arg, offset, n, out, &err);

    if (rc < 0)
        snprintf(why, SHIM_WHY_MAX, "%s", err_text(&err));
    return rc;
}

int block_shim_error(const struct block_reader *r, int file, int shim_rc, const char *why, struct err *err)
{
    int rc = shim_read_rc();

    if (rc == 0)
        rc = shim_rc == SHIM_CORRUPT ? RC_CORRUPT : RC_IO;
    return err_set(err, rc, "block %s: %s: %s", r->meta.id.text, block_file_names[file], why);
}

/* The footer first: it says where everything else is, and nothing in the table protects it. */
static int table_open(struct block_reader *r, int file, struct shim_table **ret, struct err *err)
{
    const struct block_file *f = &r->meta.files[file];
    char tail[BLOCK_TAIL_BYTES], why[SHIM_WHY_MAX];
    int rc;

    if (f->size < BLOCK_TAIL_BYTES)
        rc = err_set(err, RC_CORRUPT, "only %llu bytes", (unsigned long long)f->size);
    else
        rc = source_read(&r->sources[file], f->size - BLOCK_TAIL_BYTES, BLOCK_TAIL_BYTES, tail, err);
    if (rc == 0 && crc32c(0, tail, BLOCK_TAIL_BYTES) != f->tail)
        rc = err_set(err, RC_CORRUPT, "the checksum of the footer does not match");
    if (rc < 0)
        return err_wrap(err, rc, "block %s: %s", r->meta.id.text, block_file_names[file]);
    rc = shim_table_open(cache_get(), table_read, &r->sources[file], f->size, ret, why);
    return rc < 0 ? block_shim_error(r, file, rc, why, err) : 0;
}

int block_table(struct block_reader *r, int file, struct shim_table **ret, struct err *err)
{
    int rc = 0;

    mutex_lock(&r->lock);
    if (!r->tables[file])
        rc = table_open(r, file, &r->tables[file], err);
    *ret = r->tables[file];
    mutex_unlock(&r->lock);
    return rc;
}

/* --- cursors --- */

int block_cursor_init(struct block_cursor *c, struct block_reader *r, int file, bool stream, struct err *err)
{
    struct block_cursor made = {.reader = r, .file = file};
    char why[SHIM_WHY_MAX];
    struct shim_table *t;
    int rc = block_table(r, file, &t, err);

    if (rc < 0)
        return rc;
    rc = shim_iter_new(t, stream ? STREAM_READAHEAD : 0, !stream, &made.it, why);
    if (rc < 0)
        return block_shim_error(r, file, rc, why, err);
    *c = made;
    return 0;
}

void block_cursor_fini(struct block_cursor *c)
{
    shim_iter_free(c->it);
    c->it = NULL;
}

int block_cursor_wrap(const struct block_cursor *c, struct str key, int rc, struct err *err)
{
    char text[160];
    size_t n = 0;

    for (size_t i = 0; i < key.n && n + 5 < sizeof text; i++) {
        uint8_t ch = (uint8_t)key.p[i];

        n += (size_t)snprintf(text + n, sizeof text - n, ch > 0x20 && ch < 0x7f && ch != '\\' ? "%c" : "\\x%02x", ch);
    }
    text[n] = '\0';
    return err_wrap(err, rc, "block %s: %s: key %s", c->reader->meta.id.text, block_file_names[c->file], text);
}

static int cursor_moved(const struct block_cursor *c, int rc, const char *why, struct err *err)
{
    return rc < 0 ? block_shim_error(c->reader, c->file, rc, why, err) : rc;
}

int block_cursor_seek(struct block_cursor *c, struct str key, struct err *err)
{
    char why[SHIM_WHY_MAX];

    return cursor_moved(c, shim_iter_seek(c->it, key, why), why, err);
}

int block_cursor_next(struct block_cursor *c, struct err *err)
{
    char why[SHIM_WHY_MAX];

    return cursor_moved(c, shim_iter_next(c->it, why), why, err);
}

struct str block_cursor_key(const struct block_cursor *c)
{
    return shim_iter_key(c->it);
}

int block_cursor_payload(struct block_cursor *c, struct str *ret, struct err *err)
{
    struct str key = shim_iter_key(c->it);
    int rc = block_value_open(key, shim_iter_value(c->it), ret, err);

    return rc < 0 ? block_cursor_wrap(c, key, rc, err) : 0;
}

int block_cursor_get(struct block_cursor *c, struct str key, struct str *ret, struct err *err)
{
    int rc = block_cursor_seek(c, key, err);

    if (rc <= 0 || !str_eq(block_cursor_key(c), key))
        return MIN(rc, 0);
    rc = block_cursor_payload(c, ret, err);
    return rc < 0 ? rc : 1;
}

/* --- symbols --- */

int block_symbols_init(struct block_symbols *s, struct block_reader *r, struct str tenant, struct arena *a, struct err *err)
{
    *s = (struct block_symbols){.tenant = tenant, .arena = a};
    buf_init(&s->key, BLOCK_KEY_BYTES_MAX);
    return block_cursor_init(&s->cursor, r, BLOCK_SYMBOLS, false, err);
}

void block_symbols_fini(struct block_symbols *s)
{
    block_cursor_fini(&s->cursor);
    buf_fini(&s->key);
}

static int over_budget(struct err *err)
{
    return err_set(err, RC_NOMEM, "memory budget is spent");
}

static int page_slot(struct block_symbols *s, size_t page, struct err *err)
{
    size_t cap = MAX(s->page_cap * 2, MAX(page + 1, (size_t)64));
    struct str **pages;

    if (page < s->page_cap)
        return 0;
    pages = arena_array(s->arena, cap, sizeof *pages);
    if (!pages)
        return over_budget(err);
    memset(pages, 0, cap * sizeof *pages);
    if (s->page_cap)
        memcpy(pages, s->pages, s->page_cap * sizeof *pages);
    s->pages = pages;
    s->page_cap = cap;
    return 0;
}

static int page_load(struct block_symbols *s, uint32_t page, struct err *err)
{
    struct str payload, *texts;
    size_t n;
    int rc;

    block_key_number(&s->key, s->tenant, page);
    rc = block_cursor_get(&s->cursor, buf_view(&s->key), &payload, err);
    if (rc == 0)
        rc = err_set(err, RC_CORRUPT, "no such page of symbols");
    if (rc < 0)
        return rc;
    texts = arena_zalloc(s->arena, BLOCK_PAGE_SYMBOLS * sizeof *texts);
    payload = arena_str(s->arena, payload);
    rc = texts && payload.p ? block_symbols_decode(payload, texts, &n, err) : over_budget(err);
    if (rc == 0)
        rc = page_slot(s, page, err);
    if (rc < 0)
        return rc;
    s->pages[page] = texts;
    return 0;
}

int block_symbols_get(struct block_symbols *s, uint32_t symbol, struct str *ret, struct err *err)
{
    uint32_t page = symbol / BLOCK_PAGE_SYMBOLS;
    int rc = page < s->page_cap && s->pages[page] ? 0 : page_load(s, page, err);

    if (rc == 0 && !s->pages[page][symbol % BLOCK_PAGE_SYMBOLS].p)
        rc = err_set(err, RC_CORRUPT, "no such symbol: %u", symbol);
    if (rc < 0) {
        block_key_number(&s->key, s->tenant, page);
        return block_cursor_wrap(&s->cursor, buf_view(&s->key), rc, err);
    }
    *ret = s->pages[page][symbol % BLOCK_PAGE_SYMBOLS];
    return 0;
}

/* --- series --- */

int block_scan_init(struct block_scan *s, struct block_reader *r, struct str tenant, struct arena *a, bool stream, struct err *err)
{
    int rc;

    *s = (struct block_scan){.reader = r, .tenant = tenant, .arena = a, .next = UINT32_MAX};
    arena_init(&s->scratch, 0);
    buf_init(&s->key, BLOCK_KEY_BYTES_MAX);
    rc = block_cursor_init(&s->series, r, BLOCK_SERIES, stream, err);
    if (rc == 0)
        rc = block_cursor_init(&s->chunks, r, BLOCK_CHUNKS, stream, err);
    if (rc == 0)
        rc = block_symbols_init(&s->symbols, r, tenant, a, err);
    return rc;
}

void block_scan_fini(struct block_scan *s)
{
    block_cursor_fini(&s->series);
    block_cursor_fini(&s->chunks);
    block_symbols_fini(&s->symbols);
    arena_fini(&s->scratch);
    buf_fini(&s->key);
}

int block_scan_record(struct block_scan *s, uint32_t ordinal, bool may_end, struct block_series *ret, struct err *err)
{
    struct str key, payload;
    int rc;

    arena_reset(&s->scratch);
    s->scratch.budget = s->arena->budget - MIN(s->arena->used, s->arena->budget);
    block_key_number(&s->key, s->tenant, ordinal);
    key = buf_view(&s->key);
    rc = s->next == ordinal && ordinal > 0 ? block_cursor_next(&s->series, err) : block_cursor_seek(&s->series, key, err);
    s->next = UINT32_MAX;
    if (rc < 0)
        return rc;
    if (rc == 0 || !str_eq(block_cursor_key(&s->series), key)) {
        if (may_end && (rc == 0 || !str_has_prefix(block_cursor_key(&s->series), str_sub(key, 0, s->tenant.n + 1))))
            return 0;
        return block_cursor_wrap(&s->series, key, err_set(err, RC_CORRUPT, "no such series"), err);
    }
    rc = block_cursor_payload(&s->series, &payload, err);
    if (rc < 0)
        return rc;
    if (s->shard_count > 1 && payload.n >= 16 && fingerprint_mod(block_series_fp(payload), s->shard_count) != s->shard)
        *ret = (struct block_series){.fp = block_series_fp(payload)};
    else
        rc = block_series_decode(s->reader->meta.version, payload, &s->scratch, ret, err);
    if (rc < 0)
        return block_cursor_wrap(&s->series, key, rc, err);
    s->next = ordinal == UINT32_MAX ? UINT32_MAX : ordinal + 1;
    return 1;
}

static int scan_labels(struct block_scan *s, const struct block_series *rec, struct labels *ret, struct err *err)
{
    struct labels ls = {arena_array(&s->scratch, rec->label_count, sizeof *ls.v), rec->label_count};
    int rc = ls.v ? 0 : over_budget(err);

    for (size_t i = 0; rc == 0 && i < ls.n; i++) {
        rc = block_symbols_get(&s->symbols, rec->symbols[i][0], &ls.v[i].name, err);
        if (rc == 0)
            rc = block_symbols_get(&s->symbols, rec->symbols[i][1], &ls.v[i].value, err);
        if (rc == 0 && i > 0 && str_cmp(ls.v[i - 1].name, ls.v[i].name) >= 0)
            rc = err_set(err, RC_CORRUPT, "labels out of order");
    }
    *ret = ls;
    return rc;
}

static bool touches(const struct block_window *w, int64_t mint_ms, int64_t maxt_ms)
{
    return w->mint_ms <= maxt_ms && w->maxt_ms >= mint_ms;
}

/* Loads the group of windows [from, to) and fills in the chunks of those in out, of which *at comes next. */
static int scan_group(struct block_scan *s, uint32_t ordinal, const struct block_series *rec, size_t from, size_t to,
                      struct stored_window *out, size_t out_n, size_t *at, struct err *err)
{
    struct block_group g;
    struct str key, payload;
    int rc;

    block_key_chunks(&s->key, s->tenant, ordinal, rec->windows[from].start_ms);
    key = buf_view(&s->key);
    rc = block_cursor_get(&s->chunks, key, &payload, err);
    if (rc == 0)
        rc = block_cursor_wrap(&s->chunks, key, err_set(err, RC_CORRUPT, "no such chunks"), err);
    if (rc < 0)
        return rc;
    payload = arena_str(&s->scratch, payload);
    rc = payload.p ? block_group_open(s->reader->meta.version, payload, &rec->windows[from], to - from, &g, err) : over_budget(err);
    for (size_t i = from; rc == 0 && i < to; i++) {
        bool wanted = *at < out_n && out[*at].start_ms == rec->windows[i].start_ms;
        struct block_chunks c;

        rc = block_group_next(&g, &rec->windows[i], &s->scratch, wanted ? &c : NULL, err);
        if (rc == 0 && wanted) {
            out[*at].chunk_count = c.n;
            out[(*at)++].chunks = c.chunks;
        }
    }
    if (rc == 0)
        rc = block_group_end(&g, err);
    return rc < 0 ? block_cursor_wrap(&s->chunks, key, rc, err) : 0;
}

static int scan_chunks(struct block_scan *s, uint32_t ordinal, const struct block_series *rec, struct stored_window *out,
                       size_t out_n, struct err *err)
{
    size_t at = 0;
    int rc = 0;

    for (size_t from = 0, to; rc == 0 && at < out_n; from = to) {
        for (to = from + 1; to < rec->window_count && !rec->windows[to].first;)
            to++;
        if (out[at].start_ms <= rec->windows[to - 1].start_ms)
            rc = scan_group(s, ordinal, rec, from, to, out, out_n, &at, err);
    }
    return rc;
}

int block_scan_series(struct block_scan *s, uint32_t ordinal, const struct block_series *rec, enum store_mode mode,
                      int64_t mint_ms, int64_t maxt_ms, struct stored_series *ret, struct err *err)
{
    struct stored_series out = {.fp = rec->fp};
    struct stored_window *windows = arena_array(&s->scratch, rec->window_count, sizeof *windows);
    size_t n = 0;
    int rc;

    if (!windows)
        return over_budget(err);
    for (size_t i = 0; i < rec->window_count; i++) {
        const struct block_window *w = &rec->windows[i];

        if (touches(w, mint_ms, maxt_ms))
            windows[n++] = (struct stored_window){.start_ms = w->start_ms, .mint_ms = w->mint_ms, .maxt_ms = w->maxt_ms,
                                                  .digest = w->digest, .count = w->count};
    }
    if (n == 0)
        return 0;
    rc = scan_labels(s, rec, &out.labels, err);
    if (rc == 0 && mode == STORE_DATA)
        rc = scan_chunks(s, ordinal, rec, windows, n, err);
    if (rc < 0)
        return rc;
    out.window_count = mode == STORE_LABELS ? 0 : n;
    out.windows = windows;
    *ret = out;
    return 1;
}

/* --- tenants --- */

int block_each_tenant(struct block_reader *r, int (*fn)(void *arg, struct str tenant), void *arg, struct err *err)
{
    struct block_cursor c;
    struct str tenant;
    struct buf key;
    int rc = block_cursor_init(&c, r, BLOCK_POSTINGS, false, err), more;

    if (rc < 0)
        return rc;
    buf_init(&key, BLOCK_KEY_BYTES_MAX);
    while ((more = block_cursor_seek(&c, buf_view(&key), err)) > 0) {
        rc = block_key_tenant(block_cursor_key(&c), &tenant, err);
        if (rc < 0) {
            rc = block_cursor_wrap(&c, block_cursor_key(&c), rc, err);
            break;
        }
        buf_clear(&key);
        buf_str(&key, tenant);
        rc = fn(arg, str_n(key.p, key.n));
        if (rc < 0)
            break;
        buf_u8(&key, 1); /* past every key of this tenant: those go on with a zero byte */
    }
    buf_fini(&key);
    block_cursor_fini(&c);
    return rc < 0 ? rc : MIN(more, 0);
}

/* --- iteration --- */

struct block_iter {
    struct block_reader *reader;
    char tenant[sizeof((struct block_meta){0}).tenant];
    struct arena arena;
    struct block_scan scan;
    uint32_t ordinal;
    bool done;
    struct stored_series series;
};

int block_iter_new(struct block_reader *r, struct str tenant, struct block_iter **ret, struct err *err)
{
    struct block_iter *it = xcalloc(1, sizeof *it);
    int rc;

    it->reader = block_ref(r);
    arena_init(&it->arena, BLOCK_TENANT_BYTES_MAX);
    snprintf(it->tenant, sizeof it->tenant, "%.*s", STR_FMT(tenant));
    rc = block_scan_init(&it->scan, r, str_of(it->tenant), &it->arena, true, err);
    if (rc < 0) {
        block_iter_free(it);
        return rc;
    }
    *ret = it;
    return 0;
}

int block_iter_next(struct block_iter *it, const struct stored_series **ret, struct err *err)
{
    struct block_series rec;
    int rc;

    if (it->done)
        return 0;
    rc = block_scan_record(&it->scan, it->ordinal, true, &rec, err);
    if (rc == 1)
        rc = block_scan_series(&it->scan, it->ordinal, &rec, STORE_DATA, INT64_MIN, INT64_MAX, &it->series, err);
    it->done = rc != 1;
    if (rc == 1) {
        it->ordinal++;
        *ret = &it->series;
    }
    return rc;
}

void block_iter_free(struct block_iter *it)
{
    if (!it)
        return;
    block_scan_fini(&it->scan);
    arena_fini(&it->arena);
    block_unref(it->reader);
    free(it);
}
