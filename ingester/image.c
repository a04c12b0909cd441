#include "ingester/image.h"
#include "common/http/html.h"
#include "common/base/fault.h"
#include "ingester/checkpoint.h"

#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>

enum {
    IMAGE_CHECK_MS = 250,
    IMAGE_RETRY_MS = 15000 /* after a failure */
};

/* --- writing --- */
struct image_shard {
    struct ingester *in;
    struct shard *shard;
    bool with_metadata;
};

static bool log_end(void *arg, struct wal_position *ret)
{
    struct image_shard *s = arg;

    *ret = wal_end(shard_wal(s->shard));
    return !shard_dead(s->shard);
}

static int log_sync(void *arg, struct err *err)
{
    struct image_shard *s = arg;
    int rc = wal_sync(shard_wal(s->shard), err);

    if (rc < 0)
        shard_kill(s->shard, err);
    return rc;
}

static int records(void *arg, wal_emit_fn *emit, void *emit_arg, struct err *err)
{
    struct image_shard *s = arg;

    return s->with_metadata ? checkpoint_metadata(s->in, emit, emit_arg, err) : 0;
}

static uint64_t tail_bytes(struct ingester *in, uint32_t i)
{
    const struct head_imager *im = in->images[i].imager;

    return im ? wal_bytes_since(shard_wal(in->shards[i]), head_imager_position(im)) : wal_bytes(shard_wal(in->shards[i]));
}

/* The shard with the longest log behind its image, once all together have grown enough: so shards take turns, and each writes as seldom as it may.
 * SHARDS_MAX: none. marks_lock is held. */
static uint32_t due_first(struct ingester *in)
{
    uint64_t sum = 0, longest = 0, limit = in->cfg.image_log_bytes / 8 * 7;
    int64_t now = clock_mono_ms(in->deps.clock);
    uint32_t found = SHARDS_MAX;

    for (uint32_t i = 0; i < in->shard_count; i++) {
        uint64_t tail = tail_bytes(in, i);

        sum += tail;
        if (tail > longest && !shard_dead(in->shards[i]) && now >= in->images[i].retry_mono_ms) {
            longest = tail;
            found = i;
        }
    }
    metric_set(in->m_image_tail, (double)sum);
    if (found == SHARDS_MAX)
        return SHARDS_MAX;
    /* What came in during the last image will come in during the next. */
    return sum + MIN(in->images[found].grown, limit / 2) > limit ? found : SHARDS_MAX;
}

static int image_write(struct ingester *in, uint32_t i, struct head_image_stats *ret, struct err *err)
{
    struct image_shard s = {in, in->shards[i], i == 0};
    const struct head_image_source src = {log_end, log_sync, records, &s};
    struct ingester_image *image = &in->images[i];
    int rc;

    if (!image->imager)
        image->imager = head_imager_new(&(struct head_imager_cfg){shard_dir(s.shard), i, in->head_id});
    rc = head_image_write(image->imager, shard_head(s.shard), &src, ret, err);
    return rc == 0 ? wal_cut(shard_wal(s.shard), head_imager_log_needed(image->imager), err) : rc;
}

/* marks_lock is held. */
static void image_try(struct ingester *in, uint32_t i)
{
    int64_t begin = clock_mono_ns(in->deps.clock);
    struct head_image_stats st = {0};
    struct err err;
    int rc = image_write(in, i, &st, &err);

    if (rc < 0) {
        in->images[i].retry_mono_ms = clock_mono_ms(in->deps.clock) + IMAGE_RETRY_MS;
        metric_inc(in->m_image_failures);
        log_warn(in->deps.log, "head image not written, will retry; the log stays", "shard", log_i64(i), "err", err_log(&err));
        return;
    }
    in->images[i].grown = tail_bytes(in, i);
    metric_inc(in->m_images);
    metric_add(in->m_image_bytes, st.bytes);
    metric_set(in->m_image_seconds, (double)(clock_mono_ns(in->deps.clock) - begin) / 1e9);
    metric_set(in->m_image_lock_seconds, (double)st.lock_ns_max / 1e9);
    log_debug(in->deps.log, "head image written", "shard", log_i64(i), "series", log_i64((int64_t)st.series), "bytes", log_i64((int64_t)st.bytes), "ms",
              log_i64((clock_mono_ns(in->deps.clock) - begin) / 1000000), "lock_us", log_i64(st.lock_ns_max / 1000));
}

static void images_due(struct ingester *in)
{
    uint32_t i;

    do {
        mutex_lock(&in->marks_lock);
        i = due_first(in);
        if (i < SHARDS_MAX)
            image_try(in, i);
        mutex_unlock(&in->marks_lock);
    } while (i < SHARDS_MAX);
}

void ingester_images_write(struct ingester *in, uint64_t tail_min)
{
    for (uint32_t i = 0; i < in->shard_count; i++) {
        mutex_lock(&in->marks_lock);
        if (!shard_dead(in->shards[i]) && tail_bytes(in, i) >= tail_min)
            image_try(in, i);
        mutex_unlock(&in->marks_lock);
    }
}

