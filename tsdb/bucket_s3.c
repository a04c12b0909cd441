#include "tsdb/bucket_s3.h"
#include "common/sign/hmac.h"
#include "common/sign/percent.h"
#include "common/sys/fs.h"
#include "tsdb/s3_call.h"
#include "tsdb/s3_xml.h"

#include <fcntl.h>
#include <gnutls/gnutls.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ANSWER_BYTES = 64 << 10, PAGE_BYTES = 32 << 20, PAGES_MAX = 100000, MARK_HEX = 32 };

static const char *const addressings[] = {"auto", "path", "virtual", NULL};
static const char *const sses[] = {"none", "SSE-S3", "SSE-KMS", "SSE-C", NULL};

#define AT(field) offsetof(struct bucket_cfg, field)
const struct option bucket_options[] = {
    {"bucket.url", OPT_STRING, AT(url),
     .doc = "Object store of blocks: filesystem:///path or s3://bucket/prefix. Every process of a cluster needs the same one. Empty: blocks/ below data-dir."},
    {"bucket.s3.endpoint", OPT_STRING, AT(endpoint),
     .doc = "Server of s3:// buckets: http[s]://host[:port]. Empty: AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, else Amazon's of the region."},
    {"bucket.s3.region", OPT_STRING, AT(region), .doc = "Empty: AWS_REGION, AWS_DEFAULT_REGION, else us-east-1."},
    {"bucket.s3.addressing", OPT_ENUM, AT(addressing), .def = "auto", .values = addressings,
     .doc = "Where the bucket's name stands: in the path, or before the host's name (virtual). auto: virtual at Amazon's endpoint, unless the name has dots; else path."},
    {"bucket.s3.access-key-id", OPT_STRING, AT(access_key_id),
     .doc = "Keys come from here, else from AWS_ACCESS_KEY_ID, else from a web identity, else from the shared file."},
    {"bucket.s3.secret-access-key", OPT_STRING, AT(secret_access_key), .secret = true, .doc = "Of the access key id."},
    {"bucket.s3.session-token", OPT_STRING, AT(session_token), .secret = true, .doc = "Of temporary keys."},
    {"bucket.s3.shared-credentials-file", OPT_STRING, AT(credentials_file),
     .doc = "Empty: AWS_SHARED_CREDENTIALS_FILE, else ~/.aws/credentials. Read again every minute."},
    {"bucket.s3.profile", OPT_STRING, AT(profile), .doc = "Section of the shared file. Empty: AWS_PROFILE, else default."},
    {"bucket.s3.role-arn", OPT_STRING, AT(role_arn), .doc = "Role to assume with the web identity token. Empty: AWS_ROLE_ARN."},
    {"bucket.s3.web-identity-token-file", OPT_STRING, AT(web_identity_token_file), .doc = "Empty: AWS_WEB_IDENTITY_TOKEN_FILE."},
    {"bucket.s3.sts-endpoint", OPT_STRING, AT(sts_endpoint), .doc = "Where the token is exchanged: http[s]://host[:port]. Empty: Amazon's STS of the region."},
    {"bucket.s3.sse", OPT_ENUM, AT(sse), .def = "none", .values = sses, .doc = "Encryption at rest that is asked of the server."},
    {"bucket.s3.sse-kms-key-id", OPT_STRING, AT(sse_kms_key_id), .doc = "With SSE-KMS. Empty: the account's default key."},
    {"bucket.s3.sse-customer-key", OPT_STRING, AT(sse_customer_key), .secret = true, .doc = "With SSE-C: 32 bytes in base64. Needs https."},
    {"bucket.s3.ca-file", OPT_STRING, AT(ca_file), .doc = "Certificates (PEM) that may sign the server's. Empty: the system's."},
    {"bucket.s3.verify-etag", OPT_BOOL, AT(verify_etag), .def = "true",
     .doc = "An upload has failed unless its ETag is the MD5 of the bytes. Not with SSE-KMS and SSE-C, which have other ETags; false for servers that have too."},
    {"bucket.s3.part-size", OPT_BYTES, AT(part_size), .def = "16MiB", .min = "5MiB", .max = "1GiB", .doc = "Larger files go up in parts of this size, each held in memory."},
    {"bucket.s3.retries", OPT_INT, AT(retries), .def = "6", .min = "0", .max = "100",
     .doc = "How often a request that may succeed later is sent again: after 0.1 s, twice as long each time up to 10 s, and at most once a second per object after the third failure."},
    {"bucket.s3.concurrency", OPT_INT, AT(concurrency), .def = "32", .min = "1", .max = "1024", .doc = "Requests at a time, each with a connection."},
    {"bucket.s3.connect-timeout", OPT_DURATION, AT(connect_timeout_ms), .def = "5s", .min = "10ms", .max = "5m", .doc = "Until a connection stands, TLS included."},
    {"bucket.s3.request-timeout", OPT_DURATION, AT(request_timeout_ms), .def = "30s", .min = "1s", .max = "15m",
     .doc = "Without progress, and until a small answer is there; large bodies have a second more per 64KiB."},
    {"bucket.s3.hedge-delay", OPT_DURATION, AT(hedge_delay_ms), .def = "1s", .min = "0", .max = "1m",
     .doc = "A read without a whole answer after this long is sent a second time, and the first answer counts; at most one read in ten. 0: never."},
    {0},
};

