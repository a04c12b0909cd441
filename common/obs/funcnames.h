/* funcnames.h - names of code addresses of this process.
 * Functions of the program come from .symtab of /proc/self/exe (ELF64), those of libraries from dladdr. Bytes of the file are checked: a damaged or
 * stripped file gives no names, not a crash. Threads: one at a time. */
#pragma once
#include "common/base/buf.h"

enum { FUNCNAMES_MAX = 1 << 20, FUNCNAMES_FILE_BYTES_MAX = 1 << 30 };
struct funcnames;
struct funcnames *funcnames_new(void);
void funcnames_free(struct funcnames *s); /* NULL is fine */
/* The function around pc, or "file+0x1234". */
void funcnames_name(const struct funcnames *s, const void *pc, struct buf *out);
