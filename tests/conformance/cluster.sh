# Sourced by suites that need a cluster for conformance tests: one that takes samples of any age, as scripts and generators write them.
# cluster_up: starts one below $TORC_BUILD, sets cluster_url and cluster_port (ingesters listen on the three ports after it). It ends with the shell.
# querier_up: starts a second querier beside it, sets querier_url and querier_pid: it shares every query with the front, by shards of the series and by parts of the range of
# five minutes, and keeps results of whatever is older than a day in its cache.
# cluster_logs_clean: for the end of a suite.
# Series may be up to a day out of order: a request carries floats and histograms of a series in two lists, so those of a mixed series cross.
cluster_dir=$TORC_BUILD/conformance/cluster-$$
cluster_flags="--limits.retention_period=0 --limits.max_sample_age=0 --limits.creation_grace_period=0 --limits.out_of_order_window=1d --limits.query_request_rate=100000"

querier_pid=

cluster_down() {
    if [ -n "$querier_pid" ]; then
        kill "$querier_pid" 2> /dev/null
        wait "$querier_pid" 2> /dev/null
        querier_pid=
    fi
    [ -d "$cluster_dir" ] || return 0
    "$TORC_ROOT/deploy/local/down" --dir "$cluster_dir" > /dev/null 2>&1
    rm -rf "$cluster_dir"
}

# No process may have logged an error, or what a sanitizer says.
cluster_logs_clean() {
    ! grep -hE 'level=error|Sanitizer|runtime error|ASSERT' "$cluster_dir"/logs/*.log
}

cluster_up() {
    local try log=$TORC_BUILD/conformance/cluster-up-$$.log
    trap cluster_down EXIT
    for try in 1 2 3 4 5; do
        cluster_port=$((20000 + RANDOM % 8000))
        cluster_url=http://127.0.0.1:$cluster_port
        # shellcheck disable=SC2086
        if TORC_BINARY=$TORC_BUILD/app/torc "$TORC_ROOT/deploy/local/up" --dir "$cluster_dir" --port "$cluster_port" --no-load -- $cluster_flags > "$log" 2>&1; then
            rm -f "$log"
            return 0
        fi
        cluster_down
    done
    echo "no cluster after $try attempts:"
    cat "$log"
    return 1
}

querier_up() {
    local port=$((cluster_port + 50)) try
    querier_url=http://127.0.0.1:$port
    # shellcheck disable=SC2086
    "$TORC_BUILD/app/torc" --target=querier --instance.id=querier-2 --server.http-listen-address=127.0.0.1 --server.http-listen-port=$port \
        --server.rpc-listen-address=127.0.0.1:$((port + 1)) --ring.seeds=127.0.0.1:$((cluster_port + 101)) --data-dir="$cluster_dir/querier-2" \
        --bucket.url="filesystem://$cluster_dir/bucket" $cluster_flags --limits.max_sample_age=1h \
        --querier.shard-min-samples=0 --querier.split-interval=5m --querier.index-refresh=100ms > "$cluster_dir/logs/querier-2.log" 2>&1 &
    querier_pid=$!
    for try in $(seq 100); do
        # Ready, and aware of the front as a peer.
        curl -fsS "$querier_url/ready" > /dev/null 2>&1 &&
            curl -sS -G "$querier_url/prometheus/api/v1/query" -d trace=1 --data-urlencode 'query=sum(up)' 2> /dev/null | grep -q 'fragment for querier' && return 0
        sleep 0.2
    done
    echo "the second querier shares nothing:"
    tail -n 5 "$cluster_dir/logs/querier-2.log"
    return 1
}

# The number of a counter of the second querier.
querier_metric() {
    curl -fsS "$querier_url/metrics" | awk -v name="$1" '$1 == name { print int($2) }'
}
