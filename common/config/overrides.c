#include "common/config/limits.h"
#include "common/base/hash.h"
#include "common/base/json.h"
#include "common/config/yaml.h"
#include "common/model/tenant.h"
#include "common/sys/clock.h"
#include "common/sys/fs.h"
#include "common/sys/thread.h"

#include <stdio.h>
#include <stdlib.h>
#include <uthash.h>

/* One distinct set of limits, never freed before the overrides. */
struct limit_set {
    struct limits limits;
    char *text; /* all limits printed: the identity */
    UT_hash_handle hh;
};

struct tenant_entry {
    char *tenant;
    const struct limits *limits;
    UT_hash_handle hh;
};

struct overrides {
    char *path; /* --- fixed --- */
    int64_t period_ms;
    struct log *log;
    int (*check)(const struct limits *l, struct err *err);
    struct metric *ok, *ok_time, *tenants_gauge;
    const struct limits *defaults;
    pthread_t thread;
    bool threaded;
    struct mutex reload_lock; /* --- one reload at a time --- */
    struct limit_set *sets;   /*     guarded by reload_lock */
    uint64_t generations, file_hash;
    bool loaded;
    pthread_rwlock_t lock; /* --- guards tenants and failure --- */
    struct tenant_entry *tenants;
    char failure[ERR_TEXT_MAX]; /* of the last look at the file; "": it went well */
    struct mutex stop_lock;
    struct cond stop_wake;
    bool stop;
};

/* Takes the strings of l; equal limits come out as one object. */
static const struct limits *intern(struct overrides *o, struct limits *l)
{
    struct limit_set *set = NULL;
    struct buf text;

    buf_init(&text, 1 << 20);
    for (const struct option *row = limits_options; row->name; row++) {
        option_print(row, l, &text);
        buf_char(&text, '\n');
    }
    buf_char(&text, '\0');
    ASSERT(buf_ok(&text));
    HASH_FIND_STR(o->sets, text.p, set);
    if (set) {
        options_free(limits_options, l);
        buf_fini(&text);
        return &set->limits;
    }
    set = xcalloc(1, sizeof *set);
    set->limits = *l;
    set->limits.generation = ++o->generations;
    set->text = xstrdup(text.p);
    buf_fini(&text);
    HASH_ADD_KEYPTR(hh, o->sets, set->text, strlen(set->text), set);
    return &set->limits;
}

static void tenants_free(struct tenant_entry *tenants)
{
    struct tenant_entry *e, *tmp;

    HASH_ITER(hh, tenants, e, tmp)
    {
        HASH_DEL(tenants, e);
        free(e->tenant);
        free(e);
    }
}

static int unknown_limit(const struct overrides *o, const struct yaml_node *n, struct err *err)
{
    struct nearest near;

    nearest_init(&near, n->key);
    for (const struct option *row = limits_options; row->name; row++)
        nearest_try(&near, str_of(row->name));
    if (nearest_found(&near))
        return err_set(err, RC_INVALID, "%s:%zu: unknown limit \"%.*s\", did you mean \"%.*s\"?",
                       o->path, n->key_line, STR_FMT(n->key), STR_FMT(near.best));
    return err_set(err, RC_INVALID, "%s:%zu: unknown limit \"%.*s\"", o->path, n->key_line,
                   STR_FMT(n->key));
}

static int parse_tenant(struct overrides *o, const struct yaml_node *node, struct limits *l,
                        struct err *err)
{
    int rc = tenant_id_check(node->key, err);

    if (rc < 0)
        return err_wrap(err, rc, "%s:%zu", o->path, node->key_line);
    if (node->kind != YAML_MAPPING && !yaml_is_null(node))
        return err_set(err, RC_INVALID, "%s:%zu: want limits, \"name: value\"", o->path,
                       node->line);
    for (const struct yaml_node *n = node->children; n; n = n->next) {
        const struct option *row = option_find(limits_options, n->key);

        if (!row)
            return unknown_limit(o, n, err);
        rc = option_set_yaml(row, l, n, err);
        if (rc < 0)
            return err_wrap(err, rc, "%s:%zu: %s", o->path, n->line, row->name);
    }
    rc = o->check ? o->check(l, err) : 0;
    return rc < 0 ? err_wrap(err, rc, "%s:%zu: %.*s", o->path, node->line, STR_FMT(node->key)) : 0;
}

static int parse_tenants(struct overrides *o, const struct yaml_node *list,
                         struct tenant_entry **tenants, struct err *err)
{
    int rc = 0;

