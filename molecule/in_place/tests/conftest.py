"""What this scenario's tests share with the others'."""

import importlib.util
import sys
from pathlib import Path

SHARED = Path(__file__).resolve().parents[2] / "shared" / "tests"
sys.path.append(str(SHARED))
_spec = importlib.util.spec_from_file_location("shared_conftest", SHARED / "conftest.py")
assert _spec and _spec.loader
_shared = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = _shared
_spec.loader.exec_module(_shared)

curl, hosts_of = _shared.curl, _shared.hosts_of
