#!/usr/bin/env bash
# Samples go from memory into blocks and through merges, restarts and kills; what queries answer does not change.
exec python3 "$(dirname "$0")/../interop/blocks.py"
