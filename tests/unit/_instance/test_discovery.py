"""Discovery: what a unit's properties and command line lead to."""

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.systemd import parse_unit
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.discovery import (
    base_url,
    listen_address,
    shebang_interpreter,
    split_command,
    worker_count,
)

SERVER = ("fractalctl", "gunicorn", "uvicorn")
SHOW = """Type=simple
Restart=on-failure
UMask=0022
ExecStart={ path=/venv/bin/gunicorn ; argv[]=/venv/bin/gunicorn fractal_server.main:app --bind 10.0.0.5:8010 ; pid=1 }
Environment=HTTPS_PROXY=http://proxy:3128 "GREETING=hello world" EMPTY=
EnvironmentFiles=/etc/fractal/a.env (ignore_errors=no)
EnvironmentFiles=/etc/fractal/b.env (ignore_errors=yes)
WorkingDirectory=/srv/fractal
User=fractal
Group=
MainPID=12
NRestarts=3
Result=success
NeedDaemonReload=no
ExecMainStartTimestampMonotonic=1000000
LoadState=loaded
ActiveState=active
UnitFileState=enabled
FragmentPath=/etc/systemd/system/fractal-server.service
DropInPaths=/etc/systemd/system/fractal-server.service.d/a.conf /etc/systemd/system/fractal-server.service.d/b.conf
"""


def test_a_unit_is_read_from_its_properties():
    unit = parse_unit("fractal-server.service", SHOW)
    assert (unit.user, unit.group, unit.working_directory) == ("fractal", "fractal", "/srv/fractal")
    assert unit.command[:2] == ["/venv/bin/gunicorn", "fractal_server.main:app"]
    assert unit.environment == {"HTTPS_PROXY": "http://proxy:3128", "GREETING": "hello world", "EMPTY": ""}
    assert (unit.required_files, unit.optional_files) == (["/etc/fractal/a.env"], ["/etc/fractal/b.env"])
    assert len(unit.drop_in_paths) == 2
    assert (unit.restarts, unit.main_pid, unit.needs_reload) == (3, 12, False)


def test_a_required_file_that_is_missing_is_an_error_an_optional_one_is_not():
    unit = parse_unit("fractal-server.service", SHOW.replace("/etc/fractal/", "/nonexistent/"))
    with pytest.raises(FractalError, match=r"/nonexistent/a\.env"):
        unit.process_environment()
    assert (
        parse_unit("x.service", "EnvironmentFiles=/nonexistent/b.env (ignore_errors=yes)\n").process_environment() == {}
    )


def test_variables_that_the_unit_takes_away_are_not_there():
    text = 'Environment=A=1 B=2 C=3\nUnsetEnvironment=A "B=2" "C=other"\n'
    assert parse_unit("x.service", text).process_environment() == {"C": "3"}


def test_an_environment_file_is_read_as_systemd_reads_it(tmp_path):
    path = tmp_path / "unit.env"
    path.write_text('# comment\nA=1\nB=\'two words\' \nC="say \\"x\\""\n; other\nD=a\\\nb\nnonsense\n')
    unit = parse_unit("x.service", f"EnvironmentFiles={path} (ignore_errors=no)\n")
    assert unit.process_environment() == {"A": "1", "B": "two words", "C": 'say "x"', "D": "ab"}


@pytest.mark.parametrize(
    ("command", "program", "arguments"),
    [
        (["/venv/bin/fractalctl", "start", "--port", "8001"], "/venv/bin/fractalctl", ["start", "--port", "8001"]),
        (["/usr/bin/env", "gunicorn", "fractal_server.main:app"], "gunicorn", ["fractal_server.main:app"]),
        (
            ["/bin/bash", "-c", "exec", "/venv/bin/gunicorn", "x:app", "-w", "2"],
            "/venv/bin/gunicorn",
            ["x:app", "-w", "2"],
        ),
        (
            ["/venv/bin/python3", "-m", "fractal_server", "start"],
            "/venv/bin/python3",
            ["-m", "fractal_server", "start"],
        ),
        ([], "", []),
    ],
)
def test_the_program_is_found_behind_wrappers(command, program, arguments):
    assert split_command(command, SERVER) == (program, arguments)


@pytest.mark.parametrize(
    ("launcher", "arguments", "address"),
    [
        ("fractalctl", ["start"], ("127.0.0.1", 8000)),
        ("fractalctl", ["start", "--host", "0.0.0.0", "--port=8010"], ("0.0.0.0", 8010)),
        ("/venv/bin/gunicorn", ["a:b"], ("127.0.0.1", 8000)),
        ("/venv/bin/gunicorn", ["a:b", "--bind", "0.0.0.0:9000"], ("0.0.0.0", 9000)),
        ("/venv/bin/gunicorn", ["a:b", "-b", "[::1]:9000"], ("::1", 9000)),
        ("/venv/bin/gunicorn", ["a:b", "--bind=10.0.0.1"], ("10.0.0.1", 8000)),
    ],
)
def test_the_address_comes_from_the_command_line(launcher, arguments, address):
    assert listen_address(launcher, arguments) == address


def test_a_socket_file_needs_the_operators_word():
    with pytest.raises(FractalError, match="fractal_server_url"):
        listen_address("gunicorn", ["a:b", "--bind", "unix:/run/fractal.sock"])


def test_own_address_and_workers():
    assert base_url("0.0.0.0", 8000) == "http://127.0.0.1:8000"
    assert base_url("::1", 8000) == "http://[::1]:8000"
    assert worker_count(["x", "--workers", "4"]) == 4
    assert worker_count(["x", "-w=3"]) == 3
    assert worker_count(["x"]) == 1


@pytest.mark.parametrize(
    ("head", "interpreter"),
    [
        ("#!/venv/bin/python3\nimport sys\n", "/venv/bin/python3"),
        ("#!/bin/sh\n'''exec' /a/very/long/path/bin/python3 \"$0\" \"$@\"\n' '''\n", "/a/very/long/path/bin/python3"),
        ("#!/bin/sh\n'''exec' \"/with space/bin/python3\" \"$0\" \"$@\"\n' '''\n", "/with space/bin/python3"),
        ("no shebang\n", None),
        ("", None),
    ],
)
def test_the_interpreter_is_read_from_the_script(tmp_path, head, interpreter):
    script = tmp_path / "fractalctl"
    script.write_text(head)
    assert shebang_interpreter(str(script)) == interpreter
    assert shebang_interpreter(str(tmp_path / "missing")) is None
