/* On virtual time: a server with one queue, and clients that never let go. */
#include "distributor/admission.h"
#include "tests/test.h"

static const int64_t MS = 1000000, SECOND = 1000000000;

enum { LINE_MAX = 1 << 16 };

/* Serves one push after the other, service_ns each; answers come distance_ns later. Arrivals are refused or stand in line. */
struct sim {
    struct admission a;
    int64_t now, service_ns, distance_ns;
    int64_t taken_at[LINE_MAX]; /* ring: what is in flight, oldest first */
    uint32_t head, n;
    int64_t busy_until;
    uint32_t served, refused, most;
    int64_t worst_ns;
};

static void sim_init(struct sim *s, int64_t service_ns, int64_t distance_ns)
{
    memset(s, 0, sizeof *s);
    s->service_ns = service_ns;
    s->distance_ns = distance_ns;
    admission_init(&s->a, &(struct admission_cfg){.requests_max = 2000, .target_ns = 100 * MS}, 0);
}

static void sim_serve_until(struct sim *s, int64_t until)
{
    while (s->n > 0) {
        int64_t taken = s->taken_at[s->head], done = MAX(s->busy_until, taken) + s->service_ns;

        if (done + s->distance_ns > until)
            break;
        s->busy_until = done;
        s->head = (s->head + 1) % LINE_MAX;
        s->n--;
        s->served++;
        s->worst_ns = MAX(s->worst_ns, done + s->distance_ns - taken);
        admission_answered(&s->a, done + s->distance_ns, taken, false);
    }
}

/* per_second pushes come evenly for so long. */
static void sim_offer(struct sim *s, int64_t ns, int64_t per_second)
{
    int64_t end = s->now + ns, step = SECOND / per_second;

    s->served = s->refused = s->most = 0;
    s->worst_ns = 0;
    for (; s->now < end; s->now += step) {
        sim_serve_until(s, s->now);
        if (admission_take(&s->a, s->now, 0) != ADMISSION_TAKEN) {
            s->refused++;
            continue;
        }
        s->taken_at[(s->head + s->n++) % LINE_MAX] = s->now;
        s->most = MAX(s->most, s->n);
    }
}

TEST(below_capacity_nothing_is_refused)
{
    static struct sim s;

    sim_init(&s, 2 * MS, 0);
    sim_offer(&s, 10 * SECOND, 400); /* of 500 */
    CHECK(s.refused == 0);
    CHECK(s.a.window == 2000);
}

TEST(at_twice_capacity_the_server_stays_busy_and_the_line_short)
{
    static struct sim s;

    sim_init(&s, 2 * MS, 0);
    sim_offer(&s, 10 * SECOND, 1000);
    sim_offer(&s, 20 * SECOND, 1000);
    CHECK(s.served >= 20 * 500 * 99 / 100);
    CHECK(s.refused > 20 * 450);
    CHECK(s.worst_ns < 200 * MS);
    CHECK(s.most < 100);
}

TEST(at_ten_times_capacity_too)
{
    static struct sim s;

    sim_init(&s, 2 * MS, 0);
    sim_offer(&s, 5 * SECOND, 5000);
    sim_offer(&s, 10 * SECOND, 5000);
    CHECK(s.served >= 10 * 500 * 99 / 100);
    CHECK(s.worst_ns < 200 * MS);
}

TEST(after_the_overload_nothing_is_refused_within_five_seconds)
{
    static struct sim s;

    sim_init(&s, 2 * MS, 0);
    sim_offer(&s, 20 * SECOND, 1000);
    sim_offer(&s, 5 * SECOND, 250);
    sim_offer(&s, 10 * SECOND, 250);
    CHECK(s.refused == 0);
    CHECK(s.worst_ns < 5 * MS);
}

TEST(distance_is_not_a_queue)
{
    static struct sim s;

    sim_init(&s, MS / 10, 300 * MS); /* 10,000 a second, 300 ms away: 600 in flight at 2,000 a second without a queue */
    sim_offer(&s, 5 * SECOND, 40);
    sim_offer(&s, 10 * SECOND, 2000);
    CHECK(s.refused == 0);
}

TEST(a_distance_that_grows_under_load_is_learnt)
{
    static struct sim s;

    sim_init(&s, MS / 10, 0);
    sim_offer(&s, 5 * SECOND, 2000);
    s.distance_ns = 300 * MS;
    sim_offer(&s, 10 * SECOND, 2000);
    sim_offer(&s, 5 * SECOND, 2000);
    CHECK(s.refused == 0);
}

TEST(a_slower_server_gets_a_smaller_window)
{
    static struct sim s;
    uint32_t before;

    sim_init(&s, MS, 0);
    sim_offer(&s, 10 * SECOND, 3000);
    before = s.a.window;
    s.service_ns = 4 * MS;
    sim_offer(&s, 10 * SECOND, 3000);
    CHECK(s.a.window * 2 < before);
    CHECK(s.a.window >= ADMISSION_WINDOW_MIN);
    sim_offer(&s, 10 * SECOND, 3000);
    CHECK(s.served >= 10 * 250 * 99 / 100);
}

