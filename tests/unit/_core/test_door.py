"""The door to fractal-server's environment: what goes through, and what whoever owns the environment can do to root."""

from __future__ import annotations

import io
import json
import os
import pwd
import re
import select
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._core import child as child_file
from ansible_collections.fractal_ops.platform.plugins.module_utils._core import door as door_file
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.accounts import Account
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.door import Door
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.programs import run
from ansible_collections.fractal_ops.platform.plugins.module_utils._venv.interpreter import PythonFacts, facts, keeper

sys.path.insert(0, str(Path(__file__).parent))
import door_trials as trials

ACCOUNT = f"fractal-door-{os.getpid()}"  # several sessions may run at once
OTHERS_PYTHON = "/usr/bin/python3"  # one that every account may run
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can run something as another account")


@pytest.fixture(scope="module", autouse=True)
def code_with_trials() -> Iterator[None]:
    """Let the child find the functions of door_trials."""
    buffer = io.BytesIO(door_file.collection_code())
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.write(trials.__file__, "door_trials.py")
    patch = pytest.MonkeyPatch()
    patch.setattr(door_file, "collection_code", buffer.getvalue)
    yield
    patch.undo()


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    """An account that owns nothing of root's."""
    if os.geteuid() != 0:
        pytest.skip("only root can make an account")
    # a number that nobody has in a container either: their processes are processes of this machine
    uid = str(2_000_000_000 + os.getpid())
    subprocess.run(["useradd", "--create-home", "--uid", uid, ACCOUNT], check=True, stderr=subprocess.DEVNULL)
    try:
        yield Account.named(ACCOUNT)
    finally:
        subprocess.run(["userdel", "--force", "--remove", ACCOUNT], check=True, stderr=subprocess.DEVNULL)


@pytest.fixture
def door() -> Door:
    return Door(Account.named(None), sys.executable)


def test_arguments_and_result_go_through(door: Door) -> None:
    place = trials.Place("café", {"PGHOST": "x"})
    result = door.call(trials.echo, place, words=["a", "ü\n"], known=False)
    assert result == {"name": "café", "options": {"PGHOST": "x"}, "words": ["a", "ü\n"], "known": False}


