/* The list of modules, and nothing else: a role is plugged in by a line here. */
#include "app/app.h"

extern const struct module module_rpc, module_ring, module_bucket, module_ingester, module_distributor, module_querier, module_compactor;

const struct module *const app_modules[] = {
    &module_rpc, &module_ring, &module_bucket, &module_distributor, &module_ingester, &module_querier, &module_compactor, NULL,
};
