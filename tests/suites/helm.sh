#!/usr/bin/env bash
# The chart, by Helm itself, by the schemas of Kubernetes, and run: what it renders as processes in network namespaces, from the image's root. Then systemd units and
# the compose file. What runs waits most of the time, so what computes goes beside it.
binary=${TORC_BINARY:-${TORC_BUILD:-$TORC_ROOT/build/asan}/app/torc}
command -v npm > /dev/null || "$TORC_ROOT/tools/install" npm || exit 1
work=$(mktemp -d /tmp/torc-helm-suite-XXXXXX)
parts="image/check.py helm/lint.py helm/others.py helm/run.py"
part() { /usr/bin/python3 "$TORC_ROOT/tests/$1" "$binary" > "$work/$(basename "$1")" 2>&1; }
/usr/bin/python3 -c "import sys; sys.path.insert(0, '$TORC_ROOT/tests/helm'); import tools; tools.helm(), tools.models(), tools.schemas('1.33')" || exit 1
(part image/check.py; part helm/lint.py) &
part helm/others.py
part helm/run.py
wait
passed=0 failed=0
for p in $parts; do
    echo "== $p"
    cat "$work/$(basename "$p")"
    line=$(grep -E '^[0-9]+ passed, [0-9]+ failed$' "$work/$(basename "$p")" | tail -n 1)
    n=${line%% *} f=$(sed -nE 's/.*, ([0-9]+) failed/\1/p' <<< "$line")
    passed=$((passed + ${n:-0})) failed=$((failed + ${f:-1}))
done
rm -rf "$work"
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
