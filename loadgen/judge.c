#include "loadgen/judge.h"

#include "common/model/sample.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>

void judge_note(struct judge_log *log, const char *fmt, ...)
{
    char line[512];
    va_list ap;

    if (log->lines++ >= JUDGE_LINES_MAX && !log->all)
        return;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    if (log->all)
        fprintf(log->all, "%s\n", line);
    if (log->lines <= JUDGE_LINES_MAX)
        buf_printf(&log->text, "  %s\n", line);
}

struct job {
    const struct model *m;
    const struct history *h;
    struct series_id id;
    int64_t lo_ms, hi_ms;
    bool exact;
    struct verdict *v;
    struct judge_log *log;
};

static void note(const struct job *j, const char *what, int64_t t_ms, const char *more)
{
    judge_note(j->log, "%s: tenant %u series %u generation %u at %" PRId64 " ms%s", what, j->id.tenant, j->id.index, j->id.generation, t_ms, more);
}

static bool expected(const struct job *j, const struct history_entry *e)
{
    return e->t_ms > j->lo_ms && e->t_ms <= j->hi_ms &&
           model_generation(j->m, j->id.tenant, model_target(j->m, j->id.index), e->t_ms) == j->id.generation;
}

/* Which other tenant sent just this, at this time, in the series of that number. false: none did. */
static bool sent_by_another(const struct job *j, const struct judge_sample *got, uint32_t *ret_tenant)
{
    uint32_t each = history_batches(&j->h->cfg), batch = history_batch_of(&j->h->cfg, j->id.index);

    for (uint32_t tenant = 0; tenant < MIN(j->m->cfg.tenants, JUDGE_TENANTS_MAX); tenant++) {
        struct series_id id = {tenant, j->id.index, j->id.generation};
        size_t n;
        const struct history_entry *e = history_of(j->h, tenant * each + batch, &n);

        if (tenant == j->id.tenant)
            continue;
        for (size_t i = 0; i < n; i++)
            if (e[i].t_ms == got->t_ms && model_word(j->m, id, got->t_ms) == got->bits) {
                *ret_tenant = tenant;
                return true;
            }
    }
    return false;
}

/* Counts and tells one sample as another tenant's, if it is that. */
static bool judge_leak(const struct job *j, const struct judge_sample *got)
{
    uint32_t tenant;
    char more[64];

    if (!sent_by_another(j, got, &tenant))
        return false;
    j->v->leak++;
    snprintf(more, sizeof more, ": tenant %u sent it", tenant);
    note(j, "LEAK", got->t_ms, more);
    return true;
}

static void judge_missing(const struct job *j, const struct history_entry *e)
{
    if (!j->exact && model_word(j->m, j->id, e->t_ms) == STALE_NAN_BITS) {
        j->v->hidden++;
    } else if (e->acked) {
        j->v->lost++;
        note(j, "LOST", e->t_ms, "");
    }
}

static bool same_bits(const struct job *j, uint64_t want, uint64_t got)
{
    if (j->exact)
        return want == got;
    return want != STALE_NAN_BITS && (want == got || (isnan(bits_double(want)) && isnan(bits_double(got))));
}

static void judge_wrong(const struct job *j, uint64_t want, const struct judge_sample *got)
{
    char more[96];

    if (judge_leak(j, got))
        return;
    j->v->wrong++;
    if (model_is_native(j->m, j->id.index))
        snprintf(more, sizeof more, ": another histogram than was sent");
    else
        snprintf(more, sizeof more, ": sent %.17g (%016" PRIx64 "), read %.17g (%016" PRIx64 ")", bits_double(want), want, bits_double(got->bits), got->bits);
    note(j, "WRONG", got->t_ms, more);
}

static void judge_present(const struct job *j, const struct history_entry *e, const struct judge_sample *got)
{
    uint64_t want = model_word(j->m, j->id, e->t_ms);

    if (!same_bits(j, want, got->bits)) {
        judge_wrong(j, want, got);
        return;
    }
    j->v->right += e->acked;
    j->v->extra += !e->acked;
}

