"""Real parts for the integration tests: PostgreSQL, and the releases of fractal-server.

``cluster``            a private PostgreSQL cluster for the whole session (``postgres_cluster.Cluster``)
``new_database``       factory: an empty database with the schema of 2.16.6, made by its own ``fractalctl set-db``
``seeded_database``    the same, with the rows of ``postgres_seed.seed``
``fractal_folder``     factory: a working directory (``releases_environments.FractalFolder``) on a database
``release_python``     function: the interpreter of a release (cached virtual environment)
``slurm_programs``     PATH with the programs that 2.16 looks for
``migrations``         function: the real migration of 2.17.0 for a backend of 2.16, warm (``warm_fractalctl``)
``read_database``      reads the state of a database, under a release's Python
``run_module``         runs one of the collection's modules as a process under a release's Python

Example::

    def test_it(new_database, fractal_folder, read_database):
        database = new_database()                     # or new_database(owner="fractal_plain")
        add_user(database, "ann@example.org")         # from postgres_seed
        folder = fractal_folder(database)             # .fractal_server.env, config_slurm.json
        folder.upgrade("2.17.0")                      # Fractal's own tools; folder.set_db("2.17.0") is one step of it
        assert read_database(env_file=str(folder.env_file))["data_migration"] == "done"

The first session makes the environments (some minutes, kept in ~/.cache/fractal_ops or $FRACTAL_OPS_CACHE).
"""

from __future__ import annotations

import atexit
import importlib.util
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Callable

import ansible
import pytest
import warm_python

COLLECTION = Path(__file__).resolve().parents[2]


def _collections_root() -> str:
    """Return a folder for PYTHONPATH in which this working tree is ``ansible_collections.fractal_ops.platform``."""
    root = Path(tempfile.mkdtemp(prefix="fo-collections-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    namespace = root / "ansible_collections" / "fractal_ops"
    namespace.mkdir(parents=True)
    (namespace / "platform").symlink_to(COLLECTION)
    return str(root)


COLLECTIONS_ROOT = _collections_root()
if importlib.util.find_spec("ansible_collections") is None:
    sys.path.insert(0, COLLECTIONS_ROOT)

from ansible_collections.fractal_ops.platform.plugins.module_utils._core import child, door
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import find_installation
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.service_side import service_side
from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.backends import backend_of
from ansible_collections.fractal_ops.platform.plugins.module_utils._upgrade.state import read_state
from postgres_cluster import OWNER, Cluster, Database, running_cluster
from postgres_seed import seed
from releases_environments import FractalFolder, python_of
from warm_fractalctl import WarmMigration
from warm_python import WarmPythons, warm_the_door

# as on a host: without the libraries of fractal-server and of this test
_HOSTS_PYTHON = f"{sys.base_prefix}/bin/python{sys.version_info.major}.{sys.version_info.minor}"
_PLUGINS = "ansible_collections.fractal_ops.platform.plugins"
_RUNNER = f"""
import json, runpy, sys
from ansible.module_utils.testing import patch_module_args
with patch_module_args(json.load(sys.stdin)):
    runpy.run_module("{_PLUGINS}.modules." + sys.argv[1], run_name="__main__")
"""
_WARM_RUNNER = "from warm_python import warm_the_door; warm_the_door()" + _RUNNER


@pytest.fixture(scope="session")
def warm_pythons(module_path: str) -> Iterator[WarmPythons]:
    """The Pythons in which `run_module` runs modules, and these what is behind the door."""
    plugins = COLLECTION / "plugins"
    rooms = [path.relative_to(plugins).with_suffix("") for path in plugins.glob("module_utils/_*/**/*.py")]
    utils = [".".join([_PLUGINS, *path.parts]) for path in rooms]
    modules = [f"{_PLUGINS}.modules.{path.stem}" for path in plugins.glob("modules/*.py")]
    with WarmPythons() as pythons:
        pythons.warm(_HOSTS_PYTHON, [], module_path, ["ansible.module_utils.testing", "warm_python", *modules])
        for release in ("2.16.6", "2.17.0"):
            libraries = ["sqlalchemy.dialects.postgresql.psycopg", "pydantic"]
            pythons.warm(python_of(release), ["-I", "-B"], COLLECTIONS_ROOT, [*libraries, *utils])
        warm_the_door()
        yield pythons


@pytest.fixture(scope="session")
def cluster(warm_pythons: WarmPythons) -> Iterator[Cluster]:
    """A private PostgreSQL cluster."""
    yield from running_cluster()


@pytest.fixture(scope="session")
def template(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Name of a database with the schema of 2.16.6, as its own ``fractalctl set-db`` makes it."""
    database = cluster.create(dbname="template_2_16_6")
    folder = FractalFolder(tmp_path_factory.mktemp("template"), database)
    done = folder.fractalctl("2.16.6", "set-db", "--skip-init-data")
    assert done.returncode == 0, done.stdout + done.stderr
    return database.dbname


@pytest.fixture
def new_database(cluster: Cluster, template: str) -> Iterator[Callable[..., Database]]:
    """Factory of databases with the schema of 2.16.6 and no rows; dropped after the test. ``owner``: a role."""
    made: list[Database] = []

    def make(owner: str = OWNER) -> Database:
        made.append(cluster.create(template, owner=owner))
        return made[-1]

    yield make
    for database in made:
        cluster.drop(database.dbname)


@pytest.fixture
def seeded_database(new_database: Callable[..., Database]) -> Database:
    """A 2.16.6 database with the rows of ``postgres_seed.seed``."""
    database = new_database()
    seed(database)
    return database


@pytest.fixture
def fractal_folder(tmp_path: Path) -> Callable[..., FractalFolder]:
    """Factory of working directories: ``fractal_folder(database, **variables_of_the_environment_file)``."""
    number = 0

    def make(database: Database, **values: str) -> FractalFolder:
        nonlocal number
        number += 1
        path = tmp_path / f"fractal{number}"
        path.mkdir()
        return FractalFolder(path, database, dict(values))

    return make


@pytest.fixture
def slurm_programs(tmp_path: Path) -> str:
    """PATH with the programs whose mere presence 2.16 checks."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sbatch", "squeue", "ssh"):
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o755)
    return f"{folder}:{os.defpath}"


@pytest.fixture(scope="module")
def migrations(
    cluster: Cluster, template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], WarmMigration]]:
    """Function that gives the real migration for a backend of 2.16."""
    with ExitStack() as stack:

        @cache
        def migration(backend: str) -> WarmMigration:
            database = cluster.create(template)
            stack.callback(cluster.drop, database.dbname)
            folder = FractalFolder(tmp_path_factory.mktemp(backend), database)
            return stack.enter_context(WarmMigration(cluster, folder, backend_of(backend)))

        yield migration


