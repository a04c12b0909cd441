/* Files of a head image: frames, manifest. Layouts: head_image_format.h. */
#include "tsdb/head_image_format.h"
#include "common/base/fault.h"
#include "common/sys/fs.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static const char magic[8] = {'t', 'o', 'r', 'c', 'I', 'M', 'G', '\n'};
const char *const image_suffix[] = {
    [IMAGE_SERIES] = ".series", [IMAGE_CHUNKS] = ".chunks", [IMAGE_STATE] = ".state", [IMAGE_MANIFEST] = ".image"};

int image_path(const char *dir, uint64_t number, enum image_kind kind, char *out, size_t cap, struct err *err)
{
    if ((size_t)snprintf(out, cap, "%s/%08" PRIu64 "%s", dir, number, image_suffix[kind]) >= cap)
        return err_set(err, RC_INVALID, "path too long: %.64s...", dir);
    return 0;
}

uint64_t image_name_number(const char *name, enum image_kind kind)
{
    size_t digits = strspn(name, "0123456789");

    return digits >= 8 && digits <= 18 && strcmp(name + digits, image_suffix[kind]) == 0 ? strtoull(name, NULL, 10) : 0;
}

/* --- header and frames --- */
static void header_encode(const struct image_header *h, uint8_t out[IMAGE_HEADER_BYTES])
{
    memset(out, 0, IMAGE_HEADER_BYTES);
    memcpy(out, magic, sizeof magic);
    le_put16(out + 8, IMAGE_VERSION);
    le_put16(out + 10, (uint16_t)h->kind);
    le_put32(out + 12, h->shard);
    le_put64(out + 16, h->number);
    le_put64(out + 24, h->head_id);
    le_put32(out + 44, crc32c(0, out, 44));
}

/* want->head_id 0: any. */
static int header_decode(const uint8_t p[IMAGE_HEADER_BYTES], const struct image_header *want, uint64_t *ret_head_id,
                         struct err *err)
{
    uint64_t head_id = le_get64(p + 24);

    CORRUPT_UNLESS(memcmp(p, magic, sizeof magic) == 0, err);
    CORRUPT_UNLESS(le_get32(p + 44) == crc32c(0, p, 44), err);
    if (le_get16(p + 8) != IMAGE_VERSION)
        return err_set(err, RC_VERSION, "head image of version %d, this program reads %d", le_get16(p + 8), IMAGE_VERSION);
    CORRUPT_UNLESS(le_get16(p + 10) == want->kind, err);
    if (le_get32(p + 12) != want->shard)
        return err_set(err, RC_CORRUPT, "this is of shard %" PRIu32 ", not %" PRIu32, le_get32(p + 12), want->shard);
    if (le_get64(p + 16) != want->number)
        return err_set(err, RC_CORRUPT, "this is number %" PRIu64 ", not %" PRIu64, le_get64(p + 16), want->number);
    if (want->head_id && head_id != want->head_id)
        return err_set(err, RC_CORRUPT, "this is of another head (%016" PRIx64 ", not %016" PRIx64 ")", head_id, want->head_id);
    *ret_head_id = head_id;
    return 0;
}

static void frame_header(enum image_frame type, struct str payload, uint8_t out[IMAGE_FRAME_HEADER_BYTES])
{
    ASSERT(payload.n > 0 && payload.n <= IMAGE_FRAME_MAX);
    le_put32(out + 4, (uint32_t)payload.n);
    le_put32(out + 8, type);
    le_put32(out, crc32c(crc32c(0, out + 4, 8), payload.p, payload.n));
}

static bool frame_of_kind(enum image_kind kind, uint8_t type)
{
    static const uint8_t types[] = {
        [IMAGE_SERIES] = 1 << FRAME_SERIES | 1 << FRAME_END,
        [IMAGE_CHUNKS] = 1 << FRAME_CHUNKS | 1 << FRAME_END,
        [IMAGE_STATE] = 1 << FRAME_STATE | 1 << FRAME_RECORD | 1 << FRAME_END,
        [IMAGE_MANIFEST] = 1 << FRAME_MANIFEST | 1 << FRAME_END,
    };

    return type <= FRAME_END && (types[kind] >> type & 1);
}

/* --- manifest --- */
void image_manifest_fini(struct image_manifest *m)
{
    vec_fini(&m->sets);
    vec_fini(&m->series);
    vec_fini(&m->chunks);
}

