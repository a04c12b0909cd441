#include "common/obs/profile.h"
#include "common/obs/funcnames.h"
#include "common/sys/clock.h"
#include "common/sys/fs.h"

#include <errno.h>
#include <execinfo.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/time.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>
#ifdef TORC_JEMALLOC
#include <jemalloc/jemalloc.h>
#endif

enum { THREAD_NAME_MAX = 16, HEAP_TEXT_BYTES_MAX = 256 << 20, WAIT_MS = 50 };

struct sample {
    void *pc[PROFILE_DEPTH_MAX];
    int n, first; /* first: what was interrupted; before it the handler itself */
    char thread[THREAD_NAME_MAX];
};

struct profile {
    struct sample *v; /* --- the handler writes, until the timer is stopped --- */
    _Atomic size_t taken;
    _Atomic int inside; /* handlers that run */
    int64_t began_wall_ms, ms;
    struct group *groups; /* equal stacks, once grouped */
    size_t group_count;
};

/* The one that is being taken. A signal handler has no argument. */
static struct profile *_Atomic current;
static _Atomic bool busy;

static void *interrupted_pc(const ucontext_t *u)
{
#if defined(__x86_64__)
    return (void *)u->uc_mcontext.gregs[REG_RIP];
#elif defined(__aarch64__)
    return (void *)u->uc_mcontext.pc;
#else
    (void)u;
    return NULL;
#endif
}

static void sample_take(struct sample *s, const ucontext_t *u)
{
    void *pc = interrupted_pc(u);

    prctl(PR_GET_NAME, s->thread);
    s->n = backtrace(s->pc, PROFILE_DEPTH_MAX);
    while (s->first < s->n && s->pc[s->first] != pc)
        s->first++;
}

static void on_tick(UNUSED int sig, UNUSED siginfo_t *info, void *context)
{
    int before = errno;
    struct profile *p = atomic_load(&current);
    size_t i;

    if (!p)
        return;
    atomic_fetch_add(&p->inside, 1);
    i = atomic_fetch_add(&p->taken, 1);
    if (i < PROFILE_SAMPLES_MAX)
        sample_take(&p->v[i], context);
    atomic_fetch_sub(&p->inside, 1);
    errno = before;
}

static void timer_set(int64_t us)
{
    struct itimerval t = {.it_interval = {.tv_usec = us}, .it_value = {.tv_usec = us}};

    setitimer(ITIMER_PROF, &t, NULL);
}

static void sleep_ms(int64_t ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

    nanosleep(&t, NULL);
}

static void take(struct profile *p, int64_t ms, const _Atomic bool *cancel)
{
    struct sigaction sa = {.sa_sigaction = on_tick, .sa_flags = SA_RESTART | SA_SIGINFO};
    int64_t until = clock_mono_ms(clock_system()) + ms, left;
    void *warm[4];

    (void)backtrace(warm, 4); /* loads the unwinder, which a handler must not */
    sigaction(SIGPROF, &sa, NULL);
    atomic_store(&current, p);
    timer_set(1000000 / PROFILE_HZ);
    while ((left = until - clock_mono_ms(clock_system())) > 0 && !(cancel && atomic_load(cancel)))
        sleep_ms(MIN(left, (int64_t)WAIT_MS));
    timer_set(0);
    atomic_store(&current, NULL);
    while (atomic_load(&p->inside)) /* one that has read current and not counted itself yet is a signal of before timer_set: gone by now */
        sleep_ms(1);
    sleep_ms(20);
    while (atomic_load(&p->inside))
        sleep_ms(1);
}

int profile_cpu(int64_t ms, const _Atomic bool *cancel, struct profile **ret, struct err *err)
{
    struct profile *p;

    if (atomic_exchange(&busy, true))
        return err_set(err, RC_UNAVAILABLE, "another profile is being taken");
    p = xcalloc(1, sizeof *p);
    p->v = xcalloc(PROFILE_SAMPLES_MAX, sizeof *p->v);
    p->began_wall_ms = clock_wall_ms(clock_system());
    p->ms = ms;
    take(p, ms, cancel);
    atomic_store(&busy, false);
    *ret = p;
    return 0;
}

void profile_free(struct profile *p)
{
    if (!p)
        return;
    free(p->groups);
    free(p->v);
    free(p);
}

size_t profile_samples(const struct profile *p)
{
    return MIN(atomic_load(&p->taken), (size_t)PROFILE_SAMPLES_MAX);
}

size_t profile_lost(const struct profile *p)
{
    return atomic_load(&p->taken) - profile_samples(p);
}

/* --- equal stacks --- */

struct group {
    const struct sample *s;
    size_t n;
};

