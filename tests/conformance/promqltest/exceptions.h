/* exceptions.h - evals that a backend cannot pass, each with its reason. One per line:
 *   script.test:LINE  reason
 * Empty lines and lines that start with # say nothing. */
#pragma once
#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/base/vec.h"

struct exceptions {
    struct buf text;
    VEC(struct exception {
        struct str file;
        size_t line;
    }) v;
};

int exceptions_read(const char *path, struct exceptions *ret, struct err *err);
/* Whether file:line is listed. */
bool exceptions_has(const struct exceptions *x, const char *file, size_t line);
void exceptions_free(struct exceptions *x);
