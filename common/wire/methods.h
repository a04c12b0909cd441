/* methods.h - RPC method numbers. Never reused. */
#pragma once

enum rpc_method {
    RPC_PING = 1,
    RPC_GOSSIP = 2,
    RPC_PUSH = 16,
    RPC_SELECT = 17,
    RPC_LABELS = 18,
    RPC_METADATA = 19,
    RPC_EXEMPLARS = 20,
    RPC_USER_STATS = 21,
    RPC_FLUSH = 22,
};
