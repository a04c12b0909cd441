#include "loadgen/verify.h"

#include "common/model/duration.h"
#include "common/model/labels.h"
#include "common/sys/clock.h"
#include "loadgen/http_client.h"
#include "loadgen/read_answer.h"
#include "loadgen/signals.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

/* A series that a slice may hold. */
struct known {
    fingerprint fp;
    struct series_id id;
    bool seen;
};

struct slice {
    uint32_t tenant, target;
    int64_t lo_ms, hi_ms; /* (lo, hi] */
};

struct verifier {
    const struct verify_cfg *cfg;
    const struct history *h;
    struct model model;
    struct http_peer peer;
    struct http_client http;
    struct buf head, form;
    struct signals signals;
    VEC(struct known) known;
    VEC(struct judge_sample) got;
    struct buf inflated; /* VERIFY_REMOTE_READ */
    int64_t step_ms;     /* VERIFY_RANGE */
    struct verdict *verdict;
    struct judge_log *log;
    const struct slice *slice; /* being judged */
};

/* --- asking --- */

static void put_query(struct verifier *v, const struct slice *s)
{
    uint32_t first = model_generation(&v->model, s->tenant, s->target, s->lo_ms + 1);
    uint32_t last = model_generation(&v->model, s->tenant, s->target, s->hi_ms);
    char address[32], tenant[HISTORY_TENANT_MAX + 12];
    struct verify_question q = {v->cfg->path, s->lo_ms, s->hi_ms, v->step_ms, first != last, STR(""), tenant};
    struct buf instance;

    buf_init(&instance, 1 << 20);
    for (uint32_t g = first; g <= last; g++) {
        buf_z(&instance, g == first ? "" : "|");
        buf_str(&instance, model_instance(s->target, g, address));
    }
    q.instance = buf_view(&instance);
    tenant_name(&v->h->cfg, s->tenant, tenant);
    verify_request_make(&q, &v->peer, &v->head, &v->form);
    buf_fini(&instance);
}

static int exchange(struct verifier *v, struct err *err)
{
    enum { ANSWER_MS = 150000 };
    int64_t until = clock_mono_ms(clock_system()) + ANSWER_MS;
    int rc = http_client_start(&v->http, buf_view(&v->head), buf_view(&v->form), err);

    while (rc == 0) {
        struct pollfd p[2] = {{.fd = v->http.fd, .events = http_client_events(&v->http)}, {.fd = v->signals.fd, .events = POLLIN}};
        int64_t left = until - clock_mono_ms(clock_system());

        if (left <= 0) {
            http_client_abort(&v->http);
            return err_set(err, RC_TIMEOUT, "no answer within %d s", ANSWER_MS / 1000);
        }
        if (poll(p, 2, (int)left) > 0 && p[1].revents) {
            http_client_abort(&v->http);
            return err_set(err, RC_CANCELED, "interrupted");
        }
        if (p[0].revents)
            rc = http_client_step(&v->http, err);
    }
    return rc < 0 ? rc : 0;
}

/* Repeats while the trouble may pass. */
static int ask(struct verifier *v, const struct slice *s, struct err *err)
{
    int64_t until = clock_mono_ms(clock_system()) + v->cfg->wait_ms;

    put_query(v, s);
    for (;;) {
        int rc = exchange(v, err), status = v->http.status;

        if (rc == 0 && status == 200)
            return 0;
        if (rc == 0)
            rc = err_set(err, status == 429 || status >= 500 ? RC_UNAVAILABLE : RC_EXECUTION, "query of target %u of tenant %u: status %d: %.*s",
                         s->target, s->tenant, status, (int)MIN(v->http.body.n, (size_t)300), v->http.body.p ? v->http.body.p : "");
        if (rc == RC_CANCELED || rc == RC_EXECUTION || rc == RC_CORRUPT || rc == RC_LIMIT || clock_mono_ms(clock_system()) >= until)
            return rc;
        nanosleep(&(struct timespec){.tv_nsec = 200000000}, NULL);
    }
}

/* --- understanding --- */

static int known_order(const void *a, const void *b)
{
    return u128_cmp(((const struct known *)a)->fp, ((const struct known *)b)->fp);
}

