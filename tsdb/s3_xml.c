#include "tsdb/s3_xml.h"
#include "common/sign/percent.h"

#include <expat.h>
#include <limits.h>
#include <stdio.h>
#include <time.h>

/* --- walking: each element at its end, with the path of names down to it and its own text --- */

enum { PATH_BYTES_MAX = 512 };

struct walk {
    XML_Parser parser;
    /* open: text is empty. Not 0 stops. */
    int (*fn)(void *arg, const char *path, bool open, struct str text, struct err *err);
    void *arg;
    char path[PATH_BYTES_MAX];
    size_t path_n;
    int depth, rc;
    struct buf text;
    struct err *err;
};

static void stop(struct walk *w, int rc)
{
    w->rc = rc;
    XML_StopParser(w->parser, XML_FALSE);
}

static void on_doctype(void *arg, UNUSED const XML_Char *name, UNUSED const XML_Char *sysid, UNUSED const XML_Char *pubid, UNUSED int internal)
{
    struct walk *w = arg;

    stop(w, err_set(w->err, RC_CORRUPT, "XML with a document type is refused"));
}

static void on_open(void *arg, const XML_Char *name, UNUSED const XML_Char **attributes)
{
    struct walk *w = arg;
    const char *colon = strchr(name, ':');
    int n;

    if (w->rc < 0)
        return;
    name = colon ? colon + 1 : name;
    n = snprintf(w->path + w->path_n, sizeof w->path - w->path_n, "/%s", name);
    if (++w->depth > S3_XML_DEPTH_MAX || n >= (int)(sizeof w->path - w->path_n)) {
        w->path[w->path_n] = '\0';
        stop(w, err_set(w->err, RC_CORRUPT, "XML nested deeper than %d, or longer names than there are", S3_XML_DEPTH_MAX));
        return;
    }
    w->path_n += (size_t)n;
    buf_clear(&w->text);
    n = w->fn(w->arg, w->path, true, STR(""), w->err);
    if (n < 0)
        stop(w, n);
}

static void on_text(void *arg, const XML_Char *p, int n)
{
    struct walk *w = arg;

    buf_add(&w->text, p, (size_t)n);
    if (!buf_ok(&w->text) && w->rc == 0)
        stop(w, err_set(w->err, RC_CORRUPT, "XML: the text of %s is longer than %d bytes", w->path, S3_XML_TEXT_MAX));
}

static void on_close(void *arg, UNUSED const XML_Char *name)
{
    struct walk *w = arg;
    int rc;

    if (w->rc < 0)
        return;
    rc = w->fn(w->arg, w->path, false, buf_view(&w->text), w->err);
    buf_clear(&w->text);
    w->path_n = (size_t)(strrchr(w->path, '/') - w->path);
    w->path[w->path_n] = '\0';
    w->depth--;
    if (rc < 0)
        stop(w, rc);
}

static int walk(struct str xml, int (*fn)(void *arg, const char *path, bool open, struct str text, struct err *err), void *arg, struct err *err)
{
    struct walk w = {.parser = XML_ParserCreate("UTF-8"), .fn = fn, .arg = arg, .err = err};

    if (!w.parser)
        return err_set(err, RC_NOMEM, "no memory for an XML parser");
    if (xml.n > INT_MAX) {
        XML_ParserFree(w.parser);
        return err_set(err, RC_LIMIT, "XML of %zu bytes", xml.n);
    }
    buf_init(&w.text, S3_XML_TEXT_MAX);
    XML_SetUserData(w.parser, &w);
    XML_SetStartDoctypeDeclHandler(w.parser, on_doctype);
    XML_SetElementHandler(w.parser, on_open, on_close);
    XML_SetCharacterDataHandler(w.parser, on_text);
    if (XML_Parse(w.parser, xml.p ? xml.p : "", (int)xml.n, XML_TRUE) == XML_STATUS_ERROR && w.rc == 0)
        w.rc = err_set(err, RC_CORRUPT, "XML, line %lu: %s", (unsigned long)XML_GetCurrentLineNumber(w.parser),
                       XML_ErrorString(XML_GetErrorCode(w.parser)));
    XML_ParserFree(w.parser);
    buf_fini(&w.text);
    return w.rc;
}

