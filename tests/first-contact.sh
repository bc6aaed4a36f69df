#!/usr/bin/env bash
# Compares the first `make run` with `cargo build` of the same programs: each in a fresh clone of the last commit, in
# turn, twice or as often as the argument says. Fails if `make run` takes more than 1.3 times as long. The crates are
# downloaded before, Python's packages by `make run`. The machine has to be quiet, and no stack up.
set -euo pipefail
repository=$(cd "$(dirname "$0")/.." && pwd)
folder=$(mktemp -d)
trap 'make --no-print-directory --directory="$folder/clone" down >/dev/null || true; rm -rf "$folder"' EXIT
unset CARGO_BUILD_TARGET CARGO_TARGET_DIR

# Prints how many seconds a command takes.
measure() {
    rm -rf "$folder/clone"
    git clone --quiet "$repository" "$folder/clone"
    cd "$folder/clone"
    local began=$SECONDS
    "$@" >"$folder/log" 2>&1 || { tail "$folder/log" >&2 && return 1; }
    echo $((SECONDS - began))
    make --no-print-directory down >/dev/null
}

cargo fetch --locked --manifest-path "$repository/Cargo.toml"
build=0 run=0
for ((round = 1; round <= ${1:-2}; round++)); do
    took=$(measure cargo build --locked --package sqs-to-postgres --package sqs-to-postgres-tool)
    build=$((build + took))
    echo "cargo build: $took s"
    took=$(measure make run)
    run=$((run + took))
    echo "make run: $took s"
done
echo "make run takes $((100 * run / build)) % of the time of cargo build"
((10 * run <= 13 * build))
