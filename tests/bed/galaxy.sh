#!/usr/bin/env bash
# Build the artefact and let Galaxy's importer judge it, without network. What it warns of is an error here.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

environment=$(environment galaxy)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
ansible-galaxy collection build --output-path "$work" "$BED/../.." > /dev/null
cat > "$work/galaxy-importer.cfg" <<'CONFIG'
[galaxy-importer]
check_required_tags = true
run_ansible_test = false
run_ansible_doc = true
# `make lint` runs it on the source already, in a newer release
run_ansible_lint = false
CONFIG
cd "$work" # it writes its result into the current folder
# A home of its own: nothing of the user's Ansible set-up takes part.
if ! env -u PYTHONPATH -u ANSIBLE_CONFIG -u ANSIBLE_COLLECTIONS_PATH HOME="$work" PATH="$environment/bin:$PATH" \
    GALAXY_IMPORTER_CONFIG="$work/galaxy-importer.cfg" \
    "$environment/bin/python" -m galaxy_importer.main "$work"/*.tar.gz > log 2>&1 || grep -qE '^(WARNING|ERROR|CRITICAL)' log; then
    grep -vE '^(INFO|Loading)' log
    exit 1
fi
