/* s3_credentials.h - where the keys come from, first found: options; AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN; a web identity
 * (AWS_WEB_IDENTITY_TOKEN_FILE and AWS_ROLE_ARN, exchanged at STS); the shared file (AWS_SHARED_CREDENTIALS_FILE or ~/.aws/credentials, profile
 * AWS_PROFILE or "default"). Options of the same meaning go before the environment.
 * Keys with an end are renewed S3_KEYS_AHEAD_S before it, by one thread while the others go on with the old ones; the file is read again when it is
 * S3_KEYS_FILE_S old in memory. Secrets never get into errors. Any thread. */
#pragma once
#include "common/base/str.h"
#include "common/base/err.h"
#include "tsdb/s3_http.h"

enum { S3_KEYS_AHEAD_S = 300, S3_KEYS_FILE_S = 60, S3_KEYS_FILE_BYTES_MAX = 1 << 20, S3_KEYS_RETRY_S = 10 };

struct s3_keys {
    char id[128], secret[256], token[8192];
    int64_t expires_s; /* 0: they do not */
};
struct s3_credentials_cfg { /* strings may be NULL or empty; borrowed */
    const char *id, *secret, *token;
    const char *file, *profile;
    const char *role_arn, *web_identity_token_file, *sts_endpoint, *region;
    int64_t timeout_ms;
};

struct s3_credentials;
struct s3_credentials *s3_credentials_new(const struct s3_credentials_cfg *cfg, struct s3_http *http);
void s3_credentials_free(struct s3_credentials *c);
/* RC_UNAVAILABLE says where it looked. */
int s3_credentials_get(struct s3_credentials *c, struct s3_keys *ret, struct err *err);
/* The server did not take these: the next get asks their source again, once in S3_KEYS_RETRY_S. */
void s3_credentials_refused(struct s3_credentials *c, const struct s3_keys *keys);

/* Keys of a profile in the text of a shared file: sections "[name]" or "[profile name]", "key = value", lines that begin with # or ;.
 * RC_NOT_FOUND: no such profile, or it has no keys. RC_INVALID names the line. */
int s3_credentials_parse(struct str text, const char *profile, struct s3_keys *ret, struct err *err);
