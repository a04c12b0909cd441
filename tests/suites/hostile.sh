#!/usr/bin/env bash
# Hostile pushes and queries against a real cluster.
binary=${TORC_BINARY:-${TORC_BUILD:-$TORC_ROOT/build/asan}/app/torc}
exec python3 "$TORC_ROOT/tests/cluster/hostile/main.py" "$binary"
