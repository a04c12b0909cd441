#!/usr/bin/env bash
# The chart, by Helm itself, by the schemas of Kubernetes, and run: what it renders as processes in network namespaces, from the image's root. Then systemd units and the compose file.
binary=${TORC_BINARY:-${TORC_BUILD:-$TORC_ROOT/build/asan}/app/torc}
passed=0 failed=0
for part in "image/check.py" "helm/lint.py" "helm/others.py" "helm/run.py"; do
    echo "== $part"
    out=$(/usr/bin/python3 "$TORC_ROOT/tests/$part" "$binary" 2>&1)
    echo "$out"
    line=$(grep -E '^[0-9]+ passed, [0-9]+ failed$' <<< "$out" | tail -n 1)
    p=${line%% *} f=$(sed -nE 's/.*, ([0-9]+) failed/\1/p' <<< "$line")
    passed=$((passed + ${p:-0})) failed=$((failed + ${f:-1}))
done
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
