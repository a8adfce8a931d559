#!/usr/bin/env bash
# Builds the fuzz targets and runs each for some seconds: fuzz/run.sh [SECONDS] [TARGET...]
#
# It does what `cargo fuzz run --sanitizer none` does, but needs neither cargo-fuzz nor a nightly
# toolchain: the coverage that guides libFuzzer is a pass of LLVM, and unsafe code to sanitize there is
# none. Without TARGETs all are run, at once on as many cores as there are.
set -euo pipefail
cd "$(dirname "$0")"

seconds="${1:-5}"
targets=("${@:2}")
if [ "${#targets[@]}" -eq 0 ]; then
    mapfile -t targets < <(cd fuzz_targets && printf '%s\n' *.rs | sed 's/\.rs$//')
fi

# libFuzzer is C++.
if ! command -v c++ >/dev/null; then
    echo "fuzz: no C++ compiler; installing g++" >&2
    apt-get update -qq && apt-get install -y -qq g++ >/dev/null ||
        { echo "fuzz: install a C++ compiler, such as g++" >&2; exit 1; }
fi

# Build scripts and macros are not instrumented, since they have no libFuzzer to report to: with
# `--target`, flags apply to what runs on the target alone. The flags replace those of
# .cargo/config.toml, so its own is here again.
host="$(rustc -vV | sed -n 's/^host: //p')"
export RUSTFLAGS="--cfg tokio_unstable --cfg fuzzing -C passes=sancov-module \
    -C llvm-args=-sanitizer-coverage-level=4 \
    -C llvm-args=-sanitizer-coverage-inline-8bit-counters \
    -C llvm-args=-sanitizer-coverage-pc-table \
    -C llvm-args=-sanitizer-coverage-trace-compares"
cargo build --locked --target "$host" "${targets[@]/#/--bin=}"

# What the run adds goes under target/; the corpus directories hold the seeds.
run() {
    local grown="target/corpus/$1" artifacts="target/artifacts/$1/" log="target/corpus/$1.log"
    mkdir -p "$grown" "$artifacts"
    if ! "target/$host/debug/$1" -max_total_time="$seconds" -timeout=5 -rss_limit_mb=1024 \
        -max_len=65536 -artifact_prefix="$artifacts" -print_final_stats=1 \
        "$grown" "corpus/$1" >"$log" 2>&1; then
        tail -n 40 "$log"
        echo "$1: FAILED"
        return 1
    fi
    echo "$1: $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") inputs"
}
export -f run
export host seconds
printf '%s\n' "${targets[@]}" | xargs -P "$(nproc)" -I{} bash -c 'run {}'
