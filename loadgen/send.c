#include "loadgen/send.h"

#include "common/base/hash.h"
#include "common/sys/clock.h"
#include "loadgen/image.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

static const int64_t NS_PER_MS = 1000000, BACKOFF_MIN_NS = 30 * 1000000LL, BACKOFF_MAX_NS = 5000 * 1000000LL;

enum lane_state {
    LANE_WAITS,   /* for the due time of its next batch */
    LANE_BUSY,    /* a request is out */
    LANE_BACKOFF, /* will repeat its request */
    LANE_DONE,
};

struct lane {
    enum lane_state state;
    struct http_client http;
    uint64_t round;
    uint32_t batch;       /* next, or the one that is out */
    int64_t due_ns;       /* of that batch */
    int64_t wake_ns;      /* BUSY: timeout; BACKOFF: repeat */
    int64_t first_try_ns, backoff_ns;
    size_t history_at, raw_bytes;
    struct buf head, body;
};

struct sender {
    const struct send_cfg *cfg;
    const struct clock *clock;
    struct send_stats *stats;
    struct image *images;
    int64_t *last_t_ms;   /* of each batch */
    struct lane *lanes;
    struct pollfd *polled;
    uint32_t batches;     /* of all tenants */
    int signal_fd;
    int64_t start_wall_ms;
    int64_t start_ns, end_ns; /* no batch is due from end_ns on */
    bool stopping;
    int64_t stopping_ns;
};

/* --- the plan --- */

static int64_t part(int64_t whole, uint32_t b, uint32_t of)
{
    return (int64_t)((__int128)whole * b / of);
}

static bool plan_over(const struct sender *s, const struct lane *l)
{
    return s->stopping || (s->cfg->rounds && l->round >= s->cfg->rounds) || l->due_ns >= s->end_ns;
}

static void plan_due(const struct sender *s, struct lane *l, int64_t now)
{
    if (s->cfg->max)
        l->due_ns = now;
    else
        l->due_ns = s->start_ns + (int64_t)l->round * s->cfg->interval_ns + part(s->cfg->interval_ns, l->batch, s->batches);
}

/* Which round's samples go out in a round: the same one, or rounds 2k-1 and 2k change places in 2k and 2k+1. A share p of swapped pairs makes p/2 of
 * the samples late. */
static int64_t plan_round(const struct sender *s, const struct lane *l)
{
    uint64_t pair = mix64(s->cfg->model->cfg.seed ^ mix64((l->round / 2) << 32 | l->batch));
    bool swapped = (double)(pair >> 11) * 0x1.0p-53 < s->cfg->out_of_order / 50;

    if (s->cfg->out_of_order <= 0)
        return (int64_t)l->round;
    return (int64_t)l->round - 1 + (swapped ? (l->round % 2 ? -1 : 1) : 0);
}

/* In order, a batch's time grows also when the clock jumps back or rounds are shorter than a millisecond. */
static int64_t plan_time(struct sender *s, const struct lane *l)
{
    const struct send_cfg *c = s->cfg;
    int64_t t, round = plan_round(s, l);

    if (c->backfill_ms)
        t = s->start_wall_ms - c->backfill_ms + round * c->step_ms + part(c->step_ms, l->batch, s->batches);
    else if (c->max)
        t = clock_wall_ms(s->clock);
    else
        t = (s->start_wall_ms * NS_PER_MS + round * c->interval_ns + part(c->interval_ns, l->batch, s->batches)) / NS_PER_MS;
    if (c->out_of_order > 0)
        return t;
    t = MAX(t, s->last_t_ms[l->batch] + 1);
    s->last_t_ms[l->batch] = t;
    return t;
}

static void plan_next(const struct sender *s, struct lane *l, int64_t now)
{
    l->batch += s->cfg->connections;
    if (l->batch >= s->batches) {
        l->batch %= s->cfg->connections;
        l->round++;
    }
    plan_due(s, l, now);
    l->state = LANE_WAITS;
}

/* --- one request --- */

static uint32_t samples_of(const struct sender *s, const struct lane *l)
{
    return s->images[l->batch].count;
}

