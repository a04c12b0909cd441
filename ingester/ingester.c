#include "ingester/ingester.h"
#include "ingester/checkpoint.h"
#include "common/base/bytes.h"
#include "common/http/html.h"
#include "common/obs/memory.h"
#include "ingester/image.h"
#include "ingester/ingester_impl.h"
#include "ingester/sync.h"

#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

const struct ingester_cfg ingester_cfg_default = {
    .wal_sync = WAL_INTERVAL,
    .wal_sync_interval_ms = 100,
    .flush_check_ms = 15000,
    .flush_delay_ms = 15 * 60000,
    .retain_ms = 30 * 60000,
    .series_idle_ms = 2 * 3600000,
    .image_log_bytes = 256 << 20,
    .push_queue_bytes = 64 << 20,
    .sync_period_ms = 10 * 60000,
    .sync_slack_ms = 30000,
    .sync_bytes_per_s = 64 << 20,
    .settle_ms = 3000,
    .greet_ms = 1000,
    .contact_ms = 10000,
    .leave_ms = 10 * 60000,
};

enum { SHARDS_DEFAULT_MAX = 8 };

static uint32_t shards_default(void)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);

    return (uint32_t)MAX(1, MIN(cores, SHARDS_DEFAULT_MAX));
}

/* --- head identity: DIR/head.id, kept while the log is kept --- */

static int head_id_load(struct ingester *in, struct err *err)
{
    char path[PATH_MAX], text[17];
    struct buf b;
    int rc;

    snprintf(path, sizeof path, "%s/head.id", in->data_dir);
    buf_init(&b, 64);
    rc = fs_read(path, &b, err);
    buf_char(&b, '\0');
    if (rc == 0) {
        bool hex = b.n == sizeof text && strspn(b.p, "0123456789abcdef") == sizeof text - 1; /* and its end */

        in->head_id = hex ? strtoull(b.p, NULL, 16) : 0;
        if (in->head_id == 0)
            rc = err_set(err, RC_CORRUPT, "%s does not hold a head id: 16 digits, 0-9 and a-f", path);
    } else if (rc == RC_NOT_FOUND) {
        random_bytes(&in->head_id, sizeof in->head_id);
        in->head_id |= 1;
        in->new_head = true;
        snprintf(text, sizeof text, "%016llx", (unsigned long long)in->head_id);
        rc = fs_write_atomic(path, str_of(text), err);
    }
    buf_fini(&b);
    return rc;
}

static void collect(void *arg)
{
    struct ingester *in = arg;
    struct ingester_stats st;
    unsigned dead = 0;

    ingester_stats(in, &st);
    for (uint32_t i = 0; i < in->shard_count; i++)
        dead += shard_dead(in->shards[i]);
    metric_set(in->m_series, (double)st.series);
    metric_set(in->m_wal_bytes, (double)st.wal_bytes);
    metric_set(in->m_queue, (double)st.queued);
    metric_set(in->m_queue_bytes, (double)st.queued_bytes);
    metric_set(in->m_dead, dead);
}