    if (list->kind != YAML_MAPPING && !yaml_is_null(list))
        return err_set(err, RC_INVALID, "%s:%zu: want tenants, \"tenant: {limit: value}\"", o->path,
                       list->line);
    if (list->child_count > OVERRIDES_TENANTS_MAX)
        return err_set(err, RC_LIMIT, "%s: more than %d tenants", o->path, OVERRIDES_TENANTS_MAX);
    for (const struct yaml_node *n = list->children; rc == 0 && n; n = n->next) {
        struct limits l = {0};
        struct tenant_entry *e;

        options_copy(limits_options, &l, o->defaults);
        rc = parse_tenant(o, n, &l, err);
        if (rc < 0) {
            options_free(limits_options, &l);
            break;
        }
        e = xcalloc(1, sizeof *e);
        e->tenant = str_dupz(n->key);
        e->limits = intern(o, &l);
        HASH_ADD_KEYPTR(hh, *tenants, e->tenant, n->key.n, e);
    }
    return rc;
}

static int parse_file(struct overrides *o, struct str text, struct tenant_entry **tenants,
                      struct err *err)
{
    struct yaml_node *root = NULL;
    struct arena a;
    int rc;

    arena_init(&a, 512 << 20);
    rc = yaml_load(&a, o->path, text, &root, err);
    if (rc == 0 && root->kind != YAML_MAPPING && !yaml_is_null(root))
        rc = err_set(err, RC_INVALID, "%s:%zu: want \"overrides:\"", o->path, root->line);
    for (const struct yaml_node *n = rc == 0 ? root->children : NULL; rc == 0 && n; n = n->next)
        rc = str_eqz(n->key, "overrides")
                 ? parse_tenants(o, n, tenants, err)
                 : err_set(err, RC_INVALID,
                           "%s:%zu: unknown section \"%.*s\", did you mean \"overrides\"?", o->path,
                           n->key_line, STR_FMT(n->key));
    arena_fini(&a);
    return rc;
}

static void publish(struct overrides *o, struct tenant_entry *tenants)
{
    struct tenant_entry *old;

    pthread_rwlock_wrlock(&o->lock);
    old = o->tenants;
    o->tenants = tenants;
    pthread_rwlock_unlock(&o->lock);
    if (o->tenants_gauge)
        metric_set(o->tenants_gauge, HASH_COUNT(tenants));
    tenants_free(old);
}

static int load_if_changed(struct overrides *o, struct err *err)
{
    struct tenant_entry *tenants = NULL;
    struct buf text;
    uint64_t hash;
    int rc;

    buf_init(&text, OVERRIDES_FILE_BYTES_MAX);
    rc = fs_read(o->path, &text, err);
    hash = rc == 0 ? hash64(text.p, text.n, 1) : 0;
    if (rc == 0 && !(o->loaded && hash == o->file_hash)) {
        rc = parse_file(o, buf_view(&text), &tenants, err);
        if (rc == 0) {
            publish(o, tenants);
            o->file_hash = hash;
            o->loaded = true;
        } else {
            tenants_free(tenants);
        }
    }
    buf_fini(&text);
    return rc;
}

int overrides_reload(struct overrides *o, struct err *err)
{
    int rc = 0;

    if (!*o->path)
        return 0;
    mutex_lock(&o->reload_lock);
    rc = load_if_changed(o, err);
    mutex_unlock(&o->reload_lock);
    pthread_rwlock_wrlock(&o->lock);
    snprintf(o->failure, sizeof o->failure, "%s", rc < 0 ? err_text(err) : "");
    pthread_rwlock_unlock(&o->lock);
    if (o->ok)
        metric_set(o->ok, rc == 0);
    if (o->ok && rc == 0)
        metric_set(o->ok_time, (double)clock_wall_ms(clock_system()) / 1000);
    return rc;
}

static void *reload_main(void *arg)
{
    struct overrides *o = arg;

    mutex_lock(&o->stop_lock);
    while (!o->stop) {
        struct err err = {0};

        cond_wait_ms(&o->stop_wake, &o->stop_lock, o->period_ms);
        if (o->stop)
            break;
        mutex_unlock(&o->stop_lock);
        if (overrides_reload(o, &err) < 0)
            log_error(o->log, "runtime config not loaded, the previous one stays", "path", o->path,
                      "err", err_log(&err));
        mutex_lock(&o->stop_lock);
    }
    mutex_unlock(&o->stop_lock);
    return NULL;
}

static void add_metrics(struct overrides *o, struct metrics *m)
{
    o->ok = metrics_gauge(m, "torc_runtime_config_last_reload_successful",
                          "1 when the last look at the file of overrides succeeded.");
    o->ok_time = metrics_gauge(m, "torc_runtime_config_last_reload_success_timestamp_seconds",
                               "Unix time of the last successful look at the file of overrides.");
    o->tenants_gauge =
        metrics_gauge(m, "torc_runtime_config_tenants", "Tenants with limits of their own.");
    metric_set(o->ok, 1);
}