static void note(struct sender *s, struct str text)
{
    size_t n = MIN(str_find(text, '\n'), sizeof s->stats->last_error - 1);

    memcpy(s->stats->last_error, text.p, n);
    s->stats->last_error[n] = '\0';
}

static void give_up(struct sender *s, struct lane *l, int64_t now)
{
    s->stats->failed_requests++;
    s->stats->failed_samples += samples_of(s, l);
    plan_next(s, l, now);
}

static void repeat_later(struct sender *s, struct lane *l, int64_t now)
{
    int64_t asked = (int64_t)l->http.retry_after_s * 1000 * NS_PER_MS;
    bool over = s->stopping && now - s->stopping_ns >= s->cfg->drain_ms * NS_PER_MS;

    if (over || now - l->first_try_ns >= s->cfg->give_up_ms * NS_PER_MS) {
        give_up(s, l, now);
        return;
    }
    l->state = LANE_BACKOFF;
    l->wake_ns = now + MAX(l->backoff_ns, MIN(asked, BACKOFF_MAX_NS));
    l->backoff_ns = MIN(l->backoff_ns * 2, BACKOFF_MAX_NS);
}

static void try_once(struct sender *s, struct lane *l, int64_t now)
{
    struct err err;

    l->state = LANE_BUSY;
    l->wake_ns = now + s->cfg->timeout_ms * NS_PER_MS;
    if (http_client_start(&l->http, buf_view(&l->head), buf_view(&l->body), &err) < 0) {
        s->stats->broken++;
        note(s, str_of(err_text(&err)));
        repeat_later(s, l, now);
    }
}

static int begin(struct sender *s, struct lane *l, int64_t now, struct err *err)
{
    char tenant[HISTORY_TENANT_MAX + 12], headers[256];
    int64_t t_ms = plan_time(s, l);
    int rc = history_sent(s->cfg->history, l->batch, t_ms, &l->history_at, err);

    if (rc < 0)
        return rc;
    image_at(&s->images[l->batch], t_ms, &l->body, &l->raw_bytes);
    tenant_name(&s->cfg->history->cfg, s->images[l->batch].tenant, tenant);
    snprintf(headers, sizeof headers,
             "Content-Type: application/x-protobuf\r\nContent-Encoding: snappy\r\nX-Prometheus-Remote-Write-Version: 0.1.0\r\n%s%s%s",
             tenant[0] ? "X-Scope-OrgID: " : "", tenant, tenant[0] ? "\r\n" : "");
    buf_clear(&l->head);
    http_request_head(&l->head, s->cfg->peer, "POST", s->cfg->peer->path.n ? s->cfg->peer->path : STR("/"), str_of(headers), l->body.n);
    l->first_try_ns = now;
    l->backoff_ns = BACKOFF_MIN_NS;
    try_once(s, l, now);
    return 0;
}

static int judge_answer(struct sender *s, struct lane *l, int64_t now, struct err *err)
{
    struct send_stats *st = s->stats;
    int status = l->http.status, rc = 0;

    st->statuses[MIN(MAX(status, 0), SEND_STATUS_MAX - 1)]++;
    if (status >= 200 && status < 300) {
        rc = history_acked(s->cfg->history, l->history_at, err);
        st->acked_requests++;
        st->acked_samples += samples_of(s, l);
        st->raw_bytes += l->raw_bytes;
        st->wire_bytes += l->body.n;
        latency_add(&st->latency, now - l->due_ns);
        plan_next(s, l, now);
        return rc;
    }
    if (l->http.body.n)
        note(s, buf_view(&l->http.body));
    if (status == 429 || status >= 500)
        repeat_later(s, l, now);
    else
        give_up(s, l, now);
    return rc;
}

static int on_events(struct sender *s, struct lane *l, struct err *err)
{
    struct err why;
    int rc = http_client_step(&l->http, &why);
    int64_t now = clock_mono_ns(s->clock);

    if (rc == 1)
        return judge_answer(s, l, now, err);
    if (rc < 0) {
        s->stats->broken++;
        note(s, str_of(err_text(&why)));
        repeat_later(s, l, now);
    }
    return 0;
}

