#include "common/base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int err_set_at(struct err *err, int rc, int sys, const char *file, int line, const char *fmt, ...)
{
    va_list ap;
    int n;

    if (!err)
        return rc;
    err->rc = rc;
    err->sys = sys;
    err->file = file;
    err->line = line;
    va_start(ap, fmt);
    n = vsnprintf(err->text, sizeof err->text, fmt, ap);
    va_end(ap);
    if (sys && n >= 0 && (size_t)n < sizeof err->text) {
        char words[128];

        snprintf(err->text + n, sizeof err->text - (size_t)n, ": %s",
                 strerror_r(sys, words, sizeof words));
    }
    return rc;
}

int err_wrap(struct err *err, int rc, const char *fmt, ...)
{
    char tail[ERR_TEXT_MAX];
    va_list ap;
    int n;

    if (!err)
        return rc;
    memcpy(tail, err->text, sizeof tail);
    va_start(ap, fmt);
    n = vsnprintf(err->text, sizeof err->text, fmt, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n < sizeof err->text)
        snprintf(err->text + n, sizeof err->text - (size_t)n, ": %s", tail);
    err->rc = rc;
    return rc;
}

const char *err_log(const struct err *err)
{
    static _Thread_local char line[ERR_TEXT_MAX + 128];
    const char *slash;

    if (!err || !err->rc)
        return "no error";
    slash = err->file ? strrchr(err->file, '/') : NULL;
    snprintf(line, sizeof line, "%s (%s:%d)", err->text, slash ? slash + 1 : err->file ? err->file : "?",
             err->line);
    return line;
}

const char *err_text(const struct err *err)
{
    return err && err->rc ? err->text : "no error";
}

const char *rc_name(int rc)
{
    static const char *const names[] = {
        "ok",        "io",       "corrupt",   "limit",   "invalid",     "not found", "exists",
        "unavailable", "timeout", "canceled", "rate",    "no memory",   "moved",     "unknown series",
        "version",   "stale",    "execution", "unsupported", "internal",
    };
    int i = -rc;

    return i >= 0 && (size_t)i < ARRAY_LEN(names) ? names[i] : "unknown";
}
