#include "loadgen/model.h"

#include "common/base/hash.h"
#include "common/model/sample.h"

#include <float.h>
#include <math.h>
#include <stdio.h>

enum kind { COUNTER, SECONDS, BUCKET, BYTES, DECIMAL, CONSTANT, NOISE, SPECIAL, RECORDED };

enum { VALUES_MAX = 12 };

/* Metrics of a target; a family shares its base count, so that buckets, _count and _sum belong together. */
static const struct metric {
    const char *name, *x_name, *y_name;
    uint8_t kind, family;
    const char *x[VALUES_MAX], *y[VALUES_MAX];
} metrics[] = {
    {"http_request_duration_seconds_bucket", "handler", "le", BUCKET, 1,
     {"/api/v1/orders", "/api/v1/carts", "/api/v1/users", "/healthz", "/api/v1/search", "/login", "/api/v1/items", "/static"},
     {"0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "+Inf"}},
    {"http_request_duration_seconds_count", "handler", "protocol", COUNTER, 1,
     {"/api/v1/orders", "/api/v1/carts", "/api/v1/users", "/healthz", "/api/v1/search", "/login", "/api/v1/items", "/static"},
     {"HTTP/1.1"}},
    {"http_request_duration_seconds_sum", "handler", "protocol", SECONDS, 1,
     {"/api/v1/orders", "/api/v1/carts", "/api/v1/users", "/healthz", "/api/v1/search", "/login", "/api/v1/items", "/static"},
     {"HTTP/1.1"}},
    {"http_responses_total", "method", "status_code", COUNTER, 2, {"GET", "POST", "PUT", "DELETE"}, {"200", "201", "304", "404", "500"}},
    {"node_cpu_seconds_total", "cpu", "mode", SECONDS, 3,
     {"0", "1", "2", "3", "4", "5"},
     {"idle", "iowait", "irq", "nice", "softirq", "steal", "system", "user"}},
    {"container_network_receive_bytes_total", "interface", "direction", COUNTER, 4,
     {"eth0", "eth1", "lo", "cni0", "flannel.1"}, {"receive", "transmit"}},
    {"container_memory_working_set_bytes", "image", "scope", BYTES, 5,
     {"registry.internal/base:4.1", "registry.internal/proxy:2.7", "registry.internal/agent:1.19"},
     {"anon", "file", "kernel", "slab"}},
    {"go_memstats_heap_inuse_bytes", "runtime", "stage", BYTES, 6, {"go1.21.5"}, {"young", "old"}},
    {"queue_depth_average", "queue", "priority", DECIMAL, 7,
     {"mail", "invoice", "export", "import", "thumbnail", "audit"}, {"high", "low", "normal"}},
    {"request_queue_latency_ratio", "queue", "priority", NOISE, 8, {"mail", "invoice", "export", "import", "thumbnail"}, {"high", "low"}},
    {"kube_pod_container_resource_limits", "resource", "unit", CONSTANT, 9,
     {"cpu", "memory", "ephemeral_storage"}, {"core", "byte"}},
    {"process_open_fds", "component", "state", BYTES, 10, {"server", "worker", "proxy"}, {"open", "max", "idle", "closing"}},
};

static uint32_t count(const char *const *values)
{
    uint32_t n = 0;

    while (n < VALUES_MAX && values[n])
        n++;
    return n;
}

/* Slot k of a target is the k-th (metric, x, y); the table has exactly as many as a target. */
void model_init(struct model *m, const struct model_cfg *cfg)
{
    size_t at = 0;

    ASSERT(cfg->series > 0 && cfg->tenants > 0 && cfg->labels >= MODEL_LABELS_MIN && cfg->labels <= MODEL_LABELS_MAX);
    ASSERT(!cfg->recording || (cfg->natives == 0 && cfg->step_ms > 0 && cfg->series % cfg->recording->series_n == 0));
    m->cfg = *cfg;
    m->target_series = cfg->recording ? cfg->recording->series_n : TARGET_SERIES;
    for (size_t k = 0; k < ARRAY_LEN(metrics); k++)
        for (uint32_t x = 0; x < count(metrics[k].x); x++)
            for (uint32_t y = 0; y < count(metrics[k].y); y++) {
                ASSERT(at < TARGET_SERIES);
                m->slots[at++] = (struct model_slot){(uint8_t)k, (uint8_t)x, (uint8_t)y};
            }
    ASSERT(at == TARGET_SERIES);
}

uint32_t model_targets(const struct model *m)
{
    uint32_t plain = (m->cfg.series + m->target_series - 1) / m->target_series;

    return MAX(plain, (m->cfg.natives + NATIVES_PER_TARGET - 1) / NATIVES_PER_TARGET);
}

void model_target_run(const struct model *m, uint32_t target, bool native, uint32_t *ret_first, uint32_t *ret_end)
{
    uint32_t begin = native ? m->cfg.series : 0, end = native ? model_series(m) : m->cfg.series, each = native ? NATIVES_PER_TARGET : m->target_series;

    *ret_first = (uint32_t)MIN(begin + (uint64_t)target * each, end);
    *ret_end = (uint32_t)MIN(*ret_first + (uint64_t)each, end);
}

static uint64_t mix(uint64_t a, uint64_t b)
{
    return mix64(a ^ (b + 0x9e3779b97f4a7c15ULL) * 0xd6e8feb86659fd93ULL);
}

static uint64_t target_hash(const struct model *m, uint32_t tenant, uint32_t target, uint32_t generation)
{
    return mix(mix(m->cfg.seed, (uint64_t)tenant << 32 | target), generation);
}

uint32_t model_generation(const struct model *m, uint32_t tenant, uint32_t target, int64_t t_ms)
{
    int64_t life, phase, age;

    if (m->cfg.churn <= 0)
        return 0;
    life = MAX((int64_t)(100 * 60000.0 / m->cfg.churn), 1);
    phase = (int64_t)(mix(m->cfg.seed, (uint64_t)tenant << 32 | target) % (uint64_t)life);
    age = t_ms - m->cfg.epoch_ms + phase;
    return age < 0 ? 0 : (uint32_t)(age / life);
}

/* --- labels --- */

/* Keeps the order; few labels, mostly added where they belong. */
static void add(struct model_labels *l, struct str name, struct str value)
{
    size_t at = l->n;

    ASSERT(l->n < LABELS_PER_SERIES_MAX);
    for (; at > 0 && str_cmp(name, l->name[at - 1]) < 0; at--) {
        l->name[at] = l->name[at - 1];
        l->value[at] = l->value[at - 1];
    }
    l->name[at] = name;
    l->value[at] = value;
    l->n++;
}

void model_labels_add(struct model_labels *l, struct str name, struct str value)
{
    ASSERT(l->text_n + value.n <= sizeof l->text);
    memcpy(l->text + l->text_n, value.p, value.n);
    add(l, name, str_n(l->text + l->text_n, value.n));
    l->text_n += value.n;
}

static void add_z(struct model_labels *l, const char *name, const char *value)
{
    add(l, str_of(name), str_of(value));
}

static const char *const services[] = {"checkout-api", "order-service", "user-profile", "search-frontend", "mail-worker", "inventory", "gateway", "billing"};
static const char *const namespaces[] = {"shop", "shop-backend", "platform", "monitoring"};
static const char *const clusters[] = {"prod-eu-west-1", "prod-us-east-1", "staging-eu-1"};

struct str model_instance(uint32_t target, uint32_t generation, char text[static 32])
{
    /* The target's number is in the address, so no two targets of a generation share one; the generation is in the port. */
    int n = snprintf(text, 32, "10.%u.%u.%u:%u", (target >> 16) & 255, (target >> 8) & 255, target & 255, 9100 + generation % 50000);

    ASSERT(n > 0 && n < 32);
    return str_n(text, (size_t)n);
}

static const char digits[] = "bcdfghjklmnpqrstvwxz2456789";

static void random_text(uint64_t h, char *out, size_t n)
{
    for (size_t i = 0; i < n; i++, h = mix64(h + i))
        out[i] = digits[h % (sizeof digits - 1)];
}

/* Labels past the nine. */
static void add_more(const struct model *m, uint64_t target, struct model_labels *ret)
{
    for (uint32_t i = 0; i + MODEL_LABELS < m->cfg.labels; i++) {
        char *name = ret->text + ret->text_n, value[12];
        int n = snprintf(name, sizeof ret->text - ret->text_n, "team_label_%02u", i + 1);

        ret->text_n += (size_t)n;
        random_text(mix(target, i), value, sizeof value);
        model_labels_add(ret, str_n(name, (size_t)n), str_n(value, sizeof value));
    }
}

static void recorded_labels(const struct model *m, uint32_t index, struct model_labels *ret)
{
    const struct labels *ls = &m->cfg.recording->series[index % m->target_series].labels;

    for (size_t i = 0; i < ls->n; i++)
        add(ret, ls->v[i].name, ls->v[i].value);
    add_z(ret, "job", "replay");
}

static void native_labels(uint32_t index, struct model_labels *ret)
{
    static const char *const methods[] = {"Get", "List", "Create", "Update", "Delete"}, *const sides[] = {"client", "server"};

    add_z(ret, "__name__", "rpc_duration_seconds");
    add_z(ret, "rpc_method", methods[index % 5]);
    add_z(ret, "side", sides[index / 5 % 2]);
}

static void target_labels(const struct model *m, struct series_id id, uint32_t target, struct model_labels *ret)
{
    uint64_t fixed = target_hash(m, id.tenant, target, 0), h = target_hash(m, id.tenant, target, id.generation);
    const char *service = services[fixed % ARRAY_LEN(services)], *ns = namespaces[(fixed >> 8) % ARRAY_LEN(namespaces)];
    const char *cluster = clusters[(fixed >> 16) % ARRAY_LEN(clusters)];
    uint32_t labels = m->cfg.labels;
    char text[64], hash[16];

    random_text(h, hash, 15);
    if (labels > 4) {
        snprintf(text, sizeof text, "%s/%s", ns, service);
        model_labels_add(ret, STR("job"), str_of(text));
    }
    if (labels > 5 && !m->cfg.ha)
        add_z(ret, "cluster", cluster);
    if (labels > 6)
        add_z(ret, "container", service);
    if (labels > 7)
        add_z(ret, "namespace", ns);
    if (labels > 8) {
        snprintf(text, sizeof text, "%s-%.10s-%.5s", service, hash, hash + 10);
        model_labels_add(ret, STR("pod"), str_of(text));
    }
    add_more(m, fixed, ret);
}

void model_labels(const struct model *m, struct series_id id, struct model_labels *ret)
{
    uint32_t target = model_target(m, id.index);
    char text[32];

    ret->n = ret->text_n = 0;
    if (m->cfg.recording) {
        recorded_labels(m, id.index, ret);
    } else {
        struct model_slot slot = m->slots[id.index % TARGET_SERIES];
        const struct metric *metric = &metrics[slot.metric];

        if (model_is_native(m, id.index)) {
            native_labels(id.index - m->cfg.series, ret);
        } else {
            add_z(ret, "__name__", metric->name);
            add_z(ret, metric->x_name, metric->x[slot.x]);
            add_z(ret, metric->y_name, metric->y[slot.y]);
        }
        target_labels(m, id, target, ret);
    }
    model_labels_add(ret, STR("instance"), model_instance(target, id.generation, text));
    if (m->cfg.ha) {
        int n = snprintf(text, sizeof text, "pair-%u", id.tenant + 1);

        model_labels_add(ret, STR("cluster"), str_n(text, (size_t)n));
    }
}

/* --- values --- */

/* [0, 1) */
static double unit(uint64_t h)
{
    return (double)(h >> 11) * 0x1.0p-53;
}

/* Grows by rate a second with noise of up to one second's worth, so it never falls; whole events. */
static double events(uint64_t h, int64_t t_ms)
{
    static const double rates[] = {0, 0.01, 0.03, 0.1, 0.2, 0.5, 1, 1, 2, 5, 12, 30, 75, 200, 900, 12000};
    enum { EPOCH_S = 1700000000, LIFE_MAX_S = 30 * 86400 };
    int64_t s = MAX(t_ms / 1000 - EPOCH_S, 0) + (int64_t)((h >> 8) % LIFE_MAX_S);

    return floor(rates[h & 15] * ((double)s + unit(mix(h, (uint64_t)s))));
}

static uint64_t special_bits(uint64_t h)
{
    static const uint64_t bits[] = {
        NORMAL_NAN_BITS,        STALE_NAN_BITS,         0x7ff8000000abcdefULL,  0xfff8000000000123ULL, 0x7ff0000000000000ULL /* +Inf */,
        0xfff0000000000000ULL,  0x8000000000000000ULL /* -0 */, 0,              1 /* smallest denormal */, 0x800fffffffffffffULL,
        0x7fefffffffffffffULL /* largest */, 0xffefffffffffffffULL, 0x0010000000000000ULL /* smallest normal */, 0x3ff0000000000001ULL,
    };

    return h % 3 == 0 ? bits[(h >> 8) % ARRAY_LEN(bits)] : double_bits(unit(h) * 1e6 - 5e5);
}

bool model_is_special(const struct model *m, uint32_t index)
{
    return m->cfg.special && index % SPECIAL_EVERY == SPECIAL_EVERY - 1;
}

struct model_seed model_seed(const struct model *m, struct series_id id)
{
    struct model_slot slot = m->slots[id.index % TARGET_SERIES];
    const struct metric *metric = &metrics[slot.metric];
    uint64_t group = mix(target_hash(m, id.tenant, model_target(m, id.index), id.generation), (uint64_t)metric->family << 8 | slot.x);
    uint64_t own = mix(group, slot.y);

    ASSERT(!model_is_native(m, id.index));
    if (m->cfg.recording)
        return (struct model_seed){.group = id.index % m->target_series, .own = mix(m->cfg.seed, id.index), .kind = RECORDED};
    if (model_is_special(m, id.index))
        return (struct model_seed){group, own, SPECIAL, 0};
    /* The count and the sum of a histogram go with its buckets. */
    return (struct model_seed){group, metric->family == 1 && metric->kind != BUCKET ? group : own, metric->kind, slot.y};
}

static uint64_t recorded_value(const struct model *m, uint64_t series, int64_t t_ms)
{
    const struct recorded_series *s = &m->cfg.recording->series[series];
    int64_t round = MAX(t_ms - m->cfg.epoch_ms, 0) / m->cfg.step_ms;

    return s->values[s->value_n == 1 ? 0 : (uint64_t)round % s->value_n];
}

uint64_t model_value_of(const struct model *m, const struct model_seed *s, int64_t t_ms)
{
    static const double cumulative[] = {0.02, 0.08, 0.21, 0.37, 0.55, 0.74, 0.86, 0.93, 0.97, 0.99, 0.998, 1};

    switch ((enum kind)s->kind) {
    case COUNTER:
        return double_bits(events(s->own, t_ms));
    case BUCKET:
        return double_bits(floor(events(s->group, t_ms) * cumulative[s->y]));
    case SECONDS:
        return double_bits(floor(events(s->own, t_ms) * 13) / 100);
    case BYTES:
        return double_bits((double)(((s->own & 0xffff) + (mix(s->own, (uint64_t)t_ms) & 0xff)) * 4096));
    case DECIMAL:
        return double_bits((double)((s->own & 0x3ff) + (mix(s->own, (uint64_t)t_ms) & 0x3f)) / 100);
    case CONSTANT:
        return double_bits((double)(1 + s->own % 64));
    case NOISE:
        return double_bits(unit(mix(s->own, (uint64_t)t_ms)));
    case SPECIAL:
        return special_bits(mix(s->own, (uint64_t)t_ms));
    case RECORDED:
        return recorded_value(m, s->group, t_ms);
    }
    assert_failed("a kind of metric", __FILE__, __LINE__);
}

uint64_t model_value(const struct model *m, struct series_id id, int64_t t_ms)
{
    struct model_seed s = model_seed(m, id);

    return model_value_of(m, &s, t_ms);
}

enum metric_type_wire model_type(const struct model *m, uint32_t index)
{
    const struct metric *metric = &metrics[m->slots[index % TARGET_SERIES].metric];

    if (m->cfg.recording)
        return m->cfg.recording->series[index % m->target_series].type;
    if (model_is_native(m, index) || metric->family == 1)
        return TYPE_HISTOGRAM;
    return metric->kind == COUNTER || metric->kind == SECONDS ? TYPE_COUNTER : TYPE_GAUGE;
}

/* --- native histograms --- */

/* Two runs of buckets with a gap, a bell over about three octaves; floor() of a growing number times a constant never falls. */
void model_native(const struct model *m, struct series_id id, int64_t t_ms, struct model_native *ret)
{
    enum { GAP_AT = 24, GAP = 5, FIRST_INDEX = -58 };
    uint64_t h = mix(target_hash(m, id.tenant, model_target(m, id.index), id.generation), 0x6e61746976650000ULL + id.index % NATIVES_PER_TARGET);
    double n = events(h, t_ms) * 10;

    ret->h = (struct histogram){.schema = NATIVE_SCHEMA, .zero_threshold = 0x1p-128};
    ret->h.count.i = ret->h.zero_count.i = (uint64_t)floor(n * 0.003);
    for (uint32_t i = 0; i < NATIVE_BUCKETS; i++) {
        double d = ((double)i - 11) / 6, share = i < GAP_AT ? 0.066 / (1 + d * d * d * d) : 0.001;

        ret->counts[i] = (uint64_t)floor(n * share);
        ret->h.count.i += ret->counts[i];
    }
    ret->h.sum = floor(n * 13) / 1000;
    ret->spans[0] = (struct hist_span){FIRST_INDEX, GAP_AT};
    ret->spans[1] = (struct hist_span){GAP, NATIVE_BUCKETS - GAP_AT};
    ret->h.pos.spans = ret->spans;
    ret->h.pos.span_count = 2;
    ret->h.pos.bucket_count = NATIVE_BUCKETS;
    ret->h.pos.i = ret->counts;
}

uint64_t model_native_word(uint64_t count, double sum, const uint64_t *filled, size_t n)
{
    uint64_t head[2] = {count, double_bits(sum)};

    return hash64(filled, n * sizeof *filled, hash64(head, sizeof head, 0)) >> 2;
}

static uint64_t native_word(const struct model *m, struct series_id id, int64_t t_ms)
{
    struct model_native native;
    uint64_t filled[NATIVE_BUCKETS + 1];
    size_t n = 0;

    model_native(m, id, t_ms, &native);
    if (native.h.zero_count.i)
        filled[n++] = native.h.zero_count.i;
    for (size_t i = 0; i < NATIVE_BUCKETS; i++)
        if (native.counts[i])
            filled[n++] = native.counts[i];
    return model_native_word(native.h.count.i, native.h.sum, filled, n);
}

uint64_t model_word(const struct model *m, struct series_id id, int64_t t_ms)
{
    return model_is_native(m, id.index) ? native_word(m, id, t_ms) : model_value(m, id, t_ms);
}

/* --- exemplars --- */

bool model_has_exemplar(const struct model *m, struct series_id id, double percent)
{
    enum metric_type_wire type = model_type(m, id.index);

    if (percent <= 0 || model_is_native(m, id.index) || (type != TYPE_COUNTER && type != TYPE_HISTOGRAM))
        return false;
    return unit(mix(mix(m->cfg.seed, id.tenant), id.index)) * 100 < percent;
}

void model_exemplar(const struct model_seed *s, int64_t t_ms, uint8_t trace[static 16], double *ret_value)
{
    uint64_t h = mix(mix(s->own, s->kind), (uint64_t)t_ms);

    be_put64(trace, h);
    be_put64(trace + 8, mix64(h + 1));
    *ret_value = unit(h) * 10;
}
