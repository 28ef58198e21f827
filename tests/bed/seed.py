"""Fill a fresh Fractal 2.16 instance through its HTTP API, and print as JSON what was made.

    seed.py --server URL --wheels FOLDER

Nothing is written to the database directly: what an upgrade finds afterwards is what a real instance holds. FOLDER has
the wheels of the probe task package. Standard library only; runs on the server host, where the tasks' results land.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

ADMIN = ("admin@fractal.xy", "1234")

# Users of every kind: active and verified in all combinations, two who share the SLURM user alice (three with the
# superuser), and two who registered themselves through the OpenID provider, of whom nobody verified the second.
# An attribute that is not named keeps what Fractal gives to a new user.
USERS: dict[str, dict[str, Any]] = {
    "alice": {
        "verified": True,
        "username": "alice",
        "settings": {
            "slurm_user": "alice",
            "project_dir": "/home/alice/fractal",
            "slurm_accounts": ["imaging", "core-facility"],
        },
    },
    "anna": {
        "verified": True,
        "settings": {"slurm_user": "alice", "project_dir": "/home/alice/anna", "slurm_accounts": ["imaging"]},
    },
    "bob": {"verified": True, "username": "bob", "settings": {"slurm_user": "bob", "project_dir": "/home/bob/fractal"}},
    "carol": {
        "oauth": True,
        "verified": True,
        "settings": {"slurm_user": "carol", "project_dir": "/home/carol/fractal", "slurm_accounts": ["guests"]},
    },
    "dave": {"verified": False},
    "dora": {"oauth": True, "verified": False},
    "erin": {
        "verified": True,
        "active": False,
        "settings": {"slurm_user": "bob", "project_dir": "/home/bob/erin", "slurm_accounts": ["former"]},
    },
    "frank": {"verified": False, "active": False},
}
ADMIN_SETTINGS = {"slurm_user": "alice", "project_dir": "/home/alice/admin"}

GROUPS: dict[str, dict[str, Any]] = {
    "imaging": {"viewer_paths": ["/data/imaging", "/data/shared"], "members": ["alice", "anna", "bob"]},
    "guests": {"viewer_paths": ["/data/guests"], "members": ["carol", "dave", "erin"]},
    "empty": {"viewer_paths": [], "members": []},
}


class Api:
    """The instance as one user sees it."""

    def __init__(self, server: str, token: str | None = None) -> None:
        self.server = server
        self.token = token

    def call(self, method: str, path: str, body: Any = None, form: dict[str, str] | None = None) -> Any:
        """Make one request with a JSON body or a form, and return the JSON of the answer (None when it has none)."""
        data, kind = (json.dumps(body).encode(), "application/json") if body is not None else (None, None)
        if form is not None:
            data, kind = urllib.parse.urlencode(form).encode(), "application/x-www-form-urlencoded"
        return self.send(method, path, data, kind)

    def upload(self, path: str, file: Path) -> Any:
        """Send one file as a multipart form, and return the JSON of the answer."""
        boundary = uuid.uuid4().hex
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{file.name}"\r\n\r\n'
        data = head.encode() + file.read_bytes() + f"\r\n--{boundary}--\r\n".encode()
        return self.send("POST", path, data, f"multipart/form-data; boundary={boundary}")

    def send(self, method: str, path: str, data: bytes | None, kind: str | None) -> Any:
        headers = {"Content-Type": kind} if kind else {}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        with fetch(urllib.request.Request(self.server + path, data, headers, method=method)) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def log_in(self, email: str, password: str) -> Api:
        """Return the same instance as seen by this user."""
        form = {"username": email, "password": password}
        return Api(self.server, self.call("POST", "/auth/token/login/", form=form)["access_token"])

    def wait(self, path: str, wanted: set[str], failed: set[str], seconds: int = 600) -> Any:
        """Read an object until its status is a wanted one; stop with its log when it is a failed one."""
        end = time.monotonic() + seconds
        while True:
            answer = self.call("GET", path)
            if answer["status"] in wanted:
                return answer
            if answer["status"] in failed or time.monotonic() > end:
                sys.exit(f"seed: GET {path}: status is {answer['status']}\n{answer.get('log')}")
            time.sleep(0.3)


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """Hand a redirection back instead of following it."""

    def redirect_request(self, *_args: Any) -> None:
        return None


def fetch(request: urllib.request.Request, redirects: bool = True) -> HTTPResponse:
    """Open a request; stop with the server's own words when it is refused."""
    opener = urllib.request.build_opener() if redirects else urllib.request.build_opener(NoRedirect)
    try:
        answer: HTTPResponse = opener.open(request, timeout=60)
    except urllib.error.HTTPError as error:
        if not redirects and error.code == 302:
            return error  # type: ignore[return-value]
        sys.exit(f"seed: {request.get_method()} {request.full_url}: {error.code} {error.read().decode()}")
    return answer


