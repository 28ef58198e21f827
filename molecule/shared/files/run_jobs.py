"""Run again the jobs that were seeded as done, each as its user, and print as JSON how they ended.

Runs on the server host; standard library only.
"""

from __future__ import annotations

import json
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

SERVER = "http://localhost:8000"
SEED = json.loads(Path("/opt/bed/seed.json").read_text())
PROJECTS = {project["id"]: project for project in SEED["projects"]}


def call(method: str, path: str, token: str = "", body: Any = None, form: Any = None) -> Any:
    """Return the JSON of an answer."""
    data, kind = (urllib.parse.urlencode(form), "x-www-form-urlencoded") if form else (json.dumps(body), "json")
    headers = {"Authorization": f"Bearer {token}", "Content-Type": f"application/{kind}"}
    request = urllib.request.Request(SERVER + path, data.encode() if method == "POST" else None, headers, method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Submit a seeded job's workflow on its dataset again and wait for the end."""
    project = PROJECTS[job["project"]]
    user = SEED["users"][project["owner"]]
    form = {"username": user["email"], "password": user["password"]}
    token = call("POST", "/auth/token/login/", form=form)["access_token"]
    path = f"/api/v2/project/{job['project']}"
    query = f"workflow_id={job['workflow']}&dataset_id={job['dataset']}"
    before = time.time()
    made = call("POST", f"{path}/job/submit/?{query}", token, {})
    end = time.monotonic() + 600
    while made["status"] == "submitted" and time.monotonic() < end:
        time.sleep(0.5)
        made = call("GET", f"{path}/job/{made['id']}/", token)
    zarr = Path(next(dataset["zarr_dir"] for dataset in project["datasets"] if dataset["id"] == job["dataset"]))
    stamps = [stamp for stamp in zarr.glob("*.zarr/stamp.json") if stamp.stat().st_mtime >= before]
    return {
        "workflow": job["workflow"],
        "status": made["status"],
        "log": made["log"],
        "stamped_by": json.loads(stamps[0].read_text())["user"] if stamps else None,
    }


print(json.dumps([run(job) for job in SEED["jobs"] if job["status"] == "done"]))
