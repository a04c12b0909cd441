#include "loadgen/exporter.h"

#include "common/http/http.h"
#include "common/obs/metrics.h"
#include "common/sys/fs.h"

#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { NAME_MAX_BYTES = 96, TEXT_BYTES_MAX = 1 << 20, DRAIN_MS = 1000 };

struct exported {
    char name[NAME_MAX_BYTES]; /* borrowed by the registry */
    struct metric *metric;
    uint64_t counted;
};

struct exporter {
    struct metrics *metrics;
    struct http_server *server; /* NULL: does not listen */
    const char *file;
    bool told;
    struct exported figures[FIGURES_MAX];
    size_t figure_n; /* further ones come behind these, see report_figures() */
};

static void put_text(struct exporter *e, struct buf *out)
{
    buf_init(out, TEXT_BYTES_MAX);
    metrics_write(e->metrics, false, out);
}

static void serve(void *arg, struct http_req *req)
{
    struct buf out;

    put_text(arg, &out);
    http_reply_buf(req, 200, "text/plain; version=0.0.4; charset=utf-8", &out);
}

static int parse_listen(const char *listen, char host[static 64], uint16_t *ret_port, struct err *err)
{
    struct str text = str_of(listen);
    size_t colon = text.n;
    char *end;
    unsigned long port;

    while (colon > 0 && text.p[colon - 1] != ':')
        colon--;
    if (colon == 0 || colon - 1 >= 64)
        return err_set(err, RC_INVALID, "--metrics-listen: \"%s\" is not HOST:PORT", listen);
    port = strtoul(listen + colon, &end, 10);
    if (*end || end == listen + colon || port > UINT16_MAX)
        return err_set(err, RC_INVALID, "--metrics-listen: \"%s\" has no port", listen);
    snprintf(host, 64, "%.*s", (int)(colon - 1), colon > 1 ? listen : "");
    if (!host[0])
        snprintf(host, 64, "::");
    *ret_port = (uint16_t)port;
    return 0;
}

/* Its threads leave signals to ours. */
static int start_server(struct exporter *e, const char *listen, struct err *err)
{
    struct http_cfg cfg = http_cfg_default;
    struct http_route route = {.pattern = "/metrics", .methods = HTTP_M_GET, .flags = HTTP_ALWAYS, .handle = serve, .arg = e};
    char host[64];
    sigset_t all, before;
    int rc = parse_listen(listen, host, &cfg.port, err);

    if (rc < 0)
        return rc;
    cfg.address = host;
    cfg.threads = cfg.workers = 1;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    rc = http_server_new(&cfg, &(struct http_deps){0}, &e->server, err);
    if (rc == 0) {
        http_route(e->server, &route);
        rc = http_server_start(e->server, err);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc < 0 ? err_wrap(err, rc, "--metrics-listen %s", listen) : 0;
}

/* Whole or not at all for whoever reads it, but not synced: the loop must not wait for a disk. */
static int write_file(struct exporter *e, struct err *err)
{
    char path[PATH_MAX];
    struct buf out;
    int rc = 0, fd;

    snprintf(path, sizeof path, "%s.new", e->file);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0)
        return err_sys(err, RC_IO, "open %s", path);
    put_text(e, &out);
    rc = fs_write_all(fd, out.p, out.n, err);
    buf_fini(&out);
    close(fd);
    if (rc == 0 && rename(path, e->file) != 0)
        rc = err_sys(err, RC_IO, "rename %s", path);
    return rc;
}

int exporter_new(const char *listen, const char *file, struct exporter **ret, struct err *err)
{
    struct exporter *e = xcalloc(1, sizeof *e);
    int rc = 0;

    e->metrics = metrics_new();
    e->file = file;
    metrics_add_process(e->metrics);
    if (*listen)
        rc = start_server(e, listen, err);
    if (rc == 0 && *file) {
        rc = write_file(e, err);
        if (rc < 0)
            err_wrap(err, rc, "--metrics-file");
    }
    if (rc < 0)
        exporter_free(e);
    else
        *ret = e;
    return rc;
}

static void add_figure(struct exporter *e, const struct figure *f)
{
    const char *suffix = f->counts ? "_total" : strcmp(f->unit, "s") == 0 ? "_seconds" : *f->unit == 'B' ? "_bytes" : "";
    struct exported *x = &e->figures[e->figure_n++];

    snprintf(x->name, sizeof x->name, "torc_loadgen_%s%s", f->name, suffix);
    x->metric = f->counts ? metrics_counter(e->metrics, x->name, "A figure of the load generator's report.")
                          : metrics_gauge(e->metrics, x->name, "A figure of the load generator's report.");
}

void exporter_update(struct exporter *e, const struct figures *f)
{
    struct err err;

    for (size_t i = 0; i < f->n; i++) {
        struct exported *x = &e->figures[i];

        if (i == e->figure_n)
            add_figure(e, &f->v[i]);
        ASSERT(str_has_prefix(str_of(x->name + strlen("torc_loadgen_")), str_of(f->v[i].name)));
        if (f->v[i].counts) {
            metric_add(x->metric, (uint64_t)f->v[i].v - x->counted);
            x->counted = (uint64_t)f->v[i].v;
        } else {
            metric_set(x->metric, f->v[i].v);
        }
    }
    if (*e->file && write_file(e, &err) < 0 && !e->told) {
        e->told = true;
        fprintf(stderr, "torc loadgen: --metrics-file: %s\n", err_text(&err));
    }
}

uint16_t exporter_port(const struct exporter *e)
{
    return e->server ? http_server_port(e->server) : 0;
}

void exporter_free(struct exporter *e)
{
    if (!e)
        return;
    if (e->server) {
        http_server_stop(e->server, DRAIN_MS);
        http_server_free(e->server);
    }
    metrics_free(e->metrics);
    free(e);
}