static void learn_run(struct verifier *v, const struct slice *s, uint32_t g, bool native)
{
    uint32_t first, end;

    model_target_run(&v->model, s->target, native, &first, &end);
    for (uint32_t index = first; index < end; index++) {
        struct label pairs[LABELS_PER_SERIES_MAX];
        struct series_id id = {s->tenant, index, g};
        struct model_labels labels;
        struct labels ls = {pairs, 0};

        model_labels(&v->model, id, &labels);
        for (; ls.n < labels.n; ls.n++)
            pairs[ls.n] = (struct label){labels.name[ls.n], labels.value[ls.n]};
        *vec_push(&v->known) = (struct known){labels_fingerprint(STR(""), &ls), id, false};
    }
}

/* Every series that the slice's target has in its generations. */
static void learn(struct verifier *v, const struct slice *s)
{
    uint32_t g = model_generation(&v->model, s->tenant, s->target, s->lo_ms + 1), last = model_generation(&v->model, s->tenant, s->target, s->hi_ms);

    vec_clear(&v->known);
    for (; g <= last; g++) {
        learn_run(v, s, g, false);
        learn_run(v, s, g, true);
    }
    qsort(v->known.v, v->known.n, sizeof *v->known.v, known_order);
}

static struct known *known_of(struct verifier *v, struct labels *ls)
{
    struct known key = {0};

    labels_sort(ls, NULL);
    key.fp = labels_fingerprint(STR(""), ls);
    return bsearch(&key, v->known.v, v->known.n, sizeof key, known_order);
}

static struct known *recognise(struct verifier *v, json_t *metric)
{
    struct label pairs[VERIFY_LABELS_MAX];
    struct labels ls = {pairs, 0};
    const char *name;
    json_t *value;

    if (!json_is_object(metric) || json_object_size(metric) > VERIFY_LABELS_MAX)
        return NULL;
    json_object_foreach(metric, name, value)
    {
        if (!json_is_string(value))
            return NULL;
        pairs[ls.n++] = (struct label){str_of(name), str_n(json_string_value(value), json_string_length(value))};
    }
    return known_of(v, &ls);
}

static int read_samples(struct verifier *v, json_t *values, struct err *err)
{
    json_t *pair;
    size_t i;

    vec_clear(&v->got);
    json_array_foreach(values, i, pair)
    {
        json_t *text = json_array_get(pair, 1);
        double value;

        CORRUPT_UNLESS(json_is_number(json_array_get(pair, 0)) && json_is_string(text), err);
        if (float_parse(str_n(json_string_value(text), json_string_length(text)), &value, err) < 0)
            return RC_CORRUPT;
        *vec_push(&v->got) = (struct judge_sample){(int64_t)llround(json_number_value(json_array_get(pair, 0)) * 1000), double_bits(value)};
    }
    return 0;
}

static int read_count(json_t *text, uint64_t *ret, struct err *err)
{
    double v;

    CORRUPT_UNLESS(json_is_string(text), err);
    if (float_parse(str_n(json_string_value(text), json_string_length(text)), &v, err) < 0)
        return RC_CORRUPT;
    CORRUPT_UNLESS(v >= 0 && v < 0x1p63, err);
    *ret = (uint64_t)v;
    return 0;
}

/* {"count": "..", "sum": "..", "buckets": [[rule, "low", "high", "count"], ...]}: the bounds follow from what was sent and are left to the promql tests. */
static int read_histogram(json_t *h, uint64_t *ret_word, struct err *err)
{
    uint64_t filled[VERIFY_BUCKETS_MAX], count;
    json_t *sum = json_object_get(h, "sum"), *bucket;
    double total;
    size_t i, n = 0;
    int rc = read_count(json_object_get(h, "count"), &count, err);

    if (rc < 0)
        return rc;
    CORRUPT_UNLESS(json_is_string(sum) && float_parse(str_n(json_string_value(sum), json_string_length(sum)), &total, NULL) == 0, err);
    json_array_foreach(json_object_get(h, "buckets"), i, bucket)
    {
        CORRUPT_UNLESS(n < VERIFY_BUCKETS_MAX, err);
        rc = read_count(json_array_get(bucket, 3), &filled[n++], err);
        if (rc < 0)
            return rc;
    }
    *ret_word = model_native_word(count, total, filled, n);
    return 0;
}

static int read_histograms(struct verifier *v, json_t *values, struct err *err)
{
    json_t *pair;
    size_t i;
    int rc = 0;

    vec_clear(&v->got);
    json_array_foreach(values, i, pair)
    {
        struct judge_sample s = {0};

        CORRUPT_UNLESS(json_is_number(json_array_get(pair, 0)), err);
        rc = read_histogram(json_array_get(pair, 1), &s.bits, err);
        if (rc < 0)
            break;
        s.t_ms = (int64_t)llround(json_number_value(json_array_get(pair, 0)) * 1000);
        *vec_push(&v->got) = s;
    }
    return rc;
}

