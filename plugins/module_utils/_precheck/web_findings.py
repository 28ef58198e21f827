# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""What can be wrong with a fractal-web host, as a table."""

from __future__ import annotations

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.findings import FindingRule, rule_table

_COMPATIBILITY = "fractal-web, docs/version-compatibility.md and .github/workflows/github_release.yaml"

CHAPTERS = {"web": "fractal-web"}
FINDINGS = rule_table(
    FindingRule(
        "web.node_missing",
        "blocker",
        "Node does not run",
        "{subject}, which the unit runs, does not tell its version.",
        "Repair Node, or correct the unit's ExecStart.",
        acceptable=False,
    ),
    FindingRule(
        "web.node_mismatch",
        "blocker",
        "Node and the archive do not match",
        "The host runs Node {node}; {what} for Node {majors}.",
        "Install Node {majors} for the unit, or set fractal_web_archive to the archive made for Node {node}.",
        _COMPATIBILITY,
    ),
    FindingRule(
        "web.archive_unusable",
        "blocker",
        "Archive not to be had, or the wrong one",
        "{reason}",
        "Put the right archive on the host and set fractal_web_archive to its path and fractal_web_archive_checksum.",
        acceptable=False,
    ),
    FindingRule(
        "web.version_pairing",
        "warning",
        "fractal-web and fractal-server do not belong together",
        "fractal-web {subject} is not the release made for fractal-server {server}; that is {web}.",
        "Set fractal_web_version to {web}.",
        _COMPATIBILITY,
    ),
    FindingRule(
        "web.disk_full",
        "blocker",
        "No room for the new release",
        "The disk of {subject} has {free} free; the new release and its archive need {needed}.",
        "Make room there.",
    ),
    FindingRule(
        "web.port_taken",
        "blocker",
        "Port in use by something else",
        "Port {subject} is in use although {unit} does not run, so fractal-web cannot start.",
        "End what listens at port {subject}, or give fractal-web another PORT.",
    ),
    FindingRule(
        "web.mount_point",
        "blocker",
        "Release directory cannot be replaced",
        "{subject} is a mount point, so another release cannot take its place by renaming.",
        "Install fractal-web in a folder below {subject}, and let the unit run it there.",
        acceptable=False,
    ),
    FindingRule(
        "web.server_unreachable",
        "warning",
        "fractal-server does not answer",
        "{subject} (FRACTAL_SERVER_HOST) does not answer from this host: {reason}.",
        "Check FRACTAL_SERVER_HOST and the network between the hosts.",
    ),
    FindingRule(
        "web.cookie_name",
        "warning",
        "AUTH_COOKIE_NAME is not honoured",
        "AUTH_COOKIE_NAME is {value!r}; fractal-web {version} takes the cookie for fastapiusersauth in one place.",
        "Remove AUTH_COOKIE_NAME, or set it to fastapiusersauth.",
        "fractal-web 1.21.1, src/hooks.server.js",
    ),
    FindingRule(
        "web.oauth_needs_https",
        "warning",
        "OAuth over plain HTTP",
        "ORIGIN is {value}, without TLS: with 2.17, log-in by OAuth needs a cookie that browsers send over HTTPS only.",
        "Serve fractal-web over HTTPS and set ORIGIN to its https:// address.",
        "fastapi-users 15.0.2 (CSRF cookie), which fractal-server 2.17 installs",
    ),
    FindingRule(
        "web.unit_not_active",
        "warning",
        "fractal-web does not run",
        "{subject} is {state}.",
        "Start it, or repair it first: an upgrade mends nothing that was broken before.",
    ),
    FindingRule(
        "web.unit_needs_reload",
        "warning",
        "Unit file changed on disk",
        "{subject} or one of its drop-ins was changed, but systemd still uses the old text; the upgrade reloads it.",
        "Check the change, then: systemctl daemon-reload.",
    ),
    FindingRule(
        "web.runs_as_root",
        "warning",
        "fractal-web runs as root",
        "{subject} has no User=, so fractal-web runs as root.",
        "Give the unit an account of its own.",
        "fractal-web, docs/quickstart.md",
    ),
)
