#!/usr/bin/env bash
# Remove all that the test bed made on this machine: containers with their volumes, networks, images, cache, links.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

root=$(cd "$BED/../.." && pwd)
if command -v podman >/dev/null; then
    mapfile -t pairs < <(podman ps -a --filter label=fractal_ops.pair --format '{{index .Labels "fractal_ops.pair"}}' | sort -u)
    mapfile -t -O ${#pairs[@]} pairs < <(podman network ls --filter label=fractal_ops.pair --format '{{.Name}}')
    [ ${#pairs[@]} -eq 0 ] || "$BED/stop_pair.sh" "${pairs[@]}" || true
    mapfile -t images < <(podman images --format '{{.Repository}}:{{.Tag}}' | grep -E '^localhost/fractal-ops(-debian13)?/.*:[^<]')
    [ ${#images[@]} -eq 0 ] || podman rmi -f "${images[@]}" >/dev/null
    # Layers of images of ours that have lost their tag.
    podman image prune -f --filter label=fractal_ops.volume >/dev/null
fi
rm -rf "$CACHE" "$root/.cache" "$root"/fractal_ops-platform-*.tar.gz
say "removed containers, networks, volumes, images, $CACHE and $root/.cache"
