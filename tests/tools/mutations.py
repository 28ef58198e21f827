"""Break the code in known ways and see that the unit tests notice: python tests/tools/mutations.py [WORD ...].

Each row takes something away in a copy of the project and runs the tests that have to fail. A row whose text is no more
in its file is an error: the list is to follow the code. WORD runs only the rows that hold it.
"""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
from typing import NamedTuple

ROOT = pathlib.Path(__file__).resolve().parents[2]
UTILS = "plugins/module_utils/"


class Mutation(NamedTuple):
    """What is broken, where, and which tests have to fail."""

    what: str
    path: str
    old: str
    new: str
    tests: str


MUTATIONS = (
    Mutation(
        "a child takes its libraries down while the window waits",
        UTILS + "_core/door.py",
        "os._exit(0)",
        "pass",
        "_core",
    ),
    Mutation(
        "a watcher comes back for each event",
        UTILS + "_window/watching.py",
        "deadline = min(deadline, time.monotonic() + together)",
        "break",
        "_window",
    ),
    Mutation(
        "a busy host is asked as often as an idle one",
        "plugins/action/fractal_window.py",
        "together = max(_SOON, ",
        "together = min(_SOON, ",
        "test_action_window.py",
    ),
    Mutation(
        "a dead run that got the lock since the look keeps it",
        "plugins/action/fractal_lock.py",
        "if not is_dead(held):",
        "if True:",
        "test_action_lock.py",
    ),
    Mutation(
        "each answer of a watcher loads the whole collection",
        UTILS + "_window/watching.py",
        "from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.journal import journal_tail",
        "import ansible_collections.fractal_ops.platform.plugins.module_utils._upgrade.hop\n"
        "from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.journal import journal_tail",
        "_window",
    ),
    Mutation(
        "a child that did not answer well is asked again",
        UTILS + "_core/door.py",
        "if self.answered and waiting is not None:",
        "if waiting is not None:",
        "_core/test_door.py",
    ),
    Mutation(
        "a unit whose program a killed pip took away leads nowhere",
        UTILS + "_instance/discovery.py",
        "lambda path: bool(_copies(path))",
        "lambda path: False",
        "_instance/test_discovery.py",
    ),
    Mutation(
        "pip goes on with half a package",
        UTILS + "_venv/strategies.py",
        "    if copy:\n        _begin_with(copy, environment)\n",
        "",
        "_venv",
    ),
    Mutation(
        "what a program killed over the forgetting has left stays",
        UTILS + "_run/plan.py",
        " and not hold and not half_forgotten",
        " and not hold",
        "_run/test_plan.py",
    ),
    Mutation(
        "a killed window waits for what its program has left",
        UTILS + "_window/detached.py",
        '    command += [f"--property=TimeoutStopSec={_LEFT_ALONE}"]\n',
        "",
        "_window",
    ),
    Mutation(
        "a hop asks again for a release that was just seen",
        UTILS + "_upgrade/hop.py",
        "installed = installed or facts(",
        "installed = facts(",
        "_upgrade",
    ),
    Mutation(
        "what was seen during a copy counts after a dump of hours",
        UTILS + "_window/program.py",
        'if not made["copy_seconds"]:',
        "if False:",
        "_window",
    ),
    Mutation(
        "a hop is predicted with children that stand by",
        UTILS + "_upgrade/rehearsal.py",
        'if "environment" in self.seconds:',
        "if True:",
        "_upgrade",
    ),
    Mutation(
        "a fractal-web that hangs is left to itself",
        "plugins/modules/fractal_web_release.py",
        "    if stale:\n        restart",
        "    if False:\n        restart",
        "modules",
    ),
    Mutation(
        "a server begins without its web host",
        UTILS + "_run/both_halves.py",
        "failed = [web for web, why in failures.items() if why]",
        "failed = []",
        "_run",
    ),
    Mutation(
        "a host is prepared whose other half cannot be",
        UTILS + "_run/both_halves.py",
        'return bool(state["pending"]) and not why_web_waits(hostvars, groups, name, run)',
        'return bool(state["pending"])',
        "_run",
    ),
    Mutation(
        "a lost answer of a resolver is a dead service",
        UTILS + "_instance/alive.py",
        "_PATIENCE = 12",
        "_PATIENCE = 5",
        "_instance",
    ),
    Mutation(
        "a maintenance page that stays when the new server answers",
        UTILS + "_instance/page_program.py",
        "self._grace if self._was_down else self._patience",
        "self._patience",
        "_instance",
    ),
    Mutation(
        "a file that was exchanged on its way to the host",
        UTILS + "_core/copied.py",
        "not regular or _sha256(stream, copy) != digest",
        "not _sha256(stream, copy)",
        "_core",
    ),
    Mutation(
        "wheels that another upgrade has copied",
        UTILS + "_core/copied.py",
        "json.dumps(files, sort_keys=True)",
        '"wheels"',
        "_core",
    ),
    Mutation(
        "a page that does not answer keeps fractal-web's place",
        UTILS + "_instance/maintenance.py",
        "        start(unit.name)\n        raise",
        "        raise",
        "_instance",
    ),
    Mutation(
        "the hook for a failure of the verification",
        UTILS + "_run/hooks.py",
        'if check["status"] == "failed"',
        "if False",
        "_run",
    ),
    Mutation(
        "a frozen copy that was written to is taken",
        UTILS + "_database/contents.py",
        "return before.versions == now.versions or not before.versions or not now.versions",
        "return True",
        "_backup",
    ),
    Mutation(
        "tidying up drops the only content of a backup",
        UTILS + "_backup/tidy.py",
        "if not backup.has_dump:",
        "if False:",
        "_backup",
    ),
    Mutation(
        "tidying up during an upgrade",
        UTILS + "_backup/tidy.py",
        "    if hold is not None:",
        "    if hold is None:",
        "_backup",
    ),
    Mutation(
        "a folder of fractal-web that is the operator's",
        UTILS + "_instance/web_release.py",
        "if marks[one] is not None or one in moved",
        "if marks",
        "_instance",
    ),
    Mutation(
        "a packed dump that replaces nothing",
        UTILS + "_backup/packing.py",
        "            write_manifest(path, backup.manifest)",
        "            pass",
        "_backup",
    ),
    *(
        Mutation(f"precheck without {row}", UTILS + "_precheck/server.py", f"    ({row}),\n", "", "_precheck")
        for row in (
            '"disk", check_disk',
            '"OpenID provider", check_openid_provider',
            '"SLURM users", check_slurm_users',
        )
    ),
    Mutation(
        "precheck without the clock",
        UTILS + "_precheck/in_database.py",
        '    ("clock", check_clock),\n',
        "",
        "_precheck",
    ),
    Mutation(
        "way out of 2.16 without clients",
        UTILS + "_stops/r2_17_0/prechecks.py",
        '    ("clients", check_gone_endpoints),\n',
        "",
        "_precheck",
    ),
    Mutation(
        "schema goes past a stop",
        UTILS + "_upgrade/schema.py",
        'database["data_migration"] in ("pending", "partial")',
        'database["data_migration"] == "never"',
        "_stops",
    ),
    Mutation(
        "rehearsal that leads to the real database",
        UTILS + "_upgrade/rehearsal_files.py",
        "append(text, {_DATABASE: literal(scratch)}, _HEADER)",
        "text",
        "_upgrade",
    ),
    Mutation(
        "rehearsal that leads to the real jobs",
        UTILS + "_upgrade/rehearsal_files.py",
        "append(text, folders, _HEADER) if folders else text",
        "text",
        "_upgrade",
    ),
    Mutation(
        "copy that is not scaled",
        UTILS + "_upgrade/prediction.py",
        "max(1.0, size / copied)",
        "1.0",
        "_upgrade",
    ),
    Mutation("hop without its refusal", UTILS + "_upgrade/hop.py", "    if reason:\n", "    if False:\n", "_stops"),
    Mutation(
        "hop without the file's step",
        UTILS + "_upgrade/hop.py",
        "task.apply(write=True)",
        "task.apply(write=False)",
        "_stops",
    ),
    Mutation(
        "drop-in forgets an earlier step",
        UTILS + "_env_file/on_host.py",
        "if self.migration.whole_drop_in else",
        "if True else",
        "_env_file",
    ),
    Mutation("web precheck without port", UTILS + "_precheck/web.py", '    ("port", check_port),\n', "", "_precheck"),
    Mutation("several workers allowed", UTILS + "_precheck/unit.py", "workers > 1", "workers > 99", "_precheck"),
    Mutation("reload not asked for", UTILS + "_precheck/unit.py", "if unit.needs_reload:", "if False:", "_precheck"),
    Mutation("left-overs not told", UTILS + "_run/report.py", 'todo += record["left"]', "pass", "_run"),
    Mutation("copy of the backup not told", UTILS + "_run/report.py", "    if copy:\n", "    if False:\n", "_run"),
    Mutation(
        "failed stage shown as done",
        UTILS + "_run/report.py",
        "failed = pending and result.get",
        "failed = None and result.get",
        "_run",
    ),
    Mutation(
        "start counter kept",
        UTILS + "_instance/service.py",
        'if unit.active_state != "inactive":',
        "if False:",
        "_instance",
    ),
    Mutation(
        "hold without backup stays so",
        UTILS + "_instance/service.py",
        "present.backup or new.backup",
        "present.backup",
        "_instance",
    ),
    Mutation(
        "what runs before a service is not counted",
        UTILS + "_instance/service.py",
        "healthy(timeout - (time.monotonic() - began))",
        "healthy(timeout)",
        "_instance",
    ),
    Mutation(
        "hold forgotten before the start",
        UTILS + "_instance/service.py",
        "    started = start(service, timeout)\n",
        "    started = _forget_hold(service) | start(service, timeout)\n",
        "_instance",
    ),
    Mutation(
        "start with the assertion",
        UTILS + "_instance/service.py",
        "        write_file(may_start_path(unit), MAY_START_TOLD.encode(), uid=0, gid=0, mode=0o644)\n",
        "",
        "_instance",
    ),
    Mutation(
        "hold with what let it start",
        UTILS + "_instance/service.py",
        "    remove_file(may_start_path(unit.name))\n    if",
        "    if",
        "_instance",
    ),
    Mutation(
        "stopped before is not remembered",
        UTILS + "_instance/service.py",
        "ran_before=unit.active_state not in _DOWN",
        "ran_before=True",
        "_instance",
    ),
    Mutation(
        "hop installs again",
        UTILS + "_upgrade/hop.py",
        "    if installed == version:\n        return False\n",
        "",
        "_upgrade",
    ),
    Mutation(
        "no way back asked for",
        UTILS + "_window/after_failure.py",
        "_Rule(lambda left: left.go_back,",
        "_Rule(lambda left: False,",
        "_window",
    ),
    Mutation(
        "back to an earlier upgrade",
        UTILS + "_window/after_failure.py",
        "_Rule(lambda left: left.backup == NONE, LEAVE",
        "_Rule(lambda left: left.backup == NONE, GO_BACK",
        "_window",
    ),
    Mutation(
        "nothing to go back to", UTILS + "_window/way_back.py", "if not hold and not backup:", "if False:", "_window"
    ),
    Mutation(
        "back to what it has gone back from",
        UTILS + "_backup/store.py",
        'if not is_later(one.manifest["environment"]["version"], installed)',
        "if True",
        "_backup",
    ),
    Mutation(
        "mistyped stage", UTILS + "_run/plan.py", "for name in StageName}", "for name in list(StageName)[1:]}", "_run"
    ),
    Mutation("check mode deletes", "plugins/modules/fractal_settings_check.py", "and not check_mode", "", "modules"),
    Mutation(
        "needs are ignored", UTILS + "_core/verification.py", "        if not missing:", "        if True:", "_verify"
    ),
    Mutation(
        "the child behind the door is root",
        UTILS + "_core/accounts.py",
        "        if self.is_own:\n",
        "        if True:\n",
        "_core/test_door.py",
    ),
    Mutation(
        "an instance begins after one that failed",
        UTILS + "_run/waves.py",
        "    if not bad:\n",
        "    if True:\n",
        "_run/test_waves.py",
    ),
    Mutation(
        "a change without its run's lock",
        "roles/tidy/tasks/web.yml",
        '    lock: "{{ __fractal_web_lock }}"\n',
        "",
        "roles/test_lock.py",
    ),
    Mutation(
        "a host ends the run",
        "playbooks/upgrade.yml",
        "      rescue:\n",
        "      always:\n",
        "roles/test_playbooks.py",
    ),
    Mutation(
        "renamed fact",
        "roles/server_upgrade/tasks/program.yml",
        "register: __server_upgrade_window",
        "register: __server_upgrade_end",
        "_run",
    ),
)


