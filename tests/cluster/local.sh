#!/usr/bin/env bash
# deploy/local as its users meet it: up, load, query, verify, restart, down, up again; what it says when asked for nonsense. And the checker itself: data that
# is really gone is reported as lost.
. "$(dirname "$0")/lib.sh"
trap finish EXIT
local_() { "$root/deploy/local/$1" --dir "$cluster" "${@:2}"; }
says() { grep -qF -- "$1" "$work/case.log" || grep -qF -- "$1" "$work/out"; }
code_is() { local want=$1; shift; "$@" > "$work/out" 2>&1; [ $? -eq "$want" ] || { cat "$work/out"; return 1; }; }

claim "a cluster starts, loads and answers" code_is 0 local_ up --port "$port"
claim "it has answered over what was written" says '"status":"success"'
claim "it shows the front" says "$(url)"
claim "up on a running cluster says so" code_is 0 local_ up --port "$port"
claim "in words" says "runs in"
claim "status is fine" code_is 0 local_ status
claim "it names every process" test "$(grep -cE '^(front|ingester-[123]|compactor) .* ready ' "$work/out")" = 5

verify() { "$TORC_BINARY" loadgen --verify-only --history "$work/history" --query-url "$(url)/prometheus"; }
claim "samples of odd values are written and read back" "$TORC_BINARY" loadgen --url "$(url)/api/v1/push" --series 2000 --interval 500ms --duration 5s --batch 300 \
    --connections 4 --tenants 3 --special --churn 120 --seed 9 --history "$work/history" --verify
for n in front ingester-1 ingester-2 ingester-3 compactor; do
    was=$(pid "$n")
    claim "$n restarts" code_is 0 local_ restart "$n"
    claim "$n is another process" test "$(pid "$n")" != "$was"
done
claim "all is there after every process restarted" verify
crash ingester-2
claim "status fails when one is dead" code_is 1 local_ status
claim "and names it" grep -qE '^ingester-2 .* dead ' "$work/out"
claim "restart starts the dead" code_is 0 local_ restart ingester-2
claim "there is no ingester-7" code_is 1 local_ restart ingester-7
claim "a wrong flag is refused" code_is 1 local_ up --nonsense
claim "the cluster stops" code_is 0 local_ down
claim "nobody listens any more" code_is 7 curl -s "$(url)/ready"
claim "a stopped cluster has no status" code_is 1 local_ status
claim "it starts again on its data" code_is 0 local_ up --port "$port" --no-load
claim "all is there after the cluster was down" verify

# Two of three copies gone is more than the promise covers; all three gone must be seen.
for n in ingester-1 ingester-2 ingester-3; do stop_one "$n"; done
rm -rf "$cluster"/data/ingester-*/ingester
claim "ingesters start without their data" again ingester-1 ingester-2 ingester-3
claim "the checker sees the loss" code_is 2 verify
claim "and counts every sample of it" test "$(awk '$1 == "lost" { print $2 }' "$work/out")" -gt 50000
claim "and nothing else" test "$(awk '$1 ~ /^(twice|wrong|phantom|verified)$/ { n += $2 } END { print n }' "$work/out")" = 0
