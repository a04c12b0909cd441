#include "common/config/config_impl.h"
#include "common/config/yaml.h"
#include "common/sys/fs.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

struct config *config_new(void)
{
    return xcalloc(1, sizeof(struct config));
}

void config_free(struct config *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < c->table_count; i++)
        options_free(c->tables[i].table, c->tables[i].base);
    for (size_t i = 0; i < c->items.n; i++)
        free(c->items.v[i].name);
    vec_fini(&c->items);
    free(c);
}

static int item_order(const void *a, const void *b)
{
    const struct config_item *x = a, *y = b;
    bool x_top = !strchr(x->name, '.'), y_top = !strchr(y->name, '.');

    return x_top != y_top ? (x_top ? -1 : 1) : strcmp(x->name, y->name);
}

void config_add(struct config *c, const char *prefix, const struct option *table, void *base)
{
    ASSERT(c->table_count < CONFIG_TABLES_MAX);
    c->tables[c->table_count].table = table;
    c->tables[c->table_count++].base = base;
    options_default(table, base);
    for (const struct option *o = table; o->name; o++) {
        char name[256];

        ASSERT((size_t)snprintf(name, sizeof name, "%s%s", prefix, o->name) < sizeof name);
        ASSERT(!config_find(c, str_of(name)));
        *vec_push(&c->items) = (struct config_item){xstrdup(name), o, base};
    }
    if (c->items.n)
        qsort(c->items.v, c->items.n, sizeof *c->items.v, item_order);
}

struct config_item *config_find(const struct config *c, struct str name)
{
    for (size_t i = 0; i < c->items.n; i++)
        if (option_name_eq(str_of(c->items.v[i].name), name))
            return &c->items.v[i];
    return NULL;
}

/* "server" is a section when an option's name begins with "server.". */
static bool is_section(const struct config *c, struct str name)
{
    for (size_t i = 0; i < c->items.n; i++) {
        struct str item = str_of(c->items.v[i].name);

        if (item.n > name.n && item.p[name.n] == '.' &&
            option_name_eq(str_sub(item, 0, name.n), name))
            return true;
    }
    return false;
}

/* Nearest among options and their sections. */
static struct nearest nearest_name(const struct config *c, struct str name)
{
    struct nearest n;

    nearest_init(&n, name);
    for (size_t i = 0; i < c->items.n; i++) {
        struct str item = str_of(c->items.v[i].name);

        nearest_try(&n, item);
        for (size_t dot = 0; dot < item.n; dot++)
            if (item.p[dot] == '.')
                nearest_try(&n, str_sub(item, 0, dot));
    }
    return n;
}

static int unknown(const struct config *c, const char *where, struct str name, struct err *err)
{
    struct nearest n = nearest_name(c, name);

    if (nearest_found(&n))
        return err_set(err, RC_INVALID, "%s: unknown option \"%.*s\", did you mean \"%.*s\"?",
                       where, STR_FMT(name), STR_FMT(n.best));
    return err_set(err, RC_INVALID, "%s: unknown option \"%.*s\"", where, STR_FMT(name));
}

/* --- the file --- */

struct yaml_walk {
    struct config *config;
    const char *file;
    bool *seen; /* by item: "a_b" and "a-b" are one option */
};

static int walk_mapping(struct yaml_walk *w, struct str path, const struct yaml_node *map,
                        struct err *err);

static int walk_entry(struct yaml_walk *w, struct str name, const struct yaml_node *n,
                      struct err *err)
{
    struct config_item *item = config_find(w->config, name);
    char where[512];
    int rc;

