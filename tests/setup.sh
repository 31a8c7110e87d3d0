#!/usr/bin/env bash
# Installs from Debian what the tests need beyond a Rust toolchain: a wall clock that jumps, calls that fail,
# and Python for openapi.sh. Does nothing where it is all there already.
set -euo pipefail
packages=(libfaketime fiu-utils libfiu0 e2fsprogs mount util-linux curl)
python3 -c 'import ensurepip, venv' 2>/dev/null || packages+=(python3 python3-venv)
missing=()
for package in "${packages[@]}"; do
    dpkg-query --show --showformat='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
if [ ${#missing[@]} -eq 0 ]; then exit 0; fi
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
