/* yaml.h - the small, unsurprising part of YAML as a tree with line numbers: mappings with scalar
 * keys, sequences, scalars. Refused with the line: aliases and anchors (bombs), tags, duplicate
 * keys, more than one document, nesting past YAML_DEPTH_MAX, more than YAML_NODES_MAX nodes.
 * Scalars keep their text; what they mean is the option's business. */
#pragma once
#include "common/base/arena.h"
#include "common/base/err.h"
#include "common/config/option.h"

enum { YAML_DEPTH_MAX = 16, YAML_NODES_MAX = 500000 };
enum yaml_kind { YAML_SCALAR, YAML_MAPPING, YAML_SEQUENCE };

struct yaml_node {
    enum yaml_kind kind;
    size_t line;     /* from 1 */
    struct str text; /* scalar */
    bool plain;      /* scalar without quotes */
    struct str key;  /* of this node in its mapping */
    size_t key_line;
    struct yaml_node *children, *next; /* mapping or sequence: a list */
    size_t child_count;
};

/* name is for messages: "torc.yaml:12: ...". An empty document gives an empty mapping. Everything
 * lives in the arena. */
int yaml_load(struct arena *a, const char *name, struct str text, struct yaml_node **ret,
              struct err *err);
/* Plain and empty, null or ~: no value. */
bool yaml_is_null(const struct yaml_node *n);
/* An option from a node: a scalar, or a sequence of scalars for a list; without a value nothing
 * changes. */
int option_set_yaml(const struct option *o, void *base, const struct yaml_node *n,
                    struct err *err);
