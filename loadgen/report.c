#include "loadgen/report.h"

#include "common/base/json.h"
#include "common/model/duration.h"

#include <math.h>
#include <stdio.h>
#include <unistd.h>

static void add(struct figures *f, const char *name, const char *unit, double v)
{
    ASSERT(f->n < FIGURES_MAX);
    f->v[f->n++] = (struct figure){name, unit, false, v};
}

static void count(struct figures *f, const char *name, uint64_t v)
{
    add(f, name, "", (double)v);
    f->v[f->n - 1].counts = true;
}

static double ratio(double a, double b)
{
    return b > 0 ? a / b : 0;
}

static void add_sent(struct figures *f, const struct report *r)
{
    const struct send_stats *s = r->sent;
    double elapsed = (double)s->elapsed_ns * 1e-9, acked = (double)s->acked_samples;

    add(f, "elapsed", "s", elapsed);
    count(f, "samples_due", s->due_samples);
    count(f, "samples_acked", s->acked_samples);
    count(f, "samples_failed", s->failed_samples);
    count(f, "samples_unsent", s->unsent_samples);
    count(f, "samples_deduplicated", s->deduplicated_samples);
    count(f, "samples_silent", s->silent_samples);
    add(f, "offered_rate", "samples/s", ratio((double)s->due_samples, elapsed));
    add(f, "acked_rate", "samples/s", ratio(acked, elapsed));
    count(f, "requests_acked", s->acked_requests);
    count(f, "requests_failed", s->failed_requests);
    count(f, "requests_partial", s->partial_requests);
    count(f, "errors", s->failed_requests + (r->asked ? r->asked->errors : 0));
    count(f, "retries", s->retries);
    count(f, "timeouts", s->timeouts);
    count(f, "broken_connections", s->broken);
    count(f, "dials", s->dials);
    add(f, "error_ratio", "", ratio((double)(s->failed_samples + s->unsent_samples), (double)s->due_samples));
    add(f, "push_p50", "s", latency_quantile(&s->latency, 0.5));
    add(f, "push_p90", "s", latency_quantile(&s->latency, 0.9));
    add(f, "push_p99", "s", latency_quantile(&s->latency, 0.99));
    add(f, "push_p999", "s", latency_quantile(&s->latency, 0.999));
    add(f, "push_max", "s", (double)s->latency.max_us * 1e-6);
    add(f, "sample_bytes_raw", "B", ratio((double)s->raw_bytes, (double)s->answered_samples));
    add(f, "sample_bytes_sent", "B", ratio((double)s->wire_bytes, (double)s->answered_samples));
    add(f, "cpu_setup", "s", s->setup_cpu_s);
    add(f, "cpu_sending", "s", s->cpu_s);
    add(f, "samples_per_own_cpu_second", "samples/s", ratio((double)s->answered_samples, s->cpu_s));
}

static void add_asked(struct figures *f, const struct report *r)
{
    const struct ask_stats *a = r->asked;

    count(f, "query_due", a->due);
    count(f, "query_done", a->done);
    count(f, "query_errors", a->errors);
    count(f, "query_timeouts", a->timeouts);
    count(f, "query_broken_connections", a->broken);
    add(f, "query_rate", "queries/s", r->sent ? ratio((double)a->done, (double)r->sent->elapsed_ns * 1e-9) : 0);
    add(f, "query_p50", "s", latency_quantile(&a->latency, 0.5));
    add(f, "query_p90", "s", latency_quantile(&a->latency, 0.9));
    add(f, "query_p99", "s", latency_quantile(&a->latency, 0.99));
    add(f, "query_p999", "s", latency_quantile(&a->latency, 0.999));
    add(f, "query_max", "s", (double)a->latency.max_us * 1e-6);
    add(f, "query_answer_bytes", "B", ratio((double)a->answer_bytes, (double)a->done));
}

static void add_verified(struct figures *f, const struct report *r)
{
    const struct verdict *v = r->verified;

    add(f, "verify_elapsed", "s", r->verify_seconds);
    count(f, "verified", v->right);
    count(f, "verified_unacknowledged", v->extra);
    count(f, "verified_hidden", v->hidden);
    count(f, "lost", v->lost);
    count(f, "twice", v->twice);
    count(f, "wrong", v->wrong);
    count(f, "phantom", v->phantom);
    count(f, "leak", v->leak);
}

void report_figures(const struct report *r, struct figures *ret)
{
    ret->n = 0;
    if (r->sent)
        add_sent(ret, r);
    if (r->asked)
        add_asked(ret, r);
    add(ret, "cpu", "s", r->cpu_seconds);
    if (r->verified)
        add_verified(ret, r);
}

