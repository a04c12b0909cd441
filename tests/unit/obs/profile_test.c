#include "common/base/bytes.h"
#include "common/obs/profile.h"
#include "common/sys/thread.h"
#include "tests/test.h"

#include <stdatomic.h>
#include <unistd.h>

static _Atomic bool stop;
static _Atomic uint64_t sink;

__attribute__((noinline)) static void burn_the_cpu(void)
{
    uint64_t x = 1;

    while (!atomic_load(&stop)) {
        for (int i = 0; i < 10000; i++)
            x = x * 6364136223846793005ULL + 1442695040888963407ULL;
        atomic_store(&sink, x);
    }
}

static void *burner(UNUSED void *arg)
{
    burn_the_cpu();
    return NULL;
}

static struct profile *profile_of_a_busy_thread(int64_t ms)
{
    pthread_t t;
    struct profile *p;
    struct err err;

    atomic_store(&stop, false);
    t = thread_start("burner", burner, NULL);
    CHECK(profile_cpu(ms, NULL, &p, &err) == 0);
    atomic_store(&stop, true);
    pthread_join(t, NULL);
    return p;
}

TEST(a_busy_function_is_in_the_folded_stacks)
{
    struct profile *p = profile_of_a_busy_thread(600);
    struct buf out;

    CHECK(profile_samples(p) >= 5);
    CHECK_INT(profile_lost(p), 0);
    buf_init(&out, 16 << 20);
    profile_folded(p, &out);
    buf_char(&out, '\0');
    if (!strstr(out.p, "burner;") || !strstr(out.p, ";burner;burn_the_cpu "))
        fail_msg("%s", out.p);
    buf_fini(&out);
    profile_free(p);
}

/* One field of a protobuf message; false at its end. */
static bool field_next(struct rd *r, unsigned *field, struct str *bytes, uint64_t *number)
{
    uint64_t tag;

    if (rd_done(r))
        return false;
    tag = rd_uvarint(r);
    *field = (unsigned)(tag >> 3);
    *bytes = (struct str){0};
    *number = 0;
    if ((tag & 7) == 2)
        *bytes = rd_lstr(r);
    else
        *number = rd_uvarint(r);
    CHECK((tag & 7) == 2 || (tag & 7) == 0);
    CHECK(rd_ok(r));
    return true;
}

TEST(the_pprof_form_is_whole)
{
    struct profile *p = profile_of_a_busy_thread(300);
    size_t samples = 0, locations = 0, functions = 0, texts = 0, named = 0;
    uint64_t period = 0, number, sum = 0;
    struct str bytes;
    unsigned field;
    struct buf out;
    struct rd r;

    buf_init(&out, 16 << 20);
    profile_pprof(p, &out);
    r = rd_of(buf_view(&out));
    while (field_next(&r, &field, &bytes, &number)) {
        samples += field == 2;
        locations += field == 4;
        functions += field == 5;
        texts += field == 6;
        named += field == 6 && str_eqz(bytes, "burn_the_cpu");
        period = field == 12 ? number : period;
        if (field == 2) { /* values: samples, nanoseconds */
            struct rd m = rd_of(bytes);
            struct str part;
            unsigned f;

            while (field_next(&m, &f, &part, &number))
                if (f == 2) {
                    struct rd values = rd_of(part);
                    uint64_t count = rd_uvarint(&values);

                    CHECK(rd_uvarint(&values) == count * 10000000);
                    sum += count;
                }
        }
    }
    CHECK(samples > 0 && locations > 0 && locations == functions && texts == 6 + locations + samples && named >= 1);
    CHECK(sum == profile_samples(p));
    CHECK(period == 10000000);
    buf_fini(&out);
    profile_free(p);
}

static void *second_profile(UNUSED void *arg)
{
    struct profile *p;
    struct err err;

    CHECK(profile_cpu(10, NULL, &p, &err) == RC_UNAVAILABLE);
    return NULL;
}

static void *long_profile(void *cancel)
{
    struct profile *p;
    struct err err;

    CHECK(profile_cpu(60000, cancel, &p, &err) == 0);
    profile_free(p);
    return NULL;
}

TEST(one_at_a_time_and_it_can_be_cancelled)
{
    static _Atomic bool cancel;
    pthread_t t = thread_start("long", long_profile, &cancel), u;

    usleep(200000);
    u = thread_start("second", second_profile, NULL);
    pthread_join(u, NULL);
    atomic_store(&cancel, true);
    pthread_join(t, NULL);
    atomic_store(&cancel, false);
}
