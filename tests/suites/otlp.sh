#!/usr/bin/env bash
# Applications with the OpenTelemetry SDK for JavaScript export to a real cluster; and what an SDK does not send.
command -v npm > /dev/null || "$(dirname "$0")/../../tools/install" npm || exit 1
exec python3 "$(dirname "$0")/../interop/otlp.py"