static void put_position(struct buf *out, struct wal_position p)
{
    buf_u64(out, p.segment);
    buf_u64(out, p.offset);
}

static void put_file(struct buf *out, const struct image_file *f)
{
    buf_u64(out, f->number);
    buf_u64(out, f->bytes);
    buf_u64(out, f->entries);
    buf_u64(out, (uint64_t)f->max_start);
}

static void put_files(struct buf *out, const image_files *files)
{
    ASSERT(files->n <= IMAGE_FILES_MAX);
    buf_uvarint(out, files->n);
    for (size_t i = 0; i < files->n; i++)
        put_file(out, &files->v[i]);
}

static void manifest_payload(const struct image_manifest *m, struct buf *out)
{
    put_position(out, m->from);
    put_position(out, m->to);
    buf_u64(out, m->next_seq);
    buf_u64(out, (uint64_t)m->max_ms);
    buf_u64(out, m->dropped_gen);
    buf_u64(out, m->set_max);
    buf_uvarint(out, m->sets.n);
    for (size_t i = 0; i < m->sets.n; i++) {
        buf_u64(out, m->sets.v[i].id);
        buf_u64(out, m->sets.v[i].gen);
        buf_u64(out, (uint64_t)m->sets.v[i].below_ms);
        buf_u8(out, m->sets.v[i].published);
    }
    put_files(out, &m->series);
    put_files(out, &m->chunks);
    put_file(out, &m->state);
}

static void put_frame(struct buf *out, enum image_frame type, struct str payload)
{
    uint8_t header[IMAGE_FRAME_HEADER_BYTES];

    frame_header(type, payload, header);
    buf_add(out, header, sizeof header);
    buf_str(out, payload);
}

void image_manifest_encode(const struct image_manifest *m, uint32_t shard, struct buf *out)
{
    uint8_t header[IMAGE_HEADER_BYTES], end[8];
    struct buf payload;

    header_encode(&(struct image_header){IMAGE_MANIFEST, shard, m->number, m->head_id}, header);
    buf_add(out, header, sizeof header);
    buf_init(&payload, IMAGE_MANIFEST_MAX);
    manifest_payload(m, &payload);
    ASSERT(buf_ok(&payload));
    put_frame(out, FRAME_MANIFEST, buf_view(&payload));
    buf_fini(&payload);
    le_put64(end, 1);
    put_frame(out, FRAME_END, str_n(end, sizeof end));
}

static struct wal_position get_position(struct rd *r)
{
    uint64_t segment = rd_u64(r);

    return (struct wal_position){segment, rd_u64(r)};
}

static struct image_file get_file(struct rd *r)
{
    struct image_file f;

    f.number = rd_u64(r);
    f.bytes = rd_u64(r);
    f.entries = rd_u64(r);
    f.max_start = (int64_t)rd_u64(r);
    return f;
}

static int get_files(struct rd *r, image_files *ret, struct err *err)
{
    uint64_t n = rd_uvarint(r), before = 0;

    CORRUPT_UNLESS(rd_ok(r) && n <= IMAGE_FILES_MAX && n * IMAGE_FILE_BYTES <= rd_left(r), err);
    for (uint64_t i = 0; i < n; i++) {
        struct image_file f = get_file(r);

        CORRUPT_UNLESS(f.number > before, err);
        before = f.number;
        *vec_push(ret) = f;
    }
    return 0;
}

static int get_sets(struct rd *r, struct image_manifest *m, struct err *err)
{
    uint64_t n = rd_uvarint(r);

    CORRUPT_UNLESS(rd_ok(r) && n <= IMAGE_SETS_MAX && n * IMAGE_SET_BYTES <= rd_left(r), err);
    for (uint64_t i = 0; i < n; i++) {
        struct image_set *s = vec_push(&m->sets);

        s->id = rd_u64(r);
        s->gen = rd_u64(r);
        s->below_ms = (int64_t)rd_u64(r);
        s->published = rd_u8(r);
        CORRUPT_UNLESS(s->id > 0 && s->id <= m->set_max, err);
    }
    return 0;
}

