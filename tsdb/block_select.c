#include "tsdb/block_read.h"

/* Evaluates matchers on posting lists, then reads the records of the series that are left.
 * A matcher that rejects the empty value needs the label: the result is cut down to the union of the lists whose values match. One that accepts it also takes
 * series without the label: the lists whose values do not match are taken away. */

struct match {
    struct block_reader *reader;
    struct str tenant;
    struct block_cursor postings;
    struct arena *arena; /* budget only: the sets live on the heap */
    size_t charged;
    struct buf key, name;
};

static int match_init(struct match *m, struct block_reader *r, struct str tenant, struct arena *a, struct err *err)
{
    *m = (struct match){.reader = r, .tenant = tenant, .arena = a};
    buf_init(&m->key, BLOCK_KEY_BYTES_MAX);
    buf_init(&m->name, BLOCK_KEY_BYTES_MAX);
    return block_cursor_init(&m->postings, r, BLOCK_POSTINGS, false, err);
}

static void match_fini(struct match *m)
{
    block_cursor_fini(&m->postings);
    arena_uncharge(m->arena, m->charged);
    buf_fini(&m->key);
    buf_fini(&m->name);
}

/* A set never takes more memory than the sum of the encoded lists in it, give or take the 8 kB containers that those grow into. */
static int match_charge(struct match *m, size_t n, struct err *err)
{
    if (!arena_charge(m->arena, n))
        return err_set(err, RC_NOMEM, "postings: memory budget is spent");
    m->charged += n;
    return 0;
}

static int or_payload(struct match *m, struct str payload, roaring_bitmap_t *into, struct err *err)
{
    int rc = match_charge(m, payload.n, err);

    if (rc == 0)
        rc = block_postings_or(payload, into, err);
    return rc < 0 ? block_cursor_wrap(&m->postings, block_cursor_key(&m->postings), rc, err) : 0;
}

/* Adds the list of (name, value), if there is one. */
static int or_value(struct match *m, struct str name, struct str value, roaring_bitmap_t *into, struct err *err)
{
    struct str payload;
    int rc;

    block_key_posting(&m->key, m->tenant, name, value);
    rc = block_cursor_get(&m->postings, buf_view(&m->key), &payload, err);
    return rc == 1 ? or_payload(m, payload, into, err) : rc;
}

/* Adds the lists of the values of name that begin with prefix and for which matcher_accepts says want. */
static int or_scan(struct match *m, const struct matcher *by, struct str prefix, bool want, roaring_bitmap_t *into,
                   struct err *err)
{
    size_t name_n;
    int rc;

    block_key_name(&m->key, m->tenant, by->name);
    name_n = m->key.n;
    buf_str(&m->key, prefix);
    rc = block_cursor_seek(&m->postings, buf_view(&m->key), err);
    while (rc > 0) {
        struct str key = block_cursor_key(&m->postings), payload;

        if (!str_has_prefix(key, buf_view(&m->key)))
            return 0;
        if (matcher_accepts(by, str_skip(key, name_n)) == want) {
            rc = block_cursor_payload(&m->postings, &payload, err);
            if (rc == 0)
                rc = or_payload(m, payload, into, err);
            if (rc < 0)
                return rc;
        }
        rc = block_cursor_next(&m->postings, err);
    }
    return rc;
}

/* Adds the lists of all non-empty values for which matcher_accepts says want. */
static int or_matching(struct match *m, const struct matcher *by, bool want, roaring_bitmap_t *into, struct err *err)
{
    bool is_regex = by->type == MATCH_RE || by->type == MATCH_NRE;
    int rc = 0;

    if (!want)
        return or_scan(m, by, STR(""), false, into, err);
    if (!is_regex)
        return by->value.n ? or_value(m, by->name, by->value, into, err) : 0;
    if (!by->set)
        return or_scan(m, by, by->prefix, true, into, err);
    for (size_t i = 0; rc == 0 && i < by->set_count; i++)
        if (by->set[i].n)
            rc = or_value(m, by->name, by->set[i], into, err);
    return rc;
}

static int apply(struct match *m, const struct matcher *by, roaring_bitmap_t *result, struct err *err)
{
    bool takes_absent = matcher_matches(by, STR(""));
    /* want, for matcher_accepts, of the values whose lists are read */
    bool want = takes_absent == matcher_negative(by);
    roaring_bitmap_t *lists;
    int rc;

    /* No series has a label without a name (that list holds all series), and .* leaves no list to read. */
    if (by->name.n == 0 || by->any) {
        if (!takes_absent)
            roaring_bitmap_clear(result);
        return 0;
    }
    lists = roaring_bitmap_create();
    ASSERT(lists);
    rc = or_matching(m, by, want, lists, err);
    if (rc == 0 && takes_absent)
        roaring_bitmap_andnot_inplace(result, lists);
    else if (rc == 0)
        roaring_bitmap_and_inplace(result, lists);
    roaring_bitmap_free(lists);
    return rc;
}

