#!/usr/bin/env bash
# Passes every test. Needs a Rust toolchain and, for some fault tests, root on Debian: what those
# need from Debian's packages is installed by tests/setup.sh.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ -x tests/setup.sh ]; then tests/setup.sh; fi
# The process suite runs the real programs; it finds them beside itself.
cargo build --workspace --bins
cargo test --workspace "$@"
