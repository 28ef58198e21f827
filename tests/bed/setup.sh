#!/usr/bin/env bash
# Bring in what development and tests need, and link it into this working tree as .cache/. A re-run checks and does nothing.
#
#   packages of the system   installed when missing (as root)
#   .cache/venv              a virtual environment with tests/requirements/dev-py3.11.txt
#   .cache/host-venv         another one for tests/requirements/host-py3.9.txt, where the machine has that Python
#   .cache/collections       this working tree as fractal_ops.platform
#   .cache/ssh               key and configuration of the connections to the hosts of the test bed
#
# All is kept in ${FRACTAL_OPS_CACHE:-~/.cache/fractal_ops} under a key of its inputs, so that another clone finds it there.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

root=$(cd "$BED/../.." && pwd)

install_packages git openssh-client podman runc netavark aardvark-dns iptables mmdebstrap pgbouncer postgresql python3-venv shellcheck

mkdir -p "$CACHE"
mkdir -p "$root/.cache"
exec 9>"$CACHE/setup.lock"
flock 9

venv=$(environment dev)
# The oldest Python that a host may have. Few machines have it: without it tests/unit/test_oldest_python.py says why it is skipped.
rm -f "$root/.cache/host-venv"
! host=$(environment host) || ln -sfn "$host" "$root/.cache/host-venv"

if [ ! -e "$SSH/id_ed25519" ]; then
    say "making a key for the connections to the containers ..."
    mkdir -p "$SSH/hosts.d"
    chmod 0700 "$SSH"
    ssh-keygen -q -t ed25519 -N '' -C fractal_ops -f "$SSH/id_ed25519"
fi
cat > "$SSH/config" <<CONFIG
Include $SSH/hosts.d/*
Host *
    User ops
    IdentityFile $SSH/id_ed25519
    IdentitiesOnly yes
    StrictHostKeyChecking no
    UserKnownHostsFile /dev/null
    LogLevel ERROR
    ControlMaster auto
    ControlPersist 5m
    ControlPath $SSH/%C
CONFIG

namespace=$root/.cache/collections/ansible_collections
mkdir -p "$namespace/fractal_ops"
ln -sfn "$venv" "$root/.cache/venv"
ln -sfn "$SSH" "$root/.cache/ssh"
ln -sfn "$root" "$namespace/fractal_ops/platform"
