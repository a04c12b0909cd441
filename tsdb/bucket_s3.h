/* bucket_s3.h - the bucket interface over an S3 server: s3://bucket or s3://bucket/prefix. What a server must do: docs/object-storage.md.
 * create() is a PUT with If-None-Match: *, and the object carries a random mark, so that a create whose answer was lost is recognised as one's own. A
 * server that lets a second create in is found out before the first real one (bucket_check, or the first create) and refused: RC_UNSUPPORTED.
 * Errors: RC_NOT_FOUND and RC_EXISTS as of any bucket; RC_CORRUPT: the object is shorter than the range; RC_UNAVAILABLE, RC_TIMEOUT: not answered, or
 * refused for what a setting or a policy can mend; RC_UNSUPPORTED: the server cannot. Each names bucket, key, status, S3's code, request id and the setting. */
#pragma once
#include "common/config/option.h"
#include "common/obs/metrics.h"
#include "tsdb/bucket.h"

enum s3_addressing { S3_ADDRESS_AUTO, S3_ADDRESS_PATH, S3_ADDRESS_VIRTUAL };
enum s3_sse { S3_SSE_NONE, S3_SSE_S3, S3_SSE_KMS, S3_SSE_C };

struct bucket_cfg { /* filled by bucket_options */
    char *url; /* bucket.url */
    char *endpoint, *region; /* bucket.s3.* */
    int addressing; /* enum s3_addressing */
    char *access_key_id, *secret_access_key, *session_token, *credentials_file, *profile;
    char *role_arn, *web_identity_token_file, *sts_endpoint;
    int sse; /* enum s3_sse */
    char *sse_kms_key_id, *sse_customer_key;
    char *ca_file;
    bool verify_etag;
    uint64_t part_size;
    int64_t retries, concurrency, connect_timeout_ms, request_timeout_ms, hedge_delay_ms;
};
extern const struct option bucket_options[];

/* cfg is borrowed for the bucket's life; metrics may be NULL. Nothing is sent yet. */
int bucket_s3_new(const struct bucket_cfg *cfg, struct metrics *metrics, struct bucket **ret, struct err *err);
