"""Discovery of fractal-web: which files it reads, what its variables are, and where it answers."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.systemd import Unit, parse_unit
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance import discovery, web
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.web import discover_web


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """A release directory with Node's files."""
    (tmp_path / "web" / "build").mkdir(parents=True)
    (tmp_path / "web" / "package.json").write_text('{"version": "1.20.1"}')
    (tmp_path / "web" / ".env").write_text("PORT=5173\nORIGIN='https://x' # note\n")
    (tmp_path / "own.env").write_text("PORT=6000\nLOG_LEVEL_CONSOLE=info\n")
    return tmp_path / "web"


@pytest.fixture
def systemd(monkeypatch: pytest.MonkeyPatch, release: Path) -> list[Unit]:
    """What systemd says of the unit."""
    said = [there(release)]
    monkeypatch.setattr(discovery, "read_unit", lambda _: said[0])
    monkeypatch.setattr(web, "read_unit", lambda _: said[0])
    return said


def there(release: Path, arguments: str = "build", node: str = "/usr/bin/node", **properties: str) -> Unit:
    lines = {"LoadState": "loaded", "ActiveState": "inactive", "User": "root", "WorkingDirectory": str(release)}
    text = "".join(f"{key}={value}\n" for key, value in {**lines, **properties}.items())
    command = f"ExecStart={{ path=x ; argv[]={node} {arguments} ; ignore_errors=no ; pid=0 }}\n"
    return parse_unit("fractal-web.service", text + command)


@pytest.mark.parametrize(
    ("arguments", "properties", "port", "env_file"),
    [
        ("build", {}, 3000, ".env"),
        ("--env-file=.env build", {}, 5173, ".env"),
        ("--env-file .env build", {}, 5173, ".env"),
        ("--env-file=.env --env-file ../own.env build/index.js", {}, 6000, "../own.env"),
        ("--env-file-if-exists=.env --env-file-if-exists=none build", {}, 5173, ".env"),
        ("--env-file-if-exists .env build", {}, 5173, ".env"),
        ("-r dotenv/config build", {}, 5173, ".env"),
        ("--max-old-space-size=512 --env-file=.env build", {"Environment": "PORT=80"}, 80, ".env"),
        ("build --env-file=.env", {}, 3000, ".env"),
        ("build", {"Environment": "PORT=80"}, 80, ".env"),
    ],
)
def test_files_and_address(
    systemd: list[Unit], release: Path, arguments: str, properties: dict[str, str], port: int, env_file: str
) -> None:
    systemd[0] = there(release, arguments, **properties)
    found = discover_web("fractal-web")
    assert (found.url, found.version) == (f"http://127.0.0.1:{port}", "1.20.1")
    assert found.release_directory == str(release)
    assert Path(found.env_file).resolve() == (release / env_file).resolve()


def test_a_wrapper_is_seen_through(systemd: list[Unit], release: Path) -> None:
    systemd[0] = there(release, f"PORT=7000 node {release}/build", "/usr/bin/env")
    assert discover_web("fractal-web").url == "http://127.0.0.1:7000"


def test_variables_come_from_the_unit_and_then_from_nodes_own_file(systemd: list[Unit], release: Path) -> None:
    systemd[0] = there(release, "--env-file=.env build", Environment="PORT=80")
    assert discover_web("fractal-web").variables() == {"PORT": "80", "ORIGIN": "https://x"}


def test_the_operators_file_is_read_beneath_all_others(systemd: list[Unit], release: Path) -> None:
    found = discover_web("fractal-web", str(release.parent / "own.env"))
    assert found.env_file == str(release.parent / "own.env")
    assert (found.url, found.variables()["LOG_LEVEL_CONSOLE"]) == ("http://127.0.0.1:6000", "info")
    systemd[0] = there(release, "--env-file=.env build")
    assert discover_web("fractal-web", str(release.parent / "own.env")).url == "http://127.0.0.1:5173"
    assert discover_web("fractal-web").variables() == {"PORT": "5173", "ORIGIN": "https://x"}


def test_a_file_that_node_needs_is_named_when_it_is_missing(systemd: list[Unit], release: Path) -> None:
    systemd[0] = there(release, "--env-file=none build")
    with pytest.raises(FractalError, match="none, which cannot be read"):
        discover_web("fractal-web")


def test_a_port_that_is_none_is_told(systemd: list[Unit], release: Path) -> None:
    systemd[0] = there(release, Environment="PORT=abc")
    found = discover_web("fractal-web")
    assert (found.url, found.address_problem) == ("", "PORT is 'abc', which is no port")
    assert discover_web("fractal-web", url="http://x").address_problem == ""


def test_another_program_is_no_fractal_web(systemd: list[Unit], release: Path) -> None:
    systemd[0] = there(release, "build", "/usr/bin/make")
    with pytest.raises(FractalError, match="fractal_web_service"):
        discover_web("fractal-web")
