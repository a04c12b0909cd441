#!/usr/bin/env bash
# A real Prometheus writes to a real cluster; both must answer the same. INTEROP_SECONDS: its dose.
exec python3 "$(dirname "$0")/../interop/run.py"
