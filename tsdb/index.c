#include "tsdb/index.h"
#include "common/base/fault.h"
#include "common/base/hash.h"
#include "common/model/tenant.h"
#include "tsdb/index_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Why generations name their parents: a writer that slept between reading N and creating N+1 may find N+1 trimmed away and "create" it long after
 * N+2 exists. So after creating, the writer looks: if N+2 exists but does not name it as parent, or newer ones exist and N+2 does not, then what it
 * created fills an old hole; it is removed and the edit runs again on the newest. Edits can run any number of times. */

enum {
    INDEX_BYTES_MAX = 512 << 20,
    INDEX_PROBES_MAX = 1000, /* past the hint, before listing is cheaper */
    INDEX_READ_RETRIES = 8,
    NAME_MAX_BYTES = 256,
};

/* --- objects --- */

static int dir_of(const char *tenant, char out[NAME_MAX_BYTES], struct err *err)
{
    int rc = tenant ? tenant_id_check(str_of(tenant), err) : 0;

    if (rc < 0)
        return rc;
    if (tenant)
        snprintf(out, NAME_MAX_BYTES, "tenants/%s/index/", tenant);
    else
        snprintf(out, NAME_MAX_BYTES, "index/l0/");
    return 0;
}

static void gen_name(char out[NAME_MAX_BYTES + 32], const char *dir, uint64_t gen)
{
    snprintf(out, NAME_MAX_BYTES + 32, "%s%012llu.json", dir, (unsigned long long)gen);
}

static bool gen_of_name(const char *dir, const char *name, uint64_t *ret)
{
    char *end;
    unsigned long long v;

    if (strncmp(name, dir, strlen(dir)) != 0)
        return false;
    name += strlen(dir);
    if (*name < '0' || *name > '9')
        return false;
    v = strtoull(name, &end, 10);
    if (strcmp(end, ".json") != 0 || v == 0)
        return false;
    *ret = v;
    return true;
}

/* Generations that exist, ascending. */
typedef VEC(uint64_t) gen_list;