static struct s3 *s3_of(struct bucket *b)
{
    return CONTAINER_OF(b, struct s3, bucket);
}

/* --- writing --- */

int s3_put_bytes(struct s3 *s, enum s3_op op, const char *name, struct str bytes, const char *mark, struct err *err)
{
    struct s3_call c = {.op = op, .method = "PUT", .name = name, .body = bytes, .body_max = ANSWER_BYTES, .check_etag = s->cfg->verify_etag};
    struct s3_http_answer a;
    char text[6][256], mark_line[64 + MARK_HEX];
    int rc;

    c.extra_count = s3_sse_headers(s, true, text, c.extra);
    if (mark) {
        snprintf(mark_line, sizeof mark_line, "x-amz-meta-torc-create: %s", mark);
        c.extra[c.extra_count++] = "If-None-Match: *";
        c.extra[c.extra_count++] = mark_line;
    }
    rc = s3_call_run(s, &c, &a, err);
    if (rc == 0)
        s3_http_answer_fini(&a);
    return rc == RC_NOT_FOUND ? RC_UNAVAILABLE : rc; /* a PUT finds no bucket, whatever the code */
}

static int put(struct bucket *b, const char *name, struct str bytes, struct err *err)
{
    int rc = bucket_name_check(name, err);

    return rc < 0 ? rc : s3_put_bytes(s3_of(b), S3_PUT, name, bytes, NULL, err);
}

static int head(struct s3 *s, const char *name, struct s3_http_answer *ret, struct err *err)
{
    struct s3_call c = {.op = S3_HEAD, .method = "HEAD", .name = name};
    char text[6][256];

    c.extra_count = s3_sse_headers(s, false, text, c.extra);
    return s3_call_run(s, &c, ret, err);
}

/* An earlier attempt may have made the object, and its answer been lost: attempts of ours, and those that libcurl repeats by itself when a connection
 * that was kept dies. 0: it is ours; RC_EXISTS: it is not; others: nobody knows. */
static int whose(struct s3 *s, const char *name, const char *mark, struct err *err)
{
    struct s3_http_answer a;
    struct err why = {0};
    int rc = head(s, name, &a, &why);

    if (rc == RC_NOT_FOUND)
        return RC_EXISTS; /* and has gone since */
    if (rc < 0) {
        if (err)
            *err = why;
        return rc;
    }
    rc = strcmp(a.nonce, mark) == 0 ? 0 : RC_EXISTS;
    s3_http_answer_fini(&a);
    return rc;
}

static int create_marked(struct s3 *s, const char *name, struct str bytes, struct err *err)
{
    uint8_t random[MARK_HEX / 2];
    char mark[MARK_HEX + 1];
    int rc;

    random_bytes(random, sizeof random);
    hex_put(mark, random, sizeof random);
    rc = s3_put_bytes(s, S3_CREATE, name, bytes, mark, err);
    if (rc == RC_EXISTS)
        rc = whose(s, name, mark, err);
    if (rc == 0)
        err_clear(err);
    return rc;
}

