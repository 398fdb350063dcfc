#!/usr/bin/env bash
# Tests what make dist built, where it will run: in new roots of Debian 12 and 11, and on all servers of tests/servers.
# Debian 12 is booted, with its own systemd, in namespaces of its own: it has its own network and process ids. It needs
# root. It prints a line for each statement that it tested, and fails if one is false. It installs the packages, and
# checks their checksums, as module/README.md says.
# shellcheck disable=SC2016,SC2329  # functions that `holds` calls, and texts for other shells
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/holds.sh
dist=$PWD/target/dist
version=$(cargo pkgid --package rl-module | sed 's/.*[#@]//')
machine=

stop() {
  [ -n "$machine" ] || return 0
  kill -KILL "$machine" 2>/dev/null || true
  wait "$machine" 2>/dev/null || true
  machine=
}
clean() {
  stop
  rm -rf "$work"
}
trap clean EXIT

# Runs as the first process of the namespaces: mounts what systemd needs, and becomes systemd.
become_systemd() {
  local device
  mount --make-rprivate /
  mount --bind "$1" "$1"
  cd "$1"
  mount -t proc proc proc
  mount -t sysfs -o ro sysfs sys
  mount -t cgroup2 cgroup2 sys/fs/cgroup
  for device in run tmp dev; do mount -t tmpfs tmpfs "$device"; done
  for device in null zero full random urandom tty; do
    touch "dev/$device"
    mount --bind "/dev/$device" "dev/$device"
  done
  mkdir dev/shm dev/pts run/outside
  ln -s pts/ptmx dev/ptmx
  ip link set lo up
  pivot_root . run/outside
  umount -l /run/outside
  exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd
}

# boot ROOT: boots the root. `inside` runs commands there.
boot() {
  setsid unshare --pid --mount --net --uts --ipc --cgroup --fork --kill-child \
    bash -euc "$(declare -f become_systemd); become_systemd $1" >"$work/boot" 2>&1 &
  machine=$!
  eventually inside systemctl is-active --quiet multi-user.target || { cat "$work/boot"; return 1; }
}

inside() {
  local first
  first=$(pgrep --parent "$machine") || return
  timeout --signal KILL 60 nsenter --target "$first" --all --root --wdns=/ -- "$@"
}

redis_pid() { inside systemctl show --property MainPID --value redis-server; }
answers() { prints PONG inside redis-cli PING; }
has_tokens() { prints "$2" inside redis-cli --no-raw RL.TOKEN "$1" 1/1000d 20 COST 0; }
allowed() { prints '"allowed":true' inside curl --silent --show-error 127.0.0.1:8080/token; }
# The user ids that systemd assigns.
has_dynamic_user() {
  local uid
  uid=$(inside sh -c 'stat --format=%u /proc/$(systemctl show --property MainPID --value rl-server)')
  [ "$uid" -ge 61184 ] && [ "$uid" -le 65519 ]
}
loads_with() {
  echo "$1" >"$root/etc/redis/rl-test.conf"
  inside systemctl reset-failed redis-server
  inside systemctl restart redis-server && eventually answers
}

