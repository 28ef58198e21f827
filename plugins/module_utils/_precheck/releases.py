# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""Whether the releases on the way can be installed here: Python, pip's source, programs."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.findings import (
    Finding,
    FindingRule,
    blocker,
    rule_table,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.masking import mask_urls
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.programs import network_environment, run
from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.path import python_supported
from ansible_collections.fractal_ops.platform.plugins.module_utils._venv.pip import out_of_sight
from ansible_collections.fractal_ops.platform.plugins.module_utils._venv.pythons import choose, for_the_whole_way

if TYPE_CHECKING:
    from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.server_host import ServerHost

CHAPTERS = {"release": "Releases to install"}
FINDINGS = rule_table(
    blocker(
        "release.unknown",
        "No way to the target",
        "{reason}",
        "Set fractal_target_version to a release that this collection knows.",
    ),
    blocker(
        "release.python_unsupported",
        "Python too old or too new",
        "fractal-server {subject} needs Python >= {lowest} and < {too_new}; for {environment} there is {pythons}.",
        "Install such a Python with its venv into /usr/bin, /usr/local/bin or /opt/<name>/bin, or name it in "
        "fractal_pythons. The whole way runs on {whole}. With fractal_install_strategy=in_place, the environment "
        "itself needs it.",
        "fractal-server, pyproject.toml of the release",
        settles={"fractal_pythons": [None]},
    ),
    blocker(
        "release.not_offered",
        "pip cannot find the release",
        "pip cannot get fractal-server {subject} from {source}: {reason}",
        "Name a proxy with fractal_environment, or an index with fractal_pip_extra_args; or put the wheels of "
        "fractal-server {subject} and all it needs into a folder, and name it in fractal_wheelhouse.",
        settles={
            "fractal_environment": {"https_proxy": None},
            "fractal_wheelhouse": None,
            "fractal_pip_extra_args": [None],
        },
    ),
    FindingRule(
        "release.not_checked",
        "warning",
        "Package index not asked",
        "Neither {subject} nor {base} has pip, so it was not checked whether the new release can be downloaded.",
        "Nothing, if the upgrade's first stage succeeds: it builds the new environment while the service runs.",
    ),
    FindingRule(
        "release.not_copied",
        "info",
        "Wheels of the controller not checked",
        "Check mode copies nothing, so it was not checked whether the wheels in {subject} on the controller are all "
        "that is needed.",
        "Run precheck without --check: it copies what the host lacks of them, and looks.",
    ),
    blocker(
        "release.no_venv",
        "No virtual environment can be made",
        "{subject} cannot make virtual environments: {reason}",
        "Install the venv package of that Python (python3-venv), or set fractal_install_strategy to in_place.",
        settles={"fractal_install_strategy": "in_place"},
        asks=True,
    ),
    blocker(
        "release.not_a_venv",
        "fractal-server does not run in a virtual environment",
        "{subject} is not a virtual environment, so its successor cannot take its place.",
        "Set fractal_install_strategy to in_place.",
        settles={"fractal_install_strategy": "in_place"},
    ),
    FindingRule(
        "release.program_missing",
        "warning",
        "Program that the release calls is missing",
        "fractal-server {release} calls {subject}, which is not installed.",
        "Install {subject} before the upgrade.",
        "fractal-server 2.17.2, CHANGELOG",
    ),
)

_PIP_TIMEOUT = 300.0  # seconds; an unreachable index takes pip a minute to give up


def check_path(host: ServerHost) -> Iterator[Finding]:
    """The release path leads from the installed release to the target (the plan says so too, from the database)."""
    if host.route_error:
        yield FINDINGS["release.unknown"].finding(host.params["target_version"], reason=host.route_error)


def check_python(host: ServerHost) -> Iterator[Finding]:
    """There is a Python for every release on the way: the environment's, one that is named, or one of the host."""
    there = host.interpreters
    for hop in host.hops:
        if choose(hop, there) is None:
            lowest, too_new = hop.python
            yield FINDINGS["release.python_unsupported"].finding(
                hop.version,
                lowest=lowest,
                too_new=too_new,
                environment=host.environment,
                pythons=", ".join(dict.fromkeys(f"{one.version} ({one.path})" for one in there)),
                whole=for_the_whole_way(host.hops),
            )


def check_environment(host: ServerHost) -> Iterator[Finding]:
    """With the strategy ``staged``, new virtual environments can be made."""
    if host.params["install_strategy"] != "staged" or not host.missing_releases:
        return
    if not host.is_venv:
        yield FINDINGS["release.not_a_venv"].finding(host.environment)
        return
    chosen = [choose(hop, host.interpreters) for hop in host.missing_releases]
    for path in dict.fromkeys(one.path for one in chosen if one):
        done = run([path, "-I", "-B", "-c", "import ensurepip, venv"], account=host.account)
        if done.code != 0:
            yield FINDINGS["release.no_venv"].finding(path, reason=done.last_words(1))


def check_offered(host: ServerHost) -> Iterator[Finding]:
    """The package index or the wheelhouse really has what is to be installed: pip fetches it, to be thrown away."""
    if not host.missing_releases:
        return
    if host.params["wheelhouse"] and not host.params["remote_src"]:
        yield FINDINGS["release.not_copied"].finding(host.params["wheelhouse"])
        return
    both = (host.python, host.base_python)
    pythons = (python for python in both if run([python, "-m", "pip", "-V"], account=host.account).code == 0)
    python = next(pythons, None)
    if python is None:
        yield FINDINGS["release.not_checked"].finding(host.python, base=host.base_python)
        return
    wheelhouse = host.params["wheelhouse"]
    environ = {**host.account.environment, **network_environment()}
    arguments, environ = out_of_sight(host.params["pip_extra_args"], environ)
    # all that the release needs can be asked of a folder in no time; of an index only the release itself
    source = ["--no-index", "--find-links", wheelhouse] if wheelhouse else ["--no-deps"]
    for hop in host.missing_releases:
        chosen = choose(hop, host.interpreters)
        if chosen is None:
            continue  # check_python says it
        own = python_supported(host.python_version, hop)
        as_other = [] if own else ["--only-binary=:all:", "--python-version", chosen.version]
        with tempfile.TemporaryDirectory(prefix="fractal-precheck-") as folder:
            os.chown(folder, host.account.uid, host.account.gid)
            command = [python, "-B", "-m", "pip", "download", "--disable-pip-version-check", "--no-input"]
            command += ["--no-cache-dir", *arguments, *source, *as_other, "--dest", folder]
            done = run(
                [*command, f"fractal-server=={hop.version}"],
                account=host.account,
                environ=environ,
                timeout=_PIP_TIMEOUT,
                cwd=folder,
            )
        if done.code != 0:
            where = f"the wheelhouse {wheelhouse}" if wheelhouse else "the package index"
            reason = mask_urls(done.last_words(2))
            yield FINDINGS["release.not_offered"].finding(hop.version, source=where, reason=reason)


def check_programs(host: ServerHost) -> Iterator[Finding]:
    """Programs that a release on the way calls and its predecessors did not."""
    for hop in host.hops:
        for program in hop.needs:
            if shutil.which(program) is None:
                yield FINDINGS["release.program_missing"].finding(program, release=hop.version)