/* A repeated or falling timestamp is dealt with here and passed over. */
static bool in_order(const struct job *j, const struct judge_sample *got, size_t at)
{
    if (at == 0 || got[at].t_ms > got[at - 1].t_ms)
        return true;
    if (got[at].t_ms == got[at - 1].t_ms) {
        j->v->twice++;
        note(j, "TWICE", got[at].t_ms, "");
    } else {
        j->v->wrong++;
        note(j, "WRONG", got[at].t_ms, ": stands behind a later sample");
    }
    return false;
}

void judge_series(const struct model *m, const struct history *h, const struct judge_span *span, const struct judge_sample *got, size_t got_n,
                  struct verdict *v, struct judge_log *log)
{
    struct job j = {m, h, span->id, span->lo_ms, span->hi_ms, span->exact, v, log};
    size_t n, e = 0;
    const struct history_entry *entries = history_of(h, span->id.tenant * history_batches(&h->cfg) + history_batch_of(&h->cfg, span->id.index), &n);

    for (size_t at = 0; at < got_n; at++) {
        if (!in_order(&j, got, at))
            continue;
        for (; e < n && entries[e].t_ms < got[at].t_ms; e++)
            if (expected(&j, &entries[e]))
                judge_missing(&j, &entries[e]);
        if (e < n && entries[e].t_ms == got[at].t_ms && expected(&j, &entries[e])) {
            judge_present(&j, &entries[e++], &got[at]);
        } else if (!judge_leak(&j, &got[at])) {
            v->phantom++;
            note(&j, "PHANTOM", got[at].t_ms, "");
        }
    }
    for (; e < n; e++)
        if (expected(&j, &entries[e]))
            judge_missing(&j, &entries[e]);
}

/* --- the newest of each step --- */

/* Entries of one step that an answer can show. */
static bool shows(const struct job *j, const struct history_entry *e, int64_t lo_ms, int64_t hi_ms)
{
    return e->t_ms > lo_ms && e->t_ms <= hi_ms && expected(j, e) && model_word(j->m, j->id, e->t_ms) != STALE_NAN_BITS;
}

/* entries[0, n) end with the step's last. From the newest back to the newest acknowledged one any may be the answer. */
static void judge_step(const struct job *j, const struct history_entry *entries, size_t n, int64_t lo_ms, int64_t hi_ms, const struct judge_sample *got)
{
    const struct history_entry *newest = NULL;
    bool acked = false;

    for (size_t e = n; e-- > 0 && entries[e].t_ms > lo_ms && !acked;) {
        if (!shows(j, &entries[e], lo_ms, hi_ms))
            continue;
        newest = &entries[e];
        acked = newest->acked;
        if (got && same_bits(j, model_word(j->m, j->id, newest->t_ms), got->bits)) {
            j->v->right += acked;
            j->v->extra += !acked;
            return;
        }
    }
    if (!got && acked) {
        j->v->lost++;
        note(j, "LOST", newest->t_ms, "");
    } else if (got && newest) {
        judge_wrong(j, model_word(j->m, j->id, newest->t_ms), got);
    } else if (got) {
        j->v->phantom++;
        note(j, "PHANTOM", got->t_ms, "");
    }
}

void judge_steps(const struct model *m, const struct history *h, const struct judge_span *span, int64_t step_ms, const struct judge_sample *got, size_t got_n,
                 struct verdict *v, struct judge_log *log)
{
    struct job j = {m, h, span->id, span->lo_ms, span->hi_ms, false, v, log};
    size_t n, e = 0, at = 0;
    const struct history_entry *entries = history_of(h, span->id.tenant * history_batches(&h->cfg) + history_batch_of(&h->cfg, span->id.index), &n);

    for (int64_t lo = span->lo_ms; lo < span->hi_ms; lo += step_ms) {
        bool there;

        for (; at < got_n && got[at].t_ms < lo + step_ms; at++)
            if (in_order(&j, got, at))
                judge_step(&j, entries, 0, lo, lo, &got[at]); /* at no step's end */
        there = at < got_n && got[at].t_ms == lo + step_ms;
        for (; e < n && entries[e].t_ms <= lo + step_ms; e++)
            ;
        judge_step(&j, entries, e, lo, MIN(lo + step_ms, span->hi_ms), there ? &got[at] : NULL);
        at += there;
    }
    for (; at < got_n; at++)
        if (in_order(&j, got, at))
            judge_step(&j, entries, 0, span->hi_ms, span->hi_ms, &got[at]);
}
