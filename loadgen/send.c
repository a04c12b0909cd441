#include "loadgen/send.h"

#include "common/sys/clock.h"
#include "loadgen/answer.h"
#include "loadgen/signals.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

static const int64_t NS_PER_MS = 1000000, BACKOFF_MIN_NS = 30 * 1000000LL, BACKOFF_MAX_NS = 5000 * 1000000LL;

enum lane_state {
    LANE_WAITS,   /* for the due time of its next slot */
    LANE_BUSY,    /* a request is out */
    LANE_BACKOFF, /* will repeat its request */
    LANE_DONE,
};

struct lane {
    enum lane_state state;
    struct http_client http;
    uint64_t round;
    uint32_t slot;        /* next, or the one that is out */
    int64_t due_ns;       /* of that slot */
    int64_t wake_ns;      /* BUSY: timeout; BACKOFF: repeat */
    int64_t first_try_ns, try_ns, backoff_ns;
    int64_t t_ms;
    size_t history_at, raw_bytes;
    struct buf head, packed;
    struct str body;      /* in packed or in the slot's image */
};

struct sender {
    const struct send_cfg *cfg;
    struct plan plan;
    const struct clock *clock;
    struct send_stats *stats;
    struct image_tools tools;
    struct image *images; /* of each slot */
    int64_t *last_t_ms;   /* of each slot */
    struct lane *lanes;
    struct pollfd *polled; /* lanes, signals, queries */
    uint32_t connections;
    struct signals signals;
    int64_t end_ns;       /* no slot is due from here on */
    bool stopping;
    int64_t stopping_ns;
};

/* --- the plan --- */

static bool plan_over(const struct sender *s, const struct lane *l)
{
    return s->stopping || (s->plan.rounds && l->round >= s->plan.rounds) || l->due_ns >= s->end_ns;
}

static void lane_due(const struct sender *s, struct lane *l, int64_t now)
{
    l->due_ns = s->plan.max ? now : plan_due_ns(&s->plan, l->round, l->slot);
}

/* In order, a batch's time grows also when the clock jumps back or rounds are shorter than a millisecond. */
static int64_t lane_time(struct sender *s, const struct lane *l)
{
    int64_t t = plan_time_ms(&s->plan, l->round, l->slot, clock_wall_ms(s->clock));

    if (plan_fixed_times(&s->plan))
        return t;
    t = MAX(t, s->last_t_ms[l->slot] + 1);
    s->last_t_ms[l->slot] = t;
    return t;
}

static void lane_next(const struct sender *s, struct lane *l, int64_t now)
{
    l->slot += s->connections;
    if (l->slot >= s->plan.slots) {
        l->slot %= s->connections;
        l->round++;
    }
    lane_due(s, l, now);
    l->state = LANE_WAITS;
}

/* --- one request --- */

static uint32_t samples_of(const struct sender *s, const struct lane *l)
{
    return s->images[l->slot].batch.count;
}

static void note(struct sender *s, struct str text)
{
    size_t n = MIN(str_find(text, '\n'), sizeof s->stats->last_error - 1);

    memcpy(s->stats->last_error, text.p, n);
    s->stats->last_error[n] = '\0';
}

static void log_attempt(const struct sender *s, const struct lane *l, enum request_outcome outcome, int status, int64_t now)
{
    uint32_t slots = history_batches(&s->cfg->history->cfg) * plan_replicas(&s->plan);

    request_log_add(s->cfg->requests, &(struct request_line){l->try_ns, now, outcome, status, l->slot / slots, l->slot % slots, samples_of(s, l), l->t_ms});
}

static void give_up(struct sender *s, struct lane *l, int64_t now)
{
    s->stats->failed_requests++;
    s->stats->failed_samples += samples_of(s, l);
    lane_next(s, l, now);
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
    l->try_ns = now;
    l->wake_ns = now + s->cfg->timeout_ms * NS_PER_MS;
    if (http_client_start(&l->http, buf_view(&l->head), l->body, &err) < 0) {
        s->stats->broken++;
        note(s, str_of(err_text(&err)));
        log_attempt(s, l, REQUEST_UNKNOWN, 0, now);
        repeat_later(s, l, now);
    }
}

