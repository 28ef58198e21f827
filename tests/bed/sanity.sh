#!/usr/bin/env bash
# ansible-test sanity of the ansible-core in a virtual environment, under that environment's Python: sanity.sh ENVIRONMENT [OPTION ...]
set -uo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

cd "$BED/../.." || exit 1
environment=$(readlink -f "$1")
shift
python=$("$environment/bin/python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')

# ansible-test wants a folder .../ansible_collections/NAMESPACE/NAME, and no symlink: give it a copy of what git knows.
# It has a home of its own, in the cache, for the environments that it makes and for the stand-in for get-pip.
tree=$(mktemp -d)
log=$(mktemp)
trap 'rm -rf "$tree" "$log"' EXIT
home=$CACHE/ansible-test
user_config=$HOME/.config/pip/pip.conf
mkdir -p "$tree/ansible_collections/fractal_ops/platform" "$home/.ansible/test/cache"
git ls-files -z --cached --others --exclude-standard --deduplicate |
    while IFS= read -rd '' file; do [ ! -e "$file" ] || printf '%s\0' "$file"; done |
    tar -c --null -T - | tar -x -C "$tree/ansible_collections/fractal_ops/platform"
version=$(grep -ohP "\bpip='\K[0-9.]+" "$environment"/lib/python3*/site-packages/ansible_test/_internal/python_requirements.py)
cp "$BED/get_pip.py" "$home/.ansible/test/cache/get_pip_${version//./_}.py"

cd "$tree/ansible_collections/fractal_ops/platform" || exit 1
git init -q . && git add -A
[ ! -e "$user_config" ] || export PIP_CONFIG_FILE=${PIP_CONFIG_FILE:-$user_config}
PATH=$environment/bin:$PATH HOME=$home "$environment/bin/ansible-test" sanity --venv --python "$python" --color no "$@" > "$log" 2>&1
result=$?
# What passed is a screen full of installations; only the rest is of interest.
[ $result -eq 0 ] || grep -E '^(ERROR|FATAL|WARNING)|Error|^>>>' "$log"
exit $result