def register_through_oauth(api: Api, name: str) -> None:
    """Log in at the OpenID provider as a browser does; Fractal 2.16 makes a user of who comes back from there."""
    url = api.call("GET", "/auth/mock/authorize/")["authorization_url"]
    consent = urllib.request.Request(url, urllib.parse.urlencode({"sub": f"{name}-sub"}).encode())
    with fetch(consent, redirects=False) as answer:
        back = answer.headers["Location"]
    fetch(urllib.request.Request(back)).close()


def make_users(admin: Api) -> dict[str, dict[str, Any]]:
    """Make every user with the settings it is to have. All are left active for now."""
    made: dict[str, dict[str, Any]] = {}
    for name, wanted in USERS.items():
        email, password = f"{name}@example.org", None
        if wanted.get("oauth"):
            register_through_oauth(admin, name)
        else:
            password = f"pw-{name}"
            admin.call("POST", "/auth/register/", {"email": email, "password": password})
        user = next(user for user in admin.call("GET", "/auth/users/") if user["email"] == email)
        change = {"is_verified": wanted["verified"]}
        if "username" in wanted:
            change["username"] = wanted["username"]
        admin.call("PATCH", f"/auth/users/{user['id']}/", change)
        if "settings" in wanted:
            admin.call("PATCH", f"/auth/users/{user['id']}/settings/", wanted["settings"])
        made[name] = {
            "id": user["id"],
            "email": email,
            "password": password,
            "superuser": False,
            "active": wanted.get("active", True),
            "verified": wanted["verified"],
            "oauth": wanted.get("oauth", False),
            **settings_of(wanted.get("settings", {})),
        }
    return made


def settings_of(settings: dict[str, Any]) -> dict[str, Any]:
    return {
        "slurm_user": settings.get("slurm_user"),
        "project_dir": settings.get("project_dir"),
        "slurm_accounts": settings.get("slurm_accounts", []),
    }


def settle_admin(admin: Api) -> dict[str, Any]:
    """Give the stock superuser the settings without which 2.17.0's data migration refuses to run."""
    user = admin.call("GET", "/auth/current-user/")
    admin.call("PATCH", f"/auth/users/{user['id']}/settings/", ADMIN_SETTINGS)
    kind = {"superuser": True, "active": True, "verified": True, "oauth": False}
    return {"id": user["id"], "email": ADMIN[0], "password": ADMIN[1], **kind, **settings_of(ADMIN_SETTINGS)}


