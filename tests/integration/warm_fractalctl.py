"""The real ``fractalctl`` of a release, with its imports done once: each command runs in a fork of a warm process.

Importing fractal-server takes seconds, running a migration a fraction of one. A process imports everything in a working
folder (the settings are read on import, so folder, backend and database name are fixed) and forks for each command; the
database under that name may be another one each time.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from types import TracebackType

from postgres_cluster import Cluster, Database
from releases_environments import YES, FractalFolder, environment

_WORKER = """
import importlib, json, os, pkgutil, sys, tempfile, traceback
import alembic.config
from importlib.metadata import entry_points
[command] = entry_points(group="console_scripts", name="fractalctl")
fractalctl = command.load()
import fractal_server.app.db
import fractal_server.data_migrations as scripts
for script in pkgutil.iter_modules(scripts.__path__):
    if script.name.startswith("2_"):
        importlib.import_module(scripts.__name__ + "." + script.name)
for line in sys.stdin:
    request = json.loads(line)
    with tempfile.TemporaryFile("w+") as answers, tempfile.TemporaryFile("w+") as said:
        answers.write(request["answers"])
        answers.seek(0)
        child = os.fork()
        if child == 0:
            for file, number in ((answers, 0), (said, 1), (said, 2)):
                os.dup2(file.fileno(), number)
            sys.stdin = open(0, closefd=False)
            sys.argv = ["fractalctl", *request["arguments"]]
            code = 0
            try:
                fractalctl()
            except SystemExit as end:
                if isinstance(end.code, str):
                    print(end.code, file=sys.stderr)
                code = end.code if isinstance(end.code, int) else int(end.code is not None)
            except BaseException:
                traceback.print_exc()
                code = 1
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        said.seek(0)
        print(json.dumps({"returncode": status, "output": said.read()}), flush=True)
"""


@dataclass(frozen=True)
class Outcome:
    """What a command did."""

    returncode: int
    output: str


class WarmMigration:
    """set-db and update-db-data of a real release, 2.17.0, on copies of older databases (use in ``with``)."""

    def __init__(self, cluster: Cluster, folder: FractalFolder, backend: str, release: str = "2.17.0") -> None:
        """``folder`` is one of its own; its database (any name) is made anew for each migration."""
        self._cluster = cluster
        self.database = folder.database
        self._old_env_file = folder.old_env_file
        folder.write_new_generation(backend)
        self._process = subprocess.Popen(
            [str(environment(release) / "bin/python"), "-c", _WORKER],
            cwd=folder.path,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> WarmMigration:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()

    def migrate(self, database: Database, old_env: str | None = None) -> Outcome:
        """Migrate a copy of ``database``: the schema, which must work, then the data.

        ``old_env`` is the text of ``.fractal_server.env.old`` (default: what the folder has).
        """
        if old_env is not None:
            self._old_env_file.write_text(old_env, encoding="utf-8")
        self.copy(database)
        schema = self.migrate_schema()
        assert schema.returncode == 0, schema.output
        return self.migrate_data()

    def copy(self, database: Database) -> None:
        """Make the folder's database a copy of another one."""
        self._cluster.drop(self.database.dbname)
        self._cluster.create(template=database.dbname, dbname=self.database.dbname)

    def migrate_schema(self) -> Outcome:
        """Migrate the schema of the database as it is."""
        return self._run("set-db")

    def migrate_data(self) -> Outcome:
        """Migrate the data of the database as it is."""
        return self._run("update-db-data", answers=YES)

    def _run(self, *arguments: str, answers: str = "") -> Outcome:
        assert self._process.stdin and self._process.stdout
        print(json.dumps({"arguments": arguments, "answers": answers}), file=self._process.stdin, flush=True)
        return Outcome(**json.loads(self._process.stdout.readline()))

    @staticmethod
    def passed(outcome: Outcome) -> bool:
        """Whether the data migration succeeded."""
        return outcome.returncode == 0 and "END - all ok." in outcome.output
