#!/usr/bin/env bash
# prepare.sh IMAGE: seed a container of server:2.16.6 and commit it as IMAGE.
# What was made is described in /opt/bed/seed.json; wheels of the probe package lie beside it.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

container=bed-prepare-$$
wheels=$(mktemp -d)
trap 'podman rm -f -v -t 0 "$container" >/dev/null 2>&1 || true; rm -rf "$wheels"' EXIT

for version in 1.0.0 2.0.0 3.0.0; do
    python3 "$BED/probe/build_wheel.py" "$version" "$wheels" >/dev/null
done

podman run -d --systemd=always --label fractal_ops.pair=prepare --name "$container" --hostname server "$REPOSITORY/server:2.16.6" >/dev/null
podman exec "$container" mkdir -p /opt/bed
tar -C "$wheels" -c . | podman exec -i "$container" tar -C /opt/bed -x
wait_until_up "$container"
podman exec -i "$container" bash -c 'python3 - --wheels /opt/bed > /opt/bed/seed.json' < "$BED/seed.py"

say "taking the snapshot"
podman exec "$container" systemctl stop fractal-server oidc-mock slurmctld slurmd munge postgresql
podman exec "$container" bash -c 'rm -rf /var/lib/slurm/slurmctld/* /var/lib/slurm/slurmd/*'
podman stop "$container" >/dev/null
podman commit --quiet --change 'CMD ["/sbin/init"]' "$container" "$1" >/dev/null
