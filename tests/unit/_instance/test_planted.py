"""What a service account can put in place of the files that root reads when it looks at a unit: it is told, at once."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.accounts import Account
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.systemd import parse_unit
from ansible_collections.fractal_ops.platform.plugins.module_utils._env_file.reading import read_env_file
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.discovery import shebang_interpreter
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.journal import unit_secrets
from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.unit import check_openid_provider
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.r2_17_0.configurations import (
    check_configuration,
)

if TYPE_CHECKING:
    from conftest import Attacker

PLANTED = ["pipe", "endless", "directory", "huge", "root's", "another name of root's", "loop"]


@pytest.fixture(autouse=True)
def nobody_waits() -> Iterator[None]:
    """Fail, where a pipe would be waited for until its owner writes into it."""

    def told(*_arguments: Any) -> None:
        raise AssertionError("this waits for the service account")

    before = signal.signal(signal.SIGALRM, told)
    signal.alarm(30)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(params=PLANTED)
def planted(request: pytest.FixtureRequest, attacker: Attacker) -> Path:
    """A path in a folder of the account, with something there that is no file of its own."""
    path = attacker.theirs / "planted"
    if request.param == "pipe":
        attacker.does(os.mkfifo, path, 0o777)
    elif request.param == "endless":
        attacker.does(os.symlink, "/dev/zero", path)
    elif request.param == "directory":
        attacker.does(os.mkdir, path)
    elif request.param == "huge":
        attacker.does(lambda: os.truncate(os.open(path, os.O_CREAT | os.O_RDWR, 0o755), 1 << 40))
    elif request.param == "root's":
        attacker.does(os.symlink, attacker.roots / "canary", path)
    elif request.param == "another name of root's":
        os.link(attacker.roots / "canary", path)  # as where fs.protected_hardlinks is off
    else:
        attacker.does(os.symlink, path, path)
    return path


def test_the_environment_file(planted: Path) -> None:
    with pytest.raises(FractalError, match=str(planted)):
        read_env_file(str(planted), {})


def test_a_file_of_variables_of_the_unit(planted: Path) -> None:
    with pytest.raises(FractalError, match=f"{planted}.*The unit x.service reads it"):
        parse_unit("x.service", f"EnvironmentFiles={planted} (ignore_errors=no)\n").process_environment()
    optional = parse_unit("x.service", f"EnvironmentFiles={planted} (ignore_errors=yes)\n")
    if planted.is_file():
        with pytest.raises(FractalError, match=str(planted)):
            optional.process_environment()
    else:
        assert optional.process_environment() == {}


def test_the_script_that_starts_the_service(planted: Path, attacker: Attacker) -> None:
    assert shebang_interpreter(str(planted), Account.of_uid(attacker.uid)) is None


def test_what_a_journal_must_not_show(planted: Path) -> None:
    unit = parse_unit("x.service", f"EnvironmentFiles={planted} (ignore_errors=no)\nEnvironment=JWT_SECRET_KEY=abc\n")
    assert unit_secrets(unit) == {"abc"}


def test_a_configuration_that_the_environment_file_names(planted: Path, attacker: Attacker) -> None:
    # the child that reads it is the account; root here can read what the account cannot
    values = {"FRACTAL_SLURM_CONFIG_FILE": str(planted)}
    found = [one.id for one in check_configuration(values, "slurm_sudo", str(attacker.theirs))]
    assert found and set(found) <= {"config.unreadable", "config.not_json"}


def test_an_address_that_the_environment_file_names(attacker: Attacker) -> None:
    """The address of an OpenID provider may lead to a file of this host: it is opened with the account's rights."""
    mine = attacker.theirs.parent / "mine.json"
    mine.write_text('{"authorization_endpoint": "x", "token_endpoint": "y"}')
    mine.chmod(0o600)
    host: Any = SimpleNamespace(
        values={"OAUTH_IDP_OIDC_CONFIGURATION_ENDPOINT": f"file://{mine}"}, account=Account.of_uid(attacker.uid)
    )
    assert [one.id for one in check_openid_provider(host)] == ["oauth.provider_unreachable"]
    mine.chmod(0o644)
    assert list(check_openid_provider(host)) == []
