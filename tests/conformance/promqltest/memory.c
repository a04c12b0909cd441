#include "backend.h"

#include "promql/memsource.h"

#include <stdlib.h>

struct memory_backend {
    struct backend base;
    struct memsource *source;
};

static int memory_clear(struct backend *b, struct err *err UNUSED)
{
    struct memory_backend *mb = CONTAINER_OF(b, struct memory_backend, base);

    memsource_free(mb->source);
    mb->source = memsource_new();
    return 0;
}

static int memory_load(struct backend *b, const struct load_series *series, size_t n,
                       struct err *err)
{
    struct memory_backend *mb = CONTAINER_OF(b, struct memory_backend, base);
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < n; i++) {
        for (size_t k = 0; rc == 0 && k < series[i].n; k++) {
            const struct load_sample *s = &series[i].s[k];

            rc = memsource_append(mb->source, &series[i].labels, s->t, s->v, s->h, s->st, err);
        }
    }
    return rc;
}

static int memory_query(struct backend *b, struct promql_ast *ast, struct str text UNUSED,
                        const struct query_opt *opt, struct query_result *ret, struct err *err)
{
    return query_run(ast, memsource_source(CONTAINER_OF(b, struct memory_backend, base)->source),
                     opt, ret, err);
}

static void memory_free(struct backend *b)
{
    struct memory_backend *mb = CONTAINER_OF(b, struct memory_backend, base);

    memsource_free(mb->source);
    free(mb);
}

struct backend *backend_memory_new(const struct backend_opt *opt UNUSED)
{
    struct memory_backend *mb = xcalloc(1, sizeof *mb);

    mb->base = (struct backend){.name = "memory",
                               .clear = memory_clear,
                               .load = memory_load,
                               .query = memory_query,
                               .free = memory_free};
    mb->source = memsource_new();
    return &mb->base;
}
