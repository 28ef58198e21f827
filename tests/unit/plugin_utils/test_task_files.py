"""Files that an operator names on the controller are read before they are needed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from ansible_collections.fractal_ops.platform.plugins.plugin_utils.task_files import why_no_file

COLLECTIONS = str(Path(__file__).resolve().parents[3] / ".cache" / "collections")


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_bytes(b"\xff\xfe")
    assert why_no_file(str(tmp_path / "none.yml")) == "which cannot be read: No such file or directory"
    assert why_no_file(str(tmp_path)) == "which cannot be read: Is a directory"
    assert why_no_file(str(tmp_path / "page.html")) == "which cannot be read: it is no text"


CASES = (
    ("- name: Say it\n  ansible.builtin.debug:\n    msg: '{{ fractal_event.hook }}'\n", ""),
    ("- name: Say it\n  block:\n    - debug: {msg: x}\n  rescue:\n    - fail: {msg: x}\n", ""),
    ("- name: A secret\n  ansible.builtin.debug:\n    msg: !vault |\n      $ANSIBLE_VAULT;1.1;AES256\n      00\n", ""),
    ("- ansible.builtin.import_tasks: more.yml\n", ""),  # what that holds is not known
    ("$ANSIBLE_VAULT;1.1;AES256\n0011\n", ""),
    ("", "which is no list of tasks"),
    ("name: Say it\n", "which is no list of tasks"),
    ("- hosts: all\n  tasks: []\n", "which Ansible cannot load: "),
    ("- no.such.module:\n    x: 1\n", "which Ansible cannot load: "),
    ("- name: 'half\n", "which Ansible cannot load: "),
)
# In a process of its own: Ansible's plugin loader takes over the import of collections.
PROGRAM = """
import json, sys
from ansible.plugins.loader import init_plugin_loader
init_plugin_loader([])
from ansible_collections.fractal_ops.platform.plugins.plugin_utils.task_files import why_no_tasks
print(json.dumps([why_no_tasks(path) for path in sys.argv[1:]]))
"""


def test_files_without_tasks(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.yml" for number in range(len(CASES))]
    for path, (text, _reason) in zip(paths, CASES):
        path.write_text(text)
    environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": COLLECTIONS, "ANSIBLE_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, paths)], env=environment, capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)
    for (text, reason), told in zip(CASES, found):
        assert told.startswith(reason) if reason else told == "", (text, told)
        assert "\n" not in told
