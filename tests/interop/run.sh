#!/usr/bin/env bash
# Runs the client against the real Socket.IO servers, the real clients against the relay, Wireshark's tshark over
# the captures of runs, and the page of a run in a real browser:
# tests/interop/run.sh [NAME-OF-A-TEST...]
#
# Installs what is missing, then hands over to the test binary, which starts its peers and stops them.
set -euo pipefail
cd "$(dirname "$0")/../.."

# The tests are done within a minute. What still runs after this is stuck.
readonly BOUND_SECONDS=300

complain() { echo "interop: $*" >&2; }

# need WHAT PACKAGES TEST...: installs Debian's PACKAGES unless TEST passes, and says so if that fails.
need() {
    local what="$1" packages="$2"
    shift 2
    if "$@" >/dev/null 2>&1; then
        return
    fi
    complain "$what is missing; installing $packages"
    # shellcheck disable=SC2086 # There may be several.
    if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null && apt-get update -qq >/dev/null &&
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages \
            >/dev/null && "$@" >/dev/null 2>&1; then
        return
    fi
    complain "$what is missing and could not be installed (Debian: apt-get install $packages)"
    exit 1
}

need "Node.js 18 or later" "nodejs" node -e 'process.exit(parseInt(process.versions.node) < 18 ? 1 : 0)'
need "npm" "npm" npm --version
need "Python 3.9 or later with venv" "python3 python3-venv" \
    python3 -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 9))'
# Older ones read secrets in captures too, but not all filters of the tests.
need "tshark 4" "tshark" bash -c 'tshark --version | grep -q "^TShark (Wireshark) [4-9]"'

need "Chromium" "chromium" chromium --version

for node_peers in tests/interop/node tests/interop/browser; do
    if ! [ "$node_peers/node_modules/.package-lock.json" -nt "$node_peers/package-lock.json" ]; then
        npm ci --prefix "$node_peers" --no-audit --no-fund --loglevel=error
    fi
done

python_peers=tests/interop/python
venv=target/interop/venv
if ! cmp -s "$python_peers/requirements.txt" "$venv/requirements.txt"; then
    python3 -m venv --clear "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check \
        --requirement "$python_peers/requirements.txt"
    cp "$python_peers/requirements.txt" "$venv/"
fi

cargo build --locked --test interop

export RINGTRUE_INTEROP_NODE=node
export RINGTRUE_INTEROP_TSHARK=tshark
RINGTRUE_CHROMIUM="$(command -v chromium)"
export RINGTRUE_CHROMIUM
export RINGTRUE_INTEROP_PYTHON="$PWD/$venv/bin/python"
# Tests mostly wait, so that many at a time fit on few cores. They are in the background, so that an
# interrupt reaches the trap at once. The peers end with the test binary, whichever way that ends: they
# live as long as the pipes to their standard input.
timeout --kill-after=5 "$BOUND_SECONDS" cargo test --locked --test interop -- --test-threads=16 "$@" &
running=$!
trap 'kill "$running" 2>/dev/null || true' EXIT
trap 'exit 130' INT TERM
status=0
wait "$running" || status=$?
if [ "$status" -eq 124 ]; then
    complain "not done after $BOUND_SECONDS seconds"
fi
exit "$status"
