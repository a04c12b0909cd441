/* config_impl.h - what config.c (reading) and config_print.c (writing) share. */
#pragma once
#include "common/base/vec.h"
#include "common/config/config.h"

struct config_item {
    char *name; /* with prefix; heap */
    const struct option *option;
    void *base;
};

struct config {
    struct {
        const struct option *table;
        void *base;
    } tables[CONFIG_TABLES_MAX];
    size_t table_count;
    VEC(struct config_item) items; /* sorted by name, options outside any section first */
};

/* NULL when there is none. */
struct config_item *config_find(const struct config *c, struct str name);
