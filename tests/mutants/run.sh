#!/usr/bin/env bash
# Asks of the pure machines whether their own tests notice when they are broken:
# tests/mutants/run.sh [MACHINE...]
#
# A build of the whole client for each mutant would take days. So the machines are copied into a workspace of
# their own that has nothing else, at the same paths, and cargo-mutants works there: a mutant costs seconds.
# Without MACHINEs all are run, which takes most of an hour of two idle cores. Prints a line for each machine, with the mutants that
# no test noticed below it; what else cargo-mutants says is under target/mutants.
set -euo pipefail
cd "$(dirname "$0")/../.."

readonly MACHINES=(negotiation state candidates mailbox nat)

# What cargo-mutants makes of a machine: its package, its files and the tests that count.
scope() {
    case "$1" in
    negotiation) echo ringtrue call::negotiation:: src/call/negotiation.rs ;;
    state) echo ringtrue call::state:: src/call/state.rs ;;
    candidates) echo ringtrue candidates:: src/candidates.rs 'src/candidates/*.rs' ;;
    mailbox) echo ringtrue signaling::mailbox:: src/signaling/mailbox.rs 'src/signaling/mailbox/*.rs' ;;
    nat) echo ringtrue-sim net::nat:: sim/src/net/nat.rs 'sim/src/net/nat/*.rs' ;;
    *)
        echo "mutants: no machine is called $1; there are ${MACHINES[*]}" >&2
        return 1
        ;;
    esac
}

# Where the workspace is made, and what becomes of it.
work="$PWD/target/mutants"

# Copies the machines and what they need. The manifests are the real ones, so that the dependencies are those
# that `cargo test` has built; only what names other files is cut out.
assemble() {
    rm -rf "$work/tree"
    mkdir -p "$work/tree/src/redaction" "$work/tree/sim/src"
    local path
    for path in Cargo.{lock,toml} src/candidates.rs src/candidates src/redaction.rs \
        src/call/{negotiation,state}.rs src/call/snapshots src/signaling/{mailbox,message}.rs \
        src/signaling/{mailbox,message} sim/src/net/{cause,flow,nat}.rs sim/src/net/nat; do
        mkdir -p "$work/tree/$(dirname "$path")"
        cp -r "$path" "$work/tree/$path"
    done
    sed '/^\[\[bin\]\]$/,/^\[lib\]$/d' sim/Cargo.toml >"$work/tree/sim/Cargo.toml"
    # What the log says is tested with a whole client.
    : >"$work/tree/src/redaction/lines.rs"
    cat >"$work/tree/src/lib.rs" <<'END'
pub mod candidates;
pub mod redaction;
pub mod call {
    pub mod negotiation;
    pub mod state;
}
pub mod signaling {
    pub mod mailbox;
    pub mod message;
}
END
    cat >"$work/tree/sim/src/lib.rs" <<'END'
pub mod net {
    pub mod cause;
    pub mod flow;
    pub mod nat;
}
END
}

run() {
    local package tests files
    read -r package tests files < <(scope "$1")
    local chosen=()
    set -f
    local file
    for file in $files; do
        chosen+=(--file "$file")
    done
    set +f
    local out="$work/$1" status=0
    rm -rf "$out"
    mkdir -p "$out"
    # Tests are no part of what is mutated: cargo-mutants leaves out `cfg(test)`, and a folder of tests is
    # only reached by it. It ends with 2 for missed mutants and with 3 for those that ran out of time.
    cargo mutants --dir "$work/tree" --in-place --package "$package" "${chosen[@]}" --output "$out" \
        --no-shuffle --colors=never --minimum-test-timeout "${MUTANTS_TIMEOUT:-20}" \
        -- --lib "$tests" >"$out/log" 2>&1 || status=$?
    case "$status" in
    0 | 2 | 3) ;;
    *)
        tail -n 40 "$out/log" >&2
        echo "mutants: $1 could not be tried, cargo-mutants ended with $status" >&2
        return 1
        ;;
    esac
    local caught missed timeouts
    caught="$(wc -l <"$out/mutants.out/caught.txt")"
    missed="$(wc -l <"$out/mutants.out/missed.txt")"
    timeouts="$(wc -l <"$out/mutants.out/timeout.txt")"
    local killed=$((caught + timeouts)) viable=$((caught + timeouts + missed))
    echo "$1: $killed of $viable killed ($((killed * 1000 / viable)) in a thousand), $timeouts of them by time"
    sed 's/^/    /' "$out/mutants.out/missed.txt"
}

# Properties are tried with the same cases in every run, and a failure is not looked into: it is only
# counted, and must not help against the next mutant.
export PROPTEST_RNG_SEED=1 PROPTEST_MAX_SHRINK_ITERS=0 PROPTEST_DISABLE_FAILURE_PERSISTENCE=true
export INSTA_UPDATE=no INSTA_FORCE_PASS=0
export CARGO_TARGET_DIR="$PWD/target"

command -v cargo-mutants >/dev/null || {
    echo "mutants: cargo-mutants is missing; cargo install --locked cargo-mutants" >&2
    exit 1
}
if [ "$#" -eq 0 ]; then
    set -- "${MACHINES[@]}"
fi
assemble
for machine in "$@"; do
    run "$machine"
done
