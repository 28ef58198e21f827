"""Every variable with odd values: what 2.16 takes arrives in 2.17 with its meaning, or is refused by name."""

from __future__ import annotations

import itertools
import json
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any, Callable

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.dotenv import encode
from ansible_collections.fractal_ops.platform.plugins.module_utils._env_file.draft import Context
from ansible_collections.fractal_ops.platform.plugins.module_utils._env_file.migration import migrate_server
from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.oauth import PARTS
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.env_steps import ENV_STEPS
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.r2_17_0 import env_rules as rules
from releases_environments import SLURM_CONFIG

from _env_file.test_migration import compare_settings

# each reads a list of texts from its input, and writes what the release makes of each: its settings, or why it refuses
_OLD = """
import io, json, logging, os, sys
from dotenv.main import DotEnv
from fractal_server.config import Settings
from pydantic import SecretStr
logging.disable()
os.chdir(sys.argv[1])
kept = {"PATH": os.environ["PATH"]}
def plain(pairs): return {n: v.get_secret_value() if isinstance(v, SecretStr) else v for n, v in pairs}
def read(text):
    file = DotEnv(None, stream=io.StringIO(text), override=False).dict()
    os.environ.clear()
    os.environ.update({**{n: v for n, v in file.items() if v is not None}, **kept})
    try:
        settings = Settings()
        settings.check()
        settings.DATABASE_SYNC_URL
    except Exception as error:
        return str(error)
    return {**plain(settings), "clients": [plain(client) for client in settings.OAUTH_CLIENTS_CONFIG], "mail": None}
print(json.dumps([read(text) for text in json.load(sys.stdin)], default=str))
"""
_NEW = """
import json, os, sys
from pydantic import SecretStr
from fractal_server.config._data import DataSettings
from fractal_server.config._database import DatabaseSettings
from fractal_server.config._email import EmailSettings
from fractal_server.config._main import Settings
from fractal_server.config._oauth import OAuthSettings
os.chdir(sys.argv[1])
for name in ("JWT_SECRET_KEY", "POSTGRES_DB"):  # given so that the import works
    del os.environ[name]
def read(text):
    with open("case.env", "w") as stream:
        stream.write(text)
    values = {}
    try:
        for kind in (Settings, DatabaseSettings, EmailSettings, OAuthSettings, DataSettings):
            found = kind(_env_file="case.env")
            values.update({n: v.get_secret_value() if isinstance(v, SecretStr) else v for n, v in found})
            values["oauth"] = getattr(found, "is_set", values.get("oauth"))
    except Exception as error:
        return str(error)
    return {**values, "mail": None}
print(json.dumps([read(text) for text in json.load(sys.stdin)], default=str))
"""
BASE = {
    "JWT_SECRET_KEY": "k",
    "POSTGRES_DB": "d",
    "FRACTAL_RUNNER_BACKEND": "slurm",
    "FRACTAL_TASKS_DIR": "/t",
    "FRACTAL_RUNNER_WORKING_BASE_DIR": "/j",
    "FRACTAL_SLURM_CONFIG_FILE": "config_slurm.json",
    "FRACTAL_SLURM_WORKER_PYTHON": "/w",
    "FRACTAL_TASKS_PYTHON_DEFAULT_VERSION": "3.11",
    "FRACTAL_TASKS_PYTHON_3_11": "/p",
}
EMAIL = {
    "FRACTAL_EMAIL_SENDER": "f@example.org",
    "FRACTAL_EMAIL_SMTP_SERVER": "smtp",
    "FRACTAL_EMAIL_SMTP_PORT": "25",
    "FRACTAL_EMAIL_INSTANCE_NAME": "lab",
    "FRACTAL_EMAIL_RECIPIENTS": "a@example.org",
    "FRACTAL_EMAIL_USE_LOGIN": "false",
}
OIDC = {f"OAUTH_KC_{part}": "https://idp" for part in PARTS}
VIEWER = {"FRACTAL_VIEWER_AUTHORIZATION_SCHEME": "users-folders", "FRACTAL_VIEWER_BASE_FOLDER": "/data"}
WITH = {"FRACTAL_EMAIL_": EMAIL, "OAUTH_": OIDC, "FRACTAL_VIEWER_BASE": VIEWER}
VALUES = (
    *("", " ", "0", "-1", "007", "1.5", "30.0", "1e3", "1_000", "+5", " 7 ", "9" * 30, "true", "True", "yes", "Off"),
    *("none", "None", "/abs", "/abs/../x/", " /abs ", "rel/x", "~/x", "slurm", "slurm_ssh", "local", "viewer-paths"),
    *("users-folders", "3.12", "a@example.org", "a@example.org, b@example.org", "https://x", "é", "[]", "{}", "x y #z"),
)
# what SQLAlchemy or pydantic takes blanks away from, and what an empty value stands for
STRIPPED = {"POSTGRES_USER", "POSTGRES_HOST", "POSTGRES_DB", "FRACTAL_DATA_BASE_FOLDER"}


