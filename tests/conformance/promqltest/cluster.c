/* A cluster over HTTP: remote write in, the query API out. Each clear goes on with a new tenant. */
#include "answer.h"
#include "write.h"

#include <curl/curl.h>
#include <stdlib.h>
#include <unistd.h>

enum { ANSWER_BYTES_MAX = 256 << 20, REQUEST_SECONDS_MAX = 60 };

struct cluster {
    struct backend base;
    const char *url, *query_url;
    bool warm;
    const char *const *flush; /* ingesters; NULL at the end */
    bool dirty;               /* loaded since the last flush */
    unsigned tenants;
    char tenant[64];
    CURL *curl;
};

static size_t on_bytes(char *p, size_t size, size_t n, void *arg)
{
    buf_add(arg, p, size * n);
    return buf_ok(arg) ? size * n : 0;
}

/* One POST; the body of the answer goes to out. */
static int post(struct cluster *c, const char *base, const char *path, const char *type,
                struct str body, struct buf *out, long *ret_status, struct err *err)
{
    struct curl_slist *headers = NULL;
    char url[1024], tenant[128], content[128];
    CURLcode code;

    snprintf(url, sizeof url, "%s%s", base, path);
    snprintf(tenant, sizeof tenant, "X-Scope-OrgID: %s", c->tenant);
    snprintf(content, sizeof content, "Content-Type: %s", type);
    headers = curl_slist_append(curl_slist_append(headers, tenant), content);
    curl_easy_reset(c->curl);
    curl_easy_setopt(c->curl, CURLOPT_URL, url);
    curl_easy_setopt(c->curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(c->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body.n);
    curl_easy_setopt(c->curl, CURLOPT_POSTFIELDS, body.p ? body.p : "");
    curl_easy_setopt(c->curl, CURLOPT_TIMEOUT, (long)REQUEST_SECONDS_MAX);
    curl_easy_setopt(c->curl, CURLOPT_WRITEFUNCTION, on_bytes);
    curl_easy_setopt(c->curl, CURLOPT_WRITEDATA, out);
    code = curl_easy_perform(c->curl);
    curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, ret_status);
    curl_slist_free_all(headers);
    return code == CURLE_OK ? 0
                            : err_set(err, RC_UNAVAILABLE, "%s: %s", url, curl_easy_strerror(code));
}

static int cluster_clear(struct backend *base, struct err *err UNUSED)
{
    struct cluster *c = CONTAINER_OF(base, struct cluster, base);

    const char *prefix = getenv("PROMQLTEST_TENANTS"); /* the same names in every run, on a cluster of its own: window bounds follow from them */

    if (prefix)
        snprintf(c->tenant, sizeof c->tenant, "%.40s-%u", prefix, c->tenants++);
    else
        snprintf(c->tenant, sizeof c->tenant, "promqltest-%ld-%u", (long)getpid(), c->tenants++);
    c->dirty = false;
    return 0;
}

/* What the cluster refuses is missing later: the evals say so. */
static int cluster_load(struct backend *base, const struct load_series *series, size_t n,
                        struct err *err)
{
    struct cluster *c = CONTAINER_OF(base, struct cluster, base);
    struct buf body, out;
    long status = 0;
    int rc;

    buf_init(&body, WRITE_BYTES_MAX);
    buf_init(&out, ANSWER_BYTES_MAX);
    write_request(&body, series, n);
    rc = post(c, c->url, "/api/v1/push", "application/x-protobuf;proto=io.prometheus.write.v2.Request", buf_view(&body),
              &out, &status, err);
    if (rc == 0 && status / 100 == 5)
        rc = err_set(err, RC_UNAVAILABLE, "push: %ld %.*s", status, STR_FMT(buf_view(&out)));
    else if (rc == 0 && status / 100 != 2)
        printf("refused: %ld %.*s\n", status, STR_FMT(str_trim(buf_view(&out))));
    c->dirty = true;
    buf_fini(&body);
    buf_fini(&out);
    return rc;
}

static int flush(struct cluster *c, struct err *err)
{
    struct buf out;
    int rc = 0;

    buf_init(&out, ANSWER_BYTES_MAX);
    for (const char *const *url = c->flush; rc == 0 && *url; url++) {
        long status = 0;

        rc = post(c, *url, "/ingester/flush", "text/plain", STR(""), &out, &status, err);
        if (rc == 0 && status / 100 != 2)
            rc = err_set(err, RC_UNAVAILABLE, "flush: %ld %.*s", status, STR_FMT(buf_view(&out)));
    }
    buf_fini(&out);
    c->dirty = rc < 0;
    return rc;
}

static void form_escape(struct buf *b, struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        buf_printf(b, "%%%02x", (unsigned char)s.p[i]);
}

static void form_time(struct buf *b, const char *name, int64_t ms)
{
    buf_printf(b, "&%s=%s%lld.%03lld", name, ms < 0 ? "-" : "", (long long)llabs(ms) / 1000,
               (long long)llabs(ms) % 1000);
}

static int ask(struct cluster *c, struct str text, const struct query_opt *opt, int64_t end_ms, struct query_result *ret, struct err *err)
{
    bool range = opt->step_ms != 0;
    struct buf form, out;
    long status;
    int rc;

    buf_init(&form, 1 << 20);
    buf_init(&out, ANSWER_BYTES_MAX);
    buf_z(&form, "query=");
    form_escape(&form, text);
    if (range) {
        form_time(&form, "start", opt->start_ms);
        form_time(&form, "end", end_ms);
        form_time(&form, "step", opt->step_ms);
    } else {
        form_time(&form, "time", opt->start_ms);
    }
    ASSERT(buf_ok(&form));
    rc = post(c, c->query_url,
              range ? "/prometheus/api/v1/query_range" : "/prometheus/api/v1/query",
              "application/x-www-form-urlencoded", buf_view(&form), &out, &status, err);
    if (rc == 0)
        rc = answer_parse(buf_view(&out), opt->arena, ret, err);
    buf_fini(&form);
    buf_fini(&out);
    return rc;
}

static int cluster_query(struct backend *base, struct promql_ast *ast UNUSED, struct str text,
                         const struct query_opt *opt, struct query_result *ret, struct err *err)
{
    struct cluster *c = CONTAINER_OF(base, struct cluster, base);
    int rc = c->dirty && *c->flush ? flush(c, err) : 0;

    if (rc < 0)
        return rc;
    /* Half of a range may well fail where all of it does not; what it says is not looked at. */
    if (c->warm && opt->end_ms - opt->start_ms >= opt->step_ms && opt->step_ms > 0)
        ask(c, text, opt, opt->start_ms + (opt->end_ms - opt->start_ms) / 2, &(struct query_result){0}, &(struct err){0});
    return ask(c, text, opt, opt->end_ms, ret, err);
}

static void cluster_free(struct backend *base)
{
    struct cluster *c = CONTAINER_OF(base, struct cluster, base);

    curl_easy_cleanup(c->curl);
    free(c);
}

struct backend *backend_cluster_new(const struct backend_opt *opt)
{
    struct cluster *c = xcalloc(1, sizeof *c);

    if (!opt->url) {
        free(c);
        return NULL;
    }
    c->base = (struct backend){.name = "cluster",
                               .api = true,
                               .clear = cluster_clear,
                               .load = cluster_load,
                               .query = cluster_query,
                               .free = cluster_free};
    c->url = opt->url;
    c->query_url = opt->query_url ? opt->query_url : opt->url;
    c->warm = opt->warm;
    c->flush = opt->flush;
    c->curl = curl_easy_init();
    ASSERT(c->curl);
    return &c->base;
}
