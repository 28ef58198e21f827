"""Write docs/playbooks.md from the playbooks and the roles that they use: python tests/tools/generate_playbooks.py.

A playbook begins with a comment that says what it does; lines indented in it are its example, and what comes after them
is for those who change it. All else is read from the playbook: hosts, roles, the variables that these use, where
it fails, whether it writes a report.
"""

from __future__ import annotations

import importlib.util
import pathlib
import re
from collections.abc import Iterator
from typing import Any

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "playbooks.md"
PARTS = ("begin", "report")  # of other playbooks, which nobody calls
# As an operator meets them; one that is not named here comes at the end.
ORDER = ("status", "precheck", "users", "rehearse", "upgrade", "verify", "rollback", "review", "tidy")
COLLECTION = "fractal_ops.platform."
HEAD = """# Playbooks

Each is called by its full name, `ansible-playbook -i inventory.ini fractal_ops.platform.NAME`. This page is made from
the playbooks (`python tests/tools/generate_playbooks.py`).

**Hosts.** They are in the groups `fractal_server`, `fractal_web` and, where SLURM jobs run elsewhere, `fractal_worker`.
`--limit` takes whole instances. The hosts need Python 3.9 or later and an account that may become root: `-u NAME`, and
`-K` where sudo asks for a password.

**Variables.** [variables.md](variables.md) says what each means; the lists below say which ones a playbook uses. Before
any host is contacted every playbook looks at all of them, and refuses unknown names and impossible values.

**Tags.** There are none: a part of an upgrade is no upgrade. `--tags` and `--skip-tags` that would leave a step out are
refused (`run.tags`).

**Check mode.** `--check` changes nothing on any host, and says what would be done; `--diff` shows files, with secrets
masked.

**Exit codes.** They are those of `ansible-playbook`. A host that cannot be reached is a failed task here.

| code | meaning |
|---|---|
| 0 | what the playbook is for is done; there may be warnings in the report |
| 2 | a task failed on some host, or the run was refused: the last lines and the report say what, and what to do |
| 1, 4, 5 | Ansible itself could not begin: a file is not there, or cannot be read |
| 99, 250 | interrupted from the keyboard; an unexpected error of Ansible |
"""


def documented() -> list[str]:
    """Return the names of the playbooks that an operator calls, in the order of the page."""
    names = {path.stem for path in (ROOT / "playbooks").glob("*.yml")} - set(PARTS)
    return [name for name in ORDER if name in names] + sorted(names - set(ORDER))


def head_of(name: str) -> tuple[str, list[str]]:
    """Return what the comment at the beginning of a playbook says, and the lines of its example.

    Raises:
        ValueError: It has none.
    """
    lines = (ROOT / "playbooks" / f"{name}.yml").read_text(encoding="utf-8").splitlines()
    comment: list[str] = []
    for line in lines[1:] if lines[:1] == ["---"] else lines:
        if not line.startswith("#"):
            break
        comment.append(line[1:].removeprefix(" "))
    example = [line.strip() for line in comment if line.startswith("    ")]
    first = next((number for number, line in enumerate(comment) if line.startswith("    ")), len(comment))
    text = " ".join(line for line in comment[:first] if line)
    if not text:
        raise ValueError(f"playbooks/{name}.yml has to begin with a comment that says what it does, after its ---")
    return text, example or [f"ansible-playbook -i inventory.ini {COLLECTION}{name}"]


def variables_of(name: str) -> list[str]:
    """Return the public variables that a playbook, its parts and the roles that it reaches name."""
    public = _specs()
    seen: dict[str, str] = {}
    _read(f"playbooks/{name}.yml", seen)
    words = set(re.findall(r"\bfractal_\w+", "".join(seen.values()))) & set(public)
    while True:  # a default may name another variable
        more = {word for one in words for word in re.findall(r"\bfractal_\w+", str(public[one].get("default")))}
        if more & set(public) <= words:
            return sorted(words)
        words |= more & set(public)


def roles_of(name: str) -> list[str]:
    """Return the roles that a playbook names itself."""
    plays = yaml.safe_load((ROOT / "playbooks" / f"{name}.yml").read_text(encoding="utf-8"))
    found = {role for role, _part in _roles(plays)}
    return [role for role in sorted(found) if role != "fractal"]  # that one observes for all


def render() -> str:
    """Return the page."""
    return HEAD + "".join(_chapter(name) for name in documented())