def caught(mutation: Mutation, copy: pathlib.Path) -> bool:
    """Return whether the tests fail with the mutation.

    Raises:
        SystemExit: The text to change is not in the file.
    """
    path = copy / mutation.path
    text = path.read_text()
    if mutation.old not in text:
        raise SystemExit(f"{mutation.what}: {mutation.path} does not hold {mutation.old!r} any more")
    path.write_text(text.replace(mutation.old, mutation.new, 1))
    try:
        environ = {**os.environ, "PYTHONPATH": str(copy.parents[2]), "ANSIBLE_COLLECTIONS_PATH": str(copy.parents[2])}
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", f"tests/unit/{mutation.tests}"]
        done = subprocess.run(command, cwd=copy, env=environ, capture_output=True, text=True, check=False)
        if done.returncode not in (0, 1):
            raise SystemExit(f"{mutation.what}: the tests do not run:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        return done.returncode == 1
    finally:
        path.write_text(text)


def main(words: list[str]) -> int:
    """Run the mutations and print a table; return how many were not noticed."""
    chosen = [one for one in MUTATIONS if not words or any(word in str(one) for word in words)]
    survived = 0
    with tempfile.TemporaryDirectory() as folder:
        copy = pathlib.Path(folder, "ansible_collections", "fractal_ops", "platform")
        copy.mkdir(parents=True)
        files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        for name in files.splitlines():
            if (ROOT / name).is_file():
                (copy / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, copy / name)
        for mutation in chosen:
            noticed = caught(mutation, copy)
            survived += not noticed
            print(f"{'caught' if noticed else 'SURVIVED':9} {mutation.what} ({mutation.path})", flush=True)
    return survived


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
