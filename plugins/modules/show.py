#!/usr/bin/python
# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: show
short_description: Print a table of what is planned or what runs
version_added: "0.1.0"
author:
  - gb10.vllm contributors (@gb10)
description:
  - Prints text as it is, or the plans of a fleet as a table. Runs on the controller only and changes nothing.
options:
  text:
    description: Text to print.
    type: str
  plans:
    description: Plans by box, as M(gb10.vllm.kv_cache_budget) returns them.
    type: dict
  reasons:
    description: Whether to show every flag and why it was chosen, also of servers that fit.
    type: bool
    default: true
  directory:
    description: Directory on the controller for O(plans) as JSON and as pictures (SVG); nothing is written in check mode.
    type: path
attributes:
  check_mode:
    support: full
    description: Can run in check mode, where it does the same.
  diff_mode:
    support: N/A
    description: Nothing is changed.
  action:
    support: full
    description: Runs on the controller.
"""

EXAMPLES = r"""
- name: Show the plan
  gb10.vllm.show:
    plans:
      spark-01: "{{ result.plan }}"
"""

RETURN = r"""
text:
  description: What was printed.
  returned: success
  type: str
files:
  description: What was written.
  returned: success
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule


def main() -> None:
    module = AnsibleModule(
        argument_spec={"text": {"type": "str"}, "plans": {"type": "dict"}, "reasons": {"type": "bool", "default": True}, "directory": {"type": "path"}},
        supports_check_mode=True,
    )
    module.fail_json(msg="gb10.vllm.show runs on the controller, through its action plugin of the same name.")


if __name__ == "__main__":
    main()
