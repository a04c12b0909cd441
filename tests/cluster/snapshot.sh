#!/usr/bin/env bash
# A tenant's snapshot is made while samples are in memory; an hour is deleted, everything is merged and the source blocks go. What the snapshot has comes back, to the last sample.
. "$(dirname "$0")/lib.sh"
trap finish EXIT
claim "a cluster starts" up -- --limits.max_sample_age=0 --compactor.interval=1h --compactor.delete-delay=1s --compactor.settle=0s --ingester.retain-period=0 \
    --ingester.flush-check-period=200ms
claim "five hours of the past are written" "$TORC_BINARY" loadgen --url "$(url)/api/v1/push" --tenant past --history "$work/past" --series 500 --backfill 5h --interval 1m --seed 3
now=$(date +%s)
end=$((now - 4 * 3600))
api() { curl -fs -H "X-Scope-OrgID: past" "$@"; }
count() { api "$(url)/prometheus/api/v1/query" -d "time=$now" --data-urlencode "query=sum(count_over_time({job!=\"\"}[1d]))" | jq -r '.data.result[0].value[1] // "0"'; }
is() { local got; got=$("${@:2}"); [ "$got" = "$1" ] || { echo "$got, want $1"; return 1; }; }
admin="$(url)/prometheus/api/v1/admin/tsdb"
all=$(count)
claim "a snapshot is made of what is in memory" eval 'api -X POST "$admin/snapshot" | tee "$work/snapshot" | jq -e ".status == \"success\""'
name=$(jq -r .data.name "$work/snapshot")
claim "it is listed, with three copies of every sample" is "$((3 * all))" eval 'api "$admin/snapshots" | jq ".data[] | select(.name == \"$name\") | .samples"'
claim "another tenant does not see it" is 0 eval 'curl -s -H "X-Scope-OrgID: other" "$admin/snapshots" | jq ".data | length"'
claim "an hour is deleted" api -X POST "$admin/delete_series" --data-urlencode 'match[]={job!=""}' -d "end=$end"
rest=$(count)
claim "and gone" test "$rest" -lt "$all" -a "$rest" -gt 0
compact() { curl -fs -m 300 -X POST "http://127.0.0.1:$((port + 4))/compactor/run"; }
for i in 1 2 3; do claim "ingester-$i flushes" curl -fs -X POST "http://127.0.0.1:$((port + i))/ingester/flush"; done
claim "the compactor merges" compact
sleep 1.2
claim "and removes the sources" compact
claim "the snapshot's blocks are still in the bucket" eval 'for b in $(jq -r ".blocks[].id" "$cluster/bucket/snapshots/past/$name.json"); do test -f "$cluster/bucket/blocks/$b/meta.json" || exit 1; done'
claim "the snapshot is restored" is restored eval 'api -X POST "http://127.0.0.1:$((port + 4))/compactor/restore_snapshot?name=$name" | tee "$work/restored" | jq -r .status'
back() { for _ in $(seq 50); do is "$all" count && return; sleep 0.1; done; return 1; }
claim "every sample is there again" back
claim "with its value" "$TORC_BINARY" loadgen --verify-only --history "$work/past" --query-url "$(url)/prometheus"
claim "the compactor merges it with what there is" compact
claim "every sample is there still" back
claim "the snapshot is removed" is 204 eval 'curl -s -o /dev/null -w "%{http_code}" -H "X-Scope-OrgID: past" -X DELETE "$admin/snapshot?name=$name"'
claim "and is no longer listed" is 0 eval 'api "$admin/snapshots" | jq ".data | length"'
