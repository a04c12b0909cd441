# Shared by up, restart, status and down: where a local cluster keeps its things and how its processes are started.
# A cluster is a directory: cluster.env (its parameters), pids/NAME.pid, logs/NAME.log, data/NAME/, bucket/.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
dir=.local

fail() { echo "$*" >&2; exit 1; }

# Absolute, so that processes may change their directory.
use_dir() { mkdir -p "$dir"; dir=$(cd "$dir" && pwd); mkdir -p "$dir/pids" "$dir/logs" "$dir/data" "$dir/bucket"; }

load_env() {
    [ -f "$dir/cluster.env" ] || fail "no cluster in $dir: start one with deploy/local/up --dir $dir"
    dir=$(cd "$dir" && pwd)
    # shellcheck disable=SC1091
    . "$dir/cluster.env"
}

names() {
    echo front
    for i in $(seq 1 "$ingesters"); do echo "ingester-$i"; done
    echo compactor
}

# front is 0, ingester-N is N, the compactor comes behind the room for ingesters.
index_of() {
    case $1 in
    front) echo 0 ;;
    compactor) echo $((${room:-$ingesters} + 1)) ;;
    *)
        names | grep -qx -- "$1" || fail "no process '$1': there are $(names | tr '\n' ' ')"
        echo "${1#ingester-}"
        ;;
    esac
}
http_port() { echo $((port + $(index_of "$1"))); }
rpc_port() { echo $((port + 100 + $(index_of "$1"))); }

pid_of() { cat "$dir/pids/$1.pid" 2> /dev/null || true; }
# A zombie is dead. So is a process that only has the number of one of ours: it has not our arguments.
alive() {
    local pid
    pid=$(pid_of "$1")
    [ -n "$pid" ] && grep -qs '^State:.[^ZX]' "/proc/$pid/status" && tr '\0' '\n' 2> /dev/null < "/proc/$pid/cmdline" | grep -qxF -- "--data-dir=$dir/data/$1"
}
# A process that was killed holds its sockets until its last thread is gone; its first may be a zombie by then.
settle() {
    local pid n=0
    pid=$(pid_of "$1")
    while [ -n "$pid" ] && [ $n -lt 200 ] && [ "$(ls "/proc/$pid/task" 2> /dev/null | wc -l)" -gt 1 ]; do
        n=$((n + 1))
        sleep 0.05
    done
}
ready() { curl -fs -m 2 -o /dev/null "http://127.0.0.1:$(http_port "$1")/ready"; }

target_of() {
    case $1 in
    front) echo distributor,querier ;;
    compactor) echo compactor ;;
    *) echo ingester ;;
    esac
}

# Three zones, which take turns.
zone_of() { case $1 in ingester-*) echo "zone-$(((${1#ingester-} - 1) % 3 + 1))" ;; *) echo zone-1 ;; esac; }

start() {
    local name=$1 seeds="127.0.0.1:$((port + 101)),127.0.0.1:$((port + 100))"
    # shellcheck disable=SC2086
    setsid "$binary" --target="$(target_of "$name")" \
        --instance.id="$name" --instance.zone="$(zone_of "$name")" \
        --server.http-listen-address=127.0.0.1 --server.http-listen-port="$(http_port "$name")" \
        --server.rpc-listen-address="127.0.0.1:$(rpc_port "$name")" --ring.seeds="$seeds" \
        --data-dir="$dir/data/$name" --bucket.url="filesystem://$dir/bucket" $flags \
        >> "$dir/logs/$name.log" 2>&1 < /dev/null &
    echo $! > "$dir/pids/$name.pid"
    # Until the program is loaded the process is still this script's.
    while kill -0 $! 2> /dev/null && ! alive "$name"; do sleep 0.01; done
}

# Waits for NAME...; shows who is still missing. SECONDS at most.
wait_ready() {
    local limit=$1 waited=0 missing name
    shift
    while :; do
        missing=()
        for name in "$@"; do
            alive "$name" || { echo; tail -n 5 "$dir/logs/$name.log" >&2; fail "$name ended, see $dir/logs/$name.log"; }
            ready "$name" || missing+=("$name")
        done
        [ ${#missing[@]} -eq 0 ] && { printf '\rready: %s%-40s\n' "$*" ""; return; }
        [ "$waited" -ge $((limit * 20)) ] && { echo; fail "not ready after $limit s: ${missing[*]} (see $dir/logs)"; }
        [ $((waited % 5)) -eq 0 ] && printf '\rwaiting for: %-60s' "${missing[*]}"
        sleep 0.05
        waited=$((waited + 1))
    done
}

stop() {
    local name=$1 pid n=0
    pid=$(pid_of "$name")
    alive "$name" && kill "$pid" 2> /dev/null
    while alive "$name"; do
        n=$((n + 1))
        [ $n -gt 600 ] && { kill -9 "$pid" 2> /dev/null || true; }
        sleep 0.05
    done
    settle "$name"
    rm -f "$dir/pids/$name.pid"
}

table() {
    local name state
    printf '%-12s %-8s %-10s %-28s %s\n' NAME PID STATE HTTP DATA
    for name in $(names); do
        if ! alive "$name"; then state=dead; elif ready "$name"; then state=ready; else state=starting; fi
        printf '%-12s %-8s %-10s %-28s %s\n' "$name" "$(pid_of "$name")" $state "http://127.0.0.1:$(http_port "$name")" "$dir/data/$name"
    done
}
