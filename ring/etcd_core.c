#include "ring/etcd_core.h"

#include "common/base/rng.h"

#include <stdio.h>
#include <stdlib.h>

enum { RECORD_VERSION = 1, RECORD_BYTES_MAX = 64 << 10, TTL_PARTS = 3, KEY_BYTES_MAX = ETCD_PREFIX_MAX + 16 + RING_ID_MAX };

enum op { OP_NONE, OP_AUTHENTICATE, OP_GRANT, OP_RENEW, OP_READ, OP_LIVE, OP_RECORD, OP_DROP, OP_CHECK, OP_REVOKE };

/* What etcd has of one member, as far as is known. */
struct known {
    char id[RING_ID_MAX + 1];
    uint64_t mod;         /* the record's last change, 0: there is none */
    struct member record; /* without its tokens: what orders it */
    uint64_t lease;       /* of the live key, 0: there is none */
    int64_t absent_ms;    /* since when the live key is missed while etcd answers, 0: it is not */
};

struct etcd_core {
    struct ring_core *table; /* borrowed */
    char *prefix, *user, *password;
    int64_t ttl_ms;
    struct rng rng;
    VEC(struct known) known; /* by id */
    char *token;             /* NULL: none */
    uint64_t lease;          /* 0: none */
    int64_t asked_ms;   /* when the request that is under way was made */
    int64_t renewed_ms; /* when the renewal that succeeded last was asked for: etcd's own count of the TTL began later */
    bool live_put; /* under this lease */
    bool synced, watching, watch_unwanted, mismatch, revoked;
    uint64_t revision; /* of the read */
    int64_t check_ms, pause_ms;
    int64_t retry_ms, self_ms, live_ms, others_ms; /* not before these: any request, own record, own live key, others' records */
    int64_t conflict_until_ms;
    enum op op; /* under way */
    char op_id[RING_ID_MAX + 1];
    struct member op_record; /* without tokens */
    struct etcd_stats stats;
};

/* --- what is known of etcd --- */

