#include "common/config/yaml.h"

#include <stdlib.h>
#include <yaml.h>

struct loader {
    struct arena *arena;
    const char *name;
    yaml_parser_t parser;
    yaml_event_t event;
    bool have_event;
    size_t nodes;
};

static size_t line_of(const struct loader *l)
{
    return l->event.start_mark.line + 1;
}

static int next_event(struct loader *l, struct err *err)
{
    if (l->have_event)
        yaml_event_delete(&l->event);
    l->have_event = false;
    if (!yaml_parser_parse(&l->parser, &l->event))
        return err_set(err, RC_INVALID, "%s:%zu: %s%s%s", l->name, l->parser.problem_mark.line + 1,
                       l->parser.context ? l->parser.context : "", l->parser.context ? ": " : "",
                       l->parser.problem ? l->parser.problem : "malformed YAML");
    l->have_event = true;
    return 0;
}

static int check_plainness(const struct loader *l, struct err *err)
{
    const yaml_char_t *anchor = NULL, *tag = NULL;

    if (l->event.type == YAML_SCALAR_EVENT) {
        anchor = l->event.data.scalar.anchor;
        tag = l->event.data.scalar.tag;
    } else if (l->event.type == YAML_MAPPING_START_EVENT) {
        anchor = l->event.data.mapping_start.anchor;
        tag = l->event.data.mapping_start.tag;
    } else if (l->event.type == YAML_SEQUENCE_START_EVENT) {
        anchor = l->event.data.sequence_start.anchor;
        tag = l->event.data.sequence_start.tag;
    }
    if (anchor || l->event.type == YAML_ALIAS_EVENT)
        return err_set(err, RC_INVALID, "%s:%zu: anchors and aliases are not accepted", l->name,
                       line_of(l));
    if (tag)
        return err_set(err, RC_INVALID, "%s:%zu: tags are not accepted", l->name, line_of(l));
    return 0;
}

static int node_new(struct loader *l, struct yaml_node **ret, struct err *err)
{
    struct yaml_node *n = arena_zalloc(l->arena, sizeof *n);

    if (!n || ++l->nodes > YAML_NODES_MAX)
        return err_set(err, RC_LIMIT, "%s:%zu: too large", l->name, line_of(l));
    n->line = line_of(l);
    *ret = n;
    return 0;
}

static int scalar_text(struct loader *l, struct str *ret, struct err *err)
{
    *ret = arena_str(l->arena, str_n(l->event.data.scalar.value, l->event.data.scalar.length));
    if (!ret->p && ret->n)
        return err_set(err, RC_LIMIT, "%s:%zu: too large", l->name, line_of(l));
    return 0;
}

static int key_order(const void *a, const void *b)
{
    const struct yaml_node *const *x = a, *const *y = b;
    int c = str_cmp((*x)->key, (*y)->key);

    return c ? c : ((*x)->key_line > (*y)->key_line) - ((*x)->key_line < (*y)->key_line);
}

static int check_duplicates(struct loader *l, const struct yaml_node *map, struct err *err)
{
    const struct yaml_node **sorted;
    size_t n = 0;

    if (map->child_count < 2)
        return 0;
    sorted = arena_array(l->arena, map->child_count, sizeof *sorted);
    if (!sorted)
        return err_set(err, RC_LIMIT, "%s:%zu: too large", l->name, map->line);
    for (const struct yaml_node *c = map->children; c; c = c->next)
        sorted[n++] = c;
    qsort(sorted, n, sizeof *sorted, key_order);
    for (size_t i = 1; i < n; i++)
        if (str_eq(sorted[i - 1]->key, sorted[i]->key))
            return err_set(err, RC_INVALID, "%s:%zu: \"%.*s\" is already given in line %zu",
                           l->name, sorted[i]->key_line, STR_FMT(sorted[i]->key),
                           sorted[i - 1]->key_line);
    return 0;
}

static int load_node(struct loader *l, int depth, struct yaml_node **ret, struct err *err);