static int manifest_fields(struct str payload, struct image_manifest *m, struct err *err)
{
    struct rd r = rd_of(payload);
    int rc;

    m->from = get_position(&r);
    m->to = get_position(&r);
    m->next_seq = rd_u64(&r);
    m->max_ms = (int64_t)rd_u64(&r);
    m->dropped_gen = rd_u64(&r);
    m->set_max = rd_u64(&r);
    rc = get_sets(&r, m, err);
    if (rc == 0)
        rc = get_files(&r, &m->series, err);
    if (rc == 0)
        rc = get_files(&r, &m->chunks, err);
    if (rc < 0)
        return rc;
    m->state = get_file(&r);
    CORRUPT_UNLESS(rd_done(&r), err);
    CORRUPT_UNLESS(m->next_seq > 0 && m->from.segment > 0 && wal_position_cmp(m->from, m->to) <= 0, err);
    return 0;
}

int image_manifest_decode(struct str bytes, uint32_t shard, struct image_manifest *ret, struct err *err)
{
    struct image_header want = {IMAGE_MANIFEST, shard, bytes.n >= IMAGE_HEADER_BYTES ? le_get64(bytes.p + 16) : 0, 0};
    struct image_manifest m = {.number = want.number};
    struct image_reader r;
    enum image_frame type;
    struct str payload;
    int rc = image_reader_memory(&r, bytes, &want, err);

    if (rc < 0)
        return rc;
    m.head_id = le_get64(bytes.p + 24);
    rc = image_reader_next(&r, &type, &payload, err);
    if (rc == 0)
        rc = err_set(err, RC_CORRUPT, "an empty manifest");
    if (rc > 0)
        rc = manifest_fields(payload, &m, err);
    if (rc == 0) {
        r.entries++;
        rc = image_reader_next(&r, &type, &payload, err);
    }
    if (rc > 0)
        rc = err_set(err, RC_CORRUPT, "a manifest of two frames");
    if (rc < 0)
        image_manifest_fini(&m);
    else
        *ret = m;
    return rc;
}

/* --- writing --- */
int image_writer_open(struct image_writer *w, const char *dir, uint32_t shard, uint64_t head_id, uint64_t number,
                      enum image_kind kind, struct err *err)
{
    uint8_t header[IMAGE_HEADER_BYTES];
    char path[PATH_MAX];
    int rc = image_path(dir, number, kind, path, sizeof path, err);

    ASSERT(w->fd < 0);
    if (rc < 0)
        return rc;
    FAULT(FAULT_IO, return err_set(err, RC_IO, "fault: create %s", path));
    w->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (w->fd < 0)
        return err_sys(err, RC_IO, "create %s", path);
    w->path = xstrdup(path);
    w->number = number;
    w->bytes = sizeof header;
    header_encode(&(struct image_header){kind, shard, number, head_id}, header);
    return fs_write_all(w->fd, header, sizeof header, err);
}

int image_writer_frame(struct image_writer *w, enum image_frame type, struct err *err)
{
    struct str payload = buf_view(&w->frame);
    uint8_t header[IMAGE_FRAME_HEADER_BYTES];
    int rc;

    ASSERT(w->fd >= 0);
    if (!buf_ok(&w->frame))
        return err_set(err, RC_LIMIT, "%s: a frame of more than %zu bytes", w->path, w->frame.max);
    if (payload.n == 0)
        return 0;
    frame_header(type, payload, header);
    FAULT(FAULT_CRASH, _exit(99));
    rc = fs_write_all(w->fd, header, sizeof header, err);
    if (rc == 0)
        rc = fs_write_all(w->fd, payload.p, payload.n, err);
    w->bytes += sizeof header + payload.n;
    buf_clear(&w->frame);
    return rc < 0 ? err_wrap(err, rc, "write %s", w->path) : 0;
}

int image_writer_finish(struct image_writer *w, struct err *err)
{
    int rc;

    buf_clear(&w->frame);
    buf_u64(&w->frame, w->entries);
    rc = image_writer_frame(w, FRAME_END, err);
    FAULT(FAULT_IO, rc = err_set(err, RC_IO, "fault: fsync %s", w->path));
    if (rc == 0 && fsync(w->fd) != 0)
        rc = err_sys(err, RC_IO, "fsync %s", w->path);
    if (rc < 0)
        return rc;
    close(w->fd);
    w->fd = -1;
    free(w->path);
    w->path = NULL;
    FAULT(FAULT_CRASH, _exit(99));
    return 0;
}

void image_writer_fini(struct image_writer *w)
{
    if (w->fd >= 0)
        close(w->fd);
    if (w->path)
        unlink(w->path);
    free(w->path);
    buf_fini(&w->frame);
}

