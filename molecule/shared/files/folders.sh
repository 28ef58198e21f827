# shellcheck shell=bash
# Print owner, group and mode of each folder of this host that is not Fractal's own: none of them is an upgrade's to change.
find / /etc /home /opt /root /srv /usr/local /var -xdev -maxdepth 3 -type d -printf '%p %U %G %m\n' |
    grep -vE '^/(dev|proc|sys|run|tmp|var/tmp)(/| )|^/opt/fractal' | sort -u
