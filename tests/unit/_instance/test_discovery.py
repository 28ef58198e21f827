"""Discovery: what a unit's properties and command line lead to."""

import getpass

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.systemd import parse_unit, read_unit
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance import discovery
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.command_line import (
    Surroundings,
    read_command,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.discovery import (
    discover_server,
    shebang_interpreter,
)

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
TriggeredBy=fractal-server.socket fractal-server.timer
ControlGroup=/system.slice/fractal-server.service
InactiveExitTimestampMonotonic=900000
ExecStartPre={ path=/bin/sh ; argv[]=/bin/sh -c sleep 1 ; echo 2 ; ignore_errors=no ; start_time=[n/a] ; pid=0 }
ExecStartPre={ path=/bin/true ; argv[]=/bin/true ; ignore_errors=yes ; start_time=[n/a] ; pid=0 }
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
    assert unit.triggers == ["fractal-server.socket", "fractal-server.timer"]
    assert unit.control_group == "/system.slice/fractal-server.service"
    assert unit.before_start == ["/bin/sh -c sleep 1 ; echo 2", "/bin/true"]
    assert unit.start_began_at is not None and unit.started_at is not None
    assert round(unit.started_at - unit.start_began_at, 3) == 0.1


def test_a_template_is_no_unit():
    with pytest.raises(FractalError, match="fractal-server@prod"):
        read_unit("fractal-server@")


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
    ("head", "interpreter"),
    [
        ("#!/venv/bin/python3\nimport sys\n", "/venv/bin/python3"),
        ("#!/bin/sh\n'''exec' /a/very/long/path/bin/python3 \"$0\" \"$@\"\n' '''\n", "/a/very/long/path/bin/python3"),
        ("#!/bin/sh\n'''exec' \"/with space/bin/python3\" \"$0\" \"$@\"\n' '''\n", "/with space/bin/python3"),
        ("#!/usr/bin/env python3\n", "python3"),
        ("#!/usr/bin/env -S python3\n", "python3"),
        ("no shebang\n", None),
        ("", None),
    ],
)
def test_the_interpreter_is_read_from_the_script(tmp_path, head, interpreter):
    script = tmp_path / "fractalctl"
    script.write_text(head)
    assert shebang_interpreter(str(script)) == interpreter
    assert shebang_interpreter(str(tmp_path / "missing")) is None


ENVIRONMENT = "/opt/fractal/venv"


@pytest.mark.parametrize(
    ("command", "copies", "found"),
    [
        (f"{ENVIRONMENT}/bin/fractalctl", {"venv-2.16.6": f"{ENVIRONMENT}/bin/python3.11"}, True),
        ("fractalctl", {"venv-2.16.6": f"{ENVIRONMENT}/bin/python3.11"}, True),
        (f"{ENVIRONMENT}/bin/fractalctl", {"venv-2.15.0": "/venv/bin/python3.11", "venv-2.16.6": None}, False),
        (f"{ENVIRONMENT}/bin/fractalctl", {"venv-of-mine": f"{ENVIRONMENT}/bin/python3.11"}, False),
        (f"{ENVIRONMENT}/bin/gunicorn", {"venv-2.16.6": f"{ENVIRONMENT}/bin/python3.11"}, False),
        (f"{ENVIRONMENT}/bin/fractalctl", {}, False),
    ],
)
def test_where_pip_took_the_script_away_its_copy_beside_tells_the_interpreter(tmp_path, command, copies, found):
    environment = f"{tmp_path}/venv"
    for name, interpreter in copies.items():
        script = tmp_path / name / "bin" / "fractalctl"
        script.parent.mkdir(parents=True)
        shebang = f"#!{interpreter.replace(ENVIRONMENT, environment)}" if interpreter else "no shebang"
        script.write_text(f"{shebang}\nimport sys\n")
        script.chmod(0o755)
    unit = parse_unit("fractal-server.service", SHOW.replace("User=fractal", f"User={getpass.getuser()}"))
    words = [command.replace(ENVIRONMENT, environment), "start"]
    line = read_command(words, Surroundings({"PATH": f"/usr/bin:{environment}/bin"}))
    if not found:
        with pytest.raises(FractalError, match="leads to no Python environment"):
            discovery._interpreter_of(unit, line)
        return
    assert discovery._interpreter_of(unit, line) == f"{environment}/bin/python3.11"
    there = tmp_path / "venv" / "bin" / "fractalctl"
    there.parent.mkdir(parents=True)
    there.write_text(f"#!{environment}/bin/python3\n")
    there.chmod(0o755)
    assert discovery._interpreter_of(unit, line) == f"{environment}/bin/python3"


def test_account_and_interpreter_are_told_before_anything_slow_is_asked(monkeypatch):
    asked = []
    monkeypatch.setattr(discovery, "read_unit", lambda name: parse_unit(f"{name}.service", SHOW))
    monkeypatch.setattr(discovery, "surroundings", lambda _unit: None)
    monkeypatch.setattr(discovery, "read_command", lambda *_given: None)

    def slow(*_given):
        raise FractalError("it does not run")

    monkeypatch.setattr(discovery, "facts", slow)
    with pytest.raises(FractalError, match="it does not run"):
        discover_server("fractal-server", "/venv/bin/python3", when_known=lambda *told: asked.append(told))
    assert asked == [("fractal", "/venv/bin/python3")]