void *ingester_image_main(void *arg)
{
    struct ingester *in = arg;
    bool stopping = false;

    while (!stopping) {
        mutex_lock(&in->wake_lock);
        if (!in->stopping)
            cond_wait_ms(&in->wake, &in->wake_lock, IMAGE_CHECK_MS);
        stopping = in->stopping;
        mutex_unlock(&in->wake_lock);
        if (!stopping && atomic_load(&in->state) == INGESTER_SERVING)
            images_due(in);
    }
    return NULL;
}

/* --- loading --- */
/* Series of another shard count go to the heads of today, sample by sample: what is sealed here is flushed once more, which readers recognise by digest. */
static int pour(void *arg, struct str tenant, fingerprint fp, const struct labels *ls, const struct chunk_columns *c, struct err *err)
{
    struct ingester *in = arg;
    struct head *h = shard_head(in->shards[ingester_shard_of(in, fp)]);
    struct head_series *s;
    int rc;

    head_lock(h);
    rc = head_create(h, tenant, fp, ls, &s, err);
    for (size_t i = 0; i < c->n && rc == 0; i++) {
        int64_t st = c->st ? c->st[i] : 0;

        if (c->hist && c->hist[i])
            head_replay_histogram(h, s, c->t[i], c->hist[i], st);
        else
            head_replay(h, s, c->t[i], double_bits(c->v[i]), st);
    }
    head_unlock(h);
    return rc;
}

struct load_call {
    const struct image_load *load;
    bool silent; /* foreign: no exemplars, their series are in today's heads only later */
};

static int load_record(void *arg, enum wal_type type, struct str payload, int64_t *ret_t_max, struct err *err)
{
    struct load_call *c = arg;

    return c->silent && type == WAL_EXEMPLARS ? 0 : c->load->fn(c->load->fn_arg, type, payload, ret_t_max, err);
}

static void load_progress(void *arg, uint64_t done, uint64_t total)
{
    struct wal_dir *d = ((struct load_call *)arg)->load->from;

    atomic_store(&d->image_total, total);
    atomic_store(&d->image_done, done);
}

static int pour_all(struct ingester *in, struct head *from, struct err *err)
{
    uint64_t gen;
    int rc = head_image_pour(from, pour, in, &gen, err);

    for (uint32_t i = 0; i < in->shard_count && rc == 0; i++)
        head_image_leave(shard_head(in->shards[i]), gen);
    return rc;
}

static int load_one(struct ingester *in, const struct image_load *load, uint64_t number, struct head_image *ret, struct err *err)
{
    bool foreign = load->from->foreign;
    struct load_call call = {load, foreign};
    const struct head_image_load_cfg cfg = {load->from->path, load->from->shard, load_record, load_progress, &call};
    struct head *h = foreign ? head_new() : shard_head(in->shards[load->from->shard]);
    struct head_imager *imager = NULL;
    int rc;

    if (!foreign && in->foreign)
        return err_set(err, RC_INVALID, "%s has a head image while logs of another shard count are still there: move one of them away", load->from->path);
    rc = head_image_load(&cfg, number, h, ret, &imager, err);
    if (foreign) {
        if (rc == 0)
            rc = pour_all(in, h, err);
        head_free(h);
        head_imager_free(imager);
    } else if (rc == 0) {
        in->images[load->from->shard].imager = imager;
    } else {
        shard_head_renew(in->shards[load->from->shard]);
    }
    return rc;
}

/* What there will be to read, from the sizes of the files, until it is known better. */
static void expect(struct wal_dir *d)
{
    uint64_t image = 0, log = 0;
    fs_names names;

    if (!fs_exists(d->path) || fs_list(d->path, &names, NULL) < 0)
        return;
    for (size_t i = 0; i < names.n; i++) {
        char path[PATH_MAX];
        struct stat st;

        snprintf(path, sizeof path, "%s/%s", d->path, names.v[i]);
        if (stat(path, &st) != 0)
            continue;
        if (strstr(names.v[i], ".wal"))
            log += (uint64_t)st.st_size;
        else
            image += (uint64_t)st.st_size;
    }
    fs_names_free(&names);
    atomic_store(&d->image_total, image);
    atomic_store(&d->log_total, log);
}

int ingester_image_load(struct ingester *in, const struct image_load *load, struct head_image *ret, struct err *err)
{
    head_image_numbers numbers;
    int rc = head_image_list(load->from->path, &numbers, err);
    bool found = false;

    expect(load->from);
    for (size_t i = 0; rc == 0 && i < numbers.n && !found; i++) {
        struct err why;

        rc = load_one(in, load, numbers.v[i], ret, &why);
        found = rc == 0;
        if (rc == RC_CORRUPT || rc == RC_IO) {
            log_warn(in->deps.log, "head image cannot be read, trying the one before it, or the log", "dir", load->from->path, "err", err_log(&why));
            rc = 0;
        } else if (rc < 0 && err) {
            *err = why;
        }
    }
    vec_fini(&numbers);
    if (!found)
        atomic_store(&load->from->image_total, 0);
    return rc < 0 ? rc : found;
}

