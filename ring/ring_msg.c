#include "ring/ring_msg.h"

void ring_msg_fini(struct ring_msg *m)
{
    for (size_t i = 0; !m->borrowed_records && i < m->records.n; i++)
        member_fini(&m->records.v[i]);
    vec_fini(&m->records);
    vec_fini(&m->notes);
    vec_fini(&m->digests);
    vec_fini(&m->wants);
}

void ring_msg_encode(const struct ring_msg *m, struct buf *out)
{
    buf_u8(out, RING_MSG_VERSION);
    buf_u8(out, (uint8_t)m->type);
    buf_lstr(out, m->sender);
    buf_lstr(out, m->sender_addr);
    buf_lstr(out, m->target);
    buf_uvarint(out, m->seq);
    buf_uvarint(out, m->records.n);
    for (size_t i = 0; i < m->records.n; i++)
        member_encode(&m->records.v[i], out);
    buf_uvarint(out, m->notes.n);
    for (size_t i = 0; i < m->notes.n; i++) {
        buf_lstr(out, m->notes.v[i].id);
        buf_uvarint(out, m->notes.v[i].incarnation);
        buf_u8(out, (uint8_t)m->notes.v[i].health);
    }
    buf_uvarint(out, m->digests.n);
    for (size_t i = 0; i < m->digests.n; i++) {
        const struct ring_digest *d = &m->digests.v[i];

        buf_lstr(out, d->id);
        buf_uvarint(out, d->incarnation);
        buf_uvarint(out, d->version);
        buf_uvarint(out, d->changes);
        buf_svarint(out, d->left_ms);
        buf_u8(out, (uint8_t)d->health);
    }
    buf_uvarint(out, m->wants.n);
    for (size_t i = 0; i < m->wants.n; i++)
        buf_lstr(out, m->wants.v[i].id);
}

static bool read_count(struct rd *r, uint64_t *ret)
{
    *ret = rd_uvarint(r);
    return rd_ok(r) && *ret <= RING_MEMBERS_MAX && *ret <= rd_left(r); /* an item has a byte at least */
}

static bool read_id(struct rd *r, struct str *ret)
{
    *ret = rd_lstr(r);
    return rd_ok(r) && ret->n > 0 && ret->n <= RING_ID_MAX;
}

static int read_lists(struct rd *r, struct ring_msg *m, struct err *err)
{
    uint64_t n;

    CORRUPT_UNLESS(read_count(r, &n), err);
    for (uint64_t i = 0; i < n; i++) {
        struct member record;
        int rc = member_decode(r, &record, err);

        if (rc < 0)
            return rc;
        *vec_push(&m->records) = record;
    }
    CORRUPT_UNLESS(read_count(r, &n), err);
    for (uint64_t i = 0; i < n; i++) {
        struct ring_note *note = vec_push(&m->notes);

        CORRUPT_UNLESS(read_id(r, &note->id), err);
        note->incarnation = rd_uvarint(r);
        note->health      = (enum ring_health)rd_u8(r);
        CORRUPT_UNLESS(rd_ok(r) && note->health < RING_HEALTHS, err);
    }
    CORRUPT_UNLESS(read_count(r, &n), err);
    for (uint64_t i = 0; i < n; i++) {
        struct ring_digest *d = vec_push(&m->digests);

        CORRUPT_UNLESS(read_id(r, &d->id), err);
        d->incarnation = rd_uvarint(r);
        d->version     = rd_uvarint(r);
        d->changes     = rd_uvarint(r);
        d->left_ms     = rd_svarint(r);
        d->health      = (enum ring_health)rd_u8(r);
        CORRUPT_UNLESS(rd_ok(r) && d->health < RING_HEALTHS, err);
        CORRUPT_UNLESS(i == 0 || str_cmp(d[-1].id, d->id) < 0, err);
    }
    CORRUPT_UNLESS(read_count(r, &n), err);
    for (uint64_t i = 0; i < n; i++)
        CORRUPT_UNLESS(read_id(r, &((struct ring_want *)vec_push(&m->wants))->id), err);
    CORRUPT_UNLESS(rd_done(r), err);
    return 0;
}

static int read_all(struct str payload, struct ring_msg *m, struct err *err)
{
    struct rd r = rd_of(payload);
    uint8_t version, type;

    if (payload.n > RING_MSG_BYTES_MAX)
        return err_set(err, RC_LIMIT, "ring message of %zu bytes", payload.n);
    version = rd_u8(&r);
    type    = rd_u8(&r);
    CORRUPT_UNLESS(rd_ok(&r), err);
    if (version < RING_MSG_VERSION_MIN || version > RING_MSG_VERSION)
        return err_set(err, RC_VERSION, "ring message of version %u, this binary reads %d to %d", version,
                       RING_MSG_VERSION_MIN, RING_MSG_VERSION);
    CORRUPT_UNLESS(type >= RING_MSG_PING && type < RING_MSG_TYPES, err);
    m->type = (enum ring_msg_type)type;
    CORRUPT_UNLESS(read_id(&r, &m->sender), err);
    m->sender_addr = rd_lstr(&r);
    CORRUPT_UNLESS(rd_ok(&r) && m->sender_addr.n > 0 && m->sender_addr.n <= RING_ADDR_MAX, err);
    m->target = rd_lstr(&r);
    CORRUPT_UNLESS(rd_ok(&r) && m->target.n <= RING_ID_MAX, err);
    m->seq = rd_uvarint(&r);
    return read_lists(&r, m, err);
}

int ring_msg_decode(struct str payload, struct ring_msg *ret, struct err *err)
{
    struct ring_msg m = {0};
    int rc            = read_all(payload, &m, err);

    if (rc < 0) {
        ring_msg_fini(&m);
        return rc;
    }
    *ret = m;
    return 0;
}