def test_the_child_is_alone(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTGRES_PASSWORD", "ours")
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    seen = door.call(trials.who)
    assert set(seen["environ"]) <= {"PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_CTYPE"}
    assert (seen["cwd"], seen["leads_session"], seen["flags"]) == ("/", True, [1, 1])


@needs_root
def test_the_child_is_the_account(stranger: Account) -> None:
    seen = Door(stranger, OTHERS_PYTHON).call(trials.who)
    assert seen["uids"] == [str(stranger.uid)] * 4
    assert seen["groups"] == [stranger.gid]
    assert seen["environ"]["HOME"] == stranger.home == pwd.getpwnam(ACCOUNT).pw_dir


def test_what_it_prints_is_not_the_answer(door: Door) -> None:
    assert door.call(trials.prints) == {"done": True}


def test_nothing_secret_is_in_sight(door: Door) -> None:
    secret = "s3cret-of-the-database"
    done = door.call(trials.echo, trials.Place(secret, {}), words=[])
    assert done["name"] == secret
    seen = json.dumps(door.call(trials.who))
    assert secret not in seen
    with pytest.raises(FractalError) as error:
        door.call(trials.breaks, secret)
    assert secret not in str(error.value)
    assert re.search(r"ValueError in \S*door_trials.py:\d+ \(breaks\)", str(error.value))


def test_an_error_of_ours_comes_back_as_it_is(door: Door) -> None:
    with pytest.raises(FractalError, match=r"\AThe disk is full\?\[31m\nTidy up\.\Z"):
        door.call(trials.refuses, "The disk is full\x1b[31m\nTidy up.")


@pytest.mark.parametrize("what", [None, [], "text", 7])
def test_an_answer_of_another_shape_is_refused(door: Door, what: Any) -> None:
    with pytest.raises(FractalError, match="its answer is not one of this collection"):
        door.call(trials.gives, what)


@pytest.mark.parametrize("code", [0, 3])
def test_a_child_that_dies_is_named_with_its_last_words(door: Door, code: int) -> None:
    with pytest.raises(FractalError, match=f"it ended with {code}: the last words of it"):
        door.call(trials.ends, code)


def test_a_child_that_hangs_is_ended(door: Door) -> None:
    with pytest.raises(FractalError, match="no answer within 1 seconds"):
        replace(door, timeout=1).call(trials.hangs, 600)


def test_a_child_that_floods_is_ended(door: Door) -> None:
    with pytest.raises(FractalError, match="no answer within 1 seconds"):
        replace(door, timeout=1).call(trials.floods)


def test_a_huge_answer_is_not_read(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_file, "LONGEST_ANSWER", 1 << 20)
    assert len(door.call(trials.is_huge, 1000)["text"]) == 1000
    with pytest.raises(FractalError, match="more output than"):
        door.call(trials.is_huge, 2 << 20)


def test_a_long_number_is_not_read(door: Door) -> None:
    with pytest.raises(FractalError, match="its answer is not one of this collection"):
        door.call(trials.has_a_long_number)


def test_who_is_left_behind_is_not_waited_for(door: Door) -> None:
    """He holds all files open, the pipe of the answer, too; when nobody asks any more, he is ended with the child."""
    with replace(door, timeout=500).begin(trials.leaves_somebody_behind, "") as call:
        left = call.answer()["pid"]
        assert is_alive(left)
    wait_until(lambda: not is_alive(left))


@needs_root
def test_an_open_file_goes_along(stranger: Account, tmp_path: Path) -> None:
    dump = tmp_path / "root-only"
    dump.write_text("rows")
    dump.chmod(0o600)
    tmp_path.chmod(0o700)
    with dump.open() as stream:
        number = stream.fileno()
        door = Door(stranger, OTHERS_PYTHON, fds=(number,))
        assert door.call(trials.reads_file, number) == {"content": "rows"}
        assert number not in replace(door, fds=()).call(trials.who)["files"]


@pytest.mark.parametrize(
    "script",
    [
        "#!/bin/sh\nexit 0\n",
        "#!/bin/sh\necho '{\"result\": {}}'\n",
        "#!/bin/sh\nfor file in /proc/self/fd/*; do echo garbage > $file; done 2>/dev/null\n",
        '#!/bin/sh\nfor n in 3 4 5 6 7 8 9; do echo \'{"result": {}, "x": 1}\' > /proc/self/fd/$n; done 2>/dev/null\n',
        "no program\n",
    ],
)
def test_an_interpreter_that_is_none(tmp_path: Path, script: str) -> None:
    python = tmp_path / "python3"
    python.write_text(script)
    python.chmod(0o755)
    with pytest.raises(FractalError, match=rf"The Python environment of {python} does not do what"):
        Door(Account.named(None), str(python)).call(trials.who)


def test_an_interpreter_that_is_not_there() -> None:
    with pytest.raises(FractalError, match="No such file"):
        Door(Account.named(None), "/nowhere/bin/python3").call(trials.who)


@needs_root
def test_what_is_planted_in_the_environment_is_not_roots(stranger: Account, tmp_path_factory: Any) -> None:
    """A .pth file and an interpreter of the account's own: both run, as the account only."""
    place = Path(stranger.home)
    subprocess.run([OTHERS_PYTHON, "-m", "venv", "--without-pip", place / "venv"], check=True)
    site = next((place / "venv/lib").glob("python3*/site-packages"))
    note = f"import os; os.close(os.open('{place}/ran-' + str(os.getuid()), os.O_CREAT | os.O_WRONLY))"
    (site / "evil.pth").write_text(note + "\n")
    evil = place / "venv/bin/evil"
    evil.write_text(f'#!/bin/sh\nid -u > {place}/script-$(id -u)\nexec {place}/venv/bin/python3 "$@"\n')
    evil.chmod(0o755)
    shutil.chown(place, ACCOUNT)
    for python in (place / "venv/bin/python3", evil):
        seen = Door(stranger, str(python)).call(trials.who)
        assert seen["uids"] == [str(stranger.uid)] * 4
    ran = {path.name for path in place.iterdir() if "-" in path.name}
    assert ran == {f"{kind}-{stranger.uid}" for kind in ("ran", "script")}


@needs_root
def test_the_child_and_its_programs_end_with_their_module(stranger: Account) -> None:
    """Also across the change of account, which makes the kernel forget such a wish if it came before."""
    theirs, ours = os.pipe()
    script = f"""
import sys
sys.path[:0] = [{str(Path(__file__).parent)!r}]
import test_door, door_trials
next(test_door.code_with_trials.__wrapped__())
door = test_door.Door(test_door.Account.named({ACCOUNT!r}), {OTHERS_PYTHON!r}, fds=({ours},))
door.call(door_trials.waits, {ours})
"""
    with subprocess.Popen([sys.executable, "-c", script], pass_fds=[ours], stderr=subprocess.PIPE) as module:
        os.close(ours)
        with os.fdopen(theirs) as stream:
            line = stream.readline()
        if not line:
            assert module.stderr
            pytest.fail(module.stderr.read().decode())
        child = int(line)
        wait_until(lambda: Path(f"/proc/{child}/task/{child}/children").read_text().split())
        program = int(Path(f"/proc/{child}/task/{child}/children").read_text().split()[0])
        assert is_alive(child) and is_alive(program)
        module.kill()
    wait_until(lambda: not is_alive(child) and not is_alive(program))


@pytest.fixture
def dismissed() -> Iterator[None]:
    yield
    door_file.dismiss()


def standing_by() -> list[int]:
    return [child.process.pid for waiting in door_file._STANDING_BY.values() for child in waiting]


def test_a_child_that_stands_by_makes_all_calls_until_it_is_dismissed(door: Door, dismissed: None) -> None:
    door.stand_by(trials.who, trials.echo)
    (child,) = standing_by()
    door.stand_by(trials.who)
    assert standing_by() == [child], "it is enough"
    first = door.call(trials.who)
    assert door.call(trials.echo, trials.Place("x", {}), words=["a"])["words"] == ["a"]
    assert door.call(trials.prints) == {"done": True}
    again = door.call(trials.who)
    assert first["pid"] == again["pid"] == child and standing_by() == [child]
    assert first["files"] == again["files"], "nothing of a call stays open"
    door_file.dismiss()
    assert standing_by() == [] and not is_alive(child)
    alone = door.call(trials.who)["pid"]
    assert alone != child and not is_alive(alone) and standing_by() == []


def test_while_it_is_asked_another_child_makes_the_next_call(door: Door, dismissed: None) -> None:
    door.stand_by(trials.who)
    (child,) = standing_by()
    with door.begin(trials.who) as call:
        second = door.call(trials.who)["pid"]
        assert second != child and standing_by() == [second]
        assert call.answer()["pid"] == child
    assert standing_by() == [second, child]


@pytest.mark.parametrize("how", ["refuses", "breaks", "ends", "hangs", "gives", "left"])
def test_a_child_that_did_not_answer_well_is_not_asked_again(door: Door, dismissed: None, how: str) -> None:
    door.stand_by(trials.who)
    (child,) = standing_by()
    if how == "left":
        with pytest.raises(ZeroDivisionError), door.begin(trials.who):
            1 / 0  # noqa: B018
    else:
        given: Any = {"hangs": 600, "ends": 0}.get(how, "text")
        with pytest.raises(FractalError):
            replace(door, timeout=1 if how == "hangs" else 60).call(getattr(trials, how), given)
    assert standing_by() == [] and not is_alive(child)
    assert door.call(trials.who)["pid"] != child


def test_what_is_started_in_a_child_can_read_no_call(door: Door, dismissed: None) -> None:
    """Not its own, nor the next one: both may hold a password. All that is open is this collection's code."""
    door.stand_by(trials.who)
    for _call in range(2):
        seen = door.call(trials.starts_somebody)
        assert seen["stdin"] == "/dev/null"
        ours = [file for file in seen["files"] if re.search("socket|pipe|memfd", file)]
        assert ours == ["/memfd:fractal_ops (deleted)"]


def test_it_imports_before_it_is_asked(door: Door, dismissed: None) -> None:
    def lost() -> dict[str, Any]:
        return {}

    lost.__module__ = "no_such_module"
    door.stand_by(lost)
    (child,) = standing_by()
    wait_until(lambda: not is_alive(child))
    assert door.call(trials.who)["pid"] != child, "the call itself finds out what is wrong, if anything is"


def test_a_child_that_was_killed_meanwhile_is_not_asked(door: Door, dismissed: None) -> None:
    door.stand_by(trials.who)
    (child,) = standing_by()
    os.kill(child, signal.SIGKILL)
    wait_until(lambda: not is_alive(child))
    assert door.call(trials.who)["pid"] != child


def test_a_child_of_another_account_or_environment_is_not_asked(tmp_path: Path, dismissed: None) -> None:
    """The known path leads to another release after the switch; an open file is not theirs either."""
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "python3").symlink_to(sys.executable)
    known = tmp_path / "known"
    known.symlink_to("old")
    door = Door(Account.named(None), str(known / "python3"))
    door.stand_by(trials.who)
    (child,) = standing_by()
    with (tmp_path / "file").open("w") as stream:
        assert replace(door, fds=(stream.fileno(),)).call(trials.who)["pid"] != child
    known.unlink()
    known.symlink_to("new")
    assert door.call(trials.who)["pid"] != child
    assert Door(Account.named(None), str(tmp_path / "old/python3")).call(trials.who)["pid"] == child


