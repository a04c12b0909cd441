#include "common/rpc/rpc_internal.h"

_Thread_local int rpc_callback_depth;