/* --- values --- */

static void words(char *to, size_t size, struct str text)
{
    size_t n = MIN(text.n, size - 1);

    for (size_t i = 0; i < n; i++)
        to[i] = (uint8_t)text.p[i] < ' ' || text.p[i] == 0x7f ? '?' : text.p[i];
    to[n] = '\0';
}

static int whole(char *to, size_t size, const char *path, struct str text, struct err *err)
{
    if (text.n == 0 || text.n >= size || memchr(text.p, 0, text.n))
        return err_set(err, RC_CORRUPT, "XML: %s has %zu bytes", path, text.n);
    words(to, size, text);
    return 0;
}

static int number(const char *path, struct str text, uint64_t *ret, struct err *err)
{
    uint64_t v = 0;

    text = str_trim(text);
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] < '0' || text.p[i] > '9' || v > (UINT64_MAX >> 1) / 10)
            return err_set(err, RC_CORRUPT, "XML: %s is no size", path);
        v = v * 10 + (uint64_t)(text.p[i] - '0');
    }
    if (text.n == 0)
        return err_set(err, RC_CORRUPT, "XML: %s is no size", path);
    *ret = v;
    return 0;
}

/* "2026-01-02T03:04:05.000Z" */
static int moment(const char *path, struct str text, int64_t *ret, struct err *err)
{
    struct tm tm = {0};
    char z[64];
    const char *end;

    words(z, sizeof z, text);
    end = strptime(z, "%Y-%m-%dT%H:%M:%S", &tm);
    if (!end || (*end != '.' && *end != 'Z' && *end != '+'))
        return err_set(err, RC_CORRUPT, "XML: %s '%s' is no time", path, z);
    *ret = timegm(&tm);
    return 0;
}

static char *decoded(struct str text)
{
    struct buf b;

    buf_init(&b, S3_XML_TEXT_MAX + 1);
    percent_decode(&b, text);
    buf_u8(&b, 0);
    ASSERT(buf_ok(&b));
    return buf_take(&b, &(size_t){0});
}

/* --- errors --- */

struct error_read {
    struct s3_error e;
    bool found;
};

static int error_fn(void *arg, const char *path, bool open, struct str text, UNUSED struct err *err)
{
    struct error_read *r = arg;

    if (strncmp(path, "/ErrorResponse", 14) == 0) /* STS */
        path += 14;
    if (open)
        r->found = r->found || strcmp(path, "/Error") == 0;
    else if (strcmp(path, "/Error/Code") == 0)
        words(r->e.code, sizeof r->e.code, text);
    else if (strcmp(path, "/Error/Message") == 0)
        words(r->e.message, sizeof r->e.message, text);
    else if (strcmp(path, "/Error/RequestId") == 0 || strcmp(path, "/RequestId") == 0)
        words(r->e.request_id, sizeof r->e.request_id, text);
    return 0;
}

bool s3_xml_error(struct str xml, struct s3_error *ret)
{
    struct error_read r = {0};

    if (walk(xml, error_fn, &r, NULL) < 0 || !r.found)
        return false;
    *ret = r.e;
    return true;
}

/* --- lists --- */

struct list_read {
    struct s3_list_page page;
    bool root, encoded, has_key, has_size;
};