/* Whatever a lane has to do by itself at this time. */
static int on_time(struct sender *s, struct lane *l, struct err *err)
{
    int64_t now = clock_mono_ns(s->clock);

    if (l->state == LANE_WAITS && s->cfg->max)
        l->due_ns = now;
    if (l->state == LANE_WAITS && plan_over(s, l))
        l->state = LANE_DONE;
    if (l->state == LANE_WAITS && l->due_ns <= now)
        return begin(s, l, now, err);
    if (l->state == LANE_BACKOFF && l->wake_ns <= now) {
        s->stats->retries++;
        try_once(s, l, now);
    } else if (l->state == LANE_BUSY && l->wake_ns <= now) {
        http_client_abort(&l->http);
        s->stats->timeouts++;
        note(s, STR("no answer in time"));
        repeat_later(s, l, now);
    }
    return 0;
}

/* --- the loop --- */

static void wait_events(struct sender *s, int64_t tick_ns)
{
    int64_t until = tick_ns, left;
    nfds_t n = s->cfg->connections;

    for (uint32_t i = 0; i < n; i++) {
        const struct lane *l = &s->lanes[i];

        s->polled[i] = (struct pollfd){.fd = l->state == LANE_BUSY ? l->http.fd : -1, .events = http_client_events(&l->http)};
        if (l->state != LANE_DONE)
            until = MIN(until, l->state == LANE_WAITS ? l->due_ns : l->wake_ns);
    }
    s->polled[n] = (struct pollfd){.fd = s->signal_fd, .events = POLLIN};
    left = MAX(until - clock_mono_ns(s->clock), 0);
    ppoll(s->polled, n + 1, &(struct timespec){left / 1000000000, left % 1000000000}, NULL);
}

static void stop(struct sender *s, int64_t now)
{
    if (!s->stopping)
        s->stopping_ns = now;
    s->stopping = true;
}

static uint64_t due_by(const struct sender *s, int64_t now)
{
    const struct send_cfg *c = s->cfg;
    uint64_t all = (uint64_t)c->model->cfg.series * c->model->cfg.tenants, rounds;
    int64_t age = MIN(now, s->end_ns) - s->start_ns;

    if (c->max)
        return s->stats->acked_samples + s->stats->failed_samples;
    if (c->rounds && age >= (int64_t)c->rounds * c->interval_ns)
        return all * c->rounds;
    rounds = (uint64_t)(age / c->interval_ns);
    return rounds * all + (uint64_t)((double)(age % c->interval_ns) / (double)c->interval_ns * (double)all);
}

static bool all_done(const struct sender *s)
{
    for (uint32_t i = 0; i < s->cfg->connections; i++)
        if (s->lanes[i].state != LANE_DONE)
            return false;
    return true;
}

static void tick(struct sender *s, int64_t now)
{
    struct send_stats *st = s->stats;

    st->elapsed_ns = now - s->start_ns;
    st->due_samples = due_by(s, now);
    st->dials = 0;
    for (uint32_t i = 0; i < s->cfg->connections; i++)
        st->dials += s->lanes[i].http.dials;
    if (s->cfg->tick)
        s->cfg->tick(s->cfg->tick_arg, st);
}

/* The last batch is due a little before the end of the last interval: the run has its planned length all the same. */
static int64_t plan_end(const struct sender *s, int64_t now)
{
    const struct send_cfg *c = s->cfg;

    if (c->max || s->stopping)
        return now;
    return MAX(now, MIN(s->end_ns, c->rounds ? s->start_ns + (int64_t)c->rounds * c->interval_ns : INT64_MAX));
}

