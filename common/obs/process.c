/* process_* as the Prometheus client libraries name them, from /proc/self. */
#include "common/obs/metrics_impl.h"
#include "common/sys/fs.h"

#include <dirent.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

enum { PROC_FILE_BYTES_MAX = 64 << 10, STAT_FIELDS = 24 };

/* Fields of /proc/self/stat counted as in proc(5), 1 = pid; the command (2) may hold spaces, so
 * start after it. */
static bool read_stat(double fields[STAT_FIELDS + 1])
{
    struct buf text;
    const char *at;
    bool ok = false;

    buf_init(&text, PROC_FILE_BYTES_MAX);
    if (fs_read("/proc/self/stat", &text, NULL) == 0) {
        buf_char(&text, '\0');
        at = buf_ok(&text) ? strrchr(text.p, ')') : NULL;
        for (int i = 3; at && i <= STAT_FIELDS; i++) {
            at = strchr(at, ' ');
            if (at)
                fields[i] = strtod(++at, NULL);
        }
        ok = at != NULL;
    }
    buf_fini(&text);
    return ok;
}

static double boot_time_seconds(void)
{
    struct buf text;
    const char *at;
    double seconds = 0;

    buf_init(&text, 1 << 20);
    if (fs_read("/proc/stat", &text, NULL) == 0) {
        buf_char(&text, '\0');
        at = buf_ok(&text) ? strstr(text.p, "btime ") : NULL;
        if (at)
            seconds = strtod(at + strlen("btime "), NULL);
    }
    buf_fini(&text);
    return seconds;
}

static double open_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int n = -3; /* ".", ".." and the directory itself */

    if (!dir)
        return 0;
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

static void collect(void *arg)
{
    struct process_metrics *p = arg;
    double fields[STAT_FIELDS + 1] = {0}, hz = (double)sysconf(_SC_CLK_TCK);
    struct rlimit files;

    if (read_stat(fields)) {
        atomic_store_explicit(&p->cpu->value, (fields[14] + fields[15]) / hz, memory_order_relaxed);
        metric_set(p->threads, fields[20]);
        metric_set(p->virtual, fields[23]);
        metric_set(p->resident, fields[24] * (double)sysconf(_SC_PAGESIZE));
    }
    metric_set(p->fds, open_fds());
    if (getrlimit(RLIMIT_NOFILE, &files) == 0)
        metric_set(p->fds_max, (double)files.rlim_cur);
}

void metrics_add_process(struct metrics *m)
{
    struct process_metrics *p = &m->process;
    double fields[STAT_FIELDS + 1] = {0};

    if (p->cpu)
        return;
    p->cpu = metrics_counter(m, "process_cpu_seconds_total",
                             "User and system CPU time spent, in seconds.");
    p->resident = metrics_gauge(m, "process_resident_memory_bytes", "Resident memory, in bytes.");
    p->virtual = metrics_gauge(m, "process_virtual_memory_bytes", "Virtual memory, in bytes.");
    p->fds = metrics_gauge(m, "process_open_fds", "Open file descriptors.");
    p->fds_max =
        metrics_gauge(m, "process_max_fds", "Most file descriptors this process may open.");
    p->threads = metrics_gauge(m, "process_threads", "Threads of this process.");
    p->start = metrics_gauge(m, "process_start_time_seconds",
                             "Start of the process, Unix time in seconds.");
    if (read_stat(fields))
        metric_set(p->start, boot_time_seconds() + fields[22] / (double)sysconf(_SC_CLK_TCK));
    metrics_on_collect(m, collect, p);
}
