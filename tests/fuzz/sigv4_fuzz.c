/* A request "method path?query\nname: value\n...": its Authorization header and its pre-signed query are parsed, and it is verified; nothing but a request
 * that our own signer signs is accepted. */
#include "common/sign/hmac.h"
#include "common/sign/sigv4.h"

enum { HEADERS_MAX = 40 };

static int secret_of(void *arg, struct str id, struct str *ret_secret, struct str *ret_token)
{
    (void)arg, (void)id;
    *ret_secret = STR("a secret");
    *ret_token = (struct str){0};
    return 0;
}

static struct str line(struct str *left)
{
    size_t n = str_find(*left, '\n');
    struct str l = str_sub(*left, 0, n);

    *left = str_skip(*left, MIN(n + 1, left->n));
    return l;
}

static size_t headers_read(struct str left, struct sigv4_header *to)
{
    size_t n = 0;

    while (left.n && n < HEADERS_MAX - 3) {
        struct str l = line(&left);
        size_t colon = str_find(l, ':');

        to[n++] = (struct sigv4_header){str_sub(l, 0, colon), str_skip(l, MIN(colon + 1, l.n))};
    }
    return n;
}

static bool named(const struct sigv4_header *h, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (str_ieq(h[i].name, str_of(name)))
            return true;
    return false;
}

/* Whatever the rest is: what we sign we accept, where the canonical form names each header in one way only. */
static void own(struct sigv4_request *r, struct sigv4_header *h)
{
    struct sigv4_key key = {STR("ID"), STR("a secret"), STR("")};
    struct sigv4_scope scope = {STR("r"), STR("s"), 1700000000};
    struct sigv4_rules rules = {.now_s = 1700000000, .region = STR("r"), .service = STR("s"), .secret = secret_of};
    char id[SIGV4_ID_BYTES_MAX + 1], date[SIGV4_TIME + 1];
    const char *code;
    struct buf out;

    for (size_t i = 0; i < r->header_count; i++) {
        for (size_t k = 0; k < h[i].name.n; k++)
            if (!((h[i].name.p[k] | 0x20) >= 'a' && (h[i].name.p[k] | 0x20) <= 'z'))
                return;
        if (h[i].name.n == 0)
            return;
    }
    if (named(h, r->header_count, "authorization") || named(h, r->header_count, "host"))
        return;
    sigv4_time_print(scope.time_s, date);
    h[r->header_count++] = (struct sigv4_header){STR("Host"), STR("h")};
    h[r->header_count++] = (struct sigv4_header){STR("X-Amz-Date"), str_of(date)};
    buf_init(&out, 1 << 20);
    if (sigv4_authorization(r, &key, &scope, &out, NULL) == 0) {
        h[r->header_count++] = (struct sigv4_header){STR("Authorization"), buf_view(&out)};
        ASSERT(sigv4_verify(r, &rules, id, &code, NULL) == 0);
    }
    buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct sigv4_header headers[HEADERS_MAX];
    struct str left = str_n(data, n), first = line(&left), target;
    struct sigv4_request r = {.headers = headers, .payload = STR("0"), .s3 = n & 1};
    struct sigv4_rules rules = {.now_s = 1700000000, .service = STR("s3"), .secret = secret_of};
    char id[SIGV4_ID_BYTES_MAX + 1];
    struct sigv4_auth a;
    struct buf scratch;
    const char *code = "untouched";
    int rc;

    r.method = str_sub(first, 0, str_find(first, ' '));
    target = str_skip(first, MIN(r.method.n + 1, first.n));
    r.path = str_sub(target, 0, str_find(target, '?'));
    r.query = str_skip(target, MIN(r.path.n + 1, target.n));
    r.header_count = headers_read(left, headers);
    rc = sigv4_verify(&r, &rules, id, &code, NULL);
    ASSERT(rc < 0 && code);
    sigv4_parse_authorization(str_n(data, n), &a, NULL);
    buf_init(&scratch, 1 << 20);
    if (sigv4_parse_query(r.query, &scratch, &a, NULL) == 0)
        ASSERT(a.expires_s > 0 && a.signature.n == 64);
    buf_fini(&scratch);
    own(&r, headers);
    return 0;
}
