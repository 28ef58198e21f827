#!/usr/bin/env bash
# Bring in what development and tests need, and link it into this working tree as .cache/. A re-run checks and does nothing.
#
#   packages of the system   installed when missing (as root)
#   .cache/venv              a virtual environment with tests/requirements.txt
#   .cache/collections       containers.podman, and this working tree as fractal_ops.platform
#
# All is kept in ${FRACTAL_OPS_CACHE:-~/.cache/fractal_ops} under a key of its inputs, so that another clone finds it there.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

ANSIBLE=12.3.0 # the release of the "ansible" package that matches ansible-core in tests/requirements.txt
root=$(cd "$BED/../.." && pwd)

packages=(git podman runc netavark aardvark-dns iptables mmdebstrap postgresql python3-venv shellcheck)
missing=()
for package in "${packages[@]}"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
    say "installing ${missing[*]} ..."
    if [ "$(id -u)" -ne 0 ]; then
        say "this needs root: apt-get install ${missing[*]}"
        exit 1
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -q >/dev/null
    apt-get install -yq --no-install-recommends "${missing[@]}" >/dev/null
fi

mkdir -p "$CACHE"
exec 9>"$CACHE/setup.lock"
flock 9

python=/usr/bin/python3.11
[ -x "$python" ] || python=python3
venv=$CACHE/venv-$({ "$python" --version; cat "$root/tests/requirements.txt"; } | sha256sum | cut -c1-12)
if [ ! -e "$venv/.complete" ]; then
    say "making the Python environment $venv ..."
    rm -rf "$venv"
    "$python" -m venv "$venv"
    "$venv/bin/pip" install --quiet --quiet --disable-pip-version-check -r "$root/tests/requirements.txt"
    touch "$venv/.complete"
fi

collections=$CACHE/collections-$ANSIBLE
if [ ! -e "$collections/.complete" ]; then
    say "fetching the collection containers.podman (ansible $ANSIBLE) ..."
    work=$(mktemp -d)
    "$venv/bin/pip" download --quiet --quiet --disable-pip-version-check --no-deps --dest "$work" "ansible==$ANSIBLE"
    rm -rf "$collections"
    "$venv/bin/python" - "$work"/ansible-*.whl "$collections" <<'PYTHON'
import sys
import zipfile

with zipfile.ZipFile(sys.argv[1]) as wheel:
    wanted = "ansible_collections/containers/podman/"
    wheel.extractall(sys.argv[2], [name for name in wheel.namelist() if name.startswith(wanted) and "/tests/" not in name])
PYTHON
    rm -rf "$work"
    touch "$collections/.complete"
fi

namespace=$root/.cache/collections/ansible_collections
mkdir -p "$namespace/fractal_ops"
ln -sfn "$venv" "$root/.cache/venv"
ln -sfn "$collections/ansible_collections/containers" "$namespace/containers"
ln -sfn "$root" "$namespace/fractal_ops/platform"
