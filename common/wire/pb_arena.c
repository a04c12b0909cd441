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

struct pb_budget {
    struct arena *arena;
    bool spent;
};

static void *pb_budget_alloc(void *arg, size_t n)
{
    struct pb_budget *b = arg;
    void *p = arena_alloc(b->arena, n);

    if (!p)
        b->spent = true;
    return p;
}

int pb_unpack(const ProtobufCMessageDescriptor *d, struct arena *a, struct str bytes, ProtobufCMessage **ret, struct err *err)
{
    struct pb_budget budget = {.arena = a};
    ProtobufCAllocator al = {pb_budget_alloc, pb_free, &budget};
    ProtobufCMessage *m = protobuf_c_message_unpack(d, &al, bytes.n, (const uint8_t *)bytes.p);

    if (!m && budget.spent)
        return err_set(err, RC_LIMIT, "%s: the request's memory budget is spent", d->short_name);
    if (!m)
        return err_set(err, RC_INVALID, "malformed protobuf in %s", d->short_name);
    *ret = m;
    return 0;
}

bool pb_pack(const ProtobufCMessage *m, struct buf *out)
{
    size_t n = protobuf_c_message_get_packed_size(m);

    if (!buf_reserve(out, n))
        return false;
    out->n += protobuf_c_message_pack(m, (uint8_t *)out->p + out->n);
    return true;
}
