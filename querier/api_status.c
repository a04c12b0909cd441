/* api_status.c - questions about expressions, and those that clients ask of every Prometheus. */
#include "querier/api.h"

#include "common/model/duration.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* --- expressions --- */

static void answer_expression(struct api_request *r,
                              void (*write)(struct buf *out, const struct node *n))
{
    struct str text = http_param(r->http, "query");
    struct promql_ast ast = {0};
    struct arena a;
    struct buf out;
    struct err err;
    int rc;

    arena_init(&a, r->limits->query_memory ? (size_t)r->limits->query_memory : SIZE_MAX / 2);
    rc = promql_parse(text.p ? text : STR(""), &promql_parse_all, &a, &ast, &err);
    if (rc == 0) {
        api_begin(&out);
        write(&out, ast.root);
        api_end(r, &out, false);
        promql_ast_fini(&ast);
    } else {
        if (rc == RC_INVALID || rc == RC_LIMIT)
            param_invalid("query", &err);
        api_reply_error(r, &err);
    }
    arena_fini(&a);
}

static void write_pretty(struct buf *out, const struct node *n)
{
    struct buf text;

    buf_init(&text, API_ANSWER_BYTES_MAX / 8);
    promql_pretty(&text, n);
    out->failed |= !buf_ok(&text);
    json_str_html(out, buf_view(&text));
    buf_fini(&text);
}

void api_format_query(struct api_request *r)
{
    answer_expression(r, write_pretty);
}

void api_parse_query(struct api_request *r)
{
    answer_expression(r, promql_print_json);
}

/* --- rules: there is no ruler, so there are none --- */

/* Under /workspaces/ these two carry the error's keys also when there is none. */
static void answer_rules(struct api_request *r, const char *data)
{
    struct buf out;

    api_begin(&out);
    buf_z(&out, data);
    buf_z(&out, r->workspace ? ",\"errorType\":\"\",\"error\":\"\"}" : "}");
    api_reply(r, &out);
}

void api_rules(struct api_request *r)
{
    struct str type = http_param(r->http, "type");
    struct err err;

    if (type.n && !str_eqz(type, "alert") && !str_eqz(type, "record")) {
        err_set(&err, RC_INVALID, "not supported value \"%.*s\"", (int)MIN(type.n, (size_t)256),
                type.p);
        param_invalid("type", &err);
        api_reply_error(r, &err);
        return;
    }
    answer_rules(r, "{\"groups\":[]}");
}

void api_alerts(struct api_request *r)
{
    answer_rules(r, "{\"alerts\":[]}");
}

/* --- status --- */

/* Of this process; secrets are masked. */
void api_status_config(struct api_request *r)
{
    struct buf yaml, out;

    buf_init(&yaml, API_ANSWER_BYTES_MAX / 8);
    if (r->q->deps.config)
        config_print_yaml(r->q->deps.config, false, &yaml);
    api_begin(&out);
    buf_z(&out, "{\"yaml\":");
    json_str_html(&out, buf_view(&yaml));
    out.failed |= !buf_ok(&yaml);
    buf_char(&out, '}');
    buf_fini(&yaml);
    api_end(r, &out, false);
}

void api_status_flags(struct api_request *r)
{
    struct buf out;

    api_begin(&out);
    if (r->q->deps.config)
        config_print_flags(r->q->deps.config, &out);
    else
        buf_z(&out, "{}");
    api_end(r, &out, false);
}

static void put_field(struct buf *out, const char *key, struct str value)
{
    buf_printf(out, "\"%s\":", key);
    json_str_html(out, value);
    buf_char(out, ',');
}

/* Go's own figures are those of a program without goroutines: one a thread. */
static int threads_count(void)
{
    char line[256];
    int n = 0;
    FILE *f = fopen("/proc/self/status", "re");

    while (f && n == 0 && fgets(line, sizeof line, f))
        if (strncmp(line, "Threads:", 8) == 0)
            n = (int)strtol(line + 8, NULL, 10);
    if (f)
        fclose(f);
    return n;
}

void api_status_runtimeinfo(struct api_request *r)
{
    char host[256] = "", cwd[4096] = "";
    struct buf out;

    gethostname(host, sizeof host - 1);
    if (!getcwd(cwd, sizeof cwd))
        cwd[0] = '\0';
    api_begin(&out);
    buf_z(&out, "{\"startTime\":\"");
    time_print_rfc3339(&out, r->q->started_wall_ms);
    buf_z(&out, "\",");
    put_field(&out, "CWD", str_of(cwd));
    put_field(&out, "hostname", str_of(host));
    buf_z(&out, "\"serverTime\":\"");
    time_print_rfc3339(&out, clock_wall_ms(r->q->deps.clock));
    buf_z(&out, "\",\"reloadConfigSuccess\":true,\"lastConfigTime\":\"");
    time_print_rfc3339(&out, r->q->started_wall_ms);
    buf_printf(&out, "\",\"corruptionCount\":0,\"goroutineCount\":%d,\"GOMAXPROCS\":%ld,\"GOMEMLIMIT\":%lld,\"GOGC\":\"\",\"GODEBUG\":\"\",\"storageRetention\":\"",
               threads_count(), sysconf(_SC_NPROCESSORS_ONLN), (long long)INT64_MAX);
    duration_print(&out, r->limits->retention_period_ms);
    buf_z(&out, "\"}");
    api_end(r, &out, false);
}
