/* pb_arena.h - protobuf-c unpacking into an arena: one decode, one free, bounded by the arena's budget. */
#pragma once
#include "common/base/arena.h"
#include "common/base/buf.h"
#include "common/base/err.h"

#include <protobuf-c/protobuf-c.h>

/* The returned allocator borrows the arena and lives in it; NULL over budget. Messages unpacked with it are never freed one by one. */
ProtobufCAllocator *pb_arena_allocator(struct arena *a);
/* RC_LIMIT: over the arena's budget; RC_INVALID: malformed. For bytes of clients: the budget's end is told from bad bytes. */
int pb_unpack(const ProtobufCMessageDescriptor *d, struct arena *a, struct str bytes, ProtobufCMessage **ret, struct err *err);
static inline struct str pb_str(ProtobufCBinaryData b)
{
    return str_n(b.data, b.len);
}
static inline ProtobufCBinaryData pb_bytes(struct str s)
{
    return (ProtobufCBinaryData){s.n, (uint8_t *)(uintptr_t)s.p};
}
/* Appends the packed message to out. */
bool pb_pack(const ProtobufCMessage *m, struct buf *out);
