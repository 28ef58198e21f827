"""The examples of the documentation, and the order in which tests run them on a real pair of hosts.

A part is one run of ``ansible-playbook``. Each of its plays is the example of a role's page, or tasks from the EXAMPLES
of modules, by name: ``changed`` and ``ok`` say what a task must come to there.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]

# What is another one here; the rest of an example is run as it stands.
OTHER_NAMES = {
    "db.example.org": "localhost",
    "ann@example.org": "dave@example.org",
    "slurm_user: ann": "slurm_user: alice",
    "/opt/fractal/web/.env": "/opt/fractal-web/.env",
    '"3.13": /usr/bin/python3.13': '"3.11": /usr/bin/python3.11',
}

_COMMAND = re.compile(r"^ {4}(ansible(?:-playbook)? [^#\n]*?) *(?:#.*)?$", re.MULTILINE)
Play = tuple[str, list[str]]  # hosts and tasks; or ROLE and the name of a role
ROLE = "role"

WHILE_IT_RUNS: list[Play] = [
    (ROLE, ["fractal"]),
    (ROLE, ["precheck"]),
    ("fractal_server:fractal_web", ["ok: Show and keep the reports"]),
    (
        "fractal_server",
        [
            "ok: Look at fractal-server",
            "ok: Show the release that its database belongs to",
            "ok: Check the server",
            "ok: Check the users",
            "ok: Check the users of a database elsewhere, with a role that may only read",
            "ok: See what the migration would do, and what stands in its way",
            "ok: Wait half an hour for the jobs in flight",
            "ok: End the jobs in flight",
            "changed: Take the lock",
            "changed: Give the lock back",
            "changed: Build the environment of 2.17.0",
            "changed: Render the new environment file",
            "ok: Validate the new environment file with 2.17.0's own settings",
            "ok: Rehearse the upgrade to 2.17.0, whose environment is built",
            "changed: Build the workers' environment while the server runs",
        ],
    ),
    (
        "fractal_web",
        [
            "ok: Look at fractal-web",
            "ok: Check the web host",
            "changed: Tell the users of fractal-web that it is being worked on, for an hour at most",
            "changed: Bring fractal-web back",
        ],
    ),
    (ROLE, ["rehearse"]),
    (ROLE, ["backup"]),
]
FORTH_AND_BACK: list[Play] = [
    (
        "fractal_server",
        [
            "changed: Stop fractal-server",
            "changed: Back up the stopped instance",
            "ok: Show where it is",
            "changed: Migrate the environment file of fractal-server",
            "changed: Switch to 2.17.0",
            "changed: Switch to it in the server's window",
            SET_DB := "changed: Migrate the schema with Fractal's own command",
            "changed: See what would be lost, while fractal-server still runs",
            "changed: Bring the database back",
            "changed: Bring the files back",
            "changed: Go back",
        ],
    ),
    (
        "fractal_server",
        [
            "changed: Verify everybody who is active and owns a project",
            "changed: Give everybody a project folder, and take the first administrator out of the data migration",
        ],
    ),
    (ROLE, ["users"]),
]
IN_THE_BACKGROUND: list[Play] = [(ROLE, ["server_upgrade"])]
WATCHED: list[Play] = [
    (
        "fractal_server",
        ["ok: Watch the window that another run has begun", "ok: Show how long the service was down"],
    ),
]
AFTERWARDS: list[Play] = [
    ("fractal_server", ["ok: Migrate the environment file of fractal-server"]),
    (
        "fractal_web",
        [
            "changed: Unpack fractal-web",
            "changed: Migrate the environment file of fractal-web",
            "changed: Switch fractal-web",
            "changed: Restart fractal-web",
            "ok: Check that fractal-web works",
        ],
    ),
    (ROLE, ["web_upgrade"]),
    (
        "fractal_server",
        [
            "ok: Check that fractal-server works",
            "ok: Review resources, profiles and users",
            "changed: Name the resource, give it another interpreter, and let Carol in",
            "changed: Stop fractal-server",
            "changed: Start fractal-server",
            "ok: Find the backup to go back to",
            "changed: Remove what nobody needs any more",
            "ok: Remove what was copied from the controller",
        ],
    ),
    (ROLE, ["verify"]),
    (ROLE, ["tidy"]),
    (ROLE, ["rollback"]),
]
# What each test of _run/test_examples.py runs.
STORY: dict[str, list[list[Play]]] = {
    "test_examples_for_a_service_that_runs": [WHILE_IT_RUNS],
    "test_examples_of_an_upgrade_by_hand_and_of_the_way_back": [FORTH_AND_BACK],
    "test_examples_of_a_window_that_another_run_has_begun": [IN_THE_BACKGROUND, WATCHED],
    "test_examples_for_what_is_upgraded": [AFTERWARDS],
}
# Between the examples: as docs/upgrade.md says it is done by hand.
_SET_DB: dict[str, Any] = {
    "name": SET_DB.partition(": ")[2],
    "ansible.builtin.command": {
        "argv": ["runuser", "-u", "fractal", "--", "/opt/fractal/venv/bin/fractalctl", "set-db"],
        "chdir": "/opt/fractal/server",
    },
}


def page_lines() -> list[str]:
    """Return the lines of the pages in docs/ that run Ansible, other than those of README.md."""
    pages = [*(ROOT / "docs").glob("*.md"), *(ROOT / "docs" / "docsite").glob("*.md")]
    lines = {line for page in pages for line in _COMMAND.findall(page.read_text())}
    return sorted(lines - set(_COMMAND.findall((ROOT / "README.md").read_text())))


def playbook_lines() -> list[str]:
    """Return those that run a playbook on hosts."""
    return [line for line in page_lines() if line.startswith("ansible-playbook -i ")]


def wheel_lines() -> list[str]:
    """Return those that make wheels."""
    return sorted(set(page_lines()) - set(playbook_lines()))


def module_examples() -> dict[str, list[dict[str, Any]]]:
    """Return the tasks of the EXAMPLES of each module, with the names of the test bed."""
    found = {}
    for path in sorted((ROOT / "plugins" / "modules").glob("*.py")):
        text = re.search(r'^EXAMPLES = r"""\n(.*?)"""', path.read_text(), re.MULTILINE | re.DOTALL)
        assert text, f"{path.name} has no EXAMPLES"
        found[path.stem] = yaml.safe_load(_renamed(text[1]))
    return found


def role_example(role: str) -> list[dict[str, Any]]:
    """Return the plays of the example on a role's page."""
    text = (ROOT / "roles" / role / "README.md").read_text().partition("\n## Example\n")[2]
    plays: list[dict[str, Any]] = yaml.safe_load(text)
    return plays


