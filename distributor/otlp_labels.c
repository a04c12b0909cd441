#include "distributor/otlp_labels.h"
#include "common/wire/pb_arena.h"
#include "distributor/otlp_value.h"

#include <stdlib.h>

#define SCOPE_PREFIX "otel_scope_"

struct entry {
    struct str name, value;
    size_t order; /* of equal names */
};

static int no_memory(struct err *err)
{
    return err_set(err, RC_LIMIT, "labels: the request's memory budget is spent");
}

static int by_name(const void *x, const void *y)
{
    const struct entry *a = x, *b = y;
    int c = str_cmp(a->name, b->name);

    return c ? c : (a->order > b->order) - (a->order < b->order);
}

static void entries_sort(struct entry *e, size_t n)
{
    for (size_t i = 0; i < n; i++)
        e[i].order = i;
    for (size_t i = 1; i < n; i++) {
        if (str_cmp(e[i - 1].name, e[i].name) > 0) {
            qsort(e, n, sizeof *e, by_name);
            return;
        }
    }
}

static struct str joined(struct arena *a, struct str x, char between, struct str y)
{
    char *p = arena_alloc(a, x.n + 1 + y.n);

    if (!p)
        return (struct str){0};
    if (x.n)
        memcpy(p, x.p, x.n);
    p[x.n] = between;
    if (y.n)
        memcpy(p + x.n + 1, y.p, y.n);
    return str_n(p, x.n + 1 + y.n);
}

/* Sorted entries to labels: equal names are joined. */
static int entries_join(struct arena *a, const struct entry *e, size_t n, struct labels *ret, struct err *err)
{
    struct labels ls = {arena_array(a, n + 1, sizeof *ls.v), 0};

    if (!ls.v)
        return no_memory(err);
    for (size_t i = 0; i < n; i++) {
        struct label *last = ls.n ? &ls.v[ls.n - 1] : NULL;

        if (!last || !str_eq(last->name, e[i].name)) {
            ls.v[ls.n++] = (struct label){e[i].name, e[i].value};
            continue;
        }
        last->value = joined(a, last->value, ';', e[i].value);
        if (!last->value.p)
            return no_memory(err);
    }
    *ret = ls;
    return 0;
}

/* --- which attributes --- */

typedef bool attribute_filter(const void *arg, struct str key);

static bool not_name(UNUSED const void *arg, struct str key)
{
    return !str_eqz(key, LABEL_METRIC_NAME);
}

static bool identifying(struct str key)
{
    return str_eqz(key, "service.name") || str_eqz(key, "service.namespace") || str_eqz(key, "service.instance.id");
}

static bool not_identifying(UNUSED const void *arg, struct str key)
{
    return not_name(NULL, key) && !identifying(key);
}

static bool promoted(const void *arg, struct str key)
{
    const struct opt_list *list = arg;

    for (size_t i = 0; list && i < list->n; i++)
        if (str_eqz(key, list->v[i]))
            return true;
    return false;
}

static struct str prefixed(struct arena *a, const char *prefix, struct str key)
{
    size_t n = strlen(prefix);
    char *p = n ? arena_alloc(a, n + key.n) : NULL;

    if (!n)
        return key;
    if (!p)
        return (struct str){0};
    memcpy(p, prefix, n);
    if (key.n)
        memcpy(p + n, key.p, key.n);
    return str_n(p, n + key.n);
}

static int names_translate(struct arena *a, struct entry *e, size_t n, const char *prefix, struct otlp_naming naming, struct err *err)
{
    int rc = 0;

    for (size_t i = 0; i < n && rc == 0; i++) {
        struct str key = prefixed(a, prefix, e[i].name);

        rc = !key.p && e[i].name.n ? no_memory(err) : otlp_label_name(a, key, naming, &e[i].name, err);
    }
    return rc;
}

static int attributes_labels(struct arena *a, const struct otlp_attributes *at, attribute_filter *filter, const void *arg, const char *prefix,
                             struct otlp_naming naming, struct labels *ret, struct err *err)
{
    struct entry *e;
    size_t n = 0;
    int rc = 0;

    if (at->n > OTLP_ATTRIBUTES_MAX)
        return err_set(err, RC_INVALID, "%zu attributes in one place, limit %d", at->n, OTLP_ATTRIBUTES_MAX);
    e = arena_array(a, at->n + 1, sizeof *e);
    if (!e)
        return no_memory(err);
    for (size_t i = 0; i < at->n && rc == 0; i++) {
        struct str key = pb_str(at->v[i]->key);

        if (!filter(arg, key))
            continue;
        e[n].name = key;
        rc = otlp_value_text(a, at->v[i]->value, &e[n++].value, err);
    }
    if (rc < 0)
        return rc;
    entries_sort(e, n); /* by the attributes' names: the order in which values are joined */
    rc = names_translate(a, e, n, prefix, naming, err);
    if (rc < 0)
        return rc;
    entries_sort(e, n);
    return entries_join(a, e, n, ret, err);
}

/* --- putting together --- */

/* Sorted union; of equal names over's label stays. */
static int labels_over(struct arena *a, const struct labels *over, const struct labels *under, struct labels *ret, struct err *err)
{
    struct labels ls = {arena_array(a, over->n + under->n + 1, sizeof *ls.v), 0};
    size_t i = 0, k = 0;

    if (!ls.v)
        return no_memory(err);
    while (i < over->n || k < under->n) {
        int c = i == over->n ? 1 : k == under->n ? -1 : str_cmp(over->v[i].name, under->v[k].name);

        ls.v[ls.n++] = c <= 0 ? over->v[i] : under->v[k];
        i += c <= 0;
        k += c >= 0;
    }
    *ret = ls;
    return 0;
}

