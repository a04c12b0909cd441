/* Writing a head image. Formats: head_image_format.h. */
#include "common/base/fault.h"
#include "common/sys/fs.h"
#include "tsdb/head_image_impl.h"
#include "tsdb/head_priv.h"
#include "tsdb/wal_payload.h"

#include <inttypes.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    SLICE_BYTES = 1 << 20,      /* a slice ends behind the series that passes it */
    SERIES_FILES = 16,          /* more than that are written as one */
    CHUNKS_FILES = 96,
    GARBAGE_FACTOR = 3,         /* so many times what lives may stand in files before all is written anew */
    GARBAGE_ENTRIES_MIN = 4096,
    EXEMPLAR_BYTES = 1 << 20    /* of one record */
};

/* --- the imager --- */
struct head_imager *head_imager_new(const struct head_imager_cfg *cfg)
{
    struct head_imager *im = xcalloc(1, sizeof *im);
    fs_names names;

    im->dir = xstrdup(cfg->dir);
    im->shard = cfg->shard;
    im->head_id = cfg->head_id;
    if (fs_list(cfg->dir, &names, NULL) == 0) {
        for (size_t i = 0; i < names.n; i++)
            for (int kind = IMAGE_SERIES; kind <= IMAGE_MANIFEST; kind++)
                im->number = MAX(im->number, image_name_number(names.v[i], (enum image_kind)kind));
        fs_names_free(&names);
    }
    return im;
}

void head_imager_free(struct head_imager *im)
{
    if (!im)
        return;
    for (int i = 0; i < IMAGES_KEPT; i++)
        image_manifest_fini(&im->kept[i]);
    free(im->dir);
    free(im);
}

struct wal_position head_imager_position(const struct head_imager *im)
{
    return im->kept[0].from;
}

uint64_t head_imager_log_needed(const struct head_imager *im)
{
    uint64_t segment = im->kept[0].from.segment;

    for (int i = 1; i < IMAGES_KEPT && im->kept[i].number; i++)
        segment = MIN(segment, im->kept[i].from.segment);
    return segment;
}

static bool files_name(const image_files *files, uint64_t number)
{
    for (size_t i = 0; i < files->n; i++)
        if (files->v[i].number == number)
            return true;
    return false;
}

static bool kept_names(const struct head_imager *im, uint64_t number, enum image_kind kind)
{
    for (int i = 0; i < IMAGES_KEPT && im->kept[i].number; i++) {
        const struct image_manifest *m = &im->kept[i];

        if ((kind == IMAGE_MANIFEST && m->number == number) || (kind == IMAGE_STATE && m->state.number == number) ||
            (kind == IMAGE_SERIES && files_name(&m->series, number)) || (kind == IMAGE_CHUNKS && files_name(&m->chunks, number)))
            return true;
    }
    return false;
}

/* Manifests first: one that is left must not name what is gone. */
int head_imager_sweep(const struct head_imager *im, struct err *err)
{
    char path[PATH_MAX];
    fs_names names;
    int rc = fs_list(im->dir, &names, err);

    if (rc < 0)
        return rc;
    for (int kind = IMAGE_MANIFEST; kind >= IMAGE_SERIES && rc == 0; kind--) {
        for (size_t i = 0; i < names.n && rc == 0; i++) {
            uint64_t number = image_name_number(names.v[i], (enum image_kind)kind);
            bool temporary = kind == IMAGE_MANIFEST && strstr(names.v[i], ".image.tmp");

            if (!temporary && (number == 0 || kept_names(im, number, (enum image_kind)kind)))
                continue;
            FAULT(FAULT_CRASH, _exit(99));
            snprintf(path, sizeof path, "%s/%s", im->dir, names.v[i]);
            rc = fs_remove(path, err);
        }
    }
    fs_names_free(&names);
    return rc;
}

/* --- one image being made --- */
struct numbers {
    uint32_t *v; /* by id: number + 1; 0: none yet */
    uint32_t cap, n;
};

