#!/usr/bin/env bash
# The generator as its users meet it: against a torc of real processes, Debian's prometheus and victoria-metrics. Every kind of load, what is read back, thresholds and
# exit codes, metrics, interrupts.
. "$(dirname "$0")/lib.sh"
others=()
ends() { for p in "${others[@]}"; do kill "$p" 2> /dev/null; done; wait 2> /dev/null; finish; }
trap ends EXIT
code_is() { local want=$1 got; shift; "$@" > "$work/out" 2> "$work/errors"; got=$?; [ $got -eq "$want" ] || { echo "exit code $got"; cat "$work/out" "$work/errors"; return 1; }; }
says() { grep -qF -- "$1" "$work/out" "$work/errors" || { cat "$work/out" "$work/errors"; return 1; }; }
# A figure of the last JSON report, in a jq expression: is 'errors == 0 and lost == 0'.
figure() { jq -r ".$1" "$work/out"; }
is() { jq -e "$1" "$work/out" > /dev/null || { cat "$work/out" "$work/errors"; return 1; }; }
load() { "$TORC_BINARY" loadgen --quiet --json "$@"; }
torc_load() { load --url "$(url)/api/v1/push" "$@"; }
answers() { until curl -sf -o /dev/null "$1"; do sleep 0.1; [ $((++tries)) -lt 300 ] || return 1; done; }

claim "a cluster starts" up

# --- every kind of series, read back ---
claim "plain series, native histograms, exemplars, churn, tenants: all there" code_is 0 torc_load --series 2000 --native-histograms 60 --exemplars 10 --churn 300 --tenants 2 \
    --interval 500ms --duration 4s --batch 300 --connections 4 --seed 21 --tenant kinds --verify --threshold 'lost<=0,errors<=0' --threshold 'push_p99<10s'
claim "and it is the whole load that was read" is '.verified >= 2 * 2060 * 8 and .clean and .samples_failed == 0'
claim "few labels" code_is 0 torc_load --series 600 --labels 4 --rounds 2 --interval 200ms --tenant few --verify
claim "many labels" code_is 0 torc_load --series 600 --labels 25 --rounds 2 --interval 200ms --tenant many --verify
claim "out of order" code_is 0 torc_load --series 500 --interval 200ms --duration 2s --out-of-order 20 --tenant late --verify

# --- a recorded scrape ---
curl -sf "$(url)/metrics" > "$work/scrape"
claim "a scrape of torc itself is replayed by three instances" code_is 0 torc_load --replay "$work/scrape" --instances 3 --rounds 4 --interval 250ms --history "$work/replayed" --tenant replay --verify
claim "with each of its series" is ".verified == 3 * 4 * $(grep -cv '^#' "$work/scrape")"
claim "the history is enough to judge it later" code_is 0 "$TORC_BINARY" loadgen --quiet --verify-only --replay "$work/scrape" --history "$work/replayed" --query-url "$(url)/prometheus"
echo 'other 1' > "$work/other"
claim "but not with another file" code_is 1 "$TORC_BINARY" loadgen --quiet --verify-only --replay "$work/other" --history "$work/replayed" --query-url "$(url)/prometheus"
claim "which it says" says "of another recording"
echo 'broken{ 1' >> "$work/other"
claim "a broken recording is refused with its line" code_is 1 torc_load --replay "$work/other" --rounds 1
claim "in words" says "line 2"

# --- queries meanwhile ---
printf '# dashboard\nsum by (job) (rate(http_responses_total[1m]))\nrange=5m step=15s max(process_open_fds)\n' > "$work/queries"
claim "queries are asked meanwhile" code_is 0 torc_load --series 1000 --interval 500ms --duration 4s --queries "$work/queries" --query 'count({job!=""})' --query-rate 10 \
    --threshold 'query_errors<=0' --threshold 'query_p99<20s'
claim "at their rate, in turn" is '.query_done >= 30 and (.queries | length) == 3 and ([.queries[].done] | min) >= 10 and .query_p50 > 0'
claim "a query that fails is an error, and a threshold finds it" code_is 2 torc_load --series 100 --interval 500ms --duration 1s --query 'sum(' --threshold 'query_errors<1'
claim "with its reason" is '.last_query_error | test("parse error")'

# --- thresholds and exit codes ---
claim "a threshold that is broken decides the exit code" code_is 2 torc_load --series 100 --rounds 1 --interval 100ms --threshold 'push_p50<0.000001,samples_acked>=100' --threshold 'acked>1000'
claim "each that failed is named with what it was" says "threshold acked>1000 is broken: samples_acked is 100"
claim "those that hold are not" bash -c "! grep -q 'samples_acked>=100' '$work/errors'"
before=$(date +%s)
claim "a mistyped one is refused before anything is sent" code_is 1 torc_load --series 100 --duration 1h --threshold 'push_p95<1s'
claim "at once" test $(($(date +%s) - before)) -lt 20
claim "and lists the names" says "push_p50, push_p90, push_p99, push_p999, push_max"
claim "a query threshold without queries too" code_is 1 torc_load --series 100 --duration 1h --threshold 'query_p99<1s'
claim "nobody there: nothing was acknowledged" code_is 1 load --url "http://127.0.0.1:$((port + 90))/" --series 10 --rounds 1 --interval 100ms --give-up 200ms
claim "which it says" says "nothing was acknowledged"