static void put_head(struct sender *s, struct lane *l)
{
    static const char *const types[PROTOCOL_COUNT] = {
        [PROTOCOL_RW1] = "Content-Type: application/x-protobuf\r\nX-Prometheus-Remote-Write-Version: 0.1.0\r\n",
        [PROTOCOL_RW2] = "Content-Type: application/x-protobuf;proto=io.prometheus.write.v2.Request\r\nX-Prometheus-Remote-Write-Version: 2.0.0\r\n",
        [PROTOCOL_OTLP] = "Content-Type: application/x-protobuf\r\n"};
    char tenant[HISTORY_TENANT_MAX + 12], headers[512];
    bool packed = s->cfg->image.codec != CODEC_NONE;

    tenant_name(&s->cfg->history->cfg, s->images[l->slot].batch.tenant, tenant);
    snprintf(headers, sizeof headers, "%s%s%s%s%s%s%s", types[s->cfg->image.protocol], packed ? "Content-Encoding: " : "",
             packed ? codec_names[s->cfg->image.codec] : "", packed ? "\r\n" : "", tenant[0] ? "X-Scope-OrgID: " : "", tenant, tenant[0] ? "\r\n" : "");
    buf_clear(&l->head);
    http_request_head(&l->head, s->cfg->peer, "POST", s->cfg->peer->path.n ? s->cfg->peer->path : STR("/"), str_of(headers), l->body.n);
}

static int begin(struct sender *s, struct lane *l, int64_t now, struct err *err)
{
    int64_t t_ms = lane_time(s, l);
    int rc;

    if (plan_silent(&s->plan, l->slot, l->due_ns)) {
        s->stats->silent_samples += samples_of(s, l);
        lane_next(s, l, now);
        return 0;
    }
    rc = history_sent(s->cfg->history, l->slot / plan_replicas(&s->plan), t_ms, &l->history_at, err);
    if (rc < 0)
        return rc;
    l->t_ms = t_ms;
    l->body = image_at(&s->images[l->slot], t_ms, &l->packed, &l->raw_bytes);
    put_head(s, l);
    l->first_try_ns = now;
    l->backoff_ns = BACKOFF_MIN_NS;
    try_once(s, l, now);
    return 0;
}

static void count_taken(struct sender *s, struct lane *l, const struct answer *a, int64_t now)
{
    struct send_stats *st = s->stats;

    if (a->fate == ANSWER_DEDUPLICATED)
        st->deduplicated_samples += samples_of(s, l);
    st->acked_requests++;
    st->acked_samples += a->written;
    latency_add(&st->latency, now - l->due_ns);
    lane_next(s, l, now);
}

/* A part was written, which part nobody knows: nothing of it must be there, all of it may. */
static void count_partial(struct sender *s, struct lane *l, const struct answer *a, int64_t now)
{
    s->stats->failed_samples += samples_of(s, l) - a->written;
    s->stats->acked_samples += a->written;
    s->stats->failed_requests++;
    s->stats->partial_requests += a->written > 0;
    lane_next(s, l, now);
}

static enum request_outcome outcome_of(enum answer_fate fate)
{
    if (fate == ANSWER_TAKEN || fate == ANSWER_DEDUPLICATED)
        return REQUEST_OK;
    return fate == ANSWER_REPEAT ? REQUEST_UNKNOWN : REQUEST_FAIL;
}

static int judge_answer(struct sender *s, struct lane *l, int64_t now, struct err *err)
{
    struct answer a;
    int rc = 0;

    answer_judge(&l->http, s->cfg->image.protocol, s->plan.ha, samples_of(s, l), &a);
    s->stats->statuses[MIN(MAX(l->http.status, 0), SEND_STATUS_MAX - 1)]++;
    s->stats->raw_bytes += l->raw_bytes;
    s->stats->wire_bytes += l->body.n;
    s->stats->answered_samples += samples_of(s, l);
    if (a.text[0])
        note(s, str_of(a.text));
    log_attempt(s, l, outcome_of(a.fate), l->http.status, now);
    switch (a.fate) {
    case ANSWER_TAKEN:
        rc = history_acked(s->cfg->history, l->history_at, err);
        count_taken(s, l, &a, now);
        break;
    case ANSWER_DEDUPLICATED:
        count_taken(s, l, &a, now);
        break;
    case ANSWER_REPEAT:
        repeat_later(s, l, now);
        break;
    case ANSWER_PARTIAL:
    case ANSWER_REFUSED:
        count_partial(s, l, &a, now);
        break;
    }
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
        log_attempt(s, l, REQUEST_UNKNOWN, 0, now);
        repeat_later(s, l, now);
    }
    return 0;
}