    snprintf(where, sizeof where, "%s:%zu", w->file, n->key_line);
    if (!item && is_section(w->config, name)) {
        if (yaml_is_null(n))
            return 0;
        if (n->kind != YAML_MAPPING)
            return err_set(err, RC_INVALID, "%s: \"%.*s\" is a section", where, STR_FMT(name));
        return walk_mapping(w, name, n, err);
    }
    if (!item)
        return unknown(w->config, where, name, err);
    if (item->option->flag_only)
        return err_set(err, RC_INVALID, "%s: \"%s\" can only be given as a flag", where,
                       item->name);
    if (w->seen[item - w->config->items.v])
        return err_set(err, RC_INVALID, "%s: \"%s\" is given twice", where, item->name);
    w->seen[item - w->config->items.v] = true;
    rc = option_set_yaml(item->option, item->base, n, err);
    return rc < 0 ? err_wrap(err, rc, "%s: %s", where, item->name) : 0;
}

static int walk_mapping(struct yaml_walk *w, struct str path, const struct yaml_node *map,
                        struct err *err)
{
    int rc = 0;

    for (const struct yaml_node *n = map->children; rc == 0 && n; n = n->next) {
        char name[512];
        int len = snprintf(name, sizeof name, "%.*s%s%.*s", STR_FMT(path), path.n ? "." : "",
                           STR_FMT(n->key));

        if (len >= (int)sizeof name)
            rc = err_set(err, RC_INVALID, "%s:%zu: a name longer than %zu bytes", w->file,
                         n->key_line, sizeof name);
        else
            rc = walk_entry(w, str_n(name, (size_t)len), n, err);
    }
    return rc;
}

int config_load_yaml(struct config *c, const char *name, struct str text, struct err *err)
{
    struct yaml_walk walk = {.config = c, .file = name};
    struct yaml_node *root = NULL;
    struct arena a;
    int rc;

    if (text.n > CONFIG_EXPANDED_BYTES_MAX)
        return err_set(err, RC_LIMIT, "%s is larger than %d bytes", name,
                       CONFIG_EXPANDED_BYTES_MAX);
    arena_init(&a, 64 << 20);
    rc = yaml_load(&a, name, text, &root, err);
    if (rc == 0 && root->kind != YAML_MAPPING && !yaml_is_null(root))
        rc = err_set(err, RC_INVALID, "%s:%zu: want options, \"name: value\"", name, root->line);
    walk.seen = xcalloc(c->items.n, sizeof *walk.seen);
    if (rc == 0)
        rc = walk_mapping(&walk, STR(""), root, err);
    free(walk.seen);
    arena_fini(&a);
    return rc;
}

/* At text.p[at] stands "${": the length of a well-formed ${NAME} or ${NAME:default}, else 0. */
static size_t variable_at(struct str text, size_t at, char name[256], struct str *ret_default)
{
    size_t i = at + 2, name_start = i, end;

    while (i < text.n && (isalnum((unsigned char)text.p[i]) || text.p[i] == '_'))
        i++;
    if (i == name_start || i - name_start >= 256 || isdigit((unsigned char)text.p[name_start]) ||
        i == text.n)
        return 0;
    memcpy(name, text.p + name_start, i - name_start);
    name[i - name_start] = '\0';
    *ret_default = (struct str){0};
    if (text.p[i] == '}')
        return i + 1 - at;
    end = str_find(str_skip(text, i), '}') + i;
    if (text.p[i] != ':' || end == text.n || memchr(text.p + i, '\n', end - i))
        return 0;
    *ret_default = str_sub(text, i + 1, end);
    return end + 1 - at;
}

static bool is_comment(struct str line)
{
    line = str_trim(line);
    return line.n && line.p[0] == '#';
}

static int expand_line(const char *name, size_t number, struct str line, struct buf *out,
                       struct err *err)
{
    for (size_t at = 0; at < line.n;) {
        struct str fallback;
        const char *value;
        char variable[256];
        size_t n = 0;

        if (str_has_prefix(str_skip(line, at), STR("$${"))) {
            buf_z(out, "${");
            at += 3;
            continue;
        }
        if (str_has_prefix(str_skip(line, at), STR("${")))
            n = variable_at(line, at, variable, &fallback);
        if (n == 0) {
            buf_char(out, line.p[at++]);
            continue;
        }
        value = getenv(variable);
        if (!value && !fallback.p)
            return err_set(err, RC_INVALID,
                           "%s:%zu: environment variable %s is not set and has no default", name,
                           number, variable);
        buf_str(out, value ? str_of(value) : fallback);
        at += n;
    }
    return 0;
}

