#!/usr/bin/env bash
# Installs the client libraries of Python and Node that tests/it/clients.rs uses, each pinned by its checksum, into
# target/clients and tests/clients/node/node_modules. Those of Go, PHP and Ruby are packages of Debian, and cargo
# fetches that of Rust. A library that cannot be had is skipped with a message.
set -euo pipefail
cd "$(dirname "$0")"
log=$(mktemp)
trap 'rm -f "$log"' EXIT

python() {
  local into=../../target/clients/python
  [ -x "$into/bin/python" ] || python3 -m venv "$into"
  "$into/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes \
    --requirement python/requirements.txt
}

# npm ci removes what is there first, so it runs only after a change.
node() {
  [ node/node_modules/.package-lock.json -nt node/package-lock.json ] ||
    npm ci --prefix node --no-audit --no-fund --ignore-scripts
}

for language in python node; do
  "$language" >"$log" 2>&1 || echo "skipped: the client libraries of $language: $(tail -n 1 "$log")"
done
