/* Samples of a text with timestamps. It is read once to see what it has, then once for each group of ranges that fits into memory. */
#include "blocktool/import_progress.h"
#include "blocktool/sink.h"
#include "blocktool/tool.h"
#include "common/obs/exposition.h"

#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uthash.h>

enum { LABELS_BYTES_MAX = 1 << 30 };

struct text_series {
    fingerprint fp;
    struct labels labels;
    size_t rank; /* in label order */
    UT_hash_handle hh;
};

struct entry {
    int64_t t_ms;
    double v;
    struct text_series *series;
};

struct text {
    struct tool *t;
    struct str bytes;
    uint64_t samples;
    int64_t mint_ms, maxt_ms;
    struct exposition e;
    struct arena labels;
    VEC(struct text_series *) series;
    struct text_series *by_fp;
    VEC(struct entry) entries;
    struct arena columns;
    struct import_progress progress;
};

static int map(struct text *x, const char *path, struct err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC), rc = 0;
    struct stat st;
    void *p;

    if (fd < 0)
        return err_sys(err, errno == ENOENT ? RC_NOT_FOUND : RC_IO, "open %s", path);
    if (fstat(fd, &st) < 0)
        rc = err_sys(err, RC_IO, "stat %s", path);
    else if (st.st_size == 0)
        rc = err_set(err, RC_INVALID, "%s is empty", path);
    if (rc == 0) {
        p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED)
            rc = err_sys(err, RC_IO, "map %s", path);
        else
            x->bytes = str_n(p, (size_t)st.st_size);
    }
    close(fd);
    return rc;
}

/* What there is: how many samples, from when to when. */
static int look(struct text *x, struct err *err)
{
    struct exposition_sample s;
    int rc;

    x->mint_ms = INT64_MAX;
    x->maxt_ms = INT64_MIN;
    exposition_init(&x->e, x->bytes);
    while ((rc = exposition_next(&x->e, &s, err)) == 1) {
        if (!s.has_time)
            return err_set(err, RC_INVALID, "line %zu: a sample without a timestamp", x->e.line);
        x->mint_ms = MIN(x->mint_ms, s.t_ms);
        x->maxt_ms = MAX(x->maxt_ms, s.t_ms);
        x->samples++;
    }
    if (rc == 0 && x->samples == 0)
        rc = err_set(err, RC_INVALID, "no sample in it");
    return rc;
}

static int series_of(struct text *x, const struct exposition_sample *s, struct text_series **ret, struct err *err)
{
    struct label pairs[EXPOSITION_LABELS_MAX + 1] = {{STR(LABEL_METRIC_NAME), s->name}};
    struct labels ls = {pairs, 1};
    struct text_series *found;
    struct str twice;
    fingerprint fp;

    for (size_t i = 0; i < s->label_n; i++)
        if (s->labels[i].value.n) /* an empty value is no label */
            pairs[ls.n++] = (struct label){s->labels[i].name, s->labels[i].value};
    if (!labels_sort(&ls, &twice))
        return err_set(err, RC_INVALID, "line %zu: label %.*s stands twice", x->e.line, STR_FMT(twice));
    fp = labels_fingerprint(str_of(x->t->o.tenant), &ls);
    HASH_FIND(hh, x->by_fp, &fp, sizeof fp, found);
    if (!found) {
        found = arena_zalloc(&x->labels, sizeof *found);
        if (found)
            found->labels = labels_dup(&x->labels, &ls);
        if (!found || !found->labels.v)
            return err_set(err, RC_LIMIT, "line %zu: the labels take more than %d MiB", x->e.line, LABELS_BYTES_MAX >> 20);
        found->fp = fp;
        HASH_ADD(hh, x->by_fp, fp, sizeof fp, found);
        *(struct text_series **)vec_push(&x->series) = found;
    }
    *ret = found;
    return 0;
}

/* The samples that the sink takes now. */
static int collect(struct text *x, const struct sink *sink, struct err *err)
{
    struct exposition_sample s;
    int rc;

    vec_clear(&x->entries);
    exposition_init(&x->e, x->bytes);
    while ((rc = exposition_next(&x->e, &s, err)) == 1) {
        struct entry e = {.t_ms = s.t_ms, .v = s.value};

        if (!sink_takes(sink, s.t_ms))
            continue;
        if ((x->entries.n + 1) * sizeof e > x->t->o.memory)
            return err_set(err, RC_LIMIT, "line %zu: the samples of one range take more than --memory=%llu bytes", x->e.line, (unsigned long long)x->t->o.memory);
        rc = series_of(x, &s, &e.series, err);
        if (rc < 0)
            break;
        *(struct entry *)vec_push(&x->entries) = e;
    }
    return rc;
}

static int by_labels(const void *a, const void *b)
{
    return labels_cmp(&(*(struct text_series *const *)a)->labels, &(*(struct text_series *const *)b)->labels);
}

static int by_series_and_time(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;

    if (x->series != y->series)
        return x->series->rank < y->series->rank ? -1 : 1;
    return (x->t_ms > y->t_ms) - (x->t_ms < y->t_ms);
}