int overrides_new(const struct limits *defaults, const char *path, int64_t period_ms,
                  const struct overrides_deps *deps, struct overrides **ret, struct err *err)
{
    struct overrides *o = xcalloc(1, sizeof *o);
    struct limits l = {0};
    int rc;

    o->path = xstrdup(path);
    o->period_ms = period_ms;
    o->log = deps->log;
    o->check = deps->check;
    mutex_init(&o->reload_lock);
    mutex_init(&o->stop_lock);
    cond_init(&o->stop_wake);
    ASSERT(pthread_rwlock_init(&o->lock, NULL) == 0);
    options_copy(limits_options, &l, defaults);
    o->defaults = intern(o, &l);
    if (deps->metrics)
        add_metrics(o, deps->metrics);
    rc = o->check ? o->check(o->defaults, err) : 0;
    if (rc == 0)
        rc = overrides_reload(o, err);
    if (rc < 0) {
        overrides_free(o);
        return rc;
    }
    if (*path && period_ms > 0) {
        o->thread = thread_start("overrides", reload_main, o);
        o->threaded = true;
    }
    *ret = o;
    return 0;
}

void overrides_free(struct overrides *o)
{
    struct limit_set *set, *tmp;

    if (!o)
        return;
    if (o->threaded) {
        mutex_lock(&o->stop_lock);
        o->stop = true;
        cond_signal(&o->stop_wake);
        mutex_unlock(&o->stop_lock);
        pthread_join(o->thread, NULL);
    }
    tenants_free(o->tenants);
    HASH_ITER(hh, o->sets, set, tmp)
    {
        HASH_DEL(o->sets, set);
        options_free(limits_options, &set->limits);
        free(set->text);
        free(set);
    }
    pthread_rwlock_destroy(&o->lock);
    cond_fini(&o->stop_wake);
    mutex_fini(&o->stop_lock);
    mutex_fini(&o->reload_lock);
    free(o->path);
    free(o);
}

const struct limits *limits_default(struct overrides *o)
{
    return o->defaults;
}

const struct limits *limits_of(struct overrides *o, struct str tenant)
{
    struct tenant_entry *e = NULL;
    const struct limits *l;

    pthread_rwlock_rdlock(&o->lock);
    HASH_FIND(hh, o->tenants, tenant.p ? tenant.p : "", tenant.n, e);
    l = e ? e->limits : o->defaults;
    pthread_rwlock_unlock(&o->lock);
    return l;
}

static int by_tenant(struct tenant_entry *a, struct tenant_entry *b)
{
    return strcmp(a->tenant, b->tenant);
}

static void print_tenant(struct overrides *o, const struct tenant_entry *e, bool diff,
                         struct buf *out)
{
    struct buf mine, common;

    buf_init(&mine, OPT_TEXT_BYTES_MAX * 2);
    buf_init(&common, OPT_TEXT_BYTES_MAX * 2);
    buf_printf(out, "  \"%s\":\n", e->tenant);
    for (const struct option *row = limits_options; row->name; row++) {
        buf_clear(&mine);
        buf_clear(&common);
        option_print(row, e->limits, &mine);
        option_print(row, o->defaults, &common);
        if (diff && str_eq(buf_view(&mine), buf_view(&common)))
            continue;
        buf_printf(out, "    %s: ", row->name);
        if (row->type == OPT_STRING)
            json_str(out, buf_view(&mine));
        else
            buf_str(out, buf_view(&mine));
        buf_char(out, '\n');
    }
    buf_fini(&mine);
    buf_fini(&common);
}

void overrides_print_yaml(struct overrides *o, bool diff, struct buf *out)
{
    pthread_rwlock_wrlock(&o->lock); /* sorting moves the list */
    HASH_SORT(o->tenants, by_tenant);
    if (*o->failure)
        buf_printf(out, "# The file does not load, these limits are those of before: %s\n", o->failure);
    buf_z(out, o->tenants ? "overrides:\n" : "overrides: {}\n");
    for (struct tenant_entry *e = o->tenants; e; e = e->hh.next)
        print_tenant(o, e, diff, out);
    pthread_rwlock_unlock(&o->lock);
}

void overrides_print_json(struct overrides *o, bool diff, struct buf *out)
{
    pthread_rwlock_wrlock(&o->lock); /* sorting moves the list */
    HASH_SORT(o->tenants, by_tenant);
    buf_z(out, "{\"file\":");
    json_z(out, o->path);
    buf_printf(out, ",\"loaded\":%s,\"error\":", *o->failure ? "false" : "true");
    json_z(out, o->failure);
    buf_z(out, ",\"overrides\":{");
    for (struct tenant_entry *e = o->tenants; e; e = e->hh.next) {
        buf_z(out, e == o->tenants ? "" : ",");
        json_key(out, e->tenant);
        limits_print_json_diff(e->limits, diff ? o->defaults : NULL, out);
    }
    buf_z(out, "}}\n");
    pthread_rwlock_unlock(&o->lock);
}
