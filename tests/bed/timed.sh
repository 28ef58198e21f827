#!/usr/bin/env bash
# timed.sh TARGET[+TARGET ...] ...: make the targets one after another, those joined by + at the same time, and say how
# long each took. Stops at the first that fails; what runs beside it comes to its end.
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

for step in "$@"; do
    jobs=()
    for target in ${step//+/ }; do
        run "$target" &
        jobs+=($!)
    done
    failed=no
    for job in "${jobs[@]}"; do
        wait "$job" || failed=yes
    done
    [ "$failed" = no ] || exit 1
done
say "all passed in $SECONDS s"
