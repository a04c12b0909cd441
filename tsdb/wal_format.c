#include "tsdb/wal_format.h"
#include "common/base/fault.h"
#include "common/base/planted.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { READ_BYTES = 1 << 20 };
static const char magic[8] = {'t', 'o', 'r', 'c', 'W', 'A', 'L', '\n'};

void wal_header_encode(const struct wal_header *h, uint8_t out[WAL_HEADER_BYTES])
{
    memcpy(out, magic, sizeof magic);
    le_put16(out + 8, WAL_VERSION);
    le_put16(out + 10, (uint16_t)h->kind);
    le_put32(out + 12, h->shard);
    le_put64(out + 16, h->number);
    le_put64(out + 24, h->head_id);
    le_put64(out + 32, h->previous_bytes);
    le_put32(out + 40, 0);
    le_put32(out + 44, crc32c(0, out, 44));
}

int wal_header_decode(const uint8_t p[WAL_HEADER_BYTES], struct wal_header *ret, struct err *err)
{
    CORRUPT_UNLESS(memcmp(p, magic, sizeof magic) == 0, err);
    CORRUPT_UNLESS(le_get32(p + 44) == crc32c(0, p, 44), err);
    if (le_get16(p + 8) != WAL_VERSION)
        return err_set(err, RC_VERSION, "log of version %d, this program reads %d", le_get16(p + 8),
                       WAL_VERSION);
    CORRUPT_UNLESS(le_get16(p + 10) == WAL_KIND_SEGMENT || le_get16(p + 10) == WAL_KIND_CHECKPOINT,
                   err);
    *ret = (struct wal_header){
        .kind = le_get16(p + 10),
        .shard = le_get32(p + 12),
        .number = le_get64(p + 16),
        .head_id = le_get64(p + 24),
        .previous_bytes = le_get64(p + 32),
    };
    return 0;
}

void wal_record_header(uint8_t type, const struct str *parts, size_t n, size_t length,
                       uint8_t out[WAL_RECORD_HEADER_BYTES])
{
    uint32_t crc;

    ASSERT(length > 0 && length <= WAL_RECORD_BYTES_MAX);
    le_put32(out + 4, (uint32_t)length);
    le_put32(out + 8, type);
    crc = crc32c(0, out + 4, 8);
    for (size_t i = 0; i < n; i++)
        crc = crc32c(crc, parts[i].p, parts[i].n);
    le_put32(out, crc);
}

void wal_note_encode(uint64_t offset, uint8_t out[WAL_NOTE_BYTES])
{
    le_put64(out, offset);
    le_put64(out + 8, ~offset);
}

/* --- reading --- */
void wal_reader_init(struct wal_reader *r, int fd)
{
    *r = (struct wal_reader){.fd = fd};
}

void wal_reader_init_memory(struct wal_reader *r, struct str bytes)
{
    *r = (struct wal_reader){.fd = -1, .buf = (char *)bytes.p, .end = bytes.n, .eof = true};
}

void wal_reader_fini(struct wal_reader *r)
{
    if (r->fd >= 0)
        free(r->buf);
    r->buf = NULL;
}

/* Room for n bytes behind what is there, reads until they are there or the file ends. */
static int reader_fill(struct wal_reader *r, size_t n, struct err *err)
{
    if (r->at + n > r->cap) {
        size_t cap = MAX(n, (size_t)READ_BYTES);
        char *buf = cap > r->cap ? malloc(cap) : r->buf;

        if (!buf)
            return err_set(err, RC_NOMEM, "memory for a record of %zu bytes", n);
        if (r->end > r->at)
            memmove(buf, r->buf + r->at, r->end - r->at);
        r->end -= r->at;
        r->at = 0;
        if (buf != r->buf) {
            free(r->buf);
            r->buf = buf;
            r->cap = cap;
        }
    }
    FAULT(FAULT_IO, return err_set(err, RC_IO, "fault: read"));
    while (r->end - r->at < n) {
        ssize_t got = read(r->fd, r->buf + r->end, r->cap - r->end);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return err_sys(err, RC_IO, "read at %" PRIu64, r->offset);
        if (got == 0) {
            r->eof = true;
            return 0;
        }
        r->end += (size_t)got;
    }
    return 0;
}

/* The next n bytes without taking them; NULL when the file ends before. */
static int reader_peek(struct wal_reader *r, size_t n, const uint8_t **ret, struct err *err)
{
    if (r->end - r->at < n && !r->eof) {
        int rc = reader_fill(r, n, err);

        if (rc < 0)
            return rc;
    }
    *ret = r->end - r->at < n ? NULL : (const uint8_t *)r->buf + r->at;
    return 0;
}

