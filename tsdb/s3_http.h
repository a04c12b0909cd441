/* s3_http.h - one HTTP request at a time per caller, over a pool of connections that stay open (libcurl, HTTP/1.1). Every buffer is bounded; redirects
 * are not followed. A read may be hedged: when no answer is complete after a while the same request goes out a second time, and the first good
 * answer wins. Any thread; a call takes one of `concurrency` places, and waits for one at most its own time limit. */
#pragma once
#include "common/base/buf.h"
#include "common/base/err.h"

enum {
    S3_HTTP_ERROR_BYTES_MAX = 64 << 10, /* of a body that says what went wrong; the rest is thrown away */
    S3_HTTP_HEADER_BYTES_MAX = 256 << 10,
    S3_HTTP_HEADERS_MAX = 32,
    S3_HTTP_BYTES_PER_S = 64 << 10,     /* slower transfers of large bodies run out of time */
};

struct s3_http_cfg {
    size_t concurrency;
    int64_t connect_timeout_ms;
    const char *ca_file; /* NULL or empty: the system's. Borrowed */
};
struct s3_http;
struct s3_http *s3_http_new(const struct s3_http_cfg *cfg);
void s3_http_free(struct s3_http *h);

struct s3_http_request { /* all borrowed */
    const char *method, *url;
    const char *headers[S3_HTTP_HEADERS_MAX]; /* "name: value" */
    size_t header_count;
    struct str body;       /* sent with PUT and POST */
    int64_t timeout_ms;    /* without progress; large bodies get more time in all: see S3_HTTP_BYTES_PER_S */
    int64_t hedge_ms;      /* 0: never a second time */
    void *raw;             /* where the body of a 2xx goes, at most raw_n bytes ... */
    size_t raw_n;
    size_t body_max;       /* ... or, raw being NULL, how much of it the answer may hold */
};
struct s3_http_answer {
    long status;
    struct buf body;       /* of a 2xx when raw is NULL, of an error in any case */
    size_t raw_got;
    char etag[128], request_id[128], content_range[96], encryption[32], region[64], date[64], nonce[64];
    int64_t content_length; /* -1: not said */
    int64_t retry_after_ms; /* 0: not said */
    bool hedged, hedge_won;
};
/* 0: an answer with whatever status is there, to be ended with s3_http_answer_fini. RC_UNAVAILABLE, RC_TIMEOUT: none came (it may have been acted upon
 * all the same); RC_LIMIT: the body is larger than body_max. One that is shorter than
 * the server announced is no answer. */
int s3_http_do(struct s3_http *h, const struct s3_http_request *r, struct s3_http_answer *ret, struct err *err);
void s3_http_answer_fini(struct s3_http_answer *a);
/* "YYYY..." or seconds of a Date or Retry-After header; -1: neither. */
int64_t s3_http_date(const char *text);
