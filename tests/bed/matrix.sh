#!/usr/bin/env bash
# Unit tests and ansible-test sanity on every ansible-core that meta/runtime.yml allows and tests/requirements/core-*.txt locks.
#
#   matrix.sh [oldest|newest|X.Y ...]   only these; newest is the newest that is released, no candidate
#
# At the end each line says how it ended. One whose Python the machine lacks is left out, and says so; it is an error when no
# line is left.
set -uo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

cd "$BED/../.." || exit 1
mapfile -t wanted < <(cores "$@")
[ ${#wanted[@]} -gt 0 ] || exit 1

ended=() failed=0 ran=0
for line in "${wanted[@]}"; do
    folder=$(environment "core-$line")
    case $? in
        0) ;;
        2) ended+=("ansible-core $line: left out, this machine has no Python for it") && continue ;;
        *) ended+=("ansible-core $line: FAILED, its environment could not be made") failed=1 && continue ;;
    esac
    what="ansible-core $line on $("$folder/bin/python" --version)"
    ran=$((ran + 1)) started=$SECONDS unit=passed sanity=passed
    # What Python calls deprecated in code of Ansible or ours fails (the option matches the beginning of a module's name); what
    # Ansible itself says in a run of a playbook does in readme.sh.
    PATH=$folder/bin:$PATH ANSIBLE_DEPRECATION_WARNINGS=1 "$folder/bin/python" -m pytest -q -n 2 -p no:cacheprovider \
        -o filterwarnings=error::DeprecationWarning:ansible tests/unit || { unit=FAILED failed=1; }
    skip=()
    # A candidate's sanity tests may name tools by an address that no registry serves; pylint's do in 2.22.0rc1.
    ! is_candidate "$line" || skip=(--skip-test pylint)
    "$BED/sanity.sh" "$folder" "${skip[@]}" || { sanity=FAILED failed=1; }
    ended+=("$what: unit $unit, sanity $sanity${skip:+ without pylint}, in $((SECONDS - started)) s")
done

for one in "${ended[@]}"; do say "$one"; done
if [ $ran -eq 0 ]; then
    say "this machine has no Python for any of: ${wanted[*]}"
    exit 1
fi
exit $failed