/* --- reading --- */
static int reader_header(struct image_reader *r, const uint8_t *p, const struct image_header *want, struct err *err)
{
    uint64_t head_id;

    r->kind = want->kind;
    r->at = IMAGE_HEADER_BYTES;
    return header_decode(p, want, &head_id, err);
}

int image_reader_memory(struct image_reader *r, struct str bytes, const struct image_header *want, struct err *err)
{
    *r = (struct image_reader){.fd = -1, .memory = bytes, .size = bytes.n};
    CORRUPT_UNLESS(bytes.n >= IMAGE_HEADER_BYTES, err);
    return reader_header(r, (const uint8_t *)bytes.p, want, err);
}

int image_reader_open(struct image_reader *r, const char *dir, uint32_t shard, uint64_t head_id,
                      const struct image_file *file, enum image_kind kind, struct err *err)
{
    struct image_header want = {kind, shard, file->number, head_id};
    uint8_t header[IMAGE_HEADER_BYTES];
    char path[PATH_MAX];
    struct stat st;
    int rc = image_path(dir, file->number, kind, path, sizeof path, err);

    *r = (struct image_reader){.fd = -1};
    if (rc < 0)
        return rc;
    r->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (r->fd < 0)
        return err_sys(err, RC_IO, "open %s", path);
    if (fstat(r->fd, &st) != 0)
        rc = err_sys(err, RC_IO, "stat %s", path);
    else if ((uint64_t)st.st_size != file->bytes)
        rc = err_set(err, RC_CORRUPT, "%" PRIi64 " bytes, the manifest says %" PRIu64, (int64_t)st.st_size, file->bytes);
    r->size = file->bytes;
    if (rc == 0)
        rc = fs_pread_all(r->fd, header, sizeof header, 0, err);
    if (rc == 0)
        rc = reader_header(r, header, &want, err);
    if (rc < 0) {
        image_reader_fini(r);
        return err_wrap(err, rc, "%s", path);
    }
    (void)posix_fadvise(r->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    return 0;
}

void image_reader_fini(struct image_reader *r)
{
    if (r->fd >= 0)
        close(r->fd);
    r->fd = -1;
    free(r->buf);
    r->buf = NULL;
}

/* n bytes at r->at: within the file. */
static int reader_bytes(struct image_reader *r, size_t n, const char **ret, struct err *err)
{
    if (r->fd < 0) {
        *ret = r->memory.p + r->at;
        return 0;
    }
    if (n > r->cap) {
        free(r->buf);
        r->cap = MAX(n, (size_t)2 * IMAGE_FRAME_USUAL);
        r->buf = malloc(r->cap);
        if (!r->buf) {
            r->cap = 0;
            return err_set(err, RC_NOMEM, "memory for a frame of %zu bytes", n);
        }
    }
    *ret = r->buf;
    return fs_pread_all(r->fd, r->buf, n, r->at, err);
}

int image_reader_next(struct image_reader *r, enum image_frame *ret_type, struct str *ret, struct err *err)
{
    uint8_t header[IMAGE_FRAME_HEADER_BYTES];
    const char *p;
    uint32_t length;
    int rc;

    CORRUPT_UNLESS(r->size - r->at >= sizeof header, err);
    rc = reader_bytes(r, sizeof header, &p, err);
    if (rc < 0)
        return rc;
    memcpy(header, p, sizeof header);
    length = le_get32(header + 4);
    CORRUPT_UNLESS(length > 0 && length <= IMAGE_FRAME_MAX && length <= r->size - r->at - sizeof header, err);
    CORRUPT_UNLESS(frame_of_kind(r->kind, header[8]) && !header[9] && !header[10] && !header[11], err);
    r->at += sizeof header;
    rc = reader_bytes(r, length, &p, err);
    if (rc < 0)
        return rc;
    if (le_get32(header) != crc32c(crc32c(0, header + 4, 8), p, length))
        return err_set(err, RC_CORRUPT, "offset %" PRIu64 ": checksum differs", r->at);
    r->at += length;
    *ret_type = header[8];
    *ret = str_n(p, length);
    if (header[8] != FRAME_END)
        return 1;
    CORRUPT_UNLESS(length == 8 && r->at == r->size && le_get64(p) == r->entries, err);
    return 0;
}
