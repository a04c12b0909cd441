#include "querier/json.h"

#include "common/model/duration.h"
#include "promql/fhist.h"

enum result_stage { STAGE_HEAD, STAGE_SERIES, STAGE_TAIL, STAGE_DONE };
enum series_part { PART_OPEN, PART_FLOATS, PART_HISTS, PART_CLOSE };

/* --- values --- */

void json_timestamp(struct buf *out, int64_t ms)
{
    uint64_t abs = ms < 0 ? 0 - (uint64_t)ms : (uint64_t)ms;

    buf_printf(out, "%s%llu", ms < 0 ? "-" : "", (unsigned long long)(abs / 1000));
    if (abs % 1000)
        buf_printf(out, ".%03u", (unsigned)(abs % 1000));
}

void json_sample(struct buf *out, double v)
{
    buf_char(out, '"');
    float_print(out, v);
    buf_char(out, '"');
}

void json_labels(struct buf *out, const struct labels *ls)
{
    buf_char(out, '{');
    for (size_t i = 0; i < ls->n; i++) {
        if (i > 0)
            buf_char(out, ',');
        json_str_html(out, ls->v[i].name);
        buf_char(out, ':');
        json_str_html(out, ls->v[i].value);
    }
    buf_char(out, '}');
}

static void point(struct buf *out, const struct result_sample *s)
{
    buf_char(out, '[');
    json_timestamp(out, s->t);
    buf_char(out, ',');
    if (s->h)
        fhist_print_json(out, s->h);
    else
        json_sample(out, s->v);
    buf_char(out, ']');
}

/* --- scalars and strings: the shortest form of the time, no exponent in the value --- */

static void scalar(struct buf *out, const struct query_result *res)
{
    const struct result_sample *s = &res->series[0].s[0];

    buf_char(out, '[');
    float_print(out, (double)s->t / 1000);
    buf_z(out, ",\"");
    float_print_plain(out, s->v);
    buf_z(out, "\"]");
}

static void string(struct buf *out, const struct result_json *w)
{
    buf_char(out, '[');
    float_print(out, (double)w->start_ms / 1000);
    buf_char(out, ',');
    json_str_html(out, w->res->string);
    buf_char(out, ']');
}

static const char *type_name(enum value_type t)
{
    switch (t) {
    case VALUE_SCALAR:
        return "scalar";
    case VALUE_VECTOR:
        return "vector";
    case VALUE_STRING:
        return "string";
    default:
        return "matrix";
    }
}

static bool by_series(const struct result_json *w)
{
    return w->res->type == VALUE_VECTOR || w->res->type == VALUE_MATRIX;
}

static void head(struct result_json *w, struct buf *out)
{
    buf_printf(out, "{\"status\":\"success\",\"data\":{\"resultType\":\"%s\",\"result\":",
               type_name(w->res->type));
    if (w->res->type == VALUE_SCALAR)
        scalar(out, w->res);
    else if (w->res->type == VALUE_STRING)
        string(out, w);
    else
        buf_char(out, '[');
    w->stage = by_series(w) ? STAGE_SERIES : STAGE_TAIL;
}

/* --- series --- */

static size_t series_shown(const struct result_json *w)
{
    return w->limit ? MIN(w->limit, w->res->series_count) : w->res->series_count;
}

static void vector_series(struct result_json *w, struct buf *out)
{
    const struct result_series *s = &w->res->series[w->series++];

    buf_z(out, w->series > 1 ? ",{\"metric\":" : "{\"metric\":");
    json_labels(out, &s->labels);
    buf_z(out, s->s[0].h ? ",\"histogram\":" : ",\"value\":");
    point(out, &s->s[0]);
    buf_char(out, '}');
}

/* The next point of the series at hand, or the end of the list of floats or histograms. */
static void matrix_point(struct result_json *w, struct buf *out)
{
    const struct result_series *s = &w->res->series[w->series];
    bool hists = w->part == PART_HISTS;

    while (w->sample < s->n && (s->s[w->sample].h != NULL) != hists)
        w->sample++;
    if (w->sample < s->n) {
        buf_z(out, w->written++ ? "," : hists ? ",\"histograms\":[" : ",\"values\":[");
        point(out, &s->s[w->sample++]);
        return;
    }
    if (w->written)
        buf_char(out, ']');
    w->sample = w->written = 0;
    w->part = hists ? PART_CLOSE : PART_HISTS;
}

