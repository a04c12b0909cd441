#include "loadgen/model.h"

#include "common/base/hash.h"
#include "common/model/sample.h"

#include <float.h>
#include <math.h>
#include <stdio.h>

enum kind { COUNTER, SECONDS, BUCKET, BYTES, DECIMAL, CONSTANT, NOISE };

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

    ASSERT(cfg->series > 0 && cfg->tenants > 0);
    m->cfg = *cfg;
    for (size_t k = 0; k < ARRAY_LEN(metrics); k++)
        for (uint32_t x = 0; x < count(metrics[k].x); x++)
            for (uint32_t y = 0; y < count(metrics[k].y); y++) {
                ASSERT(at < TARGET_SERIES);
                m->slots[at++] = (struct model_slot){(uint8_t)k, (uint8_t)x, (uint8_t)y};
            }
    ASSERT(at == TARGET_SERIES);
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

static void add(struct model_labels *l, size_t *at, const char *name, const char *value, size_t value_n)
{
    ASSERT(*at < MODEL_LABELS && l->text_n + value_n <= sizeof l->text);
    memcpy(l->text + l->text_n, value, value_n);
    l->name[*at] = str_of(name);
    l->value[*at] = str_n(l->text + l->text_n, value_n);
    l->text_n += value_n;
    ++*at;
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

void model_labels(const struct model *m, struct series_id id, struct model_labels *ret)
{
    static const char digits[] = "bcdfghjklmnpqrstvwxz2456789";
    uint32_t target = model_target(id.index);
    struct model_slot slot = m->slots[id.index % TARGET_SERIES];
    const struct metric *metric = &metrics[slot.metric];
    uint64_t fixed = target_hash(m, id.tenant, target, 0), h = target_hash(m, id.tenant, target, id.generation);
    const char *service = services[fixed % ARRAY_LEN(services)], *ns = namespaces[(fixed >> 8) % ARRAY_LEN(namespaces)];
    const char *cluster = clusters[(fixed >> 16) % ARRAY_LEN(clusters)];
    char job[64], pod[64], address[32], hash[16];
    struct str instance = model_instance(target, id.generation, address);
    size_t at = 0;

    for (size_t i = 0; i < 15; i++, h = mix64(h + i))
        hash[i] = digits[h % (sizeof digits - 1)];
    snprintf(job, sizeof job, "%s/%s", ns, service);
    snprintf(pod, sizeof pod, "%s-%.10s-%.5s", service, hash, hash + 10);
    ret->text_n = 0;
    add(ret, &at, "__name__", metric->name, strlen(metric->name));
    add(ret, &at, "cluster", cluster, strlen(cluster));
    add(ret, &at, "container", service, strlen(service));
    add(ret, &at, "instance", instance.p, instance.n);
    add(ret, &at, "job", job, strlen(job));
    add(ret, &at, "namespace", ns, strlen(ns));
    add(ret, &at, "pod", pod, strlen(pod));
    add(ret, &at, metric->x_name, metric->x[slot.x], strlen(metric->x[slot.x]));
    add(ret, &at, metric->y_name, metric->y[slot.y], strlen(metric->y[slot.y]));
    /* The last two names differ by metric: insert them where they belong. */
    for (size_t i = MODEL_LABELS - 2; i < MODEL_LABELS; i++)
        for (size_t k = i; k > 0 && str_cmp(ret->name[k], ret->name[k - 1]) < 0; k--) {
            struct str name = ret->name[k], value = ret->value[k];

            ret->name[k] = ret->name[k - 1];
            ret->value[k] = ret->value[k - 1];
            ret->name[k - 1] = name;
            ret->value[k - 1] = value;
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

uint64_t model_value(const struct model *m, struct series_id id, int64_t t_ms)
{
    static const double cumulative[] = {0.02, 0.08, 0.21, 0.37, 0.55, 0.74, 0.86, 0.93, 0.97, 0.99, 0.998, 1};
    struct model_slot slot = m->slots[id.index % TARGET_SERIES];
    const struct metric *metric = &metrics[slot.metric];
    uint64_t group = mix(target_hash(m, id.tenant, model_target(id.index), id.generation), (uint64_t)metric->family << 8 | slot.x);
    uint64_t own = mix(group, slot.y), now = mix(own, (uint64_t)t_ms);

    if (UNLIKELY(model_is_special(m, id.index)))
        return special_bits(now);
    switch ((enum kind)metric->kind) {
    case COUNTER:
        return double_bits(events(metric->family == 1 ? group : own, t_ms));
    case BUCKET:
        return double_bits(floor(events(group, t_ms) * cumulative[slot.y]));
    case SECONDS:
        return double_bits(floor(events(metric->family == 1 ? group : own, t_ms) * 13) / 100);
    case BYTES:
        return double_bits((double)(((own & 0xffff) + (now & 0xff)) * 4096));
    case DECIMAL:
        return double_bits((double)((own & 0x3ff) + (now & 0x3f)) / 100);
    case CONSTANT:
        return double_bits((double)(1 + own % 64));
    case NOISE:
        return double_bits(unit(now));
    }
    assert_failed("a kind of metric", __FILE__, __LINE__);
}
