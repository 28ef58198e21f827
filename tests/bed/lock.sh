#!/usr/bin/env bash
# Resolve tests/requirements/*.in into files of exact versions with hashes (`make lock`): the newest of today.
#
#   dev-py3.11.txt      development, on the oldest ansible-core that meta/runtime.yml promises
#   core-X.Y-pyZ.txt    unit tests on each ansible-core from that one on: the newest release of the line or, before there
#                       is one, its release candidate, with the oldest Python that it runs on
#   galaxy-py3.11.txt, builder-py3.11.txt, ee-py3.13.txt, host-py3.9.txt
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

cd "$BED/../requirements" || exit 1
lowest=$(grep -oP 'requires_ansible: ">=\K\d+\.\d+' ../../meta/runtime.yml)

resolve() { # resolve NAME PYTHON: standard input to NAME-pyPYTHON.txt
    # shellcheck disable=SC2086 # an option or nothing
    uv pip compile --quiet ${UNIVERSAL---universal} --prerelease if-necessary-or-explicit --python-version "$2" --generate-hashes --no-annotate \
        --no-header --upgrade --output-file "$1-py$2.txt" -
    sed -i '1i # Written by "make lock"; change the .in files.' "$1-py$2.txt"
}

rm -f ./*-py*.txt
resolve dev 3.11 <<< "-r dev.in
ansible-core~=$lowest.0"
resolve galaxy 3.11 <<< "-r galaxy.in"
resolve builder 3.11 <<< "-r builder.in"
resolve ee 3.13 <<< "-r ee.in"
UNIVERSAL="" resolve host 3.9 <<< "-r host.in"

versions=$(pip index versions --pre --ignore-requires-python ansible-core 2>/dev/null |
    sed -n 's/^Available versions: //p' | tr -d ' ' | tr , '\n' | grep -E '^[0-9]+\.[0-9]+\.[0-9]+(rc[0-9]+)?$')
# shellcheck disable=SC2013 # versions hold no blanks
for line in $(cut -d. -f1,2 <<< "$versions" | sort -uV); do
    [ "$(printf '%s\n' "$lowest" "$line" | sort -V | head -1)" = "$lowest" ] || continue
    newest=$(grep -E "^${line//./\\.}\.[0-9]+$" <<< "$versions" | head -1 || true)
    newest=${newest:-$(grep -E "^${line//./\\.}\." <<< "$versions" | head -1)}
    for python in 3.11 3.12 3.13 3.14 3.15; do
        resolve "core-$line" "$python" 2>/dev/null <<< "-r unit.in
ansible-core==$newest" && break
    done
done
ls ./*-py*.txt
