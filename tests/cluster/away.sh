#!/usr/bin/env bash
# An ingester is away under load, misses what is written meanwhile, comes back and takes over from the others what it missed: the digests of all three agree. Then one
# loses its disk: it is rebuilt from the others, and is no read replica before. In the end the other two are killed, and what was missed and what was lost is read from those
# that took it over.
# CLUSTER_SERIES, CLUSTER_INTERVAL, CLUSTER_AWAY: the load, and for how long (CI dose below; 50000 1s 600 for the long one). CLUSTER_AGREE: seconds until all agree.
. "$(dirname "$0")/lib.sh"
series=${CLUSTER_SERIES:-2000} interval=${CLUSTER_INTERVAL:-500ms} away=${CLUSTER_AWAY:-10} within=${CLUSTER_AGREE:-120}
trap finish EXIT
claim "a cluster starts" up -- --ingester.sync-slack=2s
"$TORC_BINARY" loadgen --url "$(url)/api/v1/push" --series "$series" --interval "$interval" --batch 500 --native-histograms $((series / 20)) --duration 1h \
    --history "$work/history" --json > "$work/load.json" 2> "$work/load.log" &
load=$!
verify() { "$TORC_BINARY" loadgen --verify-only --history "$work/history" --query-url "$(url)/prometheus"; }
sync_page() { curl -s -H 'Accept: application/json' "${@:2}" "http://127.0.0.1:$((port + $1))/ingester/sync"; }
is_done() { for _ in $(seq $((within * 10))); do sync_page "$1" | jq -e '.done' > /dev/null && return; sleep 0.1; done; sync_page "$1"; return 1; }
taken() { sync_page "$1" | jq '[.peers[].samples_total] | add'; }
# Asks all three to compare, until nothing differs; what is younger than the slack is left out.
agree() {
    local n until=$((SECONDS + within))
    while [ $SECONDS -lt $until ]; do
        for n in 1 2 3; do sync_page $n -X POST > /dev/null; done
        sleep 0.5
        for n in 1 2 3; do is_done $n || return 1; done
        for n in 1 2 3; do sync_page $n | jq -e .agree > /dev/null || continue 2; done
        return 0
    done
    for n in 1 2 3; do sync_page $n; done
    return 1
}
sleep 4
stop_one ingester-2
sleep "$away"
claim "it comes back" again ingester-2
began=$SECONDS
claim "and has compared with both others" is_done 2
claim "it took over what it missed" test "$(taken 2)" -ge $((series * away))
echo "after $((SECONDS - began)) s: $(taken 2) samples"
claim "all agree while the load goes on" agree
crash ingester-3
rm -rf "$cluster/data/ingester-3"
sleep 1
claim "one comes back without its disk" again ingester-3
claim "it is rebuilt" is_done 3
not_rebuilding() { for _ in $(seq $((within * 10))); do curl -s -H 'Accept: application/json' "$(url)/memberlist" | jq -e '[.instances[] | select(.rebuilding)] | length == 0' > /dev/null && return; sleep 0.1; done; return 1; }
claim "and a read replica again" not_rebuilding
claim "every acknowledged sample is there" verify
kill -INT $load; wait $load
claim "no push failed for good" jq -e '.samples_failed == 0 and .samples_acked > 0' "$work/load.json"
sleep 3
claim "all agree" agree
conflicts() { for n in 1 2 3; do sync_page $n; done | jq -e '[.peers[].conflicts] | add == 0'; }
claim "and nobody had another value" conflicts
crash ingester-1
claim "what was missed and lost is read from those that took it over" verify
jq -c '{samples_acked, retries, push_p99, push_max, statuses, last_error}' "$work/load.json"
