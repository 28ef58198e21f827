# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""All checks of a fractal-web host; none stops the others. Standard library only."""

from __future__ import annotations

import os
import re
import shutil
import socket
import tempfile
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.checks import run_checks, tree_size
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.findings import Finding
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.http_client import loses_secure_cookies
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.masking import mask_urls
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.side_by_side import release_path
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.systemd import Unit
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.wording import human_size
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.alive import ask
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.archives import is_known
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.web import (
    WebInstance,
    run_node,
    web_version,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.web_release import (
    official_archive,
    stage_web_release,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.web_findings import FINDINGS
from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.web_values import refused_values
from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.path import RELEASES, release

_COOKIE = "fastapiusersauth"
_KNOWS_COOKIES = 'process.exit(typeof new Headers().getSetCookie === "function" ? 0 : 1)'


@dataclass(frozen=True)
class WebHost:
    """A fractal-web instance, its unit and variables, and what is to become of it.

    ``on_controller`` says whether the archive still lies there only, as check mode copies nothing;
    ``running_server`` is the release that its fractal-server runs now, None where it is stopped or not known;
    ``page_is_up`` says whether a maintenance page is in its place, ``no_page`` why one that is wanted cannot be.
    """

    instance: WebInstance
    unit: Unit
    values: Mapping[str, str]
    version: str
    archive: str | None = None
    checksum: str | None = None
    on_controller: bool = False
    server_version: str | None = None
    running_server: str | None = None
    page_is_up: bool = False
    no_page: str = ""

    @property
    def needs_archive(self) -> bool:
        """Whether the new release is neither installed nor prepared."""
        prepared = release_path(self.instance.release_directory, self.version)
        return self.version not in (self.instance.version, web_version(prepared))

    @property
    def archive_source(self) -> str:
        """Path or URL of the archive."""
        return self.archive or official_archive(self.version, self.instance.node_version)


def running_version(server: Mapping[str, Any] | None) -> str | None:
    """Return the release that a discovered fractal-server runs now, None where it is stopped or not known."""
    runs = server is not None and server["active_state"] == "active" and server["hold"] is None
    return server["version"] if server is not None and runs else None


Check = Callable[["WebHost"], Iterable["Finding"]]


def check_web(host: WebHost, also: Iterable[tuple[str, Check]] = ()) -> list[Finding]:
    """Return all findings about a fractal-web host, those of the checks ``also`` among them."""
    return run_checks(host, (*CHECKS, *also))


def check_unit(host: WebHost) -> Iterator[Finding]:
    """The unit is as its file says, and runs."""
    if host.page_is_up:
        yield FINDINGS["web.page_is_up"].finding(host.unit.name)
    elif host.instance.active_state != "active":
        yield FINDINGS["web.unit_not_active"].finding(host.unit.name, state=host.instance.active_state)
    if host.unit.needs_reload:
        yield FINDINGS["web.unit_needs_reload"].finding(host.unit.name)
    if host.unit.user == "root":
        yield FINDINGS["web.runs_as_root"].finding(host.unit.name)
    if os.path.ismount(host.instance.release_directory):
        yield FINDINGS["web.mount_point"].finding(host.instance.release_directory)


def check_node(host: WebHost) -> Iterator[Finding]:
    """Node is one that the archive was made for."""
    node = host.instance.node_version
    if node is None:
        yield FINDINGS["web.node_missing"].finding(host.instance.node)
        return
    if not host.needs_archive:
        return
    major = int(node.split(".", 1)[0])
    named = re.match(r"node-(\d+)-", os.path.basename(host.archive or ""))
    made_for = [int(named.group(1))] if named else sorted(_node_majors(host.version))
    if made_for and major not in made_for:
        what = (
            f"the archive {os.path.basename(host.archive or '')} is" if named else f"fractal-web {host.version} is made"
        )
        majors = " or ".join(map(str, made_for))
        yield FINDINGS["web.node_mismatch"].finding(host.instance.node, node=major, what=what, majors=majors)


def check_pairing(host: WebHost) -> Iterator[Finding]:
    """The release is the one made for the server's, as far as that is known."""
    if not host.server_version:
        return
    server = release(host.server_version)
    if server.web != host.version:
        yield FINDINGS["web.version_pairing"].finding(host.version, server=server.version, web=server.web)
    elif not server.web_documented:
        yield FINDINGS["web.pairing_not_listed"].finding(host.version, server=server.version)


def check_archive(host: WebHost) -> Iterator[Finding]:
    """The archive can be had and is the right one, and there is room: it is unpacked aside, and thrown away."""
    if not host.needs_archive:
        return
    if host.on_controller and "://" not in host.archive_source:
        yield FINDINGS["web.archive_not_copied"].finding(host.archive_source)
        return
    with tempfile.TemporaryDirectory(prefix="fractal-precheck-") as folder:
        aside = os.path.join(folder, "release")
        os.mkdir(aside)
        try:
            instance = {"version": None, "release_directory": aside}
            stage_web_release(instance, host.version, host.archive_source, host.checksum, keep=False)
        except FractalError as error:
            yield FINDINGS["web.archive_unusable"].finding(mask_urls(host.archive_source), reason=str(error))
            return
        needed = tree_size(folder)
    if "://" in host.archive_source and not host.checksum and not is_known(host.archive_source):
        yield FINDINGS["web.archive_on_trust"].finding(mask_urls(host.archive_source))
    parent = os.path.dirname(host.instance.release_directory)
    free = shutil.disk_usage(parent).free
    if free < needed:
        yield FINDINGS["web.disk_full"].finding(parent, free=human_size(free), needed=human_size(needed))


def check_port(host: WebHost) -> Iterator[Finding]:
    """Nothing else uses the port while fractal-web does not run."""
    if host.page_is_up or host.instance.active_state in ("active", "activating", "reloading"):
        return
    address = urllib.parse.urlsplit(host.instance.url)
    if address.scheme not in ("http", "https"):
        return
    port = address.port or 80
    with socket.socket(socket.AF_INET6 if ":" in (address.hostname or "") else socket.AF_INET) as probe:
        probe.settimeout(5)
        if probe.connect_ex((address.hostname or "127.0.0.1", port)) == 0:
            yield FINDINGS["web.port_taken"].finding(str(port), unit=host.unit.name)


def check_maintenance_page(host: WebHost) -> Iterator[Finding]:
    """The maintenance page, where it is wanted, can answer where fractal-web does."""
    if host.no_page:
        yield FINDINGS["web.page_impossible"].finding(host.unit.name, reason=host.no_page)


def check_variables(host: WebHost) -> Iterator[Finding]:
    """Variables that mean something else than their names say, or than they used to, or that the release refuses."""
    yield from refused_values(host.values, host.version)
    cookie = host.values.get("AUTH_COOKIE_NAME", _COOKIE)
    if cookie != _COOKIE:
        yield FINDINGS["web.cookie_name"].finding("AUTH_COOKIE_NAME", value=cookie, version=host.version)
    if host.values.get("PUBLIC_OAUTH_CLIENT_NAME") and loses_secure_cookies(host.values.get("ORIGIN", "")):
        yield FINDINGS["web.oauth_needs_https"].finding("ORIGIN", value=host.values["ORIGIN"])


def check_answers(host: WebHost) -> Iterator[Finding]:
    """fractal-web answers where it will be waited for, as the release that is installed.

    A process of the release to arrive at is left by a run that was interrupted, which this one ends.
    """
    instance = host.instance
    if instance.active_state != "active":
        if instance.address_problem:
            yield FINDINGS["web.address_unknown"].finding(host.unit.name, reason=instance.address_problem)
        return
    answer = ask(instance.url, "web", validate_certs=False)
    if answer.version is None:
        reason = "; ".join(filter(None, (answer.problem, instance.address_problem)))
        yield FINDINGS["web.no_answer"].finding(host.unit.name, url=mask_urls(instance.url), reason=mask_urls(reason))
    elif answer.version not in (instance.version, host.version):
        yield FINDINGS["web.other_version"].finding(
            host.unit.name, url=mask_urls(instance.url), found=answer.version, version=instance.version
        )


def check_server_answers(host: WebHost) -> Iterator[Finding]:
    """fractal-server can be reached from this host, as fractal-web does, and is the one to be upgraded."""
    server = host.values.get("FRACTAL_SERVER_HOST", "").rstrip("/")
    if not server:
        return
    answer = ask(server, "server", timeout=10, validate_certs=False)
    if answer.problem:
        rule = "web.server_not_reached" if host.running_server else "web.server_unreachable"
        yield FINDINGS[rule].finding(mask_urls(server), reason=mask_urls(answer.problem))
    elif host.running_server and answer.version != host.running_server:
        yield FINDINGS["web.server_is_another"].finding(
            mask_urls(server), found=answer.version, version=host.running_server
        )


def check_node_cookies(host: WebHost) -> Iterator[Finding]:
    """Node knows how to hand on several cookies, which fractal-web needs after a log-in by OAuth."""
    if not host.values.get("PUBLIC_OAUTH_CLIENT_NAME") or host.instance.node_version is None:
        return
    done = run_node(host.instance.node, host.unit.user, "-e", _KNOWS_COOKIES)
    if done.code == 1 and not done.err:
        yield FINDINGS["web.node_cookies"].finding(host.instance.node, node=host.instance.node_version)


def check_support_address(host: WebHost) -> Iterator[Finding]:
    """Users without a profile are told whom to ask."""
    if not host.values.get("PUBLIC_FRACTAL_ADMIN_SUPPORT_EMAIL"):
        yield FINDINGS["web.no_support_address"].finding("PUBLIC_FRACTAL_ADMIN_SUPPORT_EMAIL")


def _node_majors(version: str) -> set[int]:
    return {major for known in RELEASES if known.web == version for major in known.node_majors}


CHECKS = (
    ("unit", check_unit),
    ("Node", check_node),
    ("version pairing", check_pairing),
    ("archive", check_archive),
    ("port", check_port),
    ("maintenance page", check_maintenance_page),
    ("variables", check_variables),
    ("address", check_answers),
    ("fractal-server", check_server_answers),
    ("cookies", check_node_cookies),
    ("support address", check_support_address),
)