static int by_gen(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

static int gens_list(struct bucket *b, const char *dir, gen_list *ret, struct err *err)
{
    gen_list out = {0};
    bucket_list l;
    uint64_t gen;
    int rc = b->ops->list(b, dir, &l, err);

    if (rc < 0)
        return rc;
    for (size_t i = 0; i < l.n; i++)
        if (gen_of_name(dir, l.v[i].name, &gen))
            *vec_push(&out) = gen;
    bucket_list_free(&l);
    if (out.n)
        qsort(out.v, out.n, sizeof *out.v, by_gen);
    *ret = out;
    return 0;
}

static int gen_exists(struct bucket *b, const char *dir, uint64_t gen, struct err *err)
{
    char name[NAME_MAX_BYTES + 32];
    struct err why;
    uint64_t size;
    int rc;

    gen_name(name, dir, gen);
    rc = b->ops->size(b, name, &size, &why);
    if (rc == RC_NOT_FOUND)
        return 0;
    if (rc < 0 && err)
        *err = why;
    return rc < 0 ? rc : 1;
}

/* The hint says where to look first; a wrong or damaged one only costs time. */
static uint64_t hint_read(struct bucket *b, const char *dir)
{
    char name[NAME_MAX_BYTES + 32], *end;
    unsigned long long v = 0;
    struct buf text;

    buf_init(&text, 64);
    snprintf(name, sizeof name, "%sHINT", dir);
    if (b->ops->get(b, name, &text, NULL) == 0) {
        buf_u8(&text, 0);
        if (buf_ok(&text)) {
            v = strtoull(text.p, &end, 10);
            if (*end != '\n')
                v = 0;
        }
    }
    buf_fini(&text);
    return v < INT64_MAX ? v : 0;
}

static void hint_write(struct bucket *b, const char *dir, uint64_t gen)
{
    char name[NAME_MAX_BYTES + 32], text[32];
    int n = snprintf(text, sizeof text, "%llu\n", (unsigned long long)gen);

    snprintf(name, sizeof name, "%sHINT", dir);
    b->ops->put(b, name, str_n(text, (size_t)n), NULL); /* a failure costs readers time only */
}

/* 0 when there is none. */
static int newest_by_list(struct bucket *b, const char *dir, uint64_t *ret, struct err *err)
{
    gen_list gens = {0};
    int rc = gens_list(b, dir, &gens, err);

    if (rc < 0)
        return rc;
    *ret = gens.n ? gens.v[gens.n - 1] : 0;
    vec_fini(&gens);
    return 0;
}

static int newest_gen(struct bucket *b, const char *dir, uint64_t *ret, struct err *err)
{
    uint64_t gen = hint_read(b, dir);
    int rc = gen ? gen_exists(b, dir, gen, err) : 0;

    for (int i = 0; rc > 0 && i < INDEX_PROBES_MAX; i++) {
        rc = gen_exists(b, dir, gen + 1, err);
        if (rc == 0) {
            *ret = gen;
            return 0;
        }
        gen++;
    }
    return rc < 0 ? rc : newest_by_list(b, dir, ret, err);
}

static int gen_load(struct bucket *b, const char *dir, uint64_t gen, struct index_head *h, struct index *ret, struct err *err)
{
    char name[NAME_MAX_BYTES + 32];
    struct buf text;
    int rc;

    gen_name(name, dir, gen);
    buf_init(&text, INDEX_BYTES_MAX);
    rc = b->ops->get(b, name, &text, err);
    if (rc == 0)
        rc = index_decode_head(buf_view(&text), h, ret, err);
    buf_fini(&text);
    if (rc == 0 && h->gen != gen) {
        index_fini(ret);
        rc = err_set(err, RC_CORRUPT, "it is generation %llu", (unsigned long long)h->gen);
    }
    return rc < 0 ? err_wrap(err, rc, "index %s", name) : 0;
}

static int newest_load(struct bucket *b, const char *dir, struct index_head *h, struct index *ret, struct err *err)
{
    for (int i = 0;; i++) {
        uint64_t gen = 0;
        int rc = newest_gen(b, dir, &gen, err);

        if (rc < 0)
            return rc;
        if (gen == 0) {
            *h = (struct index_head){0};
            *ret = (struct index){0};
            return 0;
        }
        rc = gen_load(b, dir, gen, h, ret, err);
        /* Trimmed between the look and the read: there is a newer one. */
        if (rc != RC_NOT_FOUND || i == INDEX_READ_RETRIES)
            return rc;
    }
}

int index_load(struct bucket *b, const char *tenant, struct index *ret, struct err *err)
{
    char dir[NAME_MAX_BYTES];
    struct index_head h;
    int rc = dir_of(tenant, dir, err);

    return rc < 0 ? rc : newest_load(b, dir, &h, ret, err);
}

/* --- publishing --- */

/* 1 when generation gen, just created as self, continues the chain; 0 when it fills a hole that trimming left. */
static int continues_chain(struct bucket *b, const char *dir, uint64_t gen, const char *self, struct err *err)
{
    struct index_head next;
    struct index ix;
    uint64_t newest = 0;
    int rc = newest_by_list(b, dir, &newest, err);

    if (rc < 0)
        return rc;
    if (newest == gen)
        return 1;
    if (newest < gen)
        return 0;
    rc = gen_load(b, dir, gen + 1, &next, &ix, err);
    if (rc < 0)
        return rc == RC_NOT_FOUND ? 0 : rc;
    index_fini(&ix);
    return strcmp(next.parent, self) == 0;
}

/* 1: published; 0: somebody was first. */
static int publish(struct bucket *b, const char *dir, const char *parent, const struct index *ix, struct err *err)
{
    char name[NAME_MAX_BYTES + 32], self[INDEX_ID + 1];
    uint8_t id[INDEX_ID / 2];
    struct buf text;
    int rc;

    random_bytes(id, sizeof id);
    hex_put(self, id, sizeof id);
    gen_name(name, dir, ix->gen);
    buf_init(&text, INDEX_BYTES_MAX);
    rc = index_encode(ix, self, parent, &text, err);
    FAULT(FAULT_CRASH, _exit(99));
    if (rc == 0)
        rc = b->ops->create(b, name, buf_view(&text), err);
    FAULT(FAULT_CRASH, _exit(99));
    buf_fini(&text);
    if (rc < 0)
        return rc == RC_EXISTS ? 0 : rc;
    rc = continues_chain(b, dir, ix->gen, self, err);
    if (rc == 0)
        b->ops->remove(b, name, NULL);
    else if (rc > 0)
        hint_write(b, dir, ix->gen);
    return rc;
}

/* One attempt: 1 published or nothing to change, 0 somebody was first. */
static int update_once(struct bucket *b, const char *dir, int (*edit)(void *arg, struct index *ix, struct err *err), void *arg,
                       struct index *ret, struct err *err)
{
    struct index_head h;
    struct index ix;
    int rc = newest_load(b, dir, &h, &ix, err);

    if (rc < 0)
        return rc;
    rc = edit(arg, &ix, err);
    if (rc == 0) {
        ix.gen = h.gen + 1;
        rc = publish(b, dir, h.self, &ix, err);
    }
    if (rc > 0 && ret)
        *ret = ix;
    else
        index_fini(&ix);
    return rc;
}

int index_update(struct bucket *b, const char *tenant, int (*edit)(void *arg, struct index *ix, struct err *err), void *arg,
                 struct index *ret, struct err *err)
{
    char dir[NAME_MAX_BYTES];
    int rc = dir_of(tenant, dir, err);

    for (int i = 0; rc == 0 && i < INDEX_RETRIES; i++) {
        rc = update_once(b, dir, edit, arg, ret, err);
        if (rc != 0)
            return MIN(rc, 0);
        /* Who was not first waits a little, else many writers starve one another. */
        usleep((useconds_t)(hash64(&(uint64_t){(uint64_t)(uintptr_t)arg ^ (uint64_t)i}, 8, (uint64_t)getpid()) % (1000U * (unsigned)(i + 1))));
    }
    return rc < 0 ? rc : err_set(err, RC_UNAVAILABLE, "index %s: others were first %d times", dir, INDEX_RETRIES);
}

struct add {
    const struct block_meta *meta;
};

static int add_edit(void *arg, struct index *ix, UNUSED struct err *err)
{
    const struct add *add = arg;

    if (index_find(ix, &add->meta->id))
        return 1;
    index_put_meta(ix, add->meta);
    return 0;
}

int index_add_block(struct bucket *b, const char *tenant, const struct block_meta *m, uint64_t *ret_gen, struct err *err)
{
    struct add add = {m};
    struct index ix;
    int rc = index_update(b, tenant, add_edit, &add, &ix, err);

    if (rc < 0)
        return rc;
    *ret_gen = ix.gen;
    index_fini(&ix);
    return 0;
}

int index_trim(struct bucket *b, const char *tenant, struct err *err)
{
    char dir[NAME_MAX_BYTES], name[NAME_MAX_BYTES + 32];
    gen_list gens = {0};
    int rc = dir_of(tenant, dir, err);

    if (rc == 0)
        rc = gens_list(b, dir, &gens, err);
    if (rc < 0)
        return rc;
    /* Oldest first, so that what is left has no hole. */
    for (size_t i = 0; rc == 0 && i + INDEX_KEEP < gens.n; i++) {
        gen_name(name, dir, gens.v[i]);
        rc = b->ops->remove(b, name, err);
    }
    vec_fini(&gens);
    return rc;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

int index_tenants(struct bucket *b, fs_names *ret, struct err *err)
{
    fs_names out = {0};
    bucket_list l;
    int rc = b->ops->list(b, "tenants/", &l, err);

    if (rc < 0)
        return rc;
    for (size_t i = 0; i < l.n; i++) {
        struct str tenant = str_skip(str_of(l.v[i].name), strlen("tenants/"));

        tenant.n = str_find(tenant, '/');
        if (tenant_id_check(tenant, NULL) == 0 && !(out.n && str_eqz(tenant, out.v[out.n - 1])))
            *vec_push(&out) = str_dupz(tenant);
    }
    bucket_list_free(&l);
    if (out.n) /* "a-1/" comes before "a/" in the listing */
        qsort(out.v, out.n, sizeof *out.v, by_text);
    *ret = out;
    return 0;
}
