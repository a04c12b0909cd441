/* The edge of etcd_core.h: one thread with libcurl, one request and one stream at a time. */
#include "common/base/hash.h"
#include "common/obs/log.h"
#include "common/obs/metrics.h"
#include "common/sys/clock.h"
#include "common/sys/thread.h"
#include "ring/etcd_core.h"
#include "ring/ring_store.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    CONNECT_MS      = 2000,
    ASK_MS          = 5000, /* at most; a third of the lease when that is less */
    IDLE_POLL_MS    = 1000,
    URL_BYTES       = 512,
    ENDPOINTS_MAX   = 16,
    KEEPALIVE_S     = 10,
    TTL_MS_MIN      = 1000,
};

struct transfer {
    struct etcd *etcd;
    CURL *easy;
    struct curl_slist *headers;
    struct buf body, in; /* what is sent, and what came (of a stream: the line that has begun) */
    bool active;
};

struct etcd {
    struct ring_store_env env; /* --- read-only after new --- */
    char **endpoints;
    size_t endpoints_n;
    char *ca, *cert, *key, *prefix;
    struct etcd_core_cfg cfg;
    char *user, *password;
    bool insecure;
    struct metric *synced, *failures, *malformed;
    CURLM *multi;
    pthread_t thread;
    bool started;

    struct ring_core *table; /* --- guarded by the node's lock --- */
    struct etcd_core *core;  /* NULL before start */
    bool stop;

    struct transfer ask, watch; /* --- the thread's own --- */
    size_t endpoint;
    bool said_lost, ever_synced;
    uint64_t counted, counted_malformed;
};

static int64_t now_of(const struct etcd *t)
{
    return clock_mono_ms(t->env.clock);
}

/* --- transfers --- */

static size_t on_body(char *p, size_t size, size_t n, void *arg)
{
    struct transfer *x = arg;

    buf_add(&x->in, p, size * n);
    return buf_ok(&x->in) ? size * n : 0; /* less than came: libcurl ends the transfer */
}

static size_t on_stream(char *p, size_t size, size_t n, void *arg)
{
    struct transfer *x = arg;
    struct str rest    = str_n(p, size * n);

    while (rest.n) {
        size_t end = str_find(rest, '\n');

        buf_add(&x->in, rest.p, end);
        if (!buf_ok(&x->in))
            return 0;
        if (end == rest.n)
            break;
        mutex_lock(x->etcd->env.lock);
        etcd_core_watch_line(x->etcd->core, now_of(x->etcd), buf_view(&x->in));
        mutex_unlock(x->etcd->env.lock);
        buf_clear(&x->in);
        rest = str_skip(rest, end + 1);
    }
    return size * n;
}

static void transfer_end(struct transfer *x)
{
    if (!x->active)
        return;
    curl_multi_remove_handle(x->etcd->multi, x->easy);
    curl_slist_free_all(x->headers);
    buf_fini(&x->body);
    buf_fini(&x->in);
    x->headers = NULL;
    x->active  = false;
}

static void set_tls(const struct etcd *t, CURL *easy)
{
    if (t->ca[0])
        curl_easy_setopt(easy, CURLOPT_CAINFO, t->ca);
    if (t->cert[0])
        curl_easy_setopt(easy, CURLOPT_SSLCERT, t->cert);
    if (t->key[0])
        curl_easy_setopt(easy, CURLOPT_SSLKEY, t->key);
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, t->insecure ? 0L : 1L);
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, t->insecure ? 0L : 2L);
}

