#include "common/obs/log.h"
#include "common/base/json.h"
#include "common/sys/clock.h"
#include "common/sys/thread.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum {
    LOG_LINE_BYTES_MAX = 32 << 10, /* pairs that do not fit are left out */
    LOG_VALUE_BYTES_MAX = 4 << 10, /* longer values are cut */
    LOG_NUMBERS = 8,
    LOG_GATE_NS = 1000000000,
};

struct log {
    int fd;
    enum log_format format;
    _Atomic int level;
    struct mutex lock; /* one line at a time on fd */
};

struct log *log_new(int fd, enum log_level level, enum log_format format)
{
    struct log *l = xcalloc(1, sizeof *l);

    l->fd = fd;
    l->format = format;
    atomic_init(&l->level, (int)level);
    mutex_init(&l->lock);
    return l;
}

void log_free(struct log *l)
{
    if (!l)
        return;
    mutex_fini(&l->lock);
    free(l);
}

void log_set_level(struct log *l, enum log_level level)
{
    atomic_store_explicit(&l->level, (int)level, memory_order_relaxed);
}

static bool needs_quotes(struct str v)
{
    for (size_t i = 0; i < v.n; i++) {
        unsigned char c = (unsigned char)v.p[i];

        if (c <= ' ' || c == '"' || c == '=' || c == '\\' || c >= 0x7f)
            return true;
    }
    return v.n == 0;
}

static void put_pair(struct buf *out, enum log_format format, const char *key, const char *value)
{
    struct str v = str_of(value ? value : "null");

    v.n = MIN(v.n, (size_t)LOG_VALUE_BYTES_MAX);
    if (out->n > (format == LOG_JSON ? 1u : 0u))
        buf_char(out, format == LOG_JSON ? ',' : ' ');
    if (format == LOG_JSON) {
        json_key(out, key);
        json_str(out, v);
        return;
    }
    buf_z(out, key);
    buf_char(out, '=');
    if (needs_quotes(v))
        json_str(out, v);
    else
        buf_str(out, v);
}

static void put_head(struct buf *out, enum log_format format, enum log_level level,
                     const char *file, int line, const char *msg)
{
    static const char *const levels[] = {"debug", "info", "warn", "error"};
    const char *slash = strrchr(file, '/');
    struct timespec now;
    struct tm tm;
    char text[512];

    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    snprintf(text, sizeof text, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", tm.tm_year + 1900,
             tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
             (int)(now.tv_nsec / 1000000));
    put_pair(out, format, "ts", text);
    put_pair(out, format, "level", levels[level]);
    snprintf(text, sizeof text, "%s:%d", slash ? slash + 1 : file, line);
    put_pair(out, format, "caller", text);
    put_pair(out, format, "msg", msg);
}

/* A line that cannot be written (full disk, closed pipe) has nowhere to be reported. */
static void put_line(struct log *l, struct str line)
{
    mutex_lock(&l->lock);
    while (line.n > 0) {
        ssize_t did = write(l->fd, line.p, line.n);

        if (did < 0 && errno == EINTR)
            continue;
        if (did <= 0)
            break;
        line = str_skip(line, (size_t)did);
    }
    mutex_unlock(&l->lock);
}

void log_write(struct log *l, enum log_level level, const char *file, int line, const char *msg,
               ...)
{
    const char *key, *value;
    struct buf out;
    va_list ap;

    if (!l || (int)level < atomic_load_explicit(&l->level, memory_order_relaxed))
        return;
    buf_init(&out, LOG_LINE_BYTES_MAX);
    if (l->format == LOG_JSON)
        buf_char(&out, '{');
    put_head(&out, l->format, level, file, line, msg);
    va_start(ap, msg);
    while ((key = va_arg(ap, const char *))) {
        size_t before = out.n;

        value = va_arg(ap, const char *);
        put_pair(&out, l->format, key, value);
        if (out.failed || out.n + 2 > out.max) {
            out.n = before;
            out.failed = false;
        }
    }
    va_end(ap);
    buf_z(&out, l->format == LOG_JSON ? "}\n" : "\n");
    put_line(l, buf_view(&out));
    buf_fini(&out);
}

static char *number_slot(size_t *ret_size)
{
    static _Thread_local char slots[LOG_NUMBERS][32];
    static _Thread_local unsigned next;

    *ret_size = sizeof slots[0];
    return slots[next++ % LOG_NUMBERS];
}

const char *log_i64(int64_t v)
{
    size_t size;
    char *p = number_slot(&size);

    snprintf(p, size, "%lld", (long long)v);
    return p;
}

const char *log_f64(double v)
{
    size_t size;
    char *p = number_slot(&size);

    snprintf(p, size, "%.9g", v);
    return p;
}

bool log_gate_open(struct log_gate *g)
{
    int64_t now = clock_mono_ns(clock_system());
    int64_t next = atomic_load_explicit(&g->next_ns, memory_order_relaxed);

    if (now >= next && atomic_compare_exchange_strong(&g->next_ns, &next, now + LOG_GATE_NS)) {
        g->taken = atomic_exchange_explicit(&g->suppressed, 0, memory_order_relaxed);
        return true;
    }
    atomic_fetch_add_explicit(&g->suppressed, 1, memory_order_relaxed);
    return false;
}

int64_t log_gate_suppressed(struct log_gate *g)
{
    return atomic_exchange_explicit(&g->taken, 0, memory_order_relaxed);
}