/* Cheap ones first: an equality that finds nothing ends it. */
static int rank_of(const struct matcher *m)
{
    if (m->type == MATCH_EQ && m->value.n)
        return 0;
    return m->set || m->prefix.n ? 1 : 2;
}

/* *ret: ordinals of the series that match (all matchers; not time, not shard). */
static int match_all(struct match *m, const struct store_select *q, roaring_bitmap_t **ret, struct err *err)
{
    roaring_bitmap_t *result = roaring_bitmap_create();
    int rc;

    ASSERT(result);
    rc = or_value(m, STR(""), STR(""), result, err);
    for (int rank = 0; rc == 0 && rank <= 2; rank++)
        for (size_t i = 0; rc == 0 && i < q->matcher_count; i++)
            if (rank_of(&q->matchers[i]) == rank && !roaring_bitmap_is_empty(result))
                rc = apply(m, &q->matchers[i], result, err);
    if (rc < 0)
        roaring_bitmap_free(result);
    else
        *ret = result;
    return rc;
}

static bool block_concerned(const struct block_reader *r, const struct store_select *q)
{
    return r->meta.mint_ms <= q->maxt_ms && r->meta.maxt_ms >= q->mint_ms &&
           (r->meta.level == 0 || str_eqz(q->tenant, r->meta.tenant));
}

static bool in_shard(const struct store_select *q, fingerprint fp)
{
    return q->shard_count <= 1 || fingerprint_mod(fp, q->shard_count) == q->shard;
}

static int emit_all(struct block_scan *s, const struct store_select *q, const roaring_bitmap_t *set, stored_series_fn *fn,
                    void *arg, struct err *err)
{
    roaring_uint32_iterator_t it;
    size_t emitted = 0;
    int rc = 0;

    for (roaring_init_iterator(set, &it); rc >= 0 && it.has_value; roaring_advance_uint32_iterator(&it)) {
        uint32_t ordinal = it.current_value;
        struct stored_series series;
        struct block_series rec;

        rc = block_scan_record(s, ordinal, false, &rec, err);
        if (rc < 0 || !in_shard(q, rec.fp))
            continue;
        rc = block_scan_series(s, ordinal, &rec, q->mode, q->mint_ms, q->maxt_ms, &series, err);
        if (rc == 1 && q->series_max > 0 && ++emitted > q->series_max)
            rc = err_set(err, RC_LIMIT, "the query needs more than %zu series", q->series_max);
        if (rc == 1)
            rc = fn(arg, &series);
    }
    return MIN(rc, 0);
}

int block_count(struct block_reader *r, const struct store_select *q, uint64_t *ret, struct arena *a, struct err *err)
{
    roaring_bitmap_t *set = NULL;
    struct match m;
    int rc;

    *ret = 0;
    if (!block_concerned(r, q))
        return 0;
    rc = match_init(&m, r, q->tenant, a, err);
    if (rc == 0)
        rc = match_all(&m, q, &set, err);
    if (rc == 0)
        *ret = roaring_bitmap_get_cardinality(set);
    if (set)
        roaring_bitmap_free(set);
    match_fini(&m);
    return rc;
}

int block_select(struct block_reader *r, const struct store_select *q, stored_series_fn *fn, void *arg, struct arena *a,
                 struct err *err)
{
    roaring_bitmap_t *set = NULL;
    struct block_scan scan = {0};
    struct match m;
    int rc;

    if (!block_concerned(r, q))
        return 0;
    rc = match_init(&m, r, q->tenant, a, err);
    if (rc == 0)
        rc = match_all(&m, q, &set, err);
    if (rc == 0 && !roaring_bitmap_is_empty(set)) {
        rc = block_scan_init(&scan, r, q->tenant, a, false, err);
        scan.shard = q->shard;
        scan.shard_count = q->shard_count;
        if (rc == 0)
            rc = emit_all(&scan, q, set, fn, arg, err);
        block_scan_fini(&scan);
    }
    if (set)
        roaring_bitmap_free(set);
    match_fini(&m);
    return rc;
}

/* --- label names and values --- */