static int remove_object(struct bucket *b, const char *name, struct err *err)
{
    struct s3_call c = {.op = S3_DELETE, .method = "DELETE", .name = name, .body_max = ANSWER_BYTES};
    struct s3_http_answer a;
    int rc = bucket_name_check(name, err);

    if (rc == 0)
        rc = s3_call_run(s3_of(b), &c, &a, err);
    if (rc == 0)
        s3_http_answer_fini(&a);
    if (rc == RC_NOT_FOUND) {
        err_clear(err);
        rc = 0;
    }
    return rc;
}

/* Writes an object of its own twice "only if absent". 0: the second was kept out; RC_UNSUPPORTED: it was not. */
static int probe(struct s3 *s, struct err *err)
{
    char name[64];
    uint64_t r;
    int rc;

    random_bytes(&r, sizeof r);
    snprintf(name, sizeof name, "torc-check-%016llx", (unsigned long long)r);
    rc = create_marked(s, name, STR("first"), err);
    if (rc < 0)
        return rc;
    rc = create_marked(s, name, STR("second"), err);
    remove_object(&s->bucket, name, NULL);
    if (rc == RC_EXISTS) {
        err_clear(err);
        return 0;
    }
    if (rc < 0 && rc != RC_UNSUPPORTED)
        return rc;
    return err_set(err, RC_UNSUPPORTED,
                   "s3: the server of %s/%s does not keep to If-None-Match: * (a second object got the same name), so two writers could overwrite "
                   "each other's block index; see bucket.s3.endpoint and docs/object-storage.md",
                   s->bucket_name, s->prefix);
}

static int conditional_check(struct s3 *s, struct err *err)
{
    int rc = 0;

    if (atomic_load(&s->conditional) == S3_CONDITIONAL_YES)
        return 0;
    mutex_lock(&s->probe_lock);
    if (atomic_load(&s->conditional) != S3_CONDITIONAL_YES)
        rc = probe(s, err);
    if (rc == 0)
        atomic_store(&s->conditional, S3_CONDITIONAL_YES);
    mutex_unlock(&s->probe_lock);
    return rc;
}

static int create(struct bucket *b, const char *name, struct str bytes, struct err *err)
{
    int rc = bucket_name_check(name, err);

    if (rc == 0)
        rc = conditional_check(s3_of(b), err);
    return rc < 0 ? rc : create_marked(s3_of(b), name, bytes, err);
}

static int put_small(struct s3 *s, const char *name, int fd, uint64_t size, struct err *err)
{
    char *bytes = malloc(size + 1);
    int rc = bytes ? fs_pread_all(fd, bytes, (size_t)size, 0, err) : err_set(err, RC_NOMEM, "no memory for %llu bytes", (unsigned long long)size);

    if (rc == 0)
        rc = s3_put_bytes(s, S3_PUT, name, str_n(bytes, (size_t)size), NULL, err);
    free(bytes);
    return rc;
}

/* The file may go once this returns 0, so the object is looked at. */
static int uploaded_check(struct bucket *b, const char *name, uint64_t size, struct err *err)
{
    uint64_t there = 0;
    int rc = b->ops->size(b, name, &there, err);

    if (rc == RC_NOT_FOUND)
        rc = RC_UNAVAILABLE;
    if (rc == 0 && there != size)
        rc = err_set(err, RC_UNAVAILABLE, "s3: %s was uploaded with %llu bytes and has %llu", name, (unsigned long long)size, (unsigned long long)there);
    return rc;
}

