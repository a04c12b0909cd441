#include "common/model/tenant.h"
#include "tsdb/index_impl.h"
#include "tsdb/sealed_json.h"

#include <stdlib.h>

/* Generation (sealed_json.h): {"version":1,"gen":N,"self":id,"parent":id of generation N-1 ("" for 1),"blocks":[...],"quarantined":[...]}
 * A block: id, mint_ms, maxt_ms, range_start_ms, range_end_ms, level, series, samples, bytes, sources, ingester, done (sorted; absent when empty),
 * deleted_ms; shard, shards and shards_empty of a part; applied and retained unless 0; a quarantined one also has reason and since_ms.
 * With tombstones, or once there have been any, it is version 2 and has tombstone_seq and tombstones: seq, matchers [[type, name, value], ...], mint_ms, maxt_ms,
 * created_ms, applied_ms, tenant, hurry. A binary that knows version 1 only refuses it, rather than showing what was deleted. */

enum { INDEX_VERSION = 1, INDEX_VERSION_TOMBSTONES = 2, INDEX_BLOCKS_MAX = 1 << 20, INDEX_DONE_MAX = 1 << 20 };

/* --- the structure --- */

void index_block_fini(struct index_block *b)
{
    for (size_t i = 0; i < b->done_count; i++)
        free(b->done[i]);
    free(b->done);
    free(b->sources);
    free(b->reason);
    *b = (struct index_block){0};
}

void index_fini(struct index *ix)
{
    for (size_t i = 0; i < ix->blocks.n; i++)
        index_block_fini(&ix->blocks.v[i]);
    for (size_t i = 0; i < ix->quarantined.n; i++)
        index_block_fini(&ix->quarantined.v[i]);
    vec_fini(&ix->blocks);
    vec_fini(&ix->quarantined);
    tombstones_fini(&ix->tombstones);
    ix->gen = ix->tombstone_seq = 0;
}

static struct index_block block_dup(const struct index_block *b)
{
    struct index_block out = *b;

    out.sources = b->source_count ? xmemdup(b->sources, b->source_count * sizeof *b->sources) : NULL;
    out.done = b->done_count ? xcalloc(b->done_count, sizeof *b->done) : NULL;
    for (size_t i = 0; i < b->done_count; i++)
        out.done[i] = xstrdup(b->done[i]);
    out.reason = b->reason ? xstrdup(b->reason) : NULL;
    return out;
}

int index_copy(const struct index *from, struct index *ret, struct err *err)
{
    struct index out = {.gen = from->gen, .tombstone_seq = from->tombstone_seq};
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < from->tombstones.n; i++) {
        struct tombstone *t = vec_push(&out.tombstones);

        rc = tombstone_dup(&from->tombstones.v[i], t, err);
    }
    if (rc < 0) {
        index_fini(&out);
        return rc;
    }

    for (size_t i = 0; i < from->blocks.n; i++)
        *vec_push(&out.blocks) = block_dup(&from->blocks.v[i]);
    for (size_t i = 0; i < from->quarantined.n; i++)
        *vec_push(&out.quarantined) = block_dup(&from->quarantined.v[i]);
    *ret = out;
    return 0;
}

struct index_block *index_find(struct index *ix, const struct ulid *id)
{
    for (size_t i = 0; i < ix->blocks.n; i++)
        if (strcmp(ix->blocks.v[i].id.text, id->text) == 0)
            return &ix->blocks.v[i];
    return NULL;
}

bool index_block_has_source(const struct index_block *b, const struct ulid *id)
{
    for (size_t i = 0; i < b->source_count; i++)
        if (strcmp(b->sources[i].text, id->text) == 0)
            return true;
    return false;
}

