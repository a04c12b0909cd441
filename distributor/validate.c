#include "distributor/validate.h"
#include "common/model/duration.h"

#include <stdarg.h>
#include <stdio.h>

void series_text(const struct labels *ls, char out[SERIES_TEXT_MAX + 4])
{
    struct buf b;
    size_t n;

    /* A hostile series may be a megabyte: printing stops at the buffer's maximum. */
    buf_init(&b, 64 * 1024);
    labels_print(&b, ls);
    n = MIN(b.n, (size_t)SERIES_TEXT_MAX);
    while (n > 0 && n < b.n && ((uint8_t)b.p[n] & 0xc0) == 0x80)
        n--;
    if (n)
        memcpy(out, b.p, n);
    memcpy(out + n, n < b.n || b.failed ? "..." : "", n < b.n || b.failed ? 4 : 1);
    buf_fini(&b);
}

static void drop_empty(struct labels *ls)
{
    size_t n = 0;

    for (size_t i = 0; i < ls->n; i++)
        if (ls->v[i].value.n > 0)
            ls->v[n++] = ls->v[i];
    ls->n = n;
}

static enum discard_reason refuse(enum discard_reason why, const struct labels *ls, struct err *err, const char *fmt, ...) PRINTF(4, 5);

static enum discard_reason refuse(enum discard_reason why, const struct labels *ls, struct err *err, const char *fmt, ...)
{
    char series[SERIES_TEXT_MAX + 4], text[ERR_TEXT_MAX / 2];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    series_text(ls, series);
    err_set(err, RC_INVALID, "%s (%s) series: '%s'", text, discard_text(why), series);
    return why;
}

void series_explain(enum discard_reason why, const char *text, const struct labels *ls, struct err *err)
{
    refuse(why, ls, err, "%s", text);
}

enum { NAME_TEXT_MAX = 100, NAME_ESCAPED_MAX = NAME_TEXT_MAX * 4 };

/* A name for a text: cut and escaped. */
static const char *name_text(struct str name, char out[NAME_ESCAPED_MAX + 1])
{
    struct buf b;

    buf_init(&b, NAME_ESCAPED_MAX);
    labels_escape(&b, str_n(name.p, MIN(name.n, (size_t)NAME_TEXT_MAX)));
    if (b.n)
        memcpy(out, b.p, b.n);
    out[b.n] = '\0';
    buf_fini(&b);
    return out;
}

enum discard_reason labels_too_many(const struct labels *ls, size_t count, const struct label_rules *rules, struct err *err)
{
    size_t limit = rules->names_max ? MIN(rules->names_max, (size_t)LABELS_MAX) : LABELS_MAX;

    return refuse(DISCARD_MAX_LABEL_NAMES_PER_SERIES, ls, err, "series has too many labels (%zu, limit %zu, max_label_names_per_series)", count, limit);
}

static enum discard_reason name_judge(const struct labels *ls, struct str name, const struct label_rules *r, struct err *err)
{
    bool valid = r->legacy_names ? label_name_legacy_valid(name) : name.n > 0 && utf8_valid(name);
    char text[NAME_ESCAPED_MAX + 1];

    if (!valid)
        return refuse(DISCARD_LABEL_INVALID, ls, err, "invalid label name: \"%s\"", name_text(name, text));
    if (r->name_bytes_max && name.n > r->name_bytes_max)
        return refuse(DISCARD_LABEL_INVALID, ls, err, "label name too long: %zu bytes, limit %zu (max_label_name_length): '%s...'",
                      name.n, r->name_bytes_max, name_text(name, text));
    return DISCARD_NONE;
}

static enum discard_reason value_judge(const struct labels *ls, const struct label *l, const struct label_rules *r, struct err *err)
{
    char text[NAME_ESCAPED_MAX + 1];

    if (!utf8_valid(l->value))
        return refuse(DISCARD_LABEL_INVALID, ls, err, "invalid UTF-8 in the value of label '%s'", name_text(l->name, text));
    if (r->value_bytes_max && l->value.n > r->value_bytes_max)
        return refuse(DISCARD_LABEL_VALUE_TOO_LONG, ls, err, "value of label '%s' too long: %zu bytes, limit %zu (max_label_value_length)",
                      name_text(l->name, text), l->value.n, r->value_bytes_max);
    return DISCARD_NONE;
}

