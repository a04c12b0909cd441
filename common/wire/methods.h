/* methods.h - RPC method numbers and their names in metrics. Never reused: 24 was fragment_cancel. */
#pragma once
#include <stddef.h>

/*  X(CONSTANT, number, name) */
#define RPC_METHODS(X)                                                                             \
    X(RPC_PING, 1, "ping")                                                                         \
    X(RPC_GOSSIP, 2, "gossip")                                                                     \
    X(RPC_KV, 3, "kv")                                                                             \
    X(RPC_PUSH, 16, "push")                                                                        \
    X(RPC_SELECT, 17, "select")                                                                    \
    X(RPC_LABELS, 18, "labels")                                                                    \
    X(RPC_METADATA, 19, "metadata")                                                                \
    X(RPC_EXEMPLARS, 20, "exemplars")                                                              \
    X(RPC_USER_STATS, 21, "user_stats")                                                            \
    X(RPC_FLUSH, 22, "flush")                                                                      \
    X(RPC_FRAGMENT, 23, "fragment")                                                                \
    X(RPC_CARDINALITY, 25, "cardinality")                                                          \
    X(RPC_QUERIES, 26, "queries")                                                                  \
    X(RPC_CANCEL, 27, "cancel")                                                                    \
    X(RPC_SYNC, 28, "sync")

enum { RPC_METHODS_MAX = 64 }; /* numbers are below this */

enum rpc_method {
#define RPC_METHOD_ENUM_(constant, number, name) constant = number,
    RPC_METHODS(RPC_METHOD_ENUM_)
#undef RPC_METHOD_ENUM_
};

static inline const char *rpc_method_name(unsigned method)
{
    static const char *const names[RPC_METHODS_MAX] = {
#define RPC_METHOD_NAME_(constant, number, name) [number] = name,
        RPC_METHODS(RPC_METHOD_NAME_)
#undef RPC_METHOD_NAME_
    };

    return method < RPC_METHODS_MAX && names[method] ? names[method] : "unknown";
}
