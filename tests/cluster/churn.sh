#!/usr/bin/env bash
# Generations of series come, are flushed, and never come again: the ingesters give their memory back. After each generation what the heads hold by kind is a
# small part of what it was, and the last generation takes no more than the first did. With jemalloc (TORC_BINARY=build/release/app/torc) RSS has to follow
# too, once the allocator has returned what it kept for ten seconds; a sanitizer's allocator keeps what was freed.
. "$(dirname "$0")/lib.sh"
series=${CLUSTER_SERIES:-15000} generations=${CLUSTER_GENERATIONS:-4}
trap finish EXIT
claim "a cluster starts" up -- --ingester.retain-period=0s --ingester.series-idle=1s --ingester.flush-check-period=200ms
page() { curl -sf -H 'Accept: application/json' "http://127.0.0.1:$((port + 1))/debug/memory" > "$work/$1.json"; }
# Of heads: all that series have.
head_bytes() { jq '[.kinds | .series, .labels, .postings, .fingerprints, .open_chunks, .sealed_chunks, .digests] | map(. // 0) | add' "$work/$1.json"; }
rss() { jq .rss "$work/$1.json"; }
live() { curl -s "http://127.0.0.1:$((port + $1))/metrics" | awk '$1 == "torc_ingester_memory_series" { print $2 }'; }
write() { "$TORC_BINARY" loadgen --url "$(url)/api/v1/push" --max --interval 15s --backfill 3m --rounds 12 --series "$series" --seed "$1"; }
gone() {
    local i until=$((SECONDS + 60))
    for i in 1 2 3; do curl -sf -X POST "http://127.0.0.1:$((port + i))/ingester/flush" || return 1; done
    until [ "$(live 1)" = 0 ] && [ "$(live 2)" = 0 ] && [ "$(live 3)" = 0 ]; do
        [ $SECONDS -lt $until ] || { echo "still $(live 1) $(live 2) $(live 3) series"; return 1; }
        sleep 0.2
    done
}
generation() {
    write "$1" && page "full-$1" && echo "$(live 1) series" && [ "$(live 1)" = "$series" ] && gone && page "empty-$1"
}
given_back() { echo "$(head_bytes "empty-$1") of $(head_bytes "full-$1")"; [ "$(head_bytes "empty-$1")" -lt $(($(head_bytes "full-$1") / 20)) ]; }
no_more() { echo "$(head_bytes full-1), then $(head_bytes "full-$generations")"; [ "$(head_bytes "full-$generations")" -lt $(($(head_bytes full-1) * 11 / 10)) ]; }
claim "the page is there before anything is written" page start
for g in $(seq "$generations"); do
    claim "generation $g comes and goes" generation "$g"
    claim "what its series held is given back" given_back "$g"
done
claim "the last generation takes what the first took" no_more
rss_back() {
    local took=$(($(rss full-1) - $(rss start)))
    echo "start $(rss start), full $(rss full-1), in the end $(rss end)"
    [ "$(rss end)" -lt $(($(rss start) + took / 2)) ]
}
rss_level() { echo "full: $(rss full-1), then $(rss "full-$generations")"; [ "$(rss "full-$generations")" -lt $(($(rss full-1) * 12 / 10)) ]; }
if jq -e '.allocator.name == "jemalloc"' "$work/start.json" > /dev/null; then
    sleep 12 # the allocator's decay
    claim "the page is there in the end" page end
    claim "half at least of what the first generation took is the system's again" rss_back
    claim "RSS does not grow from generation to generation" rss_level
fi
