/* RSS from /proc/self/smaps, what the heap is made of from the allocator that is linked. */
#include "common/obs/memory.h"
#include "common/sys/fs.h"

#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { SMAPS_BYTES_MAX = 256 << 20 };

/* --- mappings --- */
struct mapping {
    unsigned long from, to;
    bool guard; /* cannot be read nor written */
    bool file, stack;
};

static size_t thread_stack_bytes(void)
{
    pthread_attr_t attr;
    size_t n = 0;

    if (pthread_getattr_default_np(&attr) != 0)
        return 0;
    (void)pthread_attr_getstacksize(&attr, &n);
    pthread_attr_destroy(&attr);
    return n;
}

/* "7f7de37fc000-7f7de3ffc000 rw-p 00000000 00:00 0    [path]": false for the lines below it. A thread's stack has no name: it stands behind a guard, and
 * other memory may follow it in the same mapping. */
static bool mapping_read(char *line, size_t stack_bytes, struct mapping *m)
{
    struct mapping before = *m;
    char perms[8] = "";
    int at = 0;
    const char *path;

    if (sscanf(line, "%lx-%lx %7s %*x %*s %*u %n", &m->from, &m->to, perms, &at) < 3 || at == 0) {
        *m = before;
        return false;
    }
    path = line + at;
    m->guard = perms[0] == '-' && perms[1] == '-';
    m->file = path[0] == '/';
    m->stack = strcmp(path, "[stack]") == 0 || (path[0] == '\0' && before.guard && before.to == m->from && m->to - m->from >= stack_bytes);
    return true;
}

/* Pages of [from, from + bytes) that are there. */
static size_t resident_bytes(unsigned long from, size_t bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), n = bytes / page, there = 0;
    unsigned char *map = xmalloc(n + 1);

    if (mincore((void *)from, bytes, map) == 0)
        for (size_t i = 0; i < n; i++)
            there += map[i] & 1;
    free(map);
    return there * page;
}

static void read_smaps(struct memory_process *p)
{
    size_t stack_bytes = thread_stack_bytes();
    struct mapping m = {0};
    char *save = NULL;
    struct buf text;

    buf_init(&text, SMAPS_BYTES_MAX);
    if (fs_read("/proc/self/smaps", &text, NULL) == 0)
        buf_char(&text, '\0');
    for (char *line = text.n && buf_ok(&text) ? strtok_r(text.p, "\n", &save) : NULL; line; line = strtok_r(NULL, "\n", &save)) {
        size_t kb;

        if (mapping_read(line, stack_bytes, &m) || sscanf(line, "Rss: %zu kB", &kb) != 1)
            continue;
        p->rss += kb << 10;
        p->files += m.file ? kb << 10 : 0;
        if (m.stack)
            p->stacks += m.to - m.from > stack_bytes ? resident_bytes(m.from, stack_bytes) : kb << 10;
    }
    buf_fini(&text);
}

/* --- allocators --- */
#ifdef TORC_JEMALLOC
#include <jemalloc/jemalloc.h>

#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)
#define ALL_ARENAS TEXT(MALLCTL_ARENAS_ALL)

static size_t je_stat(const char *name)
{
    size_t v = 0, n = sizeof v;

    return mallctl(name, &v, &n, NULL, 0) == 0 ? v : 0;
}

static void read_allocator(struct memory_process *p)
{
    uint64_t epoch = 1;
    size_t active, resident, in_use;

    (void)mallctl("epoch", NULL, NULL, &epoch, sizeof epoch); /* figures are as of now */
    in_use = je_stat("stats.allocated");
    active = je_stat("stats.active");
    resident = je_stat("stats.resident");
    p->allocator = "jemalloc";
    p->cached = MIN(je_stat("stats.arenas." ALL_ARENAS ".tcache_bytes"), in_use);
    p->allocated = in_use - p->cached;
    p->metadata = je_stat("stats.metadata");
    p->retained = je_stat("stats.retained");
    p->slack = active > in_use ? active - in_use : 0;
    p->unused = resident > active + p->metadata ? resident - active - p->metadata : 0;
}
#elif defined(__SANITIZE_ADDRESS__)
size_t __sanitizer_get_current_allocated_bytes(void); /* gcc 12 comes without its header */

/* Shadow memory, red zones and the quarantine cannot be told from the heap: all that is anonymous and not allocated is slack. */
static void read_allocator(struct memory_process *p)
{
    size_t anonymous = p->rss - p->files - p->stacks;

    p->allocator = "sanitizer";
    p->allocated = __sanitizer_get_current_allocated_bytes();
    p->slack = anonymous > p->allocated ? anonymous - p->allocated : 0;
}
#else
static void read_allocator(struct memory_process *p)
{
    struct mallinfo2 m = mallinfo2();

    p->allocator = "glibc";
    p->allocated = m.uordblks + m.hblkhd;
    p->unused = m.fordblks;
}
#endif

static void find_untouched(struct memory_process *p)
{
    size_t asked_for = p->allocated + p->cached + p->slack + p->unused + p->metadata, anonymous = p->rss - p->files - p->stacks;

    p->untouched = asked_for > anonymous ? asked_for - anonymous : 0;
}

void memory_process(struct memory_process *ret)
{
    struct memory_process p = {0};

    read_smaps(&p);
    read_allocator(&p);
    find_untouched(&p);
    *ret = p;
}
