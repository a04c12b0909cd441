#include "app/app.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { EXIT_SECOND_SIGNAL = 130 };

/* Signals wake a thread of their own, so that the second one ends the process whatever the first is
 * waiting for. */
struct signals {
    struct app *app;
    sigset_t set;
    struct mutex lock;
    struct cond wake;
    int first;     /* guarded by lock */
    bool finished; /* guarded by lock: the thread may end */
    pthread_t thread;
};

static void reload(struct app *app)
{
    struct err err = {0};

    if (overrides_reload(app->overrides, &err) < 0)
        log_error(app->log, "runtime config not loaded, the previous one stays", "err",
                  err_log(&err));
    else
        log_info(app->log, "runtime config looked at on SIGHUP");
    if (app->auth && auth_reload(app->auth, &err) < 0)
        log_error(app->log, "users not loaded, the previous ones stay", "err", err_log(&err));
}

static void *signal_main(void *arg)
{
    struct signals *s = arg;
    int sig;

    for (;;) {
        if (sigwait(&s->set, &sig) != 0)
            continue;
        if (sig == SIGHUP) {
            reload(s->app);
            continue;
        }
        mutex_lock(&s->lock);
        if (sig == SIGUSR2 && s->finished)
            break;
        if (s->first && (sig == SIGTERM || sig == SIGINT))
            _exit(EXIT_SECOND_SIGNAL);
        if (sig == SIGTERM || sig == SIGINT)
            s->first = sig;
        cond_broadcast(&s->wake);
        mutex_unlock(&s->lock);
    }
    mutex_unlock(&s->lock);
    return NULL;
}

static void signals_block(struct signals *s)
{
    sigemptyset(&s->set);
    sigaddset(&s->set, SIGTERM);
    sigaddset(&s->set, SIGINT);
    sigaddset(&s->set, SIGHUP);
    sigaddset(&s->set, SIGUSR2); /* our own: ends the thread */
    pthread_sigmask(SIG_BLOCK, &s->set, NULL);
    signal(SIGPIPE, SIG_IGN);
}

static void signals_start(struct signals *s, struct app *app)
{
    s->app = app;
    mutex_init(&s->lock);
    cond_init(&s->wake);
    s->thread = thread_start("signals", signal_main, s);
}

static void signals_stop(struct signals *s)
{
    mutex_lock(&s->lock);
    s->finished = true;
    mutex_unlock(&s->lock);
    pthread_kill(s->thread, SIGUSR2);
    pthread_join(s->thread, NULL);
    cond_fini(&s->wake);
    mutex_fini(&s->lock);
}

static int signals_wait(struct signals *s)
{
    int sig;

    mutex_lock(&s->lock);
    while (!s->first)
        cond_wait(&s->wake, &s->lock);
    sig = s->first;
    mutex_unlock(&s->lock);
    return sig;
}

/* --- parts --- */

static struct http_cfg http_cfg_of(const struct app_cfg *c)
{
    return (struct http_cfg){
        .address = c->http_address,
        .port = (uint16_t)c->http_port,
        .threads = (int)c->http_threads,
        .workers = (int)c->http_workers,
        .connections_max = (int)c->http_connections,
        .connections_per_ip_max = (int)c->http_connections_per_ip,
        .header_timeout_ms = c->header_timeout_ms,
        .idle_timeout_ms = c->idle_timeout_ms,
        .body_grace_ms = c->body_grace_ms,
        .body_bytes_per_second = (int64_t)c->body_bytes_per_second,
        .bodies_bytes_max = c->bodies_bytes_max,
        .blocking_queue_max = (int)c->http_queue,
        .gzip_level = (int)c->gzip_level,
        .tls = {c->tls_cert_file, c->tls_key_file, c->tls_client_ca_file},
        .routes_follow = true,
    };
}

