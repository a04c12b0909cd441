# Sourced by suites that need a cluster for conformance tests: one that takes samples of any age, as scripts and generators write them.
# cluster_up: starts one below $TORC_BUILD, sets cluster_url and cluster_port (ingesters listen on the three ports after it). It ends with the shell.
# cluster_logs_clean: for the end of a suite.
# Series may be up to a day out of order: a request carries floats and histograms of a series in two lists, so those of a mixed series cross.
cluster_dir=$TORC_BUILD/conformance/cluster-$$
cluster_flags="--limits.retention_period=0 --limits.max_sample_age=0 --limits.creation_grace_period=0 --limits.out_of_order_window=1d --limits.query_request_rate=100000"

cluster_down() {
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
