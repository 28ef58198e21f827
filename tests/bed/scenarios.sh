#!/usr/bin/env bash
# scenarios.sh [NAME ...]: run Molecule scenarios (all without names) one after another, and say how each ended.
# A scenario that fails does not stop the others; its hosts are removed too. Of one that passed only the steps are shown.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

cd "$BED/../.."
if [ $# -eq 0 ]; then
    for file in molecule/*/molecule.yml; do
        set -- "$@" "$(basename "$(dirname "$file")")"
    done
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
failed=()
number=0
for scenario in "$@"; do
    number=$((number + 1))
    started=$SECONDS
    say "scenario $number of $#: $scenario ..."
    if NO_COLOR=1 ANSIBLE_NOCOLOR=1 molecule test -s "$scenario" 2>&1 < /dev/null | tee "$log" |
        sed -unE 's/^INFO +\[[^]]* > ([a-z]+)\] Executing$/[bed]   \1/p' >&2; then
        say "scenario $scenario passed in $((SECONDS - started)) s: $(grep -oE '[0-9]+ passed' "$log" | tail -1)"
    else
        cat "$log"
        say "scenario $scenario FAILED after $((SECONDS - started)) s"
        failed+=("$scenario")
    fi
done
if [ ${#failed[@]} -gt 0 ]; then
    say "failed: ${failed[*]}"
    exit 1
fi