static int by_stack(const void *a, const void *b)
{
    const struct sample *x = ((const struct group *)a)->s, *y = ((const struct group *)b)->s;
    int c = strncmp(x->thread, y->thread, THREAD_NAME_MAX);

    if (c == 0)
        c = (x->n > y->n) - (x->n < y->n);
    return c ? c : memcmp(x->pc, y->pc, (size_t)x->n * sizeof x->pc[0]);
}

static void group(struct profile *p)
{
    size_t all = profile_samples(p), n = 0;

    if (p->groups)
        return;
    p->groups = xcalloc(all + 1, sizeof *p->groups);
    for (size_t i = 0; i < all; i++)
        if (p->v[i].n > p->v[i].first)
            p->groups[n++] = (struct group){&p->v[i], 1};
    if (n)
        qsort(p->groups, n, sizeof *p->groups, by_stack);
    for (size_t i = 0; i < n; i++) {
        if (p->group_count && by_stack(&p->groups[p->group_count - 1], &p->groups[i]) == 0)
            p->groups[p->group_count - 1].n++;
        else
            p->groups[p->group_count++] = p->groups[i];
    }
}

/* Of frames above the innermost the address is that after the call. */
static const void *pc_of(const struct sample *s, int i)
{
    return i == s->first ? s->pc[i] : (const char *)s->pc[i] - 1;
}

struct line {
    char *text;
    size_t n;
};

static int by_text(const void *a, const void *b)
{
    return strcmp(((const struct line *)a)->text, ((const struct line *)b)->text);
}

static char *folded(const struct sample *s, const struct funcnames *names)
{
    struct buf out;
    size_t n;

    buf_init(&out, 1 << 20);
    buf_printf(&out, "%.*s", THREAD_NAME_MAX, s->thread);
    for (int i = s->n - 1; i >= s->first; i--) {
        buf_char(&out, ';');
        funcnames_name(names, pc_of(s, i), &out);
    }
    buf_char(&out, '\0');
    ASSERT(buf_ok(&out));
    return buf_take(&out, &n);
}

/* Places of one function make one line. */
void profile_folded(struct profile *p, struct buf *out)
{
    struct funcnames *names = funcnames_new();
    struct line *lines;
    size_t count = 0;

    group(p);
    lines = xcalloc(p->group_count + 1, sizeof *lines);
    for (size_t g = 0; g < p->group_count; g++)
        lines[g] = (struct line){folded(p->groups[g].s, names), p->groups[g].n};
    if (p->group_count)
        qsort(lines, p->group_count, sizeof *lines, by_text);
    for (size_t i = 0; i < p->group_count; i++) {
        count += lines[i].n;
        if (i + 1 == p->group_count || strcmp(lines[i].text, lines[i + 1].text) != 0) {
            buf_printf(out, "%s %zu\n", lines[i].text, count);
            count = 0;
        }
    }
    for (size_t i = 0; i < p->group_count; i++)
        free(lines[i].text);
    free(lines);
    funcnames_free(names);
}

/* --- pprof: profile.proto of github.com/google/pprof, fields by number --- */

static void put_varint(struct buf *out, unsigned field, uint64_t v)
{
    buf_uvarint(out, field << 3);
    buf_uvarint(out, v);
}

static void put_bytes(struct buf *out, unsigned field, struct str s)
{
    buf_uvarint(out, field << 3 | 2);
    buf_lstr(out, s);
}

enum { TEXT_EMPTY, TEXT_SAMPLES, TEXT_COUNT, TEXT_CPU, TEXT_NANOSECONDS, TEXT_THREAD, TEXTS };
static const char *const texts[TEXTS] = {"", "samples", "count", "cpu", "nanoseconds", "thread"};

static void put_type(struct buf *out, unsigned field, uint64_t type, uint64_t unit)
{
    struct buf m;

    buf_init(&m, 64);
    put_varint(&m, 1, type);
    put_varint(&m, 2, unit);
    put_bytes(out, field, buf_view(&m));
    buf_fini(&m);
}

static int by_pc(const void *a, const void *b)
{
    uintptr_t x = *(const uintptr_t *)a, y = *(const uintptr_t *)b;

    return x < y ? -1 : x > y;
}

/* Every address once, sorted: location and function ids are places in it, from 1. */
struct places {
    uintptr_t *v;
    size_t n;
};

static struct places places_of(const struct profile *p)
{
    struct places l = {0};
    size_t n = 0;

    for (size_t g = 0; g < p->group_count; g++)
        n += (size_t)p->groups[g].s->n;
    l.v = xcalloc(n + 1, sizeof *l.v);
    n = 0;
    for (size_t g = 0; g < p->group_count; g++)
        for (int i = p->groups[g].s->first; i < p->groups[g].s->n; i++)
            l.v[n++] = (uintptr_t)pc_of(p->groups[g].s, i);
    if (n)
        qsort(l.v, n, sizeof *l.v, by_pc);
    for (size_t i = 0; i < n; i++)
        if (l.n == 0 || l.v[l.n - 1] != l.v[i])
            l.v[l.n++] = l.v[i];
    return l;
}

