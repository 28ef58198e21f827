#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: fractal_report
short_description: Write the reports of a precheck, an upgrade or a verification
version_added: 0.1.0
author:
  - The fractal_ops.platform developers (@fractal-ops)
description:
  - Writes one report for each record as JSON, as Markdown and as one self-contained HTML page, and returns the text for
    the screen. Runs on the controller.
  - A report is not a change of an instance, so the module never reports one.
attributes:
  check_mode:
    description: Writes nothing.
    support: full
  diff_mode:
    description: Shows what changed.
    support: none
options:
  records:
    description: The records, as the filter P(fractal_ops.platform.report_records#filter) returns them.
    type: list
    elements: dict
    required: true
  folder:
    description: Folder for the reports; it is created with mode 0750.
    type: path
    required: true
"""

EXAMPLES = r"""
- name: Write the reports
  fractal_ops.platform.fractal_report:
    records: "{{ hostvars | fractal_ops.platform.report_records(groups) }}"
    folder: fractal-reports
  delegate_to: localhost
"""

RETURN = r"""
text:
  description: The reports as lines for the screen.
  returned: success
  type: list
  elements: str
files:
  description: The files that were written.
  returned: success
  type: list
  elements: str
failures:
  description: Why instances failed or are blocked, a line each.
  returned: success
  type: list
  elements: str
at:
  description: When the module began, in seconds since the epoch.
  returned: always
  type: float
duration:
  description: Seconds that it took.
  returned: always
  type: float
"""

import json
import os
from typing import TYPE_CHECKING, Any, NoReturn

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.files import write_file
from ansible_collections.fractal_ops.platform.plugins.module_utils._module import run_module
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.report import failures
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.report_pages import (
    render_html,
    render_markdown,
    render_text,
)

if TYPE_CHECKING:
    from collections.abc import Mapping


def write_reports(params: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    text, files, failed = [], [], []
    for record in params["records"]:
        text += render_text(record)
        failed += failures(record)
        formats = {
            "json": json.dumps(record, indent=2) + "\n",
            "md": render_markdown(record),
            "html": render_html(record),
        }
        for extension, content in formats.items():
            path = os.path.join(params["folder"], f"{os.path.basename(record['name'])}.{extension}")
            files.append(path)
            if not check_mode:
                os.makedirs(params["folder"], mode=0o750, exist_ok=True)
                write_file(path, content.encode(), uid=os.geteuid(), gid=os.getegid(), mode=0o640)
    return {"text": text, "files": files, "failures": failed}


def main() -> NoReturn:
    module = AnsibleModule(
        argument_spec={
            "records": {"type": "list", "elements": "dict", "required": True},
            "folder": {"type": "path", "required": True},
        },
        supports_check_mode=True,
    )
    run_module(module, lambda: write_reports(module.params, module.check_mode))


if __name__ == "__main__":
    main()