static void metrics_make(struct ingester *in)
{
    struct metrics *m = in->deps.metrics;

    in->m_series = metrics_gauge(m, "torc_ingester_memory_series", "Series in the heads.");
    in->m_wal_bytes = metrics_gauge(m, "torc_ingester_wal_bytes", "Bytes of the write-ahead log on disk.");
    in->m_queue = metrics_gauge(m, "torc_ingester_shard_queue_jobs", "Jobs of the head shards that are not done.");
    in->m_queue_bytes = metrics_gauge(m, "torc_ingester_shard_queue_bytes", "Bytes of pushes that the head shards have not done.");
    in->m_push_wait = metrics_histogram(m, "torc_ingester_push_wait_seconds", "From a push's arrival to its turn at a head shard.");
    in->m_push_refused = metrics_family(m, METRIC_COUNTER, "torc_ingester_refused_pushes_total",
                                        "Pushes that were not worked on: the queue of a shard was full (overloaded), the distributor no longer waited (late), the disk of the log is full (disk_full).",
                                        (const char *const[]){"reason", NULL});
    metric_with(in->m_push_refused, "overloaded", NULL);
    metric_with(in->m_push_refused, "late", NULL);
    metric_with(in->m_push_refused, "disk_full", NULL);
    in->m_dead = metrics_gauge(m, "torc_ingester_dead_shards", "Shards whose log failed; they refuse all writes until a restart.");
    in->m_flushes = metrics_counter(m, "torc_ingester_flushes_total", "Flush sets published as blocks.");
    in->m_flush_failures = metrics_counter(m, "torc_ingester_flush_failures_total", "Flushes that failed and will be tried again.");
    in->m_appended = metrics_counter(m, "torc_ingester_appended_samples_total", "Samples accepted and logged.");
    in->m_replay_seconds = metrics_gauge(m, "torc_ingester_replay_seconds", "Duration of the last log replay.");
    in->m_image_tail = metrics_gauge(m, "torc_ingester_replayable_log_bytes", "Log behind the head images: what a restart would replay.");
    in->m_images = metrics_counter(m, "torc_ingester_head_images_total", "Head images written.");
    in->m_image_failures = metrics_counter(m, "torc_ingester_head_image_failures_total", "Head images that failed and will be tried again; the log stays meanwhile.");
    in->m_image_bytes = metrics_counter(m, "torc_ingester_head_image_bytes_total", "Bytes of head images written.");
    in->m_image_seconds = metrics_gauge(m, "torc_ingester_head_image_seconds", "Duration of the last head image.");
    in->m_image_lock_seconds = metrics_gauge(m, "torc_ingester_head_image_lock_seconds", "Longest time the last head image kept a shard waiting.");
    in->m_refused = metrics_family(m, METRIC_COUNTER, "torc_ingester_refused_samples_total", "Samples refused, by reason.",
                                   (const char *const[]){"reason", NULL});
    metrics_on_collect(m, collect, in);
}

static int shards_make(struct ingester *in, struct err *err)
{
    int rc = 0;

    for (size_t i = 0; i < in->wal_dirs.n && rc == 0; i++) {
        const struct wal_dir *d = &in->wal_dirs.v[i];
        struct shard_cfg cfg = {
            .dir = d->path,
            .number = d->shard,
            .count = in->shard_count,
            .head_id = in->head_id,
            .sync = in->cfg.wal_sync,
            .sync_interval_ms = in->cfg.wal_sync_interval_ms,
            .queue_bytes_max = (size_t)in->cfg.push_queue_bytes,
        };

        if (!d->foreign)
            rc = shard_new(&cfg, in->deps.log, &in->shards[d->shard], err);
    }
    return rc;
}

int ingester_new(const struct ingester_cfg *cfg, const struct ingester_deps *deps, struct ingester **ret, struct err *err)
{
    struct ingester *in = xcalloc(1, sizeof *in);
    int rc;

    in->cfg = *cfg;
    in->deps = *deps;
    in->lock_fd = -1;
    in->data_dir = xstrdup(cfg->data_dir);
    in->instance_id = xstrdup(cfg->instance_id);
    in->shard_count = cfg->shards ? MIN(cfg->shards, (uint32_t)SHARDS_MAX) : shards_default();
    in->next_set = 1;
    in->forgot_mono_ms = clock_mono_ms(in->deps.clock);
    pthread_rwlock_init(&in->tenants_lock, NULL);
    mutex_init(&in->marks_lock);
    mutex_init(&in->flush_lock);
    mutex_init(&in->wake_lock);
    cond_init(&in->wake);
    rc = fs_mkdirs(in->data_dir, err);
    if (rc == 0)
        rc = fs_lock_dir(in->data_dir, &in->lock_fd, err);
    if (rc == 0)
        rc = head_id_load(in, err);
    if (rc == 0)
        rc = ingester_wal_dirs(in, err);
    if (rc == 0)
        rc = shards_make(in, err);
    if (rc < 0) {
        ingester_free(in);
        return err_wrap(err, rc, "ingester %s", cfg->instance_id);
    }
    metrics_make(in);
    in->sync = in->deps.rpc && in->deps.member ? sync_new(in) : NULL;
    *ret = in;
    return 0;
}

void ingester_handle(struct ingester *in, struct rpc_server *srv)
{
    rpc_server_handle(srv, RPC_PUSH, ingester_on_push, in);
    rpc_server_handle_slow(srv, RPC_SELECT, ingester_on_select, in);
    rpc_server_handle_slow(srv, RPC_LABELS, ingester_on_labels, in);
    rpc_server_handle_slow(srv, RPC_CARDINALITY, ingester_on_cardinality, in);
    rpc_server_handle_slow(srv, RPC_METADATA, ingester_on_metadata, in);
    rpc_server_handle_slow(srv, RPC_EXEMPLARS, ingester_on_exemplars, in);
    rpc_server_handle_slow(srv, RPC_USER_STATS, ingester_on_user_stats, in);
    rpc_server_handle_slow(srv, RPC_FLUSH, ingester_on_flush, in);
    sync_handle(in, srv);
}

