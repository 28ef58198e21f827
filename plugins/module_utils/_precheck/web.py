# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""All checks of a fractal-web host; none stops the others. Standard library only."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import tempfile
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from ansible.module_utils.urls import open_url
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.checks import run_checks, tree_size
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.dotenv import Reader, assignments, parse
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.findings import Finding
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.http_client import loses_secure_cookies
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.masking import mask_urls
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.side_by_side import release_path
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.systemd import Unit
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.wording import human_size
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.discovery import WebInstance
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.web_release import (
    official_archive,
    stage_web_release,
    web_version,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.web_findings import FINDINGS
from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.path import RELEASES, release

_COOKIE = "fastapiusersauth"


@dataclass(frozen=True)
class WebHost:
    """A fractal-web instance, its unit and variables, and what is to become of it."""

    instance: WebInstance
    unit: Unit
    values: Mapping[str, str]
    version: str
    archive: str | None = None
    checksum: str | None = None
    server_version: str | None = None

    @property
    def needs_archive(self) -> bool:
        """Whether the new release is neither installed nor prepared."""
        prepared = release_path(self.instance.release_directory, self.version)
        return self.version not in (self.instance.version, web_version(prepared))

    @property
    def archive_source(self) -> str:
        """Path or URL of the archive."""
        return self.archive or official_archive(self.version, self.instance.node_version)


def web_values(unit: Unit, env_file: str) -> dict[str, str]:
    """Return fractal-web's variables: the unit's, and those of a file that ``node --env-file`` reads.

    Raises:
        FractalError: A file that the unit requires cannot be read.
    """
    values = unit.process_environment()
    if env_file in unit.environment_files or not os.path.isfile(env_file):
        return values
    with open(env_file, encoding="utf-8", errors="replace") as stream:
        text = stream.read()
    read = assignments(parse(text, Reader.DOTENV_1_2))
    return {**{name: value for name, value in read.items() if value is not None}, **values}


Check = Callable[["WebHost"], Iterable["Finding"]]


def check_web(host: WebHost, also: Iterable[tuple[str, Check]] = ()) -> list[Finding]:
    """Return all findings about a fractal-web host, those of the checks ``also`` among them."""
    return run_checks(host, (*CHECKS, *also))


def check_unit(host: WebHost) -> Iterator[Finding]:
    """The unit is as its file says, and runs."""
    if host.instance.active_state != "active":
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
    """The release is the one made for the server's."""
    if host.server_version and release(host.server_version).web != host.version:
        web = release(host.server_version).web
        yield FINDINGS["web.version_pairing"].finding(host.version, server=host.server_version, web=web)


def check_archive(host: WebHost) -> Iterator[Finding]:
    """The archive can be had and is the right one, and there is room: it is unpacked aside, and thrown away."""
    if not host.needs_archive:
        return
    with tempfile.TemporaryDirectory(prefix="fractal-precheck-") as folder:
        aside = os.path.join(folder, "release")
        os.mkdir(aside)
        try:
            instance = {"version": None, "release_directory": aside}
            stage_web_release(instance, host.version, host.archive_source, host.checksum)
        except FractalError as error:
            yield FINDINGS["web.archive_unusable"].finding(mask_urls(host.archive_source), reason=str(error))
            return
        needed = tree_size(folder)
    parent = os.path.dirname(host.instance.release_directory)
    free = shutil.disk_usage(parent).free
    if free < needed:
        yield FINDINGS["web.disk_full"].finding(parent, free=human_size(free), needed=human_size(needed))


def check_port(host: WebHost) -> Iterator[Finding]:
    """Nothing else uses the port while fractal-web does not run."""
    if host.instance.active_state in ("active", "activating", "reloading"):
        return
    address = urllib.parse.urlsplit(host.instance.url)
    port = address.port or 80
    with socket.socket(socket.AF_INET6 if ":" in (address.hostname or "") else socket.AF_INET) as probe:
        probe.settimeout(5)
        if probe.connect_ex((address.hostname or "127.0.0.1", port)) == 0:
            yield FINDINGS["web.port_taken"].finding(str(port), unit=host.unit.name)


def check_variables(host: WebHost) -> Iterator[Finding]:
    """Variables that mean something else than their names say, or than they did with 2.16."""
    cookie = host.values.get("AUTH_COOKIE_NAME", _COOKIE)
    if cookie != _COOKIE:
        yield FINDINGS["web.cookie_name"].finding("AUTH_COOKIE_NAME", value=cookie, version=host.version)
    if host.values.get("PUBLIC_OAUTH_CLIENT_NAME") and loses_secure_cookies(host.values.get("ORIGIN", "")):
        yield FINDINGS["web.oauth_needs_https"].finding("ORIGIN", value=host.values["ORIGIN"])


def check_server_answers(host: WebHost) -> Iterator[Finding]:
    """fractal-server can be reached from this host, as fractal-web does."""
    server = host.values.get("FRACTAL_SERVER_HOST", "")
    if not server:
        return
    try:
        with open_url(server.rstrip("/") + "/api/alive/", timeout=10) as answer:
            json.load(answer)
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or type(error).__name__
        yield FINDINGS["web.server_unreachable"].finding(mask_urls(server), reason=reason)


def _node_majors(version: str) -> set[int]:
    return {major for known in RELEASES if known.web == version for major in known.node_majors}


CHECKS = (
    ("unit", check_unit),
    ("Node", check_node),
    ("version pairing", check_pairing),
    ("archive", check_archive),
    ("port", check_port),
    ("variables", check_variables),
    ("fractal-server", check_server_answers),
)