/* The current event opened the collection; on return it closed it. */
static int load_children(struct loader *l, struct yaml_node *parent, int depth, struct err *err)
{
    bool mapping = parent->kind == YAML_MAPPING;
    yaml_event_type_t end = mapping ? YAML_MAPPING_END_EVENT : YAML_SEQUENCE_END_EVENT;
    struct yaml_node **tail = &parent->children;
    int rc;

    for (;;) {
        struct str key = {0};
        size_t key_line;

        rc = next_event(l, err);
        if (rc < 0 || l->event.type == end)
            break;
        rc = check_plainness(l, err);
        key_line = line_of(l);
        if (rc == 0 && mapping && l->event.type != YAML_SCALAR_EVENT)
            rc = err_set(err, RC_INVALID, "%s:%zu: a key must be a plain word", l->name, key_line);
        if (rc == 0 && mapping)
            rc = scalar_text(l, &key, err);
        if (rc == 0 && mapping)
            rc = next_event(l, err);
        if (rc == 0)
            rc = load_node(l, depth + 1, tail, err);
        if (rc < 0)
            break;
        (*tail)->key = key;
        (*tail)->key_line = key_line;
        tail = &(*tail)->next;
        parent->child_count++;
    }
    return rc < 0 ? rc : mapping ? check_duplicates(l, parent, err) : 0;
}

static int load_node(struct loader *l, int depth, struct yaml_node **ret, struct err *err)
{
    struct yaml_node *n = NULL;
    int rc = check_plainness(l, err);

    if (rc == 0 && depth > YAML_DEPTH_MAX)
        rc = err_set(err, RC_LIMIT, "%s:%zu: nested deeper than %d", l->name, line_of(l),
                     YAML_DEPTH_MAX);
    if (rc == 0)
        rc = node_new(l, &n, err);
    if (rc < 0)
        return rc;
    if (l->event.type == YAML_SCALAR_EVENT) {
        n->kind = YAML_SCALAR;
        n->plain = l->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
        rc = scalar_text(l, &n->text, err);
    } else if (l->event.type == YAML_MAPPING_START_EVENT ||
               l->event.type == YAML_SEQUENCE_START_EVENT) {
        n->kind = l->event.type == YAML_MAPPING_START_EVENT ? YAML_MAPPING : YAML_SEQUENCE;
        rc = load_children(l, n, depth, err);
    } else {
        rc = err_set(err, RC_INVALID, "%s:%zu: malformed YAML", l->name, line_of(l));
    }
    if (rc == 0)
        *ret = n;
    return rc;
}

static int load_document(struct loader *l, struct yaml_node **ret, struct err *err)
{
    int rc = next_event(l, err); /* stream start */

    if (rc == 0)
        rc = next_event(l, err);
    if (rc == 0 && l->event.type == YAML_STREAM_END_EVENT) {
        rc = node_new(l, ret, err);
        if (rc == 0)
            (*ret)->kind = YAML_MAPPING;
        return rc;
    }
    if (rc == 0)
        rc = next_event(l, err); /* past document start */
    if (rc == 0)
        rc = load_node(l, 0, ret, err);
    if (rc == 0)
        rc = next_event(l, err); /* document end */
    if (rc == 0)
        rc = next_event(l, err);
    if (rc == 0 && l->event.type != YAML_STREAM_END_EVENT)
        rc = err_set(err, RC_INVALID, "%s:%zu: more than one document", l->name, line_of(l));
    return rc;
}

int yaml_load(struct arena *a, const char *name, struct str text, struct yaml_node **ret,
              struct err *err)
{
    struct loader l = {.arena = a, .name = name};
    struct yaml_node *root = NULL;
    int rc;

    if (!yaml_parser_initialize(&l.parser))
        return err_set(err, RC_NOMEM, "no memory for a YAML parser");
    yaml_parser_set_input_string(&l.parser, (const unsigned char *)(text.p ? text.p : ""), text.n);
    yaml_parser_set_encoding(&l.parser, YAML_UTF8_ENCODING);
    rc = load_document(&l, &root, err);
    if (l.have_event)
        yaml_event_delete(&l.event);
    yaml_parser_delete(&l.parser);
    if (rc == 0)
        *ret = root;
    return rc;
}

bool yaml_is_null(const struct yaml_node *n)
{
    return n->kind == YAML_SCALAR && n->plain &&
           (n->text.n == 0 || str_eqz(n->text, "null") || str_eqz(n->text, "~"));
}

int option_set_yaml(const struct option *o, void *base, const struct yaml_node *n, struct err *err)
{
    struct str items[OPT_LIST_MAX];
    size_t count = 0;

    if (yaml_is_null(n))
        return 0;
    if (n->kind == YAML_SCALAR)
        return option_set(o, base, n->text, err);
    if (n->kind == YAML_MAPPING || o->type != OPT_LIST)
        return err_set(err, RC_INVALID, "want one %s", opt_type_name(o->type));
    for (const struct yaml_node *c = n->children; c; c = c->next) {
        if (c->kind != YAML_SCALAR || count == OPT_LIST_MAX)
            return err_set(err, RC_INVALID, "want a list of at most %d words", OPT_LIST_MAX);
        items[count++] = c->text;
    }
    return option_set_list(o, base, items, count, err);
}
