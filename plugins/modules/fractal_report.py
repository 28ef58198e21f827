#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Documentation only: it is the action plugin of the same name that runs, on the controller.

from __future__ import annotations

DOCUMENTATION = r"""
module: fractal_report
short_description: Show and keep the reports of a run
version_added: 1.0.0
author:
  - The fractal_ops.platform developers (@fractal-ops)
description:
  - Shows one report for each record on the screen, and keeps it as JSON, as Markdown and as one self-contained HTML
    page under the name of its instance and its run; none is ever replaced. C(latest) leads to the newest of an
    instance, and C(index.html) to all.
  - It is an action on the controller and contacts no host, so any host of the play does for it.
  - Sets the statistic C(fractal_reports), which AWX keeps as an artifact of the job.
  - A report is not a change of an instance, so the module never reports one.
attributes:
  check_mode:
    description: Shows the reports and writes nothing.
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
    description:
      - Folder for the reports; it is created with mode 0750. By default C(fractal-reports) in the working directory of
        C(ansible-playbook).
    type: path
    default: ""
  metrics:
    description: An existing folder for the figures of each instance's last run, for Prometheus' textfile collector.
    type: path
    default: ""
  playbook:
    description: Name of the playbook that ran.
    type: str
    required: true
  only_kept:
    description:
      - Whether to keep the reports as they would be if the run ended here, and to show no more than where. The report
        at its end takes their place.
    type: bool
    default: false
  refused:
    description: Whether the records are of a run that is refused, if there are any. The module fails then.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Show and keep the reports
  fractal_ops.platform.fractal_report:
    records: "{{ hostvars | fractal_ops.platform.report_records(groups, ansible_play_hosts_all, 'precheck') }}"
    playbook: precheck
  run_once: true
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
failed_hosts:
  description: One line for each instance that failed or is blocked, by its name, with the path of its report.
  returned: success
  type: dict
"""