struct imaging {
    struct head_imager *im;
    struct head *h;
    const struct head_image_source *src;
    struct image_manifest m;
    struct image_writer series, chunks, state;
    uint64_t seq;                                /* of the next series to look at */
    uint64_t limit;                              /* series from here on are in the log behind m.from */
    uint64_t known;                              /* series below are in the series files of the manifest */
    uint64_t series_seq, chunks_seq, state_seq;  /* the last one written */
    struct numbers pairs, tenants;               /* of the series file */
    struct buf new_tenants, new_pairs, new_series;
    uint32_t frame_tenants, frame_pairs;
    VEC(uint64_t) exemplars_below;               /* by tenant id */
    int64_t min_start, max_start;                /* of windows that live; of those written now */
    struct head_image_stats stats;
    struct err *err;
};

/* --- series --- */
static bool number_of(struct numbers *m, uint32_t id, uint32_t *ret)
{
    if (id >= m->cap) {
        uint32_t cap = id + id / 4 + 64;

        m->v = xrealloc(m->v, cap * sizeof *m->v);
        memset(m->v + m->cap, 0, (cap - m->cap) * sizeof *m->v);
        m->cap = cap;
    }
    if (m->v[id]) {
        *ret = m->v[id] - 1;
        return true;
    }
    *ret = m->n++;
    m->v[id] = m->n;
    return false;
}

static uint32_t put_tenant(struct imaging *g, uint32_t id)
{
    uint32_t no;

    if (!number_of(&g->tenants, id, &no)) {
        buf_lstr(&g->new_tenants, g->h->tenants.v[id]->name);
        g->frame_tenants++;
    }
    return no;
}

static void put_series(struct imaging *g, const struct head_series *s)
{
    uint32_t tenant = put_tenant(g, s->tenant), no;

    buf_uvarint(&g->new_series, s->seq - g->series_seq);
    g->series_seq = s->seq;
    buf_u64(&g->new_series, s->fp.hi);
    buf_u64(&g->new_series, s->fp.lo);
    buf_uvarint(&g->new_series, tenant);
    buf_uvarint(&g->new_series, s->label_count);
    for (uint32_t i = 0; i < s->label_count; i++) {
        if (!number_of(&g->pairs, s->pairs[i], &no)) {
            buf_uvarint(&g->new_pairs, tenant);
            buf_lstr(&g->new_pairs, postings_pair_name(g->h->postings, s->pairs[i]));
            buf_lstr(&g->new_pairs, postings_pair_value(g->h->postings, s->pairs[i]));
            g->frame_pairs++;
        }
        buf_uvarint(&g->new_series, no);
    }
    g->series.entries++;
}

/* --- windows --- */
/* Room is made once for the numbers that stand together: they are most of what an image costs. NULL when the frame is full. */
static inline char *room(struct buf *out, size_t n)
{
    return buf_reserve(out, n) ? out->p + out->n : NULL;
}
static inline void room_end(struct buf *out, const char *p)
{
    out->n = (size_t)(p - out->p);
}
static inline char *at_uvarint(char *p, uint64_t v)
{
    return p + uvarint_put(p, v);
}
static inline char *at_svarint(char *p, int64_t v)
{
    return p + uvarint_put(p, zigzag(v));
}
static inline char *at_u64(char *p, uint64_t v)
{
    le_put64(p, v);
    return p + 8;
}

static uint64_t set_id(const struct head *h, const struct window *w)
{
    return w->set ? h->sets.v[w->set - 1].id : 0;
}

static void put_window(const struct head *h, struct buf *out, const struct window *w)
{
    char *p = room(out, 6 * UVARINT_MAX + 16);
    uint32_t blobs = 0;

    if (!p)
        return;
    for (const struct blob *b = w->blobs; b; b = b->next)
        blobs++;
    p = at_svarint(p, w->start);
    p = at_uvarint(p, set_id(h, w));
    p = at_u64(p, w->digest.hi);
    p = at_u64(p, w->digest.lo);
    p = at_uvarint(p, w->mint_off);
    p = at_uvarint(p, w->maxt_off - w->mint_off);
    p = at_uvarint(p, w->count);
    room_end(out, at_uvarint(p, blobs));
    for (const struct blob *b = w->blobs; b; b = b->next)
        buf_lstr(out, blob_str(b));
}