static void stranger(struct verifier *v, const struct slice *s, json_t *metric, size_t samples)
{
    char *text = json_dumps(metric, JSON_COMPACT | JSON_SORT_KEYS);

    v->verdict->phantom += MAX(samples, 1u);
    judge_note(v->log, "PHANTOM: tenant %u target %u: a series that was never written: %s", s->tenant, s->target, text ? text : "(no labels)");
    free(text);
}

/* What is in got, or that there is nothing. */
static void judge_known(struct verifier *v, const struct slice *s, struct known *k)
{
    struct judge_span span = {k->id, s->lo_ms, s->hi_ms, v->cfg->path == VERIFY_REMOTE_READ};

    if (v->cfg->path == VERIFY_RANGE)
        judge_steps(&v->model, v->h, &span, v->step_ms, v->got.v, v->got.n, v->verdict, v->log);
    else
        judge_series(&v->model, v->h, &span, v->got.v, v->got.n, v->verdict, v->log);
}

static void judge_first(struct verifier *v, const struct slice *s, struct known *k)
{
    if (k->seen) {
        v->verdict->twice += v->got.n;
        judge_note(v->log, "TWICE: tenant %u series %u: the answer has it more than once", s->tenant, k->id.index);
        return;
    }
    k->seen = true;
    judge_known(v, s, k);
}

static int judge_one(struct verifier *v, const struct slice *s, json_t *series, struct err *err)
{
    json_t *metric = json_object_get(series, "metric"), *values = json_object_get(series, "values"), *histograms = json_object_get(series, "histograms");
    struct known *k = recognise(v, metric);
    bool native = k && model_is_native(&v->model, k->id.index);
    int rc;

    if (!k || (native ? values : histograms)) {
        stranger(v, s, metric, json_array_size(values) + json_array_size(histograms));
        return 0;
    }
    rc = native ? read_histograms(v, histograms, err) : read_samples(v, values, err);
    if (rc < 0)
        return rc;
    judge_first(v, s, k);
    return 0;
}

static int judge_json(struct verifier *v, const struct slice *s, struct err *err)
{
    json_error_t why;
    json_t *root = json_loadb(v->http.body.p, v->http.body.n, 0, &why), *result, *series;
    size_t i;
    int rc = 0;

    if (!root)
        return err_set(err, RC_CORRUPT, "the answer is not JSON: %s", why.text);
    result = json_object_get(json_object_get(root, "data"), "result");
    if (!json_is_array(result))
        rc = err_set(err, RC_CORRUPT, "the answer has no result");
    json_array_foreach(result, i, series)
    {
        rc = judge_one(v, s, series, err);
        if (rc < 0)
            break;
    }
    json_decref(root);
    return rc;
}

/* A series of a remote read. Of native histograms it is judged when they are: each gets the word that was sent then. */
static int judge_read(void *arg, struct read_series *r, UNUSED struct err *err)
{
    struct verifier *v = arg;
    struct labels ls = {r->pairs, r->labels};
    struct known *k = known_of(v, &ls);
    bool native = k && model_is_native(&v->model, k->id.index);

    if (!k || (native ? r->samples.n : r->histogram_times.n)) {
        v->verdict->phantom += MAX(r->samples.n + r->histogram_times.n, 1u);
        judge_note(v->log, "PHANTOM: tenant %u target %u: a series that was never written, or of the other kind, by remote read", v->slice->tenant,
                   v->slice->target);
        return 0;
    }
    vec_clear(&v->got);
    for (size_t i = 0; i < r->samples.n; i++)
        *vec_push(&v->got) = r->samples.v[i];
    for (size_t i = 0; i < r->histogram_times.n; i++)
        *vec_push(&v->got) = (struct judge_sample){r->histogram_times.v[i], model_word(&v->model, k->id, r->histogram_times.v[i])};
    judge_first(v, v->slice, k);
    return 0;
}

static int judge_protobuf(struct verifier *v, struct err *err)
{
    int rc = read_answer_inflate(buf_view(&v->http.body), &v->inflated, err);

    return rc < 0 ? rc : read_answer_decode(buf_view(&v->inflated), judge_read, v, err);
}

