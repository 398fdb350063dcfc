#!/usr/bin/env bash
# Installs the missing packages that the build and the tests need. With `run`: only those of the build and of `make
# run`. With `dist`: only those of the build and of `make dist`. With `full`: also tools that find memory errors, a
# browser with the font of the picture in README and axe-core to check the page in it, proxies, an exporter, languages
# with their Redis clients, and what tests the packages. With `bench`: also the tools of the benchmarks. On systems
# without apt-get it prints the names of the missing packages and fails.
set -euo pipefail

has_libclang() {
  # The library alone is not enough: bindgen needs clang's own headers too.
  [ -n "${LIBCLANG_PATH:-}" ] || {
    compgen -G '/usr/lib/llvm-*/lib/libclang-[0-9]*.so*' && compgen -G '/usr/lib/llvm-*/lib/clang/*/include/stddef.h'
  } >/dev/null
}

has_libfaketime() {
  compgen -G '/usr/lib*/faketime/libfaketime.so.1' || compgen -G '/usr/lib/*/faketime/libfaketime.so.1'
} >/dev/null
has_asan() {
  compgen -G '/usr/lib/llvm-*/lib/clang/*/lib/linux/libclang_rt.asan-*.so' >/dev/null
}

missing=()
if [ "${1:-}" = full ]; then
  has_asan || missing+=(libclang-rt-dev)
  command -v chromium >/dev/null && command -v chromedriver >/dev/null || missing+=(chromium chromium-driver)
  [ -d /usr/share/fonts/opentype/inter ] || missing+=(fonts-inter)
  [ -x /usr/sbin/haproxy ] || command -v haproxy >/dev/null || missing+=(haproxy)
  command -v debootstrap >/dev/null || missing+=(debootstrap)
  command -v ip >/dev/null || missing+=(iproute2)
  command -v prometheus-redis-exporter >/dev/null || missing+=(prometheus-redis-exporter)
  "$(dirname "$0")/servers.sh" proxies
  "$(dirname "$0")/servers.sh" axe
  # What the programs of tests/clients need.
  command -v node >/dev/null && command -v npm >/dev/null || missing+=(nodejs npm)
  command -v php >/dev/null && php -m | grep -x redis >/dev/null || missing+=(php-cli php-redis)
  command -v ruby >/dev/null && ruby -e "require 'redis'" 2>/dev/null || missing+=(ruby ruby-redis)
  command -v go >/dev/null && [ -d /usr/share/gocode/src/github.com/mna/redisc ] ||
    missing+=(golang-go golang-github-gomodule-redigo-dev golang-github-mna-redisc-dev)
fi
[[ " full bench " != *" ${1:-} "* ]] || command -v valgrind >/dev/null || missing+=(valgrind)
[ "${1:-}" != bench ] || command -v wrk >/dev/null || missing+=(wrk)
command -v cc >/dev/null || missing+=(gcc libc6-dev)
has_libclang || missing+=(libclang-dev)
[[ " full dist " != *" ${1:-} "* ]] || python3 -c 'import ensurepip' 2>/dev/null || missing+=(python3-venv)
[ "${1:-}" = dist ] || { command -v redis-server && command -v redis-cli; } >/dev/null || missing+=(redis-server)
if [[ " run dist " != *" ${1:-} "* ]]; then
  command -v curl >/dev/null || missing+=(curl)
  command -v h2load >/dev/null || missing+=(nghttp2-client)
  [ -x /usr/sbin/nginx ] || command -v nginx >/dev/null || missing+=(nginx-light)
  has_libfaketime || missing+=(libfaketime)
fi
[ ${#missing[@]} -gt 0 ] || exit 0

if ! command -v apt-get >/dev/null; then
  echo "please install first (Debian's names): ${missing[*]}" >&2
  exit 1
fi
as_root=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || { echo "please install first, as root: ${missing[*]}" >&2; exit 1; }
  as_root=(sudo)
fi

# Runs as root. Debian starts redis-server, nginx and HAProxy as services when it installs them, and redis-server then
# uses the port of `make run`. The policy file forbids this while its lock is held: by this shell, and by each apt-get
# that it starts. A policy file that is left behind by a kill has no lock and forbids nothing; the next run removes it.
# shellcheck disable=SC2317  # called below, from its text
install() {
  policy=/usr/sbin/policy-rc.d
  mark='# Made by tests/packages.sh of redis-rl: no service starts while it installs packages.'
  if [ ! -s "$policy" ] || grep -qF "$mark" "$policy"; then
    # The file is open for reading only: a file that is open for writing cannot be executed. Another run may remove it.
    until { : >>"$policy" || exit 1; } && exec 9<"$policy" && flock 9 && [ "$policy" -ef /proc/self/fd/9 ]; do :; done
    trap 'rm -f "$policy"' EXIT
    trap 'exit 1' HUP INT TERM  # runs after apt-get has exited
    printf '#!/bin/sh\n%s\nflock --nonblock "$0" true && exit 0\nexit 101\n' "$mark" >"$policy"
    chmod 755 "$policy"
  fi
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

echo "installing ${missing[*]}"
"${as_root[@]}" bash -euo pipefail -c "$(declare -f install); install \"\$@\"" install "${missing[@]}"
