/* sigv4.h - AWS Signature Version 4 (AWS4-HMAC-SHA256): a signer for what we send to S3 and STS, and a verifier for what clients send to us.
 * Pure: no clock, no socket; time comes in as Unix seconds. One request at a time, any thread.
 * Source: "Create a signed AWS API request" and "Authenticating Requests (AWS Signature Version 4)" of the AWS documentation; vectors in
 * tests/data/sigv4 are made by botocore (tests/data/sigv4/generate.py).
 *
 * Canonical request: method, path, query, headers, names of the signed headers, hash of the body; one a line.
 *   path     S3: as it stands on the wire, never normalised. Other services: "." and ".." and empty parts removed, then encoded once more.
 *   query    pairs decoded and encoded again, sorted by name, then value. X-Amz-Signature is left out (pre-signed form).
 *   headers  names in lower case, sorted; values trimmed, inner white space one blank; equal names joined by ',' in their order. */
#pragma once
#include "common/base/buf.h"
#include "common/base/err.h"

enum {
    SIGV4_HEADERS_MAX = 128,
    SIGV4_PARAMS_MAX = 4096,
    SIGV4_CANONICAL_BYTES_MAX = 4 << 20,
    SIGV4_CREDENTIAL_BYTES_MAX = 512,
    SIGV4_ID_BYTES_MAX = 128,
    SIGV4_SKEW_S = 300,
    SIGV4_EXPIRES_MAX_S = 7 * 24 * 3600,
};
#define SIGV4_UNSIGNED "UNSIGNED-PAYLOAD"

struct sigv4_header {
    struct str name, value;
};
/* What goes, or came, over the wire; all borrowed. */
struct sigv4_request {
    struct str method, path, query; /* path percent-encoded, query without '?' */
    const struct sigv4_header *headers;
    size_t header_count;
    struct str payload; /* hex SHA-256 of the body, or SIGV4_UNSIGNED */
    bool s3;            /* the path rule above */
};
struct sigv4_scope {
    struct str region, service;
    int64_t time_s;
};
struct sigv4_key {
    struct str id, secret, token; /* token: of a session, or empty */
};

/* "20150830T123600Z". False: not of this form. */
enum { SIGV4_TIME = 16 };
void sigv4_time_print(int64_t time_s, char ret[SIGV4_TIME + 1]);
bool sigv4_time_parse(struct str text, int64_t *ret_s);

/* signed_names: lower case, sorted, joined by ';'. Appends to out; RC_LIMIT when it is full or there are too many headers or parameters. */
int sigv4_canonical(const struct sigv4_request *r, struct str signed_names, struct buf *out, struct err *err);
void sigv4_string_to_sign(struct str canonical, const struct sigv4_scope *scope, struct buf *out);
void sigv4_signature(struct str string_to_sign, struct str secret, const struct sigv4_scope *scope, char ret_hex[65]);

/* The value of the Authorization header, appended to out. All headers of r are signed, so host, x-amz-date and, with a token, x-amz-security-token
 * are already among them. */
int sigv4_authorization(const struct sigv4_request *r, const struct sigv4_key *key, const struct sigv4_scope *scope, struct buf *out, struct err *err);
/* The query of a pre-signed URL, appended to out: that of r, X-Amz-..., X-Amz-Signature. expires_s: 1 to SIGV4_EXPIRES_MAX_S. */
int sigv4_presign(const struct sigv4_request *r, const struct sigv4_key *key, const struct sigv4_scope *scope, int64_t expires_s, struct buf *out,
                  struct err *err);

/* --- verifying --- */

/* What a request says about its signature; all borrowed from the header, or in the buffer that decoded the query. */
struct sigv4_auth {
    struct str id, date, region, service; /* of Credential=id/date/region/service/aws4_request */
    struct str signed_names, signature;
    struct str time, token; /* X-Amz-Date, X-Amz-Security-Token: of the query, else empty */
    int64_t expires_s;      /* pre-signed, else 0 */
    bool presigned;
};
/* An Authorization header. RC_INVALID names the part that is missing or wrong. */
int sigv4_parse_authorization(struct str header, struct sigv4_auth *ret, struct err *err);
/* A pre-signed query; decoded text goes into scratch, which must not grow afterwards. */
int sigv4_parse_query(struct str query, struct buf *scratch, struct sigv4_auth *ret, struct err *err);

struct sigv4_rules {
    int64_t now_s, skew_s;      /* skew 0: SIGV4_SKEW_S */
    struct str region, service; /* region empty: any */
    bool unsigned_payload;      /* SIGV4_UNSIGNED is accepted in a header-signed request; a pre-signed one may always have it with s3 */
    /* The secret of an access key id, and its session token if it needs one: 0, or RC_NOT_FOUND. Borrowed until the next call. */
    int (*secret)(void *arg, struct str id, struct str *ret_secret, struct str *ret_token);
    void *arg;
};
/* Judges r, whose payload is the hash of the body that arrived. 0 and ret_id (NUL-terminated), or negative and *ret_code, which is AWS's name of the error:
 * MissingAuthenticationToken, IncompleteSignature, InvalidClientTokenId, SignatureDoesNotMatch, RequestExpired, XAmzContentSHA256Mismatch. err never
 * has a secret. A request may be sent again while its time is within the skew: who minds must remember signatures. */
int sigv4_verify(const struct sigv4_request *r, const struct sigv4_rules *rules, char ret_id[SIGV4_ID_BYTES_MAX + 1],
                 const char **ret_code, struct err *err);
