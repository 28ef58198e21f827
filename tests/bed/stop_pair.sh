#!/usr/bin/env bash
# stop_pair.sh NAME ...: remove the containers, volumes and network that run_pair.sh NAME made, if there are any.
# Fails, after that, if root was caught by a trap (traps.sh).
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

caught=0
for name in "$@"; do
    # A connection that is kept open would outlive its host, and be taken for one to the next host of that name.
    if [ -e "$SSH/hosts.d/$name" ]; then
        grep -oP '^Host \K.*' "$SSH/hosts.d/$name" | xargs -n 1 ssh -F "$SSH/config" -O exit 2>/dev/null || true
        rm "$SSH/hosts.d/$name"
    fi
    mapfile -t containers < <(podman ps -aq --filter "label=fractal_ops.pair=$name")
    for container in "${containers[@]}"; do
        "$BED/traps.sh" check "$container" || caught=1
    done
    [ ${#containers[@]} -eq 0 ] || podman rm -f -v -t 0 "${containers[@]}" >/dev/null
    ! podman network exists "$name" || podman network rm -f "$name" >/dev/null
done
exit $caught