/* Windows that have closed or changed since the image before. */
static void put_closed(struct imaging *g, struct head_series *s)
{
    struct buf *out = &g->chunks.frame;
    bool all = g->im->chunks_all;
    size_t at = 0;

    for (struct window *w = s->cur.next; w; w = w->next) {
        g->min_start = MIN(g->min_start, w->start);
        g->im->windows++;
        if (w->imaged && !all)
            continue;
        if (at == 0) {
            buf_uvarint(out, s->seq - g->chunks_seq);
            g->chunks_seq = s->seq;
            at = out->n;
            buf_u32(out, 0);
        }
        put_window(g->h, out, w);
        w->imaged = 1;
        g->max_start = MAX(g->max_start, w->start);
        g->chunks.entries++;
    }
    if (at && buf_ok(out))
        le_put32(out->p + at, (uint32_t)(out->n - at - 4));
}

/* --- state --- */
static void put_hists(struct buf *out, const struct hist_open *o)
{
    buf_uvarint(out, o->n);
    for (uint32_t i = 0; i < o->n; i++) {
        buf_svarint(out, o->v[i].t);
        buf_svarint(out, o->v[i].st);
        buf_lstr(out, str_n(o->bytes.p + o->v[i].at, o->v[i].n));
    }
}

static void put_late(struct buf *out, const struct series_extra *x)
{
    buf_uvarint(out, x->ooo_n);
    for (uint32_t i = 0; i < x->ooo_n; i++) {
        const struct ooo_sample *o = &x->ooo[i];

        buf_svarint(out, o->t);
        buf_svarint(out, o->st);
        buf_u64(out, o->vbits);
        buf_u8(out, o->hist != NULL);
        if (o->hist)
            buf_lstr(out, str_n(o->hist, o->hist_n));
    }
}

static void put_window_list(const struct head *h, struct buf *out, const struct head_series *s)
{
    int64_t before = 0;
    size_t n = 0;
    char *p;

    for (const struct window *w = s->cur.next; w; w = w->next)
        n++;
    p = room(out, (1 + 2 * n) * UVARINT_MAX);
    if (!p)
        return;
    p = at_uvarint(p, n);
    for (const struct window *w = s->cur.next; w; w = w->next) {
        p = at_svarint(p, before - w->start);
        p = at_uvarint(p, set_id(h, w));
        before = w->start;
    }
    room_end(out, p);
}

static void put_state(struct imaging *g, struct head_series *s)
{
    struct buf *out = &g->state.frame;
    const struct series_extra *x = s->extra;
    bool open = s->open && chunk_open_count(s->open) > 0;
    char *p = room(out, 2 * UVARINT_MAX + 1);

    if (!p)
        return;
    p = at_uvarint(p, s->seq - g->state_seq);
    g->state_seq = s->seq;
    *p++ = (char)((s->newest != INT64_MIN ? STATE_NEWEST : 0) | (s->cur.count ? STATE_CURRENT : 0) | (open ? STATE_OPEN : 0) |
                  (x && x->hists.n ? STATE_HISTS : 0) | (x && x->ooo_n ? STATE_LATE : 0));
    if (s->newest != INT64_MIN)
        p = at_svarint(p, s->newest);
    room_end(out, p);
    if (s->cur.count)
        put_window(g->h, out, &s->cur);
    if (open)
        chunk_open_save(s->open, out);
    if (x && x->hists.n)
        put_hists(out, &x->hists);
    if (x && x->ooo_n)
        put_late(out, x);
    put_window_list(g->h, out, s);
    g->state.entries++;
}

/* --- slices --- */
/* What the series some places on will be asked for. */
static void prefetch(const struct head *h, uint32_t at, uint32_t end)
{
    const struct head_series *s;

    if (at + 12 < end)
        for (size_t line = 0; line < sizeof *s; line += 64)
            __builtin_prefetch((const char *)series_at(h, h->by_ordinal[at + 12]) + line);
    if (at + 8 < end) {
        s = series_at(h, h->by_ordinal[at + 8]);
        __builtin_prefetch(s->open);
        __builtin_prefetch(s->cur.next);
    }
    if (at + 4 < end) {
        s = series_at(h, h->by_ordinal[at + 4]);
        if (s->open)
            chunk_open_prefetch(s->open);
    }
}

