#include "ingester/shard.h"
#include "common/base/buf.h"
#include "common/base/planted.h"
#include "common/obs/memory.h"
#include "common/sys/fs.h"

#include <stdio.h>
#include <stdlib.h>

struct shard {
    struct shard_cfg cfg;        /* --- read-only after start --- */
    char *dir;
    struct log *log;
    struct head *head;           /* own lock */
    struct wal *wal;
    pthread_t thread;
    struct mutex lock;           /* --- guards the queue --- */
    struct cond wake;
    struct shard_job *first, *last;
    bool running, stopping;
    _Atomic size_t jobs, job_bytes; /* not done yet: grow under the lock, so that the ceiling holds */
    atomic_bool dead;
    _Atomic int64_t full_ns;     /* when the disk was last found full; 0: it is not */
    bool unsynced;               /* --- shard thread only --- */
    int64_t synced_ns;
    struct buf scratch;
};

int shard_new(const struct shard_cfg *cfg, struct log *log, struct shard **ret, struct err *err)
{
    struct shard *s;
    int rc = fs_mkdirs(cfg->dir, err);

    if (rc < 0)
        return rc;
    s = xcalloc(1, sizeof *s);
    s->cfg = *cfg;
    s->dir = xstrdup(cfg->dir);
    s->cfg.dir = s->dir;
    s->log = log;
    s->head = head_new();
    buf_init(&s->scratch, WAL_RECORD_BYTES_MAX / 2);
    mutex_init(&s->lock);
    cond_init(&s->wake);
    *ret = s;
    return 0;
}

void shard_free(struct shard *s)
{
    if (!s)
        return;
    if (s->running)
        shard_stop(s);
    wal_close(s->wal);
    head_free(s->head);
    cond_fini(&s->wake);
    mutex_fini(&s->lock);
    buf_fini(&s->scratch);
    free(s->dir);
    free(s);
}

struct head *shard_head(struct shard *s)
{
    return s->head;
}

void shard_head_renew(struct shard *s)
{
    ASSERT(!s->wal);
    head_free(s->head);
    s->head = head_new();
}

const char *shard_dir(const struct shard *s)
{
    return s->dir;
}

struct wal *shard_wal(struct shard *s)
{
    return s->wal;
}

bool shard_dead(const struct shard *s)
{
    return atomic_load_explicit(&s->dead, memory_order_acquire);
}

void shard_kill(struct shard *s, const struct err *why)
{
    if (!atomic_exchange(&s->dead, true))
        log_error(s->log, "log failed, this shard takes no more writes until restart", "shard", log_i64(s->cfg.number), "err",
                  err_log(why));
}

size_t shard_queued(const struct shard *s)
{
    return atomic_load_explicit(&s->jobs, memory_order_relaxed);
}

size_t shard_queued_bytes(const struct shard *s)
{
    return atomic_load_explicit(&s->job_bytes, memory_order_relaxed);
}

/* One push fits an empty queue, whatever its size. */
bool shard_full(struct shard *s, size_t bytes)
{
    size_t held = shard_queued_bytes(s);

    return shard_queued(s) >= SHARD_QUEUE_JOBS_MAX || (held > 0 && held + bytes > s->cfg.queue_bytes_max);
}

size_t shard_memory(struct shard *s)
{
    size_t n;

    mutex_lock(&s->lock);
    n = s->job_bytes;
    mutex_unlock(&s->lock);
    return n + heap_bytes(s) + heap_bytes(s->scratch.p) + heap_bytes(s->wal);
}

bool shard_submit(struct shard *s, struct shard_job *job)
{
    bool taken;

    mutex_lock(&s->lock);
    taken = s->running && !s->stopping && !shard_dead(s) && (job->bytes == 0 || !shard_full(s, job->bytes));
    if (taken) {
        job->next = NULL;
        if (s->last)
            s->last->next = job;
        else
            s->first = job;
        s->last = job;
        atomic_fetch_add(&s->jobs, 1);
        atomic_fetch_add(&s->job_bytes, job->bytes);
    }
    mutex_unlock(&s->lock);
    if (taken)
        cond_signal(&s->wake); /* not under the lock, which the thread that wakes would wait for */
    return taken;
}

/* Everything that has queued up; NULL when stopping and empty. Returns also, with *ret_idle, when a sync interval is over. */
static struct shard_job *take_all(struct shard *s, bool *ret_stop)
{
    struct shard_job *list;

    mutex_lock(&s->lock);
    while (!s->first && !s->stopping) {
        bool interval = s->cfg.sync == WAL_INTERVAL && s->unsynced;

        if (!interval)
            cond_wait(&s->wake, &s->lock);
        else if (!cond_wait_ms(&s->wake, &s->lock, s->cfg.sync_interval_ms))
            break;
    }
    list = s->first;
    s->first = s->last = NULL;
    *ret_stop = s->stopping && !list;
    mutex_unlock(&s->lock);
    return list;
}

static void sync_log(struct shard *s)
{
    struct err err;

    if (shard_dead(s) || !s->unsynced)
        return;
    if (wal_sync(s->wal, &err) < 0)
        shard_kill(s, &err);
    s->unsynced = false;
    s->synced_ns = clock_mono_ns(clock_system());
}

static bool sync_due(const struct shard *s)
{
    if (PLANTED("ack-before-sync"))
        return clock_mono_ns(clock_system()) - s->synced_ns >= 1000000000;
    if (s->cfg.sync == WAL_ALWAYS)
        return true;
    return clock_mono_ns(clock_system()) - s->synced_ns >= s->cfg.sync_interval_ms * 1000000;
}

