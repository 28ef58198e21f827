"""Print as JSON what every seeded user with a password may see in the viewer: e-mail to list of folders, or status."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

SERVER = "http://localhost:8000"


def call(path: str, form: dict[str, str] | None = None, token: str = "") -> Any:
    data = urllib.parse.urlencode(form).encode() if form else None
    request = urllib.request.Request(SERVER + path, data, {"Authorization": f"Bearer {token}"} if token else {})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code


seen = {}
for user in json.loads(Path("/opt/bed/seed.json").read_text())["users"].values():
    if user["password"] and user["active"]:
        token = call("/auth/token/login/", {"username": user["email"], "password": user["password"]})["access_token"]
        paths = call("/auth/current-user/allowed-viewer-paths/", token=token)
        seen[user["email"]] = sorted(paths) if isinstance(paths, list) else paths
print(json.dumps(seen))
