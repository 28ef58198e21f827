"""What runs under a host's own Python runs under the oldest that is promised, 3.9."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import ansible
import pytest

ROOT = Path(__file__).resolve().parents[2]
OLDEST = ROOT / ".cache" / "host-venv" / "bin" / "python"
# Their tests take no library but those of tests/requirements/host.in.
PURE = ("_core", "_env_file", "_releases")
# The newest python-dotenv, which the parser is compared with, needs more than 3.9; older ones read some otherwise.
NOT_HERE = "not test_python_dotenv"
FEW = "100"  # what is right for thousands of texts is shown under the newest Python; here it is about the language

pytestmark = [
    pytest.mark.skipif(sys.version_info < (3, 10), reason="this is the oldest Python"),
    pytest.mark.skipif(not OLDEST.exists(), reason="this machine has no Python 3.9 (tests/bed/setup.sh looks for it)"),
]

IMPORT_ALL = """
import importlib, sys, traceback
failed = 0
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except Exception:
        failed += 1
        print(name, traceback.format_exc().strip().splitlines()[-1], sep=": ")
sys.exit(bool(failed))
"""


def run(*arguments: str, beside: Path) -> subprocess.CompletedProcess[str]:
    """Run the oldest Python with the collection and Ansible's module_utils in reach, but no other library of ours."""
    if not (beside / "ansible").exists():
        (beside / "ansible").symlink_to(Path(ansible.__file__).parent)
    path = f"{beside}:{ROOT / '.cache' / 'collections'}"
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", "FRACTAL_HYPOTHESIS_EXAMPLES": FEW}
    return subprocess.run(
        [str(OLDEST), *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


def test_it_is_the_oldest(tmp_path: Path) -> None:
    version = run("-c", "import sys; print(sys.version_info[:2])", beside=tmp_path)
    assert version.stdout.strip() == "(3, 9)"


def test_every_module_and_what_it_uses_can_be_imported(tmp_path: Path) -> None:
    files = [path for folder in ("module_utils", "modules") for path in (ROOT / "plugins" / folder).rglob("*.py")]
    collection = "ansible_collections.fractal_ops.platform"
    names = [".".join((collection, *path.relative_to(ROOT).with_suffix("").parts)) for path in sorted(files)]
    assert names
    result = run("-c", IMPORT_ALL, *names, beside=tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("room", PURE)
def test_the_pure_rooms_pass_their_tests(room: str, tmp_path: Path) -> None:
    result = run("-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", NOT_HERE, f"tests/unit/{room}", beside=tmp_path)
    assert result.returncode == 0, result.stdout[-5000:] + result.stderr
