#!/usr/bin/env bash
# Passes the unit tests of every crate. Needs a Rust toolchain. The suites beside them are named in
# README.md: the model's judge, the gateway over sockets, and real processes that are broken on purpose.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo test --workspace --exclude bravo-tests --lib --bins "$@"
