#!/usr/bin/env bash
# Every static check. All of them run; the failed ones are named at the end. Run through `make lint`, which sets the paths.
set -uo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

cd "$BED/../.." || exit 1
package=ansible_collections.fractal_ops.platform.plugins
failed=()
log=$(mktemp)
trap 'rm -f "$log"' EXIT

check() { # check NAME COMMAND...
    local name=$1 started=$SECONDS
    shift
    if "$@"; then
        say "$name: passed in $((SECONDS - started)) s"
    else
        say "$name: FAILED"
        failed+=("$name")
    fi
}

sanity() {
    # ansible-test wants a folder .../ansible_collections/NAMESPACE/NAME, and no symlink: give it a copy of what git knows.
    # It has a home of its own, in the cache, for the environments that it makes and for the stand-in for get-pip.
    local tree home=$CACHE/ansible-test version user_config=$HOME/.config/pip/pip.conf
    tree=$(mktemp -d)
    mkdir -p "$tree/ansible_collections/fractal_ops/platform" "$home/.ansible/test/cache"
    git ls-files -z --cached --others --exclude-standard --deduplicate |
        while IFS= read -rd '' file; do [ ! -e "$file" ] || printf '%s\0' "$file"; done |
        tar -c --null -T - | tar -x -C "$tree/ansible_collections/fractal_ops/platform"
    version=$(grep -ohP "\bpip='\K[0-9.]+" .cache/venv/lib/python3*/site-packages/ansible_test/_internal/python_requirements.py)
    cp "$BED/get_pip.py" "$home/.ansible/test/cache/get_pip_${version//./_}.py"
    (
        cd "$tree/ansible_collections/fractal_ops/platform" || exit 1
        git init -q . && git add -A
        [ ! -e "$user_config" ] || export PIP_CONFIG_FILE=${PIP_CONFIG_FILE:-$user_config}
        HOME=$home ansible-test sanity --venv --python "$(python -c 'import sys; print("%d.%d" % sys.version_info[:2])')" \
            --color no > "$log" 2>&1
    )
    local result=$?
    # What passed is a screen full of installations; only the rest is of interest.
    [ $result -eq 0 ] || grep -E '^(ERROR|FATAL|WARNING)|Error|^>>>' "$log"
    rm -rf "$tree"
    return $result
}

types() { # the collection is source here, not an installed package: hence no PYTHONPATH
    env -u PYTHONPATH MYPYPATH="$PWD/.cache/collections" mypy --no-error-summary -p "$package.module_utils" -p "$package.modules"
}

check ruff ruff check --quiet .
check "ruff format" ruff format --quiet --check .
check mypy types
check ansible-lint ansible-lint -q --nocolor --offline
check antsibull-docs antsibull-docs lint-collection-docs --plugin-docs .
check antsibull-changelog antsibull-changelog lint
check "ansible-test sanity" sanity

if [ ${#failed[@]} -gt 0 ]; then
    say "failed: ${failed[*]}"
    exit 1
fi
