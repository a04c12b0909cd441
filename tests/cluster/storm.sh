#!/usr/bin/env bash
# One process after another is hurt, in an order that the printed seed decides, while samples come in (some out of order) and are read back: ingesters are
# killed, stopped in order, paused, two at a time are killed (then writes wait); the front is killed. Reads in between must already be right for all that was acknowledged by then (nothing lost, nothing
# that comes and goes), no push may fail for good. In the end one ingester loses its disk.
# CLUSTER_SERIES, CLUSTER_SECONDS: the load (CI dose below; 2000 and 600 for the long one). CLUSTER_SEED.
. "$(dirname "$0")/lib.sh"
export TORC_INGESTER_IMAGE_LOG_BYTES=${TORC_INGESTER_IMAGE_LOG_BYTES:-1MiB} # an image of the heads every few seconds: deaths come while one is written
series=${CLUSTER_SERIES:-2000} seconds=${CLUSTER_SECONDS:-45} seed=${CLUSTER_SEED:-1}
trap finish EXIT
echo "seed $seed"
RANDOM=$seed
claim "a cluster starts" up

# Whole targets (250 series) in each batch: then a history that still grows can be judged up to its last entry.
write() { "$TORC_BINARY" loadgen --url "$(url)/api/v1/push" --series "$series" --interval 500ms --batch 500 --duration "${seconds}s" "$@"; }
verify() { "$TORC_BINARY" loadgen --verify-only --history "$work/$1" --query-url "$(url)/prometheus"; }
write --history "$work/steady" --seed "$seed" --json > "$work/steady.json" 2> /dev/null &
steady=$!
write --history "$work/shuffled" --tenant shuffled --out-of-order 10 --churn 30 --seed "$seed" --json > "$work/shuffled.json" 2> /dev/null &
shuffled=$!

hurt() {
    case $1 in
    kill) crash "$2" && again "$2" ;;
    restart) again "$2" ;;
    outage) crash ingester-1 ingester-3; sleep 1; again ingester-1 ingester-3 ;;
    pause) kill -STOP "$(pid "$2")" && sleep 1.5; kill -CONT "$(pid "$2")" ;;
    esac
}
faults=0 until=$((SECONDS + seconds - 5))
sleep 2
while [ $SECONDS -lt $until ] && [ $failed -lt 3 ]; do
    case $((RANDOM % 11)) in
    [0-4]) what=kill who=ingester-$((RANDOM % 3 + 1)) ;;
    [5-6]) what=restart who=ingester-$((RANDOM % 3 + 1)) ;;
    [7-8]) what=pause who=ingester-$((RANDOM % 3 + 1)) ;;
    9) what=kill who=front ;;
    10) what=outage who=two ;;
    esac
    claim "$what $who" hurt $what $who
    claim "after it every acknowledged sample is there" verify steady
    faults=$((faults + 1))
done
wait $steady $shuffled
claim "no push failed for good" jq -e '.samples_failed == 0' "$work/steady.json"
claim "none of those out of order either" jq -e '.samples_failed == 0' "$work/shuffled.json"
# A run that did not hurt, or did not write, proves nothing.
claim "there were faults" test $faults -ge $((seconds / 10))
claim "all that was due was written" jq -e '.samples_acked == .samples_due' "$work/steady.json" "$work/shuffled.json"
claim "every sample is there" verify steady
claim "those out of order too" verify shuffled
crash ingester-1 ingester-2 ingester-3
claim "all three come back" again ingester-1 ingester-2 ingester-3
claim "every sample is there after all were killed" verify steady
claim "those out of order too" verify shuffled
crash ingester-2
rm -rf "$cluster/data/ingester-2"
claim "every sample is there without one ingester" verify steady
claim "it starts with an empty disk" again ingester-2
claim "every sample is there though its disk is lost" verify steady
claim "those out of order too" verify shuffled
for run in steady shuffled; do jq -c '{samples_acked, retries, broken_connections, push_p99, push_max, statuses, last_error}' "$work/$run.json"; done
