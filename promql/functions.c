#include "promql/functions.h"

#include <stdlib.h>

static const struct function table[] = {
#define X(ID, NAME, ARGS, VARIADIC, RET, EXPERIMENTAL)                                             \
    {.id = FN_##ID, .name = NAME, .args = ARGS, .variadic = VARIADIC, .ret = VALUE_##RET, .experimental = EXPERIMENTAL},
    PROMQL_FUNCTIONS(X)
#undef X
};

static int by_name(const void *key, const void *row)
{
    return str_cmp(*(const struct str *)key, str_of(((const struct function *)row)->name));
}

const struct function *function_find(struct str name)
{
    return bsearch(&name, table, ARRAY_LEN(table), sizeof table[0], by_name);
}

const struct function *function_get(enum function_id id)
{
    ASSERT(id < FN_COUNT);
    return &table[id];
}