static int loop(struct sender *s, struct err *err)
{
    int64_t next_tick = s->start_ns + 1000 * NS_PER_MS, now;
    int rc = 0;

    while (rc == 0 && !all_done(s)) {
        wait_events(s, next_tick);
        for (uint32_t i = 0; rc == 0 && i < s->cfg->connections; i++) {
            if (s->polled[i].revents && s->lanes[i].state == LANE_BUSY)
                rc = on_events(s, &s->lanes[i], err);
            if (rc == 0)
                rc = on_time(s, &s->lanes[i], err);
        }
        now = clock_mono_ns(s->clock);
        if (s->polled[s->cfg->connections].revents) {
            s->stats->interrupted = true;
            stop(s, now);
            s->end_ns = MIN(s->end_ns, now);
        }
        if (s->end_ns != INT64_MAX && now >= s->end_ns + (s->cfg->max ? 0 : s->cfg->drain_ms * NS_PER_MS))
            stop(s, now);
        if (now >= next_tick) {
            tick(s, now);
            next_tick += 1000 * NS_PER_MS;
        }
    }
    tick(s, plan_end(s, clock_mono_ns(s->clock)));
    return rc;
}

static void setup(struct sender *s)
{
    const struct send_cfg *c = s->cfg;
    uint32_t batch = c->history->cfg.batch, each = history_batches(c->history);

    s->images = xcalloc(s->batches, sizeof *s->images);
    s->last_t_ms = xcalloc(s->batches, sizeof *s->last_t_ms);
    s->lanes = xcalloc(c->connections, sizeof *s->lanes);
    s->polled = xcalloc(c->connections + 1, sizeof *s->polled);
    for (uint32_t b = 0; b < s->batches; b++) {
        uint32_t first = b % each * batch;

        image_init(&s->images[b], c->model, b / each, first, MIN(batch, c->model->cfg.series - first));
    }
    for (uint32_t i = 0; i < c->connections; i++) {
        struct lane *l = &s->lanes[i];

        l->batch = i;
        http_client_init(&l->http, c->peer, SEND_ANSWER_BYTES_MAX);
        buf_init(&l->head, HTTP_CLIENT_HEAD_MAX);
        buf_init(&l->body, IMAGE_BYTES_MAX);
    }
}

static void teardown(struct sender *s)
{
    for (uint32_t b = 0; b < s->batches; b++)
        image_fini(&s->images[b]);
    for (uint32_t i = 0; i < s->cfg->connections; i++) {
        http_client_fini(&s->lanes[i].http);
        buf_fini(&s->lanes[i].head);
        buf_fini(&s->lanes[i].body);
    }
    free(s->images);
    free(s->last_t_ms);
    free(s->lanes);
    free(s->polled);
}

/* Encodes every batch once, so that the first round measures the server and not us. */
static void warm(struct sender *s)
{
    struct buf out;
    size_t raw;

    buf_init(&out, IMAGE_BYTES_MAX);
    for (uint32_t b = 0; b < s->batches; b++)
        image_at(&s->images[b], s->cfg->model->cfg.epoch_ms, &out, &raw);
    buf_fini(&out);
}

int send_run(const struct send_cfg *cfg, struct send_stats *ret, struct err *err)
{
    struct sender s = {.cfg = cfg, .clock = clock_system(), .stats = ret};
    struct send_cfg real = *cfg;
    sigset_t ends, before;
    int rc;

    memset(ret, 0, sizeof *ret);
    s.batches = history_batches(cfg->history) * cfg->model->cfg.tenants;
    real.connections = MIN(cfg->connections, s.batches);
    s.cfg = &real;
    sigemptyset(&ends);
    sigaddset(&ends, SIGINT);
    sigaddset(&ends, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &ends, &before);
    s.signal_fd = signalfd(-1, &ends, SFD_NONBLOCK | SFD_CLOEXEC);
    setup(&s);
    warm(&s);
    s.start_wall_ms = clock_wall_ms(s.clock);
    s.start_ns = clock_mono_ns(s.clock);
    s.end_ns = cfg->duration_ms ? s.start_ns + cfg->duration_ms * NS_PER_MS : INT64_MAX;
    for (uint32_t i = 0; i < real.connections; i++)
        plan_due(&s, &s.lanes[i], s.start_ns);
    rc = loop(&s, err);
    if (!real.max && ret->due_samples > ret->acked_samples + ret->failed_samples)
        ret->unsent_samples = ret->due_samples - ret->acked_samples - ret->failed_samples;
    teardown(&s);
    close(s.signal_fd);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc;
}
