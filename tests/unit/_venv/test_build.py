"""Python environments: what is carried over, where scripts point, what errors show."""

import os
import sys
import venv

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._venv.build import (
    additional_packages,
    package_lines,
    prepared_releases,
    relocate,
    remove_partial,
    restore_in_place,
    run_tool,
    staged_releases,
)


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
        (tmp_path / folder / "lib/python3.11/site-packages" / f"fractal_server-{version}.dist-info").mkdir(parents=True)
    os.symlink("venv-2.17.0", tmp_path / "venv-2.16.6")
    assert staged_releases(environment) == ["2.17.0"]


def test_what_was_prepared_for_the_other_strategy_does_not_count(tmp_path):
    environment = str(tmp_path / "venv")
    (tmp_path / "venv-2.17.0/lib/python3.11/site-packages/fractal_server-2.17.0.dist-info").mkdir(parents=True)
    assert prepared_releases(environment, "2.16.6", "staged") == ["2.17.0"]
    assert prepared_releases(environment, "2.16.6", "in_place") == []
    (tmp_path / "venv-2.17.1.wheels").mkdir()
    assert prepared_releases(environment, "2.16.6", "in_place") == [], "without the copy there is no way back"
    (tmp_path / "venv-2.16.6").mkdir()
    assert prepared_releases(environment, "2.16.6", "in_place") == ["2.17.1"]
    assert prepared_releases(environment, "2.16.6", "staged") == ["2.17.0"]


def test_a_failed_tool_tells_its_last_lines_without_credentials():
    code = "import sys; sys.exit('ERROR: https://user:s3cret@index.example/simple not found')"
    with pytest.raises(FractalError) as caught:
        run_tool([sys.executable, "-c", code], os.environ, "install fractal-server")
    assert "install fractal-server" in str(caught.value)
    assert "index.example/simple" in str(caught.value)
    assert "s3cret" not in str(caught.value)
    with pytest.raises(FractalError, match="/nonexistent"):
        run_tool(["/nonexistent"], os.environ, "run it")


def environment(path, *packages):
    """Make an environment that holds packages, as far as their lists go."""
    venv.create(path, with_pip=False)
    for name in packages:
        folder = path / f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages/{name}-1.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
    return {"environment": str(path), "python": str(path / "bin" / "python"), "version": "2.16.6"}


def test_an_upgrade_in_place_is_taken_back_also_if_pip_did_not_get_to_fractal_server(tmp_path):
    half = environment(tmp_path / "venv", "Fractal", "new")
    environment(tmp_path / "venv-2.16.6", "Fractal", "old")
    before = ["Fractal==1", "old==1"]
    assert restore_in_place(half, "2.16.6", before) is True
    assert package_lines(half["python"]) == before
    assert [path.name for path in tmp_path.iterdir()] == ["venv"]
    assert restore_in_place(half, "2.16.6", before) is False


def test_an_environment_that_is_as_it_was_stays(tmp_path):
    untouched = environment(tmp_path / "venv", "old")
    environment(tmp_path / "venv-2.16.6", "half")  # what a rollback left that was killed: it must not come back
    assert restore_in_place(untouched, "2.16.6", ["old==1"]) is False
    assert package_lines(untouched["python"]) == ["old==1"]


def test_what_a_killed_preparation_left_goes(tmp_path):
    for name in ("venv", "venv-2.17.0", "venv-2.17.0.partial"):
        (tmp_path / name).mkdir()
    assert remove_partial(str(tmp_path / "venv")) == [str(tmp_path / "venv-2.17.0.partial")]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["venv", "venv-2.17.0"]