/* --- the page --- */
struct replay_sum ingester_replay_sum(struct ingester *in)
{
    int64_t begin = atomic_load(&in->replay_begin_ms), end = atomic_load(&in->replay_end_ms);
    struct replay_sum sum = {.seconds_left = -1};

    for (size_t i = 0; i < in->wal_dirs.n; i++) {
        const struct wal_dir *d = &in->wal_dirs.v[i];

        sum.done += atomic_load(&d->image_done) + atomic_load(&d->log_done);
        sum.total += atomic_load(&d->image_total) + atomic_load(&d->log_total);
    }
    if (begin)
        sum.seconds = (double)((end ? end : clock_mono_ms(in->deps.clock)) - begin) / 1000;
    if (end)
        sum.seconds_left = 0;
    else if (sum.done && sum.total)
        sum.seconds_left = sum.seconds * (double)(sum.total - MIN(sum.done, sum.total)) / (double)sum.done;
    return sum;
}

static const char *state_name(struct ingester *in)
{
    static const char *const names[] = {"new", "replaying", "serving", "stopped", "failed"};

    return names[atomic_load(&in->state)];
}

static int percent(uint64_t done, uint64_t total)
{
    return total ? (int)(MIN(done, total) * 100 / total) : 0;
}

/* DIR/wal/GGGG-NN/SSSS: the last two. */
static const char *dir_name(const struct wal_dir *d)
{
    const char *p = d->path + strlen(d->path);

    for (int slashes = 0; p > d->path; p--)
        if (p[-1] == '/' && ++slashes == 2)
            break;
    return p;
}

void ingester_write_replay_json(struct ingester *in, struct buf *out)
{
    struct replay_sum sum = ingester_replay_sum(in);

    buf_printf(out, "{\"state\":\"%s\",\"bytes_done\":%llu,\"bytes_total\":%llu,\"percent\":%d,\"seconds\":%.3f,\"seconds_left\":", state_name(in),
               (unsigned long long)sum.done, (unsigned long long)sum.total, percent(sum.done, sum.total), sum.seconds);
    if (sum.seconds_left < 0)
        buf_z(out, "null");
    else
        buf_printf(out, "%.1f", sum.seconds_left);
    buf_z(out, ",\"shards\":[");
    for (size_t i = 0; i < in->wal_dirs.n; i++) {
        const struct wal_dir *d = &in->wal_dirs.v[i];

        buf_printf(out, "%s{\"dir\":\"%s\",\"shard\":%u,\"image_bytes_done\":%llu,\"image_bytes_total\":%llu,\"log_bytes_done\":%llu,\"log_bytes_total\":%llu}",
                   i ? "," : "", dir_name(d), d->shard, (unsigned long long)atomic_load(&d->image_done), (unsigned long long)atomic_load(&d->image_total),
                   (unsigned long long)atomic_load(&d->log_done), (unsigned long long)atomic_load(&d->log_total));
    }
    buf_z(out, "]}\n");
}

static void html_cells(struct buf *out, uint64_t done, uint64_t total)
{
    buf_printf(out, "<td>%.1f<td>%.1f<td>", (double)done / 1e6, (double)total / 1e6);
    if (total)
        buf_printf(out, "%d %%", percent(done, total));
    else
        buf_z(out, "-");
}

void ingester_write_replay_html(struct ingester *in, struct buf *out)
{
    struct replay_sum sum = ingester_replay_sum(in);
    bool replaying = atomic_load(&in->state) == INGESTER_REPLAYING;

    html_begin(out, "Replay");
    if (replaying)
        buf_z(out, "<meta http-equiv=\"refresh\" content=\"1\">");
    buf_printf(out, "<p>%s, %d %% of %.1f MB", state_name(in), percent(sum.done, sum.total), (double)sum.total / 1e6);
    buf_printf(out, " in %.1f s", sum.seconds);
    if (replaying && sum.seconds_left >= 0)
        buf_printf(out, ", about %.0f s left", sum.seconds_left);
    buf_z(out, ".<table><tr><th>Directory<th>Image MB read<th>of<th><th>Log MB read<th>of<th>");
    for (size_t i = 0; i < in->wal_dirs.n; i++) {
        const struct wal_dir *d = &in->wal_dirs.v[i];

        buf_printf(out, "<tr><td>%s", dir_name(d));
        html_cells(out, atomic_load(&d->image_done), atomic_load(&d->image_total));
        html_cells(out, atomic_load(&d->log_done), atomic_load(&d->log_total));
    }
    html_table_end(out);
    html_end(out);
}
