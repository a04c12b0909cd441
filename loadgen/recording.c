#include "loadgen/recording.h"

#include "common/base/hash.h"
#include "common/base/vec.h"
#include "common/sys/fs.h"
#include "common/obs/exposition.h"

enum { ARENA_BYTES_MAX = 1 << 30 };
_Static_assert(EXPOSITION_LABELS_MAX + 4 <= LABELS_PER_SERIES_MAX, "name, job, instance and a replica fit");

/* A value of the file, in its order; then sorted by series and time. */
struct entry {
    fingerprint fp;
    int64_t t_ms;
    uint64_t bits;
    uint32_t series; /* in the order of the file */
    uint32_t line;
};

struct reader {
    struct recording *r;
    struct exposition *e;
    VEC(struct entry) entries;
    VEC(struct recorded_series) series; /* one per entry until they are merged */
};

static uint8_t type_of(struct str type)
{
    static const char *const names[] = {"unknown", "counter", "gauge", "histogram", "gaugehistogram", "summary", "info", "stateset"};

    for (uint8_t i = 0; i < ARRAY_LEN(names); i++)
        if (str_eqz(type, names[i]))
            return i;
    return TYPE_UNKNOWN;
}

/* As honor_labels: false does it. */
static struct str exported(struct str name)
{
    if (str_eqz(name, "job"))
        return STR("exported_job");
    return str_eqz(name, "instance") ? STR("exported_instance") : name;
}

static int labels_of(struct reader *rd, const struct exposition_sample *s, struct labels *ret, struct err *err)
{
    struct label pairs[EXPOSITION_LABELS_MAX + 1] = {{STR(LABEL_METRIC_NAME), s->name}};
    struct labels ls = {pairs, 1};
    struct str twice;

    for (size_t i = 0; i < s->label_n; i++)
        if (s->labels[i].value.n) /* an empty value is no label */
            pairs[ls.n++] = (struct label){exported(s->labels[i].name), s->labels[i].value};
    if (!labels_sort(&ls, &twice))
        return err_set(err, RC_INVALID, "line %zu: label %.*s stands twice", rd->e->line, STR_FMT(twice));
    *ret = labels_dup(&rd->r->arena, &ls);
    return ret->v ? 0 : err_set(err, RC_LIMIT, "line %zu: the recording is larger than %d MiB in memory", rd->e->line, ARENA_BYTES_MAX >> 20);
}

static int take_sample(struct reader *rd, const struct exposition_sample *s, struct err *err)
{
    struct labels labels;
    int rc = labels_of(rd, s, &labels, err);

    if (rc < 0)
        return rc;
    if (rd->entries.n == RECORDING_VALUES_MAX)
        return err_set(err, RC_LIMIT, "more than %d samples", RECORDING_VALUES_MAX);
    *vec_push(&rd->entries) = (struct entry){.fp = labels_fingerprint(STR(""), &labels),
                                             .t_ms = s->has_time ? s->t_ms : 0,
                                             .bits = double_bits(s->value),
                                             .series = (uint32_t)rd->series.n,
                                             .line = (uint32_t)rd->e->line};
    *vec_push(&rd->series) = (struct recorded_series){.labels = labels, .type = type_of(exposition_type(rd->e, s->name))};
    return 0;
}

static int entry_order(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    int c = u128_cmp(x->fp, y->fp);

    if (c)
        return c;
    if (x->t_ms != y->t_ms)
        return x->t_ms < y->t_ms ? -1 : 1;
    return (x->line > y->line) - (x->line < y->line);
}

/* Entries [from, to) are of one series: they become the values of its first occurrence. */
static int merge(struct reader *rd, size_t from, size_t to, struct err *err)
{
    struct entry *e = rd->entries.v;
    uint32_t first = e[from].series;
    struct recorded_series *s;

    for (size_t i = from; i < to; i++) {
        if (i > from && e[i].t_ms == e[i - 1].t_ms)
            return err_set(err, RC_INVALID, "line %u: the series stands on line %u already, with the same timestamp", e[i].line, e[i - 1].line);
        first = MIN(first, e[i].series);
    }
    s = &rd->series.v[first];
    s->values = arena_array(&rd->r->arena, to - from, sizeof *s->values);
    if (!s->values)
        return err_set(err, RC_LIMIT, "the recording is larger than %d MiB in memory", ARENA_BYTES_MAX >> 20);
    for (size_t i = from; i < to; i++)
        s->values[s->value_n++] = e[i].bits;
    return 0;
}

/* The series in the order of the file, so that those of a metric stay together. */
static int finish(struct reader *rd, struct err *err)
{
    size_t n = rd->entries.n, kept = 0;
    int rc = 0;

    if (n == 0)
        return err_set(err, RC_INVALID, "there is no sample in it");
    qsort(rd->entries.v, n, sizeof *rd->entries.v, entry_order);
    for (size_t from = 0, to; rc == 0 && from < n; from = to) {
        for (to = from + 1; to < n && u128_eq(rd->entries.v[to].fp, rd->entries.v[from].fp); to++)
            ;
        rc = merge(rd, from, to, err);
    }
    for (size_t i = 0; rc == 0 && i < rd->series.n; i++)
        if (rd->series.v[i].value_n)
            rd->series.v[kept++] = rd->series.v[i];
    if (rc == 0 && kept > RECORDING_SERIES_MAX)
        rc = err_set(err, RC_LIMIT, "more than %d series", RECORDING_SERIES_MAX);
    if (rc < 0)
        return rc;
    rd->r->series = xmemdup(rd->series.v, kept * sizeof *rd->series.v);
    rd->r->series_n = (uint32_t)kept;
    return 0;
}

int recording_read(struct str text, struct recording *ret, struct err *err)
{
    struct recording r = {.fingerprint = hash64(text.p, text.n, 0) | 1};
    struct reader rd = {.r = &r, .e = xcalloc(1, sizeof *rd.e)};
    struct exposition_sample s;
    int rc;

    arena_init(&r.arena, ARENA_BYTES_MAX);
    exposition_init(rd.e, text);
    while ((rc = exposition_next(rd.e, &s, err)) == 1) {
        rc = take_sample(&rd, &s, err);
        if (rc < 0)
            break;
    }
    if (rc == 0)
        rc = finish(&rd, err);
    vec_fini(&rd.entries);
    vec_fini(&rd.series);
    free(rd.e);
    if (rc < 0)
        recording_free(&r);
    else
        *ret = r;
    return rc;
}

int recording_open(const char *path, struct recording *ret, struct err *err)
{
    struct buf in;
    int rc;

    buf_init(&in, RECORDING_BYTES_MAX);
    rc = fs_read(path, &in, err);
    if (rc == 0)
        rc = recording_read(buf_view(&in), ret, err);
    buf_fini(&in);
    return rc < 0 ? err_wrap(err, rc, "recording %s", path) : 0;
}

void recording_free(struct recording *r)
{
    free(r->series);
    arena_fini(&r->arena);
    *r = (struct recording){0};
}
