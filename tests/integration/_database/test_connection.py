"""Connecting as fractal-server does: all that libpq reads, under any settings of the role, and no wait without end."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._backup import dump as _dump
from ansible_collections.fractal_ops.platform.plugins.module_utils._backup.dump import see_that_it_can_be_dumped
from ansible_collections.fractal_ops.platform.plugins.module_utils._backup.make import make_backup
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._database import database as _database
from ansible_collections.fractal_ops.platform.plugins.module_utils._database import sessions as _sessions
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import (
    Installation,
    connect,
    guarded_options,
    installation_settings,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.programs import (
    PostgresProcess,
    find_programs,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.state import revision_of
from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.server_host import ServerHost
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.r2_17_0.prechecks import check_libpq_variables
from ansible_collections.fractal_ops.platform.plugins.module_utils._upgrade.schema import migrate_schema
from conftest import wait_until
from postgres_cluster import PASSWORD, Cluster, Database
from releases_environments import FractalFolder, environment, python_of

Folder = Callable[..., FractalFolder]


def connected(installation: Installation) -> bool:
    """Whether both our own sessions and PostgreSQL's programs get in, and find Fractal's tables."""
    settings = installation_settings(installation)
    guarded_options.cache_clear()
    with connect(settings, read_only=True) as connection:
        found = revision_of(connection) == "981d588fe248"
    arguments = ["--no-psqlrc", "--no-password", "--command=SELECT version_num FROM alembic_version"]
    with PostgresProcess(find_programs(150000), settings, "psql", arguments) as psql:
        psql.finish("look into the database")
    return found


def without(folder: FractalFolder, *names: str, **more: str) -> Installation:
    """Return the folder's installation with some lines of its environment file taken away, and others added."""
    lines = [line for line in folder.env_file.read_text().splitlines() if not line.startswith(names)]
    folder.env_file.write_text("\n".join([*lines, *(f"{name}='{value}'" for name, value in more.items()), ""]))
    return Installation(str(folder.env_file))


def test_password_by_each_way_of_libpq(seeded_database: Database, fractal_folder: Folder, tmp_path: Path) -> None:
    folder = fractal_folder(seeded_database)
    assert connected(without(folder, "POSTGRES_PASSWORD", PGPASSWORD=PASSWORD))
    services = tmp_path / "services"
    services.write_text(f"[fractal]\ndbname=elsewhere\npassword={PASSWORD}\n")
    assert connected(without(folder, "PGPASSWORD", PGSERVICE="fractal", PGSERVICEFILE=str(services)))
    passwords = tmp_path / "passwords"
    escaped = PASSWORD.replace("\\", "\\\\").replace(":", "\\:")
    passwords.write_text(f"*:*:*:*:{escaped}\n")
    passwords.chmod(0o600)
    assert connected(without(folder, "PGSERVICE", PGPASSFILE=str(passwords)))
    home = tmp_path / "home"
    home.mkdir()
    (home / ".pgpass").write_text(passwords.read_text())
    (home / ".pgpass").chmod(0o600)
    installation = without(folder, "PGPASSFILE")
    with pytest.raises(FractalError, match="no password supplied"):
        connected(installation)
    assert connected(Installation(installation.env_file, {"HOME": str(home)}))


def test_options_of_libpq(seeded_database: Database, fractal_folder: Folder, cluster: Cluster) -> None:
    administrator = cluster.superuser(seeded_database.dbname)
    administrator.rows("ALTER SCHEMA public RENAME TO app")
    folder = fractal_folder(seeded_database)
    assert connected(without(folder, PGOPTIONS="-c search_path=app"))


