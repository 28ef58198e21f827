#!/usr/bin/env bash
# Unit tests and ansible-test sanity on every ansible-core that meta/runtime.yml allows and tests/requirements/core-*.txt locks.
#
#   matrix.sh [oldest|newest|X.Y ...]   only these; newest is the newest that is released, no candidate
#
# A Python that the machine lacks is named and its line left out; it is an error when no line is left.
set -uo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

cd "$BED/../.." || exit 1
mapfile -t wanted < <(cores "$@")
[ ${#wanted[@]} -gt 0 ] || exit 1

failed=() ran=0
for line in "${wanted[@]}"; do
    if ! folder=$(environment "core-$line"); then
        say "ansible-core $line: left out"
        continue
    fi
    what="ansible-core $line on $("$folder/bin/python" --version)"
    ran=$((ran + 1)) started=$SECONDS
    # What Python calls deprecated in code of Ansible or ours fails (the option matches the beginning of a module's name); what
    # Ansible itself says in a run of a playbook does in readme.sh.
    PATH=$folder/bin:$PATH ANSIBLE_DEPRECATION_WARNINGS=1 "$folder/bin/python" -m pytest -q -n 2 -p no:cacheprovider \
        -o filterwarnings=error::DeprecationWarning:ansible tests/unit || failed+=("$what: unit")
    skip=()
    # A candidate's sanity tests may name tools by an address that no registry serves; pylint's do in 2.22.0rc1.
    ! is_candidate "$line" || skip=(--skip-test pylint)
    "$BED/sanity.sh" "$folder" "${skip[@]}" || failed+=("$what: sanity")
    say "$what: $((SECONDS - started)) s"
done

if [ $ran -eq 0 ]; then
    say "this machine has no Python for any of: ${wanted[*]}"
    exit 1
fi
if [ ${#failed[@]} -gt 0 ]; then
    printf '[bed] FAILED: %s\n' "${failed[@]}" >&2
    exit 1
fi
