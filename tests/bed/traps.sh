#!/usr/bin/env bash
# traps.sh plant CONTAINER | check CONTAINER
#
# What a service account that was taken over would do. The account owns its environment and its folders, so it replaces
# the interpreter, and puts a sitecustomize.py and a .pth file into every environment beside the known one, again and
# again while we work. Each trap notes the user id that ran it; everything goes on working. So all scenarios and faults
# run against an enemy: check fails if root was caught by any trap, or if none was sprung at all.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

container=$2
NOTES=/var/tmp/traps

plant() {
    podman exec -i "$container" bash -euo pipefail <<'ROOT'
    install -d -m 1777 /var/tmp/traps
    install -d -o fractal -g fractal /home/fractal/traps
    cat > /home/fractal/traps/sitecustomize.py <<'PYTHON'
import os
try:
    os.close(os.open(f"/var/tmp/traps/{os.geteuid()}-sitecustomize", os.O_CREAT | os.O_WRONLY, 0o644))
except OSError:
    pass
PYTHON
    cat > /home/fractal/traps/zz_trap.pth <<'PTH'
import os; path = f"/var/tmp/traps/{os.geteuid()}-pth"; os.path.exists(path) or os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o644))
PTH
    cat > /home/fractal/traps/interpreter <<'BASH'
#!/bin/bash
: 2>/dev/null > "/var/tmp/traps/$EUID-interpreter"
exec -a "$0" /usr/bin/python3 "$@"
BASH
    # Every environment that appears beside the known one, also while it is built.
    cat > /home/fractal/traps/planter <<'BASH'
#!/bin/bash
while sleep 0.1; do
    for folder in /opt/fractal/venv*/lib/python3*/site-packages; do
        [ -e "$folder/zz_trap.pth" ] || cp /home/fractal/traps/{sitecustomize.py,zz_trap.pth} "$folder/"
    done 2>/dev/null
done
BASH
    chmod 0755 /home/fractal/traps/{interpreter,planter}
    runuser -u fractal -- rm /opt/fractal/venv/bin/python3
    runuser -u fractal -- cp /home/fractal/traps/interpreter /opt/fractal/venv/bin/python3
    cat > /etc/systemd/system/trap-planter.service <<'UNIT'
[Unit]
Description=A service account that was taken over
[Service]
User=fractal
ExecStart=/home/fractal/traps/planter
[Install]
WantedBy=multi-user.target
UNIT
    systemctl --quiet enable --now trap-planter
    systemctl restart fractal-server
ROOT
}

check() {
    local sprung
    podman exec "$container" test -d $NOTES 2>/dev/null || return 0 # it has none, or does not run any more
    sprung=$(podman exec "$container" find $NOTES -type f -printf '%U %f\n')
    if [ -z "$sprung" ]; then
        say "$container: no trap was sprung by anybody, so they prove nothing"
        return 1
    fi
    if grep -E '^0 | 0-' <<< "$sprung"; then
        say "$container: root ran what the service account had planted (above)"
        return 1
    fi
}

"$1"