static void reader_skip(struct wal_reader *r, size_t n)
{
    ASSERT(r->end - r->at >= n);
    r->at += n;
    r->offset += n;
}

int wal_reader_take(struct wal_reader *r, size_t n, const uint8_t **ret, struct err *err)
{
    int rc = reader_peek(r, n, ret, err);

    if (rc == 0 && *ret)
        reader_skip(r, n);
    return rc;
}

int wal_reader_seek(struct wal_reader *r, uint64_t offset, struct err *err)
{
    struct stat st;

    ASSERT(r->fd >= 0 && offset >= r->offset);
    if (fstat(r->fd, &st) != 0)
        return err_sys(err, RC_IO, "stat");
    if ((uint64_t)st.st_size < offset)
        return err_set(err, RC_CORRUPT, "%" PRIi64 " bytes, a head image knows of %" PRIu64, (int64_t)st.st_size, offset);
    if (lseek(r->fd, (off_t)offset, SEEK_SET) < 0)
        return err_sys(err, RC_IO, "seek to %" PRIu64, offset);
    r->at = r->end = 0;
    r->offset = offset;
    r->eof = false;
    return 0;
}

static bool type_known(uint8_t type)
{
    return (type >= 1 && type <= WAL_TYPE_MAX) || type == WAL_SYNCED || type == WAL_END;
}

int wal_reader_next(struct wal_reader *r, enum wal_read *ret, uint8_t *ret_type,
                    struct str *ret_payload, const char **ret_why, struct err *err)
{
    const uint8_t *p;
    uint32_t length;
    uint8_t type;
    int rc = reader_peek(r, WAL_RECORD_HEADER_BYTES, &p, err);

    if (rc < 0)
        return rc;
    *ret = WAL_READ_INVALID;
    if (!p) {
        if (r->at == r->end)
            *ret = WAL_READ_END;
        *ret_why = "record header cut short";
        return 0;
    }
    length = le_get32(p + 4);
    type = p[8];
    if (length == 0 || length > WAL_RECORD_BYTES_MAX || !type_known(type) || p[9] || p[10] ||
        p[11]) {
        *ret_why = "no record header";
        return 0;
    }
    rc = reader_peek(r, WAL_RECORD_HEADER_BYTES + (size_t)length, &p, err);
    if (rc < 0)
        return rc;
    if (!p) {
        *ret_why = "record longer than the file";
        return 0;
    }
    if (le_get32(p) != crc32c(0, p + 4, 8 + (size_t)length) && !PLANTED("no-crc-on-replay")) {
        *ret_why = "checksum differs";
        return 0;
    }
    *ret = WAL_READ_RECORD;
    *ret_type = type;
    *ret_payload = str_n(p + WAL_RECORD_HEADER_BYTES, length);
    reader_skip(r, WAL_RECORD_HEADER_BYTES + (size_t)length);
    return 0;
}

static bool is_note(const uint8_t *p)
{
    return le_get32(p + 4) == WAL_NOTE_BYTES && le_get32(p + 8) == WAL_SYNCED &&
           le_get64(p + WAL_RECORD_HEADER_BYTES) == ~le_get64(p + WAL_RECORD_HEADER_BYTES + 8) &&
           le_get32(p) == crc32c(0, p + 4, 8 + WAL_NOTE_BYTES);
}

int wal_reader_synced(struct wal_reader *r, uint64_t *ret, struct err *err)
{
    uint64_t synced = 0;
    const uint8_t *p;
    int rc;

    /* Where records begin is not known behind an invalid one: every place is tried. */
    for (;; reader_skip(r, 1)) {
        rc = reader_peek(r, WAL_RECORD_HEADER_BYTES + WAL_NOTE_BYTES, &p, err);
        if (rc < 0)
            return rc;
        if (!p)
            break;
        if (is_note(p))
            synced = MAX(synced, MIN(le_get64(p + WAL_RECORD_HEADER_BYTES), r->offset));
    }
    *ret = synced;
    return 0;
}

/* --- names --- */
uint64_t wal_name_number(const char *name, const char *suffix)
{
    size_t digits = strspn(name, "0123456789");
    uint64_t number = 0;

    if (digits < 8 || digits > 18 || strcmp(name + digits, suffix) != 0 ||
        (digits > 8 && name[0] == '0'))
        return 0;
    for (size_t i = 0; i < digits; i++)
        number = number * 10 + (uint64_t)(name[i] - '0');
    return number;
}

int wal_path(const char *dir, uint64_t number, const char *suffix, char *out, size_t cap,
             struct err *err)
{
    if ((size_t)snprintf(out, cap, "%s/%08" PRIu64 "%s", dir, number, suffix) >= cap)
        return err_set(err, RC_INVALID, "path too long: %.64s...", dir);
    return 0;
}
