#!/usr/bin/env bash
# Two real Prometheus servers, one HA pair, write to a cluster of two distributors; the leader is killed in turn. HA_ROUNDS: its dose.
exec python3 "$(dirname "$0")/../interop/ha.py"