static int judge_answer(struct verifier *v, const struct slice *s, struct err *err)
{
    int rc;

    learn(v, s);
    v->slice = s;
    rc = v->cfg->path == VERIFY_REMOTE_READ ? judge_protobuf(v, err) : judge_json(v, s, err);
    vec_clear(&v->got);
    for (size_t k = 0; rc == 0 && k < v->known.n; k++)
        if (!v->known.v[k].seen)
            judge_known(v, s, &v->known.v[k]);
    return rc;
}

/* --- the whole --- */

static size_t extent_of(const struct history *h, uint32_t tenant, uint32_t batch, int64_t *min, int64_t *max)
{
    size_t n;
    const struct history_entry *e = history_of(h, tenant * history_batches(&h->cfg) + batch, &n);

    if (n) {
        *min = MIN(*min, e[0].t_ms);
        *max = MAX(*max, e[n - 1].t_ms);
    }
    return n;
}

/* First and last time of the batches that hold a target, and the most requests that one of them had. */
static size_t extent(const struct verifier *v, uint32_t tenant, uint32_t target, int64_t *ret_min, int64_t *ret_max)
{
    size_t most = 0;

    *ret_min = INT64_MAX;
    *ret_max = INT64_MIN;
    for (int native = 0; native < 2; native++) {
        uint32_t first, end;

        model_target_run(&v->model, target, native, &first, &end);
        for (uint32_t b = first < end ? history_batch_of(&v->h->cfg, first) : 1, last = first < end ? history_batch_of(&v->h->cfg, end - 1) : 0; b <= last; b++)
            most = MAX(most, extent_of(v->h, tenant, b, ret_min, ret_max));
    }
    return most;
}

static int verify_target(struct verifier *v, uint32_t tenant, uint32_t target, struct err *err)
{
    int64_t min, max, step;
    size_t requests = extent(v, tenant, target, &min, &max), slices;
    int rc = 0;

    if (requests == 0)
        return 0;
    slices = requests * (v->model.target_series + NATIVES_PER_TARGET) / VERIFY_QUERY_SAMPLES + 1;
    step = (max - min) / (int64_t)slices + 1;
    if (v->cfg->path == VERIFY_RANGE)
        step = MIN((step + v->step_ms - 1) / v->step_ms, VERIFY_STEPS_MAX) * v->step_ms; /* whole steps */
    for (int64_t lo = min - 1; rc == 0 && lo < max; lo += step) {
        struct slice s = {tenant, target, lo, MIN(lo + step, max)};

        rc = ask(v, &s, err);
        if (rc == 0)
            rc = judge_answer(v, &s, err);
    }
    return rc;
}

static void progress(const struct verifier *v, uint64_t done, uint64_t all, int64_t *last_ms)
{
    int64_t now = clock_mono_ms(clock_system());

    if (!v->cfg->progress || now < *last_ms + 5000)
        return;
    fprintf(stderr, "verify: %" PRIu64 " of %" PRIu64 " targets, %" PRIu64 " samples right\n", done, all, v->verdict->right);
    *last_ms = now;
}

int verify_run(const struct verify_cfg *cfg, struct verdict *ret, struct judge_log *log, struct err *err)
{
    struct verifier v = {.cfg = cfg, .h = cfg->history, .verdict = ret, .log = log};
    int64_t last_ms = clock_mono_ms(clock_system());
    uint32_t targets;
    int rc = http_peer_of(cfg->query_url, &v.peer, err);

    if (rc < 0)
        return rc;
    memset(ret, 0, sizeof *ret);
    model_init(&v.model, &v.h->cfg.model);
    signals_catch(&v.signals);
    http_client_init(&v.http, &v.peer, VERIFY_ANSWER_BYTES_MAX);
    buf_init(&v.head, HTTP_CLIENT_HEAD_MAX);
    buf_init(&v.form, 4 << 20);
    buf_init(&v.inflated, READ_ANSWER_BYTES_MAX);
    v.step_ms = MAX(v.model.cfg.step_ms, 1);
    targets = model_targets(&v.model);
    for (uint32_t tenant = 0; rc == 0 && tenant < v.h->cfg.model.tenants; tenant++)
        for (uint32_t target = 0; rc == 0 && target < targets; target++) {
            rc = verify_target(&v, tenant, target, err);
            progress(&v, (uint64_t)tenant * targets + target + 1, (uint64_t)targets * v.h->cfg.model.tenants, &last_ms);
        }
    signals_release(&v.signals);
    http_client_fini(&v.http);
    buf_fini(&v.head);
    buf_fini(&v.form);
    buf_fini(&v.inflated);
    vec_fini(&v.known);
    vec_fini(&v.got);
    return rc;
}
