/* What of the S3 bucket is pure: XML, shared files, when to try again. The rest needs a server: tests/s3. */
#include "tests/test.h"
#include "tsdb/s3_credentials.h"
#include "tsdb/s3_retry.h"
#include "tsdb/s3_xml.h"

#define ROOT "<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"

TEST(a_page_of_a_list_is_read)
{
    struct s3_list_page p;

    CHECK(s3_xml_list(STR(ROOT "<Contents><Key>a%2Bb%20c</Key><Owner><ID>x</ID></Owner><Size>12345678901</Size></Contents>"
                               "<Contents><Size>0</Size><Key>&lt;d&gt;</Key></Contents><EncodingType>url</EncodingType>"
                               "<IsTruncated>true</IsTruncated><NextContinuationToken>t/1+</NextContinuationToken></ListBucketResult>"),
                      &p, NULL) == 0);
    CHECK(p.objects.n == 2 && p.truncated);
    CHECK_STR(p.objects.v[0].name, "a+b c");
    CHECK(p.objects.v[0].size == 12345678901ULL);
    CHECK_STR(p.objects.v[1].name, "<d>");
    CHECK_STR(p.token, "t/1+");
    s3_list_page_fini(&p);
}

TEST(lists_that_cannot_be_are_refused_and_leave_the_output)
{
    static const char *const bad[] = {
        "", "x", "<html></html>", "<ListBucketResult>", ROOT "<Contents></Contents></ListBucketResult>",
        ROOT "<Contents><Key>a</Key></Contents></ListBucketResult>", ROOT "<Contents><Size>1</Size></Contents></ListBucketResult>",
        ROOT "<Contents><Key>a</Key><Size>-1</Size></Contents></ListBucketResult>",
        ROOT "<Contents><Key>a</Key><Size>99999999999999999999</Size></Contents></ListBucketResult>",
        ROOT "<Contents><Key>a</Key><Key>b</Key><Size>1</Size></Contents></ListBucketResult>",
        ROOT "<IsTruncated>true</IsTruncated></ListBucketResult>",
        "<!DOCTYPE a [<!ENTITY b \"c\">]>" ROOT "</ListBucketResult>",
        ROOT "<a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a></a></a></a></a></a></a></a></a></a></a></a></a></a></a></a></a></ListBucketResult>",
    };
    struct s3_list_page p = {.truncated = true, .token = (char *)bad};

    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct err err = {0};

        CHECK(s3_xml_list(str_of(bad[i]), &p, &err) == RC_CORRUPT);
        CHECK(p.token == (char *)bad && err.text[0]);
    }
}

TEST(errors_are_read_also_those_of_sts)
{
    struct s3_error e;

    CHECK(s3_xml_error(STR("<Error><Code>SlowDown</Code><Message>a\nb</Message><RequestId>r</RequestId></Error>"), &e));
    CHECK_STR(e.code, "SlowDown");
    CHECK_STR(e.message, "a?b");
    CHECK_STR(e.request_id, "r");
    CHECK(s3_xml_error(STR("<ErrorResponse><Error><Code>ExpiredTokenException</Code></Error><RequestId>s</RequestId></ErrorResponse>"), &e));
    CHECK_STR(e.code, "ExpiredTokenException");
    CHECK_STR(e.request_id, "s");
    CHECK(!s3_xml_error(STR("<html>502</html>"), &e) && !s3_xml_error(STR(""), &e));
    CHECK(s3_xml_completed(STR("<CompleteMultipartUploadResult/>")) && !s3_xml_completed(STR("<Error/>")));
}

TEST(keys_are_those_of_the_profile)
{
    static const char text[] = "; a comment\n[other]\naws_access_key_id=no\naws_secret_access_key=no\n\n[profile torc]\r\naws_access_key_id = ID\r\n"
                               "aws_secret_access_key=sec=ret/+\naws_session_token= tok \ns3 =\n  aws_access_key_id = nested\nregion = x\n[last]\n";
    struct s3_keys k = {0};
    struct err err = {0};

    CHECK(s3_credentials_parse(str_of(text), "torc", &k, &err) == 0);
    CHECK_STR(k.id, "ID");
    CHECK_STR(k.secret, "sec=ret/+");
    CHECK_STR(k.token, "tok");
    CHECK(s3_credentials_parse(str_of(text), "last", &k, &err) == RC_NOT_FOUND);
    CHECK(s3_credentials_parse(str_of(text), "absent", &k, &err) == RC_NOT_FOUND);
    CHECK(s3_credentials_parse(STR("[a]\nnonsense\n"), "a", &k, &err) == RC_INVALID && strstr(err_text(&err), "line 2"));
    CHECK_STR(k.id, "ID");
}

TEST(waiting_doubles_with_jitter_up_to_a_ceiling)
{
    for (unsigned i = 1; i < 80; i++) {
        int64_t most = i > 7 ? S3_BACKOFF_MAX_MS : S3_BACKOFF_FIRST_MS << (i - 1);

        CHECK(s3_backoff_ms(i, 0, 0) == most / 2);
        CHECK(s3_backoff_ms(i, 0, (uint64_t)(most / 2)) == most);
        CHECK(s3_backoff_ms(i, 0, UINT64_MAX) <= most);
    }
    CHECK(s3_backoff_ms(1, 3000, 0) == 3000);
    CHECK(s3_backoff_ms(1, INT64_MAX, 0) == S3_RETRY_AFTER_MAX_MS);
}

TEST(a_pace_is_free_at_first_then_one_a_second_until_a_success)
{
    struct s3_pace p = {0};
    int64_t now = 1000;

    for (int i = 0; i < S3_PACE_FREE; i++) {
        CHECK(s3_pace_take(&p, now) == now);
        s3_pace_result(&p, false, now);
    }
    for (int i = 1; i <= 5; i++)
        CHECK(s3_pace_take(&p, now) == now + i * S3_PACE_MS);
    s3_pace_result(&p, true, now);
    CHECK(s3_pace_take(&p, now) == now && s3_pace_take(&p, now) == now);
}

TEST(what_may_help_is_tried_again)
{
    CHECK(s3_retryable(true, 0, ""));
    CHECK(s3_retryable(false, 503, "SlowDown") && s3_retryable(false, 429, "") && s3_retryable(false, 400, "RequestTimeout"));
    CHECK(!s3_retryable(false, 403, "AccessDenied") && !s3_retryable(false, 404, "NoSuchKey") && !s3_retryable(false, 412, "") &&
          !s3_retryable(false, 400, "InvalidArgument") && !s3_retryable(false, 501, "NotImplemented"));
}