def told() -> dict[str, str]:
    """Return which test runs a task, or ``role NAME``, by its name."""
    found = {}
    for test, parts in STORY.items():
        for hosts, lines in (play for part in parts for play in part):
            found.update({f"role {line}" if hosts == ROLE else line.partition(": ")[2]: test for line in lines})
    return {name: test for name, test in found.items() if name != _SET_DB["name"]}


def plays_of(part: list[Play]) -> list[dict[str, Any]]:
    """Return the playbook of a part."""
    tasks = {task["name"]: task for examples in module_examples().values() for task in examples}
    tasks[_SET_DB["name"]] = _SET_DB
    playbook = []
    for hosts, lines in part:
        if hosts == ROLE:
            playbook += role_example(*lines)
        else:
            listed = [tasks[line.partition(": ")[2]] for line in lines]
            playbook.append({"hosts": hosts, "become": True, "gather_facts": False, "tasks": listed})
    return playbook


def expected(part: list[Play]) -> list[tuple[str, str]]:
    """Return what each task of a part must come to."""
    return [
        (line.partition(": ")[2], line.partition(": ")[0]) for hosts, lines in part if hosts != ROLE for line in lines
    ]


def _renamed(text: str) -> str:
    for here, there in OTHER_NAMES.items():
        text = text.replace(here, there)
    return text
