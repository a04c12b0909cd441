#include "loadgen/history.h"

#include "common/base/bytes.h"
#include "common/sys/fs.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

enum { HEADER_BYTES = 144, RECORD_BYTES = 16, VERSION = 2, SERIES_MAX = 100000000, TENANTS_MAX = 100000 };
static const char magic[8] = "torcload";

static void header_put(const struct history_cfg *c, char out[static HEADER_BYTES])
{
    memset(out, 0, HEADER_BYTES);
    memcpy(out, magic, sizeof magic);
    le_put32(out + 8, VERSION);
    le_put32(out + 12, c->model.series);
    le_put32(out + 16, c->model.tenants);
    le_put32(out + 20, c->batch);
    le_put64(out + 24, c->model.seed);
    le_put64(out + 32, double_bits(c->model.churn));
    le_put64(out + 40, (uint64_t)c->model.epoch_ms);
    out[48] = c->model.special;
    out[49] = (char)strlen(c->tenant);
    memcpy(out + 50, c->tenant, strlen(c->tenant));
    le_put32(out + 112, c->model.natives);
    le_put32(out + 116, c->model.labels);
    le_put64(out + 120, (uint64_t)c->model.step_ms);
    le_put64(out + 128, c->recording);
    out[136] = c->model.ha;
}

static int header_get(const char *in, struct history_cfg *ret, struct err *err)
{
    struct history_cfg c = {
        .model = {.seed = le_get64(in + 24),
                  .series = le_get32(in + 12),
                  .tenants = le_get32(in + 16),
                  .churn = bits_double(le_get64(in + 32)),
                  .special = in[48] != 0,
                  .natives = le_get32(in + 112),
                  .labels = le_get32(in + 116),
                  .step_ms = (int64_t)le_get64(in + 120),
                  .ha = in[136] != 0,
                  .epoch_ms = (int64_t)le_get64(in + 40)},
        .batch = le_get32(in + 20),
        .recording = le_get64(in + 128),
    };

    CORRUPT_UNLESS(memcmp(in, magic, sizeof magic) == 0, err);
    if (le_get32(in + 8) != VERSION)
        return err_set(err, RC_VERSION, "version %u of the history is not known", le_get32(in + 8));
    CORRUPT_UNLESS(c.model.series > 0 && c.model.series <= SERIES_MAX && c.model.tenants > 0 && c.model.tenants <= TENANTS_MAX, err);
    CORRUPT_UNLESS(c.model.natives <= SERIES_MAX && c.model.labels >= MODEL_LABELS_MIN && c.model.labels <= MODEL_LABELS_MAX, err);
    CORRUPT_UNLESS(!c.recording || (c.model.natives == 0 && c.model.step_ms > 0), err);
    CORRUPT_UNLESS(c.batch > 0 && c.batch <= c.model.series && (uint8_t)in[49] <= HISTORY_TENANT_MAX, err);
    CORRUPT_UNLESS(c.model.churn >= 0 && c.model.churn <= 6000, err);
    memcpy(c.tenant, in + 50, (uint8_t)in[49]);
    *ret = c;
    return 0;
}

static int record_put(struct history *h, const struct history_entry *e, enum history_kind kind, struct err *err)
{
    char out[RECORD_BYTES] = {0};

    if (h->fd < 0)
        return 0;
    le_put64(out, (uint64_t)e->t_ms);
    le_put32(out + 8, e->batch);
    out[12] = (char)kind;
    return fs_write_all(h->fd, out, sizeof out, err);
}

static uint32_t plain_batches(const struct history_cfg *c)
{
    return (c->model.series + c->batch - 1) / c->batch;
}

uint32_t history_batches(const struct history_cfg *c)
{
    return plain_batches(c) + (c->model.natives + c->batch - 1) / c->batch;
}

uint32_t history_batch_of(const struct history_cfg *c, uint32_t index)
{
    return index < c->model.series ? index / c->batch : plain_batches(c) + (index - c->model.series) / c->batch;
}

uint32_t history_batch_series(const struct history_cfg *c, uint32_t batch, uint32_t *ret_count)
{
    bool native = batch >= plain_batches(c);
    uint32_t first = (native ? batch - plain_batches(c) : batch) * c->batch, of = native ? c->model.natives : c->model.series;

    ASSERT(first < of);
    *ret_count = MIN(c->batch, of - first);
    return native ? c->model.series + first : first;
}

static uint64_t batches_of(const struct history_cfg *c)
{
    return (uint64_t)history_batches(c) * c->model.tenants;
}

int history_new(const struct history_cfg *cfg, const char *path, struct history *ret, struct err *err)
{
    struct history h = {.cfg = *cfg, .fd = -1};
    char header[HEADER_BYTES];
    int rc = 0;

    if (batches_of(cfg) > HISTORY_BATCHES_MAX)
        return err_set(err, RC_LIMIT, "more than %d batches: make them larger", HISTORY_BATCHES_MAX);
    if (path) {
        h.fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0644);
        if (h.fd < 0)
            return err_sys(err, RC_IO, "open %s", path);
        header_put(cfg, header);
        rc = fs_write_all(h.fd, header, sizeof header, err);
    }
    if (rc == 0)
        *ret = h;
    else
        close(h.fd);
    return rc;
}

