#include "common/sign/hmac.h"
#include "common/base/hash.h"

#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <stdlib.h>

void hmac_sha256(struct str key, struct str text, uint8_t ret[32])
{
    ASSERT(gnutls_hmac_fast(GNUTLS_MAC_SHA256, key.p ? key.p : "", key.n, text.p ? text.p : "", text.n, ret) == 0);
}

struct body_hash {
    gnutls_hash_hd_t h;
};

struct body_hash *body_hash_new(void)
{
    struct body_hash *h = xcalloc(1, sizeof *h);

    ASSERT(gnutls_hash_init(&h->h, GNUTLS_DIG_SHA256) == 0);
    return h;
}

void body_hash_add(struct body_hash *h, struct str bytes)
{
    if (bytes.n)
        ASSERT(gnutls_hash(h->h, bytes.p, bytes.n) == 0);
}

void body_hash_end(struct body_hash *h, char ret_hex[65])
{
    uint8_t sum[32];

    gnutls_hash_deinit(h->h, sum);
    hex_put(ret_hex, sum, sizeof sum);
    free(h);
}

void sha256_hex(struct str bytes, char ret_hex[65])
{
    uint8_t sum[32];

    sha256(bytes.p ? bytes.p : "", bytes.n, sum);
    hex_put(ret_hex, sum, sizeof sum);
}

void md5(struct str bytes, uint8_t ret[16])
{
    ASSERT(gnutls_hash_fast(GNUTLS_DIG_MD5, bytes.p ? bytes.p : "", bytes.n, ret) == 0);
}

bool equal_in_constant_time(struct str a, struct str b)
{
    return a.n == b.n && (a.n == 0 || gnutls_memcmp(a.p, b.p, a.n) == 0);
}