/* Position of the tenant in the sorted list of those done, or where it belongs. */
static size_t done_position(const struct index_block *b, const char *tenant, bool *ret_there)
{
    size_t lo = 0, hi = b->done_count;

    *ret_there = false;
    while (lo < hi && !*ret_there) {
        size_t mid = lo + (hi - lo) / 2;
        int c = strcmp(b->done[mid], tenant);

        *ret_there = c == 0;
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return hi;
}

bool index_block_done(const struct index_block *b, const char *tenant)
{
    bool there;

    done_position(b, tenant, &there);
    return there;
}

bool index_block_mark_done(struct index_block *b, const char *tenant)
{
    bool there;
    size_t at = done_position(b, tenant, &there);

    if (there)
        return false;
    b->done = xrealloc(b->done, (b->done_count + 1) * sizeof *b->done);
    memmove(b->done + at + 1, b->done + at, (b->done_count - at) * sizeof *b->done);
    b->done[at] = xstrdup(tenant);
    b->done_count++;
    return true;
}

bool index_block_unmark_done(struct index_block *b, const char *tenant)
{
    bool there;
    size_t at = done_position(b, tenant, &there);

    if (!there)
        return false;
    free(b->done[at]);
    memmove(b->done + at, b->done + at + 1, (b->done_count - at - 1) * sizeof *b->done);
    b->done_count--;
    return true;
}

void index_put_meta(struct index *ix, const struct block_meta *m)
{
    struct index_block *b = vec_push(&ix->blocks);

    *b = (struct index_block){
        .id = m->id, .mint_ms = m->mint_ms, .maxt_ms = m->maxt_ms, .range_start_ms = m->range_start_ms,
        .range_end_ms = m->range_end_ms, .level = m->level, .series = m->series, .samples = m->samples, .bytes = m->bytes,
        .source_count = m->source_count, .shard = m->shard,
    };
    b->sources = m->source_count ? xmemdup(m->sources, m->source_count * sizeof *m->sources) : NULL;
    memcpy(b->ingester, m->ingester, sizeof b->ingester);
}

void index_drop(struct index *ix, const struct ulid *id)
{
    struct index_block *b = index_find(ix, id);

    if (!b)
        return;
    index_block_fini(b);
    memmove(b, b + 1, (size_t)(ix->blocks.v + ix->blocks.n - (b + 1)) * sizeof *b);
    ix->blocks.n--;
}

bool index_quarantine(struct index *ix, const struct ulid *id, const char *reason, int64_t now_ms)
{
    struct index_block *b = index_find(ix, id);
    struct index_block moved;

    if (!b)
        return false;
    moved = block_dup(b);
    free(moved.reason);
    moved.reason = xstrdup(reason);
    moved.since_ms = now_ms;
    index_drop(ix, id);
    *vec_push(&ix->quarantined) = moved;
    return true;
}

bool index_covers(const struct index *tenant, const struct ulid *l0)
{
    uint64_t found[BLOCK_SHARDS_MAX + 1] = {0}; /* by number of shards */

    for (size_t i = 0; i < tenant->blocks.n; i++) {
        const struct index_block *b = &tenant->blocks.v[i];
        uint64_t all = b->shard.n < 64 ? ((uint64_t)1 << b->shard.n) - 1 : UINT64_MAX;

        if (b->deleted_ms || !index_block_has_source(b, l0))
            continue;
        if (b->shard.n == 0)
            return true;
        found[b->shard.n] |= (uint64_t)1 << b->shard.i | b->shard.empty;
        if ((found[b->shard.n] & all) == all)
            return true;
    }
    return false;
}

/* --- JSON --- */

static json_t *block_to_json(const struct index_block *b)
{
    json_t *obj = json_pack("{s:s, s:I, s:I, s:I, s:I, s:i, s:I, s:I, s:I}", "id", b->id.text, "mint_ms",
                            (json_int_t)b->mint_ms, "maxt_ms", (json_int_t)b->maxt_ms, "range_start_ms",
                            (json_int_t)b->range_start_ms, "range_end_ms", (json_int_t)b->range_end_ms, "level", (int)b->level,
                            "series", (json_int_t)b->series, "samples", (json_int_t)b->samples, "bytes", (json_int_t)b->bytes);

    json_object_set_new(obj, "sources", ulids_to_json(b->sources, b->source_count));
    json_object_set_new(obj, "ingester", json_string(b->ingester));
    json_object_set_new(obj, "deleted_ms", json_integer(b->deleted_ms));
    if (b->done_count) {
        json_t *done = json_array();

        for (size_t i = 0; i < b->done_count; i++)
            json_array_append_new(done, json_string(b->done[i]));
        json_object_set_new(obj, "done", done);
    }
    block_shard_to_json(obj, b->shard);
    if (b->applied)
        json_object_set_new(obj, "applied", json_integer((json_int_t)b->applied));
    if (b->retained)
        json_object_set_new(obj, "retained", json_integer((json_int_t)b->retained));
    if (b->reason) {
        json_object_set_new(obj, "reason", json_string(b->reason));
        json_object_set_new(obj, "since_ms", json_integer(b->since_ms));
    }
    return obj;
}

static int done_decode(const json_t *obj, struct index_block *b, struct err *err)
{
    const json_t *done;
    int rc;

    if (!json_object_get(obj, "done"))
        return 0;
    rc = json_get_array(obj, "done", INDEX_DONE_MAX, &done, err);
    if (rc < 0)
        return rc;
    b->done = xcalloc(json_array_size(done), sizeof *b->done);
    for (size_t i = 0; i < json_array_size(done); i++) {
        const char *tenant = json_string_value(json_array_get(done, i));

        if (!tenant || tenant_id_check(str_of(tenant), NULL) < 0)
            return err_set(err, RC_CORRUPT, "'done': member %zu is no tenant", i);
        if (i > 0 && strcmp(b->done[i - 1], tenant) >= 0)
            return err_set(err, RC_CORRUPT, "'done': member %zu is out of order", i);
        b->done[b->done_count++] = xstrdup(tenant);
    }
    return 0;
}

static int block_times_decode(const json_t *obj, struct index_block *b, struct err *err)
{
    const int64_t lo = 2 * TIMESTAMP_MIN_MS, hi = 2 * TIMESTAMP_MAX_MS;
    int rc = json_get_i64(obj, "mint_ms", lo, hi, &b->mint_ms, err);

    if (rc == 0)
        rc = json_get_i64(obj, "maxt_ms", b->mint_ms, hi, &b->maxt_ms, err);
    if (rc == 0)
        rc = json_get_i64(obj, "range_start_ms", lo, hi, &b->range_start_ms, err);
    if (rc == 0)
        rc = json_get_i64(obj, "range_end_ms", b->range_start_ms, hi, &b->range_end_ms, err);
    if (rc == 0)
        rc = json_get_i64(obj, "deleted_ms", 0, hi, &b->deleted_ms, err);
    return rc;
}

static int quarantine_decode(const json_t *obj, struct index_block *b, struct err *err)
{
    char reason[ERR_TEXT_MAX];
    int rc = json_get_text(obj, "reason", reason, sizeof reason, err);

    if (rc == 0)
        rc = json_get_i64(obj, "since_ms", 0, INT64_MAX, &b->since_ms, err);
    if (rc == 0)
        b->reason = xstrdup(reason);
    return rc;
}

/* b is zeroed; index_block_fini it also on failure. */
static int block_from_json(const json_t *obj, bool quarantined, struct index_block *b, struct err *err)
{
    uint64_t level = 0;
    int rc = ulid_from_json(obj, "id", &b->id, err);

    if (rc == 0)
        rc = block_times_decode(obj, b, err);
    if (rc == 0)
        rc = json_get_u64(obj, "level", 100, &level, err);
    b->level = (uint32_t)level;
    if (rc == 0)
        rc = json_get_u64(obj, "series", INT64_MAX, &b->series, err);
    if (rc == 0)
        rc = json_get_u64(obj, "samples", INT64_MAX, &b->samples, err);
    if (rc == 0)
        rc = json_get_u64(obj, "bytes", INT64_MAX, &b->bytes, err);
    if (rc == 0)
        rc = json_get_text(obj, "ingester", b->ingester, sizeof b->ingester, err);
    if (rc == 0)
        rc = ulids_from_json(obj, "sources", &b->sources, &b->source_count, err);
    if (rc == 0)
        rc = done_decode(obj, b, err);
    if (rc == 0)
        rc = block_shard_from_json(obj, &b->shard, err);
    if (rc == 0 && json_object_get(obj, "applied"))
        rc = json_get_u64(obj, "applied", INT64_MAX, &b->applied, err);
    if (rc == 0 && json_object_get(obj, "retained"))
        rc = json_get_u64(obj, "retained", INT64_MAX, &b->retained, err);
    return rc == 0 && quarantined ? quarantine_decode(obj, b, err) : rc;
}

/* --- tombstones --- */

static json_t *tombstone_to_json(const struct tombstone *t)
{
    json_t *matchers = json_array();

    for (size_t i = 0; i < t->matcher_count; i++) {
        const struct matcher *m = &t->matchers[i];

        json_array_append_new(matchers, json_pack("[i, s%, s%]", (int)m->type, m->name.p ? m->name.p : "", m->name.n,
                                                  m->value.p ? m->value.p : "", m->value.n));
    }
    return json_pack("{s:I, s:o, s:I, s:I, s:I, s:I, s:b, s:b}", "seq", (json_int_t)t->seq, "matchers", matchers, "mint_ms",
                     (json_int_t)t->span.mint_ms, "maxt_ms", (json_int_t)t->span.maxt_ms, "created_ms",
                     (json_int_t)t->created_ms, "applied_ms", (json_int_t)t->applied_ms, "tenant", t->tenant, "hurry", t->hurry);
}

static int matcher_from_json(const json_t *v, struct matcher *m, struct err *err)
{
    const json_t *type = json_array_get(v, 0), *name = json_array_get(v, 1), *value = json_array_get(v, 2);

    if (!json_is_integer(type) || json_integer_value(type) < MATCH_EQ || json_integer_value(type) > MATCH_NRE || !json_is_string(name) ||
        !json_is_string(value))
        return err_set(err, RC_CORRUPT, "'matchers': not a type, a name and a value");
    return matcher_init(m, (enum matcher_type)json_integer_value(type), str_n(json_string_value(name), json_string_length(name)),
                        str_n(json_string_value(value), json_string_length(value)), err);
}

static int tombstone_matchers_decode(const json_t *obj, struct tombstone *t, struct err *err)
{
    const json_t *array;
    int rc = json_get_array(obj, "matchers", TOMBSTONE_MATCHERS_MAX, &array, err);

    if (rc < 0)
        return rc;
    t->matchers = json_array_size(array) ? xcalloc(json_array_size(array), sizeof *t->matchers) : NULL;
    while (rc == 0 && t->matcher_count < json_array_size(array)) {
        rc = matcher_from_json(json_array_get(array, t->matcher_count), &t->matchers[t->matcher_count], err);
        if (rc == RC_INVALID)
            rc = err_wrap(err, RC_CORRUPT, "'matchers'");
        t->matcher_count += rc == 0;
    }
    return rc;
}

/* t is zeroed; tombstone_fini it also on failure. */
static int tombstone_from_json(const json_t *obj, uint64_t after, struct tombstone *t, struct err *err)
{
    const int64_t lo = 2 * TIMESTAMP_MIN_MS, hi = 2 * TIMESTAMP_MAX_MS;
    int rc = json_get_u64(obj, "seq", INT64_MAX, &t->seq, err);

    if (rc == 0 && t->seq <= after)
        rc = err_set(err, RC_CORRUPT, "'seq' is out of order");
    if (rc == 0)
        rc = json_get_i64(obj, "mint_ms", lo, hi, &t->span.mint_ms, err);
    if (rc == 0)
        rc = json_get_i64(obj, "maxt_ms", t->span.mint_ms, hi, &t->span.maxt_ms, err);
    if (rc == 0)
        rc = json_get_i64(obj, "created_ms", 0, hi, &t->created_ms, err);
    if (rc == 0)
        rc = json_get_i64(obj, "applied_ms", 0, hi, &t->applied_ms, err);
    t->tenant = json_is_true(json_object_get(obj, "tenant"));
    t->hurry = json_is_true(json_object_get(obj, "hurry"));
    return rc == 0 ? tombstone_matchers_decode(obj, t, err) : rc;
}

static int tombstones_decode(const json_t *obj, struct index *ix, struct err *err)
{
    const json_t *array;
    uint64_t last = 0;
    int rc = json_get_u64(obj, "tombstone_seq", INT64_MAX, &ix->tombstone_seq, err);

    if (rc == 0)
        rc = json_get_array(obj, "tombstones", TOMBSTONES_MAX, &array, err);
    for (size_t i = 0; rc == 0 && i < json_array_size(array); i++) {
        struct tombstone *t = vec_push(&ix->tombstones);

        rc = tombstone_from_json(json_array_get(array, i), last, t, err);
        last = t->seq;
        if (rc < 0)
            rc = err_wrap(err, rc, "tombstones[%zu]", i);
    }
    return rc == 0 && last > ix->tombstone_seq ? err_set(err, RC_CORRUPT, "'tombstone_seq' is behind its tombstones") : rc;
}

static void tombstones_encode(const struct index *ix, json_t *obj)
{
    json_t *array = json_array();

    for (size_t i = 0; i < ix->tombstones.n; i++)
        json_array_append_new(array, tombstone_to_json(&ix->tombstones.v[i]));
    json_object_set_new(obj, "tombstone_seq", json_integer((json_int_t)ix->tombstone_seq));
    json_object_set_new(obj, "tombstones", array);
}

/* --- generations --- */

int index_encode(const struct index *ix, const char *self, const char *parent, struct buf *out, struct err *err)
{
    json_t *blocks = json_array(), *quarantined = json_array(), *obj;

    for (size_t i = 0; i < ix->blocks.n; i++)
        json_array_append_new(blocks, block_to_json(&ix->blocks.v[i]));
    for (size_t i = 0; i < ix->quarantined.n; i++)
        json_array_append_new(quarantined, block_to_json(&ix->quarantined.v[i]));
    obj = json_pack("{s:i, s:I, s:s, s:s, s:o, s:o}", "version", ix->tombstone_seq ? INDEX_VERSION_TOMBSTONES : INDEX_VERSION, "gen",
                    (json_int_t)ix->gen, "self", self, "parent", parent, "blocks", blocks, "quarantined", quarantined);
    if (obj && ix->tombstone_seq)
        tombstones_encode(ix, obj);
    return sealed_json_encode(obj, out, err);
}

static int blocks_decode(const json_t *obj, const char *name, bool quarantined, index_blocks *to, struct err *err)
{
    const json_t *array;
    int rc = json_get_array(obj, name, INDEX_BLOCKS_MAX, &array, err);

    for (size_t i = 0; rc == 0 && i < json_array_size(array); i++) {
        struct index_block *b = vec_push(to); /* index_fini frees it, whole or half */

        rc = block_from_json(json_array_get(array, i), quarantined, b, err);
        if (rc < 0)
            rc = err_wrap(err, rc, "%s[%zu]", name, i);
    }
    return rc;
}

static int head_decode(const json_t *obj, struct index_head *h, int64_t *ret_version, struct err *err)
{
    int rc = json_get_i64(obj, "version", 1, UINT32_MAX, ret_version, err);

    if (rc == 0 && *ret_version > INDEX_VERSION_TOMBSTONES)
        rc = err_set(err, RC_VERSION, "index version %lld, this binary reads up to %d", (long long)*ret_version, INDEX_VERSION_TOMBSTONES);
    if (rc == 0)
        rc = json_get_u64(obj, "gen", INT64_MAX - 1, &h->gen, err);
    if (rc == 0)
        rc = json_get_text(obj, "self", h->self, sizeof h->self, err);
    if (rc == 0)
        rc = json_get_text(obj, "parent", h->parent, sizeof h->parent, err);
    return rc;
}

int index_decode_head(struct str text, struct index_head *h, struct index *ret, struct err *err)
{
    struct index ix = {0};
    int64_t version = 0;
    json_t *obj;
    int rc = sealed_json_decode(text, &obj, err);

    if (rc < 0)
        return rc;
    rc = head_decode(obj, h, &version, err);
    if (rc == 0)
        rc = blocks_decode(obj, "blocks", false, &ix.blocks, err);
    if (rc == 0)
        rc = blocks_decode(obj, "quarantined", true, &ix.quarantined, err);
    if (rc == 0 && version >= INDEX_VERSION_TOMBSTONES)
        rc = tombstones_decode(obj, &ix, err);
    json_decref(obj);
    if (rc < 0) {
        index_fini(&ix);
        return rc;
    }
    ix.gen = h->gen;
    *ret = ix;
    return 0;
}

int index_decode(struct str text, struct index *ret, struct err *err)
{
    struct index_head h;

    return index_decode_head(text, &h, ret, err);
}