# Debian 12 with systemd, Debian's own redis-server and its own configuration.
debian_12() {
  local before
  debian bookworm "${bookworm[@]}"
  root=$work/bookworm
  cp -a "$roots/bookworm" "$root"
  cp "$dist"/*.deb "$work"/before/*.deb "$root/srv/"
  mkdir -p "$root/opt/redis-rl"
  tar -xf "$dist/redis-rl-$version-x86_64-linux.tar.gz" --strip-components 1 -C "$root/opt/redis-rl"
  cp -a "$root/etc/redis/redis.conf" "$root/etc/redis/redis.conf.debian"
  echo 'include /etc/redis/rl-test.conf' >>"$root/etc/redis/redis.conf"
  : >"$root/etc/redis/rl-test.conf"
  boot "$root"
  holds "Debian's unit starts Debian's Redis" eventually answers
  holds "Debian's unit does not load the module from elsewhere than /usr/lib" \
    fails loads_with 'loadmodule /opt/redis-rl/lib/redis/modules/librl.so'
  holds '... because it may not be executed there' \
    prints 'failed to map segment' cat "$root/var/log/redis/redis-server.log"

  cp -a "$root/etc/redis/redis.conf.debian" "$root/etc/redis/redis.conf"
  inside systemctl reset-failed redis-server
  inside systemctl restart redis-server
  before=$(redis_pid)
  holds 'the packages of the version before install' inside sh -c 'apt-get install --yes /srv/before-*.deb'
  holds 'the installation does not restart Redis' [ "$before" = "$(redis_pid)" ]
  echo 'include /usr/share/redis-rl/*.conf' >>"$root/etc/redis/redis.conf"
  inside systemctl restart redis-server
  holds "Debian's unit loads the module of the package" eventually has_tokens none '3) (integer) 20'
  holds '... in the version before' prints '(integer) 9' inside redis-cli --no-raw MODULE LIST
  holds 'rl-server runs as its unit says' inside systemctl is-active --quiet rl-server
  holds '... as a user of its own' has_dynamic_user
  holds 'curl gets a decision' eventually allowed
  inside redis-cli RL.TOKEN kept 1/1000d 20 COST 5 >/dev/null

  before=$(redis_pid)
  holds 'the packages upgrade' inside sh -c "apt-get install --yes /srv/*_$version-1_amd64.deb"
  holds 'the upgrade does not restart Redis' [ "$before" = "$(redis_pid)" ]
  holds 'the bucket is there after the upgrade' has_tokens kept '3) (integer) 15'
  inside systemctl restart redis-server
  holds 'the bucket is there after the restart' eventually has_tokens kept '3) (integer) 15'
  holds '... in the new version' prints '(integer) 100' inside redis-cli --no-raw MODULE LIST
  holds 'the upgrade restarts rl-server in the new version' \
    eventually prints "version=\"$version\"" inside curl --silent 127.0.0.1:8080/metrics
  holds 'curl gets a decision after the upgrade' eventually allowed

  holds 'the packages can be removed' inside apt-get remove --yes redis-rl-module rl-server
  holds 'rl-server is stopped' fails inside systemctl is-active --quiet rl-server
  holds 'the bucket is there until Redis restarts' has_tokens kept '3) (integer) 15'
  inside systemctl restart redis-server
  holds 'Redis starts without the module' eventually answers
  holds '... with the stored bucket' prints 44 inside redis-cli STRLEN kept
  holds 'the packages can be purged' inside apt-get purge --yes redis-rl-module rl-server
  holds '... and leave no configuration' [ ! -e "$root/etc/default/rl-server" ]
  stop
}

# serves NAME PROGRAM ROOT: the module loads into this server and answers, and rl-server with it, below ROOT.
serves() {
  local name=$1 program=$2 root=$3 dir=/tmp/rl-serves redis server
  mkdir -p "$root$dir"
  local -a in=(chroot "$root")
  [ "$root" != / ] || in=()
  "${in[@]}" "$program" --port 0 --unixsocket "$dir/redis" --save '' --dir "$dir" \
    --loadmodule "$programs/lib/redis/modules/librl.so" >"$work/redis" 2>&1 &
  redis=$!
  "${in[@]}" "$programs/bin/rl-server" -addr "unix:$dir/http" -redis "unix:$dir/redis" >"$work/server" 2>&1 &
  server=$!
  holds "RL.TOKEN answers: $name" eventually prints '3) (integer) 19' redis-cli --no-raw -s "$root$dir/redis" RL.TOKEN "{$RANDOM}" 10 20
  holds "rl-server answers: $name" eventually prints '"allowed":true' curl --silent --unix-socket "$root$dir/http" http://localhost/token
  kill -0 "$redis" 2>/dev/null || sed 's/^/  /' "$work/redis"
  kill -KILL "$redis" "$server" 2>/dev/null || true
  wait "$redis" "$server" 2>/dev/null || true
  rm -rf "$root$dir"
}

# Debian's own Redis 6.0 is older than what the module needs.
debian_11() {
  local root=$work/bullseye path
  debian bullseye redis-server
  cp -a "$roots/bullseye" "$root"
  programs=/opt/redis-rl
  mkdir -p "$root$programs" "$root/servers"
  tar -xf "$dist/redis-rl-$version-x86_64-linux.tar.gz" --strip-components 1 -C "$root$programs"
  holds 'Redis 6.0 of Debian 11 does not load the module, and says which version it needs' \
    prints 'Redis 6.2.2 or newer, or Valkey, is needed' \
    timeout 30 chroot "$root" redis-server --port 0 --unixsocket /tmp/socket --loadmodule "$programs/lib/redis/modules/librl.so"
  for path in tests/servers/*/*-server; do
    [ -x "$path" ] || continue
    cp -rL "$(dirname "$path")" "$root/servers/"
    path=/${path#tests/}
    if chroot "$root" "$path" --version >/dev/null 2>&1; then
      serves "$(cut -d/ -f3 <<<"$path") on Debian 11" "$path" "$root"
    else
      echo "skipped: $(cut -d/ -f3 <<<"$path") does not run on Debian 11"
    fi
  done
}

every_server() {
  local path
  programs=$work/programs
  mkdir "$programs"
  tar -xf "$dist/redis-rl-$version-x86_64-linux.tar.gz" --strip-components 1 -C "$programs"
  serves "$(redis-server --version | sed -E 's/^(\w+) server v=([0-9.]+).*/\1 \2/') of this machine" redis-server /
  for path in tests/servers/*/*-server; do
    serves "$(cut -d/ -f3 <<<"$path")" "$PWD/$path" /
  done
}

# The commands that module/README.md shows for a download, on one of the files.
checksums() {
  local download=$work/download
  mkdir "$download"
  cp "$dist/SHA256SUMS" "$dist/rl-server_$version-1_amd64.deb" "$download/"
  cd "$download"
  holds 'SHA256SUMS accepts a package' sha256sum --check --ignore-missing SHA256SUMS
  echo >>"rl-server_$version-1_amd64.deb"
  holds '... and refuses it when a byte was added' fails sha256sum --check --ignore-missing SHA256SUMS
  cd - >/dev/null
}

# Builds once more, in another directory: the bytes are the same. Then builds the version before in it.
build_again() {
  local again=$work/again
  [ -z "$(git status --porcelain)" ] || { echo 'commit the changes first: the second build is of the commit'; exit 1; }
  git clone --quiet . "$again"
  mkdir "$again/target"
  ln -s "$PWD/target/tools" "$again/target/tools"
  (cd "$again" && packaging/dist.sh >"$work/log" 2>&1) || { cat "$work/log"; return 1; }
  holds 'the checksums are those of the files' \
    env --chdir="$dist" sha256sum --check --ignore-missing --status SHA256SUMS
  holds 'two builds in different directories write the same bytes' diff "$dist/SHA256SUMS" "$again/target/dist/SHA256SUMS"
  (
    cd "$again"
    sed -i "s/^version = \"$version\"$/version = \"0.0.9\"/" Cargo.toml
    cargo update --quiet --workspace --offline
    packaging/dist.sh >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
  )
  mkdir "$work/before"
  for package in redis-rl-module rl-server; do
    cp "$again/target/dist/${package}_0.0.9-1_amd64.deb" "$work/before/before-$package.deb"
  done
}

build_again
checksums
every_server
debian_11
debian_12
exit "$failed"
