/* hash.h - the hashes of the project and where each is used.
 *   crc32c    frames, WAL records, blocks (Castagnoli, ISA-L); 32 zero bytes give 8A9136AA
 *   xxh64/128 tables and caches; with a random secret per process where a client chooses the bytes
 *   sha256    series identity (common/model/labels.h) and content hashes; nobody can forge a collision */
#pragma once
#include "common/base/str.h"

struct u128 {
    uint64_t hi, lo;
};
static inline bool u128_eq(struct u128 a, struct u128 b)
{
    return a.hi == b.hi && a.lo == b.lo;
}
static inline int u128_cmp(struct u128 a, struct u128 b)
{
    if (a.hi != b.hi)
        return a.hi < b.hi ? -1 : 1;
    return (a.lo > b.lo) - (a.lo < b.lo);
}
/* Sums mod 2^128, for digests. */
static inline struct u128 u128_add(struct u128 a, struct u128 b)
{
    uint64_t lo = a.lo + b.lo;

    return (struct u128){a.hi + b.hi + (lo < a.lo), lo};
}
static inline struct u128 u128_sub(struct u128 a, struct u128 b)
{
    return (struct u128){a.hi - b.hi - (a.lo < b.lo), a.lo - b.lo};
}

uint32_t crc32c(uint32_t seed, const void *p, size_t n); /* seed 0 starts; chains */
uint64_t hash64(const void *p, size_t n, uint64_t seed);
/* XXH64 as others write it: only where a result must equal another program's (Prometheus's limit_ratio). */
uint64_t hash_xxh64(const void *p, size_t n, uint64_t seed);
struct u128 hash128(const void *p, size_t n, uint64_t seed);
struct u128 hash128_words3(const uint64_t w[3]); /* hash128(w, 24, 0), quicker: once per sample */
/* XXH3-128 under this process's random secret: for keys whose bytes a client chooses. */
struct u128 hash128_secret(const void *p, size_t n);
/* Finaliser of MurmurHash3: spreads an integer over 64 bits. */
static inline uint64_t mix64(uint64_t x)
{
    x ^= x >> 33;
    x *= 0xff51afd7ed558ccdULL;
    x ^= x >> 33;
    x *= 0xc4ceb9fe1a85ec53ULL;
    return x ^ (x >> 33);
}

void sha256(const void *p, size_t n, uint8_t ret[32]);
/* Lower-case hex of n bytes into out[2n + 1]. */
void hex_put(char *out, const uint8_t *p, size_t n);

/* Random bytes from the kernel: identities and secrets only. Aborts if the kernel has none. */
void random_bytes(void *p, size_t n);
