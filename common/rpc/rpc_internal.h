/* rpc_internal.h - what the client's and the server's files share; internal to common/rpc. */
#pragma once
#include "common/base/base.h"

/* True while a handler or a callback runs on this thread: such a thread must not wait for another call. */
extern _Thread_local int rpc_callback_depth;