static int list_contents(struct list_read *r, const char *leaf, bool open, struct str text, struct err *err)
{
    struct bucket_object *o;

    if (open && leaf[0] == '\0') {
        if (r->page.objects.n == S3_PAGE_OBJECTS_MAX)
            return err_set(err, RC_CORRUPT, "XML: a page of more than %d objects", S3_PAGE_OBJECTS_MAX);
        *vec_push(&r->page.objects) = (struct bucket_object){0};
        r->has_key = r->has_size = false;
        return 0;
    }
    o = &r->page.objects.v[r->page.objects.n - 1];
    if (open)
        return 0;
    if (leaf[0] == '\0')
        return r->has_key && r->has_size ? 0 : err_set(err, RC_CORRUPT, "XML: an object without Key or Size");
    if (strcmp(leaf, "/Key") == 0) {
        if (r->has_key || text.n == 0 || memchr(text.p, 0, text.n))
            return err_set(err, RC_CORRUPT, "XML: an object with an empty Key or two");
        o->name = str_dupz(text);
        r->has_key = true;
    } else if (strcmp(leaf, "/Size") == 0) {
        r->has_size = true;
        return number("Size", text, &o->size, err);
    }
    return 0;
}

static int list_fn(void *arg, const char *path, bool open, struct str text, struct err *err)
{
    static const char root[] = "/ListBucketResult";
    struct list_read *r = arg;

    if (strncmp(path, root, sizeof root - 1) != 0)
        return 0;
    path += sizeof root - 1;
    r->root = true;
    if (strncmp(path, "/Contents", 9) == 0 && (path[9] == '\0' || path[9] == '/'))
        return list_contents(r, path + 9, open, text, err);
    if (open)
        return 0;
    if (strcmp(path, "/IsTruncated") == 0) {
        r->page.truncated = str_ieq(str_trim(text), STR("true"));
    } else if (strcmp(path, "/EncodingType") == 0) {
        r->encoded = str_ieq(str_trim(text), STR("url"));
    } else if (strcmp(path, "/NextContinuationToken") == 0) {
        free(r->page.token);
        r->page.token = text.n ? str_dupz(text) : NULL;
    }
    return 0;
}

/* EncodingType may come after the keys. */
static void names_decode(bucket_list *l)
{
    for (size_t i = 0; i < l->n; i++) {
        char *name = decoded(str_of(l->v[i].name));

        free(l->v[i].name);
        l->v[i].name = name;
    }
}

int s3_xml_list(struct str xml, struct s3_list_page *ret, struct err *err)
{
    struct list_read r = {0};
    int rc = walk(xml, list_fn, &r, err);

    if (rc == 0 && !r.root)
        rc = err_set(err, RC_CORRUPT, "XML: no ListBucketResult");
    if (rc == 0 && r.page.truncated && !r.page.token)
        rc = err_set(err, RC_CORRUPT, "XML: a truncated page without NextContinuationToken");
    if (rc < 0) {
        s3_list_page_fini(&r.page);
        return rc;
    }
    if (r.encoded)
        names_decode(&r.page.objects);
    *ret = r.page;
    return 0;
}

void s3_list_page_fini(struct s3_list_page *p)
{
    bucket_list_free(&p->objects);
    free(p->token);
    p->token = NULL;
}

struct uploads_read {
    struct s3_uploads_page page;
    bool root;
};

static int upload_set(char **to, struct str text, struct err *err)
{
    if (*to || text.n == 0 || text.n >= S3_UPLOAD_ID_MAX || memchr(text.p, 0, text.n))
        return err_set(err, RC_CORRUPT, "XML: an upload with an odd Key or UploadId");
    *to = str_dupz(text);
    return 0;
}

static int uploads_fn(void *arg, const char *path, bool open, struct str text, struct err *err)
{
    static const char root[] = "/ListMultipartUploadsResult";
    struct uploads_read *r = arg;
    struct s3_upload *u;

    if (strncmp(path, root, sizeof root - 1) != 0)
        return 0;
    path += sizeof root - 1;
    r->root = true;
    if (!open && strcmp(path, "/IsTruncated") == 0)
        r->page.truncated = str_ieq(str_trim(text), STR("true"));
    if (strncmp(path, "/Upload", 7) != 0 || (path[7] && path[7] != '/'))
        return 0;
    if (open && path[7] == '\0') {
        if (r->page.uploads.n == S3_PAGE_OBJECTS_MAX)
            return err_set(err, RC_CORRUPT, "XML: a page of more than %d uploads", S3_PAGE_OBJECTS_MAX);
        *vec_push(&r->page.uploads) = (struct s3_upload){0};
    }
    u = &r->page.uploads.v[r->page.uploads.n - 1];
    if (open)
        return 0;
    if (path[7] == '\0')
        return u->name && u->id && u->since_s ? 0 : err_set(err, RC_CORRUPT, "XML: an upload without Key, UploadId or Initiated");
    if (strcmp(path, "/Upload/Key") == 0)
        return upload_set(&u->name, text, err);
    if (strcmp(path, "/Upload/UploadId") == 0)
        return upload_set(&u->id, text, err);
    return strcmp(path, "/Upload/Initiated") == 0 ? moment("Initiated", text, &u->since_s, err) : 0;
}

