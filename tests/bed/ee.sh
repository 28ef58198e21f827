#!/usr/bin/env bash
# Build the image of an execution environment with the collection in it, as meta/execution-environment.yml lets
# ansible-builder do, from the bed's own Debian 13 (no container registry); then upgrade two hosts from inside it with
# ansible-runner, as AWX does. Run it through `make ee`. What it leaves is in .cache/ee; the hosts are removed.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

root=$(cd "$BED/../.." && pwd)
work=$root/.cache/ee
image=localhost/fractal-ops/ee:latest
pair=fractal-ops-ee
rm -rf "$work"
mkdir -p "$work"/data/{inventory,env,project,artifacts}

base=$(FRACTAL_OPS_BED=debian13 bash -c '. "$0/lib.sh" && echo "$BASE"' "$BED")
FRACTAL_OPS_BED=debian13 "$BED/build.sh" base
builder=$(environment builder)

ansible-galaxy collection build --output-path "$work" "$root" > /dev/null
archive=$(basename "$work"/fractal_ops-platform-*.tar.gz)
cp "$REQUIREMENTS"/ee-py3.13.txt "$work/requirements-ee.txt"
cat > "$work/execution-environment.yml" <<YAML
---
version: 3
images:
  base_image:
    name: $base
build_arg_defaults:
  ANSIBLE_GALAXY_CLI_COLLECTION_OPTS: --offline
dependencies:
  python_interpreter:
    python_path: /opt/ansible/bin/python3
  galaxy:
    collections:
      - name: /build/artefact/$archive
        type: file
additional_build_files:
  - src: $archive
    dest: artefact
  - src: requirements-ee.txt
    dest: requirements
additional_build_steps:
  prepend_base: |
    RUN apt-get update -q && apt-get install -yq --no-install-recommends openssh-client && rm -rf /var/lib/apt/lists/*
    RUN python3 -m venv /opt/ansible
    ENV PATH=/opt/ansible/bin:/usr/local/bin:/usr/bin:/bin
    COPY _build/requirements/requirements-ee.txt /tmp/
    RUN python3 -m pip install --quiet --no-cache-dir --only-binary :all: --require-hashes -r /tmp/requirements-ee.txt
  prepend_galaxy: |
    COPY _build/artefact/ /build/artefact/
options:
  package_manager_path: /usr/bin/apt-get
  skip_pip_install: true
  container_init: # without this, ansible-builder would install dumb-init without a hash
    entrypoint: '["/opt/builder/bin/entrypoint", "dumb-init"]'
    cmd: '["bash"]'
YAML

say "building $image with ansible-builder ..."
if ! (cd "$work" && "$builder/bin/ansible-builder" build --container-runtime podman --tag "$image" --verbosity 3) > "$work/build.log" 2>&1; then
    tail -60 "$work/build.log" >&2
    exit 1
fi
podman run --rm "$image" ansible-galaxy collection list fractal_ops.platform

"$BED/run_pair.sh" "$pair" > /dev/null
trap '"$BED/stop_pair.sh" "$pair" || true' EXIT

# What ansible-runner calls a private data folder: the only thing that the run has of this machine.
cat > "$work/data/inventory/hosts.ini" <<INI
[fractal_server]
server ansible_host=$(address "$pair-server") fractal_wheelhouse=/opt/wheelhouse

[fractal_web]
web ansible_host=$(address "$pair-web") fractal_web_archive=/opt/archives/node-18-fractal-web-v1.21.1.tar.gz

[all:vars]
ansible_user=ops
INI
cp "$SSH/id_ed25519" "$work/data/env/ssh_key"
cat > "$work/data/env/envvars" <<'YAML'
ANSIBLE_HOST_KEY_CHECKING: "False"
ANSIBLE_DEPRECATION_WARNINGS: "True"
YAML
echo "fractal_report_dir: /runner/artifacts/reports" > "$work/data/env/extravars"
chown -R 1000:0 "$work/data" # the image's own account

runner() { # runner PLAYBOOK IDENT: from inside the image, on both hosts
    # not on the pair's own network: where a container comes or goes, podman's DNS loses a query of the others at times
    say "ansible-runner run -p fractal_ops.platform.$1 --limit server,web ..."
    podman run --rm -v "$work/data:/runner" "$image" \
        ansible-runner run /runner -i "$2" -p "fractal_ops.platform.$1" --limit server,web > "$work/$2.log" 2>&1 ||
        { tail -60 "$work/$2.log" >&2; return 1; }
    ! grep -A3 'DEPRECATION' "$work/$2.log" >&2 || { say "what the newest ansible-core calls deprecated is an error here"; return 1; }
}

runner precheck 1-precheck
runner upgrade 2-upgrade
runner upgrade 3-again

# What AWX would keep of it: outcome, report, and the statistic, from the artefacts alone.
python3 - "$work/data/artifacts" <<'PYTHON'
import json, pathlib, sys

artefacts = pathlib.Path(sys.argv[1])
for ident, outcome in (("1-precheck", "upgrade planned"), ("2-upgrade", "upgraded"), ("3-again", "up to date")):
    run = artefacts / ident
    assert (run / "status").read_text() == "successful", run
    events = [json.loads(path.read_text()) for path in (run / "job_events").glob("*.json")]
    told = [data["artifact_data"] for data in (one.get("event_data", {}) for one in events) if data.get("artifact_data")]
    assert told, f"{ident}: no artefact data, so set_stats was not seen"
    statistic = told[-1]["fractal_reports"]["server"]
    assert statistic["outcome"] == outcome, (ident, statistic)
    report = artefacts.joinpath(*pathlib.PurePosixPath(statistic["report"]).parts[3:])
    assert json.loads(report.with_suffix(".json").read_text())["outcome"] == outcome, report
    print(f"{ident}:", json.dumps({name: statistic[name] for name in ("outcome", "from", "to", "window_seconds", "report")}))
PYTHON
say "the artefacts are in $work/data/artifacts"
