"""Running services for the tests of the verification: fractal-server itself, an OpenID provider, a mail server.

``migrated``  a seeded instance at 2.17.0 on SLURM with sudo (there is no SLURM here), of its own but made quickly
``served``    factory: the real fractal-server of a release, running on a folder's database, with log-ins that work
``provider``  a real OpenID provider (oidc-provider-mock) with the user ann@example.org
``mail``      a real SMTP server (aiosmtpd) that asks for a log-in

PYTEST_DONT_REWRITE: test files import it before pytest loads it as a plugin, and nothing here needs rewritten asserts.
"""

from __future__ import annotations

import dataclasses
import fcntl
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.parse
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.http_client import Answer, Api, request
from ansible_collections.fractal_ops.platform.plugins.module_utils._env_file.reading import read_env_file
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.discovery import ServerInstance
from ansible_collections.fractal_ops.platform.plugins.module_utils._verify.session import Session
from postgres_cluster import Cluster, Database
from postgres_seed import seed
from releases_environments import CACHE, FractalFolder, environment, python_of

TOOLS = ("oidc-provider-mock==0.3.4", "aiosmtpd==1.4.6", "cryptography")
PASSWORD = "pw-canary-8c1f"
MAIL_USER, MAIL_PASSWORD = "fractal@example.org", "mail-canary-77aa"
CSRF_COOKIE = "fastapiusersoauthcsrf"

_MAIL_SERVER = """
import ssl, sys, asyncio
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
user, password, port, certificate, key = sys.argv[1:]
class Handler:
    async def handle_DATA(self, server, session, envelope):
        return "250 kept"
def authenticate(server, session, envelope, mechanism, data):
    return AuthResult(success=(data.login, data.password) == (user.encode(), password.encode()), handled=False)
context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
context.load_cert_chain(certificate, key)
controller = Controller(Handler(), hostname="127.0.0.1", port=int(port), tls_context=context,
                        authenticator=authenticate, auth_required=True)
controller.start()
asyncio.new_event_loop().run_forever()
"""


def tools() -> Path:
    """Return an environment with the services, made once and kept in the cache."""
    folder = CACHE / "venvs" / "verification-services"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.parent / ".verification-services.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / ".complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            subprocess.run(["python3.11", "-m", "venv", str(folder)], check=True)
            subprocess.run([str(folder / "bin/pip"), "install", "-q", *TOOLS], check=True)
            (folder / ".complete").touch()
    return folder


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def running(command: Sequence[str], ready: Callable[[], bool], cwd: Path | None = None) -> Iterator[None]:
    """Run a program until the block ends; the block begins when the program is ready. Its output shows on failure."""
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(list(command), cwd=cwd, stdout=output, stderr=subprocess.STDOUT)
        try:
            deadline = time.monotonic() + 60
            while not ready():
                assert process.poll() is None and time.monotonic() < deadline, f"{command[0]} did not come up"
                time.sleep(0.1)
            yield
        finally:
            process.terminate()
            process.wait(timeout=60)
            output.seek(0)
            print(output.read())


def answers(url: str) -> bool:
    try:
        return request(url, timeout=2).status == 200
    except FractalError:
        return False


@dataclass
class Served:
    """A running fractal-server: ``url``, its folder, and sessions for the checks."""

    url: str
    folder: FractalFolder
    release: str

    def variables(self) -> dict[str, str]:
        return read_env_file(str(self.folder.env_file), {})

    def session(self, email: str | None = None) -> Session:
        """Return what the checks work with, logged in as a user if one is named."""
        empty = {field.name: "" for field in dataclasses.fields(ServerInstance)}
        about: dict[str, Any] = {
            **empty,
            "service": "fractal-server.service",
            "user": Path(self.folder.path).owner(),
            "env_file": str(self.folder.env_file),
            "version": self.release,
            "python": python_of(self.release),
            "url": self.url,
            "active_state": "active",
            "enabled_state": "enabled",
            "hold": None,
        }
        session = Session(ServerInstance(**about), self.variables(), Api(self.url))
        if email:
            session.api.log_in(email, PASSWORD)
        return session


