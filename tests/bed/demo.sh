#!/usr/bin/env bash
# Upgrade a seeded Fractal 2.16.6 on two hosts with the built and installed collection, and show the result. Run it through
# `make demo`, which sets the paths. It starts from the prepared snapshots each time, so it may be run again at any time.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

root=$(cd "$BED/../.." && pwd)
demo=$root/.cache/demo
pair=fractal-ops-demo
# Only the installed artefact counts here, not the working tree.
unset PYTHONPATH
export ANSIBLE_COLLECTIONS_PATH=$demo/collections

title() { printf '\n=== %s\n' "$*"; }

versions() {
    echo "API       http://server:8000/api/alive/  $(podman exec $pair-server curl -s http://localhost:8000/api/alive/)"
    echo "Web       http://web:5173/alive          $(podman exec $pair-web curl -s http://localhost:5173/alive)"
    echo "Web page  http://web:5173/               $(podman exec $pair-web curl -s http://localhost:5173/ |
        grep -oE 'fractal-(server|web) [0-9.]+' | paste -sd, | sed 's/,/, /')"
}

playbook() { # in the demo's folder, with the inventory that an operator would write
    (cd "$demo" && ansible-playbook -i inventory.ini "$@" < /dev/null)
}

title "Build the collection and install the artefact"
rm -rf "$demo"
mkdir -p "$demo/collections/ansible_collections"
ansible-galaxy collection build --output-path "$demo" "$root"
ansible-galaxy collection install --offline -p "$demo/collections" "$demo"/fractal_ops-platform-*.tar.gz
cat > "$demo/inventory.ini" <<INI
[fractal_server]
server ansible_host=$pair-server

[fractal_server:vars]
fractal_wheelhouse=/opt/wheelhouse

[fractal_web]
web ansible_host=$pair-web

[fractal_web:vars]
fractal_web_archive=/opt/archives/node-18-fractal-web-v1.21.1.tar.gz
INI

title "Start two hosts with a seeded instance"
"$BED/run_pair.sh" "$pair"
versions

title "Upgrade: ansible-playbook -i inventory.ini fractal_ops.platform.upgrade"
playbook fractal_ops.platform.upgrade

title "After the upgrade"
versions

title "The same playbook again"
started=$SECONDS
playbook fractal_ops.platform.upgrade | tee "$demo/second.log"
if grep -E '^(server|web|localhost) +:' "$demo/second.log" | grep -vq 'changed=0 '; then
    say "the second run changed something"
    exit 1
fi
echo "Nothing changed on any host, in $((SECONDS - started)) s."

cat <<TEXT

=== Look around
The hosts stay up until the next 'make demo' or 'make clean':

  export CONTAINERS_CONF=$CONTAINERS_CONF
  podman exec -it $pair-server bash     # fractal-server: /opt/fractal, journalctl -u fractal-server
  podman exec -it $pair-web bash        # fractal-web: /opt/fractal-web
  podman exec $pair-server runuser -u postgres -- psql fractal_db -c 'select id, name, username from profile'

Reports, inventory and artefact: $demo
Users and passwords of the seeded instance: podman exec $pair-server cat /opt/bed/seed.json
TEXT
