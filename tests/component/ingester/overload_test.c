/* A shard that is busy with something else: what waits for it is bounded, and what nobody waits for any more is not done. */
#pragma GCC diagnostic ignored "-Wunused-function" /* of the fixture */
#include "tests/component/ingester/ingester_util.h"

/* Holds the shard's thread until it is let go. */
struct hold {
    struct shard_job job;
    struct mutex lock;
    struct cond changed;
    bool holds, go, ended;
};

static void hold_run(struct shard_job *job, UNUSED struct shard *s)
{
    struct hold *h = CONTAINER_OF(job, struct hold, job);

    mutex_lock(&h->lock);
    h->holds = true;
    cond_broadcast(&h->changed);
    while (!h->go)
        cond_wait(&h->changed, &h->lock);
    mutex_unlock(&h->lock);
}

static void hold_done(struct shard_job *job, UNUSED bool dead)
{
    struct hold *h = CONTAINER_OF(job, struct hold, job);

    mutex_lock(&h->lock);
    h->ended = true;
    cond_broadcast(&h->changed);
    mutex_unlock(&h->lock);
}

static void hold_begin(struct hold *h, struct shard *s)
{
    *h = (struct hold){.job = {.run = hold_run, .done = hold_done}};
    mutex_init(&h->lock);
    cond_init(&h->changed);
    CHECK(shard_submit(s, &h->job));
    mutex_lock(&h->lock);
    while (!h->holds)
        cond_wait(&h->changed, &h->lock);
    mutex_unlock(&h->lock);
}

static void hold_end(struct hold *h)
{
    mutex_lock(&h->lock);
    h->go = true;
    cond_broadcast(&h->changed);
    while (!h->ended)
        cond_wait(&h->changed, &h->lock);
    mutex_unlock(&h->lock);
    cond_fini(&h->changed);
    mutex_fini(&h->lock);
}

/* --- pushes that somebody else waits for --- */

struct pushes {
    struct mutex lock;
    struct cond changed;
    int accepted, unavailable, timed_out;
    char text[ERR_TEXT_MAX];
};

static void pushed(void *arg, int rc, struct buf *reply, const struct err *err)
{
    struct pushes *p = arg;
    struct push_answer an;
    struct arena a;

    arena_init(&a, MESSAGE_MAX);
    mutex_lock(&p->lock);
    p->accepted += rc == RC_OK && push_answer_decode(buf_view(reply), &a, &an, NULL) == 0 && !an.verdicts;
    p->unavailable += rc == RC_UNAVAILABLE;
    p->timed_out += rc == RC_TIMEOUT;
    if (rc == RC_UNAVAILABLE && !p->text[0]) /* later ones come while the first is read */
        snprintf(p->text, sizeof p->text, "%s", err_text(err));
    cond_broadcast(&p->changed);
    mutex_unlock(&p->lock);
    arena_fini(&a);
}

static void push_later(struct fixture *f, struct pushes *p, const struct item *it, int64_t timeout_ms)
{
    struct sending s;
    struct push_header h = {.tenant = str_of(tenant_names[0])};
    struct buf message;

    sending_begin(&s);
    sending_add(&s, it, WITH_LABELS);
    buf_init(&message, MESSAGE_MAX);
    CHECK_INT(push_batch_encode(&s.batch, &h, &message, NULL), 0);
    rpc_send_buf(f->client, f->address, RPC_PUSH, &message, timeout_ms, pushed, p);
    sending_end(&s);
}

static void pushes_wait(struct pushes *p, int n)
{
    mutex_lock(&p->lock);
    while (p->accepted + p->unavailable + p->timed_out < n)
        cond_wait(&p->changed, &p->lock);
    mutex_unlock(&p->lock);
}

static double metric_of(struct fixture *f, const char *line)
{
    struct buf out;
    double v = -1;
    char *at;

    buf_init(&out, 4 << 20);
    metrics_write(f->metrics, false, &out);
    buf_char(&out, '\0');
    at = strstr(out.p, line);
    if (at)
        v = strtod(at + strlen(line), NULL);
    buf_fini(&out);
    return v;
}

TEST(a_full_queue_refuses_at_once_and_upkeep_goes_on)
{
    struct fixture f = {.shards = 1, .push_queue_bytes = 64 << 10};
    struct pushes p = {0};
    struct hold hold, upkeep = {0};
    truth t = {0};

    mutex_init(&p.lock);
    cond_init(&p.changed);
    start(&f, "full");
    hold_begin(&hold, f.in->shards[0]);
    for (int i = 0; i < 200; i++) {
        struct item it = {.series = 1, .t = T0 + i, .bits = (uint64_t)i};

        push_later(&f, &p, &it, CALL_MS);
    }
    pushes_wait(&p, 100); /* those that were refused, while the shard still holds */
    CHECK(p.accepted == 0 && p.timed_out == 0);
    CHECK(strstr(p.text, "overloaded: ") && strstr(p.text, "ingester.push-queue-bytes"));
    CHECK(shard_queued_bytes(f.in->shards[0]) <= 64 << 10);
    upkeep = (struct hold){.job = {.run = hold_run, .done = hold_done}, .go = true};
    mutex_init(&upkeep.lock);
    cond_init(&upkeep.changed);
    CHECK(shard_submit(f.in->shards[0], &upkeep.job)); /* seals and checkpoints are what makes room */
    hold_end(&hold);
    hold_end(&upkeep);
    pushes_wait(&p, 200);
    CHECK(p.accepted > 30 && p.accepted + p.unavailable == 200);
    CHECK_INT((int)metric_of(&f, "torc_ingester_refused_pushes_total{reason=\"overloaded\"} "), p.unavailable);
    CHECK_INT(shard_queued_bytes(f.in->shards[0]), 0);
    CHECK_INT(shard_queued(f.in->shards[0]), 0);
    push_one(&f, &t, &(struct item){.series = 1, .t = T0 + 1000, .bits = 5}, NO_LABELS, PUSH_ACCEPTED);
    finish(&f);
    vec_fini(&t);
    cond_fini(&p.changed);
    mutex_fini(&p.lock);
}

TEST(a_push_that_nobody_waits_for_is_not_done)
{
    struct fixture f = {.shards = 1};
    struct item late = {.series = 1, .t = T0, .bits = 1}, next = {.series = 1, .t = T0 + 1, .bits = 2};
    struct pushes p = {0};
    struct hold hold;
    truth t = {0};

    mutex_init(&p.lock);
    cond_init(&p.changed);
    start(&f, "late");
    hold_begin(&hold, f.in->shards[0]);
    push_later(&f, &p, &late, 50);
    pushes_wait(&p, 1);
    CHECK_INT(p.timed_out, 1);
    while (shard_queued(f.in->shards[0]) < 2) /* the late push may still be on its way to the queue */
        sched_yield();
    usleep(30000); /* the ingester counts its 50 ms from the arrival */
    hold_end(&hold);
    push_one(&f, &t, &next, WITH_LABELS, PUSH_ACCEPTED);
    CHECK_INT((int)metric_of(&f, "torc_ingester_refused_pushes_total{reason=\"late\"} "), 1);
    check_memory(&f, &t, 0); /* the late one is not there */
    finish(&f);
    vec_fini(&t);
    cond_fini(&p.changed);
    mutex_fini(&p.lock);
}
