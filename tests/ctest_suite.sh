#!/usr/bin/env bash
# Runs the CTest programs with one label and counts the cmocka cases in them (a program without cases counts as one).
set -u
label=$1
ctest --test-dir "$TORC_BUILD" -L "^$label\$" -j "$(nproc)" -V > "$TORC_BUILD/ctest-$label.log" 2>&1
code=$?
cases=$(grep -cE '\[ +OK +\]' "$TORC_BUILD/ctest-$label.log")
bad=$(grep -cE '^[0-9]+: \[  FAILED  \] [a-z_0-9]+$' "$TORC_BUILD/ctest-$label.log")
programs=$(grep -cE 'Test +#[0-9]+: .* Passed' "$TORC_BUILD/ctest-$label.log")
broken=$(grep -cE 'Test +#[0-9]+: .*(Failed|Timeout|Exception|Not Run)' "$TORC_BUILD/ctest-$label.log")
if [ $code -ne 0 ]; then
    grep -vE '\[ +(OK|RUN) +\]' "$TORC_BUILD/ctest-$label.log" | grep -E 'FAILED|ERROR|LINE|SUMMARY|runtime error|Failed|Timeout|Assertion|assertion' | head -60
fi
[ "$cases" -eq 0 ] && cases=$programs
# cmocka names a failed case twice: when it fails and in its summary.
bad=$((bad / 2))
[ "$bad" -lt "$broken" ] && bad=$broken
echo "$cases passed, $bad failed"
[ $code -eq 0 ]