static void *shard_main(void *arg)
{
    struct shard *s = arg;
    bool stop = false;

    while (!stop) {
        struct shard_job *list = take_all(s, &stop), *job;

        for (job = list; job; job = job->next)
            if (!shard_dead(s))
                job->run(job, s);
        /* One sync for all of them; in interval mode the answer does not wait for it. */
        if (s->cfg.sync == WAL_ALWAYS && !PLANTED("ack-before-sync"))
            sync_log(s);
        while (list) {
            job = list;
            list = job->next;
            atomic_fetch_sub(&s->jobs, 1);
            atomic_fetch_sub(&s->job_bytes, job->bytes);
            job->done(job, shard_dead(s));
        }
        if (sync_due(s))
            sync_log(s);
    }
    sync_log(s);
    return NULL;
}

void shard_start(struct shard *s)
{
    char name[16];

    ASSERT(!s->running && s->wal);
    s->running = true;
    s->stopping = false;
    snprintf(name, sizeof name, "shard-%u", s->cfg.number);
    s->thread = thread_start(name, shard_main, s);
}

void shard_stop(struct shard *s)
{
    mutex_lock(&s->lock);
    if (!s->running) {
        mutex_unlock(&s->lock);
        return;
    }
    s->stopping = true;
    cond_broadcast(&s->wake);
    mutex_unlock(&s->lock);
    pthread_join(s->thread, NULL);
    s->running = false;
}

struct sync_job {
    struct shard_job job;
    void (*run)(void *arg, struct shard *s);
    void *arg;
    struct mutex lock;
    struct cond cond;
    bool done, dead;
};

static void sync_job_run(struct shard_job *job, struct shard *s)
{
    struct sync_job *j = CONTAINER_OF(job, struct sync_job, job);

    j->run(j->arg, s);
}

static void sync_job_done(struct shard_job *job, bool dead)
{
    struct sync_job *j = CONTAINER_OF(job, struct sync_job, job);

    mutex_lock(&j->lock);
    j->done = true;
    j->dead = dead;
    cond_signal(&j->cond);
    mutex_unlock(&j->lock);
}

int shard_run_sync(struct shard *s, void (*run)(void *arg, struct shard *s), void *arg, struct err *err)
{
    struct sync_job j = {.job = {.run = sync_job_run, .done = sync_job_done}, .run = run, .arg = arg};
    int rc = 0;

    mutex_init(&j.lock);
    cond_init(&j.cond);
    if (!shard_submit(s, &j.job)) {
        rc = err_set(err, RC_UNAVAILABLE, "shard %u takes no work", s->cfg.number);
    } else {
        mutex_lock(&j.lock);
        while (!j.done)
            cond_wait(&j.cond, &j.lock);
        mutex_unlock(&j.lock);
        if (j.dead)
            rc = err_set(err, RC_IO, "the log of shard %u has failed", s->cfg.number);
    }
    cond_fini(&j.cond);
    mutex_fini(&j.lock);
    return rc;
}

int shard_open_log(struct shard *s, const struct wal_replay_stats *found, struct err *err)
{
    struct wal_cfg cfg = {s->dir, s->cfg.number, found->head_id ? found->head_id : s->cfg.head_id};

    return wal_open(&cfg, found, &s->wal, err);
}

bool shard_reserve(struct shard *s, size_t bytes)
{
    bool was_full = atomic_load_explicit(&s->full_ns, memory_order_relaxed) != 0;
    struct err err;
    int rc = wal_reserve(s->wal, bytes, &err);

    /* What else fails is the log's death; appending says so. */
    if (rc != RC_UNAVAILABLE) {
        if (was_full)
            log_info(s->log, "the disk of the log has room again, pushes are taken", "shard", log_i64(s->cfg.number));
        atomic_store(&s->full_ns, 0);
        return true;
    }
    if (!was_full)
        log_error(s->log, "the disk of the log is full, pushes are refused until there is room", "shard", log_i64(s->cfg.number), "err", err_log(&err));
    atomic_store(&s->full_ns, clock_mono_ns(clock_system()));
    return false;
}

bool shard_disk_full(const struct shard *s)
{
    int64_t since = atomic_load_explicit(&s->full_ns, memory_order_relaxed);

    return since && clock_mono_ns(clock_system()) - since < SHARD_FULL_RETRY_MS * 1000000LL;
}

void shard_log(struct shard *s, enum wal_type type, const struct str *parts, size_t n, int64_t t_max_ms)
{
    struct err err;

    if (shard_dead(s))
        return;
    if (wal_append(s->wal, type, parts, n, t_max_ms, &err) < 0)
        shard_kill(s, &err);
    s->unsynced = true;
}

void shard_log_list(struct shard *s, enum wal_type type, struct str tenant, size_t n, const struct buf *rows, int64_t t_max_ms)
{
    struct buf front;
    struct err err;

    buf_init(&front, 1024);
    wal_list_begin(&front, tenant, n);
    if (buf_ok(rows) && buf_ok(&front)) {
        struct str parts[] = {buf_view(&front), buf_view(rows)};

        shard_log(s, type, parts, ARRAY_LEN(parts), t_max_ms);
    } else {
        err_set(&err, RC_LIMIT, "a log record of %zu rows is larger than %zu bytes", n, rows->max);
        shard_kill(s, &err);
    }
    buf_fini(&front);
}

struct buf *shard_scratch(struct shard *s)
{
    return &s->scratch;
}
