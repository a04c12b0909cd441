#!/usr/bin/env bash
# Every ceiling of a query, from heads and from blocks.
binary=${TORC_BINARY:-${TORC_BUILD:-$TORC_ROOT/build/asan}/app/torc}
exec python3 "$TORC_ROOT/tests/cluster/limits/main.py" "$binary"
