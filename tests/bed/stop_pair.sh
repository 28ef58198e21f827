#!/usr/bin/env bash
# stop_pair.sh NAME ...: remove the containers, volumes and network that run_pair.sh NAME made, if there are any.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

for name in "$@"; do
    mapfile -t containers < <(podman ps -aq --filter "label=fractal_ops.pair=$name")
    [ ${#containers[@]} -eq 0 ] || podman rm -f -v -t 0 "${containers[@]}" >/dev/null
    ! podman network exists "$name" || podman network rm -f "$name" >/dev/null
done