/* Under the lock. */
static void slice_fill(struct imaging *g, struct wal_position at_log, bool *ret_more)
{
    struct head *h = g->h;
    uint32_t at = ordinal_of_seq(h, g->seq), end = MIN(h->ordinals, at + HEAD_SELECT_SLICE);

    buf_u64(&g->state.frame, at_log.segment);
    buf_u64(&g->state.frame, at_log.offset);
    g->m.to = at_log;
    *ret_more = at < h->ordinals;
    for (; at < end && g->state.frame.n + g->chunks.frame.n + g->new_pairs.n < SLICE_BYTES + IMAGE_FRAME_USUAL; at++) {
        struct head_series *s = series_at(h, h->by_ordinal[at]);

        if (s->seq >= g->limit) {
            *ret_more = false;
            break;
        }
        prefetch(h, at, end);
        if (s->seq >= g->known)
            put_series(g, s);
        put_closed(g, s);
        put_state(g, s);
        g->im->series++;
        g->seq = s->seq + 1;
    }
}

static int writer_open(struct imaging *g, struct image_writer *w, enum image_kind kind)
{
    return w->fd >= 0 ? 0 : image_writer_open(w, g->im->dir, g->im->shard, g->im->head_id, g->m.number, kind, g->err);
}

static int series_frame(struct imaging *g)
{
    struct buf *out = &g->series.frame;
    int rc;

    if (g->new_series.n == 0)
        return 0;
    rc = writer_open(g, &g->series, IMAGE_SERIES);
    if (rc < 0)
        return rc;
    buf_uvarint(out, g->frame_tenants);
    buf_str(out, buf_view(&g->new_tenants));
    buf_uvarint(out, g->frame_pairs);
    buf_str(out, buf_view(&g->new_pairs));
    buf_str(out, buf_view(&g->new_series));
    if (!buf_ok(&g->new_tenants) || !buf_ok(&g->new_pairs) || !buf_ok(&g->new_series))
        return err_set(g->err, RC_LIMIT, "labels of more than %d bytes in one frame", IMAGE_FRAME_MAX);
    g->frame_tenants = g->frame_pairs = 0;
    buf_clear(&g->new_tenants);
    buf_clear(&g->new_pairs);
    buf_clear(&g->new_series);
    return image_writer_frame(&g->series, FRAME_SERIES, g->err);
}

static int chunks_frame(struct imaging *g)
{
    int rc = g->chunks.frame.n ? writer_open(g, &g->chunks, IMAGE_CHUNKS) : 0;

    return rc == 0 && g->chunks.frame.n ? image_writer_frame(&g->chunks, FRAME_CHUNKS, g->err) : rc;
}

/* State frames have their own place in the log; the others are filled up. */
static int slice_write(struct imaging *g, bool last)
{
    int rc = image_writer_frame(&g->state, FRAME_STATE, g->err);

    if (rc == 0 && (last || g->new_series.n + g->new_pairs.n >= IMAGE_FRAME_USUAL))
        rc = series_frame(g);
    if (rc == 0 && (last || g->chunks.frame.n >= IMAGE_FRAME_USUAL || !buf_ok(&g->chunks.frame)))
        rc = chunks_frame(g);
    return rc;
}

static int slices(struct imaging *g)
{
    bool more = true;
    int rc = 0;

    while (rc == 0 && more) {
        struct wal_position at;
        int64_t begin;

        lock_slice(g->h);
        begin = clock_mono_ns(clock_system());
        if (g->src->log_end(g->src->arg, &at))
            slice_fill(g, at, &more);
        else
            rc = err_set(g->err, RC_UNAVAILABLE, "the log has failed");
        g->stats.lock_ns_max = MAX(g->stats.lock_ns_max, clock_mono_ns(clock_system()) - begin);
        unlock_slice(g->h);
        if (rc == 0)
            rc = slice_write(g, !more);
        /* Rather here than under the lock, where the appending thread would wait for this one's next turn too. */
        sched_yield();
    }
    return rc;
}

/* --- what is not of one series --- */
static int emit(void *arg, enum wal_type type, struct str payload, struct err *err)
{
    struct imaging *g = arg;

    buf_u8(&g->state.frame, (uint8_t)type);
    buf_str(&g->state.frame, payload);
    g->state.entries++;
    return image_writer_frame(&g->state, FRAME_RECORD, err);
}

