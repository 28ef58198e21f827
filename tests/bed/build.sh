#!/usr/bin/env bash
# Build the images of the test bed. Each is cached under a key of its inputs; with nothing changed, a re-run does nothing.
#
#   base             Debian with systemd (mmdebstrap, no container registry)
#   server:2.16.6    PostgreSQL, SLURM, fractal-server 2.16.6 without data
#   web:1.20.1       Node and the stand-in for fractal-web
#   server:prepared  server:2.16.6 seeded through its API, with jobs that really ran
#   web:prepared     web:1.20.1
#
#   build.sh [base]    all, or only the first. FRACTAL_OPS_BED says which Debian (lib.sh), APT_SOURCES may name the apt sources file to take packages from.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

for program in podman runc mmdebstrap; do
    if ! command -v "$program" >/dev/null; then
        say "$program is missing: run 'make setup'"
        exit 1
    fi
done

# One at a time: two builds of one image would do the work twice.
mkdir -p "$CACHE"
exec 9>"$CACHE/build.lock"
flock 9

certificates() { cat /usr/local/share/ca-certificates/*.crt 2>/dev/null || true; }

base_key=$({ certificates; echo "$SUITE"; } | content_key base.sh)
server_key=$(echo "$base_key $RELEASES" | content_key server)
web_key=$(echo "$base_key" | content_key web fractal_web)
prepared_key=$(echo "$server_key $web_key" | content_key prepare.sh seed.py probe)

image() { # image NAME KEY STABLE_TAG COMMAND...: build unless the key is known, then tag
    local name=$1 key=$2 tag=$3 started=$SECONDS
    shift 3
    if have "$REPOSITORY/$name:$tag-$key" "$REPOSITORY/$name:$tag"; then
        say "$name:$tag is up to date ($key)"
        return
    fi
    say "building $name:$tag of $FRACTAL_OPS_BED ($key) ..."
    "$@" "$REPOSITORY/$name:$tag-$key" 9>&-
    podman tag "$REPOSITORY/$name:$tag-$key" "$REPOSITORY/$name:$tag"
    say "built $name:$tag in $((SECONDS - started)) s"
}

layer() { # layer FOLDER IMAGE: show the steps, and all of the output only when one fails
    local log
    log=$(mktemp)
    if ! podman build --ulimit nofile=20000:20000 --build-arg BASE="$BASE" --build-arg RELEASES="$RELEASES" -t "$2" "$1" 2>&1 | tee "$log" |
        { grep --line-buffered -oE '^STEP [0-9/]+: .{0,70}' || true; } >&2; then
        tail -100 "$log" >&2
        rm "$log"
        return 1
    fi
    rm "$log"
}

web() { # the archives are an input of the web image, made from source at build time
    local context
    context=$(mktemp -d)
    cp -r "$BED/web/." "$context"
    python3 "$BED/fractal_web/build_archive.py" "$context/archives" >/dev/null
    layer "$context" "$1"
    rm -rf "$context"
}

image base "$base_key" "${BASE##*:}" "$BED/base.sh"
[ "${1:-}" != base ] || exit 0
image server "$server_key" 2.16.6 layer "$BED/server"
image web "$web_key" 1.20.1 web
image server "$prepared_key" prepared "$BED/prepare.sh"
podman tag "$REPOSITORY/web:1.20.1" "$REPOSITORY/web:prepared"
