/* Answers of S3 and STS: every reader bears every text; what it accepts keeps its promises. */
#include "tsdb/s3_xml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct str xml = str_n(data, n);
    struct s3_list_page list = {0};
    struct s3_uploads_page uploads = {0};
    struct s3_session session;
    struct s3_error error;
    char id[S3_UPLOAD_ID_MAX];

    if (s3_xml_error(xml, &error))
        ASSERT(strlen(error.code) < sizeof error.code && strlen(error.message) < sizeof error.message);
    if (s3_xml_list(xml, &list, NULL) == 0) {
        ASSERT(!list.truncated || list.token);
        for (size_t i = 0; i < list.objects.n; i++)
            ASSERT(list.objects.v[i].name);
        s3_list_page_fini(&list);
    }
    if (s3_xml_uploads(xml, &uploads, NULL) == 0) {
        for (size_t i = 0; i < uploads.uploads.n; i++)
            ASSERT(uploads.uploads.v[i].name[0] && uploads.uploads.v[i].id[0]);
        s3_uploads_page_fini(&uploads);
    }
    if (s3_xml_upload_id(xml, id, NULL) == 0)
        ASSERT(id[0] && strlen(id) < sizeof id);
    if (s3_xml_session(xml, &session, NULL) == 0)
        ASSERT(session.id[0] && session.secret[0] && session.token[0]);
    s3_xml_completed(xml);
    return 0;
}
