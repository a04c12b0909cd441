/* push.h - RPC_PUSH: judge, log, apply, answer (design D4.5).
 * A push is divided by shard on the RPC thread; each shard's thread judges and applies its rows under the head's lock, writes one log record (its part as
 * received, with a bitmap of the accepted rows) before it lets the lock go, so no reader sees what is not logged; the last shard to finish answers. */
#pragma once
#include "common/rpc/rpc.h"
#include "ingester/ingester_impl.h"

void ingester_on_push(void *ingester, struct rpc_call *call);
