# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""What a unit's command line really runs: behind wrappers, shells and launchers, read and never executed."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Callable

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.files import read_file

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"  # systemd's own default
SERVER_PROGRAMS = ("fractalctl", "gunicorn", "uvicorn")
WEB_PROGRAMS = ("node", "nodejs")

_PYTHON = re.compile(r"python[\d.]*$")
_MODULES = {"gunicorn": "gunicorn", "uvicorn": "uvicorn", "fractal_server": "fractalctl"}
_SHELLS = ("sh", "bash", "dash", "zsh", "ksh")
# Launchers that bring the environment in line with a lock file, or make it, before they run anything; and what keeps
# them from it (documentation of uv 0.9, pixi 0.59, Poetry 2, PDM 2, Hatch 1).
_SYNCHRONISERS = {"uv": ("--no-sync",), "pixi": ("--no-install", "--as-is"), "poetry": (), "pdm": (), "hatch": ()}
_ACCOUNT_OPTIONS = ("-u", "-g", "--user", "--group")  # of sudo, runuser, setpriv: an account may be named "gunicorn"
_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)
_PIECE = re.compile(  # of a shell script
    r"(?P<comment>(?:^|(?<=[\s;]))#[^\n]*)|(?P<between>[;&|\n()]+)|\\.|'[^']*'|\"(?:\\.|[^\"\\])*\"|.",
    re.DOTALL,
)
_KEYWORDS = ("if", "then", "else", "elif", "do", "while", "until", "!", "{")
_DEEPEST = 8  # wrappers around wrappers


def read_text(path: str) -> str | None:
    """Return the text of a small file, or None; what another account owns is read with its rights."""
    try:
        found = read_file(path, 1 << 20)
    except (FractalError, ValueError):
        return None
    return found.content.decode("utf-8", "replace") if found else None


@dataclass(frozen=True)
class Surroundings:
    """What a command line is started in: variables, working directory, files, and sockets that systemd hands over.

    ``sockets`` are addresses as ``ListenStream=`` has them.
    """

    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    directory: str = "/"
    read: Callable[[str], str | None] = read_text
    sockets: Sequence[str] = ()


@dataclass(frozen=True)
class CommandLine:
    """The program that a command line comes to.

    Attributes:
        program: Its common name: ``gunicorn`` also for ``python -m gunicorn``; any other program's base name.
        path: As the command line names it; for ``python -m`` the interpreter.
        arguments: What follows it.
        interpreter: The Python that the command line itself names, or empty.
        environment: Variables that the program starts with.
        directory: Where it starts.
        synchroniser: The launcher that changes the environment before each start (``uv run``), or empty.
    """

    program: str
    path: str
    arguments: list[str]
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    directory: str = "/"
    interpreter: str = ""
    synchroniser: str = ""

    @property
    def serves(self) -> bool:
        """Whether it is a known program that serves: ``fractalctl`` does other things, too."""
        known = self.program in (*SERVER_PROGRAMS, *WEB_PROGRAMS)
        return known and (self.program != "fractalctl" or "start" in self.arguments)

    def locate(self, program: str, exists: Callable[[str], bool] = lambda path: os.access(path, os.X_OK)) -> str:
        """Return the path of a program as this command's process would find it; empty if it would not."""
        if "/" in program:
            return os.path.join(self.directory, program)
        folders = self.environment.get("PATH", PATH).split(os.pathsep)
        return next((path for folder in folders if exists(path := os.path.join(folder, program))), "")


def read_command(words: Sequence[str], around: Surroundings) -> CommandLine:
    """Return what the words of an ``ExecStart=``, as systemd shows them, come to."""
    scripted = any(os.path.basename(word) in _SHELLS for word in words[:-1])
    return _unwrap(expand(words, around.environment, keep_unknown=scripted), around, 0)


def expand(words: Sequence[str], environment: Mapping[str, str], keep_unknown: bool = False) -> list[str]:
    """Return the words with variables put in as systemd does (systemd.service(5), command lines).

    With ``keep_unknown``, a word that is an unknown variable stays: it may be one of a shell's script, whose words
    systemd shows like those of the command line.
    """
    result: list[str] = []
    for word in words:
        whole = re.fullmatch(r"\$([A-Za-z_]\w*)", word)
        if whole and keep_unknown and whole[1] not in environment:
            result.append(word)
        elif whole:
            result += _split(environment.get(whole[1], ""))
        else:
            put_in = re.sub(r"\$\$|\$\{([A-Za-z_]\w*)\}", lambda m: environment.get(m[1], "") if m[1] else "$", word)
            result.append(put_in)
    return result


