#!/usr/bin/env bash
# Runs all tests: first those without a server, then tests/it on the installed server and on the two of `make servers`.
# With the argument "full", it tests on all servers that can be fetched, suite by suite, and runs the ignored tests too.
# After a failure on one server it continues with the next. It prints a table of the results, and writes it to
# target/test.md or test-full.md.
set -euo pipefail
cd "$(dirname "$0")/.."
full=${1:-}
# Servers tested at the same time. A full run spends most of its time waiting, mainly for failovers.
parallel=1
[ -z "$full" ] || parallel=2
target=${CARGO_TARGET_DIR:-target}
logs=$target/test-logs
rm -rf "$logs"
mkdir -p "$logs"
results=$logs/results skipped=$logs/skipped

# Prints the servers, one per line: name and program.
servers() {
  local installed=${RL_REDIS_SERVER:-redis-server} wanted=(redis-8.2.3 valkey-9.1.2) name
  [ -z "$full" ] || mapfile -t wanted < <(ls -d tests/servers/*/*-server | cut -d/ -f3)
  {
    "$installed" --version | sed -E "s|^(\w+) server v=([0-9.]+).*|\L\1\E-\2 $installed|"
    for name in "${wanted[@]}"; do
      if [ -d "tests/servers/$name" ]; then
        echo "$name $(echo "$PWD/tests/servers/$name"/*-server)"
      else
        echo "skipped: $name is not installed; make servers fetches it" | tee -a "$skipped" >&2
      fi
    done
  } | awk '!seen[$1]++'
}

# run SERVER PROGRAM SUITE: appends a line to the results: server, suite, passed, failed, ignored, seconds.
run() {
  local server=$1 program=$2 suite=$3 log=$logs/$1-$3.log arguments=(--show-output) result
  [ -z "$full" ] || arguments+=(--include-ignored "$suite::")
  echo "$suite on $server"
  RL_REDIS_SERVER=$program cargo test --package rl-tests --test it -- "${arguments[@]}" 2>&1 |
    tee "$log" | sed -nu "s/^test /$server: /p" || cat "$log"
  sed -n "s/^skipped: /skipped: on $server: /p" "$log" | sort -u | tee -a "$skipped"
  # A test program that crashes or does not build prints no result.
  result=$(grep '^test result: ' "$log" || echo '. 0 passed; 1 failed; 0 ignored; finished in 0s')
  sed -nE "s/.* ([0-9]+) passed; ([0-9]+) failed; ([0-9]+) ignored;.* ([0-9.]+)s$/$server $suite \1 \2 \3 \4/p" \
    <<<"$result" >>"$results"
}

# Suites that take minutes and do not depend on the version of Redis. They run on the first server only.
first_only=" clients crowds page page_charts page_pictures page_states "

run_all() {
  local suite
  for suite in $suites; do
    if [[ $first_only == *" $suite "* && $1 != "$first" ]]; then
      echo "skipped: $suite on $1: it runs on $first only" | tee -a "$skipped"
      continue
    fi
    run "$1" "$2" "$suite"
  done
}

# Prints the results of each server, and of each suite on each server.
tables() {
  awk '
    !($1 in passed) { servers[++n] = $1 }
    !($2 in known) { known[$2]; suites[++m] = $2 }
    { passed[$1] += $3; failed[$1] += $4; ignored[$1] += $5; seconds[$1] += $6
      cell[$1, $2] = $3 ($4 ? ", " $4 " FAILED" : "") " in " sprintf("%.1f", $6) " s" }
    END {
      print "| server | passed | failed | ignored | seconds |\n| --- | --- | --- | --- | --- |"
      for (i = 1; i <= n; i++) {
        s = servers[i]; printf "| %s | %d | %d | %d | %.1f |\n", s, passed[s], failed[s], ignored[s], seconds[s]
      }
      if (m == 1) exit
      head = "\n| suite |"; rule = "| --- |"
      for (i = 1; i <= n; i++) { head = head " " servers[i] " |"; rule = rule " --- |" }
      print head "\n" rule
      for (j = 1; j <= m; j++) {
        row = "| " suites[j] " |"
        for (i = 1; i <= n; i++) row = row " " cell[servers[i], suites[j]] " |"
        print row
      }
    }' "$results"
  [ ! -s "$skipped" ] || { echo; sort -u "$skipped"; }
}

[ -z "$full" ] || { tests/servers.sh all && tests/clients/install.sh; } | tee "$skipped"
cargo test --workspace --exclude rl-tests
cargo test --package rl-tests --lib
suites=all
[ -z "$full" ] || suites=$(cargo test --quiet --package rl-tests --test it -- --list | sed -n 's/::.*: test$//p' | sort -u)
servers=$(servers)
first=${servers%% *}
while read -r server program; do
  run_all "$server" "$program" </dev/null &
  [ "$(jobs -rp | wc -l)" -lt "$parallel" ] || wait -n
done <<<"$servers"
wait
tables | tee "$target/test${full:+-full}.md"
awk '$4 > 0 { failed = 1 } END { exit failed }' "$results"
