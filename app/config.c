#include "app/app.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char *const levels[] = {"debug", "info", "warn", "error", NULL};
static const char *const formats[] = {"logfmt", "json", NULL};

#define AT(field) offsetof(struct app_cfg, field)

const struct option app_options[] = {
    {"target", OPT_LIST, AT(target), .def = "all",
     .doc = "What this process runs: a comma list of roles, or all."},
    {"config.file", OPT_STRING, AT(config_file), .flag_only = true,
     .doc = "YAML file with options."},
    {"data-dir", OPT_STRING, AT(data_dir), .def = "./data",
     .doc = "Directory below which modules keep their files."},
    {"tenancy.enabled", OPT_BOOL, AT(tenancy), .def = "true",
     .doc = "Read the tenant from X-Scope-OrgID; false: all but requests to a workspace in the path are the tenant anonymous's."},
    {"server.http-listen-address", OPT_STRING, AT(http_address), .def = "0.0.0.0",
     .doc = "Numeric address of the HTTP listener; :: listens on IPv4 and IPv6."},
    {"server.http-listen-port", OPT_INT, AT(http_port), .def = "9009", .min = "0", .max = "65535",
     .doc = "Port of the HTTP listener; 0 takes any free one and logs it."},
    {"server.admin-listen-address", OPT_STRING, AT(admin_address),
     .doc = "host:port, numeric, of a listener of its own for admin pages (everything but writing, the query API, /metrics and /ready); the other one then does "
            "not have them."},
    {"server.tls-cert-file", OPT_STRING, AT(tls_cert_file),
     .doc = "PEM file with the certificate of the HTTP listeners and its chain; looked at again every 5s. Empty: no TLS."},
    {"server.tls-key-file", OPT_STRING, AT(tls_key_file), .doc = "PEM file with the key of that certificate."},
    {"server.tls-client-ca-file", OPT_STRING, AT(tls_client_ca_file),
     .doc = "PEM file with CAs: requests must then come with a client certificate that one of them signed."},
    {"auth.users-file", OPT_STRING, AT(users_file),
     .doc = "YAML file with users, their roles and tenants; see docs/security.md. Empty: anybody may do anything."},
    {"auth.reload-period", OPT_DURATION, AT(users_period_ms), .def = "10s", .min = "10ms", .max = "1h",
     .doc = "How often that file is looked at."},
    {"server.http-threads", OPT_INT, AT(http_threads), .def = "4", .min = "1", .max = "256",
     .doc = "Threads that read requests and send answers."},
    {"server.http-workers", OPT_INT, AT(http_workers), .def = "4", .min = "1", .max = "256",
     .doc = "Threads for pages that may block."},
    {"server.http-worker-queue", OPT_INT, AT(http_queue), .def = "1000", .min = "1",
     .max = "1000000", .doc = "Requests that may wait for such a thread."},
    {"server.http-connections", OPT_INT, AT(http_connections), .def = "10000", .min = "256",
     .max = "1000000", .doc = "Open connections; further ones are closed."},
    {"server.http-connections-per-ip", OPT_INT, AT(http_connections_per_ip), .def = "0", .min = "0",
     .max = "1000000", .doc = "Open connections from one address; 0 is no limit."},
    {"server.http-header-timeout", OPT_DURATION, AT(header_timeout_ms), .def = "10s",
     .min = "100ms", .max = "10m",
     .doc = "Time for the headers of a request, from their first byte to their last."},
    {"server.http-idle-timeout", OPT_DURATION, AT(idle_timeout_ms), .def = "2m", .min = "1s",
     .max = "1h", .doc = "A connection without traffic for this long is closed."},
    {"server.http-body-grace", OPT_DURATION, AT(body_grace_ms), .def = "10s", .min = "100ms",
     .max = "10m", .doc = "Time before the slowest rate of bodies and answers applies."},
    {"server.http-body-rate", OPT_BYTES, AT(body_bytes_per_second), .def = "1KiB", .max = "1GiB",
     .doc =
         "Slowest rate, in bytes per second, at which a client may send a body or take an answer."},
    {"server.http-bodies-bytes", OPT_BYTES, AT(bodies_bytes_max), .def = "1GiB", .min = "1MiB",
     .doc = "Memory for the bodies of all requests together; past it 503."},
    {"server.http-gzip-level", OPT_INT, AT(gzip_level), .def = "1", .min = "0", .max = "9",
     .doc = "Compression of answers for clients that accept it; 0 is none."},
    {"server.log-level", OPT_ENUM, AT(log_level), .def = "info", .values = levels,
     .doc = "Least important lines that are logged."},
    {"server.log-format", OPT_ENUM, AT(log_format), .def = "logfmt", .values = formats,
     .doc = "Form of log lines."},
    {"server.shutdown-delay", OPT_DURATION, AT(shutdown_delay_ms), .def = "0", .max = "10m",
     .doc = "Time between failing /ready and refusing requests, for load balancers to notice."},
    {"server.drain-timeout", OPT_DURATION, AT(drain_timeout_ms), .def = "30s", .max = "1h",
     .doc = "Time for requests in flight at shutdown; then they are cancelled."},
    {"runtime-config.file", OPT_STRING, AT(runtime_file),
     .doc = "YAML file with limits per tenant, re-read while running."},
    {"runtime-config.period", OPT_DURATION, AT(runtime_period_ms), .def = "10s", .min = "10ms",
     .max = "1h", .doc = "How often that file is looked at."},
    {0},
};

