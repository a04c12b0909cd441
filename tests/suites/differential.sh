#!/usr/bin/env bash
# Random queries and the compliance list, to a real Prometheus and to a cluster (docs/conformance.md). DIFFERENTIAL_QUERIES, DIFFERENTIAL_SEED: the dose.
exec python3 "$(dirname "$0")/../conformance/differential/run.py" --queries "${DIFFERENTIAL_QUERIES:-2000}" --seed "${DIFFERENTIAL_SEED:-1}"