def test_a_variable_that_nobody_listed(
    seeded_database: Database, fractal_folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What libpq knows decides, and nothing of this process does."""
    folder = fractal_folder(seeded_database)
    monkeypatch.setenv("PGSSLMODE", "require")  # of whoever runs Ansible
    before = dict(os.environ)
    assert connected(Installation(str(folder.env_file)))
    with pytest.raises(FractalError, match="SSL"):
        connected(without(folder, PGSSLMODE="require"))
    with pytest.raises(FractalError, match=r"ssl_min_protocol_version|SSL"):
        connected(without(folder, "PGSSLMODE", PGSSLMINPROTOCOLVERSION="nonsense"))
    assert dict(os.environ) == before


@pytest.fixture
def certificate(cluster: Cluster) -> Iterator[str]:
    """Let the server speak TLS; the certificate, which is its own authority."""
    path, key = cluster.data / "server.crt", cluster.data / "server.key"
    subprocess.run(
        ["openssl", "req", "-new", "-x509", "-nodes", "-days", "2", "-subj", "/CN=test", "-out", str(path),
         "-keyout", str(key), "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True,
    )  # fmt: skip
    for file in (path, key):
        shutil.chown(file, cluster.data.owner(), cluster.data.group())
        file.chmod(0o600)
    cluster.superuser().rows("ALTER SYSTEM SET ssl = on")
    cluster.superuser().rows("SELECT pg_reload_conf()")
    wait_until(lambda: cluster.superuser().value("SHOW ssl") == "on")
    yield path.read_text()
    cluster.superuser().rows("ALTER SYSTEM RESET ssl")
    cluster.superuser().rows("SELECT pg_reload_conf()")


def test_certificates_are_looked_for_in_the_services_home(
    seeded_database: Database, fractal_folder: Folder, tmp_path: Path, certificate: str
) -> None:
    installation = without(fractal_folder(seeded_database), PGSSLMODE="verify-full")
    home = tmp_path / "the-home"
    with pytest.raises(FractalError, match=str(home)):
        connected(Installation(installation.env_file, {"HOME": str(home)}))
    (home / ".postgresql").mkdir(parents=True)
    (home / ".postgresql/root.crt").write_text(certificate)
    assert connected(Installation(installation.env_file, {"HOME": str(home)}))


def test_variables_that_only_2_16_hands_on(seeded_database: Database, fractal_folder: Folder) -> None:
    folder = fractal_folder(seeded_database)
    params = {"env_file": str(folder.env_file), "python": None}
    assert list(check_libpq_variables(ServerHost(params))) == []
    without(folder, "POSTGRES_PASSWORD", PGPASSWORD=PASSWORD)
    (finding,) = check_libpq_variables(ServerHost(params))
    assert finding.id == "database.variable_not_read" and "PGPASSWORD" in finding.message
    assert PASSWORD not in str(finding)
    done = folder.fractalctl("2.16.6", "set-db")
    assert done.returncode == 0, done.stdout + done.stderr
    folder.write_new_generation()
    without(folder, "POSTGRES_PASSWORD", PGPASSWORD=PASSWORD)
    done = folder.fractalctl("2.17.0", "set-db")  # why it is a blocker
    assert done.returncode != 0 and "no password supplied" in done.stdout + done.stderr


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch, in_the_child: Callable[[str, str, str], None]) -> Iterator[None]:
    """Wait half a second for locks, so that a test need not wait a minute."""
    in_the_child("_database/database.py", '"lock_timeout": "60s"', '"lock_timeout": "500ms"')
    monkeypatch.setitem(_database._OUR_SETTINGS, "lock_timeout", "500ms")
    guarded_options.cache_clear()
    yield
    guarded_options.cache_clear()


def test_who_is_in_the_way_of_the_backup(
    seeded_database: Database, fractal_folder: Folder, cluster: Cluster, tmp_path: Path, impatient: None
) -> None:
    installation = Installation(str(fractal_folder(seeded_database).env_file))
    with cluster.superuser(seeded_database.dbname).connect(autocommit=False) as other:
        other.execute("LOCK TABLE jobv2 IN ACCESS EXCLUSIVE MODE")
        pid = other.info.backend_pid
        with pytest.raises(FractalError, match=rf"pid {pid} \(role postgres, .*pg_terminate_backend"):
            make_backup(installation, python_of("2.16.6"), str(tmp_path / "backups"), "run-1")
    assert not os.listdir(tmp_path / "backups")


def test_who_is_in_the_way_of_the_schema_migration(
    seeded_database: Database, fractal_folder: Folder, cluster: Cluster, impatient: None
) -> None:
    """A nightly pg_dump of another role has read user_oauth, and sleeps in its transaction."""
    folder = fractal_folder(seeded_database)
    folder.write_new_generation()
    installation = Installation(str(folder.env_file))
    python = str(environment("2.17.0") / "bin/python")
    with cluster.superuser(seeded_database.dbname).connect(autocommit=False) as other:
        other.execute("SELECT count(*) FROM user_oauth")
        pid = other.info.backend_pid
        with pytest.raises(FractalError, match=rf"(?s)pid {pid} \(role postgres, .*lock timeout"):
            migrate_schema(installation, python, "2.17.0")
    assert migrate_schema(installation, python, "2.17.0")["changed"]


def test_locks_are_looked_for_before_anything_stops(
    seeded_database: Database, fractal_folder: Folder, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_dump, "_LOCK_PATIENCE", 0.5)
    installation = Installation(str(fractal_folder(seeded_database).env_file))
    with seeded_database.connect(autocommit=False) as own:
        own.execute("SELECT count(*) FROM user_oauth")
        see_that_it_can_be_dumped(installation)  # fractal-server itself, which will be stopped
    with cluster.superuser(seeded_database.dbname).connect(autocommit=False) as other:
        other.execute("SELECT count(*) FROM user_oauth")
        with pytest.raises(FractalError, match=rf"pid {other.info.backend_pid} "):
            see_that_it_can_be_dumped(installation)
    see_that_it_can_be_dumped(installation)


def test_a_way_that_takes_no_options(
    seeded_database: Database, fractal_folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some poolers refuse PGOPTIONS; then there are no deadlines for programs, but they get in."""
    installation = without(fractal_folder(seeded_database), PGOPTIONS="-c search_path=public")
    settings = installation_settings(installation)
    guarded_options.cache_clear()
    assert guarded_options(settings).startswith("-c search_path=public -c statement_timeout=0 ")
    assert "transaction_timeout" not in guarded_options(settings).replace("idle_in_transaction", "")
    monkeypatch.setitem(_database._OUR_SETTINGS, "lock_timeout", "nonsense")
    monkeypatch.setattr(_database, "_apply_our_settings", lambda *_anything: None)
    guarded_options.cache_clear()
    assert guarded_options(settings) == "-c search_path=public"
    guarded_options.cache_clear()


def test_sessions_are_told_so_that_a_person_finds_them() -> None:
    session = _sessions.Session(7, "bi", "psql", "10.0.0.1")
    assert _sessions.told([session]) == "pid 7 (role bi, application psql, client 10.0.0.1)"
    assert "IN (7)" in _sessions.how_to_end([session])
