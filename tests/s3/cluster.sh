#!/usr/bin/env bash
# A cluster of real processes whose blocks are in a real S3 server, behind a proxy that breaks one request in ten: samples go from memory to blocks, three
# copies become one, every process starts again with empty memory, the store goes away and comes back. Every acknowledged sample reads back bit for bit, and
# a query fails whole or is complete.
. "$(dirname "$0")/../cluster/lib.sh"
stop_all() { exec {serve[1]}>&-; finish; }
trap stop_all EXIT
coproc serve { exec "$root/tests/s3/serve.sh" 2> "$work/serve.log"; }
read -r _ server proxy <&"${serve[0]}"
s3=http://127.0.0.1:$proxy
fault() { curl -fsS -o /dev/null -d "$1" "$s3/__fault"; }
no_faults() { curl -fsS -o /dev/null -X DELETE "$s3/__fault"; }
faults() {
    fault '{"kind":"status","status":503,"code":"SlowDown","times":-1,"chance":0.04,"seed":1}' &&
        fault '{"kind":"reset","times":-1,"chance":0.02,"seed":2}' &&
        fault '{"kind":"lost","times":-1,"chance":0.03,"seed":3}' &&
        fault '{"kind":"truncate","method":"GET","times":-1,"chance":0.05,"seed":4}' &&
        fault '{"kind":"etag","method":"PUT","times":-1,"chance":0.05,"seed":5}' &&
        fault '{"kind":"stale","path":"list-type","times":-1,"chance":0.2,"seed":6}' &&
        fault '{"kind":"duplicate","path":"list-type","times":-1,"chance":0.2,"seed":7}' &&
        fault '{"kind":"delay","seconds":2,"times":-1,"chance":0.01,"seed":8}'
}
export AWS_ACCESS_KEY_ID=of-the-environment AWS_SECRET_ACCESS_KEY=a-planted-secret
claim "faults are set" faults
claim "a cluster starts" up -- --bucket.url=s3://test-bucket/torc --bucket.s3.endpoint="$s3" --bucket.s3.hedge-delay=500ms --bucket.s3.part-size=5MiB \
    --bucket.s3.request-timeout=10s --bucket.s3.session-token=a-planted-token --limits.max_sample_age=0 --compactor.interval=1h --compactor.delete-delay=1s \
    --ingester.retain-period=0 --ingester.flush-check-period=200ms

load() { "$TORC_BINARY" loadgen --url "$(url)/api/v1/push" --tenant "$1" --history "$work/$1" --json "${@:2}" > "$work/$1.json"; }
verify() { "$TORC_BINARY" loadgen --verify-only --history "$work/$1" --query-url "$(url)/prometheus"; }
post() { curl -fs -m 300 -X POST "http://127.0.0.1:$1$2"; }
blocks() { curl -fs "$(url)/querier/blocks?tenant=$1" | jq -r "$2"; }
sees() { for _ in $(seq 100); do [ "$(blocks "$1" "$2")" = "$3" ] && return; sleep 0.1; done; blocks "$1" .; return 1; }
metric() { curl -fs "http://127.0.0.1:$1/metrics" | awk -v n="$2" 'index($0, n) == 1 { s += $2 } END { print s + 0 }'; }
above() { [ "$(metric "$1" "$2")" -gt "$3" ] || { metric "$1" "$2"; return 1; }; }

claim "three hours are written" load past --series 600 --backfill 3h --interval 1m --special --seed 3
for i in 1 2 3; do claim "ingester-$i flushes" post $((port + i)) /ingester/flush; done
acked=$(jq .samples_acked "$work/past.json")
claim "the blocks hold three copies" sees past '[.blocks[].samples] | add' $((3 * acked))
claim "every sample reads back" verify past
claim "the compactor runs" post $((port + 4)) /compactor/run
claim "one copy is left" sees past '[.blocks[].samples] | add' "$acked"
claim "every sample reads back after compaction" verify past
sleep 2
claim "the compactor removes the sources" post $((port + 4)) /compactor/run
for n in front ingester-1 ingester-2 ingester-3 compactor; do claim "$n stops" stop_one "$n"; done
rm -rf "$cluster"/data/ingester-*/ingester
claim "all start with empty memory" again ingester-1 ingester-2 ingester-3 front compactor
claim "every sample reads back from the blocks alone" verify past

claim "nothing is in the directory" test -z "$(find "$cluster/bucket" -type f)"
log=$(curl -fs "$s3/__log")
claim "requests were broken in every way" jq -e '[.[][3] | select(type == "string")] | unique == ["delay","duplicate","etag","lost","reset","stale","truncate"]' <<< "$log"
claim "some were refused" jq -e '[.[][3] | select(. == 503)] | length > 3' <<< "$log"
claim "requests were sent again" above "$port" torc_bucket_retries_total 0
claim "reads were ranges" above "$port" 'torc_bucket_requests_total{operation="get_range",result="206"}' 0
config=$(curl -fs "$(url)/config")
claim "neither configuration, logs nor metrics have the secrets" test -z "$(grep -rl 'a-planted' "$cluster/logs"; grep 'a-planted' <<< "$config"; for i in 0 1 4; do curl -fs "http://127.0.0.1:$((port + i))/metrics"; done | grep a-planted)"

no_faults
claim "the store is away" fault '{"kind":"status","status":503,"code":"ServiceUnavailable","times":-1}'
claim "a process stops" stop_one ingester-1
claim "and starts without the store" again ingester-1
now=$(date +%s)
ask() { curl -s -m 120 -o "$work/answer" -w '%{http_code}' -H 'X-Scope-OrgID: past' "$(url)/prometheus/api/v1/query" -d "time=$((now - 5400))" --data-urlencode 'query=count({job!=""})'; }
whole() { [ "$(ask)" = 200 ] && jq -e --arg n "$1" '.data.result[0].value[1] == $n' "$work/answer"; }
count=$(no_faults && ask > /dev/null && jq -r '.data.result[0].value[1]' "$work/answer")
claim "a query has an answer" test "$count" -gt 0
claim "the front stops" stop_one front
claim "the store is away again" fault '{"kind":"status","status":503,"code":"ServiceUnavailable","times":-1}'
claim "the front starts without the store" again front
code=$(ask)
claim "without the store a query fails whole ($code)" test "${code:0:1}" = 5
no_faults
later() { for _ in $(seq 60); do whole "$1" && return; sleep 1; done; return 1; }
claim "with it the answer is whole" later "$count"
