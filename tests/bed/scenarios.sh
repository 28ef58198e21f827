#!/usr/bin/env bash
# scenarios.sh [NAME ...]: run Molecule scenarios (all without names), two at a time, and say how each ended.
# A scenario that fails does not stop the others; its hosts are removed too. Of one that passed only the steps are shown.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

LANES=2 # a scenario mostly waits for its hosts
cd "$BED/../.."
if [ $# -eq 0 ]; then
    # the longest ones first, so that none is left alone at the end
    set -- refusals oidc slurm_ssh
    for file in molecule/*/molecule.yml; do
        name=$(basename "$(dirname "$file")")
        [[ " $* " = *" $name "* ]] || set -- "$@" "$name"
    done
fi

logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT

run() { # run SCENARIO: to its end; leaves its output and, if it failed, a mark
    local started=$SECONDS log=$logs/$1
    if NO_COLOR=1 ANSIBLE_NOCOLOR=1 molecule test -s "$1" 2>&1 < /dev/null | tee "$log" |
        sed -unE "s/^INFO +\[[^]]* > ([a-z]+)\] Executing\$/[bed]   $1: \1/p" >&2; then
        say "scenario $1 passed in $((SECONDS - started)) s: $(grep -oE '[0-9]+ passed' "$log" | tail -1)"
    else
        cat "$log"
        say "scenario $1 FAILED after $((SECONDS - started)) s"
        touch "$log.failed"
    fi
}

for scenario in "$@"; do
    while [ "$(jobs -rp | wc -l)" -ge "$LANES" ]; do
        wait -n || true
    done
    say "scenario $scenario ..."
    run "$scenario" &
done
wait

failed=()
for scenario in "$@"; do
    [ ! -e "$logs/$scenario.failed" ] || failed+=("$scenario")
done
if [ ${#failed[@]} -gt 0 ]; then
    say "failed: ${failed[*]}"
    exit 1
fi