/* Keeps of set what is in q's shard. */
static int keep_shard(struct block_reader *r, const struct store_select *q, roaring_bitmap_t **set, struct arena *a,
                      struct err *err)
{
    roaring_bitmap_t *kept = roaring_bitmap_create();
    roaring_uint32_iterator_t it;
    struct block_scan scan;
    int rc;

    ASSERT(kept);
    rc = block_scan_init(&scan, r, q->tenant, a, false, err);
    for (roaring_init_iterator(*set, &it); rc >= 0 && it.has_value; roaring_advance_uint32_iterator(&it)) {
        struct block_series rec;

        rc = block_scan_record(&scan, it.current_value, false, &rec, err);
        if (rc > 0 && in_shard(q, rec.fp))
            roaring_bitmap_add(kept, it.current_value);
    }
    block_scan_fini(&scan);
    roaring_bitmap_free(*set);
    *set = kept;
    return MIN(rc, 0);
}

/* Whether the list at the cursor has a series of set (NULL: every series counts). */
static int list_touches(struct match *m, const roaring_bitmap_t *set, struct err *err)
{
    roaring_bitmap_t *list;
    struct str payload;
    int rc;

    if (!set)
        return 1;
    rc = block_cursor_payload(&m->postings, &payload, err);
    if (rc < 0)
        return rc;
    rc = block_postings_decode(payload, &list, err);
    if (rc < 0)
        return block_cursor_wrap(&m->postings, block_cursor_key(&m->postings), rc, err);
    rc = roaring_bitmap_intersect(list, set);
    roaring_bitmap_free(list);
    return rc;
}

static int each_value(struct match *m, const roaring_bitmap_t *set, struct str name, int (*fn)(void *arg, struct str value),
                      void *arg, struct err *err)
{
    int rc;

    block_key_name(&m->key, m->tenant, name);
    rc = block_cursor_seek(&m->postings, buf_view(&m->key), err);
    while (rc > 0 && str_has_prefix(block_cursor_key(&m->postings), buf_view(&m->key))) {
        rc = list_touches(m, set, err);
        if (rc > 0)
            rc = fn(arg, str_skip(block_cursor_key(&m->postings), m->key.n));
        if (rc >= 0)
            rc = block_cursor_next(&m->postings, err);
    }
    return MIN(rc, 0);
}

/* One list that touches the set is enough for a name; then on to the next name. */
static int each_name(struct match *m, const roaring_bitmap_t *set, int (*fn)(void *arg, struct str value), void *arg,
                     struct err *err)
{
    struct str value;
    int rc;

    block_key_after_name(&m->key, m->tenant, STR(""));
    rc = block_cursor_seek(&m->postings, buf_view(&m->key), err);
    while (rc > 0) {
        struct str key = block_cursor_key(&m->postings);

        if (!str_has_prefix(key, str_sub(buf_view(&m->key), 0, m->tenant.n + 1)))
            return 0;
        rc = block_key_split(key, m->tenant, &m->name, &value, err);
        if (rc < 0)
            return block_cursor_wrap(&m->postings, key, rc, err);
        rc = list_touches(m, set, err);
        if (rc == 0) {
            rc = block_cursor_next(&m->postings, err);
            continue;
        }
        if (rc > 0)
            rc = fn(arg, buf_view(&m->name));
        if (rc < 0)
            return rc;
        block_key_after_name(&m->key, m->tenant, buf_view(&m->name));
        rc = block_cursor_seek(&m->postings, buf_view(&m->key), err);
    }
    return rc;
}

int block_label_values(struct block_reader *r, const struct store_select *q, struct str name,
                       int (*fn)(void *arg, struct str value), void *arg, struct err *err)
{
    roaring_bitmap_t *set = NULL;
    struct arena a;
    struct match m;
    int rc;

    if (!block_concerned(r, q))
        return 0;
    arena_init(&a, BLOCK_LABEL_QUERY_BYTES_MAX);
    rc = match_init(&m, r, q->tenant, &a, err);
    if (rc == 0 && (q->matcher_count > 0 || q->shard_count > 1))
        rc = match_all(&m, q, &set, err);
    if (rc == 0 && q->shard_count > 1)
        rc = keep_shard(r, q, &set, &a, err);
    if (rc == 0 && !(set && roaring_bitmap_is_empty(set)))
        rc = name.n ? each_value(&m, set, name, fn, arg, err) : each_name(&m, set, fn, arg, err);
    if (set)
        roaring_bitmap_free(set);
    match_fini(&m);
    arena_fini(&a);
    return rc;
}
