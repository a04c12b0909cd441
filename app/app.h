/* app.h - one torc process: configuration, logs, metrics, HTTP and the modules that --target names.
 * A module is a role or what roles share. modules.c lists them; main.c starts those that are
 * wanted, each after its dependencies, and stops them in reverse. Only app/ sees every room. */
#pragma once
#include "common/auth/auth.h"
#include "common/config/config.h"
#include "common/config/limits.h"
#include "common/http/http.h"
#include "common/sys/clock.h"
#include "common/sys/thread.h"

enum { APP_MODULES_MAX = 32, APP_LINKS_MAX = 128 };

struct app_cfg {
    struct opt_list target;
    char *config_file, *data_dir;
    bool tenancy;
    char *http_address, *admin_address, *tls_cert_file, *tls_key_file, *tls_client_ca_file;
    char *users_file;
    int64_t users_period_ms;
    int64_t http_port, http_threads, http_workers, http_connections, http_connections_per_ip,
        http_queue;
    int64_t header_timeout_ms, idle_timeout_ms, body_grace_ms;
    uint64_t body_bytes_per_second, bodies_bytes_max;
    int64_t gzip_level;
    int log_level, log_format;
    int64_t shutdown_delay_ms, drain_timeout_ms;
    char *runtime_file;
    int64_t runtime_period_ms;
};
extern const struct option app_options[];

enum module_state {
    MODULE_NEW,
    MODULE_STARTING,
    MODULE_RUNNING,
    MODULE_STOPPING,
    MODULE_STOPPED,
    MODULE_FAILED
};
const char *module_state_name(enum module_state state);

struct app;
struct memory_account;

struct module {
    const char *name;
    const char *const *deps;      /* names, NULL-terminated; NULL: none */
    bool target;                  /* may be named in --target and belongs to "all" */
    const struct option *options; /* NULL: none */
    size_t cfg_size;              /* of the struct that options fill */
    /* cfg lives as long as the app. init makes the module (no thread, no port yet); *ret_self may
     * be NULL for a module without state. */
    int (*init)(struct app *app, const void *cfg, void **ret_self, struct err *err);
    int (*start)(void *self, struct err *err);      /* may be NULL. Routes may be added */
    bool (*ready)(void *self, struct buf *why_not); /* NULL: ready once started. Any thread */
    void (*drain)(
        void *self); /* may be NULL: shutdown has begun, requests are still being answered */
    void (*stop)(void *self); /* may be NULL: no request runs any more */
    void (*free)(void *self); /* may be NULL */
    void (*memory)(void *self, struct memory_account *a); /* may be NULL: what it holds. Any thread, while it runs */
};
/* NULL-terminated; modules.c. */
extern const struct module *const app_modules[];

struct app_module {
    const struct module *module;
    void *cfg, *self;
    bool wanted;
    _Atomic int state; /* enum module_state */
};

struct app_link {
    const char *path, *title;
    bool dangerous;
};

struct app {
    struct app_cfg cfg; /* --- fixed once loaded --- */
    struct config *config;
    struct limits limits_defaults;
    int (*limits_check)(const struct limits *l, struct err *err); /* NULL: none */
    const struct clock *clock;
    int64_t started_wall_ms;
    struct log *log;
    struct metrics *metrics;
    struct http_server *http;  /* routes are given to this one */
    struct http_server *admin; /* NULL: http serves admin pages too */
    struct auth *auth;         /* NULL: anybody may do anything */
    struct overrides *overrides;
    struct app_module modules[APP_MODULES_MAX]; /* as in app_modules */
    size_t module_count;
    struct app_module *order[APP_MODULES_MAX]; /* wanted ones, dependencies first */
    size_t order_count;
    _Atomic bool started, draining;
    struct mutex links_lock; /* --- guards links --- */
    struct app_link links[APP_LINKS_MAX];
    size_t link_count;
};

/* The instance of a module that was started before the caller (a dependency); a bug otherwise. */
void *app_module_self(struct app *app, const char *name);
/* Puts a page on the index; borrowed strings. */
void app_link(struct app *app, const char *path, const char *title, bool dangerous);

/* --- between the files of app/ --- */

/* config.c: composes all tables and reads file, environment and flags. argv without the program's
 * name. */
void app_config_compose(struct app *app);
int app_config_load(struct app *app, int argc, char *const *argv, struct err *err);
void app_config_free(struct app *app);

/* plan.c: marks what --target wants with its dependencies and orders it. */
int app_plan(struct app *app, struct err *err);

/* run.c: init, start, wait for a signal, drain, stop. The process's exit code. */
int app_run(struct app *app);

/* notify.c: tells systemd (Type=notify), when it started us: "READY=1", "STOPPING=1". Without it:
 * nothing. */
void app_notify(const char *state);

/* pages.c */
void app_pages_add(struct app *app);
/* memory_page.c: /debug/memory */
void app_memory_page_add(struct app *app);
/* debug_pages.c: /debug/profile, /debug/heap, /debug/threads */
void app_debug_pages_add(struct app *app);
/* True when every module is ready; else the reasons, one a line. */
bool app_ready(struct app *app, struct buf *why_not);

/* revision.c: the commit this was built from, or "unknown". */
const char *app_revision(void);
/* "torc config ..."; argv begins after "config". The exit code. */
int app_command_config(int argc, char **argv);