static void sort(struct text *x)
{
    if (x->series.n)
        qsort(x->series.v, x->series.n, sizeof *x->series.v, by_labels);
    for (size_t i = 0; i < x->series.n; i++)
        x->series.v[i]->rank = i;
    if (x->entries.n)
        qsort(x->entries.v, x->entries.n, sizeof *x->entries.v, by_series_and_time);
}

static int twice(const struct entry *e, struct err *err)
{
    struct buf text;
    int rc;

    buf_init(&text, 1 << 20);
    labels_print(&text, &e->series->labels);
    rc = err_set(err, RC_INVALID, "%.*s has two values at %lld ms", (int)MIN(text.n, (size_t)256), text.p, (long long)e->t_ms);
    buf_fini(&text);
    return rc;
}

/* Entries [0, n) are of one series. */
static int send_series(struct text *x, const struct entry *e, size_t n, struct sink *sink, struct err *err)
{
    struct chunk_columns c = {0};

    arena_reset(&x->columns);
    c.t = arena_array(&x->columns, n, sizeof *c.t);
    c.v = arena_array(&x->columns, n, sizeof *c.v);
    if (!c.t || !c.v)
        return err_set(err, RC_LIMIT, "a series of %zu samples: memory budget is spent", n);
    for (size_t i = 0; i < n; i++) {
        if (i && e[i].t_ms == e[i - 1].t_ms) {
            if (double_bits(e[i].v) != double_bits(e[i - 1].v))
                return twice(&e[i], err);
            continue;
        }
        c.t[c.n] = e[i].t_ms;
        c.v[c.n++] = e[i].v;
    }
    return sink_add(sink, &e->series->labels, &c, err);
}

static int send(struct text *x, struct sink *sink, struct err *err)
{
    const struct entry *e = x->entries.v;
    int rc = 0;

    sort(x);
    for (size_t from = 0, to; rc == 0 && from < x->entries.n; from = to) {
        for (to = from + 1; to < x->entries.n && e[to].series == e[from].series; to++)
            ;
        rc = send_series(x, e + from, to - from, sink, err);
        import_progress_tick(&x->progress, sink_totals(sink).samples);
    }
    return rc == 0 ? sink_finish(sink, err) : rc;
}

/* As many ranges at a time as fit into memory when they are alike. */
static size_t ranges_at_a_time(const struct text *x, const struct sink *sink)
{
    uint64_t bytes = x->samples * sizeof(struct entry), ranges = sink_ranges(sink);

    return (size_t)MAX(x->t->o.memory / MAX(bytes / ranges, (uint64_t)1) / 2, (uint64_t)1);
}

static int import(struct text *x, struct err *err)
{
    uint8_t hash[32];
    struct sink_cfg cfg = {
        .bucket = x->t->bucket, .scratch = x->t->o.scratch, .tenant = x->t->o.tenant, .source = str_n(hash, sizeof hash), .mint_ms = x->mint_ms, .maxt_ms = x->maxt_ms + 1,
    };
    struct sink_totals totals;
    struct sink *sink;
    int rc;

    sha256(x->bytes.p, x->bytes.n, hash);
    rc = sink_new(&cfg, &sink, err);
    if (rc < 0)
        return rc;
    import_progress_init(&x->progress, "import", x->samples, x->t->o.quiet);
    while (rc == 0 && sink_next(sink, ranges_at_a_time(x, sink))) {
        rc = collect(x, sink, err);
        if (rc == 0)
            rc = send(x, sink, err);
    }
    totals = sink_totals(sink);
    sink_free(sink);
    import_progress_end(&x->progress, totals.samples);
    if (rc == 0)
        printf("%llu of %llu samples imported for tenant %s: %llu blocks, %llu bytes; %llu ranges of time were there already\n", (unsigned long long)totals.samples,
               (unsigned long long)x->samples, x->t->o.tenant, (unsigned long long)totals.blocks, (unsigned long long)totals.bytes, (unsigned long long)totals.skipped);
    return rc;
}

int tool_import_text(struct tool *t, struct err *err)
{
    struct text *x = xcalloc(1, sizeof *x);
    char path[PATH_MAX];
    int rc = tool_tenant(t, NULL, err);

    x->t = t;
    snprintf(path, sizeof path, "%.*s", STR_FMT(t->args[0]));
    arena_init(&x->labels, LABELS_BYTES_MAX);
    arena_init(&x->columns, BLOCK_SERIES_BYTES_MAX);
    if (rc == 0)
        rc = map(x, path, err);
    if (rc == 0)
        rc = look(x, err);
    if (rc == 0)
        rc = import(x, err);
    HASH_CLEAR(hh, x->by_fp);
    vec_fini(&x->series);
    vec_fini(&x->entries);
    arena_fini(&x->labels);
    arena_fini(&x->columns);
    if (x->bytes.n)
        munmap((void *)x->bytes.p, x->bytes.n);
    free(x);
    return rc;
}
