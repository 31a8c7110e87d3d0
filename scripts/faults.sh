#!/usr/bin/env bash
# Breaks real processes on purpose, the short form; BRAVO_LONG=1 makes it an hour and more. See
# docs/faults.md. Needs root on Debian for what tests/setup.sh installs.
set -euo pipefail
cd "$(dirname "$0")/.."
tests/setup.sh
cargo build --workspace --bins
cargo test --workspace --test process "$@"