static void drop_empty(struct labels *ls)
{
    size_t n = 0;

    for (size_t i = 0; i < ls->n; i++)
        if (ls->v[i].value.n)
            ls->v[n++] = ls->v[i];
    ls->n = n;
}

/* The first attribute of this key; false when there is none. */
static int attribute_get(struct arena *a, const struct otlp_attributes *at, const char *key, struct str *ret, bool *found, struct err *err)
{
    *found = false;
    for (size_t i = 0; i < at->n; i++) {
        if (str_eqz(pb_str(at->v[i]->key), key)) {
            *found = true;
            return otlp_value_text(a, at->v[i]->value, ret, err);
        }
    }
    return 0;
}

/* instance and job, in this order, which is that of labels. */
static int identity_labels(struct arena *a, const struct otlp_attributes *resource, struct labels *ret, struct err *err)
{
    struct labels ls = {arena_array(a, 2, sizeof *ls.v), 0};
    struct str name, namespace, instance;
    bool has_name, has_namespace, has_instance;
    int rc = ls.v ? attribute_get(a, resource, "service.name", &name, &has_name, err) : no_memory(err);

    if (rc == 0)
        rc = attribute_get(a, resource, "service.namespace", &namespace, &has_namespace, err);
    if (rc == 0)
        rc = attribute_get(a, resource, "service.instance.id", &instance, &has_instance, err);
    if (rc < 0)
        return rc;
    if (has_instance)
        ls.v[ls.n++] = (struct label){STR("instance"), instance};
    if (has_name && has_namespace) {
        name = joined(a, namespace, '/', name);
        if (!name.p)
            return no_memory(err);
    }
    if (has_name)
        ls.v[ls.n++] = (struct label){STR("job"), name};
    *ret = ls;
    return 0;
}

int otlp_common_of(struct arena *a, const struct otlp_attributes *resource, const struct otlp_label_options *o, struct otlp_common *ret, struct err *err)
{
    struct otlp_common c;
    int rc = identity_labels(a, resource, &c.over, err);

    if (rc == 0)
        rc = attributes_labels(a, resource, promoted, o->promoted, "", o->naming, &c.under, err);
    if (rc == 0)
        *ret = c;
    return rc;
}

int otlp_common_scope(struct arena *a, const struct otlp_common *base, const Torc__Otlp__InstrumentationScope *scope, struct str schema_url,
                      const struct otlp_label_options *o, struct otlp_common *ret, struct err *err)
{
    struct otlp_common c = {.under = base->under};
    struct labels own, attributes, all;
    int rc;

    if (!o->scope || !scope || !scope->name.len) {
        *ret = *base;
        return 0;
    }
    own = (struct labels){arena_array(a, 3, sizeof *own.v), 3};
    if (!own.v)
        return no_memory(err);
    own.v[0] = (struct label){STR(SCOPE_PREFIX "name"), pb_str(scope->name)};
    own.v[1] = (struct label){STR(SCOPE_PREFIX "schema_url"), schema_url};
    own.v[2] = (struct label){STR(SCOPE_PREFIX "version"), pb_str(scope->version)};
    rc = attributes_labels(a, &(struct otlp_attributes){scope->attributes, scope->n_attributes}, not_name, NULL, SCOPE_PREFIX, o->naming, &attributes, err);
    if (rc == 0)
        rc = labels_over(a, &own, &attributes, &all, err);
    if (rc == 0)
        rc = labels_over(a, &base->over, &all, &c.over, err);
    if (rc == 0)
        *ret = c;
    return rc;
}

int otlp_point_labels(struct arena *a, const struct otlp_common *c, const struct otlp_attributes *attributes, const struct otlp_label_options *o,
                      struct labels *ret, struct err *err)
{
    struct labels own, with;
    int rc = attributes_labels(a, attributes, not_name, NULL, "", o->naming, &own, err);

    if (rc == 0)
        rc = labels_over(a, &own, &c->under, &with, err);
    if (rc == 0)
        rc = labels_over(a, &c->over, &with, ret, err);
    if (rc == 0)
        drop_empty(ret);
    return rc;
}

int otlp_target_labels(struct arena *a, const struct otlp_attributes *resource, const struct otlp_label_options *o, struct labels *ret, struct err *err)
{
    struct labels identity, own, all;
    size_t others = 0;
    bool identified = false;
    int rc;

    for (size_t i = 0; i < resource->n; i++)
        others += not_identifying(NULL, pb_str(resource->v[i]->key));
    if (others == 0) {
        ret->n = 0;
        return 0;
    }
    rc = identity_labels(a, resource, &identity, err);
    if (rc == 0)
        rc = attributes_labels(a, resource, o->keep_identifying ? not_name : not_identifying, NULL, "", o->naming, &own, err);
    if (rc == 0)
        rc = labels_over(a, &identity, &own, &all, err);
    if (rc < 0)
        return rc;
    drop_empty(&all);
    for (size_t i = 0; i < all.n; i++)
        identified = identified || str_eqz(all.v[i].name, "job") || str_eqz(all.v[i].name, "instance");
    *ret = identified ? all : (struct labels){0};
    return 0;
}
