#!/usr/bin/env bash
# serve.sh [serve.py's options]: a real S3 server (moto; with --s3rver the npm one) behind our fault proxy, until stdin ends. Says "READY server-port proxy-port".
# What they are made of is installed once, below build/.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
venv=$root/build/s3-venv npm=$root/build/s3-npm
exec 9> "$root/build/s3-install.lock"
flock 9
if [ ! -e "$venv/ready" ]; then
    /usr/bin/python3 -m venv "$venv" >&2
    "$venv/bin/pip" install -q "moto[server,s3]==5.2.5" >&2
    touch "$venv/ready"
fi
if [ ! -e "$npm/ready" ]; then
    mkdir -p "$npm"
    npm install --silent --no-audit --no-fund --prefix "$npm" @20minutes/s3rver@4.0.4 > /dev/null
    touch "$npm/ready"
fi
exec 9>&-
S3RVER=$npm/node_modules/@20minutes/s3rver exec "$venv/bin/python" "$root/tests/s3/serve.py" "$@"
