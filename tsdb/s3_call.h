/* s3_call.h - one operation at an S3 server: addressed, signed, sent, judged, sent again, counted. Inside of bucket_s3. */
#pragma once
#include "common/base/hash.h"
#include "common/sys/thread.h"
#include "tsdb/bucket_s3.h"
#include "tsdb/s3_credentials.h"
#include "tsdb/s3_http.h"
#include "tsdb/s3_retry.h"

#include <stdatomic.h>

enum s3_op { S3_GET, S3_GET_RANGE, S3_HEAD, S3_PUT, S3_CREATE, S3_PART, S3_MULTIPART, S3_LIST, S3_DELETE, S3_OPS };
enum { S3_EXTRA_MAX = 12, S3_HEDGE_EVERY = 10, S3_HEDGE_BURST = 20, S3_NO_KEYS = -1 };
enum s3_conditional { S3_CONDITIONAL_UNKNOWN, S3_CONDITIONAL_YES, S3_CONDITIONAL_NO };

struct s3_metrics {
    struct metric_family *requests, *duration;
    struct metric *sent, *received, *retries, *hedges, *hedges_won;
};
struct s3 {
    struct bucket bucket;
    const struct bucket_cfg *cfg; /* --- read-only --- */
    char bucket_name[64], prefix[512]; /* prefix: empty, or with a slash at its end */
    char host[300], base[400];         /* of the Host header; scheme and host of a URL */
    char region[64], base_path[128];   /* base_path: of the bucket; empty when the host names it */
    char sse_c_md5[32];
    struct s3_http *http;
    struct s3_credentials *credentials;
    struct s3_metrics *metrics;        /* NULL: not counted */
    atomic_int_fast64_t skew_s;        /* of the server's clock over ours, once it complained */
    atomic_int_fast64_t hedge_tokens;  /* of S3_HEDGE_EVERY a hedge costs; a read earns one */
    atomic_int conditional;            /* enum s3_conditional */
    atomic_int last_status;            /* of the last attempt: 0: no answer, S3_NO_KEYS: nothing was sent */
    struct mutex probe_lock;           /* --- one probe at a time --- */
    struct mutex pace_lock;            /* --- guards paces --- */
    struct s3_pace paces[S3_PACE_SLOTS];
    atomic_int_fast64_t cleaned_ms;    /* when stale uploads were looked for */
};

struct s3_call {
    enum s3_op op;
    const char *method, *name;         /* name: of the object, without prefix; NULL: the bucket itself */
    const char *query;                 /* percent-encoded, or NULL */
    const char *extra[S3_EXTRA_MAX];   /* further headers "name: value", all signed */
    size_t extra_count;
    struct str body;
    void *raw;                         /* as in s3_http_request */
    size_t raw_n, body_max;
    bool once;                         /* best effort: one attempt */
    bool check_etag;                   /* the answer's ETag must be the body's MD5 */
    bool (*accept)(struct str body);   /* NULL, or whether a 2xx really is one */
    /* --- set by s3_call_run --- */
    unsigned attempts;
    char code[64];                     /* S3's, of the failure */
    long status;
};
/* 0: a 2xx, *ret to be ended with s3_http_answer_fini. */
int s3_call_run(struct s3 *s, struct s3_call *c, struct s3_http_answer *ret, struct err *err);
/* Headers that encrypt what is written (all), or that reading what was written with a customer's key needs. */
size_t s3_sse_headers(const struct s3 *s, bool writing, char text[6][256], const char **extra);

/* s3_upload.c: the file at fd of size bytes, in parts. */
int s3_upload(struct s3 *s, const char *name, int fd, uint64_t size, struct err *err);
/* Aborts uploads below the prefix that began BUCKET_TEMP_AGE_S ago or earlier; at most once an hour. Best effort. */
void s3_uploads_clean(struct s3 *s);
/* bucket_s3.c: one PUT. mark: NULL, or that of a create. */
int s3_put_bytes(struct s3 *s, enum s3_op op, const char *name, struct str bytes, const char *mark, struct err *err);