int config_expand(const char *name, struct str in, struct buf *out, struct err *err)
{
    int rc = 0;

    for (size_t number = 1; rc == 0 && in.n; number++) {
        size_t end = MIN(str_find(in, '\n') + 1, in.n);
        struct str line = str_sub(in, 0, end);

        in = str_skip(in, end);
        if (is_comment(line))
            buf_str(out, line);
        else
            rc = expand_line(name, number, line, out, err);
    }
    if (rc == 0 && !buf_ok(out))
        rc = err_set(err, RC_LIMIT, "%s is larger than %zu bytes once expanded", name, out->max);
    return rc;
}

int config_load_file(struct config *c, const char *path, struct err *err)
{
    struct buf raw, text;
    int rc;

    buf_init(&raw, CONFIG_FILE_BYTES_MAX);
    buf_init(&text, CONFIG_EXPANDED_BYTES_MAX);
    rc = fs_read(path, &raw, err);
    if (rc == 0)
        rc = config_expand(path, buf_view(&raw), &text, err);
    if (rc == 0)
        rc = config_load_yaml(c, path, buf_view(&text), err);
    buf_fini(&raw);
    buf_fini(&text);
    return rc;
}

/* --- environment and flags --- */

int config_load_environment(struct config *c, struct err *err)
{
    for (size_t i = 0; i < c->items.n; i++) {
        struct config_item *item = &c->items.v[i];
        char name[300] = "TORC_";
        const char *value;
        int rc;

        for (size_t n = strlen(name), j = 0; item->name[j]; j++)
            name[n + j] = isalnum((unsigned char)item->name[j])
                              ? (char)toupper((unsigned char)item->name[j])
                              : '_';
        value = getenv(name);
        rc = value ? option_set(item->option, item->base, str_of(value), err) : 0;
        if (rc < 0)
            return err_wrap(err, rc, "environment variable %s", name);
    }
    return 0;
}

/* One flag at argv[*at]; advances past its value. */
static int load_flag(struct config *c, int argc, char *const *argv, int *at, const char *only,
                     struct err *err)
{
    struct str arg = str_of(argv[*at]), name, value = {0};
    struct config_item *item;
    size_t equals;
    int rc;

    if (arg.n < 2 || arg.p[0] != '-')
        return err_set(err, RC_INVALID, "\"%.*s\" is neither a flag nor a command", STR_FMT(arg));
    name = str_skip(arg, arg.p[1] == '-' ? 2 : 1);
    equals = str_find(name, '=');
    if (equals < name.n)
        value = str_skip(name, equals + 1);
    name = str_sub(name, 0, equals);
    item = config_find(c, name);
    ++*at;
    if (!item)
        return unknown(c, "command line", name, err);
    if (!value.p && item->option->type == OPT_BOOL)
        value = STR("true");
    else if (!value.p && *at == argc)
        return err_set(err, RC_INVALID, "command line: --%s needs a value", item->name);
    else if (!value.p)
        value = str_of(argv[(*at)++]);
    if (only && strcmp(item->name, only) != 0)
        return 0;
    rc = option_set(item->option, item->base, value, err);
    return rc < 0 ? err_wrap(err, rc, "command line: --%s", item->name) : 0;
}

int config_load_flags(struct config *c, int argc, char *const *argv, const char *only,
                      struct err *err)
{
    int rc = 0;

    for (int at = 0; rc == 0 && at < argc;)
        rc = load_flag(c, argc, argv, &at, only, err);
    return rc;
}
