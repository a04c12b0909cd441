#!/usr/bin/env bash
# Samples of the past and of now go from memory to blocks, three copies become one, the source blocks go, every process starts again with empty memory:
# at each stage every acknowledged sample reads back bit for bit and a set of queries gives the same bytes as in the beginning.
# CLUSTER_SERIES: series of the past (CI dose below).
. "$(dirname "$0")/lib.sh"
series=${CLUSTER_SERIES:-1500}
trap finish EXIT
claim "a cluster starts" up -- --limits.max_sample_age=0 --compactor.interval=1h --compactor.delete-delay=1s --ingester.retain-period=0 --ingester.flush-check-period=200ms

load() { "$TORC_BINARY" loadgen --url "$(url)/api/v1/push" --tenant "$1" --history "$work/$1" --json "${@:2}" > "$work/$1.json"; }
claim "three hours of the past are written" load past --series "$series" --backfill 3h --interval 1m --special --churn 1 --seed 3
claim "the present is written" load now --series 500 --interval 500ms --duration 6s --batch 250 --seed 4
now=$(date +%s)

# name|method|parameters; times are fixed once, so that the answers must be.
questions() {
    local from=$((now - 3 * 3600)) past="count by (__name__) ({job!=\"\"})"
    for at in $((from + 600)) $((from + 5400)) $((now - 120)); do
        echo "past|query|time=$at|$past"
        echo "past|query|time=$at|sum by (job) (rate(http_responses_total[10m]))"
        echo "past|query|time=$at|{instance=~\"10.0.0.1:.*\"}[30m]"
    done
    echo "past|query_range|start=$from&end=$now&step=300|histogram_quantile(0.9, sum by (le, job) (rate(http_request_duration_seconds_bucket[10m])))"
    echo "past|query_range|start=$from&end=$now&step=60|queue_depth_average"
    echo "past|query_range|start=$from&end=$now&step=600|topk(3, sum by (instance) (node_cpu_seconds_total))"
    echo "past|query_range|start=$from&end=$now&step=120|count_over_time({__name__=~\"go_.*|process_.*\"}[3m])"
    echo "now|query|time=$now|sum(count_over_time({job!=\"\"}[1m]))"
    echo "now|query_range|start=$((now - 20))&end=$now&step=1|sum by (__name__) ({job!=\"\"})"
    echo "now|query|time=$now|{instance=\"10.0.0.0:9100\"}[1m]"
}
answers() {
    questions | while IFS='|' read -r tenant path params query; do
        echo "# $query"
        curl -fs -H "X-Scope-OrgID: $tenant" "$(url)/prometheus/api/v1/$path" -d "${params}" --data-urlencode "query=$query" || return 1
        echo
    done > "$1"
    [ "$(grep -c '"status":"success"' "$1")" = "$(questions | wc -l)" ]
}
full() { [ "$(grep -c '"result":\[\]' "$1")" = 0 ]; }
same() {
    answers "$work/answers-$1" || return 1
    cmp "$work/answers-first" "$work/answers-$1" && return
    diff <(fold -w 300 "$work/answers-first") <(fold -w 300 "$work/answers-$1") | head -n 10
    return 1
}
verify() { "$TORC_BINARY" loadgen --verify-only --history "$work/$1" --query-url "$(url)/prometheus"; }
blocks() { curl -fs "$(url)/querier/blocks?tenant=$1" | jq -r "$2"; }
all_same() {
    claim "$1: the answers are the same bytes" same "${1// /-}"
    claim "$1: every sample of the past is there" verify past
    claim "$1: every sample of now is there" verify now
}

claim "every question has an answer" answers "$work/answers-first"
claim "and none is empty" full "$work/answers-first"
claim "in memory: every sample of the past is there" verify past

post() { curl -fs -m 300 -X POST "http://127.0.0.1:$1$2"; }
for i in 1 2 3; do claim "ingester-$i flushes" post $((port + i)) /ingester/flush; done
acked_past=$(jq .samples_acked "$work/past.json") acked_now=$(jq .samples_acked "$work/now.json")
sees() { for _ in $(seq 100); do [ "$(blocks "$1" "$2")" = "$3" ] && return; sleep 0.1; done; blocks "$1" .; return 1; }
claim "the blocks hold three copies" sees past '[.blocks[].samples] | add' $((3 * (acked_past + acked_now)))
all_same "after the flush"

claim "the compactor runs" post $((port + 4)) /compactor/run
claim "one copy is left of the past" sees past '[.blocks[].samples] | add' "$acked_past"
claim "one copy is left of now" sees now '[.blocks[].samples] | add' "$acked_now"
all_same "after compaction"
sleep 2
claim "the compactor removes the sources" post $((port + 4)) /compactor/run
on_disk() { find "$cluster/bucket" -name meta.json | wc -l; }
in_index() { echo $(($(blocks past '.blocks | length') + $(blocks now '.blocks | length'))); }
claim "no other block is in the bucket" test "$(on_disk)" = "$(in_index)"
all_same "without the sources"

for n in front ingester-1 ingester-2 ingester-3 compactor; do claim "$n stops" stop_one "$n"; done
rm -rf "$cluster"/data/ingester-*/ingester
claim "all start with empty memory" again ingester-1 ingester-2 ingester-3 front compactor
all_same "with empty memory"
