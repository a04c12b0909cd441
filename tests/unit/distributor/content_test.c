/* Which message, in which encoding: the headers as senders write them. */
#include "distributor/content.h"
#include "tests/test.h"

#define V1 "application/x-protobuf"
#define V2 "application/x-protobuf;proto=io.prometheus.write.v2.Request"

TEST(content_type_alone_decides_the_message)
{
    static const struct {
        const char *type, *encoding;
        int rc;
        bool v2;
        enum body_encoding want;
        const char *text; /* in the refusal */
    } cases[] = {
        {NULL, NULL, 0, false, BODY_SNAPPY, NULL},
        {V1, "snappy", 0, false, BODY_SNAPPY, NULL},
        {V1, "gzip", 0, false, BODY_GZIP, NULL},
        {V2, "zstd", 0, true, BODY_ZSTD, NULL},
        {V2, "snappy", 0, true, BODY_SNAPPY, NULL},
        {V2, NULL, 0, true, BODY_SNAPPY, NULL},
        {" Application/X-Protobuf ", "SNAPPY", 0, false, BODY_SNAPPY, NULL},
        {"application/x-protobuf; proto = io.prometheus.write.v2.Request ", NULL, 0, true, BODY_SNAPPY, NULL},
        {"application/x-protobuf; proto=\"io.prometheus.write.v2.Request\"", NULL, 0, true, BODY_SNAPPY, NULL},
        {"application/x-protobuf;Proto=prometheus.WriteRequest", NULL, 0, false, BODY_SNAPPY, NULL},
        {"application/x-protobuf;charset=utf-8;proto=io.prometheus.write.v2.Request", NULL, 0, true, BODY_SNAPPY, NULL},
        {"application/x-protobuf;charset=utf-8", NULL, 0, false, BODY_SNAPPY, NULL},
        {"application/x-protobuf;proto=io.prometheus.write.v3.Request", NULL, RC_UNSUPPORTED, false, 0, "io.prometheus.write.v3.Request"},
        {"application/x-protobuf;proto=IO.prometheus.write.v2.Request", NULL, RC_UNSUPPORTED, false, 0, "send io.prometheus.write.v2.Request"},
        {"application/x-protobuf;proto=", NULL, RC_UNSUPPORTED, false, 0, "message ''"},
        {"application/x-protobuf;proto", NULL, RC_UNSUPPORTED, false, 0, "'proto' is not key=value"},
        {"application/x-protobuf;", NULL, RC_UNSUPPORTED, false, 0, "key=value"},
        {"application/json", NULL, RC_UNSUPPORTED, false, 0, "application/json"},
        {"", NULL, RC_UNSUPPORTED, false, 0, "Content-Type ''"},
        {V2, "identity", RC_UNSUPPORTED, false, 0, "snappy (block format), gzip, zstd"},
        {V1, "deflate", RC_UNSUPPORTED, false, 0, "'deflate'"},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct str type = cases[i].type ? str_of(cases[i].type) : (struct str){0};
        struct str encoding = cases[i].encoding ? str_of(cases[i].encoding) : (struct str){0};
        struct push_content c = {0};
        struct err err = {0};
        int rc = content_negotiate(type, encoding, &c, &err);

        if (rc != cases[i].rc || c.v2 != cases[i].v2 || c.encoding != cases[i].want)
            fail_msg("case %zu: %s", i, err_text(&err));
        if (cases[i].text && !strstr(err.text, cases[i].text))
            fail_msg("no %s in %s", cases[i].text, err.text);
    }
}
