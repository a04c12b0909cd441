/* annotations.c - warnings and infos of a query: said once each, with the place they are about.
 * Texts are Prometheus's (util/annotations); clients and scripts compare them. */
#include "promql/eval.h"

#include "common/model/duration.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { ANNOTATION_TEXT_MAX = 1024, ANNOTATIONS_KEPT_MAX = 1000 };

struct annotation {
    struct annotation *next;
    struct str text;
    struct pos_range pos;
    bool warning;
    bool placed; /* its text is complete */
    bool spread; /* a monotonicity fix: the fields below count */
    int64_t t_min, t_max;
    double bucket_min, bucket_max, diff_max;
    size_t times;
};

/* The one with this text; NULL when memory or the list is full (an annotation is not worth failing
 * a query for). */
static struct annotation *annotation_at(struct query *q, struct str text)
{
    struct annotations *as = &q->annotations;
    struct annotation *a;

    for (a = as->list; a; a = a->next)
        if (str_eq(a->text, text))
            return a;
    if (as->count >= ANNOTATIONS_KEPT_MAX || !(a = arena_zalloc(q->arena, sizeof *a)))
        return NULL;
    a->text = arena_str(q->arena, text);
    if (!a->text.p)
        return NULL;
    a->warning = str_has_prefix(text, STR("PromQL warning"));
    if (!as->tail)
        as->tail = &as->list;
    *as->tail = a;
    as->tail = &a->next;
    as->count++;
    return a;
}

static struct annotation *add(struct query *q, struct pos_range pos, const struct buf *b)
{
    struct annotation *a = buf_ok(b) ? annotation_at(q, buf_view(b)) : NULL;

    if (a) {
        a->pos = pos;
        a->times++;
    }
    return a;
}

PRINTF(2, 0) static void format(struct buf *b, const char *fmt, va_list ap)
{
    char text[ANNOTATION_TEXT_MAX];

    vsnprintf(text, sizeof text, fmt, ap);
    buf_init(b, ANNOTATION_TEXT_MAX * 8);
    buf_z(b, text);
}

void annotate_text(struct query *q, const char *text)
{
    struct annotation *a = str_has_prefix(str_of(text), STR("PromQL")) ? annotation_at(q, str_of(text)) : NULL;

    if (a)
        a->placed = true;
}

void annotate(struct query *q, struct pos_range pos, const char *fmt, ...)
{
    struct buf b;
    va_list ap;

    va_start(ap, fmt);
    format(&b, fmt, ap);
    va_end(ap);
    add(q, pos, &b);
    buf_fini(&b);
}

void annotate_for(struct query *q, struct pos_range pos, struct str name, const char *fmt, ...)
{
    struct buf b;
    va_list ap;

    va_start(ap, fmt);
    format(&b, fmt, ap);
    va_end(ap);
    if (name.n > 0) {
        buf_z(&b, " for metric name ");
        labels_quote(&b, name);
    }
    add(q, pos, &b);
    buf_fini(&b);
}

void annotate_name(struct query *q, struct pos_range pos, const char *prefix, struct str name)
{
    struct buf b;

    buf_init(&b, ANNOTATION_TEXT_MAX * 8);
    buf_z(&b, prefix);
    labels_quote(&b, name);
    add(q, pos, &b);
    buf_fini(&b);
}

void annotate_monotonicity(struct query *q, struct pos_range pos, struct str name, int64_t t,
                           double min_bucket, double max_bucket, double max_diff)
{
    struct annotation *a;
    struct buf b;

    buf_init(&b, ANNOTATION_TEXT_MAX * 8);
    buf_z(&b,
          "PromQL info: input to histogram_quantile needed to be fixed for monotonicity (see "
          "https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile)");
    if (name.n > 0) {
        buf_z(&b, " for metric name ");
        labels_quote(&b, name);
    }
    a = add(q, pos, &b);
    buf_fini(&b);
    if (!a)
        return;
    a->t_min = a->spread ? MIN(a->t_min, t) : t;
    a->t_max = a->spread ? MAX(a->t_max, t) : t;
    a->bucket_min = a->spread ? fmin(a->bucket_min, min_bucket) : min_bucket;
    a->bucket_max = a->spread ? fmax(a->bucket_max, max_bucket) : max_bucket;
    a->diff_max = a->spread ? fmax(a->diff_max, max_diff) : max_diff;
    a->spread = true;
}

void annotate_mixed(struct query *q, struct pos_range pos, struct str name)
{
    annotate_name(q, pos,
                  "PromQL warning: encountered a mix of histograms and floats for metric name ",
                  name);
}

void annotate_mixed_schemas(struct query *q, struct pos_range pos, struct str name)
{
    annotate_name(q, pos,
                  "PromQL warning: vector contains a mix of histograms with exponential and custom "
                  "buckets schemas for metric name ",
                  name);
}

