#!/usr/bin/env bash
# /debug/memory of every process of a cluster, while samples come in and are asked for and afterwards. With jemalloc (TORC_BINARY=build/release/app/torc) the named
# parts of a process add up to its RSS within a tenth. A sanitizer's allocator pads and keeps what was freed, so that they cannot: there what the load has
# added to the heap is held against what it has added to the named kinds, within a quarter.
. "$(dirname "$0")/lib.sh"
trap finish EXIT
names="front ingester-1 ingester-2 ingester-3 compactor"
claim "a cluster starts" up
page() {
    local i=0 n
    for n in $names; do
        [ "$n" = "$1" ] && break
        i=$((i + 1))
    done
    curl -sf -H 'Accept: application/json' "http://127.0.0.1:$((port + i))/debug/memory" > "$work/$1.$2.json"
}
pages() { local n; for n in $names; do page "$n" "$1" || return 1; done; }
write() { "$TORC_BINARY" loadgen --url "$(url)/api/v1/push" --max --interval 15s --backfill 5m --rounds 20 "$@" > /dev/null 2>&1; }

claim "every process has the page" pages before
write --series 20000 --tenant large &
load=$!
sleep 2
claim "and under load" pages during
curl -s -G -H 'X-Scope-OrgID: large' "$(url)/prometheus/api/v1/query" --data-urlencode 'query=sum by (instance) (count_over_time({__name__=~".+"}[5m]))' > /dev/null &
wait $load
write --series 1000 --tenants 3 --tenant small
wait
claim "and behind it" pages after

named='([.kinds[]] | add) + (.allocator | .cached + .slack + .unused + .metadata - .untouched) + .stacks + .files'
adds_up() { jq -e "($named) as \$named | (\$named - .rss | fabs) <= .rss / 10 and .unattributed == .rss - \$named and ([.kinds[]] | add) <= .allocator.allocated * 1.02" "$work/$1.$2.json"; }
grown_alike() {
    jq -e -s '((.[1].kinds | add) - (.[0].kinds | add)) as $kinds | (.[1].allocator.allocated - .[0].allocator.allocated) as $heap
              | $kinds > 1000000 and ($kinds - $heap | fabs) <= $heap / 4' "$work/$1.before.json" "$work/$1.after.json"
}
for n in $names; do
    if jq -e '.allocator.name == "jemalloc"' "$work/$n.after.json" > /dev/null; then
        for when in before during after; do claim "$n, $when: the parts add up to RSS within a tenth" adds_up "$n" $when; done
    elif [[ $n = ingester-* ]]; then
        claim "$n: what the load added to the heap is named" grown_alike "$n"
    fi
done
of() { jq --arg t "$2" '.tenants[] | select(.tenant == $t) | .bytes' "$work/$1.after.json"; }
twenty_times() { local l s; l=$(of "$1" large) s=$(of "$1" small-2); echo "$l against $s"; [ "$l" -gt $((s * 10)) ] && [ "$l" -lt $((s * 40)) ]; }
for n in front ingester-1; do claim "$n: a tenant with twenty times the series takes about that much more" twenty_times $n; done
sums_up() { jq -e '([.tenants[].bytes] | add) == ([.kinds[]] | add)' "$work/$1.after.json"; }
claim "the tenants are all of it" sums_up ingester-2
claim "chunks, labels and posting lists are told" jq -e '[.kinds | .series, .labels, .postings, .open_chunks, .fingerprints] | all(. > 0)' "$work/ingester-3.after.json"
html() { curl -sf -H 'Accept: text/html' "$(url)/debug/memory" | grep -q '<td>series_cache</td>'; }
claim "a browser gets a table" html
