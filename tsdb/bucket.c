#include "tsdb/bucket.h"
#include "tsdb/bucket_fs.h"
#include "tsdb/bucket_s3.h"

#include <string.h>

void bucket_list_free(bucket_list *l)
{
    for (size_t i = 0; i < l->n; i++)
        free(l->v[i].name);
    vec_fini(l);
}

bool bucket_temp_name(struct str name)
{
    struct str tail;

    if (name.n < BUCKET_TEMP_SUFFIX)
        return false;
    tail = str_skip(name, name.n - BUCKET_TEMP_SUFFIX);
    return str_has_prefix(tail, STR(".tmp-")) && strspn(tail.p + 5, "0123456789abcdef") >= 16;
}

static bool name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr("!._*'()/-", c));
}

static int part_check(const char *name, struct str part, struct err *err)
{
    if (part.n == 0)
        return err_set(err, RC_INVALID, "object name '%.128s' has an empty part", name);
    if (str_eqz(part, ".") || str_eqz(part, ".."))
        return err_set(err, RC_INVALID, "object name '%.128s' has a part '%.*s'", name, STR_FMT(part));
    if (part.n > 255)
        return err_set(err, RC_INVALID, "object name '%.128s' has a part longer than 255 bytes", name);
    return 0;
}

int bucket_name_check(const char *name, struct err *err)
{
    struct str left = str_of(name);
    size_t depth = 0;

    if (left.n > BUCKET_NAME_BYTES_MAX)
        return err_set(err, RC_INVALID, "object name of %zu bytes is longer than %d", left.n, BUCKET_NAME_BYTES_MAX);
    for (size_t i = 0; i < left.n; i++)
        if (!name_char(left.p[i]))
            return err_set(err, RC_INVALID, "object name '%.128s' has a character 0x%02x", name,
                           (unsigned)(uint8_t)left.p[i]);
    if (bucket_temp_name(left))
        return err_set(err, RC_INVALID, "object name '%.128s' ends like a temporary file", name);
    for (;;) {
        size_t n = str_find(left, '/');
        int rc = part_check(name, str_sub(left, 0, n), err);

        if (rc < 0)
            return rc;
        if (++depth > BUCKET_DEPTH_MAX)
            return err_set(err, RC_INVALID, "object name '%.128s' has more than %d parts", name, BUCKET_DEPTH_MAX);
        if (n == left.n)
            return 0;
        left = str_skip(left, n + 1);
    }
}

int bucket_open(const char *url, struct bucket **ret, struct err *err)
{
    struct str u = str_of(url), scheme = STR("filesystem://");

    if (str_has_prefix(u, scheme))
        u = str_skip(u, scheme.n);
    else if (strstr(url, "://"))
        return err_set(err, RC_UNSUPPORTED, "bucket '%s': neither filesystem:///path nor s3://bucket/prefix", url);
    if (u.n == 0)
        return err_set(err, RC_INVALID, "bucket '%s': no path", url);
    return bucket_fs_new(u.p, ret, err);
}

int bucket_open_configured(const struct bucket_cfg *cfg, struct metrics *metrics, struct bucket **ret, struct err *err)
{
    return strncmp(cfg->url, "s3://", 5) == 0 ? bucket_s3_new(cfg, metrics, ret, err) : bucket_open(cfg->url, ret, err);
}