def test_a_child_that_has_answered_ends_at_once(door: Door, tmp_path: Path) -> None:
    """A window waits for its end: to take the libraries down takes longer than many a call."""
    assert door.call(trials.leaves_work_for_its_end, str(tmp_path / "late")) == {"done": True}
    assert not (tmp_path / "late").exists()


def test_a_child_that_never_takes_its_call_is_ended(tmp_path: Path, dismissed: None) -> None:
    python = tmp_path / "python3"
    python.write_text("#!/bin/sh\nexec sleep 600\n")
    python.chmod(0o755)
    door = Door(Account.named(None), str(python), timeout=1)
    door.stand_by(trials.who)
    with pytest.raises(FractalError, match="no answer within 1 seconds"):
        door.call(trials.echo, trials.Place("long" * 1_000_000, {}), words=[])


def test_something_else_can_be_done_during_a_call(door: Door) -> None:
    with door.begin(trials.who) as call:
        assert select.select([call.result.ours], [], [], 60)[0], "it answers though nobody listens yet"
        assert call.answer()["pid"] == call.child.process.pid
    with pytest.raises(ZeroDivisionError), door.begin(trials.hangs, 600) as call:
        1 / 0  # noqa: B018
    assert not is_alive(call.child.process.pid)


def test_the_code_has_every_file_of_the_collection() -> None:
    root = Path(door_file.__file__).parents[1]
    with zipfile.ZipFile(io.BytesIO(door_file.collection_code())) as archive:
        names = archive.namelist()
    assert {str(path.relative_to(root)) for path in root.rglob("*.py")} <= {
        name.partition("plugins/module_utils/")[2] for name in names
    }


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(condition: Any) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def test_the_zip_that_ansible_ships_has_what_the_child_needs(tmp_path: Path) -> None:
    """A module as Ansible really runs it, up to the child's own words about the environment that it finds."""
    if run([OTHERS_PYTHON, "-I", "-c", "import sqlalchemy"]).code == 0:
        pytest.skip(f"{OTHERS_PYTHON} has SQLAlchemy")
    options = f"dbname=d run_as=nobody backend=slurm_sudo python={OTHERS_PYTHON}"
    command = ["ansible", "localhost", "-c", "local", "-e", f"ansible_python_interpreter={sys.executable}"]
    environ = {**os.environ, "ANSIBLE_HOME": str(tmp_path), "ANSIBLE_LOCAL_TEMP": str(tmp_path)}
    done = run([*command, "-m", "fractal_ops.platform.fractal_user_precheck", "-a", options], environ=environ)
    assert f"{OTHERS_PYTHON} has no sqlalchemy or psycopg" in done.out, done.out + done.err