void annotate_ignored_in_range(struct query *q, struct pos_range pos, struct str name)
{
    annotate_name(q, pos,
                  "PromQL info: ignored histograms in a range containing both floats and "
                  "histograms for metric name ",
                  name);
}

/* Go's %g: the shortest digits that read back; an exponent below 1e-4 and from 1e6 on. */
void print_g(struct buf *b, double v)
{
    double a = fabs(v);
    char text[32];

    if (a == 0 || (a >= 1e-4 && a < 1e6) || !isfinite(v)) {
        float_print(b, v);
        return;
    }
    for (int digits = 0; digits < 17; digits++) {
        snprintf(text, sizeof text, "%.*e", digits, v);
        if (strtod(text, NULL) == v)
            break;
    }
    buf_z(b, text);
}

void annotate_quantile(struct query *q, struct pos_range pos, double got)
{
    struct buf b;

    buf_init(&b, ANNOTATION_TEXT_MAX);
    buf_z(&b, "PromQL warning: quantile value should be between 0 and 1, got ");
    print_g(&b, got);
    add(q, pos, &b);
    buf_fini(&b);
}

void annotate_ratio(struct query *q, struct pos_range pos, double got, double to)
{
    struct buf b;

    buf_init(&b, ANNOTATION_TEXT_MAX);
    buf_z(&b, "PromQL warning: ratio value should be between -1 and 1, got ");
    print_g(&b, got);
    buf_z(&b, ", capping to ");
    print_g(&b, to);
    add(q, pos, &b);
    buf_fini(&b);
}

static const char *const op_words[] = {"addition", "subtraction", "aggregation"};

void annotate_reconciled(struct query *q, struct pos_range pos, enum hist_op op)
{
    annotate(q, pos, "PromQL info: mismatched custom buckets were reconciled during %s",
             op_words[op]);
}

void annotate_collision(struct query *q, struct pos_range pos, enum hist_op op)
{
    annotate(q, pos, "PromQL warning: conflicting counter resets during histogram %s",
             op_words[op]);
}

static void place(struct buf *b, struct str text, size_t at)
{
    size_t line = 1, start = 0;

    at = MIN(at, text.n);
    for (size_t i = 0; i < at; i++) {
        if (text.p[i] == '\n') {
            line++;
            start = i + 1;
        }
    }
    buf_printf(b, " (%zu:%zu)", line, at - start + 1);
}

static void print_spread(struct buf *b, const struct annotation *a)
{
    buf_z(b, ", from buckets ");
    print_g(b, a->bucket_min);
    buf_z(b, " to ");
    print_g(b, a->bucket_max);
    buf_printf(b, ", with a max diff of %.2g, over %zu samples from ", a->diff_max, a->times);
    time_print_rfc3339(b, a->t_min / 1000 * 1000);
    buf_z(b, " to ");
    time_print_rfc3339(b, a->t_max / 1000 * 1000);
}

static const char *finish_one(struct query *q, const struct annotation *a, struct str text)
{
    struct buf b;
    struct str s;

    buf_init(&b, ANNOTATION_TEXT_MAX * 16);
    buf_str(&b, a->text);
    if (a->spread)
        print_spread(&b, a);
    if (a->times > 1 &&
        str_has_prefix(a->text, STR("PromQL warning: sample has start time that overlaps")))
        buf_printf(&b, " (%zu occurrences)", a->times);
    if (!a->placed)
        place(&b, text, a->pos.start);
    buf_char(&b, '\0');
    s = buf_ok(&b) ? arena_str(q->arena, buf_view(&b)) : (struct str){0};
    buf_fini(&b);
    return s.p;
}

/* Those of one kind, at most ANNOTATIONS_MAX, and how many more there were. */
static int finish_kind(struct query *q, bool warning, struct str text, const char ***ret,
                       size_t *ret_count)
{
    const char **out = arena_array(q->arena, ANNOTATIONS_MAX + 1, sizeof *out);
    size_t n = 0, omitted = 0;

    if (!out)
        return query_nomem(q);
    for (const struct annotation *a = q->annotations.list; a; a = a->next) {
        if (a->warning != warning)
            continue;
        if (n >= ANNOTATIONS_MAX)
            omitted++;
        else if (!(out[n++] = finish_one(q, a, text)))
            return query_nomem(q);
    }
    if (omitted && !(out[n++] = arena_printf(q->arena, "%zu more %s annotations omitted", omitted,
                                             warning ? "warning" : "info")))
        return query_nomem(q);
    *ret = out;
    *ret_count = n;
    return 0;
}

int annotations_finish(struct query *q, struct str text, struct query_result *ret)
{
    int rc = finish_kind(q, true, text, &ret->warnings, &ret->warning_count);

    return rc < 0 ? rc : finish_kind(q, false, text, &ret->infos, &ret->info_count);
}
