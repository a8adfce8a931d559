#!/usr/bin/env bash
# Runs a command that runs the tests, such as `tests/snapshots.sh cargo test`, and fails as it does. Where it
# passes, fails for each snapshot file that no test has looked at: what nobody compares says nothing any more.
set -euo pipefail

root=$(realpath "$(dirname "$0")/..")
met=$(mktemp)
trap 'rm -f "$met"' EXIT

INSTA_SNAPSHOT_REFERENCES_FILE=$met "$@"

left=$(comm -13 \
    <(xargs -r -d '\n' realpath -m -- <"$met" | sort -u) \
    <(find "$root/src" "$root/sim" "$root/tests" -name '*.snap' -not -path '*/node_modules/*' | sort))
if [ -n "$left" ]; then
    printf 'no test compares these snapshots:\n%s\n' "$left" >&2
    exit 1
fi
