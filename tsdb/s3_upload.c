#include "common/sign/percent.h"
#include "common/sys/clock.h"
#include "common/sys/fs.h"
#include "tsdb/s3_call.h"
#include "tsdb/s3_xml.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { PARTS_MAX = 10000, PART_BYTES_MIN = 5 << 20, CLEAN_MS = 3600 * 1000, UPLOADS_PAGE = 1000, ANSWER_BYTES = 1 << 20, PAGE_BYTES = 16 << 20 };

struct upload {
    struct s3 *s;
    const char *name;
    char id[S3_UPLOAD_ID_MAX];
    struct buf parts; /* the body that completes it */
};

static void query_put(struct buf *q, const char *id)
{
    buf_z(q, "uploadId=");
    percent_encode(q, str_of(id), false);
    buf_u8(q, 0);
    ASSERT(buf_ok(q));
}

static int begin(struct upload *u, struct err *err)
{
    struct s3_call c = {.op = S3_MULTIPART, .method = "POST", .name = u->name, .query = "uploads=", .body_max = ANSWER_BYTES};
    struct s3_http_answer a;
    char text[6][256];
    int rc;

    c.extra_count = s3_sse_headers(u->s, true, text, c.extra);
    rc = s3_call_run(u->s, &c, &a, err);
    if (rc < 0)
        return rc;
    rc = s3_xml_upload_id(buf_view(&a.body), u->id, err);
    s3_http_answer_fini(&a);
    return rc < 0 ? err_wrap(err, RC_UNAVAILABLE, "s3: POST %s/%s%s?uploads", u->s->bucket_name, u->s->prefix, u->name) : 0;
}

static bool etag_is_safe(const char *etag)
{
    return etag[0] && !strpbrk(etag, "<>&");
}

static int part(struct upload *u, unsigned number, struct str bytes, struct err *err)
{
    struct s3_call c = {.op = S3_PART, .method = "PUT", .name = u->name, .body = bytes, .check_etag = u->s->cfg->verify_etag, .body_max = ANSWER_BYTES};
    struct s3_http_answer a;
    struct buf query;
    char text[6][256];
    int rc;

    buf_init(&query, 4 * S3_UPLOAD_ID_MAX);
    buf_printf(&query, "partNumber=%u&", number);
    query_put(&query, u->id);
    c.query = query.p;
    if (u->s->cfg->sse == S3_SSE_C)
        c.extra_count = s3_sse_headers(u->s, true, text, c.extra);
    rc = s3_call_run(u->s, &c, &a, err);
    buf_fini(&query);
    if (rc < 0)
        return rc == RC_NOT_FOUND ? RC_UNAVAILABLE : rc; /* NoSuchUpload: somebody aborted it */
    if (etag_is_safe(a.etag))
        buf_printf(&u->parts, "<Part><PartNumber>%u</PartNumber><ETag>%s</ETag></Part>", number, a.etag);
    else
        rc = err_set(err, RC_UNAVAILABLE, "s3: part %u of %s/%s%s has the ETag '%s'", number, u->s->bucket_name, u->s->prefix, u->name, a.etag);
    s3_http_answer_fini(&a);
    return rc;
}

static int parts(struct upload *u, int fd, uint64_t size, struct err *err)
{
    uint64_t step = MAX(MAX(u->s->cfg->part_size, (uint64_t)PART_BYTES_MIN), (size + PARTS_MAX - 1) / PARTS_MAX);
    char *bytes = malloc(step);
    unsigned number = 1;
    int rc = bytes ? 0 : err_set(err, RC_NOMEM, "no memory for a part of %llu bytes; see bucket.s3.part-size", (unsigned long long)step);

    for (uint64_t at = 0; rc == 0 && at < size; at += step, number++) {
        size_t n = (size_t)MIN(step, size - at);

        rc = fs_pread_all(fd, bytes, n, at, err);
        if (rc == 0)
            rc = part(u, number, str_n(bytes, n), err);
    }
    free(bytes);
    return rc;
}

static int size_of(struct s3 *s, const char *name, uint64_t *ret, struct err *err)
{
    return s->bucket.ops->size(&s->bucket, name, ret, err);
}

