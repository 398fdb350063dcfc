#!/usr/bin/env bash
# make install and make uninstall. Installs what make build has built below PREFIX (/usr/local), or removes it again.
# DESTDIR is put before each path, to fill a directory that becomes a package. With DEBUG_FILES=1 each program gets its
# separate debug file, in .debug beside it. RELEASE is the directory of the programs (target/release).
set -euo pipefail
cd "$(dirname "$0")/.."
prefix=${PREFIX:-/usr/local}
root=${DESTDIR:-}
release=${RELEASE:-${CARGO_TARGET_DIR:-target}/release}

fail() { echo "make ${action:-install}: $*" >&2; exit 1; }

# What is installed: kind, source, and path below PREFIX. In a text, /usr/local becomes PREFIX.
files="
program $release/librl.so              lib/redis/modules/librl.so
program $release/rl-server             bin/rl-server
text    packaging/rl.conf              share/redis-rl/rl.conf
text    packaging/rl-server.service    lib/systemd/system/rl-server.service
file    module/README.md               share/doc/redis-rl-module/README.md
file    CHANGELOG.md                   share/doc/redis-rl-module/CHANGELOG.md
file    server/README.md               share/doc/rl-server/README.md
file    server/threat-model.md         share/doc/rl-server/threat-model.md
file    server/policies.toml           share/doc/rl-server/policies.toml
file    server/grafana.json            share/doc/rl-server/grafana.json
file    CHANGELOG.md                   share/doc/rl-server/CHANGELOG.md
"
# Directories that are removed if nothing else is in them.
own_dirs='lib/redis/modules/.debug lib/redis/modules lib/redis bin/.debug share/redis-rl share/doc/redis-rl-module
  share/doc/rl-server'

debug_file() { echo "$(dirname "$1")/.debug/$(basename "$1").debug"; }

# program SOURCE TARGET: the stripped program. The file at TARGET is replaced and not written to, because a server may
# have it loaded.
program() {
  local name=${2##*/}
  cp "$1" "$work/$name"
  strip "$work/$name"
  if [ -n "${DEBUG_FILES:-}" ]; then
    objcopy --only-keep-debug "$1" "$work/$name.debug"
    (cd "$work" && objcopy --add-gnu-debuglink="$name.debug" "$name")
    install -D -m 644 "$work/$name.debug" "$(debug_file "$2")"
  fi
  install -D -m 755 "$work/$name" "$2"
}

text() {
  sed "s|/usr/local|$prefix|g" "$1" >"$work/text"
  install -D -m 644 "$work/text" "$2"
}

file() { install -D -m 644 "$1" "$2"; }

install_all() {
  local kind source target
  while read -r kind source target; do
    [ -e "$source" ] || fail "$source is missing; run make build first"
  done < <(awk NF <<<"$files")
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  while read -r kind source target; do
    "$kind" "$source" "$root$prefix/$target"
  done < <(awk NF <<<"$files")
}

uninstall_all() {
  local target dir
  while read -r _ _ target; do
    rm -f "$root$prefix/$target" "$(debug_file "$root$prefix/$target")"
  done < <(awk NF <<<"$files")
  for dir in $own_dirs; do
    rmdir "$root$prefix/$dir" 2>/dev/null || true
  done
}

action=${1:-}
# The paths go into redis.conf and into a unit, which would have to quote other characters.
[[ $prefix =~ ^(/[A-Za-z0-9._+-]+)+$ ]] ||
  fail "PREFIX must be an absolute path of letters, digits and ._+-, such as: make install PREFIX=/usr"
[[ $root =~ ^(/.*)?$ ]] || fail 'DESTDIR must be an absolute path, such as: make install DESTDIR=/tmp/stage'
case $action in
  install) install_all ;;
  uninstall) uninstall_all ;;
  *) fail 'the argument is install or uninstall' ;;
esac