static uint64_t place_id(const struct places *l, const void *pc)
{
    uintptr_t key = (uintptr_t)pc, *at = bsearch(&key, l->v, l->n, sizeof *l->v, by_pc);

    ASSERT(at);
    return (uint64_t)(at - l->v) + 1;
}

static void put_sample(struct buf *out, const struct group *g, const struct places *l, uint64_t thread_text)
{
    struct buf m, ids, values, label;

    buf_init(&m, 4096);
    buf_init(&ids, 2048);
    buf_init(&values, 64);
    buf_init(&label, 64);
    for (int i = g->s->first; i < g->s->n; i++)
        buf_uvarint(&ids, place_id(l, pc_of(g->s, i)));
    buf_uvarint(&values, g->n);
    buf_uvarint(&values, g->n * (1000000000 / PROFILE_HZ));
    put_varint(&label, 1, TEXT_THREAD);
    put_varint(&label, 2, thread_text);
    put_bytes(&m, 1, buf_view(&ids));
    put_bytes(&m, 2, buf_view(&values));
    put_bytes(&m, 3, buf_view(&label));
    put_bytes(out, 2, buf_view(&m));
    buf_fini(&m);
    buf_fini(&ids);
    buf_fini(&values);
    buf_fini(&label);
}

static void put_place(struct buf *out, uint64_t id, uintptr_t pc, uint64_t name_text)
{
    struct buf location, line, function;

    buf_init(&location, 256);
    buf_init(&line, 64);
    buf_init(&function, 64);
    put_varint(&line, 1, id);
    put_varint(&location, 1, id);
    put_varint(&location, 3, pc);
    put_bytes(&location, 4, buf_view(&line));
    put_varint(&function, 1, id);
    put_varint(&function, 2, name_text);
    put_varint(&function, 3, name_text);
    put_bytes(out, 4, buf_view(&location));
    put_bytes(out, 5, buf_view(&function));
    buf_fini(&location);
    buf_fini(&line);
    buf_fini(&function);
}

static void put_name(struct buf *out, const struct funcnames *names, uintptr_t pc)
{
    struct buf name;

    buf_init(&name, 1 << 16);
    funcnames_name(names, (const void *)pc, &name);
    put_bytes(out, 6, buf_view(&name));
    buf_fini(&name);
}

void profile_pprof(struct profile *p, struct buf *out)
{
    struct funcnames *names = funcnames_new();
    struct places l;

    group(p);
    l = places_of(p);
    put_type(out, 1, TEXT_SAMPLES, TEXT_COUNT);
    put_type(out, 1, TEXT_CPU, TEXT_NANOSECONDS);
    for (size_t g = 0; g < p->group_count; g++)
        put_sample(out, &p->groups[g], &l, TEXTS + l.n + g);
    for (size_t i = 0; i < l.n; i++)
        put_place(out, i + 1, l.v[i], TEXTS + i);
    for (size_t i = 0; i < TEXTS; i++)
        put_bytes(out, 6, str_of(texts[i]));
    for (size_t i = 0; i < l.n; i++)
        put_name(out, names, l.v[i]);
    for (size_t g = 0; g < p->group_count; g++)
        put_bytes(out, 6, str_n(p->groups[g].s->thread, strnlen(p->groups[g].s->thread, THREAD_NAME_MAX)));
    put_varint(out, 9, (uint64_t)p->began_wall_ms * 1000000);
    put_varint(out, 10, (uint64_t)p->ms * 1000000);
    put_type(out, 11, TEXT_CPU, TEXT_NANOSECONDS);
    put_varint(out, 12, 1000000000 / PROFILE_HZ);
    funcnames_free(names);
    free(l.v);
}

/* --- heap --- */

#ifdef TORC_JEMALLOC
int profile_heap(struct buf *out, struct err *err)
{
    char path[] = "/tmp/torc-heap-XXXXXX";
    const char *name = path;
    bool on = false;
    size_t n = sizeof on;
    int fd, rc;

    if (mallctl("opt.prof", &on, &n, NULL, 0) != 0 || !on)
        return err_set(err, RC_UNSUPPORTED, "heap profiles are off: start torc with MALLOC_CONF=prof:true,lg_prof_sample:19 in its environment");
    fd = mkstemp(path);
    if (fd < 0)
        return err_sys(err, RC_IO, "create %s", path);
    close(fd);
    rc = mallctl("prof.dump", NULL, NULL, &name, sizeof name) == 0 ? fs_read(path, out, err) : err_set(err, RC_IO, "jemalloc could not write %s", path);
    unlink(path);
    return rc;
}
#else
int profile_heap(UNUSED struct buf *out, struct err *err)
{
    return err_set(err, RC_UNSUPPORTED, "this build has no jemalloc");
}
#endif