static int complete(struct upload *u, uint64_t size, struct err *err)
{
    struct s3_call c = {.op = S3_MULTIPART, .method = "POST", .name = u->name, .extra = {"Content-Type: application/xml"}, .extra_count = 1,
                        .body_max = ANSWER_BYTES, .accept = s3_xml_completed};
    struct s3_http_answer a;
    struct buf query;
    uint64_t there = 0;
    int rc;

    buf_z(&u->parts, "</CompleteMultipartUpload>");
    if (!buf_ok(&u->parts))
        return err_set(err, RC_LIMIT, "s3: the list of parts of %s is longer than %zu bytes", u->name, u->parts.max);
    c.body = buf_view(&u->parts);
    buf_init(&query, 4 * S3_UPLOAD_ID_MAX);
    query_put(&query, u->id);
    c.query = query.p;
    rc = s3_call_run(u->s, &c, &a, err);
    buf_fini(&query);
    if (rc == 0)
        s3_http_answer_fini(&a);
    /* The answer of an earlier attempt may have been lost, and the upload be gone because it is done. */
    if (rc == RC_NOT_FOUND && c.attempts > 1 && size_of(u->s, u->name, &there, NULL) == 0 && there == size) {
        err_clear(err);
        return 0;
    }
    return rc == RC_NOT_FOUND ? RC_UNAVAILABLE : rc;
}

static void give_up(struct s3 *s, const char *name, const char *id)
{
    struct s3_call c = {.op = S3_MULTIPART, .method = "DELETE", .name = name, .body_max = ANSWER_BYTES, .once = true};
    struct s3_http_answer a;
    struct buf query;

    buf_init(&query, 4 * S3_UPLOAD_ID_MAX);
    query_put(&query, id);
    c.query = query.p;
    if (s3_call_run(s, &c, &a, NULL) == 0)
        s3_http_answer_fini(&a);
    buf_fini(&query);
}

int s3_upload(struct s3 *s, const char *name, int fd, uint64_t size, struct err *err)
{
    struct upload u = {.s = s, .name = name};
    int rc = begin(&u, err);

    if (rc < 0)
        return rc;
    buf_init(&u.parts, 4 << 20);
    buf_z(&u.parts, "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">");
    rc = parts(&u, fd, size, err);
    if (rc == 0)
        rc = complete(&u, size, err);
    if (rc < 0)
        give_up(s, name, u.id);
    buf_fini(&u.parts);
    return rc;
}

/* --- what a crash left --- */

static void clean_page(struct s3 *s, const struct s3_uploads_page *p)
{
    for (size_t i = 0; i < p->uploads.n; i++) {
        const struct s3_upload *u = &p->uploads.v[i];
        struct str name = str_of(u->name);

        if (!str_has_prefix(name, str_of(s->prefix)) || u->since_s > time(NULL) - BUCKET_TEMP_AGE_S)
            continue;
        name = str_skip(name, strlen(s->prefix));
        if (bucket_name_check(name.p, NULL) == 0)
            give_up(s, name.p, u->id);
    }
}

void s3_uploads_clean(struct s3 *s)
{
    int64_t now = clock_mono_ms(clock_system()), last = atomic_load(&s->cleaned_ms);
    struct s3_call c = {.op = S3_LIST, .method = "GET", .body_max = PAGE_BYTES, .once = true};
    struct s3_uploads_page page;
    struct s3_http_answer a;
    struct buf query;

    if ((last && now - last < CLEAN_MS) || !atomic_compare_exchange_strong(&s->cleaned_ms, &last, now))
        return;
    buf_init(&query, 8 << 10);
    buf_printf(&query, "max-uploads=%d&prefix=", UPLOADS_PAGE);
    percent_encode(&query, str_of(s->prefix), false);
    buf_z(&query, "&uploads=");
    buf_u8(&query, 0);
    ASSERT(buf_ok(&query));
    c.query = query.p;
    /* One page an hour: what it aborts is not on the next one. */
    if (s3_call_run(s, &c, &a, NULL) == 0) {
        if (s3_xml_uploads(buf_view(&a.body), &page, NULL) == 0) {
            clean_page(s, &page);
            s3_uploads_page_fini(&page);
        }
        s3_http_answer_fini(&a);
    }
    buf_fini(&query);
}
