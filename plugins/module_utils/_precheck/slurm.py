# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""Whether jobs can run: SLURM, sudo, folders that the SLURM users can reach, and the worker's Python.

What is wrong here is wrong today already; better known before the upgrade than blamed on it.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.accounts import Account
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.findings import (
    Finding,
    FindingRule,
    rule_table,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.programs import run
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.wording import examples
from ansible_collections.fractal_ops.platform.plugins.module_utils._venv.interpreter import installed_version

if TYPE_CHECKING:
    from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.server_host import ServerHost

CHAPTERS = {"slurm": "SLURM", "worker": "Worker Python"}
FINDINGS = rule_table(
    FindingRule(
        "slurm.no_answer",
        "warning",
        "SLURM does not answer",
        "{subject} does not work for {account}, which fractal-server runs as: {reason}",
        "Install or repair SLURM's client programs on this host.",
    ),
    FindingRule(
        "slurm.user_unknown",
        "warning",
        "SLURM users without account here",
        "These slurm_user have no account on this host, so their jobs fail: {names}.",
        "Correct slurm_user with fractal_users, or create the accounts.",
    ),
    FindingRule(
        "slurm.sudo_refused",
        "warning",
        "sudo refused",
        "fractal-server may not run {subject} as {accounts}: {reason}",
        "Allow sbatch, scancel, cat and mkdir for these accounts in sudoers, without password. (A rule that allows "
        "only certain arguments refuses this check too; then accept it.)",
        "fractal-server 2.16.6, runner/executors/slurm_sudo",
    ),
    FindingRule(
        "slurm.folder_closed",
        "warning",
        "SLURM user cannot reach a folder",
        "{accounts} cannot read {subject}, so their jobs fail.",
        "Open {subject} and the folders above it for reading (mode 0755).",
    ),
    FindingRule(
        "worker.remote",
        "blocker",
        "The cluster's fractal-server has to be upgraded too",
        "Jobs run with {subject} on the SSH host; fractal-server there must have exactly the server's version.",
        "Put that host into the group fractal_worker, and it is upgraded with the server. Or accept worker.remote and "
        "run there, right after the server's upgrade: {command}",
        "fractal-server 2.17.0, runner/executors/slurm_common/base_slurm_runner.py",
    ),
    FindingRule(
        "worker.broken",
        "warning",
        "Worker Python does not run fractal-server",
        "{subject} (the workers' Python) has no fractal-server: {reason}",
        "Correct FRACTAL_SLURM_WORKER_PYTHON in the environment file; where resources are in the database already, "
        "jobs_slurm_python_worker of the resource.",
        "fractal-server 2.17.0, runner/executors/slurm_common/base_slurm_runner.py",
    ),
    FindingRule(
        "worker.other_version",
        "warning",
        "Worker Python has another fractal-server",
        "{subject} (the workers' Python) has fractal-server {found}, the server has {version}; jobs fail.",
        "Install the server's version there now, so that a rollback finds it: {command}",
        "fractal-server 2.17.0, runner/executors/slurm_common/base_slurm_runner.py",
    ),
    FindingRule(
        "worker.own_environment",
        "blocker",
        "Worker Python has an environment of its own",
        "{subject} (the workers' Python) is not in the server's environment, so the upgrade does not "
        "change it; jobs fail until it has the server's version.",
        "Put this host into the group fractal_worker too, and it is upgraded with the server. Or accept "
        "worker.own_environment and run, right after the server's upgrade: {command}",
        "fractal-server 2.17.0, runner/executors/slurm_common/base_slurm_runner.py",
    ),
    FindingRule(
        "worker.other_path",
        "info",
        "Worker Python under another name",
        "{subject} (the workers' Python) is the server's own Python, but not by the same name ({python}), "
        "so Fractal runs it through sudo to compare versions.",
        "Set FRACTAL_SLURM_WORKER_PYTHON to {python}, and no sudo rule is needed for it.",
        "fractal-server 2.17.0, runner/executors/slurm_common/base_slurm_runner.py",
    ),
)

# what fractal-server runs as a user (fractal-server 2.16.6, runner/executors/slurm_sudo/)
_AS_USER = ("sbatch", "scancel", "cat", "mkdir")
_MOST_USERS = 200  # each takes some 20 milliseconds
_REACH = 'for path; do test -r "$path" && test -x "$path" || echo "$path"; done'


def check_slurm(host: ServerHost) -> Iterator[Finding]:
    """SLURM answers the account of the service, as it must for every job."""
    account = host.service_account
    if host.on_slurm and account:
        done = run(["squeue", "--noheader", "--states=all", "--user", account], account=Account.named(account))
        if done.code != 0:
            yield FINDINGS["slurm.no_answer"].finding("squeue", account=account, reason=done.last_words())


def check_slurm_users(host: ServerHost) -> Iterator[Finding]:
    """The users' accounts exist, sudo lets the service act as them, and they reach the folders of the service."""
    if not host.on_slurm or not host.service_account:
        return
    accounts, unknown = [], []
    for name in host.facts.slurm_users:
        try:
            accounts.append(pwd.getpwnam(name.strip()).pw_name)
        except KeyError:
            unknown.append(name)
    if unknown:
        yield FINDINGS["slurm.user_unknown"].finding("slurm_user", names=examples(unknown))
    refused: dict[tuple[str, str], list[str]] = {}
    closed: dict[str, list[str]] = {}
    for number, account in enumerate(accounts[:_MOST_USERS]):
        for program in _AS_USER if number == 0 else _AS_USER[:1]:
            command = ["sudo", "--set-home", "--non-interactive", "-u", account, program, "--version"]
            done = run(command, account=Account.named(host.service_account))
            if done.code != 0:
                refused.setdefault((program, done.last_words(1)), []).append(account)
        for path in _out_of_reach(host, account):
            closed.setdefault(path, []).append(account)
    for (program, reason), who in refused.items():
        yield FINDINGS["slurm.sudo_refused"].finding(program, accounts=examples(who), reason=reason)
    for path, who in closed.items():
        yield FINDINGS["slurm.folder_closed"].finding(path, accounts=examples(who))


def check_worker_pythons(host: ServerHost) -> Iterator[Finding]:
    """The jobs' Python has the server's version of fractal-server, now and after the upgrade."""
    for worker in host.worker_pythons:
        yield from _check_worker(host, worker)


def _check_worker(host: ServerHost, worker: str) -> Iterator[Finding]:
    remote = host.backend == "slurm_ssh"
    if not remote and (not host.on_slurm or not worker or worker == host.python):
        return
    # one that could not be read is a finding already
    upgraded = [one for one in host.params["workers"] if one.get("python") in (worker, None)]
    found = {one["version"] for one in upgraded if one["version"]}
    if not upgraded and not remote:
        try:
            found = {installed_version(worker, host.account)}
        except FractalError as error:
            yield FINDINGS["worker.broken"].finding(worker, reason=str(error))
            return
    python = worker or "the workers' Python"
    for other in found - {host.version}:
        command = f"{python} -m pip install fractal-server=={host.version}"
        yield FINDINGS["worker.other_version"].finding(python, found=other, version=host.version, command=command)
    command = f"{python} -m pip install fractal-server=={host.params['target_version']}"
    if upgraded:
        return
    if remote:
        yield FINDINGS["worker.remote"].finding(python, command=command)
    elif os.path.realpath(os.path.dirname(python)) == os.path.realpath(os.path.dirname(host.python)):
        yield FINDINGS["worker.other_path"].finding(python, python=host.python)
    else:
        yield FINDINGS["worker.own_environment"].finding(python, command=command)


def _out_of_reach(host: ServerHost, account: str) -> list[str]:
    """Return which of the files that its jobs need the account cannot read (folders: enter and list)."""
    folders = [host.values.get(name) for name in ("FRACTAL_RUNNER_WORKING_BASE_DIR", "FRACTAL_TASKS_DIR")]
    paths = [path for folder in folders if folder and os.path.isdir(path := os.path.join(host.directory, folder))]
    paths.append(host.values.get("FRACTAL_SLURM_WORKER_PYTHON") or host.python)
    done = run(["/bin/sh", "-c", _REACH, "sh", *paths], account=Account.named(account))
    return done.out.splitlines() if done.code == 0 else ["/bin/sh"]
