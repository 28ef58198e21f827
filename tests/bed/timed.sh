#!/usr/bin/env bash
# timed.sh TARGET ...: make the targets one after another and say how long each took. Stops at the first that fails.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

summary=()
for target in "$@"; do
    started=$SECONDS
    say "$target ..."
    if ! make --no-print-directory -C "$BED/../.." "$target"; then
        say "$target FAILED after $((SECONDS - started)) s"
        exit 1
    fi
    summary+=("$(printf '%-12s %4d s' "$target" $((SECONDS - started)))")
done
say "all passed in $SECONDS s:"
for line in "${summary[@]}"; do
    say "  $line"
done
