"""An instance that was never at 2.16: installed as 2.17.2 by its own tools, it walks the rest of the road."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Callable

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import Installation
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.service_side import A_DAY, service_side
from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.path import hops
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.preconditions import refused_rows
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.r2_18_0.prechecks import viewer_findings
from ansible_collections.fractal_ops.platform.plugins.module_utils._upgrade.hop import migrate, migrate_environment
from ansible_collections.fractal_ops.platform.plugins.module_utils._verify.probe_package import SOURCES
from ansible_collections.fractal_ops.platform.plugins.module_utils._verify.server import all_checks
from postgres_cluster import Cluster, Database
from releases_environments import JWT_SECRET, FractalFolder, python_of
from verification_services import PASSWORD, serving

ADMIN = "admin@example.org"
PROBE = {
    name: Path(__file__).parents[3].joinpath("roles/verify/files/probe", name).read_text(encoding="utf-8")
    for name in SOURCES
}
TABLES = ("user_oauth", "usergroup", "linkusergroup", "projectv2", "linkuserprojectv2", "datasetv2", "workflowv2")


def installed(folder: FractalFolder) -> None:
    """Do what an administrator does who installs 2.17.2: file, schema, resource, profile and the first user."""
    (folder.path / "config_slurm.json").unlink()
    folder.env_file.write_text(
        f"JWT_SECRET_KEY={JWT_SECRET}\nFRACTAL_RUNNER_BACKEND=local\nFRACTAL_DATA_AUTH_SCHEME=users-folders\n"
        f"FRACTAL_DATA_BASE_FOLDER={folder.path}\n" + folder.database.env_lines()
    )
    python = shutil.which("python3.11")
    assert python, "python3.11 is needed"
    resource = {
        **{"name": "Here", "type": "local", "jobs_local_dir": f"{folder.path}/jobs"},
        **{"tasks_local_dir": f"{folder.path}/tasks", "jobs_poll_interval": 0, "jobs_runner_config": {}},
        **{"tasks_python_config": {"default_version": "3.11", "versions": {"3.11": python}}, "tasks_pixi_config": {}},
    }
    (folder.path / "resource.json").write_text(json.dumps(resource))
    (folder.path / "profile.json").write_text(json.dumps({"resource_type": "local", "name": "Here"}))
    folder.set_db("2.17.2")
    first = ["--admin-email", ADMIN, "--admin-pwd", PASSWORD, "--admin-project-dir", f"{folder.path}/project"]
    where = ["--resource", "resource.json", "--profile", "profile.json"]
    done = folder.fractalctl("2.17.2", "init-db-data", *where, *first)
    assert done.returncode == 0, done.stdout + done.stderr


def used(folder: FractalFolder) -> None:
    """Work with it for a day, through its API: a second user, a project, a dataset, a workflow."""
    with serving(folder, "2.17.2") as server:
        api = server.session(ADMIN).api
        bob = {"email": "bob@example.org", "password": PASSWORD, "project_dir": "/data/bob"}
        user = api.post("/auth/register/", bob)
        api.patch(f"/auth/users/{user['id']}/", {"is_verified": True, "profile_id": 1})
        project = api.post("/api/v2/project/", {"name": "one"})["id"]
        zarr = f"{folder.path}/project/zarr"
        api.post(f"/api/v2/project/{project}/dataset/", {"name": "d", "zarr_dir": zarr})
        api.post(f"/api/v2/project/{project}/workflow/", {"name": "w"})


def counted(database: Database) -> dict[str, int]:
    return {table: database.value(f"SELECT count(*) FROM {table}") for table in TABLES}


@pytest.mark.long
def test_an_instance_installed_as_2_17_2_comes_to_the_end_of_the_road(
    cluster: Cluster, tmp_path: Path, read_database: Callable[..., dict[str, Any]]
) -> None:
    database = cluster.create()
    folder = FractalFolder(tmp_path, database)
    installed(folder)
    used(folder)
    seen = read_database("2.17.2", env_file=str(folder.env_file))
    assert (seen["release"], seen["data_migration"], seen["skipped"], seen["lost"]) == ("2.17.2", "not_needed", [], [])
    installation = Installation(str(folder.env_file))
    for found in (refused_rows(installation, "2.17.2", "2.26.0", False), viewer_findings(installation)):
        assert found["findings"] == []
    before = counted(database)

    for hop in hops("2.17.2", "2.26.0"):
        door = service_side(installation, python_of(hop.version), A_DAY)
        file = migrate_environment(installation, door, door.python, hop.version, {})
        assert file["steps"] == (["2.18.0"] if hop.version == "2.18.0" else [])
        done = door.call(migrate, installation, door.python, hop.version)
        assert done["schema"]["revision"] == hop.alembic_head
        assert done["data"] is None or done["data"]["changed"] == (hop.version == "2.18.0")
    assert not folder.old_env_file.exists() and "FRACTAL_DATA" not in folder.env_file.read_text()
    assert counted(database) == before
    told = database.rows("SELECT email, project_dirs FROM user_oauth ORDER BY id")
    assert told == [(ADMIN, [f"{folder.path}/project"]), ("bob@example.org", ["/data/bob"])]

    options = {"version": "2.26.0", "email": ADMIN, "password": PASSWORD, "probe_timeout": 120, "check_email": False}
    with serving(folder, "2.26.0") as server:
        checks = all_checks(server.session(), {**options, "probe_sources": PROBE})
    states = {check.id: check.status for check in checks}
    assert {name for name, status in states.items() if status != "passed"} == {"login_oauth", "email"}, checks
    assert counted(database) == before
    cluster.drop(database.dbname)