@pytest.fixture(scope="session")
def release_python() -> Callable[[str], str]:
    """Function that returns the interpreter of a release."""
    return python_of


@pytest.fixture(scope="session")
def module_path(tmp_path_factory: pytest.TempPathFactory) -> str:
    """PYTHONPATH that adds Ansible and the collection, and nothing else, to a release's environment."""
    folder = tmp_path_factory.mktemp("ansible")
    (folder / "ansible").symlink_to(Path(ansible.__file__).parent)
    (folder / "warm_python.py").symlink_to(Path(warm_python.__file__))
    return f"{folder}:{COLLECTIONS_ROOT}"


@pytest.fixture(scope="session")
def everybodys_python() -> Iterator[str]:
    """An interpreter with what a release's has, as far as the database goes, that accounts other than root can run."""
    (source,) = Path(python_of("2.16.6")).parents[1].glob("lib/python*/site-packages")
    with tempfile.TemporaryDirectory(prefix="fo-python-") as folder:
        Path(folder).chmod(0o755)
        subprocess.run(["/usr/bin/python3", "-m", "venv", "--without-pip", folder], check=True)
        (target,) = Path(folder).glob("lib/python*/site-packages")
        for name in "sqlalchemy psycopg* pydantic* annotated_types typing_* greenlet* fractal_server-*".split():
            for path in source.glob(name):
                if path.is_dir():
                    shutil.copytree(path, target / path.name)
                else:
                    shutil.copy(path, target)
        yield f"{folder}/bin/python3"


@dataclass
class RunningModule:
    """A module at work; ``process`` may be killed, ``result()`` waits for its end."""

    process: subprocess.Popen[str]

    def child(self, program: str = "") -> int:
        """Return the last of its children, and theirs, that runs a program of this name (any without), or 0."""
        return next((pid for pid in reversed([*descendants(self.process.pid)]) if program in _program(pid)), 0)

    def result(self) -> dict[str, Any]:
        """Return what the module returned."""
        output, errors = self.process.communicate()
        assert output and not errors, output + errors
        answer: dict[str, Any] = json.loads(output)
        return answer


