#!/usr/bin/env bash
# make run: runs redis-server with the module, and rl-server connected to it, until Ctrl-C. The environment variables
# REDIS_PORT and ADDR set their addresses.
set -euo pipefail
cd "$(dirname "$0")/.."
redis_port=${REDIS_PORT:-6379}
addr=${ADDR:-127.0.0.1:8080}

fail() { echo "make run: $*" >&2; exit 1; }
is_port() { [[ $1 =~ ^[1-9][0-9]{0,4}$ ]] && [ "$1" -le 65535 ]; }
answers() { (exec 3<>"/dev/tcp/$1/$2") 2>/dev/null; }

is_port "$redis_port" || fail "REDIS_PORT must be a port, 1 to 65535, such as: make run REDIS_PORT=6380"
[[ $addr =~ ^([A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]+\]):([0-9]+)$ ]] && is_port "${BASH_REMATCH[2]}" ||
  fail "ADDR must be [host]:port, such as: make run ADDR=127.0.0.1:8081, or ADDR=:8080 for all addresses"

http=${addr/#:/127.0.0.1:}
host=${http%:*} http_port=${http##*:}
host=${host#[} host=${host%]}
answers 127.0.0.1 "$redis_port" && fail "port $redis_port is in use; choose another: make run REDIS_PORT=6380"
answers "$host" "$http_port" && fail "address $addr is in use; choose another: make run ADDR=127.0.0.1:8081"

tests/packages.sh run
cargo build --release --package rl-module --package rl-server
release=${CARGO_TARGET_DIR:-$PWD/target}/release

dir=$(mktemp -d)
redis='' server=''
# shellcheck disable=SC2317  # called by the trap
stop() {
  trap - EXIT
  trap '' INT TERM  # a second Ctrl-C must not interrupt the cleanup
  for process in $server $redis; do
    kill "$process" 2>/dev/null && wait "$process" || true
  done
  rm -rf "$dir"
}
trap stop EXIT
trap 'exit 0' INT TERM

redis-server --port "$redis_port" --bind 127.0.0.1 --dir "$dir" --save '' --appendonly no \
  --loadmodule "$release/librl.so" > >(sed -u 's/^/redis     | /') 2>&1 &
redis=$!
"$release/rl-server" -addr "$addr" -redis "127.0.0.1:$redis_port" > >(sed -u 's/^/rl-server | /') 2>&1 &
server=$!
until answers 127.0.0.1 "$redis_port" && answers "$host" "$http_port"; do
  kill -0 "$redis" 2>/dev/null || fail "redis-server did not start; is REDIS_PORT=$redis_port free?"
  kill -0 "$server" 2>/dev/null || fail "rl-server did not start; is ADDR=$addr free?"
  sleep 0.1
done

cat <<TRY

  curl $http/token
  redis-cli -p $redis_port RL.TOKEN user:42 10 20
  redis-cli -p $redis_port RL.LEAKY job:7 10 5

TRY
wait -n "$redis" "$server" || true
fail "redis-server or rl-server exited; see the log above"
