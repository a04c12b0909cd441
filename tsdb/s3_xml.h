/* s3_xml.h - what S3 and STS answer in XML, read by expat. A document type is refused, so there are no entities to expand; depth, text and counts
 * have ceilings; elements nobody asked for are skipped. The text is complete (bounded by who received it). RC_CORRUPT names the place. */
#pragma once
#include "common/base/err.h"
#include "tsdb/bucket.h"

enum { S3_XML_DEPTH_MAX = 16, S3_XML_TEXT_MAX = 16 << 10, S3_PAGE_OBJECTS_MAX = 10000, S3_UPLOAD_ID_MAX = 1024 };

struct s3_error {
    char code[64], message[256], request_id[128];
};
/* False: it is no error document. Control characters become '?'. */
bool s3_xml_error(struct str xml, struct s3_error *ret);

struct s3_list_page {
    bucket_list objects; /* names decoded, in the order of the page */
    bool truncated;
    char *token;         /* truncated: where the next page begins */
};
/* ListObjectsV2 with encoding-type=url or without. */
int s3_xml_list(struct str xml, struct s3_list_page *ret, struct err *err);
void s3_list_page_fini(struct s3_list_page *p);

struct s3_upload {
    char *name, *id;
    int64_t since_s;
};
struct s3_uploads_page {
    VEC(struct s3_upload) uploads;
    bool truncated;
};
/* ListMultipartUploads. */
int s3_xml_uploads(struct str xml, struct s3_uploads_page *ret, struct err *err);
void s3_uploads_page_fini(struct s3_uploads_page *p);

/* InitiateMultipartUploadResult. */
int s3_xml_upload_id(struct str xml, char ret[S3_UPLOAD_ID_MAX], struct err *err);
/* Whether it is the CompleteMultipartUploadResult of a success: errors come with status 200 as well. */
bool s3_xml_completed(struct str xml);

/* AssumeRoleWithWebIdentityResponse. */
struct s3_session {
    char id[128], secret[128], token[8192];
    int64_t expires_s;
};
int s3_xml_session(struct str xml, struct s3_session *ret, struct err *err);