static size_t place_of(const struct etcd_core *e, struct str id)
{
    size_t lo = 0, hi = e->known.n;

    while (lo < hi) {
        size_t mid = (lo + hi) / 2;

        if (str_cmp(str_of(e->known.v[mid].id), id) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static struct known *known_find(const struct etcd_core *e, struct str id)
{
    size_t at = place_of(e, id);

    return at < e->known.n && str_eqz(id, e->known.v[at].id) ? &e->known.v[at] : NULL;
}

/* NULL: no name of a member, or too many. */
static struct known *known_get(struct etcd_core *e, struct str id)
{
    size_t at       = place_of(e, id);
    struct known *k = known_find(e, id);

    if (k || id.n == 0 || id.n > RING_ID_MAX || e->known.n >= RING_MEMBERS_MAX)
        return k;
    vec_push(&e->known);
    memmove(&e->known.v[at + 1], &e->known.v[at], (e->known.n - 1 - at) * sizeof *e->known.v);
    k = &e->known.v[at];
    *k = (struct known){0};
    memcpy(k->id, id.p, id.n);
    return k;
}

static struct member order_of(const struct member *m)
{
    struct member bare = *m;

    bare.tokens   = NULL;
    bare.tokens_n = 0;
    return bare;
}

static const char *self_id(const struct etcd_core *e)
{
    return ring_core_self(e->table)->id;
}

static bool leaving(const struct etcd_core *e)
{
    return ring_core_self(e->table)->state == RING_LEFT;
}

/* --- keys and values --- */

struct key {
    char text[KEY_BYTES_MAX + 1];
};

static struct str key_of(const struct etcd_core *e, const char *kind, const char *id, struct key *buf)
{
    int n = snprintf(buf->text, sizeof buf->text, "%s%s/%s", e->prefix, kind, id);

    ASSERT(n > 0 && (size_t)n < sizeof buf->text);
    return str_n(buf->text, (size_t)n);
}

/* The rest of key behind prefix and kind. */
static bool key_is(const struct etcd_core *e, struct str key, const char *kind, struct str *ret_id)
{
    size_t prefix = strlen(e->prefix), n = strlen(kind);

    if (!str_has_prefix(key, str_of(e->prefix)) || !str_has_prefix(str_skip(key, prefix), str_n(kind, n)))
        return false;
    key = str_skip(key, prefix + n);
    if (key.n < 2 || key.p[0] != '/')
        return false;
    *ret_id = str_skip(key, 1);
    return true;
}

/* Health is the live key's business, not the record's. */
static void record_put(const struct member *m, struct buf *out)
{
    struct member copy = *m;

    copy.health = m->state == RING_LEFT ? RING_DEAD : RING_ALIVE;
    buf_u8(out, RECORD_VERSION);
    member_encode(&copy, out);
}

static int record_get(struct str value, struct str id, struct member *ret, struct err *err)
{
    struct rd r     = rd_of(value);
    uint8_t version = rd_u8(&r);
    struct member m;
    int rc;

    CORRUPT_UNLESS(rd_ok(&r), err);
    if (version != RECORD_VERSION)
        return err_set(err, RC_VERSION, "record of version %u, this binary reads %d", version, RECORD_VERSION);
    rc = member_decode(&r, &m, err);
    if (rc < 0)
        return rc;
    if (!rd_done(&r) || !str_eqz(id, m.id)) {
        member_fini(&m);
        return err_set(err, RC_CORRUPT, "the record is not that of its key, or has bytes behind it");
    }
    *ret = m;
    return 0;
}

/* --- what etcd says --- */

static void fail(struct etcd_core *e, const char *why)
{
    e->stats.failures++;
    snprintf(e->stats.failure, sizeof e->stats.failure, "%s", why);
}

static void hear_record(struct etcd_core *e, struct known *k, const struct etcd_kv *kv)
{
    struct err err = {0};
    struct member m;
    char text[ETCD_MESSAGE_BYTES_MAX];

    if (kv->mod_revision < k->mod)
        return; /* the watch has yet to see what an answer has told */
    k->mod    = kv->mod_revision;
    k->record = (struct member){0}; /* anything is later than what cannot be read */
    if (record_get(kv->value, str_of(k->id), &m, &err) < 0) {
        e->stats.malformed++;
        snprintf(text, sizeof text, "key of member %s: %.128s", k->id, err_text(&err));
        fail(e, text);
        return;
    }
    k->record = order_of(&m);
    ring_core_hear(e->table, &m);
    if (k->lease)
        ring_core_set_alive(e->table, k->id, true);
}

/* Somebody else with this member's name, at another address. */
static void look_for_conflict(struct etcd_core *e, const struct etcd_kv *kv, int64_t now)
{
    if (kv->lease == e->lease || !e->live_put || str_eqz(kv->value, ring_core_self(e->table)->addr))
        return;
    e->stats.conflicts++;
    e->live_ms = e->self_ms = now + e->ttl_ms; /* two that displace each other shall do so slowly */
    e->conflict_until_ms    = now + 2 * e->ttl_ms;
    fail(e, "another process uses this member's id");
}

static void hear_live(struct etcd_core *e, struct known *k, const struct etcd_kv *kv, int64_t now)
{
    k->lease     = kv->lease;
    k->absent_ms = 0;
    if (strcmp(k->id, self_id(e)) == 0)
        look_for_conflict(e, kv, now);
    else
        ring_core_set_alive(e->table, k->id, true);
}

static bool live_is_told(const struct etcd_core *e)
{
    const struct known *k = known_find(e, str_of(self_id(e)));

    return k && k->lease == e->lease;
}

/* Whoever could not keep its own lease says nothing of others that could not. */
static bool may_judge(const struct etcd_core *e, int64_t now)
{
    return e->synced && e->lease && live_is_told(e) && now < e->renewed_ms + e->ttl_ms;
}

static void hear_kv(struct etcd_core *e, const struct etcd_kv *kv, int64_t now)
{
    struct known *k;
    struct str id;

    if (key_is(e, kv->key, "members", &id) && (k = known_get(e, id))) {
        if (!kv->deleted)
            hear_record(e, k, kv);
        else if (kv->mod_revision >= k->mod)
            k->mod = 0;
    } else if (key_is(e, kv->key, "live", &id) && (k = known_get(e, id))) {
        if (!kv->deleted) {
            hear_live(e, k, kv, now);
        } else {
            k->lease     = 0;
            k->absent_ms = now;
            if (may_judge(e, now))
                ring_core_set_alive(e->table, k->id, false); /* its lease ended */
        }
    }
}

/* Etcd's answer to a read of everything: what it does not have has gone. Revisions may have begun anew. */
static void on_read(struct etcd_core *e, const struct etcd_answer *a, int64_t now)
{
    vec_clear(&e->known);
    for (size_t i = 0; i < a->kvs.n; i++)
        hear_kv(e, &a->kvs.v[i], now);
    ring_core_synced(e->table); /* before this member's record is told */
    e->stats.reads++;
    e->stats.synced = e->synced = true;
    e->stats.synced_ms = now;
    e->mismatch        = false;
    e->revision        = a->revision;
    e->check_ms        = now + e->ttl_ms / TTL_PARTS;
    e->others_ms       = now + ETCD_OTHERS_MS + (int64_t)rng_below(&e->rng, ETCD_OTHERS_MS);
}

static void unsync(struct etcd_core *e)
{
    e->stats.synced = e->synced = false;
    e->watch_unwanted = e->watching;
    for (size_t i = 0; i < e->known.n; i++)
        e->known.v[i].absent_ms = 0;
}

static bool as_known(const struct etcd_core *e, const struct etcd_kv *kv)
{
    const struct known *k;
    struct str id;

    if (key_is(e, kv->key, "members", &id))
        return (k = known_find(e, id)) && k->mod >= kv->mod_revision;
    if (key_is(e, kv->key, "live", &id))
        return (k = known_find(e, id)) && k->lease == kv->lease;
    return true;
}

/* The keys without their values, for comparison with what the watch has told. One difference may be on its way. */
static void on_check(struct etcd_core *e, const struct etcd_answer *a, int64_t now)
{
    bool same = true;
    size_t live = 0, expected = 0;

    for (size_t i = 0; i < a->kvs.n; i++) {
        struct str id;

        same = same && as_known(e, &a->kvs.v[i]);
        if (!key_is(e, a->kvs.v[i].key, "live", &id))
            continue;
        live++;
        if (known_find(e, id) && known_find(e, id)->lease)
            ring_core_set_alive(e->table, known_find(e, id)->id, true);
    }
    for (size_t i = 0; i < e->known.n; i++)
        expected += e->known.v[i].lease != 0;
    same               = same && live == expected;
    e->stats.synced_ms = now;
    e->check_ms        = now + e->ttl_ms / TTL_PARTS;
    if (!same && e->mismatch)
        unsync(e);
    e->mismatch = !same;
}

static void on_swapped(struct etcd_core *e, const struct etcd_answer *a, int64_t now)
{
    struct known *k = known_get(e, str_of(e->op_id));

    if (!k)
        return;
    if (a->succeeded && a->revision > k->mod) { /* else the watch was quicker, with a later record */
        k->mod    = e->op == OP_RECORD ? a->revision : 0;
        k->record = e->op_record;
    }
    if (a->succeeded)
        return;
    k->mod = 0; /* unless the answer says what is there */
    for (size_t i = 0; i < a->kvs.n; i++)
        hear_kv(e, &a->kvs.v[i], now);
    e->retry_ms = now + 10 + (int64_t)rng_below(&e->rng, 40);
}

static void on_lease(struct etcd_core *e, const struct etcd_answer *a)
{
    e->lease      = a->ttl_s > 0 ? a->lease : 0;
    e->live_put   = e->live_put && e->op == OP_RENEW && e->lease;
    e->renewed_ms = e->asked_ms;
}

static void set_token(struct etcd_core *e, struct str token)
{
    free(e->token);
    e->token = token.n ? str_dupz(token) : NULL;
}

static void on_answer(struct etcd_core *e, const struct etcd_answer *a, int64_t now)
{
    struct known *k;

    switch (e->op) {
    case OP_AUTHENTICATE:
        set_token(e, a->token);
        break;
    case OP_GRANT:
    case OP_RENEW:
        on_lease(e, a);
        break;
    case OP_READ:
        on_read(e, a, now);
        break;
    case OP_CHECK:
        on_check(e, a, now);
        break;
    case OP_LIVE:
        e->live_put = true;
        if ((k = known_get(e, str_of(self_id(e)))))
            k->lease = e->lease;
        break;
    case OP_RECORD:
    case OP_DROP:
        on_swapped(e, a, now);
        break;
    case OP_REVOKE:
        e->revoked = true;
        break;
    case OP_NONE:
        break;
    }
}

/* Waits before the next try, longer each time, and reads everything again then. */
static void retreat(struct etcd_core *e, const char *why, int64_t now)
{
    fail(e, why);
    e->pause_ms = MIN(e->pause_ms ? 2 * e->pause_ms : ETCD_RETRY_MS, ETCD_RETRY_MAX_MS);
    e->retry_ms = now + e->pause_ms / 2 + (int64_t)rng_below(&e->rng, (uint64_t)e->pause_ms / 2 + 1);
    unsync(e);
}

static void on_refusal(struct etcd_core *e, const struct etcd_answer *a, int64_t now)
{
    char text[ETCD_MESSAGE_BYTES_MAX];

    if (a->code == ETCD_NOT_FOUND && e->op != OP_AUTHENTICATE) { /* of these requests it speaks of the lease */
        e->lease   = 0;
        e->revoked = e->revoked || e->op == OP_REVOKE;
        return;
    }
    if (a->code == ETCD_UNAUTHENTICATED || strstr(a->message, "invalid auth token"))
        set_token(e, (struct str){0});
    snprintf(text, sizeof text, "etcd refuses: %.200s", a->message);
    retreat(e, text, now);
}

void etcd_core_answer(struct etcd_core *e, int64_t now_ms, int rc, struct str body, const char *why)
{
    struct err err = {0};
    struct etcd_answer a;

    ASSERT(e->op != OP_NONE);
    if (rc == 0 && e->op == OP_REVOKE && body.n == 0)
        body = STR("{}");
    if (rc == 0 && (rc = etcd_answer_decode(body, &a, &err)) < 0) {
        e->stats.malformed++;
        why = err_text(&err);
    }
    if (rc < 0) {
        retreat(e, why, now_ms);
    } else if (a.code) {
        on_refusal(e, &a, now_ms);
        etcd_answer_fini(&a);
    } else {
        e->pause_ms = 0;
        on_answer(e, &a, now_ms);
        etcd_answer_fini(&a);
    }
    e->op = OP_NONE;
}

/* --- the watch --- */

bool etcd_core_watch(struct etcd_core *e, struct etcd_request *ret)
{
    if (!e->synced || e->watching || leaving(e))
        return false;
    e->watching       = true;
    e->watch_unwanted = false;
    *ret              = (struct etcd_request){.path = "/v3/watch", .token = e->token};
    buf_init(&ret->body, 4 * KEY_BYTES_MAX + 256);
    etcd_put_watch(&ret->body, str_of(e->prefix), e->revision + 1);
    return true;
}

void etcd_core_watch_line(struct etcd_core *e, int64_t now_ms, struct str line)
{
    struct err err = {0};
    struct etcd_answer a;

    ASSERT(e->watching);
    if (line.n == 0 || e->watch_unwanted)
        return;
    if (etcd_answer_decode(line, &a, &err) < 0) {
        e->stats.malformed++;
        retreat(e, err_text(&err), now_ms);
        return;
    }
    if (a.code || a.canceled)
        retreat(e, a.message[0] ? a.message : "etcd ended the watch", now_ms);
    else
        e->stats.synced_ms = now_ms;
    for (size_t i = 0; !e->watch_unwanted && i < a.kvs.n; i++)
        hear_kv(e, &a.kvs.v[i], now_ms);
    etcd_answer_fini(&a);
}

void etcd_core_watch_ended(struct etcd_core *e, int64_t now_ms, const char *why)
{
    ASSERT(e->watching);
    e->watching = false;
    if (e->synced)
        retreat(e, why, now_ms);
}

bool etcd_core_watch_unwanted(struct etcd_core *e)
{
    bool unwanted = e->watching && e->watch_unwanted;

    if (unwanted)
        e->watching = e->watch_unwanted = false;
    return unwanted;
}

/* --- what to ask next --- */

static void begin(struct etcd_core *e, enum op op, const char *path, struct etcd_request *ret)
{
    e->op = op;
    e->stats.requests++;
    *ret = (struct etcd_request){.path = path, .token = op == OP_AUTHENTICATE ? NULL : e->token};
    buf_init(&ret->body, 2 * RECORD_BYTES_MAX + 8 * KEY_BYTES_MAX);
}

/* Etcd lacks this record, or has an earlier one. */
static bool to_be_told(const struct etcd_core *e, const struct member *m)
{
    const struct known *k = known_find(e, str_of(m->id));

    if (!k || !k->mod)
        return !ring_core_expired(e->table, m);
    return member_cmp_version(m, &k->record) > 0 || m->changes > k->record.changes;
}

static const struct member *next_to_tell(const struct etcd_core *e, int64_t now)
{
    const struct member *self = ring_core_self(e->table);

    if (to_be_told(e, self))
        return now >= e->self_ms ? self : NULL;
    for (size_t i = 0; now >= e->others_ms && i < ring_core_members_n(e->table); i++) {
        if (to_be_told(e, ring_core_member(e->table, i)))
            return ring_core_member(e->table, i);
    }
    return NULL;
}

/* A record of etcd that the table has no use for. */
static const struct known *next_to_drop(const struct etcd_core *e, int64_t now)
{
    for (size_t i = 0; now >= e->others_ms && i < e->known.n; i++) {
        if (e->known.v[i].mod && e->known.v[i].record.id[0] && ring_core_expired(e->table, &e->known.v[i].record))
            return &e->known.v[i];
    }
    return NULL;
}

static void ask_swap(struct etcd_core *e, enum op op, const char *id, const struct member *m, struct etcd_request *ret)
{
    const struct known *k = known_find(e, str_of(id));
    struct buf value;
    struct key key;

    begin(e, op, "/v3/kv/txn", ret);
    snprintf(e->op_id, sizeof e->op_id, "%s", id);
    e->op_record = m ? order_of(m) : (struct member){0};
    buf_init(&value, RECORD_BYTES_MAX);
    if (m)
        record_put(m, &value);
    ASSERT(buf_ok(&value));
    etcd_put_swap(&ret->body, key_of(e, "members", id, &key), k ? k->mod : 0, buf_view(&value));
    buf_fini(&value);
}

static void ask_live(struct etcd_core *e, int64_t now, struct etcd_request *ret)
{
    struct key key;

    begin(e, OP_LIVE, "/v3/kv/put", ret);
    e->live_ms = now + ETCD_RETRY_MS;
    etcd_put_key(&ret->body, key_of(e, "live", self_id(e), &key), str_of(ring_core_self(e->table)->addr), e->lease);
}

/* Of a member that is in the table of etcd. */
static bool ask_about_members(struct etcd_core *e, int64_t now, struct etcd_request *ret)
{
    const struct member *tell = next_to_tell(e, now);
    const struct known *drop;

    if (tell) {
        if (strcmp(tell->id, self_id(e)) == 0)
            e->self_ms = now + (now < e->conflict_until_ms ? e->ttl_ms : ETCD_RETRY_MS);
        ask_swap(e, OP_RECORD, tell->id, tell, ret);
        return true;
    }
    if (!leaving(e) && !live_is_told(e) && now >= e->live_ms) {
        ask_live(e, now, ret);
        return true;
    }
    drop = next_to_drop(e, now);
    if (drop) {
        ask_swap(e, OP_DROP, drop->id, NULL, ret);
        return true;
    }
    return false;
}

static bool ask_lease(struct etcd_core *e, int64_t now, struct etcd_request *ret)
{
    if (e->user[0] && !e->token) {
        begin(e, OP_AUTHENTICATE, "/v3/auth/authenticate", ret);
        etcd_put_authenticate(&ret->body, str_of(e->user), str_of(e->password));
    } else if (!e->lease && !leaving(e)) {
        begin(e, OP_GRANT, "/v3/lease/grant", ret);
        etcd_put_grant(&ret->body, e->ttl_ms / 1000);
    } else if (e->lease && now >= e->renewed_ms + e->ttl_ms / TTL_PARTS) {
        begin(e, OP_RENEW, "/v3/lease/keepalive", ret);
        etcd_put_lease(&ret->body, e->lease);
    } else {
        return false;
    }
    return true;
}

static void ask_range(struct etcd_core *e, enum op op, struct etcd_request *ret)
{
    begin(e, op, "/v3/kv/range", ret);
    etcd_put_range(&ret->body, str_of(e->prefix), op == OP_CHECK);
}

bool etcd_core_next(struct etcd_core *e, int64_t now_ms, struct etcd_request *ret)
{
    if (e->op != OP_NONE || now_ms < e->retry_ms || (leaving(e) && e->revoked))
        return false;
    e->asked_ms = now_ms;
    if (ask_lease(e, now_ms, ret))
        return true;
    if (!e->synced) {
        ask_range(e, OP_READ, ret);
        return true;
    }
    if (ask_about_members(e, now_ms, ret))
        return true;
    if (leaving(e) && etcd_core_told(e)) {
        e->revoked = !e->lease;
        if (e->revoked)
            return false;
        begin(e, OP_REVOKE, "/v3/lease/revoke", ret);
        etcd_put_lease(&ret->body, e->lease);
        return true;
    }
    if (now_ms >= e->check_ms) {
        ask_range(e, OP_CHECK, ret);
        return true;
    }
    return false;
}

/* --- time --- */

/* Members whose live keys are missing although etcd answers. */
static int64_t judge(struct etcd_core *e, int64_t now)
{
    int64_t next = INT64_MAX;

    for (size_t i = 0; i < ring_core_members_n(e->table); i++) {
        const struct member *m = ring_core_member(e->table, i);
        struct known *k        = known_get(e, str_of(m->id));

        if (!k || k->lease || m->state == RING_LEFT || m->health == RING_DEAD || strcmp(m->id, self_id(e)) == 0)
            continue;
        k->absent_ms = k->absent_ms && may_judge(e, now) ? k->absent_ms : now;
        if (now >= k->absent_ms + e->ttl_ms)
            ring_core_set_alive(e->table, m->id, false);
        else
            next = MIN(next, k->absent_ms + e->ttl_ms);
    }
    return next;
}

int64_t etcd_core_tick(struct etcd_core *e, int64_t now_ms)
{
    int64_t next = e->synced ? MIN(judge(e, now_ms), e->check_ms) : now_ms + ETCD_RETRY_MAX_MS;

    if (e->lease)
        next = MIN(next, e->renewed_ms + e->ttl_ms / TTL_PARTS);
    if (e->synced && to_be_told(e, ring_core_self(e->table)))
        next = MIN(next, e->self_ms);
    if (e->synced && !live_is_told(e))
        next = MIN(next, e->live_ms);
    if (e->synced && now_ms < e->others_ms)
        next = MIN(next, e->others_ms);
    return MAX(MAX(next, e->retry_ms), now_ms + 1);
}

bool etcd_core_told(const struct etcd_core *e)
{
    return e->synced && !to_be_told(e, ring_core_self(e->table));
}

const struct etcd_stats *etcd_core_stats(const struct etcd_core *e)
{
    return &e->stats;
}

/* --- life --- */

struct etcd_core *etcd_core_new(const struct etcd_core_cfg *cfg, struct ring_core *table)
{
    struct etcd_core *e = xcalloc(1, sizeof *e);

    ASSERT(cfg->prefix.n > 0 && cfg->prefix.n <= ETCD_PREFIX_MAX && cfg->ttl_ms >= 1000);
    e->table    = table;
    e->prefix   = str_dupz(cfg->prefix);
    e->user     = str_dupz(cfg->user);
    e->password = str_dupz(cfg->password);
    e->ttl_ms   = cfg->ttl_ms / 1000 * 1000;
    rng_init(&e->rng, cfg->random_seed);
    e->retry_ms = e->self_ms = e->live_ms = cfg->now_ms;
    return e;
}

void etcd_core_free(struct etcd_core *e)
{
    if (!e)
        return;
    vec_fini(&e->known);
    free(e->token);
    free(e->prefix);
    free(e->user);
    free(e->password);
    free(e);
}
