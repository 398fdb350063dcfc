#!/usr/bin/env bash
# make dist: builds for x86-64 Linux with glibc 2.28 or newer, and writes packages for Debian, an archive and checksums
# into target/dist. DEBUG_FILES=1 adds an archive with debug files.
set -euo pipefail
cd "$(dirname "$0")/.."
glibc=2.28
target=x86_64-unknown-linux-gnu
tools=$PWD/target/tools work=$PWD/target/dist-work dist=$PWD/target/dist
build=$work/build stage=$work/stage
cargo_deb=3.8.0

fail() { echo "make dist: $*" >&2; exit 1; }

[ "$(uname -m)" = x86_64 ] || fail "it builds on x86-64 only; see Install in README.md for other machines"
version=$(cargo pkgid --package rl-module | sed 's/.*[#@]//')
# The time of all files in packages.
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) || fail 'it needs the history of git: run it in a clone'
export SOURCE_DATE_EPOCH

# The tools, pinned: cargo-zigbuild and zig by their checksums, and cargo-deb by its version and its lock file.
install_tools() {
  [ -x "$tools/bin/python" ] || python3 -m venv "$tools"
  "$tools/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes \
    --requirement packaging/requirements.txt
  [ "$("$tools/bin/cargo-deb" --version 2>/dev/null || true)" = "cargo-deb $cargo_deb" ] ||
    cargo install --quiet --force --locked --root "$tools" --version "$cargo_deb" cargo-deb
  export PATH=$tools/bin:$PATH
}

# Without the paths of this machine, so that the bytes do not depend on them.
build_programs() {
  local flags bindgen
  flags="--remap-path-prefix=$PWD=/redis-rl --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo"
  # cargo-zigbuild gives bindgen no directories of headers with this zig. Those of this machine declare the same types.
  bindgen="-isystem $(compgen -G '/usr/lib/llvm-*/lib/clang/*/include' | tail -n 1)"
  bindgen+=' -isystem /usr/include/x86_64-linux-gnu -isystem /usr/include'
  # A shell cannot assign to a variable of this name.
  env "BINDGEN_EXTRA_CLANG_ARGS_$target=$bindgen" RUSTFLAGS="$flags" CARGO_TARGET_DIR="$build" \
    cargo zigbuild --release --locked --target "$target.$glibc" --package rl-module --package rl-server
}

# needs FILE: prints the version of the newest symbols of glibc that the file needs. Fails if they are newer than $glibc,
# or if the file needs other libraries.
needs() {
  local newest libraries
  newest=$(objdump -T "$1" | grep -o 'GLIBC_[0-9.]*' | sort -Vu | tail -n 1)
  newest=${newest#GLIBC_}
  [ -n "$newest" ] && [ "$(printf '%s\n' "$newest" "$glibc" | sort -V | tail -n 1)" = "$glibc" ] ||
    fail "$1 needs glibc $newest, and not $glibc or older"
  libraries=$(objdump -p "$1" | awk '$1 == "NEEDED" && $2 !~ /^(lib(c|m|dl|rt|pthread)|ld-linux-x86-64)\.so\./ { print $2 }')
  [ -z "$libraries" ] || fail "$1 needs libraries that are not glibc's: $libraries"
  echo "$newest"
}

# archive NAME DIRECTORY: packs the directory, with the same bytes each time.
archive() {
  tar --create --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner --mode=u+rw,go=rX \
    --directory "$work" "$2" | gzip --no-name --best >"$dist/$1.tar.gz"
}

stage() {
  rm -rf "$stage"
  RELEASE=$build/$target/release DESTDIR=$stage PREFIX=$1 DEBUG_FILES=${2:-} packaging/install.sh install
}

pack() {
  local name=redis-rl-$version-x86_64-linux
  rm -rf "$dist" "${work:?}/$name"
  mkdir -p "$dist"
  stage /usr/local
  mv "$stage/usr/local" "$work/$name"
  # Below share, because the archive is unpacked into a directory such as /usr/local.
  install -D -m 644 -t "$work/$name/share/doc/redis-rl" README.md LICENSE CHANGELOG.md
  archive "$name" "$name"
  if [ -n "${DEBUG_FILES:-}" ]; then
    stage /usr/local 1
    rm -rf "${work:?}/$name-debug"
    mkdir "$work/$name-debug"
    (cd "$stage/usr/local" && cp --parents lib/redis/modules/.debug/* bin/.debug/* "$work/$name-debug/")
    archive "$name-debug" "$name-debug"
  fi
  stage /usr
  # cargo-deb takes the files from the stage.
  for package in rl-module rl-server; do
    cargo deb --quiet --no-build --no-strip --target "$target" --package "$package" --output "$dist/"
  done
  (cd "$dist" && sha256sum -- * >"$work/SHA256SUMS" && mv "$work/SHA256SUMS" .)
}

install_tools
build_programs
stage /usr
rows=
for program in lib/redis/modules/librl.so bin/rl-server; do
  newest=$(needs "$stage/usr/$program")
  rows+="| ${program##*/} | $(stat --format=%s "$stage/usr/$program") | $newest |"$'\n'
done
pack
printf '| file | bytes | oldest glibc |\n| --- | --- | --- |\n%s' "$rows"
(cd "$dist" && stat --format='| %n | %s | |' -- *)