@needs_root
def test_a_program_that_may_be_anybodys_is_never_run_as_root(stranger: Account) -> None:
    theirs = Path(stranger.home) / "python3"
    theirs.symlink_to("/usr/bin/python3")
    assert keeper(str(theirs)) == stranger
    assert keeper("/usr/bin/python3").name == keeper("/sbin/reboot").name == "nobody"


@pytest.mark.parametrize(
    "said",
    [
        "[]",
        "nothing",
        '{"prefix": "/v"}',
        '{"prefix": "/v", "base_python": "python3", "version": null, "python_version": "3.11.2", "is_venv": true}',
        '{"prefix": "/v", "base_python": "/p", "version": "2.17.0; rm", "python_version": "3.11.2", "is_venv": true}',
        '{"prefix": "/v", "base_python": "/p", "version": null, "python_version": ["3"], "is_venv": true}',
        '{"prefix": "/v", "base_python": "/p", "version": null, "python_version": "3.11.2", "is_venv": 1}',
    ],
)
def test_what_an_interpreter_says_of_itself_is_checked(tmp_path: Path, said: str) -> None:
    python = tmp_path / "python3"
    python.write_text(f"#!/bin/sh\necho '{said}'\n")
    python.chmod(0o755)
    with pytest.raises(FractalError, match="its answer makes no sense"):
        facts(str(python))


def test_facts_of_this_interpreter() -> None:
    found = facts(sys.executable)
    assert isinstance(found, PythonFacts) and found.prefix == sys.prefix and os.path.isabs(found.base_python)
