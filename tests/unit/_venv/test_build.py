"""Python environments: what is carried over, where scripts point, what errors show."""

import json
import os
import sys

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._venv import build
from ansible_collections.fractal_ops.platform.plugins.module_utils._venv.build import (
    additional_packages,
    build_environment,
    distributions,
    relocate,
    remove_partial,
    run_tool,
    staged_releases,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._venv.settings_check import check_settings
from ansible_collections.fractal_ops.platform.plugins.module_utils._venv.strategies import prepare_in_place
from environments import installed


def package(name, version="1.0", requires=(), direct_url=None):
    return {"name": name, "version": version, "requires": list(requires), "direct_url": direct_url}


FRACTAL = package("fractal-server", "2.16.6", ["fastapi[standard]>=0.1", 'old-dep; python_version < "4"'])
OLD = [
    FRACTAL,
    package("fastapi", requires=["starlette", 'uvicorn; extra == "standard"', 'gunicorn; extra == "all"']),
    package("starlette"),
    package("uvicorn"),
    package("old_dep"),
    package("pip"),
    package("setuptools"),
]


def test_only_what_fractal_does_not_bring_itself_is_carried_over():
    agents = [package("Gunicorn", "23.0.0"), package("sentry_sdk", "2.0", ["certifi"]), package("certifi", "2026.1")]
    new = [package("fractal-server", "2.17.0"), package("fastapi"), package("certifi", "2026.9")]
    assert additional_packages([*OLD, *agents], new) == ["Gunicorn==23.0.0", "sentry_sdk==2.0"]


def test_a_package_from_a_repository_is_carried_over_from_there():
    direct = '{"url": "https://example.org/agent.git", "vcs_info": {"vcs": "git", "commit_id": "abc"}}'
    old = [*OLD, package("agent", direct_url=direct)]
    assert additional_packages(old, []) == ["agent @ git+https://example.org/agent.git@abc"]


def test_scripts_name_the_place_they_will_have(tmp_path):
    final, partial = tmp_path / "venv", tmp_path / "venv-2.17.0.partial"
    (partial / "bin").mkdir(parents=True)
    script = partial / "bin" / "fractalctl"
    script.write_text(f"#!{partial}/bin/python3\nprint()\n")
    script.chmod(0o755)
    binary = partial / "bin" / "native"
    binary.write_bytes(b"\x7fELF\0" + str(partial).encode())
    os.symlink("/usr/bin/python3", partial / "bin" / "python3")
    (partial / "pyvenv.cfg").write_text(f"command = python3 -m venv {partial}\n")
    relocate(str(partial), str(final))
    assert script.read_text().startswith(f"#!{final}/bin/python3\n")
    assert script.stat().st_mode & 0o777 == 0o755
    assert (partial / "pyvenv.cfg").read_text() == f"command = python3 -m venv {final}\n"
    assert str(partial).encode() in binary.read_bytes()
    assert os.readlink(partial / "bin" / "python3") == "/usr/bin/python3"


def test_only_complete_environments_count_as_staged(tmp_path):
    environment = str(tmp_path / "venv")
    for folder, version in (("venv-2.17.0", "2.17.0"), ("venv-2.17.1.partial", "2.17.1"), ("venv-2.17.2", "2.17.0")):
        installed(tmp_path / folder, version)
    os.symlink("venv-2.17.0", tmp_path / "venv-2.16.6")
    assert staged_releases(environment) == ["2.17.0"]


def test_the_environment_in_use_is_not_staged_and_not_looked_through(tmp_path, monkeypatch):
    for version in ("2.16.6", "2.17.0"):
        installed(tmp_path / f"venv-{version}", version)
    (tmp_path / "venv").symlink_to("venv-2.17.0")
    looked = []
    monkeypatch.setattr(build, "is_complete", lambda folder, version: looked.append(version) or True)
    assert staged_releases(str(tmp_path / "venv")) == looked == ["2.16.6"]


SPOILT = ["empty", "gone", "no script", "no record", "empty record", "other package", "pipe", "link"]


@pytest.mark.parametrize("spoil", SPOILT)
def test_an_environment_that_a_power_cut_left_half_is_not_staged(tmp_path, spoil):
    packages = installed(tmp_path / "venv-2.17.0", "2.17.0")
    main, record = packages / "fractal_server" / "main.py", packages / "fractal_server-2.17.0.dist-info" / "RECORD"
    assert staged_releases(str(tmp_path / "venv")) == ["2.17.0"]
    if spoil == "empty":
        os.truncate(main, 0)
    elif spoil == "gone":
        main.unlink()
    elif spoil == "no script":
        (tmp_path / "venv-2.17.0" / "bin" / "fractalctl").unlink()
    elif spoil == "empty record":
        os.truncate(record, 0)
    elif spoil == "other package":
        (packages / "fastapi-1.dist-info").mkdir()
        (packages / "fastapi-1.dist-info" / "RECORD").write_text("fastapi/__init__.py,sha256=x,5\n")
    else:
        record.unlink()
        if spoil == "pipe":
            os.mkfifo(record)
        elif spoil == "link":
            record.symlink_to("/dev/full")
    assert staged_releases(str(tmp_path / "venv")) == []


def test_a_failed_tool_tells_its_last_lines_without_credentials():
    code = "import sys; sys.exit('ERROR: https://user:s3cret@index.example/simple not found')"
    with pytest.raises(FractalError) as caught:
        run_tool([sys.executable, "-c", code], os.environ, "install fractal-server")
    assert "install fractal-server" in str(caught.value)
    assert "index.example/simple" in str(caught.value)
    assert "s3cret" not in str(caught.value)
    with pytest.raises(FractalError, match="/nonexistent"):
        run_tool(["/nonexistent"], os.environ, "run it")


def test_what_a_killed_preparation_left_goes(tmp_path):
    for name in ("venv", "venv-2.17.0", "venv-2.17.0.partial"):
        (tmp_path / name).mkdir()
    assert remove_partial(str(tmp_path / "venv")) == [str(tmp_path / "venv-2.17.0.partial")]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["venv", "venv-2.17.0"]


def test_what_the_account_planted_beside_its_environment_leads_root_nowhere(attacker):
    final = attacker.theirs / "venv"
    attacker.does(os.mkdir, final)
    for name in ("venv-2.17.0.partial", "venv-2.17.1.partial", "venv-2.17.2"):
        attacker.does(os.symlink, attacker.roots, attacker.theirs / name)
    (attacker.theirs / "venv-2.17.3.partial").mkdir()
    (attacker.theirs / "venv-2.17.3.partial" / "root").mkdir()
    with pytest.raises(FractalError, match=r"Cannot remove .*venv-2\.17\.3\.partial"):
        remove_partial(str(final))
    (attacker.theirs / "venv-2.17.3.partial" / "root").rmdir()
    remove_partial(str(final))
    assert sorted(os.listdir(attacker.theirs)) == ["venv", "venv-2.17.2"]
    assert staged_releases(str(final)) == []
    assert attacker.untouched()


def fake_python(attacker, tmp_path):
    """An interpreter that says as whom it runs, and makes of ``-m venv`` and pip what there must be."""
    script = attacker.theirs / "python3"
    log = attacker.theirs / "log"
    attacker.does(
        script.write_text,
        f"""#!/bin/sh
echo "$(id -u) $(umask) $(printf %s "$*" | tr "\\n" " ") [$PIP_EXTRA_INDEX_URL]" >> {log}
for last; do :; done
case "$*" in
*"-m venv"*) mkdir -p "$last/bin" && cp "$0" "$last/bin/python3" ;;
*"-m pip"*) cat "$last" >> {log} 2>/dev/null || : ;;
*importlib*) case "$0" in
  *partial*) echo '[]' ;;
  *) echo '[{{"name": "agent", "version": "1", "requires": [],
     "direct_url": "{{\\"url\\": \\"https://bob:s3cret@git.example/a\\"}}"}}]' ;; esac ;;
esac
""",
    )
    attacker.does(script.chmod, 0o755)
    return script, log


def test_all_of_a_build_is_done_as_the_account_and_no_password_is_in_sight(attacker, tmp_path):
    script, log = fake_python(attacker, tmp_path)
    final = attacker.theirs / "venv"
    attacker.does((final / "bin").mkdir, 0o755, True)
    attacker.does(os.symlink, script, final / "bin" / "python3")
    instance = {
        "environment": str(final),
        "base_python": str(script),
        "python": str(final / "bin/python3"),
        "user": attacker.name,
    }
    arguments = ["--extra-index-url", "https://bob:s3cret@index.example/simple"]
    old = os.umask(0o077)
    try:
        built = build_environment(instance, "2.17.0", arguments, os.environ)
    finally:
        os.umask(old)
    lines = log.read_text().splitlines()
    assert [line for line in lines if " -" in line and not line.startswith(f"{attacker.uid} 0022 ")] == []
    assert [line for line in lines if line.endswith("[https://bob:s3cret@index.example/simple]")]
    assert not [line for line in lines if "s3cret" in line.partition("[")[0] and " -" in line]
    assert "agent @ https://bob:s3cret@git.example/a" in lines, "pip read it from a file"
    assert [line for line in lines if "fractal-server==2.17.0 bcrypt<5 paramiko<5" in line]
    assert "s3cret" not in str(built) and "agent @" in built["carried_over"][0]
    target = attacker.theirs / "venv-2.17.0"
    assert {path.lstat().st_uid for path in (target, *target.rglob("*"))} == {attacker.uid}
    assert not list(target.rglob("*.txt")) and attacker.untouched()


def test_a_folder_swapped_for_a_link_during_the_build_gives_away_nothing(attacker, tmp_path, monkeypatch):
    script, _log = fake_python(attacker, tmp_path)
    final = attacker.theirs / "venv"
    attacker.does((final / "bin").mkdir, 0o755, True)
    attacker.does(os.symlink, script, final / "bin" / "python3")
    instance = {"environment": str(final), "base_python": str(script), "python": str(final / "bin/python3")}
    real = build.run_tool

    def swapping(command, *arguments, **options):
        done = real(command, *arguments, **options)
        if "pip" in command:
            partial = attacker.theirs / "venv-2.17.0.partial"
            if not partial.is_symlink():
                attacker.does(os.rename, partial, attacker.theirs / "moved")
                attacker.does(os.symlink, attacker.roots / "folder", partial)
        return done

    monkeypatch.setattr(build, "run_tool", swapping)
    with pytest.raises((FractalError, OSError)):
        build_environment(instance, "2.17.0", [], os.environ)
    assert attacker.untouched()


def test_a_copy_aside_is_made_as_the_account(attacker, tmp_path):
    script, _log = fake_python(attacker, tmp_path)
    final = attacker.theirs / "venv"
    attacker.does((final / "bin").mkdir, 0o755, True)
    attacker.does(os.symlink, script, final / "bin" / "python3")
    attacker.does(os.symlink, attacker.roots, final / "link")
    attacker.does(os.symlink, attacker.roots, attacker.theirs / "venv-2.16.6.partial")
    instance = {"environment": str(final), "python": str(final / "bin/python3"), "version": "2.16.6"}
    prepare_in_place(instance, "2.17.0", [], os.environ)
    assert (attacker.theirs / "venv-2.16.6" / "link").is_symlink()
    assert (attacker.theirs / "venv-2.16.6").stat().st_uid == attacker.uid
    assert (attacker.theirs / "venv-2.17.0.wheels").stat().st_uid == attacker.uid
    assert attacker.untouched()


def test_what_is_not_ours_is_in_the_way_and_a_damaged_build_is_not(attacker, tmp_path):
    script, _log = fake_python(attacker, tmp_path)
    final = attacker.theirs / "venv"
    attacker.does((final / "bin").mkdir, 0o755, True)
    attacker.does(os.symlink, script, final / "bin" / "python3")
    instance = {"environment": str(final), "base_python": str(script), "python": str(final / "bin/python3")}
    target = attacker.theirs / "venv-2.17.0"
    attacker.does((target / "lib/python3.11/site-packages").mkdir, 0o755, True)
    with pytest.raises(FractalError, match="is in the way"):
        build_environment(instance, "2.17.0", [], os.environ)
    attacker.does((target / "lib/python3.11/site-packages/fractal_server-2.17.0.dist-info").mkdir)
    build_environment(instance, "2.17.0", [], os.environ)
    assert not (target / "lib").exists()


def test_a_tool_begins_where_nobody_has_planted_modules_and_without_a_terminal(attacker, monkeypatch):
    """Python finds modules where it starts; who has a terminal can type there for the shell that root comes back to."""
    for name in ("venv.py", "pip.py", "site.py"):
        attacker.does((attacker.theirs / name).write_text, f"open('{attacker.roots}/pwned', 'w')")
    monkeypatch.chdir(attacker.theirs)
    run_tool([sys.executable, "-m", "venv", "--help"], os.environ, "make an environment")
    said = run_tool([sys.executable, "-c", "import os; print(os.getcwd(), os.getsid(0) == os.getpid())"], {}, "look")
    assert said.split() == ["/", "True"]
    assert attacker.untouched()


@pytest.mark.parametrize(
    ("code", "why"), [("while True: pass", "no answer within"), ("while True: print('x' * 9999)", "more output than")]
)
def test_a_tool_that_hangs_or_floods_is_ended(monkeypatch, code, why):
    monkeypatch.setattr(build, "_LONGEST", 1 if why.startswith("no") else 600)
    with pytest.raises(FractalError, match=why):
        run_tool([sys.executable, "-c", code], {}, "install it")


@pytest.mark.parametrize(
    "said",
    [
        "",
        "[1]",
        "{}x",
        '[{"name": "a"}]',
        '[{"name": "--index-url=x", "version": "1", "requires": [], "direct_url": null}]',
        '[{"name": "a\\nb", "version": "1", "requires": [], "direct_url": null}]',
        '[{"name": "a", "version": "1", "requires": [2], "direct_url": null}]',
        '[{"name": "a", "version": "1", "requires": [], "direct_url": "[]"}]',
        '[{"name": "a", "version": "1", "requires": [], "direct_url": "{\\"url\\": 1}"}]',
    ],
)
def test_an_interpreter_whose_word_makes_no_sense_is_told(tmp_path, said):
    python = tmp_path / "python3"
    python.write_text(f"#!/bin/sh\ncat <<'EOF'\n{said}\nEOF\n")
    python.chmod(0o755)
    (tmp_path / "env").write_text("A=1\n")
    with pytest.raises(FractalError, match="its answer makes no sense"):
        distributions(str(python))
    with pytest.raises(FractalError, match="its answer makes no sense"):
        check_settings(str(python), str(tmp_path / "env"), {})


@pytest.mark.parametrize("prefix", ["file://", "git+file://"])
def test_root_installs_nothing_from_a_folder_of_another_account(attacker, prefix):
    """An environment of root's, with a package of the service account's: its setup.py is not for root to run."""
    sources = [f"tasks @ {prefix}{attacker.theirs}/my%20tasks@0123", "other==1"]
    with pytest.raises(FractalError, match=f"tasks was installed from .*my tasks, which .*{attacker.name} can"):
        build._refuse_foreign_sources(sources)
    mine = attacker.theirs.parent / "mine"
    (mine / "venv" / "bin").mkdir(parents=True)
    python, log = mine / "venv" / "bin" / "python3", mine / "log"
    direct = json.dumps({"url": f"file://{attacker.theirs}/tasks", "dir_info": {"editable": True}})
    listed = json.dumps([{"name": "tasks", "version": "1", "requires": [], "direct_url": direct}])
    python.write_text(f"""#!/bin/sh
for last; do :; done
case "$*" in
*"-m venv"*) mkdir -p "$last/bin" && cp "$0" "$last/bin/python3" ;;
*"-m pip"*) echo "$*" >> {log} ;;
*importlib*) case "$0" in *partial*) echo '[]' ;; *) echo '{listed}' ;; esac ;;
esac
""")
    python.chmod(0o755)
    instance = {"environment": str(mine / "venv"), "base_python": str(python), "python": str(python)}
    with pytest.raises(FractalError, match=r"tasks was installed from .*chown -R root"):
        build_environment(instance, "2.17.0", [], os.environ)
    assert "carried-over" not in log.read_text() and sorted(os.listdir(mine)) == ["log", "venv"]
    os.chown(attacker.theirs, 0, 0)
    assert build_environment(instance, "2.17.0", [], os.environ)["carried_over"]
