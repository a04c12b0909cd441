/* Reading a head image: the state file leads; the series files and the chunks files are read beside it, each once from
 * front to end, because all are in order of seq. Memory: a frame per file. */
#include "common/sys/fs.h"
#include "tsdb/head_image_impl.h"
#include "tsdb/head_priv.h"

#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>

enum {
    HISTS_ARENA = 16 << 20,
    STATE_BYTES_MIN = 3 /* of a series */
};

void head_image_fini(struct head_image *i)
{
    vec_fini(&i->cuts);
    vec_fini(&i->sets);
}

bool head_image_has(const struct head_image *i, const struct head_series *s, struct wal_position at)
{
    size_t lo = 0, hi = i->cuts.n;

    if (wal_position_cmp(at, i->to) > 0)
        return false;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;

        if (i->cuts.v[mid].below <= s->seq)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < i->cuts.n && wal_position_cmp(at, i->cuts.v[lo].at) <= 0;
}

int head_image_list(const char *dir, head_image_numbers *ret, struct err *err)
{
    fs_names names;
    int rc;

    *ret = (head_image_numbers){0};
    if (!fs_exists(dir))
        return 0;
    rc = fs_list(dir, &names, err);
    if (rc < 0)
        return rc;
    /* Sorted by name, and a name has 8 digits until there are more. */
    for (size_t i = names.n; i > 0; i--) {
        uint64_t number = image_name_number(names.v[i - 1], IMAGE_MANIFEST);

        if (number)
            *vec_push(ret) = number;
    }
    fs_names_free(&names);
    return 0;
}

/* --- loading --- */
struct pair_made {
    uint32_t tenant, pair; /* ids in the head */
};
/* The series files, one after the other. */
struct series_stream {
    const image_files *files;
    size_t next; /* file to open */
    struct image_reader r;
    struct rd rd; /* series of the frame */
    VEC(uint32_t) tenants;
    VEC(struct pair_made) pairs;
    uint64_t seq; /* last read */
};
/* A chunks file, at the entry of one series. */
struct cursor {
    struct image_reader r;
    struct rd frame, windows;
};
/* A window in a chunks file. */
struct candidate {
    int64_t start;
    uint64_t set;
    struct rd rest; /* behind the set */
};

struct loading {
    const struct head_image_load_cfg *cfg;
    struct image_manifest m;
    struct head *h;
    struct head_image *image;
    struct series_stream series;
    struct cursor *cursors;
    size_t cursor_count;
    uint64_t *cursor_seqs; /* UINT64_MAX: at the end */
    VEC(struct candidate) found;
    struct arena arena; /* of one histogram */
    uint64_t state_seq, series_loaded, windows_loaded, skipped;
    uint64_t done, told, total; /* bytes */
    struct err *err;
};

enum { PROGRESS_BYTES = 4 << 20 };

static void progress(struct loading *l, size_t bytes)
{
    l->done += bytes;
    if (l->done - l->told < PROGRESS_BYTES || !l->cfg->progress)
        return;
    l->told = l->done;
    l->cfg->progress(l->cfg->arg, l->done, l->total);
}

/* 1, 0 at the end. */
static int next_frame(struct loading *l, struct image_reader *r, enum image_frame *ret_type, struct str *ret)
{
    int rc = image_reader_next(r, ret_type, ret, l->err);

    progress(l, rc > 0 ? ret->n + IMAGE_FRAME_HEADER_BYTES : 0);
    return rc;
}