static int put_file(struct bucket *b, const char *name, const char *local_path, struct err *err)
{
    struct s3 *s = s3_of(b);
    struct stat st;
    int rc = bucket_name_check(name, err), fd;

    if (rc < 0)
        return rc;
    fd = open(local_path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_sys(err, errno == ENOENT ? RC_NOT_FOUND : RC_IO, "open %s", local_path);
    if (fstat(fd, &st) != 0)
        rc = err_sys(err, RC_IO, "stat %s", local_path);
    if (rc == 0 && (uint64_t)st.st_size <= s->cfg->part_size)
        rc = put_small(s, name, fd, (uint64_t)st.st_size, err);
    else if (rc == 0)
        rc = s3_upload(s, name, fd, (uint64_t)st.st_size, err);
    close(fd);
    return rc < 0 ? rc : uploaded_check(b, name, (uint64_t)st.st_size, err);
}

/* --- reading --- */

static int get(struct bucket *b, const char *name, struct buf *out, struct err *err)
{
    struct s3 *s = s3_of(b);
    struct s3_call c = {.op = S3_GET, .method = "GET", .name = name, .body_max = out->max - out->n};
    struct s3_http_answer a;
    char text[6][256];
    int rc = bucket_name_check(name, err);

    if (rc < 0)
        return rc;
    c.extra_count = s3_sse_headers(s, false, text, c.extra);
    rc = s3_call_run(s, &c, &a, err);
    if (rc < 0)
        return rc;
    if (a.body.n > out->max - out->n) {
        rc = err_set(err, RC_LIMIT, "s3: GET %s/%s%s: larger than %zu bytes", s->bucket_name, s->prefix, name, out->max);
    } else {
        buf_str(out, buf_view(&a.body));
        rc = buf_ok(out) ? 0 : err_set(err, RC_NOMEM, "no memory for %s", name);
    }
    s3_http_answer_fini(&a);
    return rc;
}

static int size(struct bucket *b, const char *name, uint64_t *ret, struct err *err)
{
    struct s3_http_answer a;
    int rc = bucket_name_check(name, err);

    if (rc == 0)
        rc = head(s3_of(b), name, &a, err);
    if (rc < 0)
        return rc;
    if (a.content_length < 0)
        rc = err_set(err, RC_UNAVAILABLE, "s3: HEAD %s: no Content-Length", name);
    else
        *ret = (uint64_t)a.content_length;
    s3_http_answer_fini(&a);
    return rc;
}

static int past_end(struct bucket *b, const char *name, uint64_t offset, size_t n, struct err *err)
{
    uint64_t there = 0;
    int rc = size(b, name, &there, err);

    if (rc < 0)
        return rc;
    if (offset + n > there)
        return err_set(err, RC_CORRUPT, "s3: %s has %llu bytes, %zu at %llu were wanted", name, (unsigned long long)there, n, (unsigned long long)offset);
    return err_set(err, RC_UNAVAILABLE, "s3: GET %s: the server gave not the range that was asked for", name);
}

static int get_range(struct bucket *b, const char *name, uint64_t offset, size_t n, void *out, struct err *err)
{
    struct s3 *s = s3_of(b);
    struct s3_call c = {.op = S3_GET_RANGE, .method = "GET", .name = name, .raw = out, .raw_n = n};
    struct s3_http_answer a;
    char text[6][256], range[96], want[96];
    int rc = bucket_name_check(name, err);

    if (rc < 0)
        return rc;
    if (n == 0)
        return past_end(b, name, offset, 0, NULL) == RC_NOT_FOUND ? err_set(err, RC_NOT_FOUND, "s3: %s", name) : 0;
    snprintf(range, sizeof range, "Range: bytes=%llu-%llu", (unsigned long long)offset, (unsigned long long)(offset + n - 1));
    c.extra_count = s3_sse_headers(s, false, text, c.extra);
    c.extra[c.extra_count++] = range;
    rc = s3_call_run(s, &c, &a, err);
    if (rc == RC_CORRUPT || rc == RC_LIMIT)
        return past_end(b, name, offset, n, err);
    if (rc < 0)
        return rc;
    /* 200: the whole object, which may be what was asked for. */
    snprintf(want, sizeof want, "bytes %llu-%llu/", (unsigned long long)offset, (unsigned long long)(offset + n - 1));
    if (a.raw_got != n)
        rc = past_end(b, name, offset, n, err);
    else if (a.status == 206 ? strncmp(a.content_range, want, strlen(want)) != 0 : offset != 0)
        rc = err_set(err, RC_UNAVAILABLE, "s3: GET %s: %ld with the range '%s', '%s' was asked for", name, a.status, a.content_range, range);
    s3_http_answer_fini(&a);
    return rc;
}

/* --- listing --- */

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct bucket_object *)a)->name, ((const struct bucket_object *)b)->name);
}

/* Takes the names of a page; what no torc could have written is left out. */
static int page_take(struct s3 *s, const char *prefix, struct s3_list_page *p, bucket_list *out, struct err *err)
{
    size_t skip = strlen(s->prefix);

    for (size_t i = 0; i < p->objects.n; i++) {
        struct bucket_object *o = &p->objects.v[i];

        if (!str_has_prefix(str_of(o->name), str_of(s->prefix)) || !str_has_prefix(str_of(o->name + skip), str_of(prefix)))
            return err_set(err, RC_CORRUPT, "s3: list of %s/%s%s: has '%.128s'", s->bucket_name, s->prefix, prefix, o->name);
        if (bucket_name_check(o->name + skip, NULL) == 0)
            *vec_push(out) = (struct bucket_object){xstrdup(o->name + skip), o->size};
    }
    return out->n <= BUCKET_LIST_MAX ? 0 : err_set(err, RC_LIMIT, "s3: more than %d objects below %s/%s%s", BUCKET_LIST_MAX, s->bucket_name, s->prefix, prefix);
}

