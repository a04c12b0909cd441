/* answer.h - how questions over RPC are answered, whatever they ask: the request is unpacked into an arena, a function runs, what it has packed is sent, or its
 * error. Work stops when the caller has gone, cancels or no longer waits. Runs on the RPC server's worker threads; each holds one request at a time: its arena
 * and an answer of RPC_MESSAGE_BYTES_MAX at most. */
#pragma once
#include "ingester/ingester_impl.h"

enum { INQUIRY_ARENA_MAX = 128 << 20, INQUIRY_ROWS_MAX = RPC_MESSAGE_BYTES_MAX - 4096 };

struct inquiry {
    struct ingester *in;
    struct arena arena; /* the request, its matchers and lists */
    struct store_stop stop;
    struct buf rows; /* room for what most answers consist of; the rest of an answer fits beside INQUIRY_ROWS_MAX */
    struct buf out;  /* the answer */
    struct inquiry_matchers *matchers;
};
/* request: as its descriptor says. 0: q->out is the answer. */
typedef int inquiry_fn(struct inquiry *q, const void *request, struct err *err);

void ingester_answer(struct ingester *in, struct rpc_call *call, const ProtobufCMessageDescriptor *request, inquiry_fn *run);

/* --- for the functions --- */
/* RC_VERSION. */
int inquiry_version(uint32_t version, struct err *err);
/* Decodes into sel->matchers, good until the answer. */
int inquiry_matchers(struct inquiry *q, struct str bytes, struct store_select *sel, struct err *err);
/* After reading a shard. Rows are applied, then logged, under the head's lock: whoever reads them and then finds the shard alive has read logged ones only.
 * RC_UNAVAILABLE. */
int inquiry_shard_alive(const struct inquiry *q, uint32_t shard, struct err *err);
/* Packs m behind what is in q->out. RC_LIMIT. */
int inquiry_pack(struct inquiry *q, const ProtobufCMessage *m, struct err *err);
