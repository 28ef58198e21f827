#!/usr/bin/env bash
# Make the artefact of a release, judge it, and with PUBLISH=yes publish it; else it is a dry run that says what would be
# published. docs/developing.md has the recipe. Run it through `make release`; the token is in ANSIBLE_GALAXY_TOKEN.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

cd "$BED/../.."
version=$(grep -oP '^version: \K\S+' galaxy.yml)
wrong=()
[[ $version =~ ^[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$ ]] || wrong+=("galaxy.yml: $version is no version of SemVer")
grep -qE "^  $version:\$" changelogs/changelog.yaml || wrong+=("changelogs/changelog.yaml does not have $version: antsibull-changelog release")
[ -z "$(find changelogs/fragments -name '*.y*ml' 2>/dev/null)" ] || wrong+=("changelogs/fragments is not empty: antsibull-changelog release")
[ -z "$(git status --porcelain)" ] || wrong+=("the working tree has changes that are not committed")
[ "$(git tag --points-at HEAD --list "v$version")" = "v$version" ] || wrong+=("this commit does not have the tag v$version")
if [ ${#wrong[@]} -gt 0 ]; then
    printf '[bed] not a release: %s\n' "${wrong[@]}" >&2
    [ "${PUBLISH:-}" != yes ] || exit 1
fi

"$BED/galaxy.sh"
mkdir -p .cache/release
rm -f .cache/release/*
ansible-galaxy collection build --output-path .cache/release . > /dev/null
artefact=$(echo .cache/release/fractal_ops-platform-*.tar.gz)

# What was built is what an operator gets: whole, and with playbooks that Ansible can read.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
installed() { env -u PYTHONPATH ANSIBLE_COLLECTIONS_PATH="$work" ANSIBLE_LOCAL_TEMP="$work/tmp" "$@"; }
installed ansible-galaxy collection install --offline -p "$work" "$artefact" > /dev/null
installed ansible-galaxy collection verify --offline fractal_ops.platform > /dev/null
for playbook in playbooks/*.yml; do
    installed ansible-playbook --syntax-check -i localhost, "fractal_ops.platform.$(basename "$playbook" .yml)" > /dev/null 2>&1 ||
        { say "Ansible cannot read $(basename "$playbook") of the artefact"; exit 1; }
done
sha256sum "$artefact" | tee "$artefact.sha256"

if [ "${PUBLISH:-}" = yes ]; then
    ansible-galaxy collection publish --token "${ANSIBLE_GALAXY_TOKEN:?}" "$artefact"
else
    say "dry run: with PUBLISH=yes it would be ansible-galaxy collection publish $artefact"
    [ ${#wrong[@]} -eq 0 ] || exit 1
fi
