#include "common/obs/funcnames.h"

#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct symbol {
    uint64_t from, to;
    const char *name; /* in the mapped file, NUL-terminated within it */
};

struct funcnames {
    const char *file;
    size_t file_n;
    uintptr_t base; /* where the program was loaded */
    struct symbol *v; /* by from */
    size_t n;
};

static int program_base(struct dl_phdr_info *info, UNUSED size_t size, void *arg)
{
    *(uintptr_t *)arg = info->dlpi_addr;
    return 1; /* the first is the program */
}

/* n elements of size at offset lie in the file, aligned. */
static bool inside(const struct funcnames *s, uint64_t offset, uint64_t n, uint64_t size)
{
    return offset % 8 == 0 && offset <= s->file_n && n <= (s->file_n - offset) / size;
}

static int by_from(const void *a, const void *b)
{
    const struct symbol *x = a, *y = b;

    return x->from < y->from ? -1 : x->from > y->from;
}

static void table_read(struct funcnames *s, const Elf64_Shdr *symtab, const Elf64_Shdr *strtab)
{
    size_t n = symtab->sh_size / sizeof(Elf64_Sym);
    const Elf64_Sym *sym = (const void *)(s->file + symtab->sh_offset);
    const char *text = s->file + strtab->sh_offset;

    if (n > FUNCNAMES_MAX || strtab->sh_size == 0 || text[strtab->sh_size - 1] != '\0')
        return;
    s->v = xcalloc(n + 1, sizeof *s->v);
    for (size_t i = 0; i < n; i++)
        if (ELF64_ST_TYPE(sym[i].st_info) == STT_FUNC && sym[i].st_size && sym[i].st_name < strtab->sh_size)
            s->v[s->n++] = (struct symbol){sym[i].st_value, sym[i].st_value + sym[i].st_size, text + sym[i].st_name};
    qsort(s->v, s->n, sizeof *s->v, by_from);
}

static void elf_read(struct funcnames *s)
{
    const Elf64_Ehdr *eh = (const void *)s->file;
    const Elf64_Shdr *sh;

    if (s->file_n < sizeof *eh || memcmp(eh->e_ident, ELFMAG, SELFMAG) != 0 || eh->e_ident[EI_CLASS] != ELFCLASS64 ||
        !inside(s, eh->e_shoff, eh->e_shnum, sizeof *sh))
        return;
    sh = (const void *)(s->file + eh->e_shoff);
    for (size_t i = 0; i < eh->e_shnum; i++) {
        if (sh[i].sh_type != SHT_SYMTAB || sh[i].sh_link >= eh->e_shnum || sh[i].sh_entsize != sizeof(Elf64_Sym))
            continue;
        if (inside(s, sh[i].sh_offset, sh[i].sh_size, 1) && sh[sh[i].sh_link].sh_offset <= s->file_n &&
            sh[sh[i].sh_link].sh_size <= s->file_n - sh[sh[i].sh_link].sh_offset)
            table_read(s, &sh[i], &sh[sh[i].sh_link]);
        return;
    }
}

struct funcnames *funcnames_new(void)
{
    struct funcnames *s = xcalloc(1, sizeof *s);
    int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    struct stat st;

    dl_iterate_phdr(program_base, &s->base);
    if (fd < 0)
        return s;
    if (fstat(fd, &st) == 0 && st.st_size > 0 && st.st_size <= FUNCNAMES_FILE_BYTES_MAX) {
        void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);

        if (p != MAP_FAILED) {
            s->file = p;
            s->file_n = (size_t)st.st_size;
            elf_read(s);
        }
    }
    close(fd);
    return s;
}

void funcnames_free(struct funcnames *s)
{
    if (!s)
        return;
    if (s->file)
        munmap((void *)(uintptr_t)s->file, s->file_n);
    free(s->v);
    free(s);
}

static const char *program_name(const struct funcnames *s, uint64_t at)
{
    size_t lo = 0, hi = s->n;

    while (lo < hi) {
        size_t mid = (lo + hi) / 2;

        if (s->v[mid].from <= at)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo && at < s->v[lo - 1].to ? s->v[lo - 1].name : NULL;
}

void funcnames_name(const struct funcnames *s, const void *pc, struct buf *out)
{
    const char *name = program_name(s, (uintptr_t)pc - s->base), *slash;
    Dl_info info = {0};

    if (name) {
        buf_z(out, name);
        return;
    }
    if (!dladdr(pc, &info) || !info.dli_fname) {
        buf_printf(out, "0x%llx", (unsigned long long)(uintptr_t)pc);
        return;
    }
    slash = strrchr(info.dli_fname, '/');
    if (info.dli_sname)
        buf_z(out, info.dli_sname);
    else
        buf_printf(out, "%s+0x%llx", slash ? slash + 1 : info.dli_fname, (unsigned long long)((uintptr_t)pc - (uintptr_t)info.dli_fbase));
}
