#include "app/app.h"

static struct app_module *find(struct app *app, struct str name)
{
    for (size_t i = 0; i < app->module_count; i++)
        if (str_eqz(name, app->modules[i].module->name))
            return &app->modules[i];
    return NULL;
}

void *app_module_self(struct app *app, const char *name)
{
    struct app_module *m = find(app, str_of(name));

    ASSERT(m && m->wanted && m->self);
    return m->self;
}

/* Depth first; a cycle in the list of modules is our own bug. */
static void want(struct app *app, struct app_module *m, size_t depth)
{
    ASSERT(depth <= APP_MODULES_MAX);
    for (const char *const *dep = m->module->deps; dep && *dep; dep++) {
        struct app_module *d = find(app, str_of(*dep));

        ASSERT(d);
        want(app, d, depth + 1);
    }
    if (m->wanted)
        return;
    m->wanted = true;
    app->order[app->order_count++] = m;
}

static int unknown_target(struct app *app, const char *name, struct err *err)
{
    struct buf all;
    int rc;

    buf_init(&all, 4096);
    buf_z(&all, "all");
    for (size_t i = 0; i < app->module_count; i++)
        if (app->modules[i].module->target)
            buf_printf(&all, ", %s", app->modules[i].module->name);
    rc = err_set(err, RC_INVALID, "unknown target \"%s\": want a list of %.*s", name,
                 STR_FMT(buf_view(&all)));
    buf_fini(&all);
    return rc;
}

int app_plan(struct app *app, struct err *err)
{
    const struct opt_list *targets = &app->cfg.target;

    if (targets->n == 0)
        return err_set(err, RC_INVALID, "no target");
    for (size_t i = 0; i < targets->n; i++) {
        struct app_module *m = find(app, str_of(targets->v[i]));

        if (strcmp(targets->v[i], "all") == 0) {
            for (size_t j = 0; j < app->module_count; j++)
                if (app->modules[j].module->target)
                    want(app, &app->modules[j], 0);
        } else if (!m || !m->module->target) {
            return unknown_target(app, targets->v[i], err);
        } else {
            want(app, m, 0);
        }
    }
    return 0;
}