static enum discard_reason metric_judge(const struct labels *ls, const struct label_rules *r, struct err *err)
{
    struct str name = labels_get(ls, STR(LABEL_METRIC_NAME));
    bool valid = r->legacy_names ? metric_name_legacy_valid(name) : utf8_valid(name);
    char text[NAME_ESCAPED_MAX + 1];

    if (!name.p)
        return refuse(DISCARD_MISSING_METRIC_NAME, ls, err, "series has no metric name");
    if (valid)
        return DISCARD_NONE;
    return refuse(DISCARD_METRIC_NAME_INVALID, ls, err, "invalid metric name: \"%s\"", name_text(name, text));
}

enum discard_reason labels_judge(struct labels *ls, const struct label_rules *rules, struct err *err)
{
    enum discard_reason why;
    char text[NAME_ESCAPED_MAX + 1];
    struct str dup;
    size_t total = 0;

    if (ls->n > LABELS_MAX)
        return labels_too_many(ls, ls->n, rules, err);
    for (size_t i = 0; i < ls->n; i++) {
        why = name_judge(ls, ls->v[i].name, rules, err);
        if (why)
            return why;
    }
    if (!labels_sort(ls, &dup))
        return refuse(DISCARD_DUPLICATE_LABEL_NAMES, ls, err, "duplicate label name '%s'", name_text(dup, text));
    drop_empty(ls);
    why = metric_judge(ls, rules, err);
    if (why)
        return why;
    if (rules->names_max && ls->n > rules->names_max)
        return labels_too_many(ls, ls->n, rules, err);
    for (size_t i = 0; i < ls->n; i++) {
        why = value_judge(ls, &ls->v[i], rules, err);
        if (why)
            return why;
        total += ls->v[i].name.n + ls->v[i].value.n;
    }
    if (rules->total_bytes_max && total > rules->total_bytes_max)
        return refuse(DISCARD_LABEL_SIZE_EXCEEDED, ls, err, "labels are too large: %zu bytes in all, limit %zu (max_label_size_bytes)", total, rules->total_bytes_max);
    return DISCARD_NONE;
}

/* A date, where there is one. */
static void when_print(struct buf *when, int64_t t)
{
    buf_init(when, 64);
    if (t > -(1LL << 53) && t < (1LL << 53) && t / 1000 < 253402300800LL && t > -62135596800000LL)
        time_print_rfc3339(when, t);
    else
        buf_printf(when, "%lld ms", (long long)t);
}

void histogram_explain(const char *text, int64_t t, const struct labels *ls, struct err *err)
{
    struct buf when;

    when_print(&when, t);
    refuse(DISCARD_NATIVE_HISTOGRAM_INVALID, ls, err, "%s, in the native histogram of %.*s", text, STR_FMT(when));
    buf_fini(&when);
}

void sample_explain(enum discard_reason why, int64_t t, const struct sample_rules *r, const struct labels *ls, struct err *err)
{
    struct buf when, limit;

    when_print(&when, t);
    buf_init(&limit, 64);
    if (why == DISCARD_GREATER_THAN_MAX_SAMPLE_AGE) {
        duration_print(&limit, r->age_max_ms);
        refuse(why, ls, err, "timestamp too old: %.*s is older than %.*s (max_sample_age)", STR_FMT(when), STR_FMT(limit));
    } else if (why == DISCARD_TOO_FAR_IN_FUTURE) {
        duration_print(&limit, r->future_max_ms);
        refuse(why, ls, err, "out of bounds: timestamp is too far in the future: %.*s is more than %.*s ahead (creation_grace_period)", STR_FMT(when), STR_FMT(limit));
    } else {
        refuse(why, ls, err, "out of bounds: timestamp %.*s", STR_FMT(when));
    }
    buf_fini(&when);
    buf_fini(&limit);
}