static void sort_once(bucket_list *l)
{
    size_t n = 0;

    if (l->n)
        qsort(l->v, l->n, sizeof *l->v, by_name);
    for (size_t i = 0; i < l->n; i++) {
        if (n && strcmp(l->v[n - 1].name, l->v[i].name) == 0)
            free(l->v[i].name);
        else
            l->v[n++] = l->v[i];
    }
    l->n = n;
}

static int page_ask(struct s3 *s, const char *prefix, const char *token, int max, struct s3_list_page *ret, struct err *err)
{
    struct s3_call c = {.op = S3_LIST, .method = "GET", .body_max = PAGE_BYTES};
    struct s3_http_answer a;
    struct buf q;
    int rc;

    buf_init(&q, 128 << 10);
    if (token) {
        buf_z(&q, "continuation-token=");
        percent_encode(&q, str_of(token), false);
        buf_char(&q, '&');
    }
    buf_printf(&q, "encoding-type=url&list-type=2&max-keys=%d&prefix=", max);
    percent_encode(&q, str_of(s->prefix), false);
    percent_encode(&q, str_of(prefix), false);
    buf_u8(&q, 0);
    ASSERT(buf_ok(&q));
    c.query = q.p;
    rc = s3_call_run(s, &c, &a, err);
    if (rc == 0) {
        rc = s3_xml_list(buf_view(&a.body), ret, err);
        s3_http_answer_fini(&a);
        if (rc < 0)
            rc = err_wrap(err, RC_UNAVAILABLE, "s3: list of %s/%s%s", s->bucket_name, s->prefix, prefix);
    }
    buf_fini(&q);
    return rc;
}

static int list(struct bucket *b, const char *prefix, bucket_list *ret, struct err *err)
{
    struct s3 *s = s3_of(b);
    struct s3_list_page p = {0};
    bucket_list out = {0};
    char *token = NULL;
    int rc = 0;

    if (strlen(prefix) > BUCKET_NAME_BYTES_MAX)
        return err_set(err, RC_INVALID, "prefix of %zu bytes is longer than %d", strlen(prefix), BUCKET_NAME_BYTES_MAX);
    for (int pages = 0; rc == 0; pages++) {
        bool more;

        rc = page_ask(s, prefix, token, 1000, &p, err);
        if (rc < 0)
            break;
        rc = page_take(s, prefix, &p, &out, err);
        more = p.truncated;
        if (rc == 0 && more && (pages == PAGES_MAX || (token && strcmp(token, p.token) == 0)))
            rc = err_set(err, RC_UNAVAILABLE, "s3: list of %s/%s%s does not end: page %d", s->bucket_name, s->prefix, prefix, pages);
        free(token);
        token = p.token;
        p.token = NULL;
        s3_list_page_fini(&p);
        if (!more)
            break;
    }
    free(token);
    if (rc < 0) {
        bucket_list_free(&out);
        return rc;
    }
    sort_once(&out);
    *ret = out;
    if (strncmp(prefix, "blocks", 6) == 0)
        s3_uploads_clean(s);
    return 0;
}

static int list_one(struct s3 *s, struct err *err)
{
    struct s3_list_page p;
    int rc = page_ask(s, "", NULL, 1, &p, err);

    if (rc == 0)
        s3_list_page_fini(&p);
    return rc;
}

static int check(struct bucket *b, bool writes, struct err *err)
{
    struct s3 *s = s3_of(b);
    int rc = writes ? conditional_check(s, err) : list_one(s, err), status = atomic_load(&s->last_status);
    bool mend = status == S3_NO_KEYS || (status / 100 == 4 && status != 408 && status != 429);

    return rc == RC_UNAVAILABLE && mend ? err_wrap(err, RC_INVALID, "the object store refuses") : rc;
}

/* --- making one --- */

