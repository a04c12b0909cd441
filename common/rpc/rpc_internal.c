#include "common/rpc/rpc_internal.h"

#include "common/rpc/rpc.h"

#include <stdio.h>

_Thread_local int rpc_callback_depth;

int rpc_url(const char *addr, char ret[RPC_URL_BYTES])
{
    size_t n          = addr ? strlen(addr) : 0;
    const char *colon = n ? strrchr(addr, ':') : NULL;

    if (!colon || colon == addr || colon[1] == 0 || n >= RPC_ADDR_BYTES_MAX)
        return RC_INVALID;
    for (const char *p = colon + 1; *p; p++) {
        if (*p < '0' || *p > '9')
            return RC_INVALID;
    }
    snprintf(ret, RPC_URL_BYTES, "tcp://%s", addr);
    return 0;
}
