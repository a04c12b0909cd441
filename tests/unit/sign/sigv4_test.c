/* Vectors and random requests come from botocore: tests/data/sigv4/generate.py. */
#include "common/base/arena.h"
#include "common/base/rng.h"
#include "common/sign/hmac.h"
#include "common/sign/percent.h"
#include "common/sign/sigv4.h"
#include "tests/test.h"

#include <jansson.h>

enum { HEADERS_MAX = 32 };

/* One request of the generator. */
struct vector {
    json_t *json;
    struct sigv4_header headers[HEADERS_MAX];
    struct sigv4_request r;
    struct sigv4_scope scope;
    struct sigv4_key key;
    int64_t expires_s;
    char payload[65];
};

static struct str text(const json_t *o, const char *name)
{
    const json_t *v = json_object_get(o, name);

    CHECK(v);
    return str_n(json_string_value(v), json_string_length(v));
}

static void vector_read(json_t *o, struct vector *v)
{
    json_t *headers = json_object_get(o, "headers"), *pair;
    size_t i;

    *v = (struct vector){.json = o, .expires_s = json_integer_value(json_object_get(o, "expires"))};
    v->r = (struct sigv4_request){.method = text(o, "method"), .path = text(o, "path"), .query = text(o, "query"), .headers = v->headers,
                                  .s3 = json_is_true(json_object_get(o, "s3"))};
    v->scope = (struct sigv4_scope){text(o, "region"), text(o, "service"), 0};
    v->key = (struct sigv4_key){text(o, "key"), text(o, "secret"), text(o, "token")};
    CHECK(sigv4_time_parse(text(o, "time"), &v->scope.time_s));
    sha256_hex(text(o, "body"), v->payload);
    v->r.payload = v->r.s3 && v->expires_s ? STR(SIGV4_UNSIGNED) : str_of(v->payload);
    json_array_foreach(headers, i, pair)
    {
        json_t *value = json_array_get(pair, 1);

        CHECK(v->r.header_count < HEADERS_MAX - 2);
        v->headers[v->r.header_count++] =
            (struct sigv4_header){str_of(json_string_value(json_array_get(pair, 0))), str_n(json_string_value(value), json_string_length(value))};
    }
}

static void signed_names(const struct vector *v, struct sigv4_auth *a, struct buf *scratch)
{
    struct err err = {0};
    int rc = v->expires_s ? sigv4_parse_query(v->r.query, scratch, a, &err) : sigv4_parse_authorization(text(v->json, "authorization"), a, &err);

    if (rc < 0)
        print_error("%s: %s\n", text(v->json, "name").p, err_text(&err));
    CHECK(rc == 0);
}

static void check_equal(const struct vector *v, const char *what, const struct buf *got, struct str want)
{
    if (!str_eq(buf_view(got), want))
        print_error("%s: %s:\n%.*s\nwanted:\n%.*s\n", text(v->json, "name").p, what, STR_FMT(buf_view(got)), STR_FMT(want));
    CHECK(str_eq(buf_view(got), want));
}

static void check_vector(const struct vector *v)
{
    struct sigv4_request unsigned_request = v->r;
    struct sigv4_auth a;
    struct buf canonical, to_sign, made, scratch;

    buf_init(&canonical, 1 << 20);
    buf_init(&to_sign, 1 << 20);
    buf_init(&made, 1 << 20);
    buf_init(&scratch, 1 << 20);
    signed_names(v, &a, &scratch);
    CHECK(sigv4_canonical(&v->r, a.signed_names, &canonical, NULL) == 0);
    check_equal(v, "canonical request", &canonical, text(v->json, "canonical"));
    sigv4_string_to_sign(buf_view(&canonical), &v->scope, &to_sign);
    check_equal(v, "string to sign", &to_sign, text(v->json, "string_to_sign"));
    if (v->expires_s) {
        char hex[65];

        sigv4_signature(buf_view(&to_sign), v->key.secret, &v->scope, hex);
        CHECK(str_eqz(a.signature, hex));
        /* The whole query, in our order of the parameters: the signature is the same. */
        unsigned_request.query = text(v->json, "unsigned_query");
        CHECK(sigv4_presign(&unsigned_request, &v->key, &v->scope, v->expires_s, &made, NULL) == 0);
        CHECK(str_has_suffix(buf_view(&made), str_of(hex)));
    } else {
        CHECK(sigv4_authorization(&v->r, &v->key, &v->scope, &made, NULL) == 0);
        check_equal(v, "authorization", &made, text(v->json, "authorization"));
    }
    buf_fini(&canonical);
    buf_fini(&to_sign);
    buf_fini(&made);
    buf_fini(&scratch);
}

