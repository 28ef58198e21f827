"""Fill a 2.16 instance on slurm_ssh through its API: two users, each with own tasks, a workflow and a job that ran.

Prints as JSON what was made. Standard library only; runs on the server host.
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from pathlib import Path
from typing import Any

SERVER = "http://localhost:8000"
WHEEL = Path("/root/fractal_probe-1.0.0-py3-none-any.whl")


def call(method: str, path: str, token: str, data: bytes | None, kind: str) -> Any:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": kind}
    request = urllib.request.Request(SERVER + path, data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            text = answer.read()
    except urllib.error.HTTPError as error:
        raise SystemExit(f"{method} {path}: {error.code} {error.read().decode()}") from error
    return json.loads(text) if text else None


def send(method: str, path: str, token: str, body: Any = None) -> Any:
    return call(method, path, token, json.dumps(body).encode() if body is not None else None, "application/json")


def log_in(email: str, password: str) -> str:
    form = urllib.parse.urlencode({"username": email, "password": password}).encode()
    token: str = call("POST", "/auth/token/login/", "", form, "application/x-www-form-urlencoded")["access_token"]
    return token


def wait(path: str, token: str, good: str) -> Any:
    deadline = time.monotonic() + 240
    while True:
        found = send("GET", path, token)
        if found["status"] == good:
            return found
        if found["status"] == "failed" or time.monotonic() > deadline:
            raise SystemExit(f"{path} is {found['status']}: {found['log']}")
        time.sleep(0.5)


def settings(user: str, project_dir: str) -> dict[str, str]:
    return {
        "ssh_host": "cluster",
        "ssh_username": user,
        "ssh_private_key_path": f"/home/fractal/.ssh/{user}",
        "ssh_tasks_dir": f"/home/{user}/tasks",
        "ssh_jobs_dir": f"/home/{user}/jobs",
        "project_dir": project_dir,
    }


def collect(token: str) -> dict[str, Any]:
    boundary = uuid.uuid4().hex
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{WHEEL.name}"\r\n\r\n'
    data = head.encode() + WHEEL.read_bytes() + f"\r\n--{boundary}--\r\n".encode()
    path = "/api/v2/task/collect/pip/?private=true"
    activity = call("POST", path, token, data, f"multipart/form-data; boundary={boundary}")
    activity = wait(f"/api/v2/task-group/activity/{activity['id']}/", token, "OK")
    group: dict[str, Any] = send("GET", f"/api/v2/task-group/{activity['taskgroupv2_id']}/", token)
    return group


admin = log_in("admin@fractal.xy", "1234")
send("PATCH", "/auth/users/1/settings/", admin, settings("alice", "/home/alice/admin"))
made = {}
for name in ("alice", "bob"):
    email, password = f"{name}@example.org", f"pw-{name}"
    user = send("POST", "/auth/register/", admin, {"email": email, "password": password})
    send("PATCH", f"/auth/users/{user['id']}/", admin, {"is_verified": True})
    send("PATCH", f"/auth/users/{user['id']}/settings/", admin, settings(name, f"/home/{name}/fractal"))
    token = log_in(email, password)
    group = collect(token)
    base = f"/api/v2/project/{send('POST', '/api/v2/project/', token, {'name': f'of {name}'})['id']}"
    dataset = send("POST", f"{base}/dataset/", token, {"name": "d", "zarr_dir": f"/home/{name}/zarr"})
    workflow = send("POST", f"{base}/workflow/", token, {"name": "w"})
    for task in group["task_list"]:
        send("POST", f"{base}/workflow/{workflow['id']}/wftask/?task_id={task['id']}", token, {})
    submit = f"{base}/job/submit/?workflow_id={workflow['id']}&dataset_id={dataset['id']}"
    job = wait(f"{base}/job/{send('POST', submit, token, {})['id']}/", token, "done")
    made[name] = {
        "email": email,
        "password": password,
        "group": group["path"],
        "base": base,
        "submit": submit,
        "job": job["id"],
    }
print(json.dumps(made))
