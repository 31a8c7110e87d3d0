#!/usr/bin/env bash
# Breaks real processes on purpose; see docs/faults.md. Needs root on Debian for what tests/setup.sh
# installs, and some minutes. BRAVO_LONG=1 makes it an hour and more.
set -euo pipefail
cd "$(dirname "$0")/.."
tests/setup.sh
cargo build -p bravo-daemon --bin bravod
cargo test -p bravo-tests --test process "$@"
