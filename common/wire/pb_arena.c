#include "common/wire/pb_arena.h"

static void *pb_alloc(void *arena, size_t n)
{
    return arena_alloc(arena, n);
}

static void pb_free(UNUSED void *arena, UNUSED void *p)
{
}

ProtobufCAllocator *pb_arena_allocator(struct arena *a)
{
    ProtobufCAllocator *al = arena_alloc(a, sizeof *al);

    if (al)
        *al = (ProtobufCAllocator){pb_alloc, pb_free, a};
    return al;
}

bool pb_pack(const ProtobufCMessage *m, struct buf *out)
{
    size_t n = protobuf_c_message_get_packed_size(m);

    if (!buf_reserve(out, n))
        return false;
    out->n += protobuf_c_message_pack(m, (uint8_t *)out->p + out->n);
    return true;
}
