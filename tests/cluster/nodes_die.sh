#!/usr/bin/env bash
# Ingesters die by kill -9 under load: one after another, then all at once after the last acknowledgement. No push fails for good, reads are complete while one
# is down, and what was acknowledged reads back: nothing lost, doubled or altered.
# CLUSTER_SERIES, CLUSTER_SECONDS: the load, one sample a series and second (CI dose below; 50000 and 120 for the long one).
. "$(dirname "$0")/lib.sh"
series=${CLUSTER_SERIES:-5000} seconds=${CLUSTER_SECONDS:-36}
trap finish EXIT
claim "a cluster starts" up

"$TORC_BINARY" loadgen --url "$(url)/api/v1/push" --series "$series" --interval 1s --duration "${seconds}s" --history "$work/history" \
    --json > "$work/load.json" 2> "$work/load.log" &
load=$!

complete() { [ "$(value 'count(last_over_time({__name__!=""}[15s]))')" = "$series" ]; }
sleep $((seconds / 6))
for n in ingester-1 ingester-2 ingester-3; do
    crash "$n"
    sleep $((seconds / 9))
    claim "reads are complete while $n is down" complete
    claim "$n replays and is ready again" again "$n"
    sleep $((seconds / 12))
done
wait $load
claim "no push failed for good, all that was due was written" jq -e '.samples_failed == 0 and .samples_acked == .samples_due' "$work/load.json"
crash ingester-1 ingester-2 ingester-3
claim "all three come back" again ingester-1 ingester-2 ingester-3
sleep 2
claim "every acknowledged sample is there once, bit for bit" \
    "$TORC_BINARY" loadgen --verify-only --history "$work/history" --query-url "$(url)/prometheus"
cat "$work/load.json"