/* Takes the request's body. Called with the lock, for the token. */
static void transfer_begin(struct transfer *x, struct etcd_request *req, bool stream)
{
    struct etcd *t   = x->etcd;
    const char *base = t->endpoints[t->endpoint];
    char url[URL_BYTES], authorization[ETCD_TOKEN_BYTES_MAX + 32];

    ASSERT(!x->active && buf_ok(&req->body));
    snprintf(url, sizeof url, "%s%s%s", strstr(base, "://") ? "" : "http://", base, req->path);
    x->headers = curl_slist_append(NULL, "Content-Type: application/json");
    x->headers = curl_slist_append(x->headers, "Expect:"); /* no round trip before the body */
    if (req->token) {
        snprintf(authorization, sizeof authorization, "Authorization: %s", req->token);
        x->headers = curl_slist_append(x->headers, authorization);
    }
    x->body = req->body;
    buf_init(&x->in, ETCD_ANSWER_BYTES_MAX);
    curl_easy_reset(x->easy);
    curl_easy_setopt(x->easy, CURLOPT_URL, url);
    curl_easy_setopt(x->easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(x->easy, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(x->easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(x->easy, CURLOPT_HTTPHEADER, x->headers);
    curl_easy_setopt(x->easy, CURLOPT_POSTFIELDS, x->body.p);
    curl_easy_setopt(x->easy, CURLOPT_POSTFIELDSIZE, (long)x->body.n);
    curl_easy_setopt(x->easy, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS);
    if (!stream)
        curl_easy_setopt(x->easy, CURLOPT_TIMEOUT_MS, (long)MIN((int64_t)ASK_MS, t->cfg.ttl_ms / 3));
    curl_easy_setopt(x->easy, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(x->easy, CURLOPT_TCP_KEEPIDLE, (long)KEEPALIVE_S);
    curl_easy_setopt(x->easy, CURLOPT_TCP_KEEPINTVL, (long)KEEPALIVE_S);
    curl_easy_setopt(x->easy, CURLOPT_WRITEFUNCTION, stream ? on_stream : on_body);
    curl_easy_setopt(x->easy, CURLOPT_WRITEDATA, x);
    set_tls(t, x->easy);
    x->active = true;
    curl_multi_add_handle(t->multi, x->easy);
}

/* Called with the lock. */
static void begin_wanted(struct etcd *t, int64_t now)
{
    struct etcd_request req;

    if (etcd_core_watch_unwanted(t->core))
        transfer_end(&t->watch);
    if (!t->ask.active && etcd_core_next(t->core, now, &req))
        transfer_begin(&t->ask, &req, false);
    if (!t->watch.active && etcd_core_watch(t->core, &req))
        transfer_begin(&t->watch, &req, true);
}

/* A transfer is over. */
static void on_done(struct etcd *t, CURL *easy, CURLcode code)
{
    struct transfer *x = easy == t->ask.easy ? &t->ask : &t->watch;
    const char *base   = t->endpoints[t->endpoint];
    char why[ETCD_MESSAGE_BYTES_MAX];

    snprintf(why, sizeof why, "%.150s: %.80s", base, code == CURLE_OK ? "the stream has ended" : curl_easy_strerror(code));
    if (code != CURLE_OK)
        t->endpoint = (t->endpoint + 1) % t->endpoints_n;
    mutex_lock(t->env.lock);
    if (x == &t->watch)
        etcd_core_watch_ended(t->core, now_of(t), why);
    else
        etcd_core_answer(t->core, now_of(t), code == CURLE_OK ? 0 : RC_UNAVAILABLE, buf_view(&x->in), why);
    mutex_unlock(t->env.lock);
    transfer_end(x);
}

static void finish_done(struct etcd *t)
{
    CURLMsg *m;
    int left;

    while ((m = curl_multi_info_read(t->multi, &left))) {
        if (m->msg == CURLMSG_DONE)
            on_done(t, m->easy_handle, m->data.result);
    }
}

/* --- thread --- */

static void report(struct etcd *t, const struct etcd_stats *s)
{
    if (t->synced) {
        metric_set(t->synced, s->synced);
        metric_add(t->failures, s->failures - t->counted);
        metric_add(t->malformed, s->malformed - t->counted_malformed);
        t->counted           = s->failures;
        t->counted_malformed = s->malformed;
    }
    if (!s->synced && s->failures && !t->said_lost) {
        t->said_lost = true;
        if (t->env.log)
            log_warn(t->env.log, "etcd is not reached, the ring stays as it was; will retry", "err", s->failure);
    } else if (s->synced && (t->said_lost || !t->ever_synced)) {
        t->said_lost   = false;
        t->ever_synced = true;
        if (t->env.log)
            log_info(t->env.log, "the ring is in step with etcd", "endpoint", t->endpoints[t->endpoint]);
    }
}

static void *etcd_main(void *arg)
{
    struct etcd *t = arg;
    int running;

    for (;;) {
        struct etcd_stats stats;
        int64_t now = now_of(t), next;
        bool stop;

        mutex_lock(t->env.lock);
        stop = t->stop;
        next = etcd_core_tick(t->core, now);
        if (!stop)
            begin_wanted(t, now);
        stats = *etcd_core_stats(t->core);
        if (etcd_core_told(t->core))
            t->env.stir(t->env.self);
        mutex_unlock(t->env.lock);
        if (stop)
            return NULL;
        report(t, &stats);
        curl_multi_perform(t->multi, &running);
        finish_done(t);
        /* What has just ended may be followed at once. */
        if (t->ask.active)
            curl_multi_poll(t->multi, NULL, 0, (int)MIN(MAX(next - now, 1), (int64_t)IDLE_POLL_MS), NULL);
        else if (next > now_of(t))
            curl_multi_poll(t->multi, NULL, 0, (int)MIN(next - now, (int64_t)IDLE_POLL_MS), NULL);
    }
}

/* --- verbs --- */

static int etcd_start(void *self, struct ring_core *table, UNUSED struct err *err)
{
    struct etcd *t = self;

    random_bytes(&t->cfg.random_seed, sizeof t->cfg.random_seed);
    t->cfg.now_ms = now_of(t);
    mutex_lock(t->env.lock);
    t->table = table;
    t->core  = etcd_core_new(&t->cfg, table);
    mutex_unlock(t->env.lock);
    t->started = true;
    t->thread  = thread_start("ring-etcd", etcd_main, t);
    return 0;
}

static void etcd_send(UNUSED void *self, UNUSED const char *addr, UNUSED struct str msg)
{
    ASSERT(!"a table with a store sends nothing");
}

static void etcd_wake(void *self)
{
    curl_multi_wakeup(((struct etcd *)self)->multi);
}

static bool etcd_told(void *self)
{
    struct etcd *t = self;

    return !t->core || etcd_core_told(t->core);
}

static void etcd_status(void *self, struct ring_store_status *ret)
{
    struct etcd *t             = self;
    const struct etcd_stats *s = t->core ? etcd_core_stats(t->core) : &(struct etcd_stats){0};

    *ret = (struct ring_store_status){.name     = "etcd",
                                      .reached  = s->synced,
                                      .age_ms   = s->synced_ms ? now_of(t) - s->synced_ms : -1,
                                      .failures = s->failures};
    snprintf(ret->failure, sizeof ret->failure, "%s", s->failure);
}

static uint64_t etcd_conflicts(void *self)
{
    struct etcd *t = self;

    return t->core ? etcd_core_stats(t->core)->conflicts : 0;
}

static void etcd_free(void *self)
{
    struct etcd *t = self;

    if (t->started) {
        mutex_lock(t->env.lock);
        t->stop = true;
        mutex_unlock(t->env.lock);
        curl_multi_wakeup(t->multi);
        pthread_join(t->thread, NULL);
    }
    transfer_end(&t->ask);
    transfer_end(&t->watch);
    curl_easy_cleanup(t->ask.easy);
    curl_easy_cleanup(t->watch.easy);
    if (t->multi)
        curl_multi_cleanup(t->multi);
    etcd_core_free(t->core);
    for (size_t i = 0; i < t->endpoints_n; i++)
        free(t->endpoints[i]);
    free(t->endpoints);
    free(t->ca);
    free(t->cert);
    free(t->key);
    free(t->prefix);
    free(t->user);
    free(t->password);
    free(t);
}

static const struct ring_store_ops etcd_ops = {
    .stored    = true,
    .start     = etcd_start,
    .send      = etcd_send,
    .wake      = etcd_wake,
    .told      = etcd_told,
    .status    = etcd_status,
    .conflicts = etcd_conflicts,
    .free      = etcd_free,
};

/* --- life --- */

static int check_cfg(const struct ring_etcd_cfg *cfg, struct err *err)
{
    if (cfg->endpoints_n == 0 || cfg->endpoints_n > ENDPOINTS_MAX)
        return err_set(err, RC_INVALID, "ring.etcd.endpoints: %zu addresses, 1 to %d are needed", cfg->endpoints_n, ENDPOINTS_MAX);
    for (size_t i = 0; i < cfg->endpoints_n; i++) {
        const char *e = cfg->endpoints[i];

        if (strlen(e) > URL_BYTES - 64 || (strstr(e, "://") && strncmp(e, "http://", 7) != 0 && strncmp(e, "https://", 8) != 0))
            return err_set(err, RC_INVALID, "ring.etcd.endpoints: \"%.100s\" is not http://host:port or https://host:port", e);
    }
    if (!cfg->prefix[0] || strlen(cfg->prefix) + cfg->cluster.n + 8 > ETCD_PREFIX_MAX)
        return err_set(err, RC_INVALID, "ring.etcd.prefix: \"%.100s\" and the cluster's name must have 1 to %d bytes", cfg->prefix,
                       ETCD_PREFIX_MAX - 8);
    if (!cfg->cert[0] != !cfg->key[0])
        return err_set(err, RC_INVALID, "ring.etcd.tls-cert-file and ring.etcd.tls-key-file belong together");
    if (cfg->ttl_ms < TTL_MS_MIN)
        return err_set(err, RC_INVALID, "ring.etcd.lease-ttl: %lld ms, at least one second", (long long)cfg->ttl_ms);
    return 0;
}

static char *prefix_of(const struct ring_etcd_cfg *cfg)
{
    char *prefix = xmalloc(ETCD_PREFIX_MAX + 1);
    size_t n     = strlen(cfg->prefix);

    snprintf(prefix, ETCD_PREFIX_MAX + 1, "%s%s%.*s/ring/", cfg->prefix, cfg->prefix[n - 1] == '/' ? "" : "/", STR_FMT(cfg->cluster));
    return prefix;
}

static void make_metrics(struct etcd *t)
{
    if (!t->env.metrics)
        return;
    t->synced    = metrics_gauge(t->env.metrics, "torc_ring_etcd_synced", "1 while the ring is in step with etcd.");
    t->failures  = metrics_counter(t->env.metrics, "torc_ring_etcd_failures_total", "Requests to etcd that failed, and watches that ended.");
    t->malformed = metrics_counter(t->env.metrics, "torc_ring_etcd_malformed_total", "Answers and keys of etcd that could not be read.");
}

static char *copy(const char *s)
{
    return xstrdup(s ? s : "");
}

int ring_etcd_new(const struct ring_etcd_cfg *cfg, const struct ring_store_env *env, struct ring_store *ret, struct err *err)
{
    struct etcd *t;
    int rc = check_cfg(cfg, err);

    if (rc < 0)
        return rc;
    curl_global_init(CURL_GLOBAL_DEFAULT); /* counted, and safe from any thread since 7.84 */
    t            = xcalloc(1, sizeof *t);
    t->env       = *env;
    t->endpoints = xcalloc(cfg->endpoints_n, sizeof *t->endpoints);
    for (; t->endpoints_n < cfg->endpoints_n; t->endpoints_n++) {
        char *e  = copy(cfg->endpoints[t->endpoints_n]);
        size_t n = strlen(e);

        if (n && e[n - 1] == '/')
            e[n - 1] = 0;
        t->endpoints[t->endpoints_n] = e;
    }
    t->ca       = copy(cfg->ca);
    t->cert     = copy(cfg->cert);
    t->key      = copy(cfg->key);
    t->user     = copy(cfg->user);
    t->password = copy(cfg->password);
    t->prefix   = prefix_of(cfg);
    t->insecure = cfg->insecure;
    t->cfg      = (struct etcd_core_cfg){.prefix   = str_of(t->prefix),
                                         .user     = str_of(t->user),
                                         .password = str_of(t->password),
                                         .ttl_ms   = cfg->ttl_ms};
    t->ask   = (struct transfer){.etcd = t, .easy = curl_easy_init()};
    t->watch = (struct transfer){.etcd = t, .easy = curl_easy_init()};
    t->multi = curl_multi_init();
    make_metrics(t);
    if (!t->ask.easy || !t->watch.easy || !t->multi) {
        etcd_free(t);
        return err_set(err, RC_NOMEM, "ring: libcurl does not start");
    }
    *ret = (struct ring_store){&etcd_ops, t};
    return 0;
}