def _unwrap(words: Sequence[str], around: Surroundings, depth: int) -> CommandLine:
    if not words:
        return CommandLine("", "", [])
    name = _name(words[0])
    plain = CommandLine(name, words[0], list(words[1:]), around.environment, around.directory)
    if depth > _DEEPEST or name in (*SERVER_PROGRAMS, *WEB_PROGRAMS):
        return plain
    if _PYTHON.match(name):
        return _python(plain)
    return _behind(name, words, around, depth) or plain


def _behind(name: str, words: Sequence[str], around: Surroundings, depth: int) -> CommandLine | None:
    """Return what a program that only starts others comes to, or None if that is not to be seen."""
    if name == "env":
        return _unwrap(*_env(words[1:], around), depth + 1)
    if name in _SHELLS:
        return _shell(words[1:], around, depth)
    if name in _SYNCHRONISERS and "run" in words:
        return _synchroniser(name, words, around, depth)
    text = around.read(os.path.join(around.directory, words[0])) if "/" in words[0] else None
    if text and re.match(r"#!\s*\S*/(?:env\s+)?(?:sh|bash|dash|zsh|ksh)\b", text):
        return _script(text, around, depth)
    start = _wrapped(words)
    return _unwrap(words[start:], around, depth + 1) if start else None


def _name(word: str) -> str:
    """Return a program's common name; distributions have gunicorn3 or gunicorn-3.11."""
    name = os.path.basename(word)
    return "gunicorn" if re.fullmatch(r"gunicorn-?[\d.]+", name) else name


def _wrapped(words: Sequence[str]) -> int:
    """Return where the command begins that another program (sudo, nice, taskset, numactl, timeout …) runs, or 0."""
    for index in range(1, len(words)):
        name = _name(words[index])
        known = name in (*SERVER_PROGRAMS, *WEB_PROGRAMS, *_SHELLS, *_SYNCHRONISERS, "env") or _PYTHON.match(name)
        if known and words[index - 1] not in _ACCOUNT_OPTIONS:
            return index
    return 0


def _python(command: CommandLine) -> CommandLine:
    """Return the module or script that an interpreter runs."""
    rest = command.arguments
    while rest and rest[0].startswith("-") and rest[0] != "-":
        option, rest = rest[0], rest[1:]
        module = re.fullmatch(r"-[bBdEiIOPqsSuvx]*m(.*)", option)
        if module:
            name, rest = (module[1], rest) if module[1] else (rest[0] if rest else "", rest[1:])
            program = _MODULES.get(name.split(".")[0], "python")
            return replace(command, program=program, arguments=rest, interpreter=command.path)
        if option.startswith("-c"):
            return replace(command, interpreter=command.path)
        if option in ("-X", "-W"):
            rest = rest[1:]
    if rest and _name(rest[0]) in SERVER_PROGRAMS:
        return replace(command, program=_name(rest[0]), path=rest[0], arguments=rest[1:], interpreter=command.path)
    return replace(command, interpreter=command.path)


def _env(words: Sequence[str], around: Surroundings) -> tuple[list[str], Surroundings]:
    """Return the command that env(1) runs, and its surroundings."""
    rest, variables, directory = list(words), dict(around.environment), around.directory
    while rest:
        word = rest.pop(0)
        assignment = _ASSIGNMENT.fullmatch(word)
        if word in ("-i", "-", "--ignore-environment"):
            variables.clear()
        elif word in ("-u", "--unset") and rest:
            variables.pop(rest.pop(0), None)
        elif word.startswith("--unset="):
            variables.pop(word.partition("=")[2], None)
        elif word in ("-C", "--chdir") and rest:
            directory = os.path.join(directory, rest.pop(0))
        elif word.startswith("--chdir="):
            directory = os.path.join(directory, word.partition("=")[2])
        elif word in ("-S", "--split-string") and rest:
            rest = [*_split(rest.pop(0)), *rest]
        elif assignment:
            variables[assignment[1]] = assignment[2]
        elif not word.startswith("-"):
            return [word, *rest], replace(around, environment=variables, directory=directory)
    return [], around


