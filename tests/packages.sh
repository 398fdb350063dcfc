#!/usr/bin/env bash
# Installs what the build and the tests need and this machine lacks; with `full`, also what the long tests look for memory
# faults with, and a browser with the font of README's picture; with `bench`, what the benches count and load with. Elsewhere
# than on Debian it names it and stops.
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
fi
[ -z "${1:-}" ] || command -v valgrind >/dev/null || missing+=(valgrind)
[ "${1:-}" != bench ] || command -v wrk >/dev/null || missing+=(wrk)
command -v cc >/dev/null || missing+=(gcc libc6-dev)
has_libclang || missing+=(libclang-dev)
command -v redis-server >/dev/null && command -v redis-cli >/dev/null || missing+=(redis-server)
command -v curl >/dev/null || missing+=(curl)
command -v h2load >/dev/null || missing+=(nghttp2-client)
[ -x /usr/sbin/nginx ] || command -v nginx >/dev/null || missing+=(nginx-light)
has_libfaketime || missing+=(libfaketime)
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

echo "installing ${missing[*]}"
# Debian starts a redis-server of its own when it installs one, on the very port that ours is to have, and an nginx.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  trap '"${as_root[@]}" rm -f "$policy"' EXIT
  printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
  "${as_root[@]}" chmod 755 "$policy"
fi
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