def descendants(pid: int) -> Iterator[int]:
    """Give the processes that a process has started, and those that they have, as long as they are there."""
    with suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield int(child)
                yield from descendants(int(child))


def _program(pid: int) -> str:
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")[0]
    return ""


def launch(
    name: str,
    module_path: str,
    _warm: bool = False,
    _release: str = "2.16.6",
    _check: bool = False,
    _env: dict[str, str] | None = None,
    **options: Any,
) -> RunningModule:
    """Start a module as Ansible would, or a stage of ``stages.py``, as a process of its own.

    Its Python has nothing of Fractal's.
    """
    command = [_HOSTS_PYTHON, "-c", _WARM_RUNNER if _warm else _RUNNER, name]
    path = COLLECTION / "plugins" / "modules" / f"{name}.py"
    if not path.exists():
        path = Path(__file__).with_name("stages.py")
        command = [_HOSTS_PYTHON, str(path), name]
    source = path.read_text(encoding="utf-8")
    if any(word in source for word in ("INSTALLATION_ARGUMENTS", "DATABASE_ARGUMENTS", "find_installation")):
        options.setdefault("python", python_of(_release))
    process = (warm_python.popen if _warm else subprocess.Popen)(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": module_path, **(_env or {})},
    )
    assert process.stdin
    process.stdin.write(json.dumps({**options, "_ansible_check_mode": _check}))
    process.stdin.close()
    process.stdin = None
    return RunningModule(process)


@pytest.fixture
def start_module(module_path: str) -> Iterator[Callable[..., RunningModule]]:
    """Start a module; options as for ``run_module``. What still runs after the test is killed."""
    started: list[RunningModule] = []

    def start(name: str, **options: Any) -> RunningModule:
        started.append(launch(name, module_path, **options))
        return started[-1]

    yield start
    for running in started:
        running.process.kill()
        running.process.communicate()


@pytest.fixture
def run_module(module_path: str, warm_pythons: WarmPythons) -> Callable[..., dict[str, Any]]:
    """Run a module as Ansible would, in a fork of a warm Python: ``run_module("fractal_backup", run="x", ...)``.

    ``_release`` chooses the environment (default 2.16.6), ``_check`` check mode, ``_env`` adds environment variables.
    Returns the result; a failed module's has ``failed`` and ``msg``. Its standard error must stay empty.
    """
    return lambda name, **options: launch(name, module_path, _warm=True, **options).result()


@pytest.fixture
def in_the_child(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str, str], None]:
    """Change a line of the code that runs behind the door, for calls of this process.

    What a test replaces in this process does not reach the child: ``in_the_child("_database/exchange.py", old, new)``.
    """

    def change(file: str, old: str, new: str) -> None:
        changed = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(door.collection_code())) as source, zipfile.ZipFile(changed, "w") as target:
            for name in source.namelist():
                text = source.read(name).decode()
                if name.endswith(f"module_utils/{file}"):
                    assert text.count(old) == 1, f"{file} has not once: {old}"
                    text = text.replace(old, new)
                target.writestr(name, text)
        monkeypatch.setattr(door, "collection_code", changed.getvalue)
        monkeypatch.setattr(child, "subprocess", subprocess)  # what is warm has the code as it is

    return change


@pytest.fixture
def read_database() -> Callable[..., dict[str, Any]]:
    """Read the state of a database as a look at a host does: ``read_database(env_file=…)``.

    Options are those that lead a module to a database; ``_release`` chooses the environment (default 2.16.6).
    """

    def read(_release: str = "2.16.6", **options: Any) -> dict[str, Any]:
        installation = find_installation(options)
        return service_side(installation, python_of(_release)).call(read_state, installation)

    return read


def wait_for_lock(database: Database) -> int:
    """Wait until a session of the database waits for a lock; return its process id."""
    query = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    watcher = database.as_role("postgres")  # a restore ends the sessions of its own role
    return int(wait_until(lambda: watcher.rows(query))[0][0])


def wait_until(condition: Callable[[], Any]) -> Any:
    """Wait until something is true, and return it."""
    deadline = time.monotonic() + 180
    while not (answer := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
    return answer