/* "127.0.0.1:9010", "[::1]:9010". */
static int admin_address(const char *text, char *host, size_t host_n, uint16_t *ret_port, struct err *err)
{
    const char *colon = strrchr(text, ':');
    struct str name = str_n(text, colon ? (size_t)(colon - text) : 0);
    char *end = NULL;
    unsigned long port = colon ? strtoul(colon + 1, &end, 10) : 0;

    if (name.n >= 2 && name.p[0] == '[' && name.p[name.n - 1] == ']')
        name = str_sub(name, 1, name.n - 1);
    if (name.n == 0 || name.n >= host_n || !end || end == colon + 1 || *end || port > 65535)
        return err_set(err, RC_INVALID, "server.admin-listen-address: want host:port, not \"%s\"", text);
    snprintf(host, host_n, "%.*s", STR_FMT(name));
    *ret_port = (uint16_t)port;
    return 0;
}

static int admin_new(struct app *app, struct err *err)
{
    struct http_cfg cfg = http_cfg_of(&app->cfg);
    char host[64];
    int rc;

    if (!*app->cfg.admin_address)
        return 0;
    cfg.address = host;
    cfg.threads = 1;
    rc = admin_address(app->cfg.admin_address, host, sizeof host, &cfg.port, err);
    if (rc == 0)
        rc = http_server_new(&cfg, &(struct http_deps){app->log, app->metrics}, &app->admin, err);
    if (rc < 0)
        return rc;
    http_server_roles(app->http, ~(1u << HTTP_ROLE_ADMIN));
    http_server_roles(app->admin, 1u << HTTP_ROLE_ADMIN | 1u << HTTP_ROLE_METRICS | 1u << HTTP_ROLE_OPEN);
    http_server_twin(app->http, app->admin);
    return 0;
}

static int auth_start(struct app *app, struct err *err)
{
    struct auth_cfg cfg = {app->cfg.users_file, app->cfg.users_period_ms, app->cfg.tenancy};
    struct http_guard guard;
    int rc;

    if (!*cfg.users_file)
        return 0;
    rc = auth_new(&cfg, &(struct auth_deps){app->log, app->metrics}, &app->auth, err);
    if (rc < 0)
        return rc;
    guard = auth_guard(app->auth);
    http_server_guard(app->http, &guard);
    if (app->admin)
        http_server_guard(app->admin, &guard);
    return 0;
}

static int listen_as(struct app *app, struct http_server *s, const char *what, const char *address, struct err *err)
{
    int rc = http_server_start(s, err);

    if (rc == 0)
        log_info(app->log, what, "address", address, "port", log_i64(http_server_port(s)), "tls", *app->cfg.tls_cert_file ? "on" : "off");
    return rc;
}

static int http_start(struct app *app, struct err *err)
{
    struct http_cfg cfg = http_cfg_of(&app->cfg);
    int rc = http_server_new(&cfg, &(struct http_deps){app->log, app->metrics}, &app->http, err);

    if (rc == 0)
        rc = admin_new(app, err);
    if (rc == 0)
        rc = auth_start(app, err);
    if (rc < 0)
        return rc;
    app_pages_add(app);
    rc = listen_as(app, app->http, "listening", app->cfg.http_address, err);
    return rc == 0 && app->admin ? listen_as(app, app->admin, "listening for admin pages", app->cfg.admin_address, err) : rc;
}

static int parts_start(struct app *app, struct err *err)
{
    static const char *const build_labels[] = {"version", "revision", NULL};
    const struct overrides_deps deps = {app->log, app->metrics, app->limits_check};
    int rc;

    metrics_add_process(app->metrics);
    metric_set(metric_with(metrics_family(app->metrics, METRIC_GAUGE, "torc_build_info",
                                          "1, with version and revision as labels.", build_labels),
                           TORC_VERSION, app_revision(), NULL),
               1);
    rc = overrides_new(&app->limits_defaults, app->cfg.runtime_file, app->cfg.runtime_period_ms,
                       &deps, &app->overrides, err);
    return rc == 0 ? http_start(app, err) : rc;
}

static int module_failed(struct app_module *m, int rc, struct err *err)
{
    atomic_store(&m->state, MODULE_FAILED);
    return err_wrap(err, rc, "module %s", m->module->name);
}