def give_passwords(database: Database, release: str) -> None:
    """Let every user log in with ``PASSWORD`` (hashed with bcrypt, the only kind that fractal-server takes)."""
    script = f"from pwdlib.hashers.bcrypt import BcryptHasher as B; print(B().hash({PASSWORD!r}))"
    done = subprocess.run([python_of(release), "-c", script], capture_output=True, text=True, check=True)
    database.rows("UPDATE user_oauth SET hashed_password = %s", done.stdout.strip())


@pytest.fixture(scope="session")
def migrated_template(cluster: Cluster, template: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Name of a database that Fractal's own tools brought from 2.16.6 to 2.17.0, with log-ins that work."""
    database = cluster.create(template)
    seed(database)
    folder = FractalFolder(tmp_path_factory.mktemp("migrated"), database)
    folder.upgrade("2.17.0")
    give_passwords(database, "2.17.0")
    return database.dbname


@pytest.fixture
def migrated(
    cluster: Cluster, migrated_template: str, fractal_folder: Callable[..., FractalFolder]
) -> Iterator[FractalFolder]:
    """A seeded instance at 2.17.0; its file of 2.16 had the viewer's scheme, its file of 2.17 has none yet."""
    database = cluster.create(migrated_template)
    folder = fractal_folder(database, FRACTAL_VIEWER_AUTHORIZATION_SCHEME="viewer-paths")
    folder.write_new_generation()
    yield folder
    cluster.drop(database.dbname)


@contextmanager
def serving(folder: FractalFolder, release: str) -> Iterator[Served]:
    """Run a release on the folder as it stands until the block ends."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [str(environment(release) / "bin/fractalctl"), "start", "--host", "127.0.0.1", "--port", str(port)]
    with running(command, lambda: answers(f"{url}/api/alive/"), folder.path):
        yield Served(url, folder, release)


@pytest.fixture
def served() -> Iterator[Callable[..., Served]]:
    """Factory: ``served(folder, "2.17.0")`` starts the release on the folder as it stands."""
    with ExitStack() as stack:
        yield lambda folder, release="2.17.0": stack.enter_context(serving(folder, release))


@pytest.fixture(scope="session")
def provider() -> Iterator[str]:
    """URL of a real OpenID provider's discovery."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/.well-known/openid-configuration"
    claims = '{"sub": "ann-sub", "email": "ann@example.org"}'
    command = [str(tools() / "bin/oidc-provider-mock"), "--host", "127.0.0.1", "--port", str(port)]
    with running([*command, "--user-claims", claims], lambda: answers(url)):
        yield url


def oauth_log_in(url: str, client: str, sub: str, keep_cookie: bool = True) -> Answer:
    """Log in through the provider as a browser does, and return what fractal-server answers at the end."""
    began = Api(url).answer("GET", f"/auth/{client}/authorize/")
    location = began.json()["authorization_url"]
    form = urllib.parse.urlencode({"sub": sub}).encode()
    consent = request(location, "POST", form, {"Content-Type": "application/x-www-form-urlencoded"})
    cookies = "; ".join(value.split(";")[0] for value in began.all("set-cookie")) if keep_cookie else ""
    return request(consent.all("location")[0], headers={"Cookie": cookies} if cookies else {})


@pytest.fixture
def mail(tmp_path: Path) -> Iterator[int]:
    """Port of a real mail server that takes STARTTLS and one account."""
    key, certificate, port = tmp_path / "key.pem", tmp_path / "cert.pem", free_port()
    subject = ["-subj", "/CN=localhost", "-days", "2", "-nodes", "-newkey", "rsa:2048"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(["openssl", "req", "-x509", *subject, *files], check=True, capture_output=True)

    def listens() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    account = [MAIL_USER, MAIL_PASSWORD, str(port), str(certificate), str(key)]
    with running([str(tools() / "bin/python"), "-c", _MAIL_SERVER, *account], listens):
        yield port
