#!/usr/bin/env bash
# readme.sh [oldest|newest|X.Y ...]: do what README.md says under "Use it", line by line, in an empty folder, with nothing but
# a new virtual environment and the built artefact; on each of these lines of ansible-core, on new hosts.
#
# Other than there are: the release of ansible-core is named, the artefact is installed, which no Galaxy has, and the two hosts of
# the inventory are the bed's.
# What this core calls deprecated is an error. Run it through `make readme`.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

root=$(cd "$BED/../.." && pwd)
pair=fractal-ops-readme
work=$root/.cache/readme
rm -rf "$work"
mkdir -p "$work"
trap '"$BED/stop_pair.sh" "$pair" > /dev/null 2>&1 || true' EXIT

ansible-galaxy collection build --output-path "$work" "$root" > /dev/null
awk '/^## /{there = $0 == "## Use it"} there && /^    /{print substr($0, 5)}' "$root/README.md" > "$work/block"
grep -q '^ansible-galaxy collection install fractal_ops.platform' "$work/block" || { say 'README.md says nothing of installing under "Use it"'; exit 1; }

[ $# -gt 0 ] || set -- oldest newest
wanted=$(cores "$@")
for line in $wanted; do
    started=$SECONDS
    list=$(echo "$REQUIREMENTS/core-$line"-py*.txt)
    minor=${list##*-py3.} minor=${minor%.txt}
    for python in "3.$minor" "3.$((minor + 1))"; do ! python=$(find_python "$python") || break; done
    [ -x "$python" ] || { say "no Python for ansible-core $line on this machine"; exit 1; }
    "$BED/run_pair.sh" "$pair" > /dev/null

    folder=$work/$line
    mkdir "$folder"
    "$python" -m venv "$work/venv-$line"
    # The rest of a line says where the host of that name is, as an operator's inventory would.
    login="ansible_user=ops ansible_ssh_private_key_file=$SSH/id_ed25519 ansible_ssh_common_args='-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null'"
    sed -E -e "s#^pip install ansible-core\$#pip install --quiet --disable-pip-version-check $(grep -oE '^ansible-core==[^ ]+' "$list")#" \
        -e "s#^(ansible-galaxy collection install) fractal_ops.platform.*#\1 --offline $(echo "$work"/*.tar.gz)#" \
        -e "s#^fractal.example.org\$#& ansible_host=$(address "$pair-server") fractal_wheelhouse=/opt/wheelhouse $login#" \
        -e "s#^fractal-web.example.org\$#& ansible_host=$(address "$pair-web") fractal_web_archive=/opt/archives/node-18-fractal-web-v1.21.1.tar.gz $login#" \
        -e "1i PS4='[\$SECONDS s] '; set -ex" "$work/block" > "$work/commands-$line"
    log=$work/log-$line
    if ! (cd "$folder" && env -i HOME="$folder" PATH="$work/venv-$line/bin:/usr/bin:/bin" LANG=C.UTF-8 ANSIBLE_DEPRECATION_WARNINGS=1 \
        bash "$work/commands-$line" < /dev/null) > "$log" 2>&1; then
        tail -100 "$log" >&2
        say "ansible-core $line: README.md's commands FAILED"
        exit 1
    fi
    if grep -A3 'DEPRECATION' "$log" >&2; then
        say "ansible-core $line calls this deprecated"
        exit 1
    fi
    grep -E '^\[[0-9]+ s\] (pip|ansible)' "$log" # when each began
    "$python" - "$folder" <<'PYTHON'
import json, pathlib, sys

records = [json.loads(path.read_text()) for path in pathlib.Path(sys.argv[1]).glob("fractal-reports/*/2*.json")]
records.sort(key=lambda record: record["run"]["id"])
told = [(record["run"]["playbook"], record["outcome"]) for record in records]
print(*(f"{playbook}: {outcome}" for playbook, outcome in told), sep=", ")
wanted = [("precheck", "upgrade planned"), ("upgrade", "upgraded"), ("verify", "verified"), ("rollback", "rolled back")]
assert [one for one in told if one[0] in dict(wanted)] == wanted, "README.md's commands did not do what they are for"
PYTHON
    [ "$(podman exec "$pair-server" curl -s http://localhost:8000/api/alive/ | grep -o '2\.16\.6')" = 2.16.6 ] ||
        { say "the old instance is not back"; exit 1; }
    say "README.md's commands passed with $(grep -oE '^ansible-core==[^ ]+' "$list") on $("$python" --version) in $((SECONDS - started)) s"
done
