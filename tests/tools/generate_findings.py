"""Write docs/findings.md from the tables of findings: python tests/tools/generate_findings.py."""

from __future__ import annotations

import importlib
import importlib.util
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "findings.md"
PACKAGE = "ansible_collections.fractal_ops.platform.plugins.module_utils"
HEAD = """# Findings

Everything that a check can find, by the part of its id before the dot. The page is made from the tables in the code
(`python tests/tools/generate_findings.py`), so it is complete.

A **blocker** stops the upgrade, a **warning** says who or what will be hurt, an **info** is good to know. To accept a
finding, put its id into `fractal_accept`; blockers that would break the migration cannot be accepted. What is wrong
with users is settled by the playbook `users`, which brings them to what the inventory says in `fractal_users` (by name)
and `fractal_user_rules` (by rule), both as the module `fractal_users` takes them. Where *variables* are named, the
[report](report.md) comes with a file of them, filled in as far as the check knows.
Words in `<angle brackets>` are filled in.
"""
VERIFICATION = """
## Verification

What `verify` checks, and the upgrade at its end. A check that needs another one which did not pass is skipped; each has
its line in the report.
"""
ORDER = ("blocker", "warning", "info")


def tables() -> list[object]:
    """Return every module that has a table of findings."""
    folder = ROOT / "plugins" / "module_utils"
    found = []
    for path in sorted(folder.glob("_*/**/*.py")):
        if "= rule_table(" in path.read_text(encoding="utf-8"):
            module = ".".join(path.relative_to(folder).with_suffix("").parts)
            found.append(importlib.import_module(f"{PACKAGE}.{module}"))
    return found


def rules() -> dict[str, object]:
    """Return all rules by id.

    Raises:
        ValueError: Two tables use the same id.
    """
    found: dict[str, object] = {}
    for module in tables():
        for name, rule in module.FINDINGS.items():
            if name in found:
                raise ValueError(f"the id {name} is used twice")
            found[name] = rule
    return found


def chapters(modules: list[object]) -> dict[str, list[object]]:
    """Return the rules by the title of their chapter, which the rule's own file gives to its prefix.

    Raises:
        ValueError: A file gives none, or two files different ones.
    """
    titles: dict[str, str] = {}
    found: dict[str, list[object]] = {}
    for module in modules:
        for name, rule in module.FINDINGS.items():
            prefix = name.split(".", 1)[0] if "." in name else ""
            title = module.CHAPTERS.get(prefix)
            if title is None:
                raise ValueError(f"{module.__name__} has no chapter for {name}")
            if titles.setdefault(prefix, title) != title:
                raise ValueError(f"{prefix} has two chapters: {titles[prefix]!r} and {title!r}")
            found.setdefault(title, []).append(rule)
    return found


def render() -> str:
    """Return the page."""
    parts = [HEAD]
    for title, own in sorted(chapters(tables()).items(), key=lambda item: item[0].lower()):
        own.sort(key=lambda rule: (ORDER.index(rule.severity), rule.id))
        parts.append(f"\n## {title}\n")
        parts += [_entry(rule) for rule in own]
    checks = importlib.import_module(f"{PACKAGE}._verify.checks").CHECKS
    return "".join([*parts, VERIFICATION, *(_verified(rule) for rule in checks.values())])


def _verified(rule: object) -> str:
    lines = [f"\n### `{rule.id}`\n\n**{rule.title}**"]
    lines[0] += f" (needs {', '.join(f'`{need}`' for need in rule.needs)})." if rule.needs else "."
    lines.append(f"\n*Fix:* {rule.fix}")
    if rule.point:
        lines.append(f'\n*Settles, of the upgrade page:* "{rule.point}".')
    return "\n".join(lines) + "\n"


def _entry(rule: object) -> str:
    kind = rule.severity
    if kind == "blocker":
        kind += ", can be accepted" if rule.acceptable else ", cannot be accepted"
    lines = [f"\n### `{rule.id}`\n\n**{rule.title}** ({kind}).", f"{_shown(rule.message)}\n\n*Fix:* {_shown(rule.fix)}"]
    if rule.settles:
        lines.append(f"\n*Variables:* {', '.join(f'`{name}`' for name in rule.settles)}.")
    if rule.reference:
        lines.append(f"\n*Source:* {rule.reference}.")
    return "\n".join(lines) + "\n"


def _shown(template: str) -> str:
    text = re.sub(r"(?<!{){(\w+)(?:![rs])?(?::[^}]*)?}(?!})", r"\\<\1\\>", template)
    return text.replace("{{", "{").replace("}}", "}")


if __name__ == "__main__":
    if "ansible_collections" not in sys.modules and not importlib.util.find_spec("ansible_collections"):
        sys.exit("Set PYTHONPATH to the folder with ansible_collections (make sets it), then run again.")
    PAGE.write_text(render(), encoding="utf-8")