struct absorb {
    struct ingester *with;
    int rc;
    struct err err;
};

static void absorb_run(void *arg, struct shard *s)
{
    struct absorb *a = arg;

    a->rc = checkpoint_append(s, a->with, &a->err);
}

/* Samples go into blocks; labels and metadata, which senders will not send again to the head they know, into the logs of today. */
static int foreign_absorb(struct ingester *in, struct err *err)
{
    int rc = ingester_flush_all(in, NULL, NULL, err);

    for (uint32_t i = 0; i < in->shard_count && rc == 0; i++) {
        struct absorb a = {.with = i == 0 ? in : NULL};

        rc = shard_run_sync(in->shards[i], absorb_run, &a, err);
        if (rc == 0 && a.rc < 0) {
            rc = a.rc;
            *err = a.err;
        }
    }
    return rc < 0 ? rc : ingester_wal_dirs_remove_foreign(in, err);
}

static int come_up(struct ingester *in, struct err *err)
{
    int64_t start = clock_mono_ms(in->deps.clock);
    int rc = ingester_replay(in, err);

    for (uint32_t i = 0; i < in->shard_count && rc == 0; i++)
        shard_start(in->shards[i]);
    if (rc == 0 && in->foreign)
        rc = foreign_absorb(in, err);
    if (rc < 0)
        return rc;
    ingester_recount_series(in);
    metric_set(in->m_replay_seconds, (double)(clock_mono_ms(in->deps.clock) - start) / 1000);
    return 0;
}

static void *ingester_main(void *arg)
{
    struct ingester *in = arg;
    int rc = come_up(in, &in->failed);

    if (rc < 0) {
        log_error(in->deps.log, "log not replayed, this ingester stays down", "err", err_log(&in->failed));
        atomic_store(&in->state, INGESTER_FAILED);
        return NULL;
    }
    atomic_store(&in->state, INGESTER_SERVING);
    return ingester_maintain(in);
}

int ingester_start(struct ingester *in, UNUSED struct err *err)
{
    atomic_store(&in->state, INGESTER_REPLAYING);
    in->threads = true;
    in->maintenance = thread_start("ingester", ingester_main, in);
    in->imaging = thread_start("image", ingester_image_main, in);
    if (in->sync)
        sync_start(in->sync);
    return 0;
}

int ingester_ready(struct ingester *in, struct err *err)
{
    struct replay_sum sum = ingester_replay_sum(in);

    switch (atomic_load(&in->state)) {
    case INGESTER_SERVING:
        break;
    case INGESTER_REPLAYING:
        if (sum.seconds_left >= 0)
            return err_set(err, RC_UNAVAILABLE, "replaying the log, %d%% done, about %.0f s left", sum.total ? (int)(sum.done * 100 / sum.total) : 0, sum.seconds_left);
        return err_set(err, RC_UNAVAILABLE, "replaying the log");
    case INGESTER_FAILED:
        return err_set(err, RC_UNAVAILABLE, "the log could not be replayed: %s", err_text(&in->failed));
    default:
        return err_set(err, RC_UNAVAILABLE, "the ingester is not running");
    }
    for (uint32_t i = 0; i < in->shard_count; i++)
        if (shard_dead(in->shards[i]))
            return err_set(err, RC_UNAVAILABLE, "the log of shard %u has failed", i);
    return 0;
}

void ingester_stop(struct ingester *in)
{
    bool served;

    if (!in->threads)
        return;
    sync_stop(in->sync);
    mutex_lock(&in->wake_lock);
    in->stopping = true;
    cond_broadcast(&in->wake);
    mutex_unlock(&in->wake_lock);
    pthread_join(in->maintenance, NULL);
    pthread_join(in->imaging, NULL);
    in->threads = false;
    served = atomic_exchange(&in->state, INGESTER_STOPPED) == INGESTER_SERVING;
    for (uint32_t i = 0; i < in->shard_count; i++)
        shard_stop(in->shards[i]);
    if (served)
        ingester_images_write(in, IMAGE_STOP_BYTES);
}