/* All are made before the first is started, so that what serves calls has every handler when it begins. */
static int modules_start(struct app *app, struct err *err)
{
    for (size_t i = 0; i < app->order_count; i++) {
        struct app_module *m = app->order[i];
        int rc = m->module->init(app, m->cfg, &m->self, err);

        if (rc < 0)
            return module_failed(m, rc, err);
        atomic_store(&m->state, MODULE_STARTING);
    }
    for (size_t i = 0; i < app->order_count; i++) {
        struct app_module *m = app->order[i];
        int rc = m->module->start ? m->module->start(m->self, err) : 0;

        if (rc < 0)
            return module_failed(m, rc, err);
        atomic_store(&m->state, MODULE_RUNNING);
    }
    http_server_routed(app->http);
    if (app->admin)
        http_server_routed(app->admin);
    return 0;
}

/* In reverse. A module that failed to start is only freed. */
static void modules_drain(struct app *app)
{
    for (size_t i = app->order_count; i-- > 0;)
        if (atomic_load(&app->order[i]->state) == MODULE_RUNNING && app->order[i]->module->drain)
            app->order[i]->module->drain(app->order[i]->self);
}

static void modules_stop(struct app *app)
{
    for (size_t i = app->order_count; i-- > 0;) {
        struct app_module *m = app->order[i];

        if (atomic_load(&m->state) != MODULE_RUNNING)
            continue;
        atomic_store(&m->state, MODULE_STOPPING);
        if (m->module->stop)
            m->module->stop(m->self);
        atomic_store(&m->state, MODULE_STOPPED);
    }
}

static void parts_free(struct app *app)
{
    http_server_free(app->http);
    http_server_free(app->admin);
    auth_free(app->auth);
    for (size_t i = app->order_count; i-- > 0;)
        if (app->order[i]->module->free && app->order[i]->self)
            app->order[i]->module->free(app->order[i]->self);
    overrides_free(app->overrides);
}

static void shut_down(struct app *app)
{
    atomic_store(&app->draining, true);
    app_notify("STOPPING=1");
    usleep((useconds_t)(app->cfg.shutdown_delay_ms * 1000));
    modules_drain(app);
    if (app->http)
        http_server_drain(app->http, app->cfg.drain_timeout_ms);
    if (app->admin)
        http_server_drain(app->admin, app->cfg.drain_timeout_ms);
    modules_stop(app);
    if (app->http)
        http_server_stop(app->http, app->cfg.drain_timeout_ms);
    if (app->admin)
        http_server_stop(app->admin, app->cfg.drain_timeout_ms);
}

int app_run(struct app *app)
{
    struct signals signals = {0};
    struct err err = {0};
    int sig, rc;

    signals_block(&signals); /* before the first thread, which inherits the mask */
    mutex_init(&app->links_lock);
    app->clock = clock_system();
    app->started_wall_ms = clock_wall_ms(app->clock);
    app->log = log_new(STDERR_FILENO, (enum log_level)app->cfg.log_level,
                       (enum log_format)app->cfg.log_format);
    app->metrics = metrics_new();
    signals_start(&signals, app);
    log_info(app->log, "starting torc", "version", TORC_VERSION, "revision", app_revision());
    rc = parts_start(app, &err);
    if (rc == 0)
        rc = modules_start(app, &err);
    if (rc == 0) {
        atomic_store(&app->started, true);
        app_notify("READY=1");
        log_info(app->log, "started", "modules", log_i64((int64_t)app->order_count));
        sig = signals_wait(&signals);
        log_info(app->log, "shutting down", "signal", sig == SIGTERM ? "SIGTERM" : "SIGINT");
    } else {
        log_error(app->log, "not started", "err", err_log(&err));
    }
    shut_down(app);
    signals_stop(&signals);
    parts_free(app);
    log_info(app->log, "stopped");
    metrics_free(app->metrics);
    log_free(app->log);
    mutex_fini(&app->links_lock);
    return rc == 0 ? 0 : 1;
}
