# shellcheck shell=bash
# shellcheck disable=SC2034 # what is not used here is used by those who source it
# Shared by the scripts of the test bed: names, content keys and waiting. Sourced, never run.

BED=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export CONTAINERS_CONF=$BED/containers.conf

# Which Debian the hosts are. The images of each have names of their own, and RELEASES are what its Python installs.
FRACTAL_OPS_BED=${FRACTAL_OPS_BED:-debian12}
case $FRACTAL_OPS_BED in
    debian12) SUITE=bookworm REPOSITORY=localhost/fractal-ops BASE=$REPOSITORY/base:12 RELEASES="2.17.0 2.17.2 2.18.0 2.18.5" ;;
    debian13) SUITE=trixie REPOSITORY=localhost/fractal-ops-debian13 BASE=$REPOSITORY/base:13 RELEASES="2.17.0 2.17.2 2.18.0 2.18.5 2.23.0 2.26.0" ;;
    *) printf '[bed] FRACTAL_OPS_BED is %s, not debian12 or debian13\n' "$FRACTAL_OPS_BED" >&2 && exit 1 ;;
esac

CACHE=${FRACTAL_OPS_CACHE:-$HOME/.cache/fractal_ops}
SSH=$CACHE/ssh # key and configuration of the connections to the containers; made by setup.sh

REQUIREMENTS=$(cd "$BED/../requirements" && pwd)

say() { printf '[bed] %s\n' "$*" >&2; }

# Print a key of what was given on standard input and of the content of the files and folders named.
content_key() {
    {
        cat
        (cd "$BED" && find "$@" -type f ! -name '*.pyc' -print0 | LC_ALL=C sort -z | xargs -0 sha256sum)
    } | sha256sum | cut -c1-12
}

# have IMAGE STABLE_TAG: true when the image with this key is there; points the stable tag to it.
have() {
    podman image exists "$1" || return 1
    podman tag "$1" "$2"
}

# wait_for SECONDS WHAT COMMAND...: until the command succeeds, or fail and say so.
wait_for() {
    local limit=$1 what=$2 end=$((SECONDS + $1))
    shift 2
    until "$@" >/dev/null 2>&1; do
        if ((SECONDS >= end)); then
            say "gave up after $limit s waiting for: $what"
            return 1
        fi
        sleep 0.3
    done
}

# address CONTAINER: where it answers on its network.
address() { podman inspect --format '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' "$1"; }

# booted CONTAINER: systemd has started everything, without a failed unit.
booted() { [ "$(podman exec "$1" systemctl is-system-running)" = running ]; }
server_alive() { podman exec "$1" curl -sf http://localhost:8000/api/alive/; }
web_alive() { podman exec "$1" curl -sf http://localhost:5173/alive | grep -q '"fractal_server_alive":true'; }

# wait_until_up CONTAINER: booted, and whatever Fractal service it enables answers.
wait_until_up() {
    local failed
    if ! wait_for 90 "$1 to boot" booted "$1"; then
        failed=$(podman exec "$1" systemctl list-units --failed --no-legend --plain 2>&1 || true)
        say "failed units of $1: ${failed:-none, still starting}"
        return 1
    fi
    if podman exec "$1" systemctl -q is-enabled fractal-server 2>/dev/null; then
        wait_for 60 "fractal-server on $1" server_alive "$1"
    fi
    if podman exec "$1" systemctl -q is-enabled fractal-web 2>/dev/null; then
        wait_for 60 "fractal-web on $1" web_alive "$1"
    fi
}

# install_packages PACKAGE...: have them of the system, as root where one is missing.
install_packages() {
    local package missing=()
    for package in "$@"; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    say "installing ${missing[*]} ..."
    if [ "$(id -u)" -ne 0 ]; then
        say "this needs root: apt-get install ${missing[*]}"
        return 1
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -q >/dev/null && apt-get install -yq --no-install-recommends "${missing[@]}" >/dev/null
}

# find_python X.Y: the path of this Python, wherever it usually is on a machine; nothing and false where there is none.
find_python() {
    local candidate
    for candidate in "$(command -v "python$1" || true)" "/usr/bin/python$1" "${PYENV_ROOT:-$HOME/.pyenv}/versions/$1".*/bin/"python$1"; do
        [ ! -x "$candidate" ] || ! "$candidate" -c 'import ensurepip' 2>/dev/null || { printf '%s\n' "$candidate"; return; }
    done
    return 1
}

# environment NAME: print the folder of a virtual environment with exactly what tests/requirements/NAME-pyX.Y.txt lists; it
# is made where it is missing. 2, and said, where the machine lacks that Python and the two after it.
environment() {
    local list python minor found='' folder
    list=$(echo "$REQUIREMENTS/$1"-py*.txt)
    minor=${list##*-py3.} minor=${minor%.txt}
    for python in "3.$minor" "3.$((minor + 1))" "3.$((minor + 2))"; do
        [ "$1" != host ] || [ "$python" = "3.$minor" ] || break # only the oldest proves anything
        ! found=$(find_python "$python") || break
    done
    if [ -z "$found" ]; then
        say "no Python for $(basename "$list") on this machine"
        return 2
    fi
    mkdir -p "$CACHE/venvs"
    folder=$CACHE/venvs/$1-$({ "$found" --version; cat "$list"; } | sha256sum | cut -c1-12)
    (
        flock 9
        [ ! -e "$folder/.complete" ] || exit 0
        say "making the Python environment $folder ..."
        rm -rf "$folder"
        # Nothing is built here: wheels only, each of which has a hash in the list.
        "$found" -m venv "$folder" &&
            "$folder/bin/pip" install --quiet --quiet --disable-pip-version-check --no-deps --only-binary :all: --require-hashes -r "$list" &&
            touch "$folder/.complete"
    ) 9>"$folder.lock" >&2 || return 1
    printf '%s\n' "$folder"
}

# is_candidate X.Y: whether only a release candidate of this ansible-core is locked.
is_candidate() { grep -qE '^ansible-core==[0-9.]+rc' "$REQUIREMENTS/core-$1"-py*.txt; }

# cores [all|oldest|newest|X.Y ...]: print these lines of ansible-core, of those that meta/runtime.yml allows and that
# tests/requirements/core-*.txt lock; newest is the newest that is released, no candidate. False, and said, where the two differ.
cores() {
    local list line lines=() released=() word
    for list in $(printf '%s\n' "$REQUIREMENTS"/core-*.txt | sort -V); do
        line=$(basename "$list")
        line=${line#core-} line=${line%-py*}
        lines+=("$line")
        is_candidate "$line" || released+=("$line")
    done
    if ! grep -qF "\">=${lines[0]}.0\"" "$BED/../../meta/runtime.yml"; then
        say "meta/runtime.yml and tests/requirements/core-*.txt do not begin with the same ansible-core: make lock"
        return 1
    fi
    for word in "${@:-all}"; do
        case $word in
            all) printf '%s\n' "${lines[@]}" ;;
            oldest) echo "${lines[0]}" ;;
            newest) echo "${released[-1]}" ;;
            *) echo "$word" ;;
        esac
    done
}