/* Whatever a lane has to do by itself at this time. */
static int on_time(struct sender *s, struct lane *l, struct err *err)
{
    int64_t now = clock_mono_ns(s->clock);

    if (l->state == LANE_WAITS && s->plan.max)
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
        log_attempt(s, l, REQUEST_UNKNOWN, 0, now);
        repeat_later(s, l, now);
    }
    return 0;
}

/* --- the loop --- */

static bool writes_done(const struct sender *s)
{
    for (uint32_t i = 0; i < s->connections; i++)
        if (s->lanes[i].state != LANE_DONE)
            return false;
    return true;
}

/* The last batch is due a little before the end of the last interval: the run has its planned length all the same. */
static int64_t plan_end(const struct sender *s, int64_t now)
{
    if (s->plan.max || s->stopping)
        return now;
    return MAX(now, MIN(s->end_ns, s->plan.rounds ? s->plan.start_ns + (int64_t)s->plan.rounds * s->plan.interval_ns : INT64_MAX));
}

/* Queries go on for as long as writes are planned; without a plan, for as long as there are any. */
static bool asking_ends(const struct sender *s)
{
    int64_t now = clock_mono_ns(s->clock);

    if (s->plan.max)
        return s->stopping || now >= s->end_ns || writes_done(s);
    return s->stopping || now >= plan_end(s, s->plan.start_ns);
}

static void wait_events(struct sender *s, int64_t tick_ns)
{
    int64_t until = tick_ns, left;
    nfds_t n = s->connections;

    for (uint32_t i = 0; i < n; i++) {
        const struct lane *l = &s->lanes[i];

        s->polled[i] = (struct pollfd){.fd = l->state == LANE_BUSY ? l->http.fd : -1, .events = http_client_events(&l->http)};
        if (l->state != LANE_DONE)
            until = MIN(until, l->state == LANE_WAITS ? l->due_ns : l->wake_ns);
    }
    s->polled[n++] = (struct pollfd){.fd = s->signals.fd, .events = POLLIN};
    if (s->cfg->ask) {
        ask_prepare(s->cfg->ask, &s->polled[n], asking_ends(s), &until);
        n += ask_connections(s->cfg->ask);
    }
    left = MAX(until - clock_mono_ns(s->clock), 0);
    ppoll(s->polled, n, &(struct timespec){left / 1000000000, left % 1000000000}, NULL);
}

static void stop(struct sender *s, int64_t now)
{
    if (!s->stopping)
        s->stopping_ns = now;
    s->stopping = true;
}

static uint64_t settled(const struct send_stats *st)
{
    return st->acked_samples + st->failed_samples + st->deduplicated_samples + st->silent_samples;
}

static uint64_t due_by(const struct sender *s, int64_t now)
{
    const struct model *m = s->cfg->image.model;
    double all = (double)model_series(m) * m->cfg.tenants * plan_replicas(&s->plan);

    if (s->plan.max)
        return settled(s->stats);
    return (uint64_t)(plan_rounds_due(&s->plan, MIN(now, s->end_ns) - s->plan.start_ns) * all);
}

static double cpu_seconds(void)
{
    struct rusage u;

    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1e-6;
}

static void tick(struct sender *s, int64_t now)
{
    struct send_stats *st = s->stats;

    st->elapsed_ns = now - s->plan.start_ns;
    st->cpu_s = cpu_seconds() - st->setup_cpu_s;
    st->due_samples = MAX(due_by(s, now), settled(st)); /* a whole batch is due at its begin */
    st->dials = 0;
    for (uint32_t i = 0; i < s->connections; i++)
        st->dials += s->lanes[i].http.dials;
    if (s->cfg->tick)
        s->cfg->tick(s->cfg->tick_arg, st);
}

static int step_lanes(struct sender *s, struct err *err)
{
    int rc = 0;

    for (uint32_t i = 0; rc == 0 && i < s->connections; i++) {
        if (s->polled[i].revents && s->lanes[i].state == LANE_BUSY)
            rc = on_events(s, &s->lanes[i], err);
        if (rc == 0)
            rc = on_time(s, &s->lanes[i], err);
    }
    return rc;
}

