#!/usr/bin/env bash
# More than can be done, and ingesters that do nothing: refusals, bounds, no acknowledged loss.
binary=${TORC_BINARY:-${TORC_BUILD:-$TORC_ROOT/build/asan}/app/torc}
exec python3 "$TORC_ROOT/tests/cluster/overload/main.py" "$binary"