TEST(every_vector_of_the_suite_gives_the_same_canonical_request_string_and_signature)
{
    json_error_t why;
    json_t *all = json_load_file(TEST_SOURCE_DIR "/tests/data/sigv4/vectors.json", 0, &why), *one;
    size_t i;

    CHECK(all && json_array_size(all) == 84);
    json_array_foreach(all, i, one)
    {
        struct vector v;

        vector_read(one, &v);
        check_vector(&v);
    }
    json_decref(all);
}

/* A value that AWS publishes for the request "GET /" of its suite, and the one of its S3 manual: neither comes from our generator. */
TEST(published_signatures_are_met)
{
    struct sigv4_header plain[] = {{STR("Host"), STR("example.amazonaws.com")}, {STR("X-Amz-Date"), STR("20150830T123600Z")}};
    struct sigv4_header ranged[] = {{STR("Host"), STR("examplebucket.s3.amazonaws.com")},
                                    {STR("Range"), STR("bytes=0-9")},
                                    {STR("x-amz-content-sha256"), STR("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")},
                                    {STR("x-amz-date"), STR("20130524T000000Z")}};
    struct sigv4_request r = {.method = STR("GET"), .path = STR("/"), .headers = plain, .header_count = 2,
                              .payload = STR("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")};
    struct sigv4_key key = {STR("AKIDEXAMPLE"), STR("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"), STR("")};
    struct sigv4_scope scope = {STR("us-east-1"), STR("service"), 1440938160};
    struct buf out;

    buf_init(&out, 4096);
    CHECK(sigv4_authorization(&r, &key, &scope, &out, NULL) == 0);
    CHECK(str_has_suffix(buf_view(&out), STR("Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31")));
    buf_clear(&out);
    key.id = STR("AKIAIOSFODNN7EXAMPLE");
    key.secret = STR("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
    r.path = STR("/test.txt");
    r.headers = ranged;
    r.header_count = 4;
    r.s3 = true;
    scope = (struct sigv4_scope){STR("us-east-1"), STR("s3"), 1369353600};
    CHECK(sigv4_authorization(&r, &key, &scope, &out, NULL) == 0);
    CHECK(str_has_suffix(buf_view(&out), STR("Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41")));
    buf_fini(&out);
}

/* --- verifying --- */

static int secret_of(void *arg, struct str id, struct str *ret_secret, struct str *ret_token)
{
    const struct vector *v = arg;

    if (!str_eq(id, v->key.id))
        return RC_NOT_FOUND;
    *ret_secret = v->key.secret;
    *ret_token = v->key.token;
    return 0;
}

static struct sigv4_rules rules_of(struct vector *v)
{
    return (struct sigv4_rules){.now_s = v->scope.time_s + 10, .region = v->scope.region, .service = v->scope.service, .secret = secret_of, .arg = v};
}

/* As it arrives: with its Authorization header, and the hash of the body that came. */
static void arrive(struct vector *v)
{
    struct str auth = text(v->json, "authorization");

    if (auth.n)
        v->headers[v->r.header_count++] = (struct sigv4_header){STR("Authorization"), auth};
    v->r.payload = str_of(v->payload);
}

static int verify(struct vector *v, const char **code)
{
    struct sigv4_rules rules = rules_of(v);
    char id[SIGV4_ID_BYTES_MAX + 1];
    struct err err = {0};
    int rc = sigv4_verify(&v->r, &rules, id, code, &err);

    CHECK((rc == 0) == (*code == NULL));
    CHECK(rc == 0 ? str_eqz(v->key.id, id) : rc == RC_INVALID || rc == RC_LIMIT);
    return rc;
}

/* Flips one bit of one of the parts that the signature covers. Copies, so that the vector stays as it is. */
static bool mutate(struct rng *rng, const struct vector *from, struct vector *v, char *room, size_t room_n)
{
    size_t which = rng_below(rng, 5), header = rng_below(rng, from->r.header_count), at;
    struct str *part;
    char c;

    *v = *from;
    v->r.headers = v->headers;
    part = which == 0   ? &v->r.method
           : which == 1 ? &v->r.path
           : which == 2 ? &v->r.query
           : which == 3 ? &v->headers[header].value
                        : &v->r.payload;
    if (which == 4 && from->expires_s && from->r.s3)
        return false; /* the body is not signed */
    if (part->n == 0 || part->n > room_n)
        return false;
    if (which == 3 && !str_ieq(v->headers[header].name, STR("authorization")) && !str_ieq(v->headers[header].name, STR("host")) &&
        !str_has_prefix(v->headers[header].name, STR("X-Amz")))
        return false; /* white space does not count, and not every header is signed */
    memcpy(room, part->p, part->n);
    at = rng_below(rng, part->n);
    c = room[at];
    room[at] = (char)(c ^ (1 << rng_below(rng, 8)));
    /* What means the same to the rules must not count as another request. */
    if (which == 2 && (c == '%' || room[at] == '%' || c == '&' || room[at] == '&' || (c ^ room[at]) == 0x20 || c == '=' || room[at] == '='))
        return false;
    if (which == 1 && !from->r.s3 && (memmem(part->p, part->n, "/.", 2) || c == '/' || room[at] == '/' || room[at] == '.'))
        return false;
    if (which == 3 && (c == ' ' || c == ',' || room[at] == ' ' || (room[at] >= '\t' && room[at] <= '\r')))
        return false;
    *part = str_n(room, part->n);
    return true;
}

static void check_random(const char *line, struct rng *rng, size_t *mutated)
{
    json_error_t why;
    json_t *o = json_loads(line, 0, &why);
    struct vector v, other;
    const char *code = NULL;
    char room[8192];

    CHECK(o);
    vector_read(o, &v);
    arrive(&v);
    if (verify(&v, &code) < 0)
        print_error("%s refused as %s: %s\n", text(o, "name").p, code, line);
    CHECK(code == NULL);
    for (int i = 0; i < 3; i++) {
        if (!mutate(rng, &v, &other, room, sizeof room))
            continue;
        if (verify(&other, &code) == 0)
            print_error("%s accepted after a change: %s\npath %.*s query %.*s\n", text(o, "name").p, line, STR_FMT(other.r.path), STR_FMT(other.r.query));
        CHECK(code != NULL);
        ++*mutated;
    }
    json_decref(o);
}

/* SIGV4_REQUESTS: how many (10,000). */
TEST(random_requests_signed_by_botocore_are_accepted_and_a_changed_bit_is_refused)
{
    const char *dose = getenv("SIGV4_REQUESTS");
    char command[512], *line = NULL;
    size_t cap = 0, count = 0, mutated = 0;
    struct rng rng;
    FILE *f;

    rng_init(&rng, test_seed());
    snprintf(command, sizeof command, "/usr/bin/python3 " TEST_SOURCE_DIR "/tests/data/sigv4/generate.py random %llu %s",
             (unsigned long long)test_seed(), dose ? dose : "10000");
    f = popen(command, "r");
    CHECK(f);
    while (getline(&line, &cap, f) > 0) {
        check_random(line, &rng, &mutated);
        count++;
    }
    free(line);
    CHECK(pclose(f) == 0);
    CHECK(count == strtoul(dose ? dose : "10000", NULL, 10));
    CHECK(mutated > count);
}

/* A good request, changed by a rule's breach. */
struct breach {
    const char *name, *code;
    void (*change)(struct vector *v, struct sigv4_rules *rules);
};

static void drop(struct vector *v, const char *name)
{
    for (size_t i = 0; i < v->r.header_count; i++)
        if (str_ieq(v->headers[i].name, str_of(name)))
            v->headers[i] = v->headers[--v->r.header_count];
}
static void add(struct vector *v, struct str name, struct str value)
{
    v->headers[v->r.header_count++] = (struct sigv4_header){name, value};
}
static void unsigned_request(struct vector *v, UNUSED struct sigv4_rules *rules)
{
    drop(v, "authorization");
}
static void late(UNUSED struct vector *v, struct sigv4_rules *rules)
{
    rules->now_s = v->scope.time_s + 301;
}
static void early(UNUSED struct vector *v, struct sigv4_rules *rules)
{
    rules->now_s = v->scope.time_s - 301;
}
static void region(UNUSED struct vector *v, struct sigv4_rules *rules)
{
    rules->region = STR("eu-west-9");
}
static void service(UNUSED struct vector *v, struct sigv4_rules *rules)
{
    rules->service = STR("aps");
}
static void added_amz(struct vector *v, UNUSED struct sigv4_rules *rules)
{
    add(v, STR("X-Amz-Target"), STR("Delete"));
}
static void host_twice(struct vector *v, UNUSED struct sigv4_rules *rules)
{
    add(v, STR("Host"), STR("elsewhere"));
}
static void no_date(struct vector *v, UNUSED struct sigv4_rules *rules)
{
    drop(v, "x-amz-date");
}
static void other_body(struct vector *v, UNUSED struct sigv4_rules *rules)
{
    sha256_hex(STR("another body"), v->payload);
}
static void says_unsigned(struct vector *v, UNUSED struct sigv4_rules *rules)
{
    add(v, STR("x-amz-content-sha256"), STR(SIGV4_UNSIGNED));
}
static void two_auths(struct vector *v, UNUSED struct sigv4_rules *rules)
{
    add(v, STR("Authorization"), STR("AWS4-HMAC-SHA256 x"));
}
static void other_token(struct vector *v, UNUSED struct sigv4_rules *rules)
{
    v->key.token = STR("another");
}
static void other_secret(struct vector *v, UNUSED struct sigv4_rules *rules)
{
    v->key.secret = STR("another");
}
static void unknown_key(struct vector *v, UNUSED struct sigv4_rules *rules)
{
    v->key.id = STR("another");
}

TEST(breaches_of_the_rules_have_the_names_that_aws_gives_them)
{
    static const struct breach breaches[] = {
        {"unsigned", "MissingAuthenticationToken", unsigned_request}, {"late", "RequestExpired", late}, {"early", "RequestExpired", early},
        {"region", "SignatureDoesNotMatch", region}, {"service", "SignatureDoesNotMatch", service}, {"added header", "SignatureDoesNotMatch", added_amz},
        {"host twice", "SignatureDoesNotMatch", host_twice}, {"no date", "IncompleteSignature", no_date}, {"body", "SignatureDoesNotMatch", other_body},
        {"unsigned body", "XAmzContentSHA256Mismatch", says_unsigned}, {"two authorizations", "IncompleteSignature", two_auths},
        {"token", "InvalidClientTokenId", other_token}, {"secret", "SignatureDoesNotMatch", other_secret}, {"key", "InvalidClientTokenId", unknown_key},
    };
    json_error_t why;
    json_t *all = json_load_file(TEST_SOURCE_DIR "/tests/data/sigv4/vectors.json", 0, &why);

    CHECK(all);
    for (size_t i = 0; i < ARRAY_LEN(breaches); i++) {
        struct vector v;
        struct sigv4_rules rules;
        const char *code = NULL;
        char id[SIGV4_ID_BYTES_MAX + 1];

        vector_read(json_array_get(all, 2), &v); /* get-vanilla-with-session-token */
        arrive(&v);
        rules = rules_of(&v);
        CHECK(sigv4_verify(&v.r, &rules, id, &code, NULL) == 0);
        breaches[i].change(&v, &rules);
        CHECK(sigv4_verify(&v.r, &rules, id, &code, NULL) < 0);
        if (strcmp(code, breaches[i].code) != 0)
            print_error("%s\n", breaches[i].name);
        CHECK_STR(code, breaches[i].code);
    }
    json_decref(all);
}

TEST(malformed_authorizations_are_refused_with_the_part)
{
    static const struct {
        const char *header, *part;
    } cases[] = {
        {"", "AWS4-HMAC-SHA256"},
        {"Basic YTpi", "AWS4-HMAC-SHA256"},
        {"AWS4-HMAC-SHA256", "AWS4-HMAC-SHA256"},
        {"AWS4-HMAC-SHA256 ", "AWS4-HMAC-SHA256"},
        {"AWS4-HMAC-SHA256 Credential=a/20240101/r/s/aws4_request, SignedHeaders=host", "Signature"},
        {"AWS4-HMAC-SHA256 Credential=a/20240101/r/s/aws4_request, Credential=b, Signature=1", "Credential"},
        {"AWS4-HMAC-SHA256 Credential=a/r/s/aws4_request, SignedHeaders=host, Signature=0", "Credential"},
        {"AWS4-HMAC-SHA256 Credential=a/20240101/r/s/aws4, SignedHeaders=host, Signature=0", "Credential"},
        {"AWS4-HMAC-SHA256 Credential=/20240101/r/s/aws4_request, SignedHeaders=host, Signature=0", "Credential"},
        {"AWS4-HMAC-SHA256 Credential=a/20240101/r/s/aws4_request, SignedHeaders=host;, Signature=0", "SignedHeaders"},
        {"AWS4-HMAC-SHA256 Credential=a/20240101/r/s/aws4_request, SignedHeaders=x;host, Signature=0", "SignedHeaders"},
        {"AWS4-HMAC-SHA256 Credential=a/20240101/r/s/aws4_request, SignedHeaders=Host, Signature=0", "SignedHeaders"},
        {"AWS4-HMAC-SHA256 Credential=a/20240101/r/s/aws4_request, SignedHeaders=host;host, Signature=0", "SignedHeaders"},
        {"AWS4-HMAC-SHA256 Credential=a/20240101/r/s/aws4_request, SignedHeaders=host, Signature=xyz", "Signature"},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct sigv4_auth a = {.expires_s = 7};
        struct err err = {0};

        CHECK(sigv4_parse_authorization(str_of(cases[i].header), &a, &err) == RC_INVALID);
        CHECK(strstr(err_text(&err), cases[i].part));
        CHECK(a.expires_s == 7 && !a.id.p);
    }
}

TEST(times_of_other_forms_are_refused)
{
    static const char *const bad[] = {"", "20150830T123600", "20150830 123600Z", "20150230T123600Z", "20151330T123600Z", "2015083OT123600Z", "20150830T126000Z"};
    char again[SIGV4_TIME + 1];
    int64_t t = 0;

    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        CHECK(!sigv4_time_parse(str_of(bad[i]), &t));
    CHECK(sigv4_time_parse(STR("20240229T235959Z"), &t));
    sigv4_time_print(t, again);
    CHECK_STR(again, "20240229T235959Z");
}

TEST(a_body_in_pieces_has_the_hash_of_the_whole)
{
    struct body_hash *h = body_hash_new();
    char pieces[65], whole[65];

    body_hash_add(h, STR("one "));
    body_hash_add(h, STR(""));
    body_hash_add(h, STR("two"));
    body_hash_end(h, pieces);
    sha256_hex(STR("one two"), whole);
    CHECK_STR(pieces, whole);
    CHECK(equal_in_constant_time(STR("abc"), STR("abc")));
    CHECK(!equal_in_constant_time(STR("abc"), STR("abd")) && !equal_in_constant_time(STR("ab"), STR("abc")));
}
