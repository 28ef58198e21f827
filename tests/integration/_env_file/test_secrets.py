"""No secret of an environment file is in what Ansible shows, at the highest verbosity, in success and failure."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Callable

import pytest
from conftest import COLLECTIONS_ROOT
from cryptography.fernet import Fernet

KEY = Fernet.generate_key().decode()
CANARIES = {
    name: f"canary-{name}-4711" for name in ("jwt", "db", "id", "oauth", "mail", "url", "note", "token", "copy")
}
PLAYBOOK = """\
- hosts: localhost
  gather_facts: false
  tasks:
    - fractal_ops.platform.fractal_env_migrate:
        path: "{{ folder }}/.fractal_server.env"
        server_python: "{{ python }}"
        drop_in_path: "{{ folder }}/unit.d/x.conf"
"""


@pytest.mark.parametrize("broken", [False, True])
@pytest.mark.parametrize("check", [[], ["--check"]])
def test_no_secret_is_shown_at_the_highest_verbosity(
    tmp_path: Path, release_python: Callable[[str], str], broken: bool, check: list[str]
) -> None:
    c = CANARIES
    token = Fernet(KEY.encode()).encrypt(c["mail"].encode()).decode()
    key = Fernet.generate_key().decode() if broken else KEY
    env = tmp_path / ".fractal_server.env"
    env.write_text(
        f"# DB_PASSWORD={c['note']}\nJWT_SECRET_KEY={c['jwt']}\nPOSTGRES_DB=fractal\nPOSTGRES_PASSWORD='{c['db']}'\n"
        "FRACTAL_RUNNER_BACKEND=slurm\nFRACTAL_TASKS_DIR=/t\nFRACTAL_RUNNER_WORKING_BASE_DIR=/j\n"
        f"FRACTAL_SLURM_CONFIG_FILE=s.json\nOAUTH_KC_CLIENT_ID={c['id']}\nOAUTH_KC_CLIENT_SECRET={c['oauth']}\n"
        f"OAUTH_KC_OIDC_CONFIGURATION_ENDPOINT=https://u:{c['url']}@idp/\nMY_TOKEN={c['token']}\n"
        f"DSN=postgresql://fractal:${{POSTGRES_PASSWORD}}@db\nHTTPS_PROXY=http://u:{c['url']}@p\nLIKE=a-{c['token']}-b\n"
        "FRACTAL_EMAIL_SENDER=f@x.org\nFRACTAL_EMAIL_SMTP_SERVER=s\nFRACTAL_EMAIL_SMTP_PORT=1\n"
        "FRACTAL_EMAIL_INSTANCE_NAME=i\nFRACTAL_EMAIL_RECIPIENTS=a@x.org\n"
        f"FRACTAL_EMAIL_PASSWORD={token}\nFRACTAL_EMAIL_PASSWORD_KEY={key}\nCOPY=${{OAUTH_KC_CLIENT_SECRET}}\n"
    )
    before = env.read_text()
    (tmp_path / "s.json").write_text("{}")
    (tmp_path / "play.yml").write_text(PLAYBOOK)
    program = Path(sys.executable).with_name("ansible-playbook")
    extra = f"folder={tmp_path} python={release_python('2.16.6')} ansible_python_interpreter={sys.executable}"
    done = subprocess.run(
        [str(program), "-i", "localhost,", "-c", "local", "--diff", "-vvvv", "-e", extra, *check, "play.yml"],
        cwd=tmp_path,
        env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": COLLECTIONS_ROOT, "ANSIBLE_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        check=False,
    )
    shown = done.stdout + done.stderr
    assert (done.returncode != 0) == broken, shown
    assert ("cannot be decrypted" if broken else "FRACTAL_RUNNER_BACKEND=slurm_sudo") in shown
    for secret in (*c.values(), token, key):
        assert secret not in shown
    assert (c["mail"] in env.read_text()) == (not broken and not check)
    assert (env.read_text() == before) == bool(broken or check)
