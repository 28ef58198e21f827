#!/usr/bin/env bash
# scenarios.sh [NAME ...]: run Molecule scenarios, two at a time, and say how each ended. Without names all that belong to the
# bed of FRACTAL_OPS_BED; a scenario that names a bed of its own is run on that one, and without being named only there.
# A scenario that fails does not stop the others; its hosts are removed too. Of one that passed only the steps are shown.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

LANES=2 # a scenario mostly waits for its hosts
cd "$BED/../.."

bed_of() { # bed_of SCENARIO: the bed that its molecule.yml names, or the chosen one
    grep -oP '^ *FRACTAL_OPS_BED: \K\w+' "molecule/$1/molecule.yml" || echo "$FRACTAL_OPS_BED"
}

if [ $# -eq 0 ]; then
    # the longest ones first, so that none is left alone at the end
    set -- refusals oidc slurm_ssh
    for file in molecule/*/molecule.yml; do
        name=$(basename "$(dirname "$file")")
        [[ " $* " = *" $name "* ]] || [ "$(bed_of "$name")" != "$FRACTAL_OPS_BED" ] || set -- "$@" "$name"
    done
fi

[[ " $* " != *" oidc "* ]] || install_packages chromium chromium-driver # its browser

for bed in $(for scenario in "$@"; do bed_of "$scenario"; done | sort -u); do
    FRACTAL_OPS_BED=$bed "$BED/build.sh"
done

logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT

run() { # run SCENARIO: to its end; leaves its output and, if it failed, a mark
    local started=$SECONDS log=$logs/$1
    if NO_COLOR=1 ANSIBLE_NOCOLOR=1 molecule test -s "$1" 2>&1 < /dev/null | tee "$log" |
        sed -unE -e "s/^INFO +\[[^]]* > ([a-z]+)\] Executing\$/[bed]   $1: \1/" -e '/^\[bed\] /p' >&2; then
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
