#include "common/base/hash.h"

#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <isa-l/crc.h>
#include <pthread.h>
#include <sys/random.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

uint32_t crc32c(uint32_t seed, const void *p, size_t n)
{
    uint32_t crc = ~seed;
    const unsigned char *at = p;

    /* ISA-L takes an int length. */
    while (n > 0) {
        size_t step = MIN(n, (size_t)1 << 30);

        crc = crc32_iscsi((unsigned char *)(uintptr_t)at, (int)step, crc);
        at += step;
        n -= step;
    }
    return ~crc;
}

uint64_t hash64(const void *p, size_t n, uint64_t seed)
{
    return XXH3_64bits_withSeed(p, n, seed);
}

uint64_t hash_xxh64(const void *p, size_t n, uint64_t seed)
{
    return XXH64(p, n, seed);
}

static struct u128 from_xxh(XXH128_hash_t h)
{
    return (struct u128){h.high64, h.low64};
}

struct u128 hash128(const void *p, size_t n, uint64_t seed)
{
    return from_xxh(XXH3_128bits_withSeed(p, n, seed));
}

struct u128 hash128_words3(const uint64_t w[3])
{
    return from_xxh(XXH3_128bits(w, 3 * sizeof *w)); /* the length being a constant, what is for others is compiled away */
}

/* --- per-process secret --- */
static pthread_once_t secret_once = PTHREAD_ONCE_INIT;
static uint8_t secret[XXH3_SECRET_DEFAULT_SIZE];

static void secret_make(void)
{
    random_bytes(secret, sizeof secret);
}

struct u128 hash128_secret(const void *p, size_t n)
{
    pthread_once(&secret_once, secret_make);
    return from_xxh(XXH3_128bits_withSecret(p, n, secret, sizeof secret));
}

void sha256(const void *p, size_t n, uint8_t ret[32])
{
    ASSERT(gnutls_hash_fast(GNUTLS_DIG_SHA256, n ? p : "", n, ret) == 0);
}

void hex_put(char *out, const uint8_t *p, size_t n)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < n; i++) {
        out[2 * i] = digits[p[i] >> 4];
        out[2 * i + 1] = digits[p[i] & 15];
    }
    out[2 * n] = '\0';
}

void random_bytes(void *p, size_t n)
{
    char *at = p;

    while (n > 0) {
        ssize_t got = getrandom(at, n, 0);

        ASSERT(got > 0);
        at += got;
        n -= (size_t)got;
    }
}
