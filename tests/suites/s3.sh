#!/usr/bin/env bash
# The S3 bucket against real servers (moto, s3rver) through a proxy that breaks things, then a cluster whose blocks are there.
passed=0 failed=0
for part in "$TORC_ROOT/tests/ctest_suite.sh s3" "$TORC_ROOT/tests/s3/cluster.sh"; do
    out=$($part 2>&1)
    echo "$out"
    line=$(grep -E '^[0-9]+ passed, [0-9]+ failed$' <<< "$out" | tail -n 1)
    p=${line%% *} f=$(sed -nE 's/.*, ([0-9]+) failed/\1/p' <<< "$line")
    passed=$((passed + ${p:-0})) failed=$((failed + ${f:-1}))
done
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