def lines(values: dict[str, str]) -> str:
    return "".join(f"{name}={encode(value)}\n" for name, value in values.items())


def cases() -> list[tuple[str, str]]:
    names = [*(rule.variable for rule in rules.SERVER), *OIDC, "OAUTH_KC_SCOPES", "OAUTH_TWO_WORDS_CLIENT_ID"]
    found = []
    for name, value in itertools.product(names, VALUES):
        more = [extra for prefix, extra in WITH.items() if name.startswith(prefix)]
        found += [(name, lines({**BASE, **extra, name: value})) for extra in ({}, *more)]
    return found


def asked(python: str, code: str, path: str, folder: Path, texts: list[str]) -> list[Any]:
    environ = {"PATH": path}
    if code is _NEW:
        environ.update(JWT_SECRET_KEY="x", POSTGRES_DB="x")
    command = [python, "-c", code, str(folder)]
    done = subprocess.run(
        command, input=json.dumps(texts), capture_output=True, text=True, check=False, env=environ, cwd="/"
    )
    assert done.returncode == 0, done.stderr
    found: list[Any] = json.loads(done.stdout)
    return found


def without_blanks(settings: dict[str, Any]) -> dict[str, Any]:
    return {n: (str(v).strip() or None) if n in STRIPPED and v is not None else v for n, v in settings.items()}


def test_what_2_16_takes_2_17_takes_with_the_same_meaning_or_it_is_refused_by_name(
    tmp_path: Path, slurm_programs: str, release_python: Callable[[str], str]
) -> None:
    (tmp_path / "config_slurm.json").write_text(json.dumps(SLURM_CONFIG))
    context = Context(
        str(tmp_path),
        worker_python="/w",
        tasks_python=("3.11", "/p"),
        decrypt=lambda token, key: "plain",
        readable=lambda path: Path(path).is_file(),
    )
    names, texts = zip(*cases())
    old = asked(release_python("2.16.6"), _OLD, slurm_programs, tmp_path, list(texts))
    taken = [number for number, settings in enumerate(old) if isinstance(settings, dict)]
    migrations = {number: migrate_server(texts[number], context, ENV_STEPS, to="2.17.2") for number in taken}
    passed = [number for number in taken if not migrations[number].blockers]
    for release in ("2.17.0", "2.17.2"):
        new = asked(
            release_python(release), _NEW, slurm_programs, tmp_path, [migrations[number].text for number in passed]
        )
        for number, settings in zip(passed, new):
            assert isinstance(settings, dict), (release, texts[number], settings)
            told = {
                "runner_backend": migrations[number].runner_backend,
                "oauth_client_name": migrations[number].oauth_client_name,
            }
            compare_settings(without_blanks(old[number]), without_blanks(settings), told)
    refused = [number for number in taken if number not in passed]
    for number in refused:
        told = {name for finding in migrations[number].blockers for name in [finding.subject]}
        assert told == {names[number]}, texts[number]
    assert len(passed) > 900
    # 2.16 takes these only because it does not look: blanks as a secret, a port below zero, a host left to libpq ...
    assert Counter(names[number] for number in refused) == {
        "JWT_SECRET_KEY": 1,
        "POSTGRES_HOST": 2,
        "POSTGRES_PORT": 1,
        "POSTGRES_DB": 1,
        "FRACTAL_SLURM_POLL_INTERVAL": 1,
    }
