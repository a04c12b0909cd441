# Shared by the cluster tests: a cluster of real processes in a directory of its own, cases counted, everything stopped at the end.
set -u
root=${TORC_ROOT:-$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)}
export TORC_BINARY=${TORC_BINARY:-${TORC_BUILD:-$root/build/asan}/app/torc}
work=$(mktemp -d /tmp/torc-cluster-XXXXXX)
cluster=$work/cluster
# The first of a row of ports that nobody listens at: HTTP from port on, RPC from port + 100 on.
free_row() {
    local p i
    while :; do
        p=$((20000 + RANDOM % 8000))
        for i in 0 1 2 3 4 5 6 7 100 101 102 103 104 105 106 107; do
            (: < "/dev/tcp/127.0.0.1/$((p + i))") 2> /dev/null && continue 2
        done
        echo $p
        return
    done
}
port=${CLUSTER_PORT:-$(free_row)}
passed=0 failed=0

finish() {
    "$root/deploy/local/down" --dir "$cluster" > /dev/null 2>&1
    if grep -qE 'AddressSanitizer|runtime error|assertion failed' "$cluster"/logs/*.log 2> /dev/null; then
        grep -hE -A12 'AddressSanitizer|runtime error|assertion failed' "$cluster"/logs/*.log | head -60
        failed=$((failed + 1))
    fi
    if [ $failed -eq 0 ]; then rm -rf "$work"; else echo "logs: $cluster/logs"; fi
    echo "$passed passed, $failed failed"
    [ $failed -eq 0 ] && [ $passed -gt 0 ]
    exit $?
}

# case "what is claimed" COMMAND...
claim() {
    local what=$1
    shift
    if "$@" > "$work/case.log" 2>&1; then
        passed=$((passed + 1)); echo "ok      $what"
    else
        failed=$((failed + 1)); echo "FAILED  $what"; tail -n 25 "$work/case.log"
    fi
}

up() { "$root/deploy/local/up" --dir "$cluster" --port "$port" --no-load "$@"; }
url() { echo "http://127.0.0.1:$port"; }
pid() { cat "$cluster/pids/$1.pid"; }
crash() { for n in "$@"; do kill -9 "$(pid "$n")"; done; }
again() { for n in "$@"; do "$root/deploy/local/restart" --dir "$cluster" "$n"; done; }
# The value of an instant query with one result; empty when there is none.
value() { curl -s -G "$(url)/prometheus/api/v1/query" --data-urlencode "query=$1" | sed -nE 's/.*"value":\[[0-9.]+,"([^"]*)"\].*/\1/p'; }
# Ends a process in order and waits for it.
stop_one() { kill "$(pid "$1")"; while grep -qs '^State:.[^ZX]' "/proc/$(pid "$1")/status"; do sleep 0.05; done; }
