#!/usr/bin/env bash
# Passes the tests: the model against its reference, storage, contract, client, daemon, and nodes in
# one process. The suite that breaks real processes is `scripts/faults.sh`. Needs a Rust toolchain.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo test --workspace --exclude bravo-tests "$@"
cargo test -p bravo-tests --lib --test cluster "$@"
