"""From a finding to its file of variables, and from there to the playbook that settles it."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.r2_17_0.user_settings import FINDINGS
from playbook_runs import HERE, Ran
from pretended_hosts import PretendedHosts, server_seen

INVENTORY = f"[fractal_server]\ns1 fractal_server_service=s1 {HERE}\n"
EVIL = "{{ lookup('ansible.builtin.pipe', 'touch evaluated') }}"


def test_a_file_of_remedies_settles_what_it_proposes_and_evaluates_nothing(tmp_path: Path) -> None:
    hosts = PretendedHosts(tmp_path)
    found = [
        FINDINGS["user.superuser_without_settings"].finding("admin@x", setting="project_dir"),
        FINDINGS["user.setting_unset"].finding("ann@x", setting="project_dir"),
        FINDINGS["user.setting_padded"].finding(EVIL, setting="slurm_user", value=f" {EVIL}", bare=EVIL),
    ]
    hosts.tell("s1", "fractal_observe", **server_seen("s1"))
    hosts.tell("s1", "fractal_user_precheck", findings=[one.as_dict() for one in found])
    hosts.write()

    def run(playbook: str, *arguments: str) -> Ran:
        return Ran(tmp_path, f"fractal_ops.platform.{playbook}", INVENTORY, *arguments, collections=hosts.root)

    checked = run("precheck")
    record = checked.report("s1")
    file = checked.folder / "s1" / f"{record['run']['id']}.vars.yml"
    assert checked.code == 2 and file.stat().st_mode & 0o777 == 0o640
    command = f"ansible-playbook -i hosts.ini fractal_ops.platform.users -e @{file}"
    assert record["remedies"] == command and command in " ".join(checked.screen.split())
    page = (checked.folder / "s1" / "latest.html").read_text()
    assert f'<a href="{file.name}">' in page and command in page.replace("&#39;", "'")

    settled = run("users", "-e", f"@{file}")
    assert settled.code == 0, settled.screen
    [asked] = hosts.options("fractal_users")
    assert asked["users"] == [{"email": "admin@x", "is_verified": False}, {"email": EVIL, "slurm_user": EVIL}]
    assert not (tmp_path / "evaluated").exists()


def test_check_mode_writes_no_file(tmp_path: Path) -> None:
    hosts = PretendedHosts(tmp_path)
    hosts.tell("s1", "fractal_observe", **server_seen("s1"))
    found = FINDINGS["user.setting_unset"].finding("ann@x", setting="project_dir").as_dict()
    hosts.tell("s1", "fractal_user_precheck", findings=[found])
    hosts.write()
    ran = Ran(tmp_path, "fractal_ops.platform.precheck", INVENTORY, "--check", collections=hosts.root)
    assert ran.code == 2 and not ran.folder.exists() and ".vars.yml" not in ran.screen
