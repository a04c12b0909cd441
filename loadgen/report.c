#include "loadgen/report.h"

#include "common/base/json.h"
#include "common/model/duration.h"

#include <math.h>
#include <stdio.h>
#include <unistd.h>

struct figure {
    const char *name, *unit;
    double v;
};
enum { FIGURES_MAX = 48 };
struct figures {
    struct figure v[FIGURES_MAX];
    size_t n;
};

static void add(struct figures *f, const char *name, const char *unit, double v)
{
    ASSERT(f->n < FIGURES_MAX);
    f->v[f->n++] = (struct figure){name, unit, v};
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
    add(f, "samples_due", "", (double)s->due_samples);
    add(f, "samples_acked", "", acked);
    add(f, "samples_failed", "", (double)s->failed_samples);
    add(f, "samples_unsent", "", (double)s->unsent_samples);
    add(f, "offered_rate", "samples/s", ratio((double)s->due_samples, elapsed));
    add(f, "acked_rate", "samples/s", ratio(acked, elapsed));
    add(f, "requests_acked", "", (double)s->acked_requests);
    add(f, "requests_failed", "", (double)s->failed_requests);
    add(f, "retries", "", (double)s->retries);
    add(f, "timeouts", "", (double)s->timeouts);
    add(f, "broken_connections", "", (double)s->broken);
    add(f, "dials", "", (double)s->dials);
    add(f, "error_ratio", "", ratio((double)(s->failed_samples + s->unsent_samples), (double)s->due_samples));
    add(f, "push_p50", "s", latency_quantile(&s->latency, 0.5));
    add(f, "push_p90", "s", latency_quantile(&s->latency, 0.9));
    add(f, "push_p99", "s", latency_quantile(&s->latency, 0.99));
    add(f, "push_p999", "s", latency_quantile(&s->latency, 0.999));
    add(f, "push_max", "s", (double)s->latency.max_us * 1e-6);
    add(f, "sample_bytes_raw", "B", ratio((double)s->raw_bytes, acked));
    add(f, "sample_bytes_sent", "B", ratio((double)s->wire_bytes, acked));
}

static void add_verified(struct figures *f, const struct report *r)
{
    const struct verdict *v = r->verified;

    add(f, "verify_elapsed", "s", r->verify_seconds);
    add(f, "verified", "", (double)v->right);
    add(f, "verified_unacknowledged", "", (double)v->extra);
    add(f, "verified_hidden", "", (double)v->hidden);
    add(f, "lost", "", (double)v->lost);
    add(f, "twice", "", (double)v->twice);
    add(f, "wrong", "", (double)v->wrong);
    add(f, "phantom", "", (double)v->phantom);
}

static void collect(const struct report *r, struct figures *f)
{
    f->n = 0;
    if (r->sent)
        add_sent(f, r);
    if (r->verified)
        add_verified(f, r);
    add(f, "cpu", "s", r->cpu_seconds);
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

void report_text(const struct report *r, struct buf *out)
{
    struct figures f;

    collect(r, &f);
    for (size_t i = 0; i < f.n; i++) {
        buf_printf(out, "%-24s ", f.v[i].name);
        number(out, &f.v[i]);
        buf_char(out, '\n');
    }
    for (int status = 0; r->sent && status < SEND_STATUS_MAX; status++)
        if (r->sent->statuses[status])
            buf_printf(out, "%-15s %8d %llu\n", "status", status, (unsigned long long)r->sent->statuses[status]);
    if (r->sent && r->sent->last_error[0])
        buf_printf(out, "%-24s %s\n", "last_error", r->sent->last_error);
    if (r->sent && r->sent->interrupted)
        buf_z(out, "interrupted\n");
    if (r->verified)
        buf_printf(out, "%s\n%.*s", !verdict_clean(r->verified) ? "verify: DIFFERENCES" : r->verified->right ? "verify: clean" : "verify: nothing", STR_FMT(r->differences));
}

void report_json(const struct report *r, struct buf *out)
{
    struct figures f;
    const char *comma = "";

    collect(r, &f);
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
    json_key(out, "statuses");
    buf_char(out, '{');
    for (int status = 0; r->sent && status < SEND_STATUS_MAX; status++)
        if (r->sent->statuses[status]) {
            buf_printf(out, "%s\"%d\":%llu", comma, status, (unsigned long long)r->sent->statuses[status]);
            comma = ",";
        }
    buf_z(out, "},");
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

int report_threshold(const struct report *r, struct str text, struct err *err)
{
    size_t at = MIN(str_find(text, '<'), str_find(text, '>'));
    struct str name = str_trim(str_sub(text, 0, at)), rest;
    struct figures f;
    struct buf got;
    double bound;
    bool equal, holds;
    int rc;

    if (at == text.n)
        return err_set(err, RC_INVALID, "threshold \"%.*s\": want NAME<VALUE, <=, > or >=", STR_FMT(text));
    equal = at + 1 < text.n && text.p[at + 1] == '=';
    rest = str_trim(str_skip(text, at + 1 + equal));
    rc = bound_parse(rest, &bound, err);
    if (rc < 0)
        return err_wrap(err, rc, "threshold \"%.*s\"", STR_FMT(text));
    collect(r, &f);
    for (size_t i = 0; i < f.n; i++) {
        if (!str_eqz(name, f.v[i].name))
            continue;
        holds = text.p[at] == '<' ? f.v[i].v < bound : f.v[i].v > bound;
        if (holds || (equal && f.v[i].v == bound))
            return 0;
        buf_init(&got, 256);
        number(&got, &f.v[i]);
        err_set(err, RC_LIMIT, "threshold %.*s is broken: %.*s", STR_FMT(text), STR_FMT(got));
        buf_fini(&got);
        return RC_LIMIT;
    }
    return err_set(err, RC_INVALID, "threshold \"%.*s\": no figure of this report has that name", STR_FMT(text));
}

/* --- progress --- */

void progress_tick(void *arg, const struct send_stats *st)
{
    static const int64_t second = 1000000000;
    struct progress *p = arg;
    bool tty = isatty(STDERR_FILENO);
    double seconds = (double)(st->elapsed_ns - p->last_ns) * 1e-9;

    if (st->elapsed_ns < p->next_ns)
        return;
    p->next_ns = st->elapsed_ns - st->elapsed_ns % second + (tty ? 1 : 5) * second;
    fprintf(stderr, "%s%6.0f s", tty ? "\r\033[K" : "", (double)st->elapsed_ns * 1e-9);
    if (p->total_ns)
        fprintf(stderr, " of %.0f", (double)p->total_ns * 1e-9);
    fprintf(stderr, "  %10.0f samples/s  behind %llu  p99 %.1f ms  retries %llu  failed %llu%s", ratio((double)(st->acked_samples - p->last_acked), seconds),
            (unsigned long long)(st->due_samples - MIN(st->due_samples, st->acked_samples + st->failed_samples)), latency_quantile(&st->latency, 0.99) * 1e3,
            (unsigned long long)st->retries, (unsigned long long)st->failed_samples, tty ? "" : "\n");
    fflush(stderr);
    p->last_acked = st->acked_samples;
    p->last_ns = st->elapsed_ns;
}
