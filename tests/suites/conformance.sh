#!/usr/bin/env bash
# The promqltest scripts through every backend. Scripts: TORC_CONFORMANCE_DIR (relative to the root of the tree), else the few of our own.
set -u
cd "$TORC_ROOT" || exit 1
dir=${TORC_CONFORMANCE_DIR:-../shared/conformance/promql}
[ -d "$dir" ] || dir=tests/conformance/promqltest/accepted
runner=$TORC_BUILD/conformance/promqltest
passed=0 failed=0

# Runs the arguments and counts by their last line; a program that died has failed.
count() {
    local out code line
    out=$("$@" 2>&1)
    code=$?
    line=$(tail -n 1 <<< "$out")
    echo "$out"
    if [[ $line =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed ]]; then
        passed=$((passed + BASH_REMATCH[1])) failed=$((failed + BASH_REMATCH[2]))
        [ $code -ne 0 ] && [ "${BASH_REMATCH[2]}" = 0 ] && failed=$((failed + 1))
    else
        failed=$((failed + 1))
    fi
}

for via in memory head; do
    echo "--- via $via"
    count "$runner" --via $via "$dir"
done
# The runner itself: it must fail what is wrong.
if "$runner" --must-fail tests/conformance/promqltest/refused > /dev/null; then
    passed=$((passed + 1))
else
    failed=$((failed + 1))
    echo "the runner passes scripts that are wrong"
fi
echo "$passed passed, $failed failed"
[ $failed -eq 0 ] && [ $passed -gt 0 ]