static void number(struct buf *out, const struct figure *f)
{
    if (strcmp(f->unit, "s") == 0)
        buf_printf(out, f->v >= 1 ? "%.3f s" : "%.3f ms", f->v >= 1 ? f->v : f->v * 1e3);
    else if (*f->unit == 'B')
        buf_printf(out, "%.2f B", f->v);
    else if (f->v == floor(f->v) || fabs(f->v) >= 1000)
        buf_printf(out, "%.0f%s%s", f->v, *f->unit ? " " : "", f->unit);
    else
        buf_printf(out, "%.6g%s%s", f->v, *f->unit ? " " : "", f->unit);
}

static void text_queries(const struct report *r, struct buf *out)
{
    for (size_t i = 0; i < r->queries->v.n; i++) {
        const struct ask_query_stats *e = &r->asked->each[i];

        buf_printf(out, "query %-4zu done %llu, errors %llu, p50 %.3f ms, p99 %.3f ms: %s\n", i + 1, (unsigned long long)e->done, (unsigned long long)e->errors,
                   latency_quantile(&e->latency, 0.5) * 1e3, latency_quantile(&e->latency, 0.99) * 1e3, r->queries->v.v[i].expr);
    }
    if (r->asked->last_error[0])
        buf_printf(out, "%-26s %s\n", "last_query_error", r->asked->last_error);
}

static const char *verdict_word(const struct verdict *v)
{
    return !verdict_clean(v) ? "DIFFERENCES" : v->right ? "clean" : "nothing";
}

void report_text(const struct report *r, struct buf *out)
{
    struct figures f;

    report_figures(r, &f);
    for (size_t i = 0; i < f.n; i++) {
        buf_printf(out, "%-26s ", f.v[i].name);
        number(out, &f.v[i]);
        buf_char(out, '\n');
    }
    for (int status = 0; r->sent && status < SEND_STATUS_MAX; status++)
        if (r->sent->statuses[status])
            buf_printf(out, "%-17s %8d %llu\n", "status", status, (unsigned long long)r->sent->statuses[status]);
    if (r->sent && r->sent->last_error[0])
        buf_printf(out, "%-26s %s\n", "last_error", r->sent->last_error);
    if (r->asked)
        text_queries(r, out);
    if (r->sent && r->sent->interrupted)
        buf_z(out, "interrupted\n");
    if (r->verified)
        buf_printf(out, "verify: %s\n%.*s", verdict_word(r->verified), STR_FMT(r->differences));
}

static void json_queries(const struct report *r, struct buf *out)
{
    json_key(out, "queries");
    buf_char(out, '[');
    for (size_t i = 0; i < r->queries->v.n; i++) {
        const struct ask_query_stats *e = &r->asked->each[i];

        buf_printf(out, "%s{\"done\":%llu,\"errors\":%llu,\"p50\":%.10g,\"p99\":%.10g,\"max\":%.10g,\"query\":", i ? "," : "", (unsigned long long)e->done,
                   (unsigned long long)e->errors, latency_quantile(&e->latency, 0.5), latency_quantile(&e->latency, 0.99), (double)e->latency.max_us * 1e-6);
        json_z(out, r->queries->v.v[i].expr);
        buf_char(out, '}');
    }
    buf_z(out, "],");
    json_key(out, "last_query_error");
    json_z(out, r->asked->last_error);
    buf_char(out, ',');
}

static void json_statuses(const struct report *r, struct buf *out)
{
    const char *comma = "";

    json_key(out, "statuses");
    buf_char(out, '{');
    for (int status = 0; r->sent && status < SEND_STATUS_MAX; status++)
        if (r->sent->statuses[status]) {
            buf_printf(out, "%s\"%d\":%llu", comma, status, (unsigned long long)r->sent->statuses[status]);
            comma = ",";
        }
    buf_z(out, "},");
}

void report_json(const struct report *r, struct buf *out)
{
    struct figures f;

    report_figures(r, &f);
    buf_char(out, '{');
    for (size_t i = 0; i < f.n; i++) {
        json_key(out, f.v[i].name);
        buf_printf(out, "%.10g,", f.v[i].v);
    }
    if (r->verified) {
        json_key(out, "clean");
        buf_printf(out, "%s,", verdict_clean(r->verified) ? "true" : "false");
        json_key(out, "differences");
        json_str(out, r->differences);
        buf_char(out, ',');
    }
    if (r->asked)
        json_queries(r, out);
    json_statuses(r, out);
    json_key(out, "interrupted");
    buf_z(out, r->sent && r->sent->interrupted ? "true," : "false,");
    json_key(out, "last_error");
    json_z(out, r->sent ? r->sent->last_error : "");
    buf_z(out, "}\n");
}