/* One piece of a matrix. */
static void matrix_step(struct result_json *w, struct buf *out)
{
    if (w->part == PART_OPEN) {
        buf_z(out, w->series ? ",{\"metric\":" : "{\"metric\":");
        json_labels(out, &w->res->series[w->series].labels);
        w->part = PART_FLOATS;
    } else if (w->part == PART_CLOSE) {
        buf_char(out, '}');
        w->part = PART_OPEN;
        w->series++;
    } else {
        matrix_point(w, out);
    }
}

/* --- the end --- */

static void per_step(const struct result_json *w, struct buf *out, const char *key,
                     const uint64_t *v)
{
    const struct query_stats *st = &w->res->stats;

    json_key(out, key);
    buf_char(out, '[');
    for (size_t i = 0; i < st->step_count && buf_ok(out); i++) {
        buf_z(out, i ? ",[" : "[");
        float_print(out, (double)(w->start_ms + (int64_t)i * w->step_ms) / 1000);
        buf_printf(out, ",%llu]", (unsigned long long)v[i]);
    }
    buf_z(out, "],");
}

static void timing(struct buf *out, const char *key, double v)
{
    json_key(out, key);
    float_print(out, v);
}

static void stats(const struct result_json *w, struct buf *out)
{
    const struct query_stats *st = &w->res->stats;

    buf_z(out, ",\"stats\":{\"timings\":{");
    timing(out, "evalTotalTime", st->seconds_prepare + st->seconds_eval);
    timing((buf_char(out, ','), out), "resultSortTime", st->seconds_sort);
    timing((buf_char(out, ','), out), "queryPreparationTime", st->seconds_prepare);
    timing((buf_char(out, ','), out), "innerEvalTime", st->seconds_eval);
    timing((buf_char(out, ','), out), "execQueueTime", w->seconds_queue);
    timing((buf_char(out, ','), out), "execTotalTime", w->seconds_total);
    buf_z(out, "},\"samples\":{");
    if (w->per_step && st->per_step)
        per_step(w, out, "totalQueryableSamplesPerStep", st->per_step);
    buf_printf(out, "\"totalQueryableSamples\":%llu,", (unsigned long long)st->samples_total);
    if (w->per_step && st->per_step_read)
        per_step(w, out, "samplesReadPerStep", st->per_step_read);
    buf_printf(out, "\"samplesRead\":%llu,\"peakSamples\":%llu}}",
               (unsigned long long)st->samples_read, (unsigned long long)st->peak_samples);
}

void json_notes(struct buf *out, const char *key, const char *const *v, size_t n)
{
    if (n == 0)
        return;
    buf_char(out, ',');
    json_key(out, key);
    for (size_t i = 0; i < n; i++) {
        buf_char(out, i ? ',' : '[');
        json_str_html(out, str_of(v[i]));
    }
    buf_char(out, ']');
}

static void tail(struct result_json *w, struct buf *out)
{
    const struct query_result *res = w->res;
    const char *notes[RESULT_NOTES_MAX + ANNOTATIONS_MAX + 2];
    size_t n = 0;

    if (by_series(w))
        buf_char(out, ']');
    if (w->stats)
        stats(w, out);
    buf_char(out, '}');
    for (size_t i = 0; i < res->warning_count && i < ANNOTATIONS_MAX + 1; i++)
        notes[n++] = res->warnings[i];
    for (size_t i = 0; i < w->note_count; i++)
        notes[n++] = w->notes[i];
    if (series_shown(w) < res->series_count && by_series(w))
        notes[n++] = "results truncated due to limit";
    json_notes(out, "warnings", notes, n);
    json_notes(out, "infos", res->infos, res->info_count);
    if (w->trace.n) {
        buf_z(out, ",\"trace\":");
        buf_str(out, w->trace);
    }
    buf_char(out, '}');
    w->stage = STAGE_DONE;
}

bool result_json_next(struct result_json *w, struct buf *out, size_t bytes)
{
    size_t end = out->n + bytes, shown = series_shown(w);

    if (w->stage == STAGE_HEAD)
        head(w, out);
    while (w->stage == STAGE_SERIES && w->series < shown && out->n < end && buf_ok(out)) {
        if (w->res->type == VALUE_VECTOR)
            vector_series(w, out);
        else
            matrix_step(w, out);
    }
    if (w->stage == STAGE_SERIES && w->series == shown)
        w->stage = STAGE_TAIL;
    if (w->stage == STAGE_TAIL && out->n < end)
        tail(w, out);
    return w->stage != STAGE_DONE;
}

void json_error(struct buf *out, const char *type, struct str text)
{
    buf_z(out, "{\"status\":\"error\",\"errorType\":");
    json_str_html(out, str_of(type));
    buf_z(out, ",\"error\":");
    json_str_html(out, text);
    buf_char(out, '}');
}
