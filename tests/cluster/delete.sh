#!/usr/bin/env bash
# Series and a tenant are deleted while others are written; then all goes from memory to blocks, is merged, and every process starts again with empty memory. At each
# stage what was deleted is gone from every kind of answer, and nothing else is: counts of samples say so to the last one.
# CLUSTER_SERIES: series of the past (CI dose below).
. "$(dirname "$0")/lib.sh"
series=${CLUSTER_SERIES:-1000}
trap finish EXIT
claim "a cluster starts" up -- --limits.max_sample_age=0 --compactor.interval=1h --compactor.delete-delay=1s --compactor.rewrite-after=0s --ingester.retain-period=0 \
    --ingester.flush-check-period=200ms

load() { "$TORC_BINARY" loadgen --url "$(url)/api/v1/push" --tenant "$1" --history "$work/$1" --json "${@:2}" > "$work/$1.json"; }
claim "three hours of the past are written" load past --series "$series" --backfill 3h --interval 1m --seed 3
claim "a second tenant's too" load other --series 300 --backfill 3h --interval 1m --seed 4
claim "and a third one's" load stays --series 300 --backfill 3h --interval 1m --seed 5
now=$(date +%s)
end=$((now - 3600)) # the hour before is deleted
load live --series 500 --interval 500ms --duration 12s --batch 250 --seed 6 &
writer=$!

api() { curl -fs -H "X-Scope-OrgID: $1" "$(url)/prometheus/api/v1/$2" "${@:3}"; }
# The value of a query of one result at a time; 0 when there is none.
count() { api "$1" query -d "time=$now" --data-urlencode "query=$2" | jq -r '.data.result[0].value[1] // "0"'; }
is() { local got; got=$("${@:2}"); [ "$got" = "$1" ] || { echo "$got, want $1"; return 1; }; }
status() { curl -s -o "$work/body" -w '%{http_code}' "$@"; }

gone='{instance=~"10.0.0.[12]:.*"}' all='{job!=""}' rest='{job!="",instance!~"10.0.0.[12]:.*"}'
hour() { echo "sum(count_over_time($1[1h] @ $end))"; }
day() { echo "sum(count_over_time($1[1d]))"; }
all_before=$(count past "$(day "$all")") deleted=$(count past "$(hour "$gone")") rest_before=$(count past "$(day "$rest")") other_before=$(count other "$(day "$all")")
claim "there is something to delete, and something else" test "$deleted" -gt 100 -a "$all_before" -gt $((2 * deleted)) -a "$rest_before" -gt 100 -a "$other_before" -gt 100
api past query_range -d "start=$((now - 10800))&end=$now&step=60" --data-urlencode "query=$rest" > "$work/rest-first"
api past query_range -d "start=$((now - 10800))&end=$now&step=60" --data-urlencode "query=sum by (job) ($rest)" > "$work/sums-first"

claim "no match[] is refused" is 400 status -X POST -H 'X-Scope-OrgID: past' "$(url)/prometheus/api/v1/admin/tsdb/delete_series"
claim "an hour of some series is deleted" is 204 status -X POST -H 'X-Scope-OrgID: past' "$(url)/prometheus/api/v1/admin/tsdb/delete_series" \
    --data-urlencode "match[]=$gone" -d "start=$((end - 3600)).001&end=$end"

shown() { api "$1" query_range -d "start=$((end - 3000))&end=$end&step=60" --data-urlencode "query=count($gone)" | jq '.data.result | length'; }
survivors() {
    local what
    for what in "rest|$rest" "sums|sum by (job) ($rest)"; do
        api past query_range -d "start=$((now - 10800))&end=$now&step=60" --data-urlencode "query=${what#*|}" > "$work/now" || return 1
        cmp "$work/${what%%|*}-first" "$work/now" || return 1
    done
}
series_in() { api "$1" series -d "start=$2&end=$3" --data-urlencode "match[]=$4" | jq '.data | length'; }
deleted_is_gone() {
    claim "$1: no deleted sample is found" is 0 count past "$(hour "$gone")"
    claim "$1: nor one of the past beside them is missing" is $((all_before - deleted)) count past "$(day "$all")"
    claim "$1: what was not deleted has the same bytes" survivors
    claim "$1: the tenant next to it has everything" "$TORC_BINARY" loadgen --verify-only --history "$work/stays" --query-url "$(url)/prometheus"
}
deleted_is_gone "at once"
claim "the result of a range query, cached or not, has none of them" is 0 shown past
claim "and again" is 0 shown past
claim "series are not listed for the hour" is 0 series_in past $((end - 1800)) $((end - 1799)) "$gone"
claim "but are for the day" test "$(series_in past $((now - 10800)) "$now" "$gone")" -gt 0

