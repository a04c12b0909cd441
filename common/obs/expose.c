/* Exposition: Prometheus text 0.0.4 and OpenMetrics 1.0.0. */
#include "common/model/duration.h"
#include "common/obs/metrics_impl.h"

#include <stdatomic.h>

static void put_help(struct buf *out, const char *help, bool openmetrics)
{
    for (const char *c = help; *c; c++) {
        if (*c == '\n') {
            buf_z(out, "\\n");
            continue;
        }
        if (*c == '\\' || (*c == '"' && openmetrics))
            buf_char(out, '\\');
        buf_char(out, *c);
    }
}

static void put_family_head(struct buf *out, const struct metric_family *f, bool openmetrics)
{
    static const char *const types[] = {"counter", "gauge", "histogram"};
    struct str name = str_of(f->name);

    if (openmetrics && f->type == METRIC_COUNTER)
        name.n -= strlen("_total");
    buf_printf(out, "# HELP %.*s ", STR_FMT(name));
    put_help(out, f->help, openmetrics);
    buf_printf(out, "\n# TYPE %.*s %s\n", STR_FMT(name), types[f->type]);
}

/* OpenMetrics writes bounds as floats, so that 1 and 1.0 are not two series. */
static void put_bound(struct buf *out, double bound, bool openmetrics)
{
    size_t start = out->n;

    float_print(out, bound);
    if (openmetrics && buf_ok(out) && !memchr(out->p + start, '.', out->n - start))
        buf_z(out, ".0");
}

static void put_bucket(struct buf *out, const struct metric *c, size_t i, uint64_t cumulative,
                       bool openmetrics)
{
    buf_printf(out, "%s_bucket{%s%sle=\"", c->family->name, c->key, c->key_n ? "," : "");
    if (i < METRIC_BUCKETS)
        put_bound(out, metric_bounds[i], openmetrics);
    else
        buf_z(out, "+Inf");
    buf_printf(out, "\"} %llu\n", (unsigned long long)cumulative);
}

static void put_series(struct buf *out, const struct metric *c, const char *suffix, double v)
{
    buf_printf(out, "%s%s", c->family->name, suffix);
    if (c->key_n)
        buf_printf(out, "{%s}", c->key);
    buf_char(out, ' ');
    float_print(out, v);
    buf_char(out, '\n');
}

static void put_histogram(struct buf *out, const struct metric *c, bool openmetrics)
{
    double sum = atomic_load_explicit(&c->value, memory_order_relaxed);
    uint64_t cumulative = 0;

    for (size_t i = 0; i <= METRIC_BUCKETS; i++) {
        cumulative += atomic_load_explicit(&c->buckets[i], memory_order_relaxed);
        put_bucket(out, c, i, cumulative, openmetrics);
    }
    put_series(out, c, "_sum", sum);
    put_series(out, c, "_count", (double)cumulative);
}

static void run_hooks(struct metrics *m)
{
    for (size_t i = 0;; i++) {
        struct metrics_hook hook = {0};

        mutex_lock(&m->lock);
        if (i < m->hooks.n)
            hook = m->hooks.v[i];
        mutex_unlock(&m->lock);
        if (!hook.fn)
            return;
        hook.fn(hook.arg); /* without the lock: hooks make children */
    }
}

void metrics_write(struct metrics *m, bool openmetrics, struct buf *out)
{
    run_hooks(m);
    mutex_lock(&m->lock);
    for (const struct metric_family *f = m->families; f; f = f->next) {
        if (!f->children)
            continue;
        put_family_head(out, f, openmetrics);
        for (const struct metric *c = f->children; c; c = c->hh.next) {
            if (f->type == METRIC_HISTOGRAM)
                put_histogram(out, c, openmetrics);
            else
                put_series(out, c, "", metric_value(c));
        }
    }
    mutex_unlock(&m->lock);
    if (openmetrics)
        buf_z(out, "# EOF\n");
}
