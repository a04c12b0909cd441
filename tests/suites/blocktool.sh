#!/usr/bin/env bash
# Blocks of a real Prometheus into torc and back, by torc blocks.
exec python3 "$(dirname "$0")/../interop/blocktool.py"