int s3_xml_uploads(struct str xml, struct s3_uploads_page *ret, struct err *err)
{
    struct uploads_read r = {0};
    int rc = walk(xml, uploads_fn, &r, err);

    if (rc == 0 && !r.root)
        rc = err_set(err, RC_CORRUPT, "XML: no ListMultipartUploadsResult");
    if (rc < 0)
        s3_uploads_page_fini(&r.page);
    else
        *ret = r.page;
    return rc;
}

void s3_uploads_page_fini(struct s3_uploads_page *p)
{
    for (size_t i = 0; i < p->uploads.n; i++) {
        free(p->uploads.v[i].name);
        free(p->uploads.v[i].id);
    }
    vec_fini(&p->uploads);
}

/* --- multipart uploads --- */

static int upload_id_fn(void *arg, const char *path, bool open, struct str text, struct err *err)
{
    return !open && strcmp(path, "/InitiateMultipartUploadResult/UploadId") == 0 ? whole(arg, S3_UPLOAD_ID_MAX, path, text, err) : 0;
}

int s3_xml_upload_id(struct str xml, char ret[S3_UPLOAD_ID_MAX], struct err *err)
{
    char id[S3_UPLOAD_ID_MAX] = "";
    int rc = walk(xml, upload_id_fn, id, err);

    if (rc == 0 && !id[0])
        rc = err_set(err, RC_CORRUPT, "XML: no UploadId");
    if (rc == 0)
        memcpy(ret, id, sizeof id);
    return rc;
}

static int completed_fn(void *arg, const char *path, UNUSED bool open, UNUSED struct str text, UNUSED struct err *err)
{
    bool *found = arg;

    *found = *found || strcmp(path, "/CompleteMultipartUploadResult") == 0;
    return 0;
}

bool s3_xml_completed(struct str xml)
{
    bool found = false;

    return walk(xml, completed_fn, &found, NULL) == 0 && found;
}

/* --- sessions --- */

static int session_fn(void *arg, const char *path, bool open, struct str text, struct err *err)
{
    static const char root[] = "/AssumeRoleWithWebIdentityResponse/AssumeRoleWithWebIdentityResult/Credentials";
    struct s3_session *s = arg;

    if (open || strncmp(path, root, sizeof root - 1) != 0)
        return 0;
    path += sizeof root - 1;
    if (strcmp(path, "/AccessKeyId") == 0)
        return whole(s->id, sizeof s->id, "AccessKeyId", text, err);
    if (strcmp(path, "/SecretAccessKey") == 0)
        return whole(s->secret, sizeof s->secret, "SecretAccessKey", text, err);
    if (strcmp(path, "/SessionToken") == 0)
        return whole(s->token, sizeof s->token, "SessionToken", text, err);
    return strcmp(path, "/Expiration") == 0 ? moment("Expiration", text, &s->expires_s, err) : 0;
}

int s3_xml_session(struct str xml, struct s3_session *ret, struct err *err)
{
    struct s3_session s = {0};
    int rc = walk(xml, session_fn, &s, err);

    if (rc == 0 && (!s.id[0] || !s.secret[0] || !s.token[0] || !s.expires_s))
        rc = err_set(err, RC_CORRUPT, "XML: a session without AccessKeyId, SecretAccessKey, SessionToken or Expiration");
    if (rc == 0)
        *ret = s;
    return rc;
}
