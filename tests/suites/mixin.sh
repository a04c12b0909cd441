#!/usr/bin/env bash
# Dashboards, alerts and rules against a cluster.
exec python3 "$(dirname "$0")/../cluster/mixin/main.py"
