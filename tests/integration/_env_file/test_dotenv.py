"""The document model before the python-dotenv releases that 2.16 and 2.17 really have."""

from __future__ import annotations

import json
import random
import subprocess
from typing import Any, Callable

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.dotenv import (
    BOM,
    Reader,
    interpolate,
    parse,
    plain,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._env_file.draft import Context
from ansible_collections.fractal_ops.platform.plugins.module_utils._env_file.migration import migrate_server
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.env_steps import ENV_STEPS

# reads [text, override] pairs, writes what python-dotenv makes of each
_READ = """
import io, json, logging, sys
import dotenv.main, importlib.metadata
logging.disable()
found = [dotenv.main.DotEnv(None, stream=io.StringIO(text, newline=None), override=override).dict()
         for text, override in json.load(sys.stdin)]
print(json.dumps([importlib.metadata.version("python-dotenv"), found]))
"""
FRAGMENTS = [
    *("A", "B", "C", "=", " = ", "export ", "'", '"', "\\", "\\'", '\\"', "\\\\", "\n", "\r\n", " ", "#", " # note"),
    *("A='x\\\\'", 'B="\\\\"', "C= # none", "${A}", "${B:-x}", "A=1\n", "B='b'\n", 'C="c"\n', "é", "\t", "'K'", BOM),
]
BASE = """\
JWT_SECRET_KEY=jwt
POSTGRES_DB=fractal
FRACTAL_RUNNER_BACKEND=slurm
FRACTAL_TASKS_DIR=/t
FRACTAL_RUNNER_WORKING_BASE_DIR=/j
FRACTAL_SLURM_CONFIG_FILE=s.json
FRACTAL_SLURM_WORKER_PYTHON=/p
FRACTAL_TASKS_PYTHON_DEFAULT_VERSION=3.11
FRACTAL_TASKS_PYTHON_3_11=/p
"""


def texts(seed: int, number: int) -> list[str]:
    dice = random.Random(seed)
    return ["".join(dice.choices(FRAGMENTS, k=dice.randint(1, 15))) for _unused in range(number)]


def read(python: str, given: list[tuple[str, bool]]) -> tuple[str, list[dict[str, Any]]]:
    done = subprocess.run(
        [python, "-c", _READ], input=json.dumps(given), capture_output=True, text=True, check=True, env={}
    )
    version, found = json.loads(done.stdout)
    return version, found


@pytest.mark.parametrize(
    ("release", "line", "reader"), [("2.16.6", "1.1.", Reader.DOTENV_1_1), ("2.17.2", "1.2.", Reader.DOTENV_1_2)]
)
def test_each_release_of_python_dotenv_reads_as_the_model_says(
    release: str, line: str, reader: Reader, release_python: Callable[[str], str]
) -> None:
    given = texts(4711, 5000)
    version, found = read(release_python(release), [(text, True) for text in given])
    assert version.startswith(line)
    for text, values in zip(given, found):
        ours = interpolate(parse(text, reader), {}, file_wins=True)
        closed = {
            n: None if v is None else "".join(p if isinstance(p, str) else p.default or "" for p in v)
            for n, v in ours.items()
        }
        assert closed == values, text


def test_both_read_from_the_new_file_what_2_16_read_from_the_old(release_python: Callable[[str], str]) -> None:
    given = [text + "\n" + BASE for text in texts(4712, 1500)] + [BASE + text for text in texts(4713, 1500)]
    migrations = [migrate_server(text, Context("/srv"), ENV_STEPS) for text in given]
    pairs = [(text, migration) for text, migration in zip(given, migrations) if not migration.blockers]
    assert len(pairs) > 500
    _unused, old = read(release_python("2.16.6"), [(text, False) for text, _unused in pairs])
    for release in ("2.16.6", "2.17.2"):
        _unused, new = read(release_python(release), [(migration.text, True) for _unused, migration in pairs])
        _unused, dot_old = read(
            release_python(release), [(migration.old_text or "", False) for _unused, migration in pairs]
        )
        for (text, _unused), before, after, for_script in zip(pairs, old, new, dot_old):
            names = {name for name in before if not name.startswith(("FRACTAL_", BOM))}
            assert {name: before[name] for name in names} == {name: after.get(name) for name in names}, text
            assert set(after) - names == {
                *("FRACTAL_RUNNER_BACKEND", "FRACTAL_API_MAX_JOB_LIST_LENGTH", "FRACTAL_DEFAULT_GROUP_NAME")
            }, text
            assert for_script["FRACTAL_TASKS_DIR"] == "/t" and for_script["FRACTAL_SLURM_POLL_INTERVAL"] == "5", text


def test_an_open_quote_cannot_swallow_what_is_added() -> None:
    text = BASE + "A='x\\\\'\n"
    migration = migrate_server(text, Context("/srv"), ENV_STEPS)
    for reader in (Reader.DOTENV_1_1, Reader.DOTENV_1_2):
        values = interpolate(parse(migration.text + "\nZ='z'\n", reader), {}, file_wins=True)
        assert (plain(values["A"]), plain(values["Z"])) == ("x\\", "z")
