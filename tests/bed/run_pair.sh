#!/usr/bin/env bash
# run_pair.sh NAME [ALIAS[=IMAGE] ...]
#
# Start containers NAME-ALIAS on a network of their own, where each is known by its alias; wait until they are up and
# print their names, under which "ssh -F .cache/ssh/config" reaches them too. Without aliases: server and web, from the prepared snapshots. IMAGE is ALIAS:prepared of ours
# unless named. With FRACTAL_BED_TRAPS=yes the service account is an enemy (traps.sh). Remove all of it with stop_pair.sh NAME.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

name=${1:?usage: run_pair.sh NAME [ALIAS[=IMAGE] ...]}
shift
[ $# -gt 0 ] || set -- server web

"$BED/stop_pair.sh" "$name" || true # what a killed run left says nothing of this one
hosts=$SSH/hosts.d/$name
podman network create --label "fractal_ops.pair=$name" "$name" >/dev/null
for member in "$@"; do
    alias=${member%%=*}
    image=$REPOSITORY/$alias:prepared
    [ "$member" = "$alias" ] || image=${member#*=}
    if ! podman image exists "$image"; then
        say "there is no image $image: run 'make bed'"
        exit 1
    fi
    volume=$(podman image inspect --format '{{index .Labels "fractal_ops.volume"}}' "$image")
    podman run -d --systemd=always --pull=never --name "$name-$alias" --hostname "$alias" \
        --network "$name" --network-alias "$alias" --label "fractal_ops.pair=$name" -v "$volume" \
        -v "$SSH/id_ed25519.pub:/home/ops/.ssh/authorized_keys:ro" "$image" >/dev/null
    printf 'Host %s\n    HostName %s\n' "$name-$alias" "$(address "$name-$alias")" >> "$hosts"
done
for member in "$@"; do
    wait_until_up "$name-${member%%=*}"
    if [ "${FRACTAL_BED_TRAPS:-}" = yes ] && podman exec "$name-${member%%=*}" test -x /opt/fractal/venv/bin/fractalctl; then
        "$BED/traps.sh" plant "$name-${member%%=*}"
        wait_until_up "$name-${member%%=*}"
    fi
    echo "$name-${member%%=*}"
done
