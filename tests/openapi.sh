#!/usr/bin/env bash
# Holds the REST interface to its description: schemathesis calls a cluster of `bravod dev` with what
# /api/openapi.json allows, and with what it does not, and fails on an answer that the description does not know,
# and on failures of the server. The same calls each time. Needs target/debug/bravod and Python 3.10 with venv;
# schemathesis comes from PyPI, at the version below.
set -euo pipefail
cd "$(dirname "$0")/.."
version=4.32.5
target="${CARGO_TARGET_DIR:-target}"
venv="$target/schemathesis-$version"
if [ ! -x "$venv/bin/schemathesis" ]; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check "schemathesis==$version"
fi

work="$(mktemp -d)"
port="$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')"
bravod="$(realpath "$target/debug/bravod")"
RUST_LOG=error "$bravod" dev --port "$port" --data-dir "$work/data" > "$work/log" 2>&1 &
daemon=$!
trap 'kill "$daemon" 2> /dev/null || true; wait "$daemon" 2> /dev/null || true; rm -rf "$work"' EXIT
url="http://127.0.0.1:$port"
for _ in $(seq 100); do
    if curl --silent --fail --output /dev/null "$url/ready"; then break; fi
    sleep 0.2
done

checks=not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance
checks=$checks,response_headers_conformance,unsupported_method,allow_header_conformance
# Left out: streams that have no end, and members that cannot be reached, after which the cluster is another one.
cd "$work"
"$OLDPWD/$venv/bin/schemathesis" run "$url/api/openapi.json" \
    --checks "$checks" \
    --phases examples,coverage,fuzzing --max-examples "${BRAVO_OPENAPI_EXAMPLES:-5}" \
    --seed 1 --generation-deterministic --continue-on-failure --warnings off --no-color \
    --request-timeout 10 --header "X-Timeout-Ms: 5000" \
    --exclude-path /api/v1/events --exclude-path "/api/v1/workflows/{id}/events" \
    --exclude-path /api/v1/cluster/members --exclude-path "/api/v1/cluster/members/{id}"
if ! curl --silent --fail --output /dev/null "$url/ready"; then
    echo "the node is not ready after the calls:" >&2
    tail -n 50 "$work/log" >&2
    exit 1
fi
