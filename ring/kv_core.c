#include "ring/kv_core.h"

#include "common/base/rng.h"

#include <stdio.h>
#include <stdlib.h>
#include <uthash.h>
#include <utlist.h>

enum { SYNC_PERIODS = 5, FRESH_PERIODS = 3 };

struct node {
    UT_hash_handle hh;
    struct ring_kv_entry e; /* key and value point into bytes of the node's own */
    uint64_t key_hash;
    int tell;               /* this many more peers hear of it */
    struct node *prev, *next; /* among the news */
};

struct kv_core {
    struct kv_core_env env;
    char addr[KV_ADDR_MAX + 1];
    int64_t period_ms;
    size_t entries_max, bytes_max, bytes;
    struct rng rng;
    struct node *nodes;  /* by key */
    struct node *news;   /* in order of telling */
    size_t news_n;
    uint64_t sums[KV_BUCKETS];
    int64_t started_ms, next_news_ms, next_sync_ms;
    struct kv_core_stats stats;
};

static int64_t now_of(const struct kv_core *c)
{
    return c->env.now_ms(c->env.self);
}

/* --- table --- */

static struct node *find(const struct kv_core *c, struct str key)
{
    struct node *n;

    HASH_FIND(hh, c->nodes, key.p, key.n, n);
    return n;
}

static bool in_news(const struct node *n)
{
    return n->tell > 0;
}

static void node_count(struct kv_core *c, const struct node *n, bool there)
{
    uint64_t mark = kv_mark(&n->e);
    size_t size   = n->e.key.n + n->e.value.n;

    c->sums[kv_bucket(n->key_hash)] += there ? mark : 0 - mark;
    c->bytes = there ? c->bytes + size : c->bytes - size;
}

static void news_remove(struct kv_core *c, struct node *n)
{
    DL_DELETE(c->news, n);
    c->news_n--;
}

static void news_append(struct kv_core *c, struct node *n)
{
    DL_APPEND(c->news, n);
    c->news_n++;
}

static void node_drop(struct kv_core *c, struct node *n)
{
    node_count(c, n, false);
    HASH_DEL(c->nodes, n);
    if (in_news(n))
        news_remove(c, n);
    free((char *)n->e.key.p);
    free((char *)n->e.value.p);
    free(n);
}

static bool expired(const struct kv_core *c, const struct ring_kv_entry *e)
{
    return e->deleted && c->env.wall_ms(c->env.self) > e->expires_ms;
}

static unsigned log2_up(size_t n)
{
    unsigned bits = 0;

    for (; n > 0; n >>= 1)
        bits++;
    return bits;
}

static void tell(struct kv_core *c, struct node *n)
{
    const char *const *peers;
    size_t count = c->env.peers(c->env.self, &peers);

    if (in_news(n))
        news_remove(c, n);
    n->tell = KV_FANOUT * (int)(log2_up(count) + 1);
    news_append(c, n);
    /* The round that is due, or the next: never sooner, so that changes travel together. */
}

static bool fits(const struct kv_core *c, const struct node *n, const struct ring_kv_entry *e)
{
    size_t before = n ? n->e.value.n : 0, more = n ? 0 : e->key.n;

    return c->bytes - before + more + e->value.n <= c->bytes_max && (n || HASH_COUNT(c->nodes) < c->entries_max);
}

/* e is greater than n, which may be NULL, and fits. */
static struct node *node_set(struct kv_core *c, struct node *n, const struct ring_kv_entry *e)
{
    char *value = xmemdup(e->value.p, e->value.n);

    if (n) {
        node_count(c, n, false);
        free((char *)n->e.value.p);
    } else {
        n           = xcalloc(1, sizeof *n);
        n->e.key    = str_n(xmemdup(e->key.p, e->key.n), e->key.n);
        n->key_hash = kv_key_hash(e->key);
        HASH_ADD_KEYPTR(hh, c->nodes, n->e.key.p, n->e.key.n, n);
    }
    n->e.value      = str_n(value, e->value.n);
    n->e.version    = e->version;
    n->e.deleted    = e->deleted;
    n->e.expires_ms = e->expires_ms;
    node_count(c, n, true);
    return n;
}

bool kv_core_merge(struct kv_core *c, const struct ring_kv_entry *e, bool quiet)
{
    struct node *n = find(c, e->key);

    if ((n && ring_kv_cmp(e, &n->e) <= 0) || (!n && expired(c, e)))
        return false;
    if (!fits(c, n, e)) {
        c->stats.full++;
        return false;
    }
    n = node_set(c, n, e);
    if (!quiet)
        tell(c, n);
    c->env.changed(c->env.self, &n->e);
    return true;
}

