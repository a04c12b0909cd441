#!/usr/bin/env bash
# The image of a release build: its contents and size, and the smoke test of the local cluster with every process from the image: read-only root, uid 10001, no
# capability, no new privileges. Not among the suites of tests/run without arguments: it builds a release.
cd "$TORC_ROOT" || exit 1
launcher=""
command -v ccache > /dev/null && launcher="-DCMAKE_C_COMPILER_LAUNCHER=ccache -DCMAKE_CXX_COMPILER_LAUNCHER=ccache"
# shellcheck disable=SC2086
cmake --preset release $launcher > /dev/null && cmake --build build/release --target torc > /dev/null || { echo "0 passed, 1 failed"; exit 1; }
passed=0 failed=0
count() {
    echo "$1"
    line=$(grep -E '^[0-9]+ passed, [0-9]+ failed$' <<< "$1" | tail -n 1)
    p=${line%% *} f=$(sed -nE 's/.*, ([0-9]+) failed/\1/p' <<< "$line")
    passed=$((passed + ${p:-0})) failed=$((failed + ${f:-1}))
}
count "$(/usr/bin/python3 tests/image/check.py build/release/app/torc --release 2>&1)"
TORC_IMAGE_ROOT=$(deploy/image/build --binary build/release/app/torc --root-only)
export TORC_IMAGE_ROOT
count "$(TORC_BINARY=$TORC_ROOT/tests/image/in-image tests/cluster/local.sh 2>&1)"
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