# --- metrics, interrupt ---
"$TORC_BINARY" loadgen --url "$(url)/api/v1/push" --series 500 --interval 500ms --duration 10m --query 'up' --metrics-listen "127.0.0.1:$((port + 91))" --metrics-file "$work/metrics" \
    > "$work/out" 2> "$work/errors" &
running=$!
others+=($running)
tries=0
claim "its figures can be scraped" answers "http://127.0.0.1:$((port + 91))/metrics"
acked() { sed -nE 's/^torc_loadgen_samples_acked_total ([0-9]+)$/\1/p'; }
grows() { for _ in $(seq 100); do [ "$(curl -s "http://127.0.0.1:$((port + 91))/metrics" | acked)" -ge 1000 ] 2> /dev/null && return; sleep 0.1; done; return 1; }
claim "and grow" grows
claim "the file has them too" test "$(acked < "$work/metrics")" -ge 500
kill -INT $running
ended() { wait $running; }
claim "an interrupt ends it in order" ended
claim "with its report" says "interrupted"
claim "and every figure" grep -qE '^samples_acked +[0-9]+$' "$work/out"
claim "progress is a line each second" test "$(grep -cE '^ +[0-9]+ s of 600 +[0-9]+ samples/s' "$work/errors")" -ge 1
documented() { "$TORC_BINARY" loadgen --help | grep -oE '^  --[a-z-]+' | while read -r flag; do grep -qE -- "$flag\b" "$root/docs/loadgen.md" || { echo "$flag"; return 1; }; done; }
claim "docs/loadgen.md has every flag" documented

# --- others as the target ---
echo 'global: {scrape_interval: 1h}' > "$work/prometheus.yml"
prometheus --config.file="$work/prometheus.yml" --storage.tsdb.path="$work/prometheus" --web.listen-address="127.0.0.1:$((port + 92))" --web.enable-remote-write-receiver \
    --enable-feature=native-histograms,exemplar-storage > "$work/prometheus.log" 2>&1 &
others+=($!)
victoria-metrics -storageDataPath="$work/victoria" -httpListenAddr="127.0.0.1:$((port + 93))" -search.latencyOffset=0s > "$work/victoria.log" 2>&1 &
others+=($!)
prometheus=http://127.0.0.1:$((port + 92)) victoria=http://127.0.0.1:$((port + 93))
tries=0
claim "prometheus starts" answers "$prometheus/-/ready"
claim "prometheus has it all, native histograms too" code_is 0 load --url "$prometheus/api/v1/write" --query-url "$prometheus" --series 1000 --native-histograms 40 --exemplars 20 \
    --interval 500ms --duration 3s --seed 5 --verify --threshold 'lost<=0'
exemplars() { curl -s -G "$prometheus/api/v1/query_exemplars" --data-urlencode 'query=http_responses_total' --data-urlencode "start=$(($(date +%s) - 60))" \
    --data-urlencode "end=$(date +%s)" | jq '[.data[].exemplars[] | select(.labels.trace_id | test("^[0-9a-f]{32}$"))] | length'; }
claim "and the exemplars" test "$(exemplars)" -ge 10
claim "prometheus replays torc's scrape" code_is 0 load --url "$prometheus/api/v1/write" --query-url "$prometheus" --replay "$work/scrape" --rounds 2 --interval 300ms --verify
claim "a pair of replicas sends everything twice" code_is 0 load --url "$prometheus/api/v1/write" --series 300 --interval 500ms --duration 2s --ha --seed 77
replicas() { curl -s -G "$prometheus/api/v1/query" --data-urlencode 'query=count by (__replica__) ({cluster="pair-1"})' | jq -rc '[.data.result[].value[1]]'; }
claim "under labels of their own" test "$(replicas)" = '["300","300"]'
claim "prometheus 2.42 does not know Remote Write 2.0, which is noticed" code_is 1 load --url "$prometheus/api/v1/write" --protocol rw2 --series 100 --rounds 1 --interval 100ms
claim "in words" says "does not know Remote Write 2.0"
tries=0
claim "victoria-metrics starts" answers "$victoria/health"
claim "victoria-metrics takes it" code_is 0 load --url "$victoria/api/v1/write" --query-url "$victoria" --series 1000 --interval 500ms --duration 3s --threshold 'samples_failed<=0' \
    --query 'count({job!=""})' --threshold 'query_errors<=0'
counted() { for _ in $(seq 100); do [ "$(curl -s -G "$victoria/api/v1/query" --data-urlencode 'query=count({job!=""})' | jq -r '.data.result[0].value[1]')" = 1000 ] && return; sleep 0.2; done; return 1; }
claim "and shows it" counted