static uint64_t standing(const struct node *n)
{
    return n ? n->e.version : 0;
}

int kv_core_put(struct kv_core *c, uint64_t if_version, const struct ring_kv_entry *e, struct err *err)
{
    struct ring_kv_entry new = *e;
    struct node *n           = find(c, e->key);
    int rc;

    if (new.deleted)
        new.expires_ms = c->env.wall_ms(c->env.self) + RING_KV_TOMBSTONE_MS;
    rc = ring_kv_check(&new, err);
    if (rc < 0)
        return rc;
    if (if_version != RING_KV_ANY && if_version != (n && n->e.deleted ? 0 : standing(n)))
        return err_set(err, RC_EXISTS, "shared state: \"%.*s\" stands at version %llu, not at %llu", (int)MIN(e->key.n, (size_t)80), e->key.p,
                       (unsigned long long)standing(n), (unsigned long long)if_version);
    if (n && ring_kv_cmp(&new, &n->e) == 0)
        return 0;
    if (n && ring_kv_cmp(&new, &n->e) < 0)
        return err_set(err, RC_EXISTS, "shared state: \"%.*s\" stands at version %llu with a greater value", (int)MIN(e->key.n, (size_t)80),
                       e->key.p, (unsigned long long)standing(n));
    if (!fits(c, n, &new))
        return err_set(err, RC_LIMIT, "shared state: full, %u entries of %zu bytes", HASH_COUNT(c->nodes), c->bytes);
    kv_core_merge(c, &new, false);
    return 0;
}

/* --- messages --- */

static struct kv_msg msg_of(const struct kv_core *c, enum kv_msg_type type)
{
    return (struct kv_msg){.type = type, .sender_addr = str_of(c->addr)};
}

/* Sends and frees m. */
static void send_msg(struct kv_core *c, const char *addr, struct kv_msg *m)
{
    struct buf b;

    buf_init(&b, KV_MSG_BYTES_MAX);
    kv_msg_encode(m, &b);
    kv_msg_fini(m);
    if (buf_ok(&b)) { /* lists end long before */
        c->stats.sent++;
        c->stats.sent_bytes += b.n;
        c->env.send(c->env.self, addr, buf_view(&b));
    }
    buf_fini(&b);
}

static void send_sums(struct kv_core *c, const char *addr)
{
    struct kv_msg m = msg_of(c, KV_MSG_SUMS);

    memcpy(m.sums, c->sums, sizeof m.sums);
    send_msg(c, addr, &m);
}

static void add_entry(struct kv_msg *m, const struct node *n, size_t *bytes)
{
    *(struct ring_kv_entry *)vec_push(&m->entries) = n->e;
    *bytes += kv_entry_bytes(&n->e);
}

/* Whole buckets that differ, from a random one on, so that in time all have their turn. */
static size_t choose_buckets(struct kv_core *c, const struct kv_msg *in, bool chosen[KV_BUCKETS])
{
    size_t of_bucket[KV_BUCKETS] = {0}, items = 0, first = rng_below(&c->rng, KV_BUCKETS), n = 0;
    const size_t items_max = KV_MSG_BYTES / 20;
    struct node *x, *tmp;

    HASH_ITER(hh, c->nodes, x, tmp)
        of_bucket[kv_bucket(x->key_hash)]++;
    for (size_t i = 0; i < KV_BUCKETS; i++) {
        size_t b = (first + i) % KV_BUCKETS;

        if (in->sums[b] == c->sums[b] || (n && items + of_bucket[b] > items_max))
            continue;
        chosen[b] = true;
        items += of_bucket[b];
        n++;
    }
    return n;
}

static void answer_sums(struct kv_core *c, const struct kv_msg *in, const char *addr)
{
    bool chosen[KV_BUCKETS] = {false};
    struct kv_msg m         = msg_of(c, KV_MSG_KEYS);
    struct node *n, *tmp;

    if (choose_buckets(c, in, chosen) == 0)
        return;
    for (int b = 0; b < KV_BUCKETS; b++)
        if (chosen[b])
            *(uint8_t *)vec_push(&m.buckets) = (uint8_t)b;
    HASH_ITER(hh, c->nodes, n, tmp)
        if (chosen[kv_bucket(n->key_hash)])
            *(struct kv_item *)vec_push(&m.items) = (struct kv_item){n->key_hash, n->e.version, kv_mark(&n->e)};
    send_msg(c, addr, &m);
}

