#!/usr/bin/env bash
# Admin pages in a browser, TLS, users and roles.
exec python3 "$(dirname "$0")/../cluster/admin/main.py"
