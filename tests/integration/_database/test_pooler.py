"""A real pgbouncer between Fractal and its database, which knows this one database only, as poolers in the field do."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Callable

import pytest
from _backup.furniture import Instance, change, dump_of
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from conftest import wait_until
from postgres_cluster import Cluster, Database
from postgres_seed import seed
from releases_environments import FractalFolder

CONFIGURATION = """
[databases]
{name} = host={host} port={port} dbname={name}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {own_port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {users}
pool_mode = {mode}
"""


@pytest.fixture
def pooler(cluster: Cluster, tmp_path: Path) -> Iterator[Callable[[Database, str], Database]]:
    """Start pgbouncer before a database, and return the way through it."""
    started: list[subprocess.Popen[bytes]] = []

    def start(database: Database, mode: str) -> Database:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            own_port = probe.getsockname()[1]
        folder = cluster.folder / f"pooler-{own_port}"
        folder.mkdir()
        users, configuration = folder / "users.txt", folder / "pgbouncer.ini"
        users.write_text(f'"{database.user}" "{database.password}"\n')
        configuration.write_text(
            CONFIGURATION.format(
                name=database.dbname,
                host=database.host,
                port=database.port,
                own_port=own_port,
                users=users,
                mode=mode,
            )
        )
        folder.chmod(0o755)
        command = ["/usr/sbin/pgbouncer", "--quiet", "--user=postgres", str(configuration)]
        started.append(subprocess.Popen(command))
        through = replace(database, port=own_port)
        wait_until(lambda: _answers(through))
        return through

    yield start
    for process in started:
        process.terminate()
        process.wait()


def _answers(database: Database) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((database.host, database.port)) == 0


def test_the_one_database_of_a_pooler_is_saved_and_brought_back_within(
    new_database: Callable[..., Database],
    fractal_folder: Callable[..., FractalFolder],
    pooler: Callable[[Database, str], Database],
    tmp_path: Path,
    cluster: Cluster,
) -> None:
    """No other database can be reached through it, and it takes no options: that is known, and there is a way."""
    database = new_database()
    seed(database)
    before, names = dump_of(database), cluster.names()
    instance = Instance(fractal_folder(pooler(database, "session")), tmp_path / "backups")
    told = instance.checked()
    assert "no such database" in told.pop("database.scratch_unreachable") and told == {}
    with pytest.raises(FractalError, match=r"no such database"):
        instance.back_up()
    assert instance.checked("list") == {}
    backup = instance.back_up("list")
    change(database)
    assert instance.restore(backup)["method"] == "in_place"
    assert dump_of(database) == before and cluster.names() == names


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
def test_what_is_lent_by_transaction_is_refused_before_anything_is_set_in_it(
    busy: bool,
    seeded_database: Database,
    fractal_folder: Callable[..., FractalFolder],
    pooler: Callable[[Database, str], Database],
    tmp_path: Path,
) -> None:
    """A dump would leave its empty search path to fractal-server."""
    through = pooler(seeded_database, "transaction")
    instance = Instance(fractal_folder(through), tmp_path / "backups")
    settings = (  # the name of the application is given anew to each client by pgbouncer itself
        "SELECT string_agg(name || setting, ',' ORDER BY name) FROM pg_settings "
        "WHERE source = 'session' AND name <> 'application_name'"
    )
    with through.connect() as server:
        server.prepare_threshold = None
        before = server.execute(settings.encode()).fetchone()
        if busy:
            server.execute("BEGIN")
        told = instance.checked()
        assert told and all("pool_mode = session" in message for message in told.values())
        with pytest.raises(FractalError, match=r"pool_mode = session"):
            instance.back_up("list")
        assert server.execute(settings.encode()).fetchone() == before
        assert server.execute("SELECT count(*) FROM user_oauth").fetchone() == (7,)
