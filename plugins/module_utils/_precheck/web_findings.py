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
        settles={"fractal_web_archive": None},
    ),
    FindingRule(
        "web.archive_unusable",
        "blocker",
        "Archive cannot be downloaded, or is not the right fractal-web",
        "{reason}",
        "Put the right archive on the host and set fractal_web_archive to its path and fractal_web_archive_checksum.",
        acceptable=False,
        settles={"fractal_web_archive": None, "fractal_web_archive_checksum": None},
    ),
    FindingRule(
        "web.archive_not_copied",
        "info",
        "Archive of the controller not checked",
        "Check mode copies nothing, so it was not checked whether {subject} on the controller is the right archive.",
        "Run precheck without --check: it copies the archive, and looks.",
    ),
    FindingRule(
        "web.archive_on_trust",
        "info",
        "Archive without a checksum",
        "Nothing says yet that {subject} is the archive that was published: no checksum is given, and this host has "
        "installed none by that name. The upgrade remembers its SHA-256, and refuses another one from then on.",
        "Set fractal_web_archive_checksum to the SHA-256 that was published, if you want it judged at once.",
        settles={"fractal_web_archive_checksum": None},
    ),
    FindingRule(
        "web.version_pairing",
        "warning",
        "fractal-web and fractal-server do not belong together",
        "fractal-web {subject} is not the release made for fractal-server {server}; that is {web}.",
        "Set fractal_web_version to {web}.",
        _COMPATIBILITY,
        settles={"fractal_web_version": "{web}"},
    ),
    FindingRule(
        "web.pairing_not_listed",
        "info",
        "Nothing official says which fractal-web belongs to the server",
        "Fractal's own table names no fractal-web for fractal-server {server}. {subject} is the newest that it names, "
        "and each address that this calls is still there; that was compared, not tried.",
        "Try it on a copy first, or set fractal_web_version to what Fractal recommends meanwhile.",
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
        "web.server_not_reached",
        "blocker",
        "fractal-server runs, but not where fractal-web looks for it",
        "fractal-server runs, but at {subject} (FRACTAL_SERVER_HOST) it does not answer this host: {reason}. "
        "fractal-web would not come up after the upgrade.",
        "Correct FRACTAL_SERVER_HOST or the network between the hosts. If the server hangs behind a socket unit that "
        "has failed, restart that and the server.",
    ),
    FindingRule(
        "web.server_is_another",
        "blocker",
        "fractal-web belongs to another fractal-server",
        "{subject} (FRACTAL_SERVER_HOST) answers as fractal-server {found}; the server to be upgraded runs {version}.",
        "Correct FRACTAL_SERVER_HOST, or set fractal_server_host to the server in the inventory that this host "
        "belongs to.",
    ),
    FindingRule(
        "web.no_answer",
        "blocker",
        "fractal-web does not answer",
        "{subject} runs, but nothing of fractal-web answers at {url}: {reason}. The upgrade would wait there in vain.",
        "Set fractal_web_url to the address at which it answers on its own host, or repair it first.",
        settles={"fractal_web_url": None},
    ),
    FindingRule(
        "web.other_version",
        "blocker",
        "Another release of fractal-web answers",
        "At {url} fractal-web {found} answers; the release directory of {subject} holds {version}.",
        "If {subject} was not restarted after its release was changed, restart it. If another instance answers there, "
        "set fractal_web_url to the address of this one.",
        settles={"fractal_web_url": None},
    ),
    FindingRule(
        "web.address_unknown",
        "blocker",
        "fractal-web's address makes no sense",
        "{subject} does not tell where fractal-web listens: {reason}.",
        "Correct it in fractal-web's environment, or set fractal_web_url.",
        "SvelteKit, adapter-node",
        settles={"fractal_web_url": None},
    ),
    FindingRule(
        "web.node_cookies",
        "warning",
        "Log-in by OAuth does not work with this Node",
        "Node {node} ({subject}) has no Headers.getSetCookie, so every log-in by OAuth ends in an error 500.",
        "Install Node 18.14.1 or later, not from Debian 12, which takes it away; or a later Node that the release is "
        "made for.",
        "fractal-web 1.21.1, src/routes/auth/login/oauth2",
    ),
    FindingRule(
        "web.no_support_address",
        "info",
        "Users are not told whom to ask",
        "{subject} is not set, so users without a verified account or a profile read 'please contact .'",
        "Set it to the e-mail address of those who help your users.",
        "fractal-web 1.21.1, docs/environment-variables.md",
    ),
    FindingRule(
        "web.value_refused",
        "blocker",
        "A value at which fractal-web does not start",
        "{subject} is not {wanted}; fractal-web {version} does not start with anything else.",
        "Set {subject} to {wanted}.",
        "fractal-web 1.22.0, src/environment-variables.js",
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
        "ORIGIN is {value}, without TLS; log-in by OAuth needs a cookie that browsers send over HTTPS only.",
        "Serve fractal-web over HTTPS and set ORIGIN to its https:// address.",
        "fastapi-users 15.0.2 (CSRF cookie)",
    ),
    FindingRule(
        "web.unit_not_active",
        "warning",
        "fractal-web does not run",
        "{subject} is {state}.",
        "Start it, or repair it first: an upgrade mends nothing that was broken before.",
    ),
    FindingRule(
        "web.page_is_up",
        "warning",
        "A maintenance page of an earlier run is up",
        "A maintenance page answers in the place of {subject}. It was put up by a run that did not finish.",
        "Nothing: it goes away by itself, at the latest when this upgrade ends. To end it now: "
        "systemctl start {subject}.",
    ),
    FindingRule(
        "web.page_impossible",
        "blocker",
        "The maintenance page cannot answer in fractal-web's place",
        "No maintenance page can take the place of {subject}: {reason}.",
        "Set fractal_maintenance_page to false for this host.",
        acceptable=False,
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
