#!/usr/bin/env bash
# Runs `make test` three times, or as often as the argument says, while loops keep the machine busy: eight of them,
# or LOOPS=… of them. No test may fail because of that.
set -euo pipefail
cd "$(dirname "$0")/.."

times=${1:-3}
loops=()
trap 'kill "${loops[@]}"' EXIT
for ((number = 0; number < ${LOOPS:-8}; number++)); do
    while :; do :; done &
    loops+=($!)
done

for ((number = 1; number <= times; number++)); do
    make --no-print-directory test
    echo "make test passed on a busy machine: $number of $times"
done
