/* hmac.h - HMAC-SHA256, SHA-256 of a body that comes in pieces, MD5 (ETags only), comparison in constant time. GnuTLS. */
#pragma once
#include "common/base/str.h"

void hmac_sha256(struct str key, struct str text, uint8_t ret[32]);

/* A body hashed while it is read: new, any number of adds, then one end, which frees. */
struct body_hash;
struct body_hash *body_hash_new(void);
void body_hash_add(struct body_hash *h, struct str bytes);
void body_hash_end(struct body_hash *h, char ret_hex[65]);
void sha256_hex(struct str bytes, char ret_hex[65]);

void md5(struct str bytes, uint8_t ret[16]);
/* Time depends on the lengths only. */
bool equal_in_constant_time(struct str a, struct str b);