static void free_s3(struct bucket *b)
{
    struct s3 *s = s3_of(b);

    s3_credentials_free(s->credentials);
    s3_http_free(s->http);
    mutex_fini(&s->probe_lock);
    mutex_fini(&s->pace_lock);
    free(s->metrics);
    free(s);
}

static const struct bucket_ops s3_ops = {
    .put_file = put_file,
    .put = put,
    .create = create,
    .get = get,
    .get_range = get_range,
    .size = size,
    .list = list,
    .remove = remove_object,
    .check = check,
    .free = free_s3,
};

static const char *first_of(const char *option, const char *variable, const char *other_variable, const char *def)
{
    const char *v = option[0] ? option : getenv(variable);

    if (!v || !v[0])
        v = getenv(other_variable);
    return v && v[0] ? v : def;
}

/* s3://bucket[/prefix] */
static int url_parse(struct s3 *s, struct err *err)
{
    const char *url = s->cfg->url;
    struct str u = str_skip(str_of(url), strlen("s3://")), name = str_sub(u, 0, str_find(u, '/')), prefix = str_skip(u, MIN(name.n + 1, u.n));

    if (name.n < 3 || name.n > 63)
        return err_set(err, RC_INVALID, "bucket.url '%s': a bucket's name has 3 to 63 bytes", url);
    for (size_t i = 0; i < name.n; i++)
        if (!((name.p[i] >= 'a' && name.p[i] <= 'z') || (name.p[i] >= '0' && name.p[i] <= '9') || (i && i + 1 < name.n && strchr(".-", name.p[i]))))
            return err_set(err, RC_INVALID, "bucket.url '%s': a bucket's name has a to z, 0 to 9, '-' and '.' only", url);
    snprintf(s->bucket_name, sizeof s->bucket_name, "%.*s", STR_FMT(name));
    while (prefix.n && prefix.p[prefix.n - 1] == '/')
        prefix.n--;
    if (prefix.n == 0)
        return 0;
    if (prefix.n + 2 > sizeof s->prefix)
        return err_set(err, RC_INVALID, "bucket.url '%s': the prefix is longer than %zu bytes", url, sizeof s->prefix - 2);
    snprintf(s->prefix, sizeof s->prefix, "%.*s", STR_FMT(prefix));
    if (bucket_name_check(s->prefix, err) < 0)
        return err_wrap(err, RC_INVALID, "bucket.url '%s'", url);
    s->prefix[prefix.n] = '/';
    s->prefix[prefix.n + 1] = '\0';
    return 0;
}