static int item_cmp(const void *a, const void *b)
{
    uint64_t x = ((const struct kv_item *)a)->key_hash, y = ((const struct kv_item *)b)->key_hash;

    return (x > y) - (x < y);
}

static const struct kv_item *item_of(const struct kv_msg *in, uint64_t key_hash)
{
    const struct kv_item key = {.key_hash = key_hash};

    return in->items.n ? bsearch(&key, in->items.v, in->items.n, sizeof key, item_cmp) : NULL;
}

/* Sorts the items. What they have that is greater or missing here is wanted; versions alone do not say who is greater when they are equal: both are sent. */
static void answer_keys(struct kv_core *c, struct kv_msg *in, const char *addr)
{
    bool *known = xcalloc(in->items.n + 1, sizeof *known), asked[KV_BUCKETS] = {false};
    struct kv_msg m = msg_of(c, KV_MSG_DELTA);
    size_t bytes    = 0;
    struct node *n, *tmp;

    if (in->items.n)
        qsort(in->items.v, in->items.n, sizeof *in->items.v, item_cmp);
    for (size_t i = 0; i < in->buckets.n; i++)
        asked[in->buckets.v[i]] = true;
    HASH_ITER(hh, c->nodes, n, tmp) {
        const struct kv_item *item = item_of(in, n->key_hash);

        if (item)
            known[item - in->items.v] = item->version < n->e.version || item->mark == kv_mark(&n->e);
        if (asked[kv_bucket(n->key_hash)] && bytes < KV_MSG_BYTES &&
            (!item || item->version < n->e.version || (item->version == n->e.version && item->mark != kv_mark(&n->e))))
            add_entry(&m, n, &bytes);
    }
    for (size_t i = 0; i < in->items.n; i++)
        if (!known[i])
            *(uint64_t *)vec_push(&m.wants) = in->items.v[i].key_hash;
    free(known);
    send_msg(c, addr, &m);
}

