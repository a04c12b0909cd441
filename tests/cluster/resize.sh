#!/usr/bin/env bash
# Ingesters come and go under load: three become six, one after another, then three again by /ingester/prepare-shutdown with a stop and by /ingester/shutdown. All the
# while a reader judges everything that was acknowledged by then: nothing lost, doubled or altered, at any moment.
# CLUSTER_SERIES, CLUSTER_CYCLES, CLUSTER_UP_TO: the load, how often, and how many at most (CI dose below).
. "$(dirname "$0")/lib.sh"
series=${CLUSTER_SERIES:-1000} cycles=${CLUSTER_CYCLES:-1} most=${CLUSTER_UP_TO:-6}
trap finish EXIT
claim "a cluster starts" up --room "$most" -- --ring.period=500ms

# Whole targets (250 series) in each batch: then a history that still grows can be judged up to its last entry.
"$TORC_BINARY" loadgen --url "$(url)/api/v1/push" --series "$series" --interval 500ms --batch 500 --duration 1h --history "$work/history" --json > "$work/load.json" 2> "$work/load.log" &
load=$!
verify() { "$TORC_BINARY" loadgen --verify-only --history "$work/history" --query-url "$(url)/prometheus"; }
read_on() {
    local n=0
    until [ -e "$work/enough" ]; do
        verify > "$work/read.log" 2>&1 || { cp "$work/read.log" "$work/incomplete.$n.log"; date +%T >> "$work/incomplete.$n.log"; }
        n=$((n + 1)); echo $n > "$work/reads"
    done
}
sleep 3
read_on & reader=$!
page() { curl -s -H 'Accept: application/json' "http://127.0.0.1:$((port + $1))$2"; }
members() { page 0 /memberlist | jq -r '[.instances[] | select(.roles | tostring | test("ingester")) | select(.state == "ACTIVE")] | length'; }
owners_are() { for _ in $(seq 100); do [ "$(members)" = "$1" ] && return; sleep 0.1; done; page 0 /memberlist; return 1; }
gone() { for _ in $(seq 600); do grep -qs '^State:.[^ZX]' "/proc/$1/status" || return 0; sleep 0.1; done; return 1; }
prepared() { curl -s "http://127.0.0.1:$((port + $1))/ingester/prepare-shutdown"; }
leave_by_stop() {
    local p
    p=$(pid "ingester-$1")
    [ "$(prepared "$1")" = unset ] || return 1
    curl -sf -X POST "http://127.0.0.1:$((port + $1))/ingester/prepare-shutdown" && [ "$(prepared "$1")" = set ] || return 1
    [ "$(page "$1" /ingester/prepare-shutdown | jq -r .state)" = set ] || return 1
    kill "$p" && gone "$p"
}
leave_by_request() {
    local p
    p=$(pid "ingester-$1")
    [ "$(curl -s -o /dev/null -w '%{http_code}' -m 120 -X POST "http://127.0.0.1:$((port + $1))/ingester/shutdown")" = 204 ] && gone "$p"
}
fewer() { sed -i "s/^ingesters=.*/ingesters=$1/" "$cluster/cluster.env"; }

grow() { "$root/deploy/local/grow" --dir "$cluster"; }
# The distributor sleeps meanwhile, and goes on with what it knew of the ring.
grow_unseen() {
    local rc
    kill -STOP "$(pid front)"
    grow; rc=$?
    kill -CONT "$(pid front)"
    return $rc
}
mode_is() { [ "$(page "$1" /ingester/mode | jq -r .mode)" = "$2" ]; }
set_mode() { curl -s -o /dev/null -w '%{http_code}' -X POST "http://127.0.0.1:$((port + $1))/ingester/mode?mode=$2"; }

for cycle in $(seq "$cycles"); do
    for n in $(seq 4 "$most"); do
        if [ "$n" = "$most" ]; then how=grow_unseen; else how=grow; fi
        claim "ingester-$n joins ($how)" $how
        claim "and owns" owners_are "$n"
        claim "every acknowledged sample is there" verify
    done
    claim "one turns READ_ONLY" test "$(set_mode "$most" READ_ONLY)" = 200
    claim "and says so" mode_is "$most" READ_ONLY
    sleep 2
    claim "no other one does meanwhile" test "$(set_mode 1 READ_ONLY)" = 409
    claim "every acknowledged sample is there" verify
    for n in $(seq "$most" -1 4); do
        if [ $((n % 2)) = 0 ]; then how=leave_by_stop; else how=leave_by_request; fi
        claim "ingester-$n goes ($how)" $how "$n"
        fewer $((n - 1))
        claim "and owns no more" owners_are $((n - 1))
        claim "every acknowledged sample is there" verify
        rm -rf "$cluster/data/ingester-$n"
    done
done
kill -INT $load; wait $load
touch "$work/enough"; wait $reader
complete() { cat "$work"/incomplete.*.log 2> /dev/null; [ "$(cat "$work/reads")" -ge 5 ] && ! ls "$work"/incomplete.*.log > /dev/null 2>&1; }
claim "the reader found everything, each of the times it looked ($(cat "$work/reads"))" complete
claim "no push failed for good" jq -e '.samples_failed == 0 and .samples_acked > 0' "$work/load.json"
claim "every acknowledged sample is there once, bit for bit" verify
jq -c '{samples_acked, retries, push_p99, push_max, statuses, last_error}' "$work/load.json"
