#!/usr/bin/env bash
# Every static check. All of them run; the failed ones are named at the end. Run through `make lint`, which sets the paths.
set -uo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

cd "$BED/../.." || exit 1
package=ansible_collections.fractal_ops.platform.plugins
results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT

check() { # check NAME COMMAND...: what it printed goes with the verdict; the name of a failed one into a file
    local name=$1 started=$SECONDS log
    shift
    log=$(mktemp "$results/log.XXXXXX")
    if "$@" > "$log" 2>&1; then
        say "$name: passed in $((SECONDS - started)) s"
    else
        cat "$log"
        say "$name: FAILED"
        echo "$name" >> "$results/failed"
    fi
}

types() { # the collection is source here, not an installed package: hence no PYTHONPATH
    env -u PYTHONPATH MYPYPATH="$PWD/.cache/collections" mypy --no-error-summary -p "$package.module_utils" -p "$package.modules"
}

sanity() { # rules grow with each ansible-core: the newest has them all; the tools' own is the oldest that is supported
    local folder
    folder=$(environment "core-$(cores newest)")
    case $? in
        0) ;;
        2) folder=.cache/venv ;; # this machine lacks the newest's Python, as was said
        *) return 1 ;;
    esac
    "$BED/sanity.sh" "$folder"
}

documentation() { # its temporary folder's name is in each page: one that ends in _ looks like a reference there
    local log
    log=$(antsibull-docs lint-collection-docs --plugin-docs . 2>&1) && return
    case $log in
        *'Unknown target name: "antsibull-docs-'*) antsibull-docs lint-collection-docs --plugin-docs . ;;
        *) echo "$log"; return 1 ;;
    esac
}

# Two at a time: ansible-test takes about as long as all the others together.
check "ansible-test sanity" sanity &
check ruff ruff check --quiet .
check "ruff format" ruff format --quiet --check .
check mypy types
check ansible-lint ansible-lint -q --nocolor --offline
check antsibull-docs documentation
check antsibull-changelog antsibull-changelog lint
check reuse reuse lint --quiet
check galaxy-importer "$BED/galaxy.sh"
wait

if [ -e "$results/failed" ]; then
    say "failed: $(paste -sd, "$results/failed")"
    exit 1
fi
