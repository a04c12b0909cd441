#!/usr/bin/env bash
# The generator's protocols and codecs against a torc of real processes, each read back: plain series, native histograms, exemplars, churn.
. "$(dirname "$0")/lib.sh"
trap finish EXIT
load() { "$TORC_BINARY" loadgen --quiet --series 1000 --native-histograms 30 --exemplars 10 --churn 300 --interval 300ms --rounds 4 --query-url "$(url)/prometheus" --verify \
    --threshold 'verified>=4120' --threshold 'errors<=0,lost<=0,phantom<=0' "$@"; }

claim "a cluster starts" up
for codec in snappy gzip zstd; do
    claim "Remote Write 1.0 with $codec" load --url "$(url)/api/v1/push" --compression $codec --tenant "rw1-$codec"
    claim "Remote Write 2.0 with $codec" load --url "$(url)/api/v1/push" --protocol rw2 --compression $codec --tenant "rw2-$codec"
done
for codec in none gzip zstd; do
    claim "OTLP with $codec" load --url "$(url)/otlp/v1/metrics" --protocol otlp --compression $codec --tenant "otlp-$codec"
done
