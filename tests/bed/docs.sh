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
# docs/docsite/index.md lists roles and modules. The filters serve the roles only: their pages are in no index.
rm "$work/source/collections/index.rst" "$work/source/collections/environment_variables.rst"

cp docs/docsite/{conf.py,index.md,return_values.md} "$work/source/"
cp docs/*.md docs/*.png docs/*.json "$work/source/"
# Pages that docs/docsite/index.md does not name stand at its end.
for page in docs/*.md; do
    name=$(basename "$page" .md)
    grep -qE "^(.*<)?$name>?\$" docs/docsite/index.md || sed -i "s/^architecture$/&\n$name/" "$work/source/index.md"
done
sed -E 's#\]\(docs/([a-z_-]+\.(md|png))#](\1#g' README.md > "$work/source/readme.md"
cp CHANGELOG.md "$work/source/changelog.md"

sphinx-build -q -W --keep-going -j 2 -b html -d "$work/doctrees" "$work/source" "$work/html"
say "the documentation is at $work/html/index.html"
