"""Rows of a small, varied 2.16 instance, put in with SQL."""

from __future__ import annotations

import datetime
from typing import Any

from postgres_cluster import Database

LONG_AGO = datetime.datetime(2025, 3, 1, 12, 0, tzinfo=datetime.timezone.utc)


def add_user(database: Database, email: str, active: bool = True, verified: bool = True, **settings: Any) -> int:
    """Add a 2.16 user with settings (``slurm_user``, ``project_dir``, ``slurm_accounts`` …) and return the id.

    Without ``settings`` the user gets complete ones for SLURM with sudo; ``user_settings_id=None`` gives none at all.
    ``is_superuser=True`` and ``username=…`` go to the user.
    """
    own = {key: settings.pop(key) for key in ("is_superuser", "username") if key in settings}
    name = email.partition("@")[0]
    if "user_settings_id" in settings:
        settings_id = settings["user_settings_id"]
    else:
        complete = {"slurm_user": name, "project_dir": f"/data/{name}", "slurm_accounts": [f"acc-{name}"]}
        settings_id = database.insert("user_settings", **{**complete, **settings})
    return database.insert(
        "user_oauth",
        **{
            "email": email,
            "hashed_password": "x",
            "is_active": active,
            "is_verified": verified,
            "is_superuser": False,
            "user_settings_id": settings_id,
            **own,
        },
    )


def add_project(database: Database, user_id: int, name: str) -> int:
    """Add a 2.16 project of a user and return its id."""
    project = database.insert("projectv2", name=name, timestamp_created=LONG_AGO)
    database.insert("linkuserprojectv2", project_id=project, user_id=user_id)
    return project


def add_task_group(database: Database, user_id: int, name: str) -> int:
    """Add a 2.16 task group of a user and return its id."""
    return database.insert(
        "taskgroupv2",
        user_id=user_id,
        origin="other",
        pkg_name=name,
        active=True,
        timestamp_created=LONG_AGO,
        timestamp_last_used=LONG_AGO,
    )


def add_job(
    database: Database, project: int, status: str = "done", email: str = "ann@example.org", **columns: Any
) -> int:
    """Add a job (status ``submitted`` is one in flight) and return its id."""
    return database.insert(
        "jobv2",
        **{
            "project_id": project,
            "user_email": email,
            "dataset_dump": {"name": "d"},
            "workflow_dump": {"name": "w"},
            "project_dump": {"name": "p"},
            "first_task_index": 0,
            "last_task_index": 0,
            "start_timestamp": LONG_AGO,
            "status": status,
            **columns,
        },
    )


def add_activity(database: Database, user_id: int, status: str = "OK") -> int:
    """Add a task-group activity (status ``pending`` or ``ongoing`` is one in flight) and return its id."""
    return database.insert(
        "taskgroupactivityv2",
        user_id=user_id,
        timestamp_started=LONG_AGO,
        pkg_name="p",
        version="1",
        status=status,
        action="collect",
    )


def seed(database: Database) -> dict[str, int]:
    """Fill a 2.16 database with a bit of everything and return the users' ids by name.

    Five migrate (ann, bob and eve share nothing, carl and dora share a SLURM user: four profiles); ivy (inactive) and
    uma (not verified) do not.
    """
    users = {
        "ann": add_user(database, "ann@example.org", is_superuser=True, username="ann"),
        "bob": add_user(database, "bob@example.org", slurm_accounts=["a", "b"], project_dir="/data/../data//bob/"),
        "carl": add_user(database, "carl@example.org", slurm_user="shared"),
        "dora": add_user(database, "dora@example.org", slurm_user="shared", slurm_accounts=[]),
        "eve": add_user(database, "eve@example.org"),
        "ivy": add_user(database, "ivy@example.org", active=False),
        "uma": add_user(database, "uma@example.org", verified=False, slurm_user=None, project_dir=None),
    }
    for number in range(3):
        project = add_project(database, users["ann"], f"project ä{number}")
        add_job(database, project)
        add_job(database, project, status="failed")
    add_project(database, users["bob"], "bob's project")
    for number in range(2):
        add_task_group(database, users["ann"], f"tasks-{number}")
    add_activity(database, users["ann"])
    return users