static int endpoint_parse(struct s3 *s, struct err *err)
{
    const struct bucket_cfg *cfg = s->cfg;
    const char *endpoint = first_of(cfg->endpoint, "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "");
    bool amazon = !endpoint[0], virtual_host = cfg->addressing == S3_ADDRESS_VIRTUAL, tls;
    char made[128];
    struct str host;

    snprintf(s->region, sizeof s->region, "%s", first_of(cfg->region, "AWS_REGION", "AWS_DEFAULT_REGION", "us-east-1"));
    snprintf(made, sizeof made, "https://s3.%s.amazonaws.com", s->region);
    if (amazon)
        endpoint = made;
    if (cfg->addressing == S3_ADDRESS_AUTO)
        virtual_host = amazon && !strchr(s->bucket_name, '.');
    tls = strncmp(endpoint, "https://", 8) == 0;
    if (!tls && strncmp(endpoint, "http://", 7) != 0)
        return err_set(err, RC_INVALID, "bucket.s3.endpoint '%s': neither http:// nor https://", endpoint);
    host = str_of(endpoint + (tls ? 8 : 7));
    while (host.n && host.p[host.n - 1] == '/')
        host.n--;
    if (host.n == 0 || host.n > 200 || str_find(host, '/') < host.n || str_find(host, '@') < host.n)
        return err_set(err, RC_INVALID, "bucket.s3.endpoint '%s': not http[s]://host[:port]", endpoint);
    /* A port that the scheme implies is not in the Host header that is sent. */
    if (str_has_suffix(host, tls ? STR(":443") : STR(":80")))
        host.n -= tls ? 4 : 3;
    if (cfg->sse == S3_SSE_C && !tls)
        return err_set(err, RC_INVALID, "bucket.s3.sse: SSE-C sends its key, so bucket.s3.endpoint must be https://");
    snprintf(s->host, sizeof s->host, "%s%s%.*s", virtual_host ? s->bucket_name : "", virtual_host ? "." : "", STR_FMT(host));
    snprintf(s->base, sizeof s->base, "%s://%s", tls ? "https" : "http", s->host);
    snprintf(s->base_path, sizeof s->base_path, "%s%s", virtual_host ? "" : "/", virtual_host ? "" : s->bucket_name);
    return 0;
}

static int customer_key(struct s3 *s, struct err *err)
{
    const char *text = s->cfg->sse_customer_key;
    gnutls_datum_t in = {(unsigned char *)(uintptr_t)text, (unsigned)strlen(text)}, raw = {0}, hash = {0};
    uint8_t sum[16];

    if (s->cfg->sse != S3_SSE_C)
        return 0;
    if (gnutls_base64_decode2(&in, &raw) < 0 || raw.size != 32) {
        gnutls_free(raw.data);
        return err_set(err, RC_INVALID, "bucket.s3.sse-customer-key: not 32 bytes in base64");
    }
    md5(str_n(raw.data, raw.size), sum);
    explicit_bzero(raw.data, raw.size);
    gnutls_free(raw.data);
    raw = (gnutls_datum_t){sum, sizeof sum};
    ASSERT(gnutls_base64_encode2(&raw, &hash) == 0);
    snprintf(s->sse_c_md5, sizeof s->sse_c_md5, "%.*s", (int)hash.size, (const char *)hash.data);
    gnutls_free(hash.data);
    return 0;
}

static struct s3_metrics *metrics_make(struct metrics *m)
{
    static const char *const by_op[] = {"operation", NULL}, *const by_result[] = {"operation", "result", NULL};
    struct s3_metrics *s;

    if (!m)
        return NULL;
    s = xcalloc(1, sizeof *s);
    s->requests = metrics_family(m, METRIC_COUNTER, "torc_bucket_requests_total", "Requests to the object store by operation and result: a status, or what came instead of an answer.",
                                 by_result);
    s->duration = metrics_family(m, METRIC_HISTOGRAM, "torc_bucket_request_duration_seconds", "From sending a request to the object store to its whole answer, each attempt by itself.", by_op);
    s->sent = metrics_counter(m, "torc_bucket_sent_bytes_total", "Bodies of requests to the object store.");
    s->received = metrics_counter(m, "torc_bucket_received_bytes_total", "Bodies of answers of the object store.");
    s->retries = metrics_counter(m, "torc_bucket_retries_total", "Requests to the object store that were sent again after a failure.");
    s->hedges = metrics_counter(m, "torc_bucket_hedged_reads_total", "Reads that were sent a second time because the first took long.");
    s->hedges_won = metrics_counter(m, "torc_bucket_hedged_reads_won_total", "Of these, the ones whose second request was the first to be answered.");
    return s;
}

int bucket_s3_new(const struct bucket_cfg *cfg, struct metrics *metrics, struct bucket **ret, struct err *err)
{
    struct s3 *s = xcalloc(1, sizeof *s);
    struct s3_http_cfg http = {(size_t)cfg->concurrency, cfg->connect_timeout_ms, cfg->ca_file};
    struct s3_credentials_cfg keys = {.id = cfg->access_key_id, .secret = cfg->secret_access_key, .token = cfg->session_token, .file = cfg->credentials_file,
                                      .profile = cfg->profile, .role_arn = cfg->role_arn, .web_identity_token_file = cfg->web_identity_token_file,
                                      .sts_endpoint = cfg->sts_endpoint, .region = s->region, .timeout_ms = cfg->request_timeout_ms};
    int rc;

    s->bucket.ops = &s3_ops;
    s->cfg = cfg;
    mutex_init(&s->probe_lock);
    mutex_init(&s->pace_lock);
    atomic_init(&s->hedge_tokens, S3_HEDGE_EVERY * S3_HEDGE_BURST);
    rc = url_parse(s, err);
    if (rc == 0)
        rc = endpoint_parse(s, err);
    if (rc == 0)
        rc = customer_key(s, err);
    if (rc < 0) {
        free_s3(&s->bucket);
        return rc;
    }
    s->http = s3_http_new(&http);
    s->credentials = s3_credentials_new(&keys, s->http);
    s->metrics = metrics_make(metrics);
    *ret = &s->bucket;
    return 0;
}
