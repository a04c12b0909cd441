#include "exceptions.h"

#include "common/sys/fs.h"

enum { EXCEPTIONS_BYTES_MAX = 1 << 20 };

/* Digits only. */
static size_t number_of(struct str s)
{
    size_t n = 0;

    for (size_t i = 0; i < s.n && n < EXCEPTIONS_BYTES_MAX; i++)
        n = s.p[i] >= '0' && s.p[i] <= '9' ? n * 10 + (size_t)(s.p[i] - '0') : SIZE_MAX;
    return n;
}

static int take_line(struct exceptions *x, struct str line, struct err *err)
{
    size_t space = str_find(line, ' '), colon = str_find(line, ':'), n = 0;

    if (line.n == 0 || line.p[0] == '#')
        return 0;
    if (colon < space)
        n = number_of(str_sub(line, colon + 1, space));
    if (n == 0 || n > EXCEPTIONS_BYTES_MAX || str_trim(str_skip(line, space)).n == 0)
        return err_set(err, RC_INVALID, "\"%.*s\": expected FILE:LINE and a reason",
                       STR_FMT(line));
    *vec_push(&x->v) = (struct exception){str_sub(line, 0, colon), n};
    return 0;
}

int exceptions_read(const char *path, struct exceptions *ret, struct err *err)
{
    struct exceptions x = {0};
    struct str rest;
    int rc;

    buf_init(&x.text, EXCEPTIONS_BYTES_MAX);
    rc = fs_read(path, &x.text, err);
    rest = buf_view(&x.text);
    while (rc == 0 && rest.n > 0) {
        size_t end = str_find(rest, '\n');

        rc = take_line(&x, str_trim(str_sub(rest, 0, end)), err);
        rest = str_skip(rest, MIN(end + 1, rest.n));
    }
    if (rc == 0)
        *ret = x;
    else
        exceptions_free(&x);
    return rc;
}

bool exceptions_has(const struct exceptions *x, const char *file, size_t line)
{
    for (size_t i = 0; i < x->v.n; i++)
        if (x->v.v[i].line == line && str_eqz(x->v.v[i].file, file))
            return true;
    return false;
}

void exceptions_free(struct exceptions *x)
{
    vec_fini(&x->v);
    buf_fini(&x->text);
}
