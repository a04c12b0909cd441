#!/usr/bin/env bash
# The promqltest scripts over plain memory, over heads and over a cluster of real processes. Scripts: TORC_CONFORMANCE_DIR (relative to the root of the tree), else the few of our own.
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
# Real processes: everything from heads, and what says most about samples and their order again from blocks.
# shellcheck disable=SC1091
. tests/conformance/cluster.sh
if cluster_up; then
    url=(--via cluster --url "$cluster_url")
    flush=()
    for i in 1 2 3; do flush+=(--flush "http://127.0.0.1:$((cluster_port + i))"); done
    echo "--- via cluster, heads"
    export PROMQLTEST_TENANTS=heads
    count "$runner" "${url[@]}" "$dir"
    echo "--- via cluster, blocks"
    export PROMQLTEST_TENANTS=blocks
    files=()
    for name in staleness range_queries selectors extended_vectors limit forms start_timestamps; do
        [ -f "$dir/$name.test" ] && files+=("$dir/$name.test")
    done
    count "$runner" "${url[@]}" "${flush[@]}" "${files[@]}"
    # Two queriers share every query, and the one that is asked keeps results. TORC_CONFORMANCE_LONG: all scripts, not those that say most about it.
    echo "--- via cluster, blocks, shared by two queriers, with the results cache"
    export PROMQLTEST_TENANTS=shared
    shared=("$dir")
    if [ -z "${TORC_CONFORMANCE_LONG:-}" ]; then
        shared=()
        for name in aggregators limit range_queries subquery forms; do
            [ -f "$dir/$name.test" ] && shared+=("$dir/$name.test")
        done
    fi
    if querier_up; then
        count "$runner" "${url[@]}" --query-url "$querier_url" --warm "${flush[@]}" "${shared[@]}"
        hits=$(querier_metric torc_querier_results_cache_hits_total)
        echo "$hits ranges came partly out of the cache"
        if [ "${hits:-0}" -gt 0 ]; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
    else
        failed=$((failed + 1))
    fi
    if cluster_logs_clean; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
else
    failed=$((failed + 1))
fi

# The runner itself: it must fail what is wrong.
if "$runner" --must-fail tests/conformance/promqltest/refused > /dev/null; then
    passed=$((passed + 1))
else
    failed=$((failed + 1))
    echo "the runner passes scripts that are wrong"
fi
echo "$passed passed, $failed failed"
[ $failed -eq 0 ] && [ $passed -gt 0 ]
