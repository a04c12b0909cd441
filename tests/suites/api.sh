#!/usr/bin/env bash
# The query API as Grafana, remote readers and operators use it.
exec python3 "$(dirname "$0")/../cluster/api/main.py"