born=$(api live query --data-urlencode 'query=sum(count_over_time({instance="10.0.0.0:9100"}[1m]))' | jq -r '.data.result[0].value[1] // "0"')
claim "series that are being written are there" test "$born" -gt 0
cut=$(date +%s.%3N)
claim "and are deleted, with all they have" is 204 status -X PUT "$(url)/workspaces/live/api/v1/admin/tsdb/delete_series?match%5B%5D=%7Binstance%3D%2210.0.0.0:9100%22%7D"
claim "a tenant is deleted" is 200 status -X POST -H 'X-Scope-OrgID: other' "http://127.0.0.1:$((port + 4))/compactor/delete_tenant"
tenant_is_gone() {
    claim "$1: the deleted tenant has no sample" is 0 count other "$(day "$all")"
    claim "$1: no series" is 0 series_in other $((now - 10800)) "$now" "$all"
    claim "$1: and no label value" is 0 eval 'api other label/__name__/values | jq ".data | length"'
}
tenant_is_gone "at once"
claim "the writer ends well" wait "$writer"
oldest() { api live query --data-urlencode 'query={instance="10.0.0.0:9100"}[5m]' | jq "[.data.result[].values[0][0]] | min >= $cut"; }
claim "what was written after the deletion stays, nothing before" is true oldest
claim "and the series beside them lost nothing" is 0 eval 'api live query --data-urlencode "query=count(count_over_time({instance=\"10.0.0.1:9100\"}[1m]) < 20)" | jq ".data.result | length"'

post() { curl -fs -m 300 -X POST "http://127.0.0.1:$1$2"; }
claim "all ingesters are killed" crash ingester-1 ingester-2 ingester-3
claim "they start again" again ingester-1 ingester-2 ingester-3
deleted_is_gone "after a restart"
for i in 1 2 3; do claim "ingester-$i flushes" post $((port + i)) /ingester/flush; done
deleted_is_gone "after the flush"
tenant_is_gone "after the flush"
claim "the compactor runs" post $((port + 4)) /compactor/run
deleted_is_gone "after compaction"
tenant_is_gone "after compaction"
blocks() { curl -fs "$(url)/querier/blocks?tenant=$1" | jq -r "$2"; }
sees() { for _ in $(seq 100); do [ "$(blocks "$1" "$2")" = "$3" ] && return; sleep 0.1; done; blocks "$1" .; return 1; }
claim "the blocks do not have the deleted samples" sees past '[.blocks[].samples] | add' $((all_before - deleted))
claim "the deleted tenant has no block" sees other '.blocks | length' 0
sleep 1
claim "the compactor removes the sources" post $((port + 4)) /compactor/run
claim "every block of the bucket is in use" eval '[ "$(find "$cluster/bucket" -name meta.json | wc -l)" = $(($(blocks past ".blocks | length") + $(blocks stays ".blocks | length") + $(blocks live ".blocks | length"))) ]'
claim "the tenant's deletion is told" is true eval "curl -fs -H 'X-Scope-OrgID: other' http://127.0.0.1:$((port + 4))/compactor/delete_tenant_status | jq .blocks_deleted"

for n in front ingester-1 ingester-2 ingester-3 compactor; do claim "$n stops" stop_one "$n"; done
rm -rf "$cluster"/data/ingester-*/ingester
claim "all start with empty memory" again ingester-1 ingester-2 ingester-3 front compactor
deleted_is_gone "with empty memory"
tenant_is_gone "with empty memory"
claim "the deleted tenant is written again" load other --series 100 --interval 500ms --duration 2s --seed 9
claim "and reads back" "$TORC_BINARY" loadgen --verify-only --history "$work/other" --query-url "$(url)/prometheus"