static int u64_cmp(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

/* Answers wants; while the exchange moved something, it goes on. */
static void answer_delta(struct kv_core *c, struct kv_msg *in, const char *addr, bool moved)
{
    struct kv_msg m = msg_of(c, KV_MSG_NEWS);
    size_t bytes    = 0;
    struct node *n, *tmp;

    if (in->wants.n)
        qsort(in->wants.v, in->wants.n, sizeof *in->wants.v, u64_cmp);
    HASH_ITER(hh, c->nodes, n, tmp) {
        if (!in->wants.n || bytes >= KV_MSG_BYTES)
            break;
        if (bsearch(&n->key_hash, in->wants.v, in->wants.n, sizeof n->key_hash, u64_cmp))
            add_entry(&m, n, &bytes);
    }
    moved = moved || m.entries.n > 0;
    if (m.entries.n)
        send_msg(c, addr, &m);
    else
        kv_msg_fini(&m);
    if (moved)
        send_sums(c, addr);
}

static bool hear_entries(struct kv_core *c, const struct kv_msg *in)
{
    bool moved = false;

    for (size_t i = 0; i < in->entries.n; i++)
        moved = kv_core_merge(c, &in->entries.v[i], false) || moved;
    return moved;
}

int kv_core_receive(struct kv_core *c, struct str msg, struct err *err)
{
    char addr[KV_ADDR_MAX + 1];
    struct kv_msg in;
    bool moved;
    int rc = kv_msg_decode(msg, &in, err);

    c->stats.received++;
    if (rc < 0) {
        c->stats.malformed++;
        return rc;
    }
    snprintf(addr, sizeof addr, "%.*s", STR_FMT(in.sender_addr));
    moved = hear_entries(c, &in);
    if (strcmp(addr, c->addr) == 0)
        moved = false; /* nothing to say to oneself */
    else if (in.type == KV_MSG_SUMS)
        answer_sums(c, &in, addr);
    else if (in.type == KV_MSG_KEYS)
        answer_keys(c, &in, addr);
    else if (in.type == KV_MSG_DELTA)
        answer_delta(c, &in, addr, moved);
    kv_msg_fini(&in);
    return 0;
}

/* --- time --- */

static size_t pick(struct kv_core *c, const char *ret[KV_FANOUT])
{
    const char *const *peers;
    size_t count = c->env.peers(c->env.self, &peers), n = 0;

    for (size_t i = 0; i < count; i++) { /* reservoir sampling */
        size_t at = n < KV_FANOUT ? n++ : rng_below(&c->rng, i + 1);

        if (at < KV_FANOUT)
            ret[at] = peers[i];
    }
    return n;
}

/* The next message of news, the same for all who are told; *left: so many have not had their turn in this round. */
static void take_news(struct kv_core *c, size_t told, size_t *left, struct buf *out)
{
    struct kv_msg m = msg_of(c, KV_MSG_NEWS);
    size_t bytes    = 0;

    for (; *left > 0 && bytes < KV_MSG_BYTES; --*left) {
        struct node *n = c->news;

        news_remove(c, n);
        add_entry(&m, n, &bytes);
        n->tell = MAX(n->tell - (int)told, 0);
        if (in_news(n))
            news_append(c, n);
    }
    kv_msg_encode(&m, out);
    kv_msg_fini(&m);
}

static void step_news(struct kv_core *c, int64_t now)
{
    size_t left = c->news_n, n;
    const char *to[KV_FANOUT];
    struct buf b;

    if (now < c->next_news_ms || left == 0)
        return;
    n = pick(c, to);
    c->next_news_ms = now + c->period_ms / 5;
    buf_init(&b, KV_MSG_BYTES_MAX);
    for (int i = 0; n > 0 && left > 0 && i < KV_BURST; i++) {
        buf_clear(&b);
        take_news(c, n, &left, &b);
        for (size_t k = 0; k < n && buf_ok(&b); k++) {
            c->stats.sent++;
            c->stats.sent_bytes += b.n;
            c->env.send(c->env.self, to[k], buf_view(&b));
        }
    }
    buf_fini(&b);
}

static void step_sync(struct kv_core *c, int64_t now)
{
    bool fresh = now < c->started_ms + FRESH_PERIODS * c->period_ms;
    int64_t step = fresh ? c->period_ms / 2 : SYNC_PERIODS * c->period_ms;
    const char *to[KV_FANOUT];
    struct node *n, *tmp;

    if (now < c->next_sync_ms)
        return;
    if (pick(c, to) > 0)
        send_sums(c, to[0]);
    else
        step = c->period_ms; /* alone */
    c->next_sync_ms = now + step + (int64_t)rng_below(&c->rng, (uint64_t)step / 4 + 1);
    HASH_ITER(hh, c->nodes, n, tmp)
        if (expired(c, &n->e))
            node_drop(c, n);
}

int64_t kv_core_tick(struct kv_core *c)
{
    int64_t now = now_of(c), next;

    step_news(c, now);
    step_sync(c, now);
    next = c->news ? MIN(c->next_news_ms, c->next_sync_ms) : c->next_sync_ms;
    return MAX(next, now + 1);
}

/* --- life, looking --- */

struct kv_core *kv_core_new(const struct kv_core_cfg *cfg, const struct kv_core_env *env)
{
    struct kv_core *c = xcalloc(1, sizeof *c);

    c->env         = *env;
    c->period_ms   = cfg->period_ms ? cfg->period_ms : KV_PERIOD_MS;
    c->entries_max = cfg->entries_max ? cfg->entries_max : RING_KV_ENTRIES_MAX;
    c->bytes_max   = cfg->bytes_max ? cfg->bytes_max : RING_KV_BYTES_MAX;
    ASSERT(cfg->addr && strlen(cfg->addr) <= KV_ADDR_MAX);
    snprintf(c->addr, sizeof c->addr, "%s", cfg->addr);
    rng_init(&c->rng, env->random_seed);
    c->started_ms = c->next_news_ms = c->next_sync_ms = now_of(c);
    return c;
}

void kv_core_free(struct kv_core *c)
{
    struct node *n, *tmp;

    if (!c)
        return;
    HASH_ITER(hh, c->nodes, n, tmp)
        node_drop(c, n);
    free(c);
}

const struct ring_kv_entry *kv_core_get(const struct kv_core *c, struct str key)
{
    const struct node *n = find(c, key);

    return n && !n->e.deleted ? &n->e : NULL;
}

void kv_core_each(const struct kv_core *c, ring_kv_fn *fn, void *arg)
{
    struct node *n, *tmp;

    HASH_ITER(hh, c->nodes, n, tmp)
        fn(arg, &n->e);
}

size_t kv_core_count(const struct kv_core *c)
{
    return HASH_COUNT(c->nodes);
}

size_t kv_core_bytes(const struct kv_core *c)
{
    return c->bytes;
}

uint64_t kv_core_digest(const struct kv_core *c)
{
    return hash64(c->sums, sizeof c->sums, 0);
}

struct kv_core_stats kv_core_stats(const struct kv_core *c)
{
    return c->stats;
}
