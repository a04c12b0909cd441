/* debug_pages.c - /debug/profile, /debug/heap, /debug/threads: what a running process is doing, for those who operate it. */
#include "app/app.h"
#include "common/base/json.h"
#include "common/http/html.h"
#include "common/obs/profile.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PAGE_BYTES_MAX = 256 << 20, THREADS_MAX = 10000, SECONDS_DEFAULT = 5 };

/* --- CPU --- */

static bool seconds_of(const struct http_req *req, int64_t *ret)
{
    struct str text = http_param(req, "seconds");

    *ret = SECONDS_DEFAULT;
    if (!text.p)
        return true;
    *ret = 0;
    for (size_t i = 0; i < text.n && *ret <= PROFILE_SECONDS_MAX; i++) {
        if (text.p[i] < '0' || text.p[i] > '9')
            return false;
        *ret = *ret * 10 + (text.p[i] - '0');
    }
    return *ret >= 1 && *ret <= PROFILE_SECONDS_MAX;
}

static void reply_profile(struct http_req *req, bool pprof)
{
    struct profile *p;
    struct err err;
    struct buf out;
    int64_t seconds;

    if (!seconds_of(req, &seconds)) {
        http_reply_text(req, 400, "seconds must be a number between 1 and %d", PROFILE_SECONDS_MAX);
        return;
    }
    if (profile_cpu(seconds * 1000, http_cancel_flag(req), &p, &err) < 0) {
        http_reply_text(req, 409, "%s", err_text(&err));
        return;
    }
    buf_init(&out, PAGE_BYTES_MAX);
    pprof ? profile_pprof(p, &out) : profile_folded(p, &out);
    profile_free(p);
    if (buf_ok(&out))
        http_reply_buf(req, 200, pprof ? "application/octet-stream" : HTTP_TYPE_TEXT, &out);
    else
        http_reply_text(req, 500, "the profile is larger than %d bytes", PAGE_BYTES_MAX);
    buf_fini(&out);
}

static void page_profile(UNUSED void *arg, struct http_req *req)
{
    reply_profile(req, str_eqz(http_param(req, "format"), "pprof"));
}

static void page_pprof_profile(UNUSED void *arg, struct http_req *req)
{
    reply_profile(req, true);
}

/* --- heap --- */

static void page_heap(UNUSED void *arg, struct http_req *req)
{
    struct buf out;
    struct err err;

    buf_init(&out, PAGE_BYTES_MAX);
    if (profile_heap(&out, &err) < 0)
        http_reply_text(req, err.rc == RC_UNSUPPORTED ? 501 : 500, "%s", err_text(&err));
    else
        http_reply_buf(req, 200, HTTP_TYPE_TEXT, &out);
    buf_fini(&out);
}

/* --- threads --- */

struct thread_row {
    int id;
    char name[32], state;
    double cpu_seconds;
};

/* Fields of /proc/self/task/N/stat: id (name) state ... utime(14) stime(15). */
static bool thread_read(int id, struct thread_row *ret)
{
    unsigned long user, system;
    char path[64], text[1024], *open, *close;
    size_t n = 0;
    FILE *f;

    snprintf(path, sizeof path, "/proc/self/task/%d/stat", id);
    f = fopen(path, "re");
    if (!f)
        return false;
    n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[n] = '\0';
    open = strchr(text, '(');
    close = strrchr(text, ')');
    if (!open || !close || close < open ||
        sscanf(close + 1, " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &ret->state, &user, &system) != 3)
        return false;
    ret->id = id;
    snprintf(ret->name, sizeof ret->name, "%.*s", (int)(close - open - 1), open + 1);
    ret->cpu_seconds = (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
    return true;
}

static int by_cpu(const void *a, const void *b)
{
    const struct thread_row *x = a, *y = b;

    if (x->cpu_seconds != y->cpu_seconds)
        return x->cpu_seconds < y->cpu_seconds ? 1 : -1;
    return x->id - y->id;
}

static size_t threads_read(struct thread_row *rows)
{
    DIR *d = opendir("/proc/self/task");
    struct dirent *e;
    size_t n = 0;

    while (d && n < THREADS_MAX && (e = readdir(d)))
        if (e->d_name[0] != '.')
            n += thread_read((int)strtol(e->d_name, NULL, 10), &rows[n]);
    if (d)
        closedir(d);
    qsort(rows, n, sizeof *rows, by_cpu);
    return n;
}

static void threads_html(struct buf *out, const struct thread_row *rows, size_t n)
{
    html_begin(out, "Threads");
    html_table_begin(out);
    html_row(out, true, (const char *const[]){"Thread", "Name", "State", "CPU seconds"}, 4);
    for (size_t i = 0; i < n; i++) {
        char id[16], state[2] = {rows[i].state, '\0'}, cpu[32];

        snprintf(id, sizeof id, "%d", rows[i].id);
        snprintf(cpu, sizeof cpu, "%.2f", rows[i].cpu_seconds);
        html_row(out, false, (const char *const[]){id, rows[i].name, state, cpu}, 4);
    }
    html_table_end(out);
    html_end(out);
}

static void threads_json(struct buf *out, const struct thread_row *rows, size_t n)
{
    buf_z(out, "{\"threads\":[");
    for (size_t i = 0; i < n; i++) {
        buf_printf(out, "%s{\"id\":%d,\"name\":", i ? "," : "", rows[i].id);
        json_z(out, rows[i].name);
        buf_printf(out, ",\"state\":\"%c\",\"cpuSeconds\":%.2f}", rows[i].state, rows[i].cpu_seconds);
    }
    buf_z(out, "]}\n");
}

static void page_threads(UNUSED void *arg, struct http_req *req)
{
    struct thread_row *rows = xcalloc(THREADS_MAX, sizeof *rows);
    bool html = http_wants_html(req);
    size_t n = threads_read(rows);
    struct buf out;

    buf_init(&out, PAGE_BYTES_MAX);
    html ? threads_html(&out, rows, n) : threads_json(&out, rows, n);
    free(rows);
    http_reply_buf(req, 200, html ? HTTP_TYPE_HTML : HTTP_TYPE_JSON, &out);
    buf_fini(&out);
}

void app_debug_pages_add(struct app *app)
{
    const struct http_route routes[] = {
        {"/debug/profile", HTTP_M_GET, HTTP_BLOCKING, 0, NULL, page_profile, app},
        {"/debug/pprof/profile", HTTP_M_GET, HTTP_BLOCKING, 0, NULL, page_pprof_profile, app},
        {"/debug/heap", HTTP_M_GET, HTTP_BLOCKING, 0, NULL, page_heap, app},
        {"/debug/threads", HTTP_M_GET, HTTP_BLOCKING, 0, NULL, page_threads, app},
    };

    for (size_t i = 0; i < ARRAY_LEN(routes); i++)
        http_route(app->http, &routes[i]);
    app_link(app, "/debug/threads", "threads and their CPU time", false);
    app_link(app, "/debug/profile?seconds=5", "CPU profile as folded stacks; /debug/pprof/profile for pprof", false);
    app_link(app, "/debug/heap", "heap profile of jemalloc, if it is on", false);
}
