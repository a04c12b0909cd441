/* The list of modules, and nothing else: a role is plugged in by a line here. */
#include "app/app.h"

const struct module *const app_modules[] = {
    NULL,
};