void ingester_free(struct ingester *in)
{
    if (!in)
        return;
    ingester_stop(in);
    for (uint32_t i = 0; i < in->shard_count; i++) {
        head_imager_free(in->images[i].imager);
        shard_free(in->shards[i]);
    }
    sync_free(in->sync);
    ingester_tenants_free(in);
    ingester_wal_dirs_free(in);
    vec_fini(&in->sets);
    if (in->lock_fd >= 0)
        close(in->lock_fd);
    cond_fini(&in->wake);
    mutex_fini(&in->wake_lock);
    mutex_fini(&in->flush_lock);
    mutex_fini(&in->marks_lock);
    pthread_rwlock_destroy(&in->tenants_lock);
    free(in->data_dir);
    free(in->instance_id);
    free(in);
}

void ingester_stats(struct ingester *in, struct ingester_stats *ret)
{
    struct replay_sum sum = ingester_replay_sum(in);
    struct ingester_tenant *t, *tmp;
    struct ingester_stats st = {.replay_done = sum.total ? (double)sum.done / (double)sum.total : 1};

    pthread_rwlock_rdlock(&in->tenants_lock);
    st.tenants = HASH_COUNT(in->tenants);
    HASH_ITER(hh, in->tenants, t, tmp)
        st.series += atomic_load(&t->series);
    pthread_rwlock_unlock(&in->tenants_lock);
    for (uint32_t i = 0; i < in->shard_count; i++) {
        struct wal *w = shard_wal(in->shards[i]);

        st.wal_bytes += w ? wal_bytes(w) : 0;
        st.queued += shard_queued(in->shards[i]);
        st.queued_bytes += shard_queued_bytes(in->shards[i]);
    }
    *ret = st;
}

void ingester_write_tenants_json(struct ingester *in, struct buf *out)
{
    struct ingester_tenant *t, *tmp;
    bool first = true;

    buf_z(out, "{\"tenants\":[");
    pthread_rwlock_rdlock(&in->tenants_lock);
    HASH_ITER(hh, in->tenants, t, tmp) {
        buf_printf(out, "%s{\"tenant\":\"%s\",\"series\":%llu,\"samples\":%llu}", first ? "" : ",", t->id,
                   (unsigned long long)atomic_load(&t->series), (unsigned long long)atomic_load(&t->ingested));
        first = false;
    }
    pthread_rwlock_unlock(&in->tenants_lock);
    buf_z(out, "]}\n");
}

void ingester_write_tenants_html(struct ingester *in, struct buf *out)
{
    struct ingester_tenant *t, *tmp;

    html_begin(out, "Tenants of this ingester");
    html_table_begin(out);
    html_row(out, true, (const char *const[]){"Tenant", "Series", "Samples since the start", "Samples per second"}, 4);
    pthread_rwlock_rdlock(&in->tenants_lock);
    HASH_ITER(hh, in->tenants, t, tmp) {
        char series[24], samples[24], rate[32];

        snprintf(series, sizeof series, "%llu", (unsigned long long)atomic_load(&t->series));
        snprintf(samples, sizeof samples, "%llu", (unsigned long long)atomic_load(&t->ingested));
        snprintf(rate, sizeof rate, "%.1f", bits_double(atomic_load(&t->rate_bits)));
        html_row(out, false, (const char *const[]){t->id, series, samples, rate}, 4);
    }
    pthread_rwlock_unlock(&in->tenants_lock);
    html_table_end(out);
    html_end(out);
}

void ingester_memory(struct ingester *in, struct memory_account *a)
{
    struct ingester_tenant *t, *tmp;

    for (uint32_t i = 0; i < in->shard_count; i++) {
        head_memory(shard_head(in->shards[i]), a);
        memory_add(a, (struct str){0}, MEMORY_LOG_BUFFERS, shard_memory(in->shards[i]));
    }
    pthread_rwlock_rdlock(&in->tenants_lock);
    HASH_ITER(hh, in->tenants, t, tmp) {
        memory_add(a, str_n(t->id, t->id_len), MEMORY_TENANTS, heap_bytes(t) + heap_bytes(t->id));
        memory_add(a, str_n(t->id, t->id_len), MEMORY_METADATA, metadata_memory(t->metadata));
    }
    memory_add(a, (struct str){0}, MEMORY_TENANTS, UTHASH_BYTES(hh, in->tenants));
    pthread_rwlock_unlock(&in->tenants_lock);
}