def make_groups(admin: Api, users: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    made = {}
    for name, wanted in GROUPS.items():
        paths = {"name": name, "viewer_paths": wanted["viewer_paths"]}
        group = admin.call("POST", "/auth/group/", paths)
        for member in wanted["members"]:
            admin.call("POST", f"/auth/group/{group['id']}/add-user/{users[member]['id']}/")
        made[name] = {"id": group["id"], **wanted}
    return made


def collect(api: Api, wheel: Path, private: bool) -> dict[str, Any]:
    """Collect the tasks of a wheel, really: a virtual environment is made and filled."""
    activity = api.upload(f"/api/v2/task/collect/pip/?private={str(private).lower()}", wheel)
    activity = api.wait(f"/api/v2/task-group/activity/{activity['id']}/", {"OK"}, {"failed"})
    group = api.call("GET", f"/api/v2/task-group/{activity['taskgroupv2_id']}/")
    return {
        "id": group["id"],
        "version": group["version"],
        "path": group["path"],
        "tasks": {task["name"]: task["id"] for task in group["task_list"]},
    }


def make_project(api: Api, owner: str, name: str, datasets: list[dict[str, str]]) -> dict[str, Any]:
    project = api.call("POST", "/api/v2/project/", {"name": name})
    path = f"/api/v2/project/{project['id']}"
    made = [api.call("POST", f"{path}/dataset/", dataset) for dataset in datasets]
    return {
        "id": project["id"],
        "name": name,
        "owner": owner,
        "datasets": [{key: dataset[key] for key in ("id", "name", "zarr_dir")} for dataset in made],
        "workflows": [],
    }


def make_workflow(api: Api, project: dict[str, Any], name: str, tasks: dict[str, int], args: dict[str, Any]) -> int:
    """Add to a project a workflow of both probe tasks, and return its id."""
    path = f"/api/v2/project/{project['id']}/workflow/"
    workflow = api.call("POST", path, {"name": name})
    for task, body in (("probe_create", {"args_non_parallel": args}), ("probe_stamp", {})):
        api.call("POST", f"{path}{workflow['id']}/wftask/?task_id={tasks[task]}", body)
    project["workflows"].append({"id": workflow["id"], "name": name})
    identifier: int = workflow["id"]
    return identifier


def run_job(api: Api, project: dict[str, Any], workflow: int, dataset: int, status: str) -> dict[str, Any]:
    """Run a workflow on SLURM and see it end with the status wanted."""
    path = f"/api/v2/project/{project['id']}/job/"
    job = api.call("POST", f"{path}submit/?workflow_id={workflow}&dataset_id={dataset}", {})
    other = {"done": "failed", "failed": "done"}[status]
    job = api.wait(f"{path}{job['id']}/", {status}, {other})
    return {"id": job["id"], "project": project["id"], "workflow": workflow, "dataset": dataset, "status": status}


def say(text: str) -> None:
    print(f"[seed] {text}", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", default="http://localhost:8000")
    parser.add_argument("--wheels", type=Path, required=True)
    options = parser.parse_args()
    admin = Api(options.server).log_in(*ADMIN)

    say("users and groups")
    users = {"admin": settle_admin(admin), **make_users(admin)}
    groups = make_groups(admin, users)
    alice, bob, dave, erin = (
        admin.log_in(users[name]["email"], users[name]["password"]) for name in ("alice", "bob", "dave", "erin")
    )

    say("task groups: collecting the probe package for everybody, and once in private")
    wheel = options.wheels / "fractal_probe-1.0.0-py3-none-any.whl"
    task_groups = {"shared": collect(alice, wheel, private=False), "private": collect(bob, wheel, private=True)}
    tasks = task_groups["shared"]["tasks"]

    say("projects, datasets and workflows")
    plates = [{"name": "plate 1"}, {"name": "plate 2", "zarr_dir": "/home/alice/zarr"}]
    screen = make_project(alice, "alice", "Screen", plates)
    good = make_workflow(alice, screen, "stamp all", tasks, {"label": "one"})
    bad = make_workflow(alice, screen, "fails", tasks, {"fail": True})
    pilot = make_project(bob, "bob", "Pilot", [{"name": "test"}])
    own = make_workflow(bob, pilot, "own tasks", task_groups["private"]["tasks"], {"label": "pilot"})
    elsewhere = {"name": "elsewhere", "zarr_dir": "/data/elsewhere"}
    thesis = make_project(erin, "erin", "Thesis", [elsewhere])
    steps = make_project(dave, "dave", "First steps", [elsewhere])

    say("jobs on SLURM")
    jobs = [
        run_job(alice, screen, good, screen["datasets"][0]["id"], "done"),
        run_job(alice, screen, bad, screen["datasets"][1]["id"], "failed"),
        run_job(bob, pilot, own, pilot["datasets"][0]["id"], "done"),
    ]

    for user in users.values():
        if not user["active"]:
            admin.call("PATCH", f"/auth/users/{user['id']}/", {"is_active": False})

    projects = [screen, pilot, thesis, steps]
    made = {"users": users, "groups": groups, "task_groups": task_groups, "projects": projects, "jobs": jobs}
    print(json.dumps(made, indent=2))


if __name__ == "__main__":
    main()
