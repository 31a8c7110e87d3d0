#!/usr/bin/env bash
# Passes all tests: units, the model's judge over 10,000 random histories, storage, the client, the
# gateway over sockets, a cluster in one process, the examples in the docs, and real processes that are
# broken on purpose (docs/faults.md, the short form), and the REST interface against its description. Needs a Rust
# toolchain and Python; as root on Debian it installs what the faults and the last one need, and as anybody else it
# leaves out those that make disks. Arguments go to cargo test.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ "$(id -u)" = 0 ]; then tests/setup.sh; else export BRAVO_NO_ROOT=1; fi
cargo build --workspace --bins
cargo test --workspace "$@"
tests/openapi.sh