void app_config_compose(struct app *app)
{
    app->config = config_new();
    config_add(app->config, "", app_options, &app->cfg);
    config_add(app->config, "limits.", limits_options, &app->limits_defaults);
    for (size_t i = 0; app_modules[i]; i++) {
        struct app_module *m = &app->modules[app->module_count++];

        ASSERT(app->module_count <= APP_MODULES_MAX);
        m->module = app_modules[i];
        m->cfg = xcalloc(1, m->module->cfg_size);
        if (m->module->options)
            config_add(app->config, "", m->module->options, m->cfg);
    }
}

int app_config_load(struct app *app, int argc, char *const *argv, struct err *err)
{
    int rc = config_load_flags(app->config, argc, argv, "config.file", err);

    if (rc == 0 && *app->cfg.config_file)
        rc = config_load_file(app->config, app->cfg.config_file, err);
    if (rc == 0)
        rc = config_load_environment(app->config, err);
    if (rc == 0)
        rc = config_load_flags(app->config, argc, argv, NULL, err);
    return rc;
}

void app_config_free(struct app *app)
{
    config_free(app->config);
    for (size_t i = 0; i < app->module_count; i++)
        free(app->modules[i].cfg);
}

static int print_buf(struct buf *text)
{
    fwrite(text->p, 1, text->n, stdout);
    return fflush(stdout) == 0 && buf_ok(text) ? 0 : 1;
}

static int usage(void)
{
    fputs("usage: torc config check [flags]          say whether file, environment and flags are "
          "right\n"
          "       torc config print [--diff] [flags] the effective configuration as YAML, secrets "
          "masked\n"
          "       torc config docs                   every option, as Markdown\n"
          "       torc config schema                 JSON schema of the YAML file\n",
          stderr);
    return 2;
}

static int checked(struct app *app, int argc, char **argv)
{
    struct err err = {0};
    int rc = app_config_load(app, argc, argv, &err);

    if (rc == 0)
        rc = app_plan(app, &err);
    if (rc < 0)
        fprintf(stderr, "torc: %s\n", err_text(&err));
    return rc;
}

int app_command_config(int argc, char **argv)
{
    const char *verb = argc > 0 ? argv[0] : "";
    bool diff = argc > 1 && (strcmp(argv[1], "--diff") == 0 || strcmp(argv[1], "-diff") == 0);
    struct app app = {0};
    struct buf out;
    int code;

    app_config_compose(&app);
    buf_init(&out, 16 << 20);
    if (strcmp(verb, "docs") == 0 && argc == 1) {
        config_print_docs(app.config, &out);
        code = print_buf(&out);
    } else if (strcmp(verb, "schema") == 0 && argc == 1) {
        config_print_schema(app.config, &out);
        code = print_buf(&out);
    } else if (strcmp(verb, "check") == 0) {
        code = checked(&app, argc - 1, argv + 1) == 0 ? 0 : 1;
        if (code == 0)
            puts("the configuration is right");
    } else if (strcmp(verb, "print") == 0) {
        code = checked(&app, argc - 1 - diff, argv + 1 + diff) == 0 ? 0 : 1;
        if (code == 0)
            config_print_yaml(app.config, diff, &out);
        if (code == 0)
            code = print_buf(&out);
    } else {
        code = usage();
    }
    buf_fini(&out);
    app_config_free(&app);
    return code;
}