static void watch_end(struct sender *s, int64_t now)
{
    if (s->polled[s->connections].revents && signals_take(&s->signals)) {
        s->stats->interrupted = true;
        stop(s, now);
        s->end_ns = MIN(s->end_ns, now);
    }
    if (s->end_ns != INT64_MAX && now >= s->end_ns + (s->plan.max ? 0 : s->cfg->drain_ms * NS_PER_MS))
        stop(s, now);
}

static int loop(struct sender *s, struct err *err)
{
    int64_t next_tick = s->plan.start_ns + 1000 * NS_PER_MS, now;
    int rc = 0;

    while (rc == 0 && (!writes_done(s) || (s->cfg->ask && !(asking_ends(s) && ask_idle(s->cfg->ask))))) {
        wait_events(s, next_tick);
        rc = step_lanes(s, err);
        if (s->cfg->ask)
            ask_step(s->cfg->ask, &s->polled[s->connections + 1], asking_ends(s));
        now = clock_mono_ns(s->clock);
        watch_end(s, now);
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
    const struct history_cfg *h = &c->history->cfg;
    uint32_t each = history_batches(h), replicas = plan_replicas(&s->plan);

    s->images = xcalloc(s->plan.slots, sizeof *s->images);
    s->last_t_ms = xcalloc(s->plan.slots, sizeof *s->last_t_ms);
    s->lanes = xcalloc(s->connections, sizeof *s->lanes);
    s->polled = xcalloc(s->connections + 1 + (c->ask ? ask_connections(c->ask) : 0), sizeof *s->polled);
    image_tools_init(&s->tools, c->image.codec);
    for (uint32_t i = 0; i < s->plan.slots; i++) {
        uint32_t batch = i / replicas, count, first = history_batch_series(h, batch % each, &count);

        image_init(&s->images[i], &c->image, &s->tools, batch / each, first, count, (uint8_t)(replicas > 1 ? 'a' + i % replicas : 0));
    }
    for (uint32_t i = 0; i < s->connections; i++) {
        struct lane *l = &s->lanes[i];

        l->slot = i;
        http_client_init(&l->http, c->peer, SEND_ANSWER_BYTES_MAX);
        buf_init(&l->head, HTTP_CLIENT_HEAD_MAX);
        buf_init(&l->packed, IMAGE_BYTES_MAX);
    }
}

static void teardown(struct sender *s)
{
    for (uint32_t i = 0; i < s->plan.slots; i++)
        image_fini(&s->images[i]);
    for (uint32_t i = 0; i < s->connections; i++) {
        http_client_fini(&s->lanes[i].http);
        buf_fini(&s->lanes[i].head);
        buf_fini(&s->lanes[i].packed);
    }
    image_tools_fini(&s->tools);
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
    for (uint32_t i = 0; i < s->plan.slots; i++)
        image_at(&s->images[i], s->cfg->image.model->cfg.epoch_ms, &out, &raw);
    buf_fini(&out);
}

static void start(struct sender *s)
{
    s->stats->setup_cpu_s = cpu_seconds();
    s->plan.start_wall_ms = clock_wall_ms(s->clock);
    s->plan.start_ns = clock_mono_ns(s->clock);
    s->end_ns = s->cfg->duration_ms ? s->plan.start_ns + s->cfg->duration_ms * NS_PER_MS : INT64_MAX;
    for (uint32_t i = 0; i < s->connections; i++)
        lane_due(s, &s->lanes[i], s->plan.start_ns);
    if (s->cfg->ask)
        ask_start(s->cfg->ask, s->plan.start_ns);
}

int send_run(const struct send_cfg *cfg, struct send_stats *ret, struct err *err)
{
    struct sender s = {.cfg = cfg, .plan = cfg->plan, .clock = clock_system(), .stats = ret};
    int rc;

    memset(ret, 0, sizeof *ret);
    s.plan.slots = history_batches(&cfg->history->cfg) * cfg->image.model->cfg.tenants * plan_replicas(&cfg->plan);
    s.connections = MIN(cfg->connections, s.plan.slots);
    signals_catch(&s.signals);
    setup(&s);
    warm(&s);
    start(&s);
    rc = loop(&s, err);
    if (!s.plan.max && ret->due_samples > settled(ret))
        ret->unsent_samples = ret->due_samples - settled(ret);
    teardown(&s);
    signals_release(&s.signals);
    return rc;
}