/* Those that came before the image began: the log has the others. */
static int exemplars(struct imaging *g, uint32_t tenant)
{
    uint64_t no = 0, below = g->exemplars_below.v[tenant];
    struct buf rows, payload;
    int rc = 0;

    buf_init(&rows, WAL_RECORD_BYTES_MAX / 2);
    buf_init(&payload, WAL_RECORD_BYTES_MAX);
    while (rc == 0 && no < below) {
        struct tenant *tn;
        size_t n;

        buf_clear(&rows);
        buf_clear(&payload);
        lock_slice(g->h);
        tn = g->h->tenants.v[tenant];
        no = exemplar_ring_rows(tn ? tn->exemplars : NULL, no, below, EXEMPLAR_BYTES, &rows, &n);
        if (n)
            wal_list_begin(&payload, tn->name, n);
        unlock_slice(g->h);
        buf_str(&payload, buf_view(&rows));
        if (!buf_ok(&payload) || !buf_ok(&rows))
            rc = err_set(g->err, RC_NOMEM, "no memory for exemplars");
        if (rc == 0 && n)
            rc = emit(g, WAL_EXEMPLARS, buf_view(&payload), g->err);
    }
    buf_fini(&rows);
    buf_fini(&payload);
    return rc;
}

static int records(struct imaging *g)
{
    int rc = 0;

    for (uint32_t i = 0; i < g->exemplars_below.n && rc == 0; i++)
        rc = exemplars(g, i);
    return rc == 0 && g->src->records ? g->src->records(g->src->arg, emit, g, g->err) : rc;
}

/* --- begin and end --- */
/* Under the lock: what the whole image is behind of. */
static int begin_locked(struct imaging *g)
{
    struct head *h = g->h;

    if (!g->src->log_end(g->src->arg, &g->m.from))
        return err_set(g->err, RC_UNAVAILABLE, "the log has failed");
    g->limit = g->m.next_seq = h->next_seq;
    g->m.max_ms = h->max_ms;
    g->m.dropped_gen = h->dropped_gen;
    g->m.set_max = h->set_max;
    for (size_t i = 0; i < h->sets.n; i++)
        if (h->sets.v[i].used)
            *vec_push(&g->m.sets) = (struct image_set){h->sets.v[i].id, h->sets.v[i].gen, h->sets.v[i].below_ms, h->sets.v[i].published};
    for (size_t i = 0; i < h->tenants.n; i++)
        *vec_push(&g->exemplars_below) = h->tenants.v[i] ? exemplar_ring_added(h->tenants.v[i]->exemplars) : 0;
    return g->m.sets.n > IMAGE_SETS_MAX ? err_set(g->err, RC_LIMIT, "more than %d flush sets", IMAGE_SETS_MAX) : 0;
}

static uint64_t entries_of(const image_files *files)
{
    uint64_t n = 0;

    for (size_t i = 0; i < files->n; i++)
        n += files->v[i].entries;
    return n;
}

static bool too_much(const image_files *files, size_t files_max, uint64_t live)
{
    return files->n >= files_max || entries_of(files) > GARBAGE_FACTOR * live + GARBAGE_ENTRIES_MIN;
}

static void files_copy(image_files *to, const image_files *from)
{
    for (size_t i = 0; i < from->n; i++)
        *vec_push(to) = from->v[i];
}

/* Which files of the image before go on. */
static void plan(struct imaging *g)
{
    struct head_imager *im = g->im;
    const struct image_manifest *last = &im->kept[0];

    if (last->number && !too_much(&last->series, SERIES_FILES, im->series)) {
        g->known = last->next_seq;
        files_copy(&g->m.series, &last->series);
    }
    im->chunks_all |= !last->number || too_much(&last->chunks, CHUNKS_FILES, im->windows);
    if (!im->chunks_all)
        files_copy(&g->m.chunks, &last->chunks);
    im->series = im->windows = 0;
}

/* A chunks file whose windows are all older than the oldest that lives. */
static void retire(struct imaging *g)
{
    size_t kept = 0;

    for (size_t i = 0; i < g->m.chunks.n; i++)
        if (g->m.chunks.v[i].max_start >= g->min_start)
            g->m.chunks.v[kept++] = g->m.chunks.v[i];
    g->m.chunks.n = kept;
}

static int file_finish(struct imaging *g, struct image_writer *w, int64_t max_start, struct image_file *ret)
{
    int rc = image_writer_finish(w, g->err);

    *ret = (struct image_file){g->m.number, w->bytes, w->entries, max_start};
    g->stats.bytes += w->bytes;
    return rc;
}