def _chapter(name: str) -> str:
    plays = yaml.safe_load((ROOT / "playbooks" / f"{name}.yml").read_text(encoding="utf-8"))
    what, example = head_of(name)
    imported = {play["ansible.builtin.import_playbook"] for play in plays if "ansible.builtin.import_playbook" in play}
    hosts = sorted(
        {
            group
            for play in plays
            for group in re.findall(r"fractal_(?:server|web|worker)\b", str(play.get("hosts", "")))
        }
    )
    roles = ", ".join(f"[`{role}`](../roles/{role}/README.md)" for role in roles_of(name))
    fails = [task["name"] for task in _tasks(plays) if any(key.endswith(".fail") for key in task)]
    fails += ["Fail where an instance failed or is blocked"] if "report.yml" in imported else []
    where = "; ".join(text.removeprefix("Fail ") for text in fails or ["Fail where a host fails"])
    report = "[one for each instance](report.md)" if "report.yml" in imported else "none, unless the run is refused"
    return "\n".join(
        [
            f"\n## {name}\n",
            f"{_marked(what)}\n",
            *(f"    {line}" for line in example),
            "",
            f"- *Hosts:* {', '.join(f'`{group}`' for group in hosts) or 'none, it works on the controller'}",
            f"- *Roles:* {roles or 'none'}",
            f"- *Report:* {report}",
            f"- *Exit code 2:* when the run is refused; {where}",
            f"- *Variables:* {', '.join(f'`{one}`' for one in variables_of(name))}",
            "",
        ]
    )


def _marked(text: str) -> str:
    """Return a comment's text with options and variables in typewriter."""
    return re.sub(r"(?<![`\w])(-e \w+=\w+(?:\.\w+)*|--[a-z][\w-]*(?: --\w+)*|fractal_\w+)", r"`\1`", text)


def _specs() -> dict[str, dict[str, Any]]:
    spec = importlib.util.spec_from_file_location("generate_variables", ROOT / "tests/tools/generate_variables.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return {name: option for options in module.options_of_roles().values() for name, option in options.items()}


def _read(path: str, seen: dict[str, str]) -> None:
    """Read a file of tasks or plays, and all that it includes, into ``seen``; comments are left out."""
    if path in seen:
        return
    text = (ROOT / path).read_text(encoding="utf-8")
    seen[path] = re.sub(r"^\s*#.*$", "", text, flags=re.MULTILINE)
    content = yaml.safe_load(text) or []
    folder = str(pathlib.PurePosixPath(path).parent)
    for role, part in _roles(content):
        variables = ROOT / "roles" / role / "vars" / "main.yml"
        if variables.exists():
            seen[str(variables)] = variables.read_text(encoding="utf-8")
        _read(f"roles/{role}/tasks/{part}", seen)
    for task in _tasks(content):
        for key, value in task.items():
            if key.rpartition(".")[2] in ("include_tasks", "import_tasks", "import_playbook"):
                for file in _files(task, value if isinstance(value, str) else value["file"], ROOT / folder):
                    _read(f"{folder}/{file}", seen)


def _roles(content: Any) -> Iterator[tuple[str, str]]:
    """Yield the roles of plays or tasks, each with the file of tasks that is meant."""
    for task in _tasks(content):
        for key, value in task.items():
            if key.rpartition(".")[2] in ("include_role", "import_role"):
                role, part = value["name"].removeprefix(COLLECTION), value.get("tasks_from", "main")
                for file in _files(task, f"{part.removesuffix('.yml')}.yml", ROOT / "roles" / role / "tasks"):
                    yield role, file
        for role in task.get("roles", []):
            yield (role if isinstance(role, str) else role["role"]).removeprefix(COLLECTION), "main.yml"


def _files(task: dict[str, Any], file: str, folder: pathlib.Path) -> list[str]:
    """Return the files that a task may include: those in the folder that its loop names; none of the operator's own."""
    if "{{" not in file:
        return [file]
    named = re.findall(r"'(\w+)'", f"{file} {task.get('loop')} {' '.join(map(str, task.get('vars', {}).values()))}")
    return [f"{name}.yml" for name in dict.fromkeys(named) if (folder / f"{name}.yml").exists()]


def _tasks(content: Any) -> Iterator[dict[str, Any]]:
    """Yield every mapping of plays or tasks, however deep in blocks."""
    for item in content if isinstance(content, list) else []:
        yield item
        for part in ("pre_tasks", "tasks", "post_tasks", "block", "rescue", "always"):
            yield from _tasks(item.get(part, []))


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
