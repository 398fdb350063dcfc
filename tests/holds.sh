# Read by tests/dist.sh and tests/images.sh: statements that are true or false, and roots of Debian.
# shellcheck shell=bash disable=SC2016,SC2034,SC2329
roots=$PWD/target/roots
work=$(mktemp -d)
failed=0
# What the root of Debian 12 has.
bookworm=(redis-server curl systemd systemd-sysv dbus)

# holds SENTENCE COMMAND...: prints the sentence, and whether the command succeeds.
holds() {
  local sentence=$1
  shift
  if "$@" >"$work/log" 2>&1; then
    echo "ok: $sentence"
  else
    echo "FAILED: $sentence"
    sed 's/^/  /' "$work/log"
    failed=1
  fi
}

# fails COMMAND...: succeeds if the command fails.
fails() { ! "$@"; }

# prints TEXT COMMAND...: succeeds if the command prints the text.
prints() {
  local text=$1
  shift
  "$@" >"$work/printed" 2>&1 || true
  grep -qF -e "$text" "$work/printed" || { cat "$work/printed"; return 1; }
}

# eventually COMMAND...: waits until the command succeeds, for at most a minute. Prints what it printed last.
eventually() {
  local deadline=$((SECONDS + 60))
  until "$@" >"$work/last" 2>&1; do
    [ "$SECONDS" -lt "$deadline" ] || { cat "$work/last"; return 1; }
    sleep 0.1
  done
}

# debian SUITE PACKAGE...: makes a root of this suite with these packages, once, from the mirror of this machine.
debian() {
  local suite=$1 mirror
  shift
  [ ! -e "$roots/$suite.complete" ] || return 0
  mirror=$(apt-get indextargets --format '$(CODENAME) $(REPO_URI)' 'Created-By: Packages' |
    awk -v own="$(. /etc/os-release && echo "$VERSION_CODENAME")" '$1 == own { print $2; exit }')
  rm -rf "${roots:?}/$suite"
  mkdir -p "$roots"
  # In a mount namespace: an interrupted debootstrap leaves /proc and /sys mounted, and the root could not be removed.
  unshare --mount debootstrap --variant=minbase --include="$(tr " " , <<<"$*")" "$suite" "$roots/$suite" "$mirror" \
    >"$work/debootstrap" || { tail "$work/debootstrap"; return 1; }
  touch "$roots/$suite.complete"
}