/* --- series --- */
static int read_tables(struct loading *l, struct rd *r)
{
    struct series_stream *s = &l->series;
    struct err *err = l->err;
    uint64_t n = rd_uvarint(r);

    CORRUPT_UNLESS(rd_ok(r) && n <= rd_left(r), err);
    while (n-- > 0) {
        struct str name = rd_lstr(r);

        CORRUPT_UNLESS(rd_ok(r), err);
        *vec_push(&s->tenants) = tenant_make(l->h, name);
    }
    n = rd_uvarint(r);
    CORRUPT_UNLESS(rd_ok(r) && n <= rd_left(r), err);
    while (n-- > 0) {
        uint64_t tenant = rd_uvarint(r);
        struct str name = rd_lstr(r), value = rd_lstr(r);
        uint32_t id;

        CORRUPT_UNLESS(rd_ok(r) && tenant < s->tenants.n && MAX(name.n, value.n) <= HEAD_SYMBOL_BYTES_MAX, err);
        id = s->tenants.v[tenant];
        *vec_push(&s->pairs) = (struct pair_made){id, postings_pair_make(l->h->postings, id, name, value)};
    }
    return 0;
}

/* rd has a series to read, or there is none left (RC_CORRUPT: the caller needs one). */
static int series_more(struct loading *l)
{
    struct series_stream *s = &l->series;
    struct err *err = l->err;

    while (rd_done(&s->rd)) {
        enum image_frame type;
        struct str payload;
        int rc;

        if (s->r.fd < 0) {
            CORRUPT_UNLESS(s->next < s->files->n, err);
            rc = image_reader_open(&s->r, l->cfg->dir, l->cfg->shard, l->m.head_id, &s->files->v[s->next++], IMAGE_SERIES, err);
            if (rc < 0)
                return rc;
            vec_clear(&s->tenants);
            vec_clear(&s->pairs);
            s->seq = 0;
        }
        rc = next_frame(l, &s->r, &type, &payload);
        if (rc < 0)
            return rc;
        if (rc == 0) {
            image_reader_fini(&s->r);
            continue;
        }
        s->rd = rd_of(payload);
        rc = read_tables(l, &s->rd);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int read_series(struct loading *l, uint64_t wanted, struct head_series **ret)
{
    struct series_stream *st = &l->series;
    struct head_series *s = NULL;
    struct rd *r = &st->rd;
    struct err *err = l->err;
    uint64_t tenant, n;
    fingerprint fp;

    st->seq += rd_uvarint(r);
    fp.hi = rd_u64(r);
    fp.lo = rd_u64(r);
    tenant = rd_uvarint(r);
    n = rd_uvarint(r);
    CORRUPT_UNLESS(rd_ok(r) && tenant < st->tenants.n && n <= LABELS_MAX && n <= rd_left(r) && st->seq <= wanted, err);
    if (st->seq == wanted) {
        l->h->next_seq = wanted;
        s = series_add(l->h, st->tenants.v[tenant], fp, (uint16_t)n);
    } else {
        l->skipped++;
    }
    for (uint64_t i = 0; i < n; i++) {
        uint64_t no = rd_uvarint(r);

        if (!rd_ok(r) || no >= st->pairs.n || st->pairs.v[no].tenant != st->tenants.v[tenant]) {
            if (s)
                s->label_count = (uint16_t)i;
            return err_set(err, RC_CORRUPT, "corrupt: label %" PRIu64 " of series %" PRIu64, i, st->seq);
        }
        if (!s)
            continue;
        s->pairs[i] = st->pairs.v[no].pair;
        postings_add(l->h->postings, s->pairs[i], l->h->ordinals - 1);
    }
    st->r.entries++;
    *ret = s;
    return 0;
}

/* The series with this seq: those before it that no state names have left the head. */
static int series_restore(struct loading *l, uint64_t seq, struct head_series **ret)
{
    struct head_series *s = NULL;
    int rc = 0;

    if (l->h->ordinals >= HEAD_SERIES_MAX)
        return err_set(l->err, RC_LIMIT, "more than %u series", HEAD_SERIES_MAX);
    while (rc == 0 && !s) {
        rc = series_more(l);
        if (rc == 0)
            rc = read_series(l, seq, &s);
    }
    *ret = s;
    return rc;
}

/* --- windows --- */
static int read_blobs(struct rd *r, struct window *w, struct err *err)
{
    uint64_t n = rd_uvarint(r), samples = 0;
    struct blob **tail = &w->blobs;

    CORRUPT_UNLESS(rd_ok(r) && n <= rd_left(r), err);
    while (n-- > 0) {
        struct str bytes = rd_lstr(r);
        struct chunk_info info;
        struct blob *b;

        CORRUPT_UNLESS(rd_ok(r) && bytes.n > 0 && bytes.n <= CHUNK_BYTES_MAX, err);
        CORRUPT_UNLESS(chunk_info(bytes, &info, err) == 0, err);
        CORRUPT_UNLESS(window_has(w, info.mint_ms) && window_has(w, info.maxt_ms) && info.count > 0, err);
        samples += info.count;
        CORRUPT_UNLESS(samples <= w->count, err);
        b = xmalloc(sizeof *b + bytes.n);
        b->next = NULL;
        b->n = (uint32_t)bytes.n;
        memcpy(b->bytes, bytes.p, bytes.n);
        *tail = b;
        tail = &b->next;
    }
    return 0;
}

/* Behind start and set. On failure w has what it has: the series frees it. */
static int read_window(struct loading *l, struct rd *r, struct head_series *s, struct window *w)
{
    struct err *err = l->err;
    uint64_t mint, span, count;
    int64_t end;

    w->digest.hi = rd_u64(r);
    w->digest.lo = rd_u64(r);
    mint = rd_uvarint(r);
    span = rd_uvarint(r);
    count = rd_uvarint(r);
    CORRUPT_UNLESS(rd_ok(r) && count > 0 && count <= WINDOW_MS, err);
    CORRUPT_UNLESS(w->start >= TIMESTAMP_MIN_MS - WINDOW_MS && w->start <= TIMESTAMP_MAX_MS, err);
    CORRUPT_UNLESS(window_start(s->fp, w->start, &end) == w->start, err);
    CORRUPT_UNLESS(mint < WINDOW_MS && span < WINDOW_MS && w->start + (int64_t)(mint + span) < end, err);
    w->mint_off = (uint32_t)mint;
    w->maxt_off = (uint32_t)(mint + span);
    w->count = (uint32_t)count;
    l->h->tenants.v[s->tenant]->samples += count;
    return read_blobs(r, w, err);
}

/* The cursor's next entry; its seq becomes UINT64_MAX behind the last. */
static int cursor_step(struct loading *l, size_t i)
{
    struct cursor *c = &l->cursors[i];
    struct err *err = l->err;
    uint64_t seq = l->cursor_seqs[i];

    if (rd_done(&c->frame)) {
        enum image_frame type;
        struct str payload;
        int rc = next_frame(l, &c->r, &type, &payload);

        if (rc <= 0) {
            l->cursor_seqs[i] = UINT64_MAX;
            return rc;
        }
        c->frame = rd_of(payload);
    }
    seq += rd_uvarint(&c->frame);
    c->windows = rd_of(rd_str(&c->frame, rd_u32(&c->frame)));
    CORRUPT_UNLESS(rd_ok(&c->frame) && seq > l->cursor_seqs[i] && rd_left(&c->windows) > 0, err);
    l->cursor_seqs[i] = seq;
    return 0;
}

static void skip_window(struct rd *r)
{
    uint64_t n;

    rd_take(r, 16);
    rd_uvarint(r);
    rd_uvarint(r);
    rd_uvarint(r);
    for (n = rd_uvarint(r); n > 0 && rd_ok(r); n--)
        (void)rd_lstr(r);
}

static int candidates_of(struct loading *l, struct cursor *c)
{
    struct err *err = l->err;
    struct rd r = c->windows;

    while (rd_left(&r) > 0) {
        struct candidate *x = vec_push(&l->found);

        x->start = rd_svarint(&r);
        x->set = rd_uvarint(&r);
        x->rest = r;
        skip_window(&r);
        CORRUPT_UNLESS(rd_ok(&r), err);
        c->r.entries++;
    }
    return 0;
}

/* All windows of this series in the chunks files, older files first. */
static int candidates(struct loading *l, uint64_t seq)
{
    int rc = 0;

    vec_clear(&l->found);
    for (size_t i = 0; i < l->cursor_count && rc == 0; i++) {
        while (rc == 0 && l->cursor_seqs[i] < seq) {
            struct rd *w = &l->cursors[i].windows;

            /* Of a series that has left the head: counted, else the file's END would not match. */
            for (; rd_left(w) > 0 && rd_ok(w); l->cursors[i].r.entries++) {
                (void)rd_svarint(w);
                (void)rd_uvarint(w);
                skip_window(w);
            }
            rc = rd_ok(w) ? cursor_step(l, i) : err_set(l->err, RC_CORRUPT, "corrupt: windows of a series that is gone");
        }
        if (rc == 0 && l->cursor_seqs[i] == seq) {
            rc = candidates_of(l, &l->cursors[i]);
            l->cursors[i].windows = (struct rd){0};
        }
    }
    return rc;
}

static struct candidate *candidate_find(struct loading *l, int64_t start, uint64_t set)
{
    for (size_t i = l->found.n; i > 0; i--)
        if (l->found.v[i - 1].start == start && l->found.v[i - 1].set == set)
            return &l->found.v[i - 1];
    return NULL;
}

static uint32_t set_index(const struct head *h, uint64_t id)
{
    for (size_t i = 0; i < h->sets.n; i++)
        if (h->sets.v[i].used && h->sets.v[i].id == id)
            return (uint32_t)i + 1;
    return 0;
}

/* The list of windows that are not the current one; their samples come from the newest file that has them. */
static int read_closed(struct loading *l, struct rd *r, struct head_series *s)
{
    struct window **tail = &s->cur.next;
    uint64_t n = rd_uvarint(r);
    struct err *err = l->err;
    int64_t start = 0;
    int rc;

    CORRUPT_UNLESS(rd_ok(r) && n <= rd_left(r), err);
    rc = n ? candidates(l, s->seq) : 0;
    for (uint64_t i = 0; i < n && rc == 0; i++) {
        int64_t before = start;
        struct candidate *c;
        struct window *w;
        uint64_t set;

        CORRUPT_UNLESS(!__builtin_sub_overflow(start, rd_svarint(r), &start), err);
        set = rd_uvarint(r);
        CORRUPT_UNLESS(rd_ok(r) && (i == 0 || start <= before), err);
        c = candidate_find(l, start, set);
        CORRUPT_UNLESS(c, err);
        w = xcalloc(1, sizeof *w);
        *tail = w;
        tail = &w->next;
        w->start = start;
        rc = read_window(l, &c->rest, s, w);
        w->imaged = 1;
        l->windows_loaded++;
        if (rc < 0 || set == 0)
            continue;
        w->set = set_index(l->h, set) & INT32_MAX;
        CORRUPT_UNLESS(w->set, err);
        l->h->sets.v[w->set - 1].windows++;
    }
    return rc;
}

/* --- state --- */
static int read_current(struct loading *l, struct rd *r, struct head_series *s)
{
    struct err *err = l->err;
    int64_t end = 0;
    uint64_t set;
    int rc;

    s->cur.start = rd_svarint(r);
    set = rd_uvarint(r);
    CORRUPT_UNLESS(rd_ok(r) && set == 0, err);
    rc = read_window(l, r, s, &s->cur);
    if (rc < 0)
        return rc;
    (void)window_start(s->fp, s->cur.start, &end);
    s->cur_ms = (uint32_t)(end - s->cur.start);
    CORRUPT_UNLESS(s->newest == s->cur.start + s->cur.maxt_off, err);
    return 0;
}

static int read_open(struct loading *l, struct rd *r, struct head_series *s)
{
    struct err *err = l->err;
    int rc = chunk_open_load(r, &s->open, err);

    if (rc < 0)
        return rc;
    CORRUPT_UNLESS(s->cur.count >= chunk_open_count(s->open), err);
    CORRUPT_UNLESS(chunk_open_first_ms(s->open) >= s->cur.start && chunk_open_last_ms(s->open) <= s->newest, err);
    return 0;
}

static bool histogram_good(struct loading *l, struct str bytes)
{
    struct rd r = rd_of(bytes);
    struct histogram hist;
    bool good = bytes.n > 0 && histogram_decode(&r, &l->arena, &hist, NULL) == 0 && rd_done(&r);

    arena_reset(&l->arena);
    return good;
}

static int read_hists(struct loading *l, struct rd *r, struct head_series *s)
{
    struct hist_open *o = &series_extra(s)->hists;
    uint64_t n = rd_uvarint(r);
    struct err *err = l->err;

    CORRUPT_UNLESS(rd_ok(r) && n > 0 && n <= CHUNK_SAMPLES_MAX && n <= rd_left(r) && n <= s->cur.count, err);
    o->cap = (uint32_t)n;
    o->v = xmalloc(o->cap * sizeof *o->v);
    buf_init(&o->bytes, CHUNK_BYTES_MAX);
    for (uint64_t i = 0; i < n; i++) {
        int64_t t = rd_svarint(r), st = rd_svarint(r);
        struct str bytes = rd_lstr(r);

        CORRUPT_UNLESS(rd_ok(r) && window_has(&s->cur, t) && (i == 0 || t > o->v[i - 1].t) && histogram_good(l, bytes), err);
        o->v[o->n++] = (struct hist_entry){.t = t, .st = st, .at = (uint32_t)o->bytes.n, .n = (uint32_t)bytes.n};
        buf_str(&o->bytes, bytes);
        CORRUPT_UNLESS(buf_ok(&o->bytes), err);
    }
    return 0;
}

static int read_late(struct loading *l, struct rd *r, struct head_series *s)
{
    struct series_extra *x = series_extra(s);
    uint64_t n = rd_uvarint(r);
    struct err *err = l->err;

    CORRUPT_UNLESS(rd_ok(r) && n > 0 && n < OOO_SAMPLES && n <= rd_left(r), err);
    x->ooo_cap = (uint32_t)n;
    x->ooo = xcalloc(n, sizeof *x->ooo);
    for (uint64_t i = 0; i < n; i++) {
        struct ooo_sample o = {.t = rd_svarint(r)};
        struct str hist = {0};

        o.st = rd_svarint(r);
        o.vbits = rd_u64(r);
        if (rd_u8(r)) {
            hist = rd_lstr(r);
            CORRUPT_UNLESS(rd_ok(r) && histogram_good(l, hist), err);
            o.hist = xmemdup(hist.p, hist.n);
            o.hist_n = (uint32_t)hist.n;
        }
        x->ooo[x->ooo_n++] = o;
        CORRUPT_UNLESS(rd_ok(r) && o.t >= TIMESTAMP_MIN_MS && o.t < s->newest && (i == 0 || o.t > x->ooo[i - 1].t), err);
    }
    return 0;
}

/* Each late sample is counted in its window already. */
static bool late_windows_there(struct head_series *s)
{
    for (uint32_t i = 0; s->extra && i < s->extra->ooo_n; i++) {
        int64_t start = window_start(s->fp, s->extra->ooo[i].t, NULL);
        const struct window *w = s->cur.count && s->cur.start == start ? &s->cur : s->cur.next;

        while (w && !(w->start == start && w->set == 0))
            w = w->next;
        if (!w)
            return false;
    }
    return true;
}

static int read_state(struct loading *l, struct rd *r)
{
    struct err *err = l->err;
    struct head_series *s = NULL;
    uint8_t flags;
    int rc;

    l->state_seq += rd_uvarint(r);
    flags = rd_u8(r);
    CORRUPT_UNLESS(rd_ok(r) && l->state_seq > 0 && l->state_seq < l->m.next_seq && !(flags & ~STATE_FLAGS), err);
    CORRUPT_UNLESS((flags & STATE_NEWEST) || flags == 0, err);
    CORRUPT_UNLESS((flags & STATE_CURRENT) || !(flags & (STATE_OPEN | STATE_HISTS)), err);
    rc = series_restore(l, l->state_seq, &s);
    if (rc < 0)
        return rc;
    if (flags & STATE_NEWEST) {
        int64_t newest = rd_svarint(r);

        CORRUPT_UNLESS(rd_ok(r) && newest >= TIMESTAMP_MIN_MS && newest <= TIMESTAMP_MAX_MS, err);
        s->newest = newest;
        active_move(l->h->tenants.v[s->tenant], INT64_MIN, s->newest);
    }
    if (flags & STATE_CURRENT)
        rc = read_current(l, r, s);
    if (rc == 0 && (flags & STATE_OPEN))
        rc = read_open(l, r, s);
    if (rc == 0 && (flags & STATE_HISTS))
        rc = read_hists(l, r, s);
    if (rc == 0 && (flags & STATE_LATE))
        rc = read_late(l, r, s);
    if (rc == 0)
        rc = read_closed(l, r, s);
    if (rc == 0 && !late_windows_there(s))
        rc = err_set(err, RC_CORRUPT, "corrupt: a late sample without its window");
    l->series_loaded++;
    return rc;
}

static int state_frame(struct loading *l, struct image_reader *reader, struct str payload)
{
    struct rd r = rd_of(payload);
    struct wal_position at;
    struct err *err = l->err;
    int rc = 0;

    at.segment = rd_u64(&r);
    at.offset = rd_u64(&r);
    CORRUPT_UNLESS(rd_ok(&r) && wal_position_cmp(at, l->m.from) >= 0 && wal_position_cmp(at, l->m.to) <= 0, err);
    while (rc == 0 && rd_left(&r) > 0) {
        rc = read_state(l, &r);
        reader->entries++;
    }
    *vec_push(&l->image->cuts) = (struct head_image_cut){l->state_seq + 1, at};
    return rc;
}

static int record_frame(struct loading *l, struct image_reader *reader, struct str payload)
{
    struct err *err = l->err;
    int64_t t_max;

    CORRUPT_UNLESS(payload.n > 1 && (payload.p[0] == WAL_EXEMPLARS || payload.p[0] == WAL_METADATA), err);
    reader->entries++;
    return l->cfg->fn(l->cfg->arg, (enum wal_type)payload.p[0], str_n(payload.p + 1, payload.n - 1), &t_max, err);
}

static int state_file(struct loading *l)
{
    struct image_reader r;
    int rc = image_reader_open(&r, l->cfg->dir, l->cfg->shard, l->m.head_id, &l->m.state, IMAGE_STATE, l->err);

    if (rc < 0)
        return rc;
    do {
        enum image_frame type;
        struct str payload;

        rc = next_frame(l, &r, &type, &payload);
        if (rc > 0 && type == FRAME_STATE)
            rc = state_frame(l, &r, payload) < 0 ? l->err->rc : 1;
        else if (rc > 0)
            rc = record_frame(l, &r, payload) < 0 ? l->err->rc : 1;
    } while (rc > 0);
    image_reader_fini(&r);
    return rc < 0 ? err_wrap(l->err, rc, "state file %08" PRIu64, l->m.state.number) : 0;
}

/* --- begin and end --- */
static void restore_sets(struct loading *l)
{
    for (size_t i = 0; i < l->m.sets.n; i++) {
        const struct image_set *s = &l->m.sets.v[i];

        *vec_push(&l->h->sets) = (struct flush_set){.id = s->id, .gen = s->gen, .below_ms = s->below_ms, .published = s->published, .used = true};
        *vec_push(&l->image->sets) = (struct head_image_set){s->id, s->gen, s->below_ms, s->published};
    }
    l->h->set_max = l->m.set_max;
    l->h->dropped_gen = l->m.dropped_gen;
    l->h->max_ms = l->m.max_ms;
}

static int open_cursors(struct loading *l)
{
    size_t n = l->cursor_count = l->m.chunks.n;
    int rc = 0;

    l->cursors = xcalloc(n, sizeof *l->cursors);
    l->cursor_seqs = xcalloc(n, sizeof *l->cursor_seqs);
    for (size_t i = 0; i < n; i++)
        l->cursors[i].r.fd = -1;
    for (size_t i = 0; i < n && rc == 0; i++) {
        rc = image_reader_open(&l->cursors[i].r, l->cfg->dir, l->cfg->shard, l->m.head_id, &l->m.chunks.v[i], IMAGE_CHUNKS, l->err);
        if (rc == 0)
            rc = cursor_step(l, i);
    }
    return rc;
}

static void loading_fini(struct loading *l)
{
    for (size_t i = 0; i < l->cursor_count; i++)
        image_reader_fini(&l->cursors[i].r);
    free(l->cursors);
    free(l->cursor_seqs);
    image_reader_fini(&l->series.r);
    vec_fini(&l->series.tenants);
    vec_fini(&l->series.pairs);
    vec_fini(&l->found);
    arena_fini(&l->arena);
    image_manifest_fini(&l->m);
}

/* Pairs and tenants that only series have which are gone. */
static void trim(struct loading *l)
{
    uint32_t *map;

    if (l->skipped == 0)
        return;
    map = xmalloc(MAX(l->h->ordinals, 1U) * sizeof *map);
    for (uint32_t i = 0; i < l->h->ordinals; i++)
        map[i] = i;
    postings_rebuild(l->h->postings, map);
    free(map);
    for (uint32_t i = 0; i < l->h->tenants.n; i++)
        tenant_trim(l->h, i);
}

static int manifest_read(struct loading *l, uint64_t number)
{
    char path[PATH_MAX];
    struct buf bytes;
    int rc = image_path(l->cfg->dir, number, IMAGE_MANIFEST, path, sizeof path, l->err);

    if (rc < 0)
        return rc;
    buf_init(&bytes, IMAGE_MANIFEST_MAX);
    rc = fs_read(path, &bytes, l->err);
    if (rc == 0)
        rc = image_manifest_decode(buf_view(&bytes), l->cfg->shard, &l->m, l->err);
    if (rc == 0 && l->m.number != number)
        rc = err_set(l->err, RC_CORRUPT, "this is number %" PRIu64, l->m.number);
    buf_fini(&bytes);
    return rc < 0 ? err_wrap(l->err, rc, "%s", path) : 0;
}

static uint64_t bytes_of(const struct image_manifest *m)
{
    uint64_t n = m->state.bytes;

    for (size_t i = 0; i < m->series.n; i++)
        n += m->series.v[i].bytes;
    for (size_t i = 0; i < m->chunks.n; i++)
        n += m->chunks.v[i].bytes;
    return n;
}

static struct head_imager *imager_after(struct loading *l)
{
    struct head_imager *im = head_imager_new(&(struct head_imager_cfg){l->cfg->dir, l->cfg->shard, l->m.head_id});

    im->series = l->series_loaded;
    im->windows = l->windows_loaded;
    im->kept[0] = l->m;
    l->m = (struct image_manifest){0};
    return im;
}

static int load(struct loading *l)
{
    int rc;

    l->total = bytes_of(&l->m);
    l->series.files = &l->m.series;
    restore_sets(l);
    if (l->cfg->progress)
        l->cfg->progress(l->cfg->arg, 0, l->total);
    idtab_reserve(&l->h->by_fp, (uint32_t)MIN(l->m.state.entries, l->m.state.bytes / STATE_BYTES_MIN));
    rc = open_cursors(l);
    if (rc == 0)
        rc = state_file(l);
    if (rc < 0)
        return rc;
    trim(l);
    l->h->next_seq = l->m.next_seq;
    l->image->number = l->m.number;
    l->image->head_id = l->m.head_id;
    l->image->set_max = l->m.set_max;
    l->image->from = l->m.from;
    l->image->to = l->m.to;
    l->image->bytes = l->total;
    return 0;
}

int head_image_load(const struct head_image_load_cfg *cfg, uint64_t number, struct head *h, struct head_image *ret,
                    struct head_imager **ret_imager, struct err *err)
{
    struct head_image image = {0};
    struct err own;
    struct loading l = {.cfg = cfg, .h = h, .image = &image, .err = err ? err : &own};
    int rc = manifest_read(&l, number);

    ASSERT(h->ordinals == 0 && h->next_seq == 1);
    l.series.r.fd = -1;
    arena_init(&l.arena, HISTS_ARENA);
    if (rc == 0)
        rc = load(&l);
    if (rc == 0 && cfg->progress)
        cfg->progress(cfg->arg, l.total, l.total);
    if (rc == 0) {
        *ret_imager = imager_after(&l);
        *ret = image;
    } else {
        head_image_fini(&image);
    }
    loading_fini(&l);
    return rc < 0 ? err_wrap(err, rc, "head image %08" PRIu64, number) : 0;
}

/* --- into another head --- */
struct pouring {
    int (*fn)(void *arg, struct str tenant, fingerprint fp, const struct labels *ls, const struct chunk_columns *c, struct err *err);
    void *arg;
    struct arena a;
    struct err *err;
};

static int pour_series(struct head *h, const struct head_series *s, struct pouring *p)
{
    const struct window_filter all = {.mint_ms = INT64_MIN, .maxt_ms = INT64_MAX, .gen = UINT64_MAX, .mode = STORE_DATA};
    struct str tenant = h->tenants.v[s->tenant]->name;
    struct chunk_columns none = {0}, c;
    struct stored_series out;
    struct labels ls;
    size_t bytes;
    int rc;

    if (!series_labels(h, s, &p->a, &ls))
        return err_set(p->err, RC_NOMEM, "labels of a series: memory budget is spent");
    rc = p->fn(p->arg, tenant, s->fp, &ls, &none, p->err);
    if (rc == 0)
        rc = series_copy(h, s, &all, &p->a, NULL, &out, &bytes, p->err);
    if (rc <= 0)
        return rc;
    rc = 0;
    for (size_t i = 0; i < out.window_count && rc == 0; i++) {
        for (uint32_t k = 0; k < out.windows[i].chunk_count && rc == 0; k++) {
            rc = chunk_decode(out.windows[i].chunks[k], &p->a, &c, p->err);
            if (rc == 0)
                rc = p->fn(p->arg, tenant, s->fp, &ls, &c, p->err);
        }
    }
    return rc;
}

int head_image_pour(struct head *from,
                    int (*fn)(void *arg, struct str tenant, fingerprint fp, const struct labels *ls, const struct chunk_columns *c, struct err *err),
                    void *arg, uint64_t *ret_gen, struct err *err)
{
    struct pouring p = {.fn = fn, .arg = arg, .err = err};
    int rc = 0;

    arena_init(&p.a, SCRATCH_BYTES_MAX);
    for (uint32_t i = 0; i < from->ordinals && rc == 0; i++) {
        arena_reset(&p.a);
        rc = pour_series(from, series_at(from, from->by_ordinal[i]), &p);
    }
    arena_fini(&p.a);
    *ret_gen = from->dropped_gen;
    for (size_t i = 0; i < from->sets.n; i++)
        *ret_gen = MAX(*ret_gen, from->sets.v[i].gen);
    return rc;
}

void head_image_leave(struct head *h, uint64_t gen)
{
    lock_slice(h);
    h->dropped_gen = MAX(h->dropped_gen, gen);
    unlock_slice(h);
}