static int files_finish(struct imaging *g)
{
    int rc = file_finish(g, &g->state, 0, &g->m.state);

    retire(g);
    g->stats.windows = g->chunks.entries;
    if (rc == 0 && g->series.fd >= 0)
        rc = file_finish(g, &g->series, 0, vec_push(&g->m.series));
    if (rc == 0 && g->chunks.fd >= 0)
        rc = file_finish(g, &g->chunks, g->max_start, vec_push(&g->m.chunks));
    return rc;
}

/* The name that makes it valid. */
static int manifest_write(struct imaging *g)
{
    char path[PATH_MAX];
    struct buf bytes;
    int rc = image_path(g->im->dir, g->m.number, IMAGE_MANIFEST, path, sizeof path, g->err);

    buf_init(&bytes, IMAGE_MANIFEST_MAX);
    image_manifest_encode(&g->m, g->im->shard, &bytes);
    ASSERT(buf_ok(&bytes));
    if (rc == 0)
        rc = fs_write_atomic(path, buf_view(&bytes), g->err);
    g->stats.bytes += bytes.n;
    buf_fini(&bytes);
    FAULT(FAULT_CRASH, _exit(99));
    return rc;
}

static void imaging_init(struct imaging *g)
{
    struct image_writer *writers[] = {&g->series, &g->chunks, &g->state};
    struct buf *bufs[] = {&g->new_tenants, &g->new_pairs, &g->new_series};

    for (size_t i = 0; i < ARRAY_LEN(writers); i++) {
        writers[i]->fd = -1;
        buf_init(&writers[i]->frame, IMAGE_FRAME_MAX);
    }
    for (size_t i = 0; i < ARRAY_LEN(bufs); i++)
        buf_init(bufs[i], IMAGE_FRAME_MAX / 3);
    g->m.number = ++g->im->number;
    g->m.head_id = g->im->head_id;
    g->min_start = INT64_MAX;
    g->max_start = INT64_MIN;
}

static void imaging_fini(struct imaging *g)
{
    image_writer_fini(&g->series);
    image_writer_fini(&g->chunks);
    image_writer_fini(&g->state);
    buf_fini(&g->new_tenants);
    buf_fini(&g->new_pairs);
    buf_fini(&g->new_series);
    free(g->pairs.v);
    free(g->tenants.v);
    vec_fini(&g->exemplars_below);
    image_manifest_fini(&g->m);
}

static int image_make(struct imaging *g)
{
    int rc;

    lock_slice(g->h);
    rc = begin_locked(g);
    unlock_slice(g->h);
    plan(g);
    if (rc == 0)
        rc = writer_open(g, &g->state, IMAGE_STATE);
    if (rc == 0)
        rc = slices(g);
    if (rc == 0)
        rc = records(g);
    if (rc == 0)
        rc = files_finish(g);
    /* A log that ended before its image would go on with other records at the same places. */
    if (rc == 0)
        rc = g->src->log_sync(g->src->arg, g->err);
    return rc == 0 ? manifest_write(g) : rc;
}

static void take_over(struct imaging *g)
{
    struct head_imager *im = g->im;

    image_manifest_fini(&im->kept[IMAGES_KEPT - 1]);
    memmove(&im->kept[1], &im->kept[0], (IMAGES_KEPT - 1) * sizeof im->kept[0]);
    im->kept[0] = g->m;
    g->m = (struct image_manifest){0};
    im->chunks_all = false;
    /* What stays behind is found by the next sweep. */
    (void)head_imager_sweep(im, NULL);
}

int head_image_write(struct head_imager *im, struct head *h, const struct head_image_source *src, struct head_image_stats *ret, struct err *err)
{
    struct imaging g = {.im = im, .h = h, .src = src, .err = err};
    int rc;

    imaging_init(&g);
    rc = image_make(&g);
    g.stats.series = im->series;
    if (rc < 0)
        im->chunks_all = true; /* windows are marked that stand in no file */
    else
        take_over(&g);
    imaging_fini(&g);
    if (rc == 0)
        *ret = g.stats;
    return rc < 0 ? err_wrap(err, rc, "head image %08" PRIu64 " of shard %" PRIu32, g.im->number, im->shard) : 0;
}
