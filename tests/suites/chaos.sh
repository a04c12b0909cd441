#!/usr/bin/env bash
# Real faults against real processes, in their CI dose: tests/chaos/README.md. Needs a release build (a sanitizer's would spend the faults' time on itself).
set -u
launcher=""
command -v ccache > /dev/null && launcher="-DCMAKE_C_COMPILER_LAUNCHER=ccache -DCMAKE_CXX_COMPILER_LAUNCHER=ccache"
build=${TORC_CHAOS_BUILD:-$TORC_ROOT/build/release}
# shellcheck disable=SC2086
if [ -z "${TORC_BINARY:-}" ] && ! { cmake --preset release -S "$TORC_ROOT" -B "$build" $launcher && cmake --build "$build" --target torc; } > "$TORC_ROOT/build/test-logs/chaos-build.log" 2>&1; then
    tail -n 20 "$TORC_ROOT/build/test-logs/chaos-build.log"
    echo "0 passed, 1 failed"
    exit 1
fi
exec "$TORC_ROOT/tests/chaos/run" --seed "${CHAOS_SEED:-1}"