def _synchroniser(name: str, words: Sequence[str], around: Surroundings, depth: int) -> CommandLine:
    """Return what ``uv run`` and its kind run, found in the project's environment first."""
    start = _wrapped(words)
    options = words[: start or len(words)]
    folder = ".pixi/envs/default" if name == "pixi" else around.environment.get("UV_PROJECT_ENVIRONMENT", ".venv")
    own = os.path.join(around.directory, folder, "bin")
    path = os.pathsep.join([own, around.environment.get("PATH", PATH)])
    within = replace(around, environment={**around.environment, "PATH": path})
    kept = any(option in options for option in _SYNCHRONISERS[name]) or (
        name == "uv" and around.environment.get("UV_NO_SYNC", "").lower() in ("1", "true", "yes", "on")
    )
    inner = _unwrap(words[start:], within, depth + 1) if start else CommandLine(name, words[0], list(words[1:]))
    return inner if kept else replace(inner, synchroniser=f"{name} run")


def _shell(words: Sequence[str], around: Surroundings, depth: int) -> CommandLine | None:
    """Return what a shell's script comes to, given with ``-c`` or as a file."""
    rest = list(words)
    while rest and rest[0].startswith("-"):
        option = rest.pop(0)
        if not option.startswith("--") and "c" in option:
            text = " ".join(rest)
            whole = len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" and text.count(text[0]) == 2
            return _script(text[1:-1] if whole else text, around, depth)
        if option in ("-o", "--rcfile", "--init-file") and rest:
            rest.pop(0)
    script = around.read(os.path.join(around.directory, rest[0])) if rest else None
    return _script(script, around, depth) if script else None


def _script(text: str, around: Surroundings, depth: int) -> CommandLine | None:
    """Return the serving program that a simple shell script starts last, or None if none is seen in it."""
    found = None
    for command_words in _commands(text):
        keywords = next((n for n, word in enumerate(command_words) if word not in _KEYWORDS), len(command_words))
        around, words = _assign(command_words[keywords:], around)
        if words and words[0] in ("source", ".") and len(words) > 1:
            around = _source(words[1], around)
        elif words and words[0] == "cd" and len(words) > 1:
            around = replace(around, directory=os.path.join(around.directory, words[-1]))
        elif words and depth <= _DEEPEST:
            command = _unwrap(words, around, depth + 1)
            if command.serves or (command.synchroniser and not found):
                found = command
    return found


def _commands(text: str) -> list[list[str]]:
    """Return the commands of a script as words, quotes and comments removed; none if it cannot be read."""
    pieces = [""]
    for match in _PIECE.finditer(text.replace("\\\n", " ")):
        if match["between"]:
            pieces.append("")
        elif not match["comment"]:
            pieces[-1] += match[0]
    try:
        commands = [shlex.split(piece) for piece in pieces]
    except ValueError:
        return []
    return [words for words in commands if words]


def _assign(words: Sequence[str], around: Surroundings) -> tuple[Surroundings, list[str]]:
    """Take the assignments in front of a command, or of ``export``, and put variables into its words."""
    variables = dict(around.environment)
    rest = [_in_shell(word, variables) for word in words]
    if rest and rest[0] in ("export", "declare", "readonly"):
        rest = [word for word in rest[1:] if not word.startswith("-") and "=" in word]
    taken = 0
    for word in rest:
        assignment = _ASSIGNMENT.fullmatch(word)
        if not assignment:
            break
        variables[assignment[1]] = assignment[2]
        taken += 1
    left: list[str] = []
    for word, raw in zip(rest[taken:], list(words)[len(words) - len(rest) + taken :]):
        left += word.split() if re.fullmatch(r"\$\{?\w+\}?", raw) else [word]
    return replace(around, environment=variables), left


def _in_shell(word: str, variables: Mapping[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        name = match[1] or match[3]
        return variables.get(name, "") or (match[2] or "")

    return re.sub(r"\$(?:\{(\w+)(?::?-([^}]*))?\}|([A-Za-z_]\w*))", value, word)


def _source(file: str, around: Surroundings) -> Surroundings:
    """Return the surroundings after a shell has read ``file``: an ``activate`` script, or one of assignments."""
    path = os.path.join(around.directory, file)
    if path.endswith("/bin/activate"):
        before = around.environment.get("PATH", PATH)
        changed = {"PATH": os.path.dirname(path) + os.pathsep + before, "VIRTUAL_ENV": path[: -len("/bin/activate")]}
        return replace(around, environment={**around.environment, **changed})
    for words in _commands(around.read(path) or ""):
        around, _left = _assign(words, around)
    return around


def _split(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()