void history_fini(struct history *h)
{
    if (h->fd >= 0)
        close(h->fd);
    free(h->batch_at);
    vec_fini(&h->sent);
    *h = (struct history){.fd = -1};
}

int history_sent(struct history *h, uint32_t batch, int64_t t_ms, size_t *ret_at, struct err *err)
{
    struct history_entry e = {t_ms, batch, false};

    ASSERT(!h->batch_at);
    if (h->sent.n == HISTORY_RECORDS_MAX)
        return err_set(err, RC_LIMIT, "the history is full: %d requests", HISTORY_RECORDS_MAX);
    *vec_push(&h->sent) = e;
    *ret_at = h->sent.n - 1;
    return record_put(h, &e, HISTORY_SENT, err);
}

int history_acked(struct history *h, size_t at, struct err *err)
{
    ASSERT(at < h->sent.n && !h->batch_at);
    h->sent.v[at].acked = true;
    return record_put(h, &h->sent.v[at], HISTORY_ACKED, err);
}

/* A request has two records, so records are turned into entries by sorting: SENT stands before ACKED. */
static int entry_order(const void *a, const void *b)
{
    const struct history_entry *x = a, *y = b;

    if (x->batch != y->batch)
        return x->batch < y->batch ? -1 : 1;
    if (x->t_ms != y->t_ms)
        return x->t_ms < y->t_ms ? -1 : 1;
    return x->acked - y->acked;
}

void history_sort(struct history *h)
{
    size_t batches = (size_t)history_batches(&h->cfg) * h->cfg.model.tenants, kept = 0;

    if (h->batch_at)
        return;
    if (h->sent.n)
        qsort(h->sent.v, h->sent.n, sizeof *h->sent.v, entry_order);
    for (size_t i = 0; i < h->sent.n; i++) {
        struct history_entry *last = kept ? &h->sent.v[kept - 1] : NULL, e = h->sent.v[i];

        if (last && last->batch == e.batch && last->t_ms == e.t_ms)
            last->acked |= e.acked;
        else
            h->sent.v[kept++] = e;
    }
    h->sent.n = kept;
    h->batch_at = xcalloc(batches + 1, sizeof *h->batch_at);
    for (size_t i = 0; i < kept; i++)
        h->batch_at[h->sent.v[i].batch + 1]++;
    for (size_t b = 0; b < batches; b++)
        h->batch_at[b + 1] += h->batch_at[b];
}

const struct history_entry *history_of(const struct history *h, uint32_t batch, size_t *ret_n)
{
    ASSERT(h->batch_at && batch < (size_t)history_batches(&h->cfg) * h->cfg.model.tenants);
    *ret_n = h->batch_at[batch + 1] - h->batch_at[batch];
    return *ret_n ? &h->sent.v[h->batch_at[batch]] : NULL;
}

static int load(struct str in, struct history *h, struct err *err)
{
    int rc;

    CORRUPT_UNLESS(in.n >= HEADER_BYTES, err);
    rc = header_get(in.p, &h->cfg, err);
    if (rc < 0)
        return rc;
    CORRUPT_UNLESS(batches_of(&h->cfg) <= HISTORY_BATCHES_MAX && in.n / RECORD_BYTES <= 2 * (size_t)HISTORY_RECORDS_MAX, err);
    for (size_t at = HEADER_BYTES; at + RECORD_BYTES <= in.n; at += RECORD_BYTES) {
        const char *r = in.p + at;

        CORRUPT_UNLESS(le_get32(r + 8) < batches_of(&h->cfg) && (r[12] == HISTORY_SENT || r[12] == HISTORY_ACKED), err);
        *vec_push(&h->sent) = (struct history_entry){(int64_t)le_get64(r), le_get32(r + 8), r[12] == HISTORY_ACKED};
    }
    return 0;
}

int history_decode(struct str bytes, struct history *ret, struct err *err)
{
    struct history h = {.fd = -1};
    int rc = load(bytes, &h, err);

    if (rc < 0) {
        history_fini(&h);
        return rc;
    }
    history_sort(&h);
    *ret = h;
    return 0;
}

int history_open(const char *path, struct history *ret, struct err *err)
{
    struct buf in;
    int rc;

    buf_init(&in, HEADER_BYTES + 2 * (size_t)HISTORY_RECORDS_MAX * RECORD_BYTES);
    rc = fs_read(path, &in, err);
    if (rc == 0)
        rc = history_decode(buf_view(&in), ret, err);
    buf_fini(&in);
    return rc < 0 ? err_wrap(err, rc, "history %s", path) : 0;
}

void tenant_name(const struct history_cfg *cfg, uint32_t tenant, char ret[static HISTORY_TENANT_MAX + 12])
{
    if (cfg->model.tenants == 1)
        snprintf(ret, HISTORY_TENANT_MAX + 12, "%s", cfg->tenant);
    else
        snprintf(ret, HISTORY_TENANT_MAX + 12, "%s-%u", cfg->tenant[0] ? cfg->tenant : "load", tenant + 1);
}
