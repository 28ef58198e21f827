#!/usr/bin/env bash
# timed.sh STEP ...: make targets one after another, and say how long each took. A step is a target, or several: a,b+c makes
# a, then b, and c at the same time. Stops at the first that fails; what runs beside it comes to its end.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

run() { # run TARGET: make it, and say how it ended
    local started=$SECONDS
    say "$1 ..."
    if make --no-print-directory -C "$BED/../.." "$1"; then
        say "$1 passed in $((SECONDS - started)) s"
    else
        say "$1 FAILED after $((SECONDS - started)) s"
        return 1
    fi
}

in_turn() { # in_turn TARGET ...: until one fails
    local target
    for target in "$@"; do
        run "$target" || return 1
    done
}

for step in "$@"; do
    jobs=()
    for lane in ${step//+/ }; do
        # shellcheck disable=SC2086 # its targets are words
        in_turn ${lane//,/ } &
        jobs+=($!)
    done
    failed=no
    for job in "${jobs[@]}"; do
        wait "$job" || failed=yes
    done
    [ "$failed" = no ] || exit 1
done
say "all passed in $SECONDS s"
