#include "ring/kv_msg.h"

uint64_t kv_mark(const struct ring_kv_entry *e)
{
    uint64_t words[3] = {e->version, e->deleted, (uint64_t)e->expires_ms};

    return hash64(e->value.p, e->value.n, hash64(words, sizeof words, kv_key_hash(e->key)));
}

void kv_msg_fini(struct kv_msg *m)
{
    vec_fini(&m->buckets);
    vec_fini(&m->items);
    vec_fini(&m->entries);
    vec_fini(&m->wants);
}

/* --- writing --- */

void kv_entry_encode(const struct ring_kv_entry *e, struct buf *out)
{
    buf_lstr(out, e->key);
    buf_uvarint(out, e->version);
    buf_u8(out, e->deleted);
    buf_svarint(out, e->expires_ms);
    buf_lstr(out, e->value);
}

static void keys_encode(const struct kv_msg *m, struct buf *out)
{
    buf_uvarint(out, m->buckets.n);
    buf_add(out, m->buckets.v, m->buckets.n);
    buf_uvarint(out, m->items.n);
    for (size_t i = 0; i < m->items.n; i++) {
        buf_u64(out, m->items.v[i].key_hash);
        buf_uvarint(out, m->items.v[i].version);
        buf_u64(out, m->items.v[i].mark);
    }
}

static void entries_encode(const struct kv_msg *m, struct buf *out)
{
    buf_uvarint(out, m->entries.n);
    for (size_t i = 0; i < m->entries.n; i++)
        kv_entry_encode(&m->entries.v[i], out);
    if (m->type != KV_MSG_DELTA)
        return;
    buf_uvarint(out, m->wants.n);
    for (size_t i = 0; i < m->wants.n; i++)
        buf_u64(out, m->wants.v[i]);
}

void kv_msg_encode(const struct kv_msg *m, struct buf *out)
{
    buf_u8(out, KV_MSG_VERSION);
    buf_u8(out, (uint8_t)m->type);
    buf_lstr(out, m->sender_addr);
    if (m->type == KV_MSG_SUMS)
        for (int i = 0; i < KV_BUCKETS; i++)
            buf_u64(out, m->sums[i]);
    else if (m->type == KV_MSG_KEYS)
        keys_encode(m, out);
    else
        entries_encode(m, out);
}

/* --- reading --- */

static bool read_count(struct rd *r, size_t item_bytes, uint64_t *ret)
{
    *ret = rd_uvarint(r);
    return rd_ok(r) && *ret <= rd_left(r) / item_bytes;
}

int kv_entry_decode(struct rd *r, struct ring_kv_entry *ret, struct err *err)
{
    struct ring_kv_entry e = {0};
    uint8_t flags;

    e.key        = rd_lstr(r);
    e.version    = rd_uvarint(r);
    flags        = rd_u8(r);
    e.expires_ms = rd_svarint(r);
    e.value      = rd_lstr(r);
    CORRUPT_UNLESS(rd_ok(r) && flags <= 1, err);
    e.deleted = flags;
    CORRUPT_UNLESS(ring_kv_check(&e, NULL) == 0, err);
    *ret = e;
    return 0;
}

static int keys_decode(struct rd *r, struct kv_msg *m, struct err *err)
{
    uint64_t n;

    CORRUPT_UNLESS(read_count(r, 1, &n) && n <= KV_BUCKETS, err);
    for (uint64_t i = 0; i < n; i++) {
        uint8_t b = rd_u8(r);

        CORRUPT_UNLESS(i == 0 || b > m->buckets.v[i - 1], err);
        *(uint8_t *)vec_push(&m->buckets) = b;
    }
    CORRUPT_UNLESS(read_count(r, 17, &n), err);
    for (uint64_t i = 0; i < n; i++) {
        struct kv_item *item = vec_push(&m->items);

        item->key_hash = rd_u64(r);
        item->version  = rd_uvarint(r);
        item->mark     = rd_u64(r);
        CORRUPT_UNLESS(rd_ok(r), err);
    }
    return 0;
}

static int entries_decode(struct rd *r, struct kv_msg *m, struct err *err)
{
    uint64_t n;
    int rc = 0;

    CORRUPT_UNLESS(read_count(r, 5, &n), err);
    for (uint64_t i = 0; i < n && rc == 0; i++)
        rc = kv_entry_decode(r, vec_push(&m->entries), err);
    if (rc < 0 || m->type != KV_MSG_DELTA)
        return rc;
    CORRUPT_UNLESS(read_count(r, 8, &n), err);
    for (uint64_t i = 0; i < n; i++)
        *(uint64_t *)vec_push(&m->wants) = rd_u64(r);
    return 0;
}

static int read_all(struct str payload, struct kv_msg *m, struct err *err)
{
    struct rd r = rd_of(payload);
    uint8_t version, type;
    int rc = 0;

    if (payload.n > KV_MSG_BYTES_MAX)
        return err_set(err, RC_LIMIT, "shared state: a message of %zu bytes", payload.n);
    version = rd_u8(&r);
    type    = rd_u8(&r);
    CORRUPT_UNLESS(rd_ok(&r), err);
    if (version < KV_MSG_VERSION_MIN || version > KV_MSG_VERSION)
        return err_set(err, RC_VERSION, "shared state: a message of version %u, this binary reads %d to %d", version, KV_MSG_VERSION_MIN,
                       KV_MSG_VERSION);
    CORRUPT_UNLESS(type >= KV_MSG_SUMS && type < KV_MSG_TYPES, err);
    m->type        = (enum kv_msg_type)type;
    m->sender_addr = rd_lstr(&r);
    CORRUPT_UNLESS(rd_ok(&r) && m->sender_addr.n > 0 && m->sender_addr.n <= KV_ADDR_MAX, err);
    if (type == KV_MSG_SUMS)
        for (int i = 0; i < KV_BUCKETS; i++)
            m->sums[i] = rd_u64(&r);
    else
        rc = type == KV_MSG_KEYS ? keys_decode(&r, m, err) : entries_decode(&r, m, err);
    if (rc == 0)
        CORRUPT_UNLESS(rd_done(&r), err);
    return rc;
}

int kv_msg_decode(struct str payload, struct kv_msg *ret, struct err *err)
{
    struct kv_msg m = {0};
    int rc          = read_all(payload, &m, err);

    if (rc < 0) {
        kv_msg_fini(&m);
        return rc;
    }
    *ret = m;
    return 0;
}