/* --- thresholds --- */

static int bound_parse(struct str text, double *ret, struct err *err)
{
    int64_t ms;
    int rc = float_parse(text, ret, NULL);

    if (rc == 0)
        return 0;
    rc = duration_parse_ms(text, &ms, err);
    if (rc == 0)
        *ret = (double)ms / 1000;
    return rc;
}

/* The names of the field for two of them. */
static struct str real_name(struct str name)
{
    if (str_eqz(name, "samples_per_second"))
        return STR("acked_rate");
    return str_eqz(name, "acked") ? STR("samples_acked") : name;
}

static int no_such_figure(const struct figures *f, struct str text, struct err *err)
{
    struct buf names;

    buf_init(&names, ERR_TEXT_MAX);
    for (size_t i = 0; i < f->n; i++)
        buf_printf(&names, "%s%s", i ? ", " : "", f->v[i].name);
    err_set(err, RC_INVALID, "threshold \"%.*s\": this report has no such figure; it has %.*s", STR_FMT(text), STR_FMT(names));
    buf_fini(&names);
    return RC_INVALID;
}

static int hold(const struct figure *f, struct str text, char sign, bool equal, double bound, struct err *err)
{
    bool holds = sign == '<' ? f->v < bound : f->v > bound;
    struct buf got;

    if (holds || (equal && f->v == bound))
        return 0;
    buf_init(&got, 256);
    number(&got, f);
    err_set(err, RC_LIMIT, "threshold %.*s is broken: %s is %.*s", STR_FMT(text), f->name, STR_FMT(got));
    buf_fini(&got);
    return RC_LIMIT;
}

int report_threshold(const struct report *r, struct str text, struct err *err)
{
    size_t at = MIN(str_find(text, '<'), str_find(text, '>'));
    struct str name = real_name(str_trim(str_sub(text, 0, at)));
    struct figures f;
    double bound;
    bool equal;
    int rc;

    if (at == text.n)
        return err_set(err, RC_INVALID, "threshold \"%.*s\": want NAME<VALUE, <=, > or >=", STR_FMT(text));
    equal = at + 1 < text.n && text.p[at + 1] == '=';
    rc = bound_parse(str_trim(str_skip(text, at + 1 + equal)), &bound, err);
    if (rc < 0)
        return err_wrap(err, rc, "threshold \"%.*s\"", STR_FMT(text));
    report_figures(r, &f);
    for (size_t i = 0; i < f.n; i++)
        if (str_eqz(name, f.v[i].name))
            return hold(&f.v[i], text, text.p[at], equal, bound, err);
    return no_such_figure(&f, text, err);
}

/* --- progress --- */

void progress_tick(struct progress *p, const struct send_stats *st, const struct ask_stats *asked)
{
    bool tty = isatty(STDERR_FILENO);
    double seconds = (double)(st->elapsed_ns - p->last_ns) * 1e-9;
    uint64_t settled = st->acked_samples + st->failed_samples + st->deduplicated_samples + st->silent_samples;

    fprintf(stderr, "%s%6.0f s", tty ? "\r\033[K" : "", (double)st->elapsed_ns * 1e-9);
    if (p->total_ns)
        fprintf(stderr, " of %.0f", (double)p->total_ns * 1e-9);
    fprintf(stderr, "  %10.0f samples/s  behind %llu  p99 %.1f ms  retries %llu  failed %llu", ratio((double)(st->acked_samples - p->last_acked), seconds),
            (unsigned long long)(st->due_samples - MIN(st->due_samples, settled)), latency_quantile(&st->latency, 0.99) * 1e3,
            (unsigned long long)st->retries, (unsigned long long)st->failed_samples);
    if (asked)
        fprintf(stderr, "  %.1f queries/s  p99 %.1f ms  errors %llu", ratio((double)(asked->done - p->last_asked), seconds),
                latency_quantile(&asked->latency, 0.99) * 1e3, (unsigned long long)asked->errors);
    fputs(tty ? "" : "\n", stderr);
    fflush(stderr);
    p->last_acked = st->acked_samples;
    p->last_asked = asked ? asked->done : 0;
    p->last_ns = st->elapsed_ns;
}