TEST(failures_shrink_the_window_and_successes_give_it_back)
{
    struct admission a;
    int64_t now = 0;

    admission_init(&a, &(struct admission_cfg){.requests_max = 1000, .target_ns = 100 * MS}, 0);
    for (int i = 0; i < 5000; i++, now += MS) {
        CHECK(admission_take(&a, now, 0) == ADMISSION_TAKEN);
        admission_answered(&a, now, now, true);
    }
    CHECK(a.window == ADMISSION_WINDOW_MIN);
    for (int i = 0; i < 100; i++) { /* filled, and answered in good time */
        uint32_t n = 0;

        for (; admission_take(&a, now, 0) == ADMISSION_TAKEN; n++)
            ;
        for (; n > 0; n--)
            admission_answered(&a, now + 20 * MS, now, false);
        now += 100 * MS;
    }
    CHECK(a.window == 1000);
}

TEST(the_hard_limit_holds_without_a_controller)
{
    struct admission a;

    admission_init(&a, &(struct admission_cfg){.requests_max = 20}, 0);
    for (int i = 0; i < 20; i++)
        CHECK(admission_take(&a, i * SECOND, SECOND) == ADMISSION_TAKEN);
    CHECK(admission_take(&a, 20 * SECOND, 0) == ADMISSION_REFUSED_REQUESTS);
    admission_answered(&a, 21 * SECOND, 0, false);
    CHECK(admission_take(&a, 21 * SECOND, 0) == ADMISSION_TAKEN);
}

/* A thread that comes to its sockets too late: the first waits 0, later ones ever longer. */
TEST(a_burst_is_taken_a_queue_that_stands_is_not)
{
    struct admission a;
    int64_t now = 0;
    uint32_t refused = 0;

    admission_init(&a, &(struct admission_cfg){.requests_max = 1000, .target_ns = 100 * MS}, 0);
    for (int i = 0; i < 40; i++, now += 5 * MS) { /* 200 ms, of which half begin at once */
        CHECK(admission_judge(&a, now, i % 2 ? 300 * MS : 0) == ADMISSION_TAKEN);
        CHECK(admission_take(&a, now, i % 2 ? 300 * MS : 0) == ADMISSION_TAKEN);
        admission_answered(&a, now + MS, now, false);
    }
    for (int i = 0; i < 80; i++, now += 5 * MS) { /* now all wait */
        bool taken = admission_take(&a, now, 300 * MS) == ADMISSION_TAKEN;

        refused += !taken;
        if (taken)
            admission_answered(&a, now + MS, now, false);
    }
    CHECK(refused > 30);
    CHECK(admission_judge(&a, now, 300 * MS) == ADMISSION_REFUSED_WAITED);
    CHECK(admission_judge(&a, now, 50 * MS) == ADMISSION_TAKEN); /* who came just now is served */
    for (int i = 0; i < 30; i++, now += 5 * MS)
        admission_judge(&a, now, MS);
    now += 2 * SECOND;
    CHECK(admission_judge(&a, now, 300 * MS) == ADMISSION_TAKEN);
}

TEST(retry_after_is_spread_and_grows_with_the_refused)
{
    struct admission a;
    struct rng rng;
    unsigned seen[ADMISSION_RETRY_MAX_S + 1] = {0};

    rng_init(&rng, 7);
    admission_init(&a, &(struct admission_cfg){.requests_max = 16, .target_ns = 100 * MS}, 0);
    for (int i = 0; i < 1000; i++) {
        unsigned s = admission_retry_after_s(&a, 0, &rng);

        CHECK(s == 1 || s == 2);
        seen[s]++;
    }
    CHECK(seen[1] > 400 && seen[2] > 400);
    for (int i = 0; i < 16 + 16 * 40; i++) /* 40 refused for each that is taken */
        admission_take(&a, MS, 0);
    memset(seen, 0, sizeof seen);
    for (int i = 0; i < 1000; i++)
        seen[admission_retry_after_s(&a, 1500 * MS, &rng)]++;
    for (unsigned s = 1; s <= ADMISSION_RETRY_MAX_S; s++)
        CHECK(seen[s] > 50);
}

/* A disk that stalls for 250 ms: what was in flight is late, what comes next is not. */
TEST(one_hiccup_does_not_close_the_window)
{
    static struct sim s;

    sim_init(&s, 2 * MS, 0);
    sim_offer(&s, 5 * SECOND, 100);
    s.busy_until = s.now + 250 * MS;
    sim_offer(&s, 2 * SECOND, 100);
    CHECK(s.worst_ns >= 200 * MS);
    CHECK(s.refused == 0);
    CHECK(s.a.window == 2000);
}
