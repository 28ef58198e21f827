"""The pure parts of a rehearsal; with a real database and the real releases it is in tests/integration."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.accounts import Account
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.door import Door
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import Installation
from ansible_collections.fractal_ops.platform.plugins.module_utils._env_file.reading import read_env_file
from ansible_collections.fractal_ops.platform.plugins.module_utils._upgrade import rehearsal, rehearsal_files
from ansible_collections.fractal_ops.platform.plugins.module_utils._upgrade.prediction import (
    copy_speed,
    predict,
    whole,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._upgrade.rehearsal import Wanted, rehearse
from ansible_collections.fractal_ops.platform.plugins.module_utils._upgrade.rehearsal_database import put_out_of_reach
from ansible_collections.fractal_ops.platform.plugins.module_utils._upgrade.rehearsal_files import (
    Stage,
    dress,
    dress_for_the_start,
    without,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._upgrade.trial_server import token_of
from hypothesis import given
from hypothesis import strategies as st

NOT_PENDING = {"data_migration": "done", "stop": "2.18.0"}
MEASURED = {
    "dump": 10.0,
    "proof": 30.0,
    "copy": 2.0,
    "compare": 0.5,
    "environment": 0.25,
    "switch 2.17.0": 1.0,
    "schema 2.17.0": 2.0,
    "data 2.17.0": 3.0,
    "switch 2.17.2": 1.0,
    "schema 2.17.2": 2.0,
    "note": 0.5,
    "start": 4.0,
    "stop": 0.5,
}
HOPS = ["2.17.0", "2.17.2"]


# -- prediction -------------------------------------------------------------------------------------------------------


def test_the_copy_is_scaled_to_the_bytes_of_the_instance_and_nothing_else_is() -> None:
    assert predict(MEASURED, HOPS, size=300, copied=100) == {
        "stop": 0.5,
        "backup": 6.5,
        "environment_file": 0.25,
        "hop 2.17.0": 6.0,
        "hop 2.17.2": 3.0,
        "note": 0.5,
        "start": 4.0,
    }
    # a restored database that came out larger takes what was measured
    assert predict(MEASURED, HOPS, size=50, copied=100)["backup"] == 2.5
    assert copy_speed(MEASURED, 100) == 50 and copy_speed(MEASURED, 0) == 0 == copy_speed({}, 100)


def test_where_no_copy_can_be_made_the_window_holds_the_dump_and_its_proof() -> None:
    assert predict(MEASURED, HOPS, size=300, copied=0)["backup"] == 40.0


@given(st.integers(1, 10**13), st.integers(1, 10**13))
def test_a_larger_database_is_never_predicted_to_take_less(size: int, more: int) -> None:
    small, large = (whole(predict(MEASURED, HOPS, one, copied=10**9)) for one in (size, size + more))
    assert 0 < small <= large


def test_of_a_hop_only_what_the_window_waits_for_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that migrates stands by there; from the second hop on another one asks the database for the file."""
    clock = [0.0]

    def takes(seconds: float, result: Any) -> Any:
        clock[0] += seconds
        return result

    told = {"schema": {"duration": 1.0}, "data": {"duration": 1.5}}
    monkeypatch.setattr(rehearsal, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(rehearsal, "dress", lambda *_given: takes(0.25, Installation("/e")))
    monkeypatch.setattr(Door, "call", lambda *_given: takes(3.5, told))
    monkeypatch.setattr(rehearsal._Rehearsal, "_python_of", lambda *_given: "/python")
    nothing: Any = SimpleNamespace(state={}, env_options={})
    one = rehearsal._Rehearsal(Installation("/e"), Door(Account.named(None), "/python"), nothing, nothing, nothing)
    for release in HOPS:
        one._hop(release, "scratch")
    parts = {f"{part} {release}": told[part]["duration"] for release in HOPS for part in told}
    assert one.seconds == {"environment": 0.25, "switch 2.17.2": 1.25, **parts}


# -- files ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """The private folder of an instance that runs as ourselves."""
    monkeypatch.setattr(rehearsal_files, "_PARENT", str(tmp_path / "run"))
    (tmp_path / "run").mkdir()
    made = Stage.of(Installation(str(tmp_path / "server/.fractal_server.env")))
    made.open()
    return made


def written(tmp_path: Path, text: str, **process: str) -> Installation:
    folder = tmp_path / "server"
    folder.mkdir()
    (folder / ".fractal_server.env").write_text(text)
    return Installation(str(folder / ".fractal_server.env"), process)


NEW = "JWT_SECRET_KEY=k\nFRACTAL_RUNNER_BACKEND=slurm_sudo\nFRACTAL_DEFAULT_GROUP_NAME=All\n"


def dressed_for(stage: Stage, installation: Installation) -> Installation:
    return dress(stage, installation, "", "2.18.1", "fractal_rehearsal_x", NOT_PENDING, {"default_group_name": "All"})


def test_a_release_finds_its_file_with_another_database_and_nothing_else(stage: Stage, tmp_path: Path) -> None:
    text = f"{NEW}POSTGRES_DB=fractal\nPOSTGRES_PASSWORD='a b'\n"
    installation = written(tmp_path, text, POSTGRES_DB="fractal", PGSSLMODE="disable")
    dressed = dressed_for(stage, installation)
    # whichever of the two counts
    assert dressed.process_environment == {"POSTGRES_DB": "fractal_rehearsal_x", "PGSSLMODE": "disable"}
    found = read_env_file(dressed.env_file, {})
    assert found == {**read_env_file(installation.env_file, {}), "POSTGRES_DB": "fractal_rehearsal_x"}
    assert Path(installation.env_file).read_text() == text
    assert os.path.dirname(dressed.env_file) == stage.path == dressed.working_directory
    assert Path(stage.path).stat().st_mode & 0o777 == 0o711
    assert Path(dressed.env_file).stat().st_mode & 0o777 == 0o600
    stage.close()
    assert not os.path.exists(stage.path)


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_the_account_reaches_its_files_whatever_the_umask(stage: Stage, umask: int) -> None:
    old = os.umask(umask)
    try:
        stage.open()
    finally:
        os.umask(old)
    assert Path(stage.path).stat().st_mode & 0o777 == 0o711
    assert Path(stage.empty_folder).stat().st_mode & 0o777 == 0o700


def test_relative_paths_of_files_lead_to_the_files_all_the_same(stage: Stage, tmp_path: Path) -> None:
    installation = written(tmp_path, f"{NEW}POSTGRES_DB=fractal\nLOG_CONFIG_FILE=log.json\nFRACTAL_LOGGING_LEVEL=20\n")
    (tmp_path / "server/log.json").write_text("{}")
    found = read_env_file(dressed_for(stage, installation).env_file, {})
    assert found["LOG_CONFIG_FILE"] == str(tmp_path / "server/log.json") and found["FRACTAL_LOGGING_LEVEL"] == "20"


def test_a_started_server_writes_no_log_file_and_finds_no_folder_of_jobs(stage: Stage, tmp_path: Path) -> None:
    text = f"{NEW}POSTGRES_DB=fractal\nLOG_CONFIG_FILE=/etc/log.json\n"
    installation = written(tmp_path, text, FRACTAL_TASKS_DIR="/tasks", LOG_CONFIG_FILE="/etc/log.json")
    dressed = dressed_for(stage, installation)
    stage.write(".fractal_server.env", Path(dressed.env_file).read_text() + "FRACTAL_RUNNER_WORKING_BASE_DIR=/jobs\n")
    started = dress_for_the_start(stage, dressed)
    assert "LOG_CONFIG_FILE" not in started.variables()
    assert started.variables()["FRACTAL_TASKS_DIR"] == stage.empty_folder
    assert started.variables()["FRACTAL_RUNNER_WORKING_BASE_DIR"] == stage.empty_folder
    assert started.variables()["POSTGRES_DB"] == "fractal_rehearsal_x"


def test_only_the_named_variables_go() -> None:
    text = "# LOG_CONFIG_FILE=x\nA='1\nLOG_CONFIG_FILE=2'\nexport LOG_CONFIG_FILE=x\nB=2\n"
    assert without(text, ("LOG_CONFIG_FILE",)) == "# LOG_CONFIG_FILE=x\nA='1\nLOG_CONFIG_FILE=2'\nB=2\n"


# -- the server, the database, check mode -----------------------------------------------------------------------------


def test_a_token_is_what_fastapi_users_reads() -> None:
    head, claims, signature = token_of(7, "key").split(".")

    def part(text: str) -> bytes:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))

    assert json.loads(part(head)) == {"alg": "HS256", "typ": "JWT"}
    told = json.loads(part(claims))
    assert told["sub"] == "7" and told["aud"] == ["fastapi-users:auth"]
    assert part(signature) == hmac.new(b"key", f"{head}.{claims}".encode(), hashlib.sha256).digest()


def test_the_instances_own_database_is_never_changed_for_a_start(monkeypatch: pytest.MonkeyPatch) -> None:
    own = Installation("", database={"POSTGRES_DB": "fractal"})
    with pytest.raises(AssertionError, match="no database of a rehearsal"):
        put_out_of_reach(own, "/run/x")


def test_check_mode_asks_for_nothing_and_says_so() -> None:
    done: dict[str, Any] = rehearse(Installation("/nonexistent/.env"), "/nonexistent", Wanted(["2.17.0"]), True)
    assert done["skipped"] and "nothing was rehearsed" in done["msg"]


def test_a_release_with_an_unknown_data_migration_is_refused_first(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FractalError, match="not on the release path"):
        rehearse(Installation("/nonexistent/.env", run_as=Account.named(None).name), "/python", Wanted(["9.9.9"]))
