/* etcd_msg.h - what etcd v3 is asked through its JSON gateway (POST /v3/...), and what it answers. Pure: bytes in, bytes out.
 * The mapping is protobuf's to JSON: 64-bit numbers are strings, bytes are base64, fields with their default are absent.
 * One decoder reads every answer and every line of a watch's stream, since their fields do not collide; what is absent is zero.
 * Source: etcd 3.4 api reference (rpc.proto); tests/component/ring/etcd_store_test.c runs against etcd itself.   Threads: any. */
#pragma once
#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/base/vec.h"

enum {
    ETCD_ANSWER_BYTES_MAX = 16 << 20, /* RING_MEMBERS_MAX records of 256 tokens in base64, and room */
    ETCD_KVS_MAX          = 32768,
    ETCD_TOKEN_BYTES_MAX  = 4096,
    ETCD_MESSAGE_BYTES_MAX = 256,
};

/* gRPC's codes that mean something to us. */
enum etcd_code { ETCD_OK = 0, ETCD_NOT_FOUND = 5, ETCD_OUT_OF_RANGE = 11, ETCD_UNAVAILABLE = 14, ETCD_UNAUTHENTICATED = 16 };

struct etcd_kv {
    struct str key, value;
    uint64_t mod_revision, lease;
    bool deleted; /* of a watch: the key has gone */
};

struct etcd_answer {
    uint64_t revision;
    int code; /* of an error, else ETCD_OK */
    char message[ETCD_MESSAGE_BYTES_MAX];
    VEC(struct etcd_kv) kvs; /* of a range, of a transaction's ranges, or a watch's events in order */
    bool succeeded;          /* a transaction's comparison held */
    bool created, canceled;  /* of a watch */
    uint64_t compact_revision;
    uint64_t lease;
    int64_t ttl_s;
    struct str token;
    struct buf bytes; /* what the strings point into */
};

/* RC_CORRUPT, RC_LIMIT; ret is untouched then. */
int etcd_answer_decode(struct str text, struct etcd_answer *ret, struct err *err);
void etcd_answer_fini(struct etcd_answer *a);

/* Bodies of requests; keys and values are bytes. Each appends to out. */
void etcd_put_authenticate(struct buf *out, struct str user, struct str password); /* /v3/auth/authenticate */
void etcd_put_grant(struct buf *out, int64_t ttl_s);                                /* /v3/lease/grant */
void etcd_put_lease(struct buf *out, uint64_t lease);                               /* /v3/lease/keepalive, /v3/lease/revoke */
/* All keys that begin with prefix. */
void etcd_put_range(struct buf *out, struct str prefix, bool keys_only);             /* /v3/kv/range */
void etcd_put_watch(struct buf *out, struct str prefix, uint64_t start_revision);    /* /v3/watch */
void etcd_put_key(struct buf *out, struct str key, struct str value, uint64_t lease); /* /v3/kv/put */
/* Compare and swap: when the key's last change is still `expected` (0: there is no key) it gets the value, or goes (value.p NULL). Else
 * the answer has what is there. */
void etcd_put_swap(struct buf *out, struct str key, uint64_t expected, struct str value); /* /v3/kv/txn */
