#!/usr/bin/env bash
# Real processes on this machine: every script in tests/cluster that is a test of its own.
passed=0 failed=0
for test in "$TORC_ROOT"/tests/cluster/*.sh; do
    [ "$(basename "$test")" = lib.sh ] && continue
    echo "== $(basename "$test")"
    out=$("$test" 2>&1)
    echo "$out"
    line=$(grep -E '^[0-9]+ passed, [0-9]+ failed$' <<< "$out" | tail -n 1)
    p=${line%% *} f=$(sed -nE 's/.*, ([0-9]+) failed/\1/p' <<< "$line")
    passed=$((passed + ${p:-0})) failed=$((failed + ${f:-1}))
done
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
