#!/usr/bin/env bash
# Build the documentation site in .cache/docs/html; warnings are errors. No network takes part. Run through `make docs`.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

cd "$BED/../.."
work=$PWD/.cache/docs
rm -rf "$work"
mkdir -p "$work/source"
mkdir -m 0755 "$work/source/collections" # antsibull-docs refuses a folder that others may write

antsibull-docs collection --use-current --squash-hierarchy --no-indexes --no-breadcrumbs --fail-on-error \
    --no-add-antsibull-docs-version --dest-dir "$work/source/collections" fractal_ops.platform > "$work/log" 2>&1 ||
    { cat "$work/log"; exit 1; }
# docs/docsite/index.md lists roles and modules. The filters are private: their pages are in no list.
rm "$work/source/collections/index.rst" "$work/source/collections/environment_variables.rst"

page() { # page FILE NAME: a page of the repository under its name on the site; its links to the others lead there, too
    sed -E -e 's#\]\(docs/([a-z_-]+\.(md|png))#](\1#g' -e 's#\]\((\.\./)?roles/([a-z_]+)/README\.md#](collections/\2_role.rst#g' \
        -e 's#\]\((\.\./)?README\.md#](readme.md#g' -e 's#\]\((\.\./)?SECURITY\.md#](reporting.md#g' \
        -e 's#\]\((\.\./)?(CHANGELOG|CODE_OF_CONDUCT|CONTRIBUTING|MAINTAINERS)\.md#](\L\2.md#g' "$1" > "$work/source/$2.md"
}

cp docs/docsite/{conf.py,index.md,return_values.md} docs/*.png docs/*.json "$work/source/"
for file in docs/*.md; do
    name=$(basename "$file" .md)
    page "$file" "$name"
    # Pages that docs/docsite/index.md does not name stand at its end.
    grep -qE "^(.*<)?$name>?\$" docs/docsite/index.md || sed -i "s/^developing\$/&\n$name/" "$work/source/index.md"
done
# A role's or module's page has a long title: in the list stands its name.
for kind in role module; do
    names=$(cd "$work/source/collections" && printf '%s\n' ./*_"$kind.rst" | sed -E "s#./(.*)_$kind.rst#\\1 <collections/\\1_$kind>\\\\#")
    sed -i "s#^collections/\*_$kind\$#${names%\\}#" "$work/source/index.md"
done
for file in README CHANGELOG CODE_OF_CONDUCT CONTRIBUTING MAINTAINERS; do page "$file.md" "${file,,}"; done
page SECURITY.md reporting # docs/security.md has the other name

sphinx-build -q -W --keep-going -j 2 -b html -d "$work/doctrees" "$work/source" "$work/html"
say "the documentation is at $work/html/index.html"
