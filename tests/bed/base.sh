#!/usr/bin/env bash
# base.sh IMAGE: the bed's Debian with systemd as init, sshd, and a user "ops" who may sudo, as Ansible finds hosts in the field; built
# from the packages of this machine's own apt sources.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

packages=systemd,systemd-sysv,dbus,sudo,openssh-server,python3,python3-venv,ca-certificates,curl,iproute2,procps

# The mirror is read from the machine, never written down here; only the suite is the bed's.
sources=${APT_SOURCES:-}
for candidate in /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list; do
    [ -n "$sources" ] || { [ -s "$candidate" ] && sources=$candidate; } || true
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
own=$(. /etc/os-release && echo "$VERSION_CODENAME")
sed "s/\b$own\b/$SUITE/g" "$sources" > "$work/${sources##*/}"
# Certificates of the machine's own authorities go in too, and pip is told to trust what curl trusts:
# else nothing can be fetched behind a proxy that inspects traffic.
# shellcheck disable=SC2016 # the hooks are for the shell of mmdebstrap
mmdebstrap --quiet --variant=minbase --include="$packages" \
    --aptopt='APT::Install-Recommends "false"' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --customize-hook='[ ! -d /etc/apt/mirrors ] || cp -r /etc/apt/mirrors "$1/etc/apt/"' \
    --customize-hook='mkdir -p "$1/usr/local/share/ca-certificates"; cp /usr/local/share/ca-certificates/*.crt "$1/usr/local/share/ca-certificates/" 2>/dev/null || true; chroot "$1" update-ca-certificates >/dev/null' \
    --customize-hook='printf "[global]\ncert = /etc/ssl/certs/ca-certificates.crt\ndisable-pip-version-check = true\n" > "$1/etc/pip.conf"' \
    --customize-hook='chroot "$1" useradd -m -s /bin/bash ops; echo "ops ALL=(ALL) NOPASSWD: ALL" > "$1/etc/sudoers.d/ops"; chmod 0440 "$1/etc/sudoers.d/ops"' \
    --customize-hook='chroot "$1" systemctl --quiet mask systemd-udevd.service systemd-timesyncd.service getty.target console-getty.service systemd-logind.service; : > "$1/etc/machine-id"' \
    "$SUITE" "$work/rootfs.tar" "$work/${sources##*/}"
podman import --quiet --change 'CMD ["/sbin/init"]' --change 'STOPSIGNAL SIGRTMIN+3' "$work/rootfs.tar" "$1" >/dev/null
